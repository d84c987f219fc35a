"""What can be wrong with pictures: black, flat, frozen, doubled, cut; turned, mirrored, colours or cameras exchanged.

Each check takes the looks at all episodes and notes what it finds. What is turned or mirrored is found by comparison
with the set's other episodes: where all are turned alike, pictures alone cannot say so.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from armillary.datasets.findings import Findings
from armillary.datasets.looks import SAME, Look, Seen
from armillary.records import Array

ENOUGH = 4  # episodes from which on one is compared with the others
CARRIED = ("camera_pose", "av")  # who moves carries a camera
CLEARER = 0.05  # by so much a turn must explain a picture better than light and dark exchanged would
TURNS = {
    "upside down": lambda p: p[::-1],
    "mirrored": lambda p: p[:, ::-1],
    "turned by half": lambda p: p[::-1, ::-1],
}


def check_pictures(looks: Sequence[Look], found: Findings) -> None:
    """Every check of this file."""
    for one in looks:
        for camera, seen in one.cameras.items():
            _check_film(one, camera, seen, found)
    _check_cuts(looks, found)
    for camera in {camera for one in looks for camera in one.cameras}:
        _check_turned(looks, camera, found)
    _check_exchanged(looks, found)
    _check_twice(looks, found)


def effort(one: Look) -> Array:
    """How much happens in each step by the numbers alone (t-1), 1 for a strong step: from states, else actions."""
    total = np.zeros(one.frames - 1)
    moves = [np.diff(values[: one.frames], axis=0) for values in one.states.values() if len(values) >= one.frames]
    if not moves and one.actions.shape[1] and len(one.actions) == one.frames - 1:
        moves = [one.actions if len(one.actions) < 2 else np.diff(one.actions, axis=0, prepend=one.actions[:1])]
    for move in moves:
        scale = np.quantile(np.abs(move), 0.9, axis=0)
        total = np.maximum(total, (np.abs(move) / np.where(scale > 1e-9, scale, np.inf)).max(axis=1, initial=0))
    return total


def _check_film(one: Look, camera: str, seen: Seen, found: Findings) -> None:
    black = (seen.level < 8) & (seen.spread < 6)
    if black.all():
        found.odd_in("black-film", one.number, f"camera {camera} is black from beginning to end.")
        return
    if black.any():
        found.odd_in("black-frames", one.number, f"camera {camera} is black in {black.sum()} of {len(black)} frames.")
    flat = (seen.spread < 1.5) & ~black
    if flat.any():
        found.odd_in("flat-frames", one.number, f"camera {camera} shows one colour in {flat.sum()} frames.")
    same = seen.change < SAME
    if len(same) >= 16 and max(same[::2].mean() - same[1::2].mean(), same[1::2].mean() - same[::2].mean()) > 0.6:
        found.odd_in(
            "frames-doubled", one.number,
            f"camera {camera} shows every frame twice: half of the {one.fps:g} frames a second stated are not there.",
        )  # fmt: skip
        return
    needed = max(6, round(0.4 * one.fps))
    busy = effort(one)
    if one.embodiment in CARRIED:  # one camera is; what the others see need not change
        same = np.all([other.change < SAME for other in one.cameras.values()], axis=0)
    for begin, end in streaks(same):
        if end - begin >= needed and (busy[begin:end] > 0.3).mean() > 0.7 and (~same).sum() >= 2:
            found.odd_in(
                "frozen-picture", one.number,
                f"camera {camera} stands still from frame {begin} to {end} while the numbers go on.",
            )  # fmt: skip
            return


def _check_cuts(looks: Sequence[Look], found: Findings) -> None:
    """A step in which a state leaps far beyond the set's usual steps, and the pictures change much: frames are missing.

    Where there are no states, pictures alone must change four times as much as nearly all steps do.
    """
    usual = _usual_moves(looks)
    for camera in sorted({camera for one in looks for camera in one.cameras}):
        steps = [one.cameras[camera].change for one in looks if camera in one.cameras]
        if sum(map(len, steps)) < 100:
            continue
        much, most = np.quantile(np.concatenate(steps), [0.9, 0.98])
        for one in looks:
            if camera not in one.cameras:
                continue
            change, level = one.cameras[camera].change, one.cameras[camera].level
            lit = (level[:-1] >= 8) & (level[1:] >= 8)
            leaps = _leaps(one, usual)
            odd = lit & ((change > much) & (leaps > 3) if leaps is not None else change > max(4 * most, 1.0))
            if odd.any():
                place = int(np.flatnonzero(odd)[0])
                far = (leaps if leaps is not None else change / most)[place]
                found.odd_in(
                    "frames-dropped", one.number,
                    f"from frame {place} to {place + 1} everything leaps, {far:.1f} times "
                    f"as far as nearly all steps of the set go (camera {camera}): frames are missing there.",
                )  # fmt: skip


def _usual_moves(looks: Sequence[Look]) -> dict[str, float]:
    """For each state, how far nearly all its steps go at most."""
    moves: dict[str, list[Array]] = {}
    for one in looks:
        for name, values in one.states.items():
            moves.setdefault(name, []).append(np.linalg.norm(np.diff(values, axis=0), axis=1))
    far = {name: float(np.quantile(np.concatenate(parts), 0.99)) for name, parts in moves.items()}
    return {name: value for name, value in far.items() if value > 1e-6}


def _leaps(one: Look, usual: Mapping[str, float]) -> Array | None:
    """How far the state that leaps most goes in each step (t-1), in its usual far steps; None without states."""
    parts = [np.linalg.norm(np.diff(values, axis=0), axis=1) / usual[name] for name, values in one.states.items()
             if name in usual and len(values) == one.frames]  # fmt: skip
    return np.max(parts, axis=0) if parts else None


def _check_turned(looks: Sequence[Look], camera: str, found: Findings) -> None:
    having = [one for one in looks if camera in one.cameras]
    if len(having) < ENOUGH:
        return
    means = np.stack([one.cameras[camera].mean for one in having]).astype(np.float64)
    usual = np.median(means, axis=0)
    upright = [_alike(mean, usual) for mean in means]
    odd = {name: [_alike(_odd(mean, turn), _odd(usual, turn)) for mean in means] for name, turn in TURNS.items()}
    usual_tint = usual[..., 0] - usual[..., 2]
    apart = np.abs(means[..., 0] - means[..., 2] - usual_tint).mean(axis=(1, 2))
    of_one_tint = np.median(apart) < 0.5 * np.abs(usual_tint).mean()  # not so where every episode has its own colours
    for place, (one, mean, straight) in enumerate(zip(having, means, upright, strict=True)):
        turned = {name: _alike(turn(mean), usual) for name, turn in TURNS.items()}
        best = max(turned, key=lambda name: turned[name])
        beyond_light = turned[best] + straight > CLEARER  # a dark wall over a bright floor is no room upside down
        telling = np.quantile(odd[best], 0.25) > 0.3 and odd[best][place] < -0.5  # not the same either way
        likely = turned[best] > 0.7 and turned[best] - straight > 0.2 and np.median(upright) > 0.7
        if likely and beyond_light and telling:
            found.odd_in(
                "turned-picture", one.number,
                f"camera {camera} is {best}: so it is like the other episodes ({turned[best]:.2f}), as it is not "
                f"({straight:.2f}).",
            )  # fmt: skip
        tint, spread = mean[..., 0] - mean[..., 2], np.median(np.abs(usual_tint))
        if of_one_tint and spread > 2 and np.abs(tint + usual_tint).mean() < 0.5 * np.abs(tint - usual_tint).mean():
            found.odd_in(
                "channels-swapped", one.number,
                f"camera {camera} has red and blue exchanged: its colours are those of the other episodes the other "
                "way round.",
            )  # fmt: skip


def _odd(picture: Array, turn: Callable[[Array], Array]) -> Array:
    """What of a picture changes its sign when it is turned so: of an aisle little, and by chance; of a table much."""
    return picture - turn(picture)


def _check_exchanged(looks: Sequence[Look], found: Findings) -> None:
    names = sorted({camera for one in looks for camera in one.cameras})
    for a, first in enumerate(names):
        for second in names[a + 1 :]:
            having = [one for one in looks if {first, second} <= set(one.cameras)]
            if len(having) < ENOUGH:
                continue
            usual = {
                n: np.median(np.stack([one.cameras[n].mean for one in having]).astype(float), axis=0)
                for n in (first, second)
            }
            for one in having:
                here = [_alike(one.cameras[n].mean, usual[n]) for n in (first, second)]
                across = [_alike(one.cameras[n].mean, usual[m]) for n, m in ((first, second), (second, first))]
                if min(across) > 0.7 and min(across) - max(here) > 0.1:
                    found.odd_in(
                        "cameras-swapped", one.number, f"cameras {first} and {second} show each other's pictures."
                    )


def _check_twice(looks: Sequence[Look], found: Findings) -> None:
    """Episodes that are there twice: the same pictures, or the same actions."""
    known: dict[str, int] = {}
    for one in looks:
        keys = ["film " + "".join(seen.digest for seen in one.cameras.values())]
        if one.actions.shape[1] and len(one.actions) >= 8 and np.ptp(one.actions, axis=0).max() > 1e-6:
            keys.append("actions " + str(hash(np.round(one.actions, 5).tobytes())))
        for key in keys:
            if key in known and known[key] != one.number:
                what = "pictures" if key.startswith("film") else "actions"
                found.odd_in("duplicate", one.number, f"has the very {what} of episode {known[key]}.")
            known.setdefault(key, one.number)


def streaks(flags: Array) -> Array:
    """Begin and end (exclusive) of every run of true: n 2."""
    edges = np.diff(np.concatenate([[False], flags, [False]]).astype(int))
    return np.flatnonzero(edges).reshape(-1, 2)


def _alike(one: Array, other: Array) -> float:
    """Correlation of two pictures' greys."""
    a, b = (np.asarray(p, np.float64).mean(axis=-1).ravel() for p in (one, other))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0.5 and b.std() > 0.5 else 0.0
