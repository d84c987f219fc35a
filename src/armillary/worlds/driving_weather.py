"""What falls from the sky: rain and snow drawn over a picture, the same for the same seed and step.

in    a picture uint8 h w 3, the weather, and (seed, step)
out   the picture with a few soft streaks or flakes; unchanged in other weather
"""

import numpy as np
from numpy.typing import NDArray


def fall(picture: NDArray[np.uint8], weather: str, when: tuple[int, int], speed: float) -> NDArray[np.uint8]:
    """Streaks lean outwards with ``speed``, m/s. Only the colours change, never depth or segmentation."""
    if weather not in ("rain", "snow"):
        return picture
    h, w = picture.shape[:2]
    rng = np.random.default_rng([*when, 41])
    cover = np.zeros((h, w))
    count = 16 if weather == "rain" else 26
    for x, y in rng.uniform(0, 1, (count, 2)):
        if weather == "rain":
            length, lean = 0.09 * h, (x - 0.5) * min(speed, 12) / 14
            t = np.arange(0, length, 0.5)
            rows, columns = (y * h + t).astype(int), (x * w + lean * t).astype(int)
        else:
            size = max(1, round(h / 96))
            grid = np.arange(-size, size + 1)
            dy, dx = (g.ravel() for g in np.meshgrid(grid, grid, indexing="ij"))
            near = dy**2 + dx**2 <= size**2 + 1
            rows, columns = (int(y * h) + dy[near]), (int(x * w) + dx[near])
        inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
        cover[rows[inside], columns[inside]] = 0.28 if weather == "rain" else 0.55
    tone = np.array([205, 212, 222]) if weather == "rain" else np.array([248, 249, 252])
    mixed = picture + cover[..., None] * (tone - picture.astype(np.float64))
    return np.round(mixed).astype(np.uint8)
