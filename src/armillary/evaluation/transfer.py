"""Films under controls: does an imagined film keep what it was given to keep?

    measure_transfer   a held-out clip's caption and one control -> a film; that control, found again in the film,
                       beside the one that was given

Found again: edges and blurred colours are computed as the given ones were. Labels, by the colours of tables: every
colour's pixels beside those of the things that have it (``colours``), and all coloured pixels beside those of all
things, whichever colour they came out in (``things``). A picture has no depth that could be computed: of films held by
depth the same is asked as of those held by labels, where things stand. And of all, how near they come to the true film.

Beside ``held`` are films of the same words and noise, which nobody acts out: ``free`` (no control), ``strange``
(another clip's control), ``led`` (the first frame, no control), ``begun`` (control and first frame); and ``codec``, the
true film after the video tokenizer, above which no film can be expected to come.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from armillary import controls
from armillary.datasets.control_films import control_of
from armillary.evaluation.bootstrap import Figure, mean
from armillary.evaluation.dynamics import other_episodes, reconstructed
from armillary.evaluation.held_out import CAMERA, FRAMES, STEPS
from armillary.evaluation.pixels import HUES, nearest_hue, psnr
from armillary.records import Array, Episode
from armillary.sampling.adapters import NONE
from armillary.worlds.record import record_tabletop

if TYPE_CHECKING:
    from armillary.sampling.omni import Omni

HELD: tuple[controls.Control, ...] = ("edge", "blur", "depth", "segmentation")
ARM = 100  # the arm's label; things have those below


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldFilm:
    """Seventeen frames that shall be kept in part. ``controls``: uint8 17 h w 3 each. ``named``: things to labels."""

    seed: int
    words: str
    video: Array
    controls: Mapping[controls.Control, Array]
    labels: NDArray[np.int32]
    named: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Followed:
    """One measure of one film: ``film`` held, free, strange, begun, led or codec; more is better."""

    seed: int
    measure: str
    film: str
    value: float


def held_film(seed: int, kind: str = "expert") -> HeldFilm:
    """The last frames of that seed's life, and its controls."""
    episode = record_tabletop(seed, kind, views=(CAMERA,), extras=("depth", "segmentation"), max_steps=STEPS[kind])
    assert episode.segmentation is not None
    return HeldFilm(
        seed=seed, words=episode.captions["dense"], video=episode.frames[CAMERA][-FRAMES:],
        controls={one: control_of(episode, one, CAMERA)[-FRAMES:] for one in HELD},
        labels=episode.segmentation[CAMERA][-FRAMES:], named=_labels(episode),
    )  # fmt: skip


def measure_transfer(
    omni: "Omni", clips: Sequence[HeldFilm], *, on_done: Callable[[int], None] | None = None
) -> list[Followed]:
    """Make the films of every clip and look for its controls in them."""
    found: list[Followed] = []
    strangers = other_episodes([clip.seed for clip in clips])
    for number, clip in enumerate(clips):
        films = _films(omni, clip, clips[strangers[number]], seed=number)
        films["codec", None] = reconstructed(omni, clip.video[None])[0]
        for (name, kind), film in films.items():
            for one in HELD if kind is None else (kind,):
                told = kept(film, clip, one).items()
                found += [Followed(seed=clip.seed, measure=measure, film=name, value=value) for measure, value in told]
        if on_done is not None:
            on_done(number + 1)
    return found


def kept(film: Array, clip: HeldFilm, kind: controls.Control) -> dict[str, float]:
    """The measures of a film t h w 3 beside one of a clip's controls."""
    given, close = clip.controls[kind], {f"{kind}_film_psnr": psnr(film, clip.video)}
    if kind == "edge":
        return {"edge_f1": edge_f1(given, controls.edge(film)), **close}
    if kind == "blur":
        return {"blur_psnr": psnr(controls.blur(film), given), **close}
    things = {f"{kind}_things_iou": things_iou(film, clip), **close}
    return things if kind == "depth" else {"segmentation_colours_iou": colours_iou(film, clip), **things}


