"""What can be wrong with actions: of another scale, unit or sign, saturated, idle, beside the wrong frames, or noise.

"Do the actions carry information?" is asked by a probe: a linear map, fitted on other episodes, says from an action
(and the state it began in) how the state changes, or where the pictures change. It must do better than the same map
fitted on actions shuffled among all steps. An episode whose actions mislead the map that all others agree on is named.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from armillary.datasets.agreement import LEAST_STEPS, clearest, efforts_of
from armillary.datasets.doctor_pictures import streaks
from armillary.datasets.findings import Findings
from armillary.datasets.looks import Look
from armillary.embodiments import Embodiment, matrix_from_rot6d
from armillary.errors import DataError
from armillary.records import Array

ENOUGH_ROWS, SHUFFLES, LAGS = 120, 12, 3
IDLE_SPEED, IDLE_TURN, IDLE_STREAK = 0.005, np.radians(1.5), 3  # metres, radians a second, steps (cosmos3.md 9.3)
UNITS = {1000.0: "millimetres", 100.0: "centimetres", 57.3: "degrees"}


def check_actions(looks: Sequence[Look], body: Embodiment | None, found: Findings) -> None:
    """Every check of this file. ``body`` says what the numbers mean; None leaves out what needs it."""
    acting = [one for one in looks if one.actions.shape[1] and len(one.actions) >= 2]
    widths = sorted({one.actions.shape[1] for one in looks})
    if len(widths) > 1:
        found.odd("action-widths", f"actions have {widths} numbers in different episodes: no model learns both.")
        return
    for one in looks:
        if one.actions.shape[1] and len(one.actions) != one.frames - 1:
            found.odd_in("rows-and-frames", one.number, f"{len(one.actions)} actions beside {one.frames} frames: "
                         f"action i leads from frame i to i+1, so there must be {one.frames - 1}.")  # fmt: skip
        if not np.isfinite(one.actions).all():
            found.odd_in("not-finite", one.number, "an action is not a finite number.")
    acting = [one for one in acting if np.isfinite(one.actions).all() and len(one.actions) == one.frames - 1]
    if not acting:
        return
    if body is not None and not _fits(acting, body, found):
        body = None
    if body is not None and body.name == "camera_pose" and _stands(acting):
        return  # a camera that never moves; that its actions carry nothing is said of the column
    turning = _turning(acting, body)
    _check_idle(acting, body, found)
    _check_saturated(acting, turning, body, found)
    _check_scale(acting, turning, body, found)
    _check_gripper(acting, body, found)
    _check_probe(acting, body, found)


def _stands(acting: Sequence[Look]) -> bool:
    return all(np.ptp(one.actions, axis=0).max() < 1e-6 and np.allclose(one.actions[0], acting[0].actions[0])
               for one in acting)  # fmt: skip


def idle_share(actions: Array, body: Embodiment, fps: float) -> float:
    """Share of steps in streaks of at least three in which nothing moves."""
    if body.channels[0].frame == "absolute":
        span = np.maximum(np.ptp(actions, axis=0), 1e-9)
        still = np.abs(np.diff(actions, axis=0, prepend=actions[:1])).max(1, initial=0) < 1e-3 * span.max()
    elif body.rotation == "none":
        still = np.abs(actions).max(axis=1, initial=0) < 1e-3
    else:
        turn = matrix_from_rot6d(actions[:, 3:9].astype(np.float64))
        angle = np.arccos(np.clip((np.trace(turn, axis1=-2, axis2=-1) - 1) / 2, -1, 1))
        still = (np.linalg.norm(actions[:, :3], axis=1) < IDLE_SPEED / fps) & (angle < IDLE_TURN / fps)
    ends = streaks(still)
    lengths = ends[:, 1] - ends[:, 0]
    return float(lengths[lengths >= IDLE_STREAK].sum() / max(len(actions), 1))


def _fits(acting: Sequence[Look], body: Embodiment, found: Findings) -> bool:
    try:
        body.encode(acting[0].actions)
    except DataError as unfit:
        found.odd("actions-unfit", f"the actions do not fit embodiment {body.name}: {unfit}")
        return False
    low, high = (np.array([vars(channel)[end] for channel in body.channels]) for end in ("low", "high"))
    for one in acting:
        beyond = (one.actions < low - 1e-4 - 0.01 * (high - low)) | (one.actions > high + 1e-4 + 0.01 * (high - low))
        if beyond.any(axis=1).mean() > 0.02:
            worst = int(beyond.mean(axis=0).argmax())
            found.odd_in("beyond-limits", one.number, f"{body.channels[worst].name} leaves the limits of embodiment "
                         f"{body.name}, {low[worst]:g} to {high[worst]:g}, in {beyond.any(axis=1).mean():.0%} of the "
                         "steps.")  # fmt: skip
    rate = float(body.rate_hz)
    if rate and not 0.66 < acting[0].fps / rate < 1.5:
        found.odd("rate-unlike-body", f"the set states {acting[0].fps:g} steps a second and embodiment {body.name} "
                  f"acts at {rate:g}: one of them is wrong, or every second row is missing.")  # fmt: skip
    return True


def _turning(acting: Sequence[Look], body: Embodiment | None) -> Array:
    """Which channels are parts of a rotation or a gripper: those rest at their ends by nature."""
    if body is None:
        values = np.concatenate([one.actions for one in acting])
        few = np.array([len(np.unique(np.round(column, 6))) <= 4 for column in values.T])
        return few | (np.abs(np.median(values, axis=0) - 1) < 1e-3)
    gripper = None if body.gripper is None else body.gripper.channel
    return np.array([channel.unit == "direction cosine" or channel.name == gripper for channel in body.channels])


def _check_idle(acting: Sequence[Look], body: Embodiment | None, found: Findings) -> None:
    if body is None:
        return
    for one in acting:
        share = idle_share(one.actions, body, one.fps)
        if share > 0.6:
            found.odd_in(
                "idle", one.number, f"nothing is asked for in {share:.0%} of its steps: a model learns to wait."
            )


def _check_saturated(acting: Sequence[Look], turning: Array, body: Embodiment | None, found: Findings) -> None:
    rests = body is not None and body.channels[0].frame != "absolute"  # then 0 is what asks for nothing
    for number in np.flatnonzero(~turning):
        columns = [one.actions[:, number] for one in acting]
        span = np.ptp(np.concatenate(columns))
        moving = [column for column in columns if np.ptp(column) > 1e-3 * span]  # a steady pace is not clipped
        column = np.concatenate(moving) if moving else np.zeros(0)
        if len(column) < 50 or span < 1e-9 or len(np.unique(column)) < 10:
            continue
        for end, name in ((column.max(), "highest"), (column.min(), "lowest")):
            share = float((np.abs(column - end) < 1e-4 * span).mean())
            if share > 0.25 and not (rests and abs(end) < 1e-9) and abs(end - np.median(column)) > 0.2 * span:
                found.odd("saturated", f"number {number} of the actions is at its {name} value, {end:.4g}, in "
                          f"{share:.0%} of all steps: it was clipped, and what was meant is lost.")  # fmt: skip


def _check_scale(acting: Sequence[Look], turning: Array, body: Embodiment | None, found: Findings) -> None:
    moving = np.flatnonzero(~turning)
    if not len(moving):
        return
    sizes = {one.number: np.sqrt((_moves(one, body)[:, moving] ** 2).mean()) for one in acting}
    usual = float(np.median(list(sizes.values())))
    if len(acting) >= 4 and usual > 1e-9:
        for one in acting:
            ratio = float(sizes[one.number] / usual)
            if ratio > 8 or 0 < ratio < 1 / 8:
                unit = _unit(max(ratio, 1 / ratio))
                found.odd_in("scale-unlike-others", one.number,
                             f"its actions are {ratio:.3g} times as large as the other episodes'{unit}.")  # fmt: skip
    if body is None:
        return
    normal = np.concatenate([body.encode(one.actions)[:, : body.width] for one in acting])
    reach = np.quantile(np.abs(normal), 0.99, axis=0)
    for number in moving:
        if reach[number] > 3:
            channel = body.channels[number]
            found.odd("action-scale", f"{channel.name} reaches {reach[number]:.1f} times what embodiment {body.name} "
                      f"is scaled for ({channel.unit}){_unit(float(reach[number]))}: the unit or the frame may be "
                      "another; else fit the normaliser to this recording.")  # fmt: skip
    if reach[moving].max() < 0.05:
        found.odd("action-scale", f"no action reaches a twentieth of embodiment {body.name}'s scale: the unit may be "
                  "another.")  # fmt: skip


def _moves(one: Look, body: Embodiment | None) -> Array:
    """Actions, or their steps where they are targets: then an offset says nothing."""
    if body is not None and body.channels[0].frame == "absolute":
        return np.diff(one.actions, axis=0)
    return one.actions


def _unit(ratio: float) -> str:
    near = min(UNITS, key=lambda factor: abs(np.log(ratio / factor)))
    return f", as if in {UNITS[near]}" if abs(np.log(ratio / near)) < 0.45 else ""


def _check_gripper(acting: Sequence[Look], body: Embodiment | None, found: Findings) -> None:
    """Against the gripper's own state where there is one; else most episodes should begin open or end open."""
    if body is None or body.gripper is None:
        return
    column = [channel.name for channel in body.channels].index(body.gripper.channel)
    opened, closed = body.gripper.opened, body.gripper.closed
    openness = {one.number: (one.actions[:, column] - closed) / (opened - closed) for one in acting}
    low, high = (float(f([f(v) for v in openness.values()])) for f in (min, max))
    if low < -0.05 or high > 1.05:
        found.odd("gripper-range", f"the gripper goes from {closed + low * (opened - closed):.3g} to "
                  f"{closed + high * (opened - closed):.3g}, and embodiment {body.name} has {closed:g} closed and "
                  f"{opened:g} open: its scale is another.")  # fmt: skip
    against, watched = [], False
    for one in acting:
        named = [v[:, 0] for n, v in one.states.items() if v.shape[1] == 1 and ("open" in n or "grip" in n)]
        asked, watched = openness[one.number], watched or bool(named)
        if named and np.ptp(asked) > 0.5 and np.ptp(named[0]) > 1e-6:
            against.append((one.number, float(np.corrcoef(asked, named[0][1 : len(asked) + 1])[0, 1])))
    turned = [number for number, agreement in against if agreement < -0.4]
    sign = -1 if len(turned) > len(against) / 2 else 1  # a state may itself count how far it is closed
    says_open = any("open" in name for one in acting for name in one.states)
    for number, agreement in against:
        if agreement * sign < -0.4:
            found.odd_in("gripper-polarity", number, f"its gripper's commands go against the gripper's own state "
                         f"(correlation {agreement:.2f}), unlike the other episodes'.")  # fmt: skip
    shut = [v[0] < 0.25 and np.median(v) < 0.5 for v in openness.values()]
    if (sign < 0 and says_open) or (not watched and np.mean(shut) > 0.8):
        found.odd("gripper-sign", f"read as {opened:g} open, the gripper begins closed and is mostly closed, or moves "
                  "against its own state: the sign may be the other way round.")  # fmt: skip


