"""What is in a recording, what is odd about it, what can be played: ``armillary inspect PATH``.

    inspect_path(path) -> Report           typed; ``report.lines()`` to read, ``report.to_dict()`` for JSON
    play(path, out)                        what is playable, as a film (.mp4) or a contact sheet (.png)

Besides what ``checks.py`` finds: how long, how much of it idle, whether actions fit their embodiment, which way the
gripper goes, and whether actions have anything to do with what the pictures show.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from armillary.datasets.checks import check_all
from armillary.datasets.droid import GRIPPER, POSE, droid_actions, is_droid
from armillary.datasets.films import film_info
from armillary.datasets.lerobot import LeRobotReader, Oddity
from armillary.datasets.store import EpisodeFolder
from armillary.embodiments import Embodiment, bundled, load_embodiment, matrix_from_rot6d
from armillary.errors import DataError, RequestError
from armillary.media import contact_sheet, write_image, write_video
from armillary.records import Array

LOOKED_AT = 720  # frames of an episode whose pictures are compared with its actions
IDLE_SPEED, IDLE_TURN, IDLE_STREAK = (
    0.005,
    np.radians(1.5),
    3,
)  # metres a second, radians a second, steps (cosmos3.md 9.3)


@dataclass(frozen=True, kw_only=True)
class CameraReport:
    """One declared camera. ``film`` says what its film is; empty where there is none."""

    name: str
    playable: bool
    film: str


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Rank correlation of what actions ask for with what changes between frames.

    ``by_chance``: what 95 % of wrong pairings stay below. ``best_lag``: at which shift it is ``best``; above 0 the
    pictures come later than the actions.
    """

    correlation: float
    by_chance: float
    best_lag: int
    best: float


@dataclass(frozen=True, kw_only=True)
class ActionReport:
    """What the actions of the first episode look like, in the embodiment's terms.

    ``outside``: share of numbers that the embodiment's normaliser maps beyond [-1, 1]. ``idle``: share of steps in
    streaks of at least three in which nothing is asked for. ``agreement`` is None without a film.
    """

    embodiment: str
    width: int
    steps: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    outside: float
    idle: float
    gripper: str
    agreement: Agreement | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that ``armillary inspect`` says."""

    path: str
    robot: str
    fps: float
    episodes: int
    rows: int
    usable_rows: int
    dropped: dict[str, int]
    seconds: float
    shortest: float
    longest: float
    tasks: list[str]
    cameras: list[CameraReport]
    actions: ActionReport | None
    oddities: list[Oddity] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The report in sentences, a line each; rich markup is not used."""
        yield f"{self.path}: {self.episodes} episodes of robot {self.robot}, {self.rows} rows at {self.fps:g} a second"
        yield f"  lasting {self.seconds:.1f} s in all, each {self.shortest:.1f} to {self.longest:.1f} s"
        yield f"  tasks: {'; '.join(repr(task) for task in self.tasks[:5]) or 'none'}"
        for camera in self.cameras:
            yield f"  camera {camera.name}: {camera.film if camera.playable else 'declared, no film'}"
        yield f"  usable rows: {self.usable_rows} of {self.rows}"
        for reason, count in self.dropped.items():
            yield f"    dropped {count}: {reason}"
        if self.actions is not None:
            yield from self._action_lines(self.actions)
        yield f"oddities: {len(self.oddities)}"
        for number, oddity in enumerate(self.oddities, 1):
            yield f"  {number}. {oddity.words}"

    def _action_lines(self, actions: ActionReport) -> Iterator[str]:
        yield f"  actions: {actions.width} numbers, read as embodiment {actions.embodiment}"
        yield f"    beyond its usual range: {actions.outside:.1%}; idle: {actions.idle:.1%} of {actions.steps} steps"
        yield f"    gripper: {actions.gripper}"
        if actions.agreement is not None:
            found = actions.agreement
            yield (
                f"    what they ask for and what changes in the pictures: rank correlation {found.correlation:.2f} "
                f"(by chance up to {found.by_chance:.2f}), best when shifted by {found.best_lag} frames "
                f"({found.best:.2f})"
            )


