"""Embodiments: what the numbers of an action mean, kept as data, and the way to the model's 64 channels and back.

    physical units  t a   --encode-->   model space  t 64   (normalised, then zero padded)
                    t a   <--decode--                t 64

An embodiment is a TOML file (``embodiment_files/`` or your own); a new body needs no source edit. It travels in a
checkpoint's ``embodiments.json`` with the statistics its weights were trained with. A pose delta is
``T_i^-1 T_{i+1}``: metres, then the first two columns of the rotation (cosmos3.md 3.6).
"""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike

from armillary.errors import CheckpointError, ConfigError, DataError, RequestError

MODEL_CHANNELS = 64  # the width every embodiment is padded to
SCALE_FLOOR = 1e-3  # a channel that never moves must not become noise
FILES = Path(__file__).parent / "embodiment_files"

Frame = Literal["absolute", "relative", "framewise relative"]
Rotation = Literal["none", "rot6d columns"]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One number of an action: its name, unit, frame of reference, and the limits it must keep."""

    name: str
    unit: str
    frame: Frame
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Camera:
    """One camera of the body. ``view`` is a viewpoint of ``prompts.VIEWS``; ``orientation`` says which way is up."""

    name: str
    height: int
    width: int
    orientation: str = "upright"
    view: str = "third_person_view"


@dataclass(frozen=True, kw_only=True)
class Gripper:
    """Which channel is the gripper, and its values when closed and when open."""

    channel: str
    closed: float
    opened: float


@dataclass(frozen=True, kw_only=True)
class Normaliser:
    """normalised = (raw - offset) / scale, one pair per channel; ``method`` and ``source`` say where they come from."""

    method: Literal["quantile", "limits", "identity", "meanstd", "minmax"]
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    source: str


@dataclass(frozen=True, kw_only=True)
class Embodiment:
    """A body with its action spec. Action i leads from frame i to frame i+1, ``rate_hz`` of them a second.

    ``stands_for``, ``seen_from``: whose absolute actions these are, less which of its states (``steps.py``).
    """

    name: str
    about: str
    domain: str
    domain_id: int
    rate_hz: float
    rotation: Rotation
    channels: tuple[Channel, ...]
    normaliser: Normaliser
    gripper: Gripper | None = None
    cameras: tuple[Camera, ...] = ()
    stands_for: str = ""
    seen_from: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.width <= MODEL_CHANNELS:
            raise ConfigError(f"{self.name} has {self.width} channels: the model takes 1 to {MODEL_CHANNELS}.")
        if not 0 <= self.domain_id < 32:
            raise ConfigError(
                f"{self.name} has domain id {self.domain_id}: there are slots 0 to 31; 24 to 31 are free."
            )
        if self.rate_hz <= 0:
            raise ConfigError(f"{self.name} has {self.rate_hz} Hz: actions per second must be above 0.")
        names = [channel.name for channel in self.channels]
        if len(set(names)) != len(names):
            raise ConfigError(f"{self.name} names a channel twice in {names}: each number needs its own name.")
        if self.gripper is not None and self.gripper.channel not in names:
            raise ConfigError(f"{self.name} has a gripper on {self.gripper.channel!r}: it must be one of {names}.")
        for field, values in (("offset", self.normaliser.offset), ("scale", self.normaliser.scale)):
            if len(values) != self.width:
                raise ConfigError(
                    f"{self.name} has {len(values)} numbers in normaliser.{field}: it needs {self.width}."
                )
        if min(self.normaliser.scale) < SCALE_FLOOR:
            raise ConfigError(
                f"{self.name} has a normaliser scale of {min(self.normaliser.scale)}: it must be at least "
                f"{SCALE_FLOOR}, so that a channel that never moves does not become noise."
            )

    @property
    def width(self) -> int:
        """How many numbers an action has."""
        return len(self.channels)

    @property
    def translation(self) -> list[int]:
        """The channels that say where the body goes: of a pose step its first three, else all but the gripper."""
        if self.rotation != "none":
            return [0, 1, 2]
        gripper = None if self.gripper is None else self.gripper.channel
        return [i for i, channel in enumerate(self.channels) if channel.name != gripper]

    @property
    def rest(self) -> list[float]:
        """An action that changes nothing: nought where that is allowed, else the middle of a channel, and no turn."""
        rest = [0.0 if one.low <= 0 <= one.high else (one.low + one.high) / 2 for one in self.channels]
        units = [channel.unit for channel in self.channels]
        if self.rotation == "rot6d columns" and "direction cosine" in units:
            first = units.index("direction cosine")
            rest[first : first + 6] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        return rest

    def encode(self, actions: ArrayLike) -> Float[np.ndarray, "t 64"]:
        """Actions t a in physical units -> float32 t 64: normalised, zeros after ``width``; or ``DataError``."""
        raw = self.check(actions)
        self._refuse_huge(raw)
        padded = np.zeros((len(raw), MODEL_CHANNELS), dtype=np.float32)
        padded[:, : self.width] = (raw - self.normaliser.offset) / self.normaliser.scale
        return padded

    def decode(self, numbers: ArrayLike) -> Float[np.ndarray, "t a"]:
        """Model space t 64 -> float32 actions t a in physical units. Not clamped: limits are the world's to keep."""
        numbers = np.asarray(numbers, dtype=np.float64)
        if numbers.ndim != 2 or numbers.shape[1] < self.width:
            raise DataError(
                f"model-space actions of shape {numbers.shape} cannot be {self.name}'s: they must be t by at least "
                f"{self.width}; the model gives t {MODEL_CHANNELS}."
            )
        raw = numbers[:, : self.width] * np.asarray(self.normaliser.scale) + np.asarray(self.normaliser.offset)
        return raw.astype(np.float32)

    def check(self, actions: ArrayLike, *, limits: bool = False) -> Float[np.ndarray, "t a"]:
        """Actions t a as float64, or ``DataError``: wrong width, not finite, or (``limits=True``) beyond a limit."""
        try:
            raw = np.asarray(actions, dtype=np.float64)
        except (TypeError, ValueError) as broken:
            raise DataError(f"actions are not a table of numbers ({broken}): give t rows of {self.width}.") from broken
        if raw.ndim != 2 or raw.shape[1] != self.width:
            raise DataError(
                f"actions of shape {raw.shape} do not fit {self.name}: it takes t rows of {self.width} numbers "
                f"({', '.join(channel.name for channel in self.channels)})."
            )
        if not np.isfinite(raw).all():
            row, column = np.argwhere(~np.isfinite(raw))[0]
            raise DataError(
                f"action {row} has {raw[row, column]} for {self.channels[column].name}: every number must be finite."
            )
        if limits:
            for column, channel in enumerate(self.channels):
                worst = raw[np.argmax(np.abs(raw[:, column] - (channel.low + channel.high) / 2)), column]
                if not channel.low <= worst <= channel.high:
                    raise DataError(
                        f"{channel.name} is {worst:.4g} {channel.unit}: {self.name} allows {channel.low} to "
                        f"{channel.high}. Check the unit and the frame ({channel.frame})."
                    )
        return raw

    def _refuse_huge(self, raw: Float[np.ndarray, "t a"]) -> None:
        """``DataError`` for what is finite here and is not once it is normalised to float32."""
        normal = np.abs(raw / self.normaliser.scale) + np.abs(np.divide(self.normaliser.offset, self.normaliser.scale))
        if len(huge := np.argwhere(normal > np.finfo(np.float32).max)):
            row, column = huge[0]
            raise DataError(
                f"action {row} has {raw[row, column]:g} for {self.channels[column].name}: normalised, that is more "
                f"than 32 bits hold. Check the unit, {self.channels[column].unit}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; ``from_dict`` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Embodiment":
        """From a TOML file or ``to_dict``. ``ConfigError`` names what is missing or unknown."""
        known = set(cls.__dataclass_fields__)
        if unknown := set(data) - known:
            near = difflib.get_close_matches(min(unknown), known, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"an embodiment has no field {min(unknown)!r}: known are {sorted(known)}. Nearest: {near!r}."
            )
        try:
            fields = dict(data)
            fields["channels"] = tuple(channel for group in data["channels"] for channel in _channels(group))
            fields["cameras"] = tuple(Camera(**camera) for camera in data.get("cameras", ()))
            gripper = data.get("gripper")
            fields["gripper"] = Gripper(**gripper) if gripper else None
            normaliser = dict(data["normaliser"])
            normaliser["offset"] = tuple(float(x) for x in normaliser["offset"])
            normaliser["scale"] = tuple(float(x) for x in normaliser["scale"])
            fields["normaliser"] = Normaliser(**normaliser)
            return cls(**fields)
        except (KeyError, TypeError) as broken:
            raise ConfigError(
                f"the embodiment {data.get('name', '(no name)')!r} is incomplete or has a field too many: {broken}. "
                f"Compare with {FILES.name}/tabletop.toml."
            ) from broken


def _channels(group: Mapping[str, Any]) -> list[Channel]:
    """A TOML group shares unit, frame and limits between several ``names``; a JSON entry has one ``name``."""
    shared = {key: value for key, value in group.items() if key not in ("name", "names")}
    names = group["names"] if "names" in group else [group["name"]]
    return [Channel(name=name, **shared) for name in names]


def bundled() -> list[str]:
    """Names of the embodiments that come with the package."""
    return sorted(path.stem for path in FILES.glob("*.toml"))


def load_embodiment(name_or_path: str | Path, folder: Path | None = None) -> Embodiment:
    """The embodiment of that name or file.

    A name is looked up in the checkpoint ``folder`` first (there it has the statistics of the weights), then among
    the bundled files. A path to a ``.toml`` whose name the checkpoint knows must mean the same numbers.
    Raises ``RequestError`` for an unknown name, ``ConfigError`` for a file that cannot work.
    """
    inside = load_embodiments(folder) if folder is not None else {}
    path = Path(name_or_path)
    if path.suffix == ".toml":
        ours = _read_toml(path)
        if ours.name in inside:
            check_same_meaning(ours, inside[ours.name])
        return ours
    name = str(name_or_path)
    if name in inside:
        return inside[name]
    if name in bundled():
        return _read_toml(FILES / f"{name}.toml")
    known = sorted({*inside, *bundled()})
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise RequestError(f"embodiment {name!r} is unknown: it must be one of {', '.join(known)}, or a .toml file.{hint}")


def load_embodiments(folder: Path) -> dict[str, Embodiment]:
    """Every embodiment of a checkpoint folder's ``embodiments.json``, by name; empty where there is none."""
    path = folder / "embodiments.json"
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as broken:
        raise CheckpointError(f"{path} is not JSON ({broken}): copy the checkpoint again.") from broken
    return {name: Embodiment.from_dict(data) for name, data in entries.items()}


def save_embodiments(folder: Path, embodiments: Sequence[Embodiment]) -> None:
    """Write ``embodiments.json`` into a checkpoint folder, with each one's normaliser."""
    entries = {embodiment.name: embodiment.to_dict() for embodiment in embodiments}
    (folder / "embodiments.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def check_same_meaning(one: Embodiment, other: Embodiment) -> None:
    """Raise ``RequestError`` if two embodiments of one name differ in what the model would see."""
    for field in ("domain", "domain_id", "rate_hz", "rotation", "channels", "gripper", "normaliser", "seen_from"):
        ours, theirs = one.to_dict()[field], other.to_dict()[field]
        if ours != theirs:
            raise RequestError(
                f"{one.name} has {field} {ours}, but the weights were trained with {theirs}: use the checkpoint's own "
                f"embodiment, or post-train under another name."
            )


def fit_normaliser(embodiment: Embodiment, actions: ArrayLike) -> Embodiment:
    """The embodiment with offset and scale from these actions' 1 % and 99 % quantiles, the scale at least 1e-3.

    The common range then maps to [-1, 1] (cosmos3.md 3.7). A gripper keeps its declared range: a recording in which
    it never closes must not make closing infinite.
    """
    raw = embodiment.check(actions)
    if len(raw) < 2:
        raise DataError(f"{len(raw)} actions cannot give statistics for {embodiment.name}: give at least 2.")
    low, high = np.quantile(raw, [0.01, 0.99], axis=0)
    if embodiment.gripper is not None:
        column = [channel.name for channel in embodiment.channels].index(embodiment.gripper.channel)
        low[column], high[column] = sorted((embodiment.gripper.closed, embodiment.gripper.opened))
    scale = np.maximum((high - low) / 2, SCALE_FLOOR)
    normaliser = Normaliser(
        method="quantile",
        offset=tuple(float(x) for x in np.round((low + high) / 2, 6)),
        scale=tuple(float(max(x, SCALE_FLOOR)) for x in np.round(scale, 6)),
        source=f"q01 and q99 of {len(raw)} actions",
    )
    return replace(embodiment, normaliser=normaliser)


def rot6d_from_matrix(matrix: Shaped[np.ndarray, "*s 3 3"]) -> Shaped[np.ndarray, "*s 6"]:
    """The first two columns of a rotation, one after the other."""
    return np.concatenate([matrix[..., :, 0], matrix[..., :, 1]], axis=-1)


def matrix_from_rot6d(numbers: Shaped[np.ndarray, "*s 6"]) -> Shaped[np.ndarray, "*s 3 3"]:
    """The nearest rotation by Gram-Schmidt, first column first. ``DataError`` if the columns span no plane."""
    numbers = np.asarray(numbers, dtype=np.float64)
    first, second = numbers[..., :3], numbers[..., 3:]
    first_length = np.linalg.norm(first, axis=-1, keepdims=True)
    a = first / np.maximum(first_length, 1e-12)
    rest = second - (a * second).sum(axis=-1, keepdims=True) * a
    rest_length = np.linalg.norm(rest, axis=-1, keepdims=True)
    if min(first_length.min(initial=1.0), rest_length.min(initial=1.0)) < 1e-6:
        raise DataError("six rotation numbers are no rotation: the two columns must be non-zero and not parallel.")
    b = rest / rest_length
    return np.stack([a, b, np.cross(a, b)], axis=-1)


def pose_from_rot6d(numbers: Shaped[np.ndarray, "*s 9"]) -> Shaped[np.ndarray, "*s 4 4"]:
    """Nine pose numbers (translation 3, rot6d columns 6) -> a rigid transform."""
    numbers = np.asarray(numbers, dtype=np.float64)
    pose = np.zeros((*numbers.shape[:-1], 4, 4))
    pose[..., :3, :3] = matrix_from_rot6d(numbers[..., 3:])
    pose[..., :3, 3] = numbers[..., :3]
    pose[..., 3, 3] = 1.0
    return pose


def rot6d_from_pose(pose: Shaped[np.ndarray, "*s 4 4"]) -> Shaped[np.ndarray, "*s 9"]:
    """A rigid transform -> nine pose numbers; the inverse of ``pose_from_rot6d``."""
    return np.concatenate([pose[..., :3, 3], rot6d_from_matrix(pose[..., :3, :3])], axis=-1)


def relative_pose(
    start: Shaped[np.ndarray, "*s 4 4"], end: Shaped[np.ndarray, "*s 4 4"]
) -> Shaped[np.ndarray, "*s 4 4"]:
    """``start^-1 end``: the step seen from ``start``'s own frame, so that ``end = start @ step``."""
    inverse = np.zeros_like(start, dtype=np.float64)
    turned = np.swapaxes(start[..., :3, :3], -1, -2)
    inverse[..., :3, :3] = turned
    inverse[..., :3, 3] = -(turned @ start[..., :3, 3:])[..., 0]
    inverse[..., 3, 3] = 1.0
    return inverse @ end


def integrate(start: Shaped[np.ndarray, "4 4"], steps: Shaped[np.ndarray, "t 9"]) -> Shaped[np.ndarray, "u 4 4"]:
    """The t+1 poses that t pose steps lead through, ``start`` first: ``T_{i+1} = T_i step_i``."""
    poses = [np.asarray(start, dtype=np.float64)]
    for step in pose_from_rot6d(steps):
        poses.append(poses[-1] @ step)
    return np.stack(poses)


def pose_from_euler(numbers: Shaped[np.ndarray, "*s 6"]) -> Shaped[np.ndarray, "*s 4 4"]:
    """Metres x y z and radians roll pitch yaw about the fixed axes x, y, z in that order (as DROID records them)."""
    numbers = np.asarray(numbers, dtype=np.float64)
    (cr, cp, cy), (sr, sp, sy) = (np.moveaxis(f(numbers[..., 3:]), -1, 0) for f in (np.cos, np.sin))
    pose = np.zeros((*numbers.shape[:-1], 4, 4))
    pose[..., 0, :3] = np.stack([cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr], axis=-1)
    pose[..., 1, :3] = np.stack([sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr], axis=-1)
    pose[..., 2, :3] = np.stack([-sp, cp * sr, cp * cr], axis=-1)
    pose[..., :3, 3] = numbers[..., :3]
    pose[..., 3, 3] = 1.0
    return pose


def _read_toml(path: Path) -> Embodiment:
    if not path.is_file():
        raise RequestError(
            f"there is no embodiment file {str(path)!r}: give a .toml file or one of {', '.join(bundled())}."
        )
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise ConfigError(f"{path} is not TOML ({broken}): compare with {FILES.name}/tabletop.toml.") from broken
    return Embodiment.from_dict(data)