Table = tuple[Array, Array, Array]


def _check_probe(acting: Sequence[Look], body: Embodiment | None, found: Findings) -> None:
    rows = sum(len(one.actions) for one in acting)
    if rows < ENOUGH_ROWS or len(acting) < 3:
        return
    tables = _tables(acting)
    scores = _scores(tables, shift=0)
    rng = np.random.default_rng(0)
    chance = [float(np.median(_scores(_shuffled(tables, rng), shift=0))) for _ in range(SHUFFLES)]
    overall, luck = float(np.median(scores)), max(chance)
    if overall <= luck + 0.01:
        if body is not None and np.mean([_moves_a_state(one, body) for one in acting]) >= 0.5:
            return  # few episodes in few headings: each by itself shows what the probe cannot learn from the others
        found.odd("actions-say-little", f"a probe that knows the actions foresees {max(overall, 0):.0%} of what "
                  f"changes, and {max(luck, 0):.0%} with them shuffled: another robot's, or noise.")  # fmt: skip
        return
    later = {shift: float(np.median(_scores(tables, shift=shift))) for shift in range(-LAGS, LAGS + 1)}
    best = max(later, key=lambda shift: later[shift])
    if abs(best) >= 1 and later[best] - overall > max(0.15, 0.2 * (1 - overall)):
        found.odd("actions-shifted", f"the actions fit what changes best {abs(best)} steps "
                  f"{'later' if best > 0 else 'earlier'} ({later[best]:.2f} against {overall:.2f} as recorded): they "
                  "may be written beside the wrong frames.")  # fmt: skip
    if len(acting) >= 5 and overall > 0.3:
        for one, score in zip(acting, scores, strict=True):
            if score < min(-0.1, overall - 0.8) and _righted(tables, acting.index(one)) > overall - 0.1:
                found.odd_in("actions-unlike-others", one.number, "its actions mislead a probe that foresees "
                             f"{overall:.0%} of what changes in the other episodes ({score:.2f} here): a sign, an axis "
                             "or the rows may be exchanged.")  # fmt: skip