def inspect_path(path: str | Path, *, embodiment: str | None = None) -> Report:
    """Look at a LeRobot folder. ``embodiment`` (a name or a .toml) says what its actions mean.

    Raises ``DataError`` for what is no LeRobot folder, or is too broken to say anything about.
    """
    reader = LeRobotReader(path)
    check_all(reader)
    body = _body(reader, embodiment)
    actions = None if body is None else _actions(reader, body)
    seconds = [row.length / reader.fps for row in reader.episodes]
    dropped = {"the last row of an episode: its action leads to no recorded frame": len(reader.episodes)}
    blind = sum(row.length - 1 for row in reader.episodes if not row.films)
    if blind:
        dropped["no camera of the episode has a film"] = blind
    rows = sum(row.length for row in reader.episodes)
    return Report(
        path=str(path),
        robot=str(reader.info.get("robot_type")),
        fps=reader.fps,
        episodes=len(reader.episodes),
        rows=rows,
        usable_rows=rows - sum(dropped.values()),
        dropped=dropped,
        seconds=sum(seconds),
        shortest=min(seconds, default=0.0),
        longest=max(seconds, default=0.0),
        tasks=list(reader.tasks.values()),
        cameras=[_camera(reader, name) for name in reader.cameras],
        actions=actions,
        oddities=reader.oddities,
    )


def play(path: str | Path, out: str | Path, *, episode: int = 0, height: int = 180) -> Path:
    """Write the playable cameras of an episode side by side as a film (.mp4), or rows of a contact sheet (.png)."""
    out = Path(out)
    if out.suffix not in (".mp4", ".png"):
        raise RequestError(f"{out.name} cannot be played into: name a film (.mp4) or a contact sheet (.png).")
    reader = LeRobotReader(path)
    if not 0 <= episode < len(reader.episodes):
        raise RequestError(f"there is no episode {episode}: {path} has {len(reader.episodes)}, from 0 on.")
    row = reader.episodes[episode]
    if not row.films:
        raise DataError(f"episode {episode} of {path} has no film at all: there is nothing to play.")
    shown = {}
    for camera, film in row.films.items():
        head = film_info(film.path)
        tall = min(height, head.height) // 2 * 2
        size = (tall, max(2, round(head.width * tall / head.height / 2) * 2))
        shown[camera.split(".")[-1]] = reader.frames(row, camera, size=size)
    if out.suffix == ".png":
        return write_image(out, contact_sheet(list(shown.values()), labels=list(shown)))
    tall = max(frames.shape[1] for frames in shown.values())
    level = [np.pad(f, ((0, 0), (0, tall - f.shape[1]), (0, 0), (0, 0))) for f in shown.values()]
    return write_video(out, np.concatenate(level, axis=2), reader.fps)


def agreement(effort: Array, change: Array, *, reach: int = 5) -> Agreement:
    """Whether what is asked for (``effort``, t) and what changes between frames (``change``, t) rise and fall together.

    Chance is judged by shifting one against the other by more than ``reach`` steps: unlike shuffling, that keeps
    how slowly both of them change.
    """
    shifted = [_rank_correlation(np.roll(effort, k), change) for k in range(2 * reach, len(effort) - 2 * reach)]
    lags = range(-reach, reach + 1)
    found = [
        _rank_correlation(effort[max(0, -k) : len(effort) - max(0, k)], change[max(0, k) : len(change) + min(0, k)])
        for k in lags
    ]
    return Agreement(
        correlation=found[reach],
        by_chance=float(np.quantile(np.abs(shifted), 0.95)),
        best_lag=lags[int(np.argmax(found))],
        best=max(found),
    )


