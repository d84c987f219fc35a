"""What is in a recording, what is odd about it, what can be played: ``armillary inspect PATH``.

    inspect_path(path) -> Report           typed; ``report.lines()`` to read, ``report.to_dict()`` for JSON
    inspect_source(source) -> Report       the same for episodes of any making
    play(path, out)                        what is playable, as a film (.mp4) or a contact sheet (.png)

``checks.py`` says what is odd about the files, ``doctor_*.py`` about what they hold. The doctor looks at no more than
``most`` episodes, evenly spaced, and says so.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from armillary.datasets.agreement import LEAST_STEPS, Agreement, agreement, clearest, efforts_of, note_agreement
from armillary.datasets.checks import check_all
from armillary.datasets.clips import fitted
from armillary.datasets.doctor_actions import check_actions, idle_share
from armillary.datasets.doctor_pictures import check_pictures
from armillary.datasets.doctor_words import check_words
from armillary.datasets.droid import POSE, is_droid
from armillary.datasets.films import film_info
from armillary.datasets.findings import Findings, Oddity, Severity, worst
from armillary.datasets.lerobot import LeRobotReader
from armillary.datasets.lerobot21 import open_reader
from armillary.datasets.looks import SIZE, Look, look
from armillary.datasets.rows import RowFolder
from armillary.datasets.sources import EpisodeSource, form_of, open_episodes
from armillary.datasets.store import EpisodeFolder
from armillary.embodiments import Embodiment, bundled, load_embodiment
from armillary.errors import DataError, RequestError
from armillary.media import contact_sheet, write_image, write_video
from armillary.records import Array, Episode

MOST = 100  # episodes looked at, evenly spaced


@dataclass(frozen=True, kw_only=True)
class CameraReport:
    """One declared camera. ``film`` says what its film is; empty where there is none."""

    name: str
    playable: bool
    film: str


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
    form: str = "lerobot"
    looked_at: int = 0
    oddities: list[Oddity] = field(default_factory=list)
    first_frames: dict[int, Array] = field(default_factory=dict)  # of some episodes, uint8 h w 3, for the page

    @property
    def severity(self) -> Severity:
        """The gravest of the oddities; ``note`` without any."""
        return worst(self.oddities)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        told = {name: value for name, value in vars(self).items() if name not in ("first_frames", "oddities")}
        told["cameras"] = [asdict(camera) for camera in self.cameras]
        told["actions"] = None if self.actions is None else asdict(self.actions)
        oddities = [asdict(one) | {"severity": one.severity} for one in self.oddities]
        return told | {"severity": self.severity, "oddities": oddities}

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
        yield f"  looked at: {self.looked_at} of {self.episodes} episodes"
        yield f"oddities: {len(self.oddities)}" + (f", the gravest a {self.severity}" if self.oddities else "")
        for number, oddity in enumerate(self.oddities, 1):
            yield f"  {number}. {oddity.severity}: {oddity.words}"

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


def inspect_path(path: str | Path, *, embodiment: str | None = None, most: int = MOST) -> Report:
    """Look at a data set of any form. ``embodiment`` (a name or a .toml) says what its actions mean.

    Raises ``DataError`` for what is no data set, or is too broken to say anything about.
    """
    form = form_of(path)
    source = open_episodes(path, size=SIZE)
    return inspect_source(source, name=str(path), form=form, embodiment=embodiment, most=most)


def inspect_source(
    source: EpisodeSource, *, name: str = "", form: str = "", embodiment: str | None = None, most: int = MOST
) -> Report:
    """Look at episodes of any making; as ``inspect_path``."""
    found = Findings()
    reader = source.reader if isinstance(source, EpisodeFolder) else None
    if reader is not None:
        check_all(reader)
        found.oddities = reader.oddities
    looks = list(_looks(source, most, found))
    body = _body(source, reader, looks, embodiment, found)
    check_pictures(looks, found)
    check_words(looks, found)
    check_actions(looks, body, found)
    if isinstance(source, RowFolder):
        _check_rates(source, looks, found)
    actions = None
    if body is not None and looks and looks[0].actions.shape[1] == body.width:
        actions = _actions(looks[0], body, found, alone=len(looks) < 3)
    dropped = {"the last row of an episode: its action leads to no recorded frame": len(source)}
    if blind := sum(row.length - 1 for row in reader.episodes if not row.films) if reader else 0:
        dropped["no camera of the episode has a film"] = blind
    lengths = [row.length for row in reader.episodes] if reader else [one.frames for one in looks]
    fps = reader.fps if reader else looks[0].fps if looks else 0.0
    robot = reader.info.get("robot_type") if reader else source.kept_embodiment
    tasks = reader.tasks.values() if reader else dict.fromkeys(one.instruction for one in looks)
    oddities = found.settled()
    shown = dict.fromkeys([n for one in oddities for n in one.episodes[:4]] + [one.number for one in looks[:8]])
    by_number = {one.number: one for one in looks}
    return Report(
        path=name, form=form, robot=str(robot), fps=fps, episodes=len(source), rows=sum(lengths),
        usable_rows=sum(lengths) - sum(dropped.values()), dropped=dropped, seconds=sum(lengths) / (fps or 1),
        shortest=min(lengths, default=0) / (fps or 1), longest=max(lengths, default=0) / (fps or 1), tasks=list(tasks),
        cameras=_cameras(reader, looks), actions=actions, looked_at=len(looks), oddities=oddities,
        first_frames={n: _strip(by_number[n]) for n in list(shown)[:24] if n in by_number},
    )  # fmt: skip


def _looks(source: EpisodeSource, most: int, found: Findings) -> Iterator[Look]:
    """Looks at ``most`` episodes, evenly spaced; what cannot be read is noted."""
    numbers = np.unique(np.linspace(0, len(source) - 1, min(most, len(source))).round().astype(int)).tolist()
    if len(numbers) < len(source):
        found.odd("looked-at-some", f"{len(numbers)} of {len(source)} episodes were looked at, evenly spaced.")
    for number in numbers:
        try:
            yield look(source.episode(number), number)
        except DataError as broken:
            seen = _watched(source, number, found) if isinstance(source, EpisodeFolder) else None
            if seen is not None:
                yield look(seen, number)
            elif not isinstance(source, EpisodeFolder) or source.reader.episodes[number].films:
                found.odd_in("unreadable", number, f"it cannot be read: {broken}")


def _watched(source: EpisodeFolder, number: int, found: Findings) -> Episode | None:
    """An episode without actions of a folder that has none; None where that is not what is wrong."""
    row = source.reader.episodes[number]
    if "action" in source.reader.features or not row.films:
        return None
    found.odd("no-action", "there is no column 'action': the folder can be watched, not learnt to act from.")
    frames = {key.split(".")[-1]: source.reader.frames(row, key, size=SIZE) for key in row.films}
    return Episode(
        world=source.reader.path.name, seed=number, fps=source.reader.fps, frames=frames,
        actions=np.zeros((row.length - 1, 0), np.float32), embodiment="unknown", states={}, instruction=row.task,
    )  # fmt: skip


def _check_rates(source: RowFolder, looks: list[Look], found: Findings) -> None:
    """Films of rows against the rate that their row states."""
    for one in looks:
        for camera, path in source.film_paths(source.rows[one.number]).items():
            film = film_info(path)
            if film.fps and abs(film.fps - one.fps) > 0.01 * one.fps:
                found.odd_in("other-rate", one.number, f"the film of camera {camera} has {film.fps:g} frames a second "
                             f"and its row states {one.fps:g}.")  # fmt: skip


def play(path: str | Path, out: str | Path, *, episode: int = 0, height: int = 180) -> Path:
    """Write the playable cameras of an episode side by side as a film (.mp4), or rows of a contact sheet (.png)."""
    out = Path(out)
    if out.suffix not in (".mp4", ".png"):
        raise RequestError(f"{out.name} cannot be played into: name a film (.mp4) or a contact sheet (.png).")
    if form_of(path) in ("webdataset", "jsonl"):
        return _play_any(path, out, episode, height)
    reader = open_reader(path)
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
    return _shown(shown, out, reader.fps)


def _play_any(path: str | Path, out: Path, episode: int, height: int) -> Path:
    source = open_episodes(path)
    if not 0 <= episode < len(source):
        raise RequestError(f"there is no episode {episode}: {path} has {len(source)}, from 0 on.")
    whole = source.episode(episode)
    tall = min(height, *(frames.shape[1] for frames in whole.frames.values())) // 2 * 2
    shown = {}
    for camera, frames in whole.frames.items():
        size = (tall, max(2, round(frames.shape[2] * tall / frames.shape[1] / 2) * 2))
        shown[camera] = np.stack([fitted(frame, size, "stretch") for frame in frames])
    return _shown(shown, out, whole.fps)


def _shown(shown: dict[str, Array], out: Path, fps: float) -> Path:
    if out.suffix == ".png":
        return write_image(out, contact_sheet(list(shown.values()), labels=list(shown)))
    tall = max(frames.shape[1] for frames in shown.values())
    level = [np.pad(f, ((0, 0), (0, tall - f.shape[1]), (0, 0), (0, 0))) for f in shown.values()]
    return write_video(out, np.concatenate(level, axis=2), fps)


def _body(
    source: EpisodeSource, reader: LeRobotReader | None, looks: list[Look], embodiment: str | None, found: Findings
) -> Embodiment | None:
    """The embodiment asked for, or the one that the set itself names; None, noted, where it names none."""
    if embodiment is not None:
        return load_embodiment(embodiment)
    if reader is not None and is_droid(reader):
        found.odd(
            "actions-made",
            f"there is no column 'action', and the joint columns are not used: pose steps of 10 numbers are made from "
            f"{POSE} and the gripper, as embodiment droid has them.",
        )
        return load_embodiment("droid")
    named = source.kept_embodiment
    if named in bundled():
        return load_embodiment(str(named))
    if any(one.actions.shape[1] for one in looks):
        found.odd(
            "no-embodiment",
            "the set does not say what its actions mean (units, frame, gripper): little is said about them; "
            "name an embodiment.",
        )
    return None


def _actions(first: Look, body: Embodiment, found: Findings, *, alone: bool) -> ActionReport | None:
    """What the first episode's actions look like; ``alone``: too few episodes for the probe, so this one must do."""
    actions = first.actions
    if len(actions) == 0 or not np.isfinite(actions).all():
        return None
    normal = body.encode(actions)[:, : body.width]
    agrees = None
    efforts = efforts_of(actions, body)
    if len(actions) >= LEAST_STEPS and first.cameras and efforts:
        change = next(iter(first.cameras.values())).change
        agrees = agreement(efforts[0][: len(change)], change)
        made = any(one.code == "actions-made" for one in found.oddities)  # of the states: they agree in any case
        if alone:
            note_agreement(found, (None if made else clearest(efforts, first.states)) or agrees)
    return ActionReport(
        embodiment=body.name,
        width=body.width,
        steps=len(actions),
        low=tuple(float(x) for x in actions.min(0)),
        high=tuple(float(x) for x in actions.max(0)),
        outside=float((np.abs(normal) > 1.0001).mean()),
        idle=idle_share(actions, body, first.fps),
        gripper=_gripper(body, actions),
        agreement=agrees,
    )


