"""What holds a film: its controls, checked, at their size, in the order in which a model is shown them.

    Asked's controls, weights, guidance, stretch, overlap  --check_controls-->  Controlled

A control is a film that shows the same moments from the same place as the film that is to be made: its edges, its
blurred colours, its depth, whose every pixel is, or the scenario's map. A picture is a film of one frame.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armillary import controls
from armillary.errors import RequestError
from armillary.records import Array
from armillary.sampling.pictures import film_from, fit_film, picture_from
from armillary.sampling.values import MOST_FRAMES, number, whole
from armillary.tokenizers.video import TIME

OFTEN = 93  # frames of a stretch, where a checkpoint does not say how many it makes (cosmos3.md 4.5)
OF_MAPS = 101  # the same under a scenario map alone
_SPELLINGS = {called: kind for kind, called in controls.CALLED.items()}
_STILL = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_SKEW = 0.02  # by how much shapes may differ and still show the same place: sizes are whole pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class Controlled:
    """A film's controls. ``films`` uint8 t h w 3 each, as long as what is to be made, in the models' order of kinds.

    ``weights``: how much each counts, together 1. ``guidance``: how strongly all hold. ``words``: how strongly the
    prompt does where nobody says. ``stretch``: frames of one walk, ``overlap`` of them shared with the walk before.
    ``begins``: uint8 t h w 3, the first frames of the film where these are given.
    """

    films: Mapping[str, Array]
    weights: tuple[float, ...]
    guidance: float
    words: float
    stretch: int
    overlap: int
    begins: Array | None = None

    @property
    def frames(self) -> int:
        """How long the film is."""
        return len(next(iter(self.films.values())))

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds as the published models know them."""
        return tuple(controls.CALLED.get(kind, kind) for kind in self.films)