def effort_of(actions: Array, body: Embodiment) -> Array:
    """How much each action (t a) asks for, one number a step: the size of its pose steps, or of its targets' moves."""
    gripper = None if body.gripper is None else body.gripper.channel
    columns = [i for i, channel in enumerate(body.channels) if channel.name != gripper]
    if body.channels[columns[0]].frame == "absolute":
        return np.asarray(np.linalg.norm(np.diff(actions[:, columns], axis=0, prepend=actions[:1, columns]), axis=1))
    moves = np.linalg.norm(actions[:, :3], axis=1)
    turns = np.linalg.norm(actions[:, 3:9] - np.array([1, 0, 0, 0, 1, 0]), axis=1)
    return np.asarray(moves / max(moves.std(), 1e-9) + turns / max(turns.std(), 1e-9))


def _rank_correlation(one: Array, other: Array) -> float:
    ranks = [np.argsort(np.argsort(x, kind="stable")).astype(float) for x in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _body(reader: LeRobotReader, embodiment: str | None) -> Embodiment | None:
    """The embodiment asked for, or the one that the folder itself names; None, noted, where it names none."""
    if embodiment is not None:
        return load_embodiment(embodiment)
    if is_droid(reader):
        reader.odd(
            "actions-made",
            f"there is no column 'action', and the joint columns are not used: pose steps of 10 numbers are made from "
            f"{POSE} and the gripper, as embodiment droid has them.",
        )
        return load_embodiment("droid")
    named = EpisodeFolder(reader.path).kept_embodiment
    if named in bundled():
        return load_embodiment(named)
    reader.odd(
        "no-embodiment",
        "the folder does not say what its actions mean (units, frame, gripper): nothing is said about them; "
        "name an embodiment.",
    )
    return None


def _actions(reader: LeRobotReader, body: Embodiment) -> ActionReport | None:
    row = reader.episodes[0]
    camera = next(iter(row.films), None)
    small = _small_size(reader, camera) if camera else None
    columns = reader.columns(row)
    if is_droid(reader):
        actions = droid_actions(columns[POSE], columns[GRIPPER])
    else:
        if "action" not in columns:
            reader.odd("no-action", "there is no column 'action': the folder can be watched, not learnt to act from.")
            return None
        actions = columns["action"].reshape(row.length, -1)[:-1]
    try:
        normal = body.encode(actions)[:, : body.width]
    except DataError as unfit:
        reader.odd("actions-unfit", f"the actions do not fit embodiment {body.name}: {unfit}")
        return None
    agrees = None
    if camera is not None and len(actions) >= 40:
        frames = reader.frames(row, camera, count=min(LOOKED_AT, row.length), size=small).astype(np.float32)
        change = np.sqrt((np.diff(frames, axis=0) ** 2).mean((1, 2, 3)))
        agrees = agreement(effort_of(actions[: len(change)], body), change)
        _note_agreement(reader, agrees)
    _note_scale(reader, body, actions, normal)
    return ActionReport(
        embodiment=body.name,
        width=body.width,
        steps=len(actions),
        low=tuple(float(x) for x in actions.min(0)),
        high=tuple(float(x) for x in actions.max(0)),
        outside=float((np.abs(normal) > 1.0001).mean()),
        idle=idle_share(actions, body, reader.fps),
        gripper=_gripper(reader, body, actions),
        agreement=agrees,
    )


def idle_share(actions: Array, body: Embodiment, fps: float) -> float:
    """Share of steps in streaks of at least three in which nothing moves."""
    if body.channels[0].frame == "absolute":
        span = np.maximum(np.ptp(actions, axis=0), 1e-9)
        still = np.abs(np.diff(actions, axis=0, prepend=actions[:1])).max(1, initial=0) < 1e-3 * span.max()
    else:
        turn = matrix_from_rot6d(actions[:, 3:9].astype(np.float64))
        angle = np.arccos(np.clip((np.trace(turn, axis1=-2, axis2=-1) - 1) / 2, -1, 1))
        still = (np.linalg.norm(actions[:, :3], axis=1) < IDLE_SPEED / fps) & (angle < IDLE_TURN / fps)
    ends = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(int))).reshape(-1, 2)
    streaks = ends[:, 1] - ends[:, 0]
    return float(streaks[streaks >= IDLE_STREAK].sum() / max(len(actions), 1))


