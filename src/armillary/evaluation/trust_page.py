"""The page about trust: every policy in physics against imagination, the figures, and films side by side.

trust.json, films of the first tables   --page_of_trust-->   one HTML page
trust.json                              --scatter_of-->      one small drawing (SVG), also for documents
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from armillary.evaluation.page import Film, Page, Section, page_of
from armillary.evaluation.trust_figures import tables_of, verdict_of
from armillary.records import Array

SIDE, EDGE = 300, 46  # of the drawing's plane, and of what stands around it
FPS = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """One life for the page: ``true`` and ``imagined`` t+1 h w 3, the world's verdict and the judge's on the latter."""

    policy: str
    words: str
    true: Array
    imagined: Array
    physics: bool
    judged: bool


def page_of_trust(found: Mapping[str, Any], shown: Sequence[Shown]) -> str:
    """The page as HTML."""
    rates, figures, judge = tables_of(found)
    made = found["made_from"]
    name = made.get("checkpoint", "the imagination")
    return page_of(Page(
        title=f"When can the imagination of {name} be trusted?",
        lead="Policies of different skill live at the same tables twice: in physics, and as the model imagines "
        "what their actions do. If the imagination is to be trusted, it ranks "
        "them alike and takes no failure for a success.",
        sections=[
            Section(key="policies", title="Imagined against real", drawing=scatter_of(found), table=rates,
                    lead="Each number is a policy: how often it succeeds in physics, and how much of the way it is "
                    "seen to go when imagined (hollow: how often it is seen to succeed). Bars: 95 % intervals."),
            Section(key="figures", title="How far to trust it", table=figures,
                    lead=f"{verdict_of(found)} {_advice(found)}"),
            Section(key="judge", title="How good the judge is", table=judge,
                    lead="Success is judged from pictures. This is how often the judge is right where physics knows."),
            Section(key="films", title="The same actions, real and imagined", films=[_film(one) for one in shown],
                    lead="Left physics, right imagination, from the same first picture with the same actions."),
        ],
        facts=[("Command", found["command"]), ("Tables", f"{found['tables']}, {found['tables_skipped']} passed over "
               "because two things on them have one colour"), ("Intervals", found["interval"]),
               *((key, str(value)) for key, value in made.items())],
    ))  # fmt: skip


def scatter_of(found: Mapping[str, Any]) -> str:
    """Each policy's success in physics (across) against progress in imagination (up), with intervals, as SVG.

    Beside each a hollow mark: what the imagination shows of its success.
    """
    marks = []
    for number, (name, rates) in enumerate(found["rates"].items(), start=1):
        real = rates["physics"]
        went, won = (rates.get(acted, rates[replayed]) for acted, replayed in
                     (("progress_acted", "progress_imagined"), ("acted", "imagined")))  # fmt: skip
        x, y = _x(real["value"]), _y(went["value"])
        marks.append(
            f'<g stroke="#b3420b" fill="#b3420b"><title>{escape(name)}: succeeds in {real["value"]:.0%} in physics; '
            f"imagined, it goes {went['value']:.0%} of the way and succeeds in {won['value']:.0%}</title>"
            f'<path d="M{_x(real["low"]):.1f} {y:.1f}H{_x(real["high"]):.1f}M{x:.1f} {_y(went["low"]):.1f}'
            f'V{_y(went["high"]):.1f}" opacity=".35"/><circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
            f'<circle cx="{x:.1f}" cy="{_y(won["value"]):.1f}" r="3" fill="none" opacity=".6"/>'
            f'<text x="{x + 6:.1f}" y="{y - 6:.1f}" stroke="none" fill="#1d2126">{number}</text></g>'
        )
    names = "".join(
        f'<text x="{SIDE + EDGE + 24}" y="{EDGE + 20 * number}" fill="#1d2126">{number} {escape(name)}</text>'
        for number, name in enumerate(found["rates"], start=1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE + EDGE + 150} {SIDE + 2 * EDGE}" role="img" '
        'width="496" aria-label="Each policy: success in physics across, progress in imagination up" '
        f'font-family="system-ui, sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<path d="M{_x(0)} {_y(0)}H{_x(1)}V{_y(1)}H{_x(0)}Z" fill="none" stroke="#d9d6cf"/>'
        f'<path d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}" stroke="#59616b" stroke-dasharray="4 4"/>'
        f'<g fill="#59616b"><text x="{_x(0)}" y="{_y(0) + 16}">0 %</text><text x="{_x(1)}" y="{_y(0) + 16}" '
        f'text-anchor="end">100 %</text><text x="{_x(0.5)}" y="{_y(0) + 32}" text-anchor="middle">'
        f"success in physics</text>"
        f'<text x="{_x(0) - 6}" y="{_y(1) + 10}" text-anchor="end">100 %</text><text transform="translate({_x(0) - 14} '
        f'{_y(0.5)}) rotate(-90)" text-anchor="middle">as imagined: progress, success (hollow)</text></g>'
        f"{''.join(marks)}{names}</svg>\n"
    )


def _x(share: float) -> float:
    return EDGE + SIDE * share


def _y(share: float) -> float:
    return EDGE + SIDE * (1 - share)


def _advice(found: Mapping[str, Any]) -> str:
    most = found["doubt"]["most"]
    if most is None:
        return (
            "Too few imaginations were right, or too few wrong, to choose a threshold at which an imagined world "
            "should stop."
        )
    return (
        f"Where a chunk goes further than {most:g} from its first picture (a pixel's root mean square, 0 to 255) an "
        "imagined world should stop: chosen on "
        f"{found['doubt']['chosen_on']} lives, measured on {found['doubt']['measured_on']} at other tables."
    )


def _film(one: Shown) -> Film:
    right = one.physics == one.judged
    real, seen = ("succeeds" if verdict else "fails" for verdict in (one.physics, one.judged))
    return Film(
        films=[one.true, one.imagined], labels=["physics", "imagined"], fps=FPS,
        says=f"The {one.policy} policy at a table, told: {one.words}", words=f"{one.policy}: {one.words}",
        mark="right" if right else "wrong", verdict=f"{real} in physics, {seen} as imagined",
    )  # fmt: skip