def _moves_a_state(one: Look, body: Embodiment) -> bool:
    """Whether one of the episode's own states changes, step by step, as much as is asked for."""
    return len(one.actions) >= LEAST_STEPS and clearest(efforts_of(one.actions, body), one.states) is not None


def _righted(tables: Sequence[Table], number: int) -> float:
    """The best that the probe does in an episode when signs, two columns or the rows of its actions are turned round.

    An episode that is merely unlike the others, in another place or heading, is not foreseen better for that.
    """
    asked, *rest = tables[number]
    width = asked.shape[1]
    signs = [np.where(np.isin(np.arange(width), some), -1, 1)
             for some in (range(width), range(3), *((k,) for k in range(width)))]  # fmt: skip
    tries = [asked * sign for sign in signs] + [asked[::-1]]
    for a, b in combinations(range(min(width, 7)), 2):
        order = np.arange(width)
        order[[a, b]] = b, a
        tries.append(asked[:, order])
    others = list(tables)
    found = []
    for one in tries:
        others[number] = (one, rest[0], rest[1])
        found.append(_scores(others, shift=0)[number])
    return max(found)


def _tables(acting: Sequence[Look]) -> list[Table]:
    """(actions, the states they began in, the change they led to) of each episode, a row a step.

    Only states that every episode has in the same width count; without any, the change of the pictures' parts does.
    """
    names = [
        name
        for name, values in sorted(acting[0].states.items())
        if all(name in one.states and one.states[name].shape == (one.frames, values.shape[1]) for one in acting)
    ]
    tables = []
    for one in acting:
        if names:
            states = np.concatenate([one.states[name] for name in names], axis=1)
            tables.append((one.actions, states[:-1], np.diff(states, axis=0)))
        else:
            blocks = np.concatenate([seen.blocks for _, seen in sorted(one.cameras.items())], axis=1)
            size = np.abs(one.actions - np.median(one.actions, axis=0))
            tables.append((np.concatenate([one.actions, size], axis=1), one.actions[:, :0], np.sqrt(blocks)))
    return tables