def _note_agreement(reader: LeRobotReader, found: Agreement) -> None:
    if found.best <= found.by_chance:
        reader.odd(
            "actions-say-little",
            f"in episode 0 the actions have no more to do with what changes in the pictures ({found.best:.2f}) than "
            f"chance has ({found.by_chance:.2f}): they may be of another robot, or noise.",
        )
    elif abs(found.best_lag) >= 2 and found.best - found.correlation > 0.1:
        reader.odd(
            "actions-shifted",
            f"in episode 0 the actions fit the pictures best {abs(found.best_lag)} frames "
            f"{'later' if found.best_lag > 0 else 'earlier'} ({found.best:.2f} against {found.correlation:.2f} as "
            "recorded): they may be written beside the wrong frames; they are used as recorded.",
        )


def _note_scale(reader: LeRobotReader, body: Embodiment, actions: Array, normal: Array) -> None:
    gripper = None if body.gripper is None else body.gripper.channel
    reach = np.quantile(np.abs(normal), 0.99, axis=0)
    for channel, most in zip(body.channels, reach, strict=True):
        if channel.name != gripper and most > 3:
            reader.odd(
                "action-scale",
                f"{channel.name} reaches {most:.1f} times what embodiment {body.name} is scaled for ({channel.unit}): "
                "the unit or the frame may be another; else fit the normaliser to this recording.",
            )
    moving = [most for channel, most in zip(body.channels, reach, strict=True) if channel.name != gripper]
    if max(moving, default=1.0) < 0.05:
        reader.odd(
            "action-scale", f"no action reaches a twentieth of embodiment {body.name}'s scale: the unit may be another."
        )


def _gripper(reader: LeRobotReader, body: Embodiment, actions: Array) -> str:
    """In words; an episode that begins closed and mostly stays so is noted, it may be upside down."""
    if body.gripper is None:
        return "none"
    column = [channel.name for channel in body.channels].index(body.gripper.channel)
    openness = (actions[:, column] - body.gripper.closed) / (body.gripper.opened - body.gripper.closed)
    if openness.min() < -0.05 or openness.max() > 1.05:
        reader.odd(
            "gripper-range",
            f"the gripper goes from {actions[:, column].min():.3g} to {actions[:, column].max():.3g}, and embodiment "
            f"{body.name} has {body.gripper.closed:g} closed and {body.gripper.opened:g} open: its scale is another.",
        )
    switches = int((np.diff((openness > 0.5).astype(int)) != 0).sum())
    if openness[0] < 0.25 and np.median(openness) < 0.5:
        reader.odd(
            "gripper-polarity",
            f"the gripper begins closed and is mostly closed (read as {body.gripper.opened:g} open): most episodes "
            "begin open, so the sign may be the other way round.",
        )
    return f"begins {'open' if openness[0] > 0.5 else 'closed'}, {switches} changes, open {np.mean(openness > 0.5):.0%}"


def _camera(reader: LeRobotReader, name: str) -> CameraReport:
    row = next((row for row in reader.episodes if name in row.films), None)
    if row is None:
        return CameraReport(name=name, playable=False, film="")
    film = film_info(row.films[name].path)
    words = f"{film.width}x{film.height} {film.codec} {film.pix_fmt}, {film.frames} frames at {film.fps:g} a second"
    return CameraReport(name=name, playable=True, film=words)


def _small_size(reader: LeRobotReader, camera: str) -> tuple[int, int]:
    shape = reader.features[camera].get("shape") or [72, 128]
    return 32, max(8, round(32 * shape[1] / shape[0]))