def edge_f1(wanted: Array, found: Array) -> float:
    """Of edges t h w 3: the harmonic mean of the share found and the share wanted, a pixel apart counts as there."""
    one, other = (edges[..., 0] > 0 for edges in (wanted, found))
    if not one.any() or not other.any():
        return float(one.any() == other.any())
    recall, precision = _near(other)[one].mean(), _near(one)[other].mean()
    return float(2 * recall * precision / max(recall + precision, 1e-9))


def colours_iou(film: Array, clip: HeldFilm) -> float:
    """How far pixels of each named colour are those of the things that have it, over all frames; the colours' mean."""
    hues, colours = _hues(film), {name.split()[0] for name in clip.named}
    shares = []
    for colour in sorted(colours):
        own = [label for name, label in clip.named.items() if name.split()[0] == colour]
        shares.append(_iou(hues == list(HUES).index(colour), np.isin(clip.labels, own)))
    return float(np.mean(shares)) if shares else 1.0


def things_iou(film: Array, clip: HeldFilm) -> float:
    """How far coloured pixels, whichever colour they have, are those of things."""
    return _iou(_hues(film) >= 0, (clip.labels > 0) & (clip.labels < ARM))


def transfer_figures(found: Sequence[Followed], *, seed: int = 0) -> dict[str, Figure]:
    """Each measure of each film, and how much better than without a control, or with another's: in pairs."""
    figures: dict[str, Figure] = {}
    for measure in dict.fromkeys(one.measure for one in found):
        by_film: dict[str, dict[int, Followed]] = {}
        for one in found:
            if one.measure == measure:
                by_film.setdefault(one.film, {})[one.seed] = one
        for film, own in by_film.items():
            name = measure if film == "held" else f"{measure}_{film}"
            figures[name] = mean([one.value for one in own.values()], list(own), seed=seed)
        for film, base in (("held", "free"), ("held", "strange"), ("begun", "led")):
            if film in by_film and base in by_film:
                gains = [one.value - by_film[base][at].value for at, one in by_film[film].items()]
                lead = measure if film == "held" else f"{measure}_{film}"
                figures[f"{lead}_better_than_{base}"] = mean(gains, list(by_film[film]), seed=seed)
    return figures


def _films(
    omni: "Omni", clip: HeldFilm, stranger: HeldFilm, *, seed: int
) -> dict[tuple[str, controls.Control | None], Array]:
    """The model's films of a clip, by what they are and the control they shall be compared with (None: all)."""
    told: dict[str, Any] = {"prompt": clip.words, "seed": seed}
    asked: dict[tuple[str, controls.Control | None], dict[str, Any]] = {
        ("free", None): {"mode": "text-to-video", "acting": NONE, **told},
        ("led", None): {"mode": "image-to-video", "acting": NONE, "image": clip.video[0], **told},
    }
    for kind in HELD:
        own = {"mode": "transfer", "controls": {kind: clip.controls[kind]}, **told}
        asked["held", kind] = own
        asked["strange", kind] = {**own, "controls": {kind: stranger.controls[kind]}}
        asked["begun", kind] = {**own, "video": clip.video[:1], "given_frames": 1}
    films = [rollout.video for rollout in omni.imagine_many(list(asked.values()))]
    return {name: film for name, film in zip(asked, films, strict=True) if film is not None}


def _labels(episode: Episode) -> dict[str, int]:
    """The label of each thing seen in the first of the last frames: the one whose pixels fill its box."""
    assert episode.segmentation is not None and episode.boxes is not None
    marks = episode.segmentation[CAMERA][-FRAMES]
    found: dict[str, int] = {}
    for label in (int(one) for one in np.unique(marks) if 0 < one < ARM):
        rows, columns = np.nonzero(marks == label)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        found |= {
            name: label for name, own in episode.boxes[-FRAMES].items() if tuple(own) == tuple(int(x) for x in box)
        }
    return found


def _hues(film: Array) -> NDArray[np.int64]:
    return np.stack([nearest_hue(frame) for frame in film])


def _iou(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    return float((found & wanted).sum() / max(1, (found | wanted).sum()))


def _near(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """t h w: where something is at most a pixel away."""
    wide = np.pad(there, ((0, 0), (1, 1), (1, 1)))
    h, w = there.shape[1:]
    return np.any([wide[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=0)