def _gripper(body: Embodiment, actions: Array) -> str:
    if body.gripper is None:
        return "none"
    column = [channel.name for channel in body.channels].index(body.gripper.channel)
    openness = (actions[:, column] - body.gripper.closed) / (body.gripper.opened - body.gripper.closed)
    switches = int((np.diff((openness > 0.5).astype(int)) != 0).sum())
    return f"begins {'open' if openness[0] > 0.5 else 'closed'}, {switches} changes, open {np.mean(openness > 0.5):.0%}"


def _cameras(reader: LeRobotReader | None, looks: list[Look]) -> list[CameraReport]:
    if reader is not None:
        return [_camera(reader, name) for name in reader.cameras]
    names = dict.fromkeys(camera for one in looks for camera in one.cameras)
    return [CameraReport(name=name, playable=True, film=f"of {looks[0].frames} frames in the first") for name in names]


def _strip(one: Look) -> Array:
    """An episode's first frames, its cameras side by side."""
    return np.concatenate([seen.first for seen in one.cameras.values()], axis=1)


def _camera(reader: LeRobotReader, name: str) -> CameraReport:
    row = next((row for row in reader.episodes if name in row.films), None)
    if row is None:
        return CameraReport(name=name, playable=False, film="")
    film = film_info(row.films[name].path)
    words = f"{film.width}x{film.height} {film.codec} {film.pix_fmt}, {film.frames} frames at {film.fps:g} a second"
    return CameraReport(name=name, playable=True, film=words)