def check_controls(given: Mapping[str, Any], size: tuple[int, int], fps: float, usual: int | None) -> Controlled:
    """What the fields of a request say of controls; ``usual``: how many frames the checkpoint makes, if it says.

    Raises ``RequestError`` for kinds that are unknown, films that cannot be read or do not fit together, and numbers
    that cannot be.
    """
    sources = _by_kind(given["controls"], "controls")
    if not sources:
        raise RequestError(f"controls is empty: give at least one of {', '.join(controls.KINDS)}.")
    own = film_from(given["video"], "video", fps) if "video" in given else None
    raw: dict[str, Array] = {kind: _film(kind, sources[kind], own, fps) for kind in controls.KINDS if kind in sources}
    _fit_together(raw)
    length = len(next(iter(raw.values())))
    frames = whole(given, "frames", min(length, MOST_FRAMES), 1, MOST_FRAMES)
    if frames > length:
        raise RequestError(f"frames={frames}, but the controls have {length}: give longer ones, or leave frames out.")
    if length > MOST_FRAMES and "frames" not in given:
        raise RequestError(f"the controls have {length} frames, at most {MOST_FRAMES} are made: say with frames how "
                           "many.")  # fmt: skip
    weights = _weights(given, tuple(raw))
    usual = (OF_MAPS if tuple(raw) == ("map",) else OFTEN) if usual is None else usual
    stretch = whole(given, "stretch", usual, 1, MOST_FRAMES)
    if stretch % TIME != 1:
        raise RequestError(f"stretch={stretch} cannot be cut into latents: it must be 4k+1, "
                           f"{stretch // TIME * TIME + 1} would do.")  # fmt: skip
    stretch = min(stretch, 1 + TIME * -(-(frames - 1) // TIME))
    overlap = whole(given, "overlap", min(1, stretch - 1), 0, stretch - 1)
    begins = _begins(given, own, frames, size)
    if begins is not None and len(begins) >= stretch:
        raise RequestError(f"given_frames={len(begins)} leaves a stretch of {stretch} frames nothing to find: give at "
                           f"most {stretch - 1}, or a longer stretch.")  # fmt: skip
    if own is not None and begins is None and not any(_made(source) for source in sources.values()):
        raise RequestError("video has no use: no control is 'auto', and given_frames does not say that the film begins "
                           "with it; leave it out.")  # fmt: skip
    held = [weight * controls.GUIDANCE[kind][1] for kind, weight in zip(raw, weights, strict=True)]
    told = [weight * controls.GUIDANCE[kind][0] for kind, weight in zip(raw, weights, strict=True)]
    return Controlled(
        films={kind: fit_film(film[:frames], size) for kind, film in raw.items()},
        weights=weights,
        guidance=number(given, "control_guidance", sum(held), most=100.0),
        words=sum(told),
        stretch=stretch,
        overlap=overlap,
        begins=begins,
    )


def reflected(film: Array, frames: int) -> Array:
    """The film, made ``frames`` long: it goes back and forth between its ends; one frame alone is repeated."""
    while len(film) < frames:
        more = min(len(film) - 1, frames - len(film))
        tail = film[::-1][:more] if more else film[-1:].repeat(frames - len(film), axis=0)
        film = np.concatenate([film, tail])
    return film


def _by_kind(value: Any, field: str) -> dict[str, Any]:
    """A mapping by kind, in any of the field's spellings of kinds."""
    if not isinstance(value, Mapping):
        raise RequestError(f"{field} is {type(value).__name__}: give a mapping from kind, such as 'edge'.")
    found: dict[str, Any] = {}
    for name, one in value.items():
        kind = _SPELLINGS.get(str(name).strip().lower(), str(name).strip().lower())
        if kind not in controls.KINDS:
            near = difflib.get_close_matches(kind, controls.KINDS, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise RequestError(f"control {name!r} is unknown: it must be one of {', '.join(controls.KINDS)}.{hint}")
        if kind in found:
            raise RequestError(f"{field} has {kind} twice: give one.")
        if one is not None:
            found[kind] = one
    return found


def _made(source: Any) -> bool:
    return isinstance(source, str) and (source == "auto" or source.startswith("auto:"))


def _film(kind: str, source: Any, own: Array | None, fps: float) -> Array:
    """A control's frames uint8 t h w 3, read or made of the film that came beside it."""
    name = f"control {kind}"
    if _made(source):
        if kind not in ("edge", "blur"):
            raise RequestError(f"{name} cannot be made of a film alone, only edge and blur can: give its film.")
        if own is None:
            raise RequestError(f"{name} is {source!r}, to be made of a film: give that as video.")
        strength = source.partition(":")[2].replace("_", " ") or "medium"
        return controls.edge(own, strength) if kind == "edge" else controls.blur(own, strength)
    if isinstance(source, (str, Path)) and Path(source).suffix.lower() in _STILL:
        return picture_from(source, name)[None]
    if isinstance(source, np.ndarray) and source.ndim == 3:
        return picture_from(source, name)[None]
    return film_from(source, name, fps)


def _fit_together(films: Mapping[str, Array]) -> None:
    """All controls are of one length and one shape, or they do not show the same."""
    (first, film), *others = films.items()
    for kind, other in others:
        if len(other) != len(film):
            raise RequestError(f"control {first} has {len(film)} frames and {kind} {len(other)}: all controls must be "
                               "as long, give them at one rate and cut them alike.")  # fmt: skip
        (h, w), (y, x) = film.shape[1:3], other.shape[1:3]
        if abs(h * x / (w * y) - 1) > _SKEW:
            raise RequestError(f"control {first} is {h}x{w} and {kind} {y}x{x}: they do not show the same place, all "
                               "controls must have one shape.")  # fmt: skip


def _weights(given: Mapping[str, Any], kinds: tuple[str, ...]) -> tuple[float, ...]:
    """How much each control counts, together 1."""
    asked = _by_kind(given.get("control_weights", {}), "control_weights")
    for kind in asked:
        if kind not in kinds:
            raise RequestError(f"control_weights names {kind}, which is no control here: these are {', '.join(kinds)}.")
    told = {f"the weight of {kind}": weight for kind, weight in asked.items()}
    weights = [number(told, f"the weight of {kind}", 1.0, least=0.0, most=1000.0) for kind in kinds]
    if len(kinds) == 1 and weights != [1.0]:
        raise RequestError(f"the only control's weight of {weights[0]:g} changes nothing: say with control_guidance "
                           "how strongly it holds.")  # fmt: skip
    if not sum(weights):
        raise RequestError("control_weights are all 0: leave out what shall not count, and keep at least one.")
    if given.get("dialect") == "diffusers" and len(set(weights)) > 1:
        raise RequestError("control_weights have no use in dialect diffusers, which looks at all controls at once: "
                           "leave them out, or take native.")  # fmt: skip
    return tuple(weight / sum(weights) for weight in weights)


def _begins(given: Mapping[str, Any], own: Array | None, frames: int, size: tuple[int, int]) -> Array | None:
    """The frames that the film begins with."""
    count = whole(given, "given_frames", 0, 0, frames - 1)
    if not count:
        return None
    if own is None:
        raise RequestError(f"given_frames={count}, but there is no video to take them from: give it.")
    if len(own) < count:
        raise RequestError(f"given_frames={count}, but video has {len(own)} frames: give more, or ask for fewer.")
    return fit_film(own[:count], size)
