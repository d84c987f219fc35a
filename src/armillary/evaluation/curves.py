"""A small drawing of several curves over frames: means, and for one of them the band of its 95 % interval.

names -> values of n lives over t frames   --curves_of-->   SVG that needs nothing else
"""

from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WIDE, HIGH, LEFT, TOP, ROW = 460, 220, 46, 24, 20  # of the plane, what stands beside and above it, a line of the key
INKS = ("#17683a", "#b3420b", "#59616b", "#0b5c8f", "#7a2a86")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 3")
DRAWS = 500


def curves_of(curves: Mapping[str, Floats], *, banded: str, first: int, unit: str = "dB", across: str = "frame") -> str:
    """Each curve's mean over lives, n t; ``banded`` also with its interval. ``first``: of the first value's frame."""
    means = {name: values.mean(axis=0) for name, values in curves.items()}
    low, high = band_of(curves[banded])
    floor = np.floor(min(low.min(), *(mean.min() for mean in means.values())))
    roof = np.ceil(max(high.max(), *(mean.max() for mean in means.values())))
    count = len(low)

    def points(values: Floats) -> str:
        xs = LEFT + WIDE * np.arange(count) / max(1, count - 1)
        ys = TOP + HIGH * (roof - values) / (roof - floor)
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))

    lines, key = "", ""
    for number, (name, mean) in enumerate(means.items()):
        ink = INKS[number % len(INKS)]
        if name == banded:
            shape = f"{points(high)} {' '.join(reversed(points(low).split()))}"
            lines += f'<polygon points="{shape}" fill="{ink}" opacity=".18"/>'
        dashes = DASHES[number % len(DASHES)]
        line = f'fill="none" stroke="{ink}" stroke-width="2"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
        lines += f'<polyline points="{points(mean)}" {line}><title>{escape(name)}</title></polyline>'
        down, right = TOP + HIGH + 56 + ROW * (number // 2), LEFT + WIDE // 2 * (number % 2)
        key += f'<path d="M{right} {down}h30" {line}/>'
        key += f'<text x="{right + 36}" y="{down + 4}" fill="#1d2126">{escape(name)}</text>'
    grid = "".join(
        f'<path d="M{LEFT} {TOP + HIGH * (roof - value) / (roof - floor):.1f}h{WIDE}" stroke="#e6e3dc"/>'
        f'<text x="{LEFT - 6}" y="{TOP + HIGH * (roof - value) / (roof - floor) + 4:.1f}" text-anchor="end">'
        f"{value:g}</text>"
        for value in np.arange(floor, roof + 1, max(1, np.ceil((roof - floor) / 5)))
    )
    below = f'y="{TOP + HIGH + 18}" text-anchor="middle"'
    ticks = "".join(
        f'<text x="{LEFT + WIDE * i / max(1, count - 1):.1f}" {below}>{first + i}</text>'
        for i in sorted({0, *range(15, count - 6, 16), count - 1})
    )
    tall = TOP + HIGH + 56 + ROW * -(-len(means) // 2)
    ends = ", ".join(f"{name} {mean[0]:.1f} to {mean[-1]:.1f} {unit}" for name, mean in means.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDE + 14} {tall}" role="img" '
        f'width="{LEFT + WIDE + 14}" aria-label="{escape(f"Means by {across}, first to last: {ends}")}" '
        'font-family="system-ui, sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        f'<g fill="#59616b">{grid}{ticks}<text x="{LEFT + WIDE / 2}" y="{TOP + HIGH + 36}" text-anchor="middle">'
        f'{escape(across)}</text><text x="{LEFT - 6}" y="12" text-anchor="end">{escape(unit)}</text></g>{lines}{key}'
        "</svg>\n"
    )


def band_of(values: Floats, *, seed: int = 0) -> tuple[Floats, Floats]:
    """Low and high ends of the mean's 95 % interval at every frame: of 500 draws of whole lives."""
    rng = np.random.default_rng([seed, 41])
    often = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=DRAWS) / len(values)
    low, high = np.quantile(often @ values, [0.025, 0.975], axis=0)
    return low, high