def _shuffled(tables: Sequence[Table], rng: np.random.Generator) -> list[Table]:
    """The same tables with the actions in another order; what they began in and led to stays."""
    asked = np.concatenate([given for given, _, _ in tables])
    asked = asked[rng.permutation(len(asked))]
    ends = np.cumsum([len(given) for given, _, _ in tables])[:-1]
    return [(part, began, made) for part, (_, began, made) in zip(np.split(asked, ends), tables, strict=True)]


def _scores(tables: Sequence[Table], *, shift: int) -> list[float]:
    """How well each episode's changes are foreseen (1 wholly, 0 not at all) by a ridge map fitted on the others.

    Normal equations are summed once and an episode's own taken away, so that leaving out costs next to nothing.
    """
    moved = []
    for asked, began, made in tables:
        n = len(asked) - abs(shift)
        late, early = max(shift, 0), max(-shift, 0)
        moved.append(
            (np.concatenate([asked[early : early + n], began[late : late + n]], axis=1), made[late : late + n])
        )
    width = moved[0][0].shape[1]
    every_x, every_y = (np.concatenate([pair[i] for pair in moved]) for i in (0, 1))
    centre, scale = every_x.mean(0), every_x.std(0) + 1e-9
    target = np.quantile(np.abs(every_y - every_y.mean(0)), 0.9, axis=0)
    kept = target > 1e-9
    if not kept.any():
        return [0.0] * len(moved)
    parts = []
    for x, y in moved:
        given = np.concatenate([(x - centre) / scale, np.ones((len(x), 1))], axis=1)
        made = np.clip((y - every_y.mean(0))[:, kept] / target[kept], -3, 3)
        parts.append((given, made, given.T @ given, given.T @ made))
    gram, cross = sum(p[2] for p in parts), sum(p[3] for p in parts)
    ridge = 1e-2 * len(every_x) * np.eye(width + 1)
    scores = []
    for given, made, own_gram, own_cross in parts:
        fitted = np.linalg.solve(gram - own_gram + ridge, cross - own_cross)
        total = float((made**2).sum())
        scores.append(1 - float(((made - given @ fitted) ** 2).sum()) / total if total > 1e-9 else 0.0)
    return scores
