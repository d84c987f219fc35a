"""Forward and inverse dynamics beside the truth: is what happens imagined right, and are actions read off right?

    measure_forward   a first frame and 16 actions -> the film, beside: repeat the first frame, the video
                      tokenizer's own reconstruction, and the film of another clip's actions
    measure_inverse   the film -> 16 actions, beside the actions that were really done

Neither names a task: the model reads its checkpoint's neutral words, so that nothing but actions and pictures can
say what happens. The first frame is given and therefore not marked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from armillary.embodiments import Embodiment, load_embodiment
from armillary.evaluation.bootstrap import Figure, bootstrap, mean, r_squared, ratio
from armillary.evaluation.held_out import HeldClip
from armillary.evaluation.pixels import blobs_of, centre_of, mask_of, psnr, within
from armillary.records import Array
from armillary.sampling.pictures import to_numbers, to_pixels
from armillary.tokenizers.video import SPACE, on_canvas

if TYPE_CHECKING:
    from armillary.sampling.omni import Omni

EMBODIMENT = "tabletop"
NEAR_SHARE = 0.05  # of the width: how far the imagined centre may be from the true one
LEAST_SEEN = 30  # pixels of the moved object's colour in the true last frame, to look for it
BATCH = 16
Told = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class ForwardScore:
    """One clip. PSNR in dB over the 16 imagined frames; distances in shares of the width, at the last frame.

    ``off*``: from the moved object's true centre to the found one, None if its colour is nowhere; ``off_true``:
    found in the true frame itself. Not ``judged``: it is hidden at the end, or another object has its colour.
    ``psnr_shuffled``: None where all clips have the same actions.
    """

    seed: int
    kind: str
    start: int
    moved: str | None
    psnr: float
    psnr_still: float
    psnr_codec: float
    psnr_shuffled: float | None
    judged: bool
    off: float | None
    off_codec: float | None
    off_shuffled: float | None
    off_true: float | None


@dataclass(frozen=True, kw_only=True)
class InverseScore:
    """One clip: the body's translation, t 3 metres a step on the tabletop, done and read off; and of how many steps
    the gripper was read off right, 0 of 0 where there is none."""

    seed: int
    kind: str
    start: int
    true_steps: list[list[float]]
    found_steps: list[list[float]]
    gripper_right: int
    gripper_all: int


def measure_forward(
    omni: "Omni", clips: Sequence[HeldClip], *, embodiment: str = EMBODIMENT, shuffled: bool = True,
    on_done: Told | None = None,
) -> list[ForwardScore]:  # fmt: skip
    """Imagine every clip from its first frame and its actions, and with the actions of another episode's clip.

    Not ``shuffled``: without the latter, where nobody acts and all actions are alike.
    """
    strangers = other_episodes([clip.seed for clip in clips])
    scores: list[ForwardScore] = []
    for first in range(0, len(clips), BATCH):
        batch = list(clips[first : first + BATCH])
        wrong = [clips[i].actions for i in strangers[first : first + BATCH]]
        own = imagined_films(omni, batch, [clip.actions for clip in batch], seed=first, embodiment=embodiment)
        other = (
            imagined_films(omni, batch, wrong, seed=first, embodiment=embodiment) if shuffled else [None] * len(batch)
        )
        again = reconstructed(omni, np.stack([clip.video for clip in batch]))
        scores += [_marked(*each) for each in zip(batch, own, other, again, strict=True)]
        if on_done is not None:
            on_done(len(scores))
    return scores


def imagined_films(
    omni: "Omni", clips: Sequence[HeldClip], actions: Sequence[Array], *, seed: int, embodiment: str = EMBODIMENT
) -> list[Array]:
    """What the model sees happen after each clip's first frame under these actions: uint8 t h w 3."""
    requests = [
        {"mode": "forward-dynamics", "image": clip.video[0], "actions": done,
         "embodiment": embodiment, "seed": seed + i}
        for i, (clip, done) in enumerate(zip(clips, actions, strict=True))
    ]  # fmt: skip
    return [rollout.video for rollout in omni.imagine_many(requests) if rollout.video is not None]


@torch.inference_mode()
def reconstructed(omni: "Omni", films: Array) -> Array:
    """Films b t h w 3 after the video tokenizer alone, encoded on the canvas as clips with actions are."""
    vae, found = omni.parts.vae, []
    for first in range(0, len(films), 4):
        pixels = torch.cat([to_numbers(film) for film in films[first : first + 4]]).to(omni.parts.device)
        canvas, _ = on_canvas(pixels)
        rows, columns = films.shape[2] // SPACE, films.shape[3] // SPACE
        found.append(to_pixels(vae.decode(vae.encode(canvas)[..., :rows, :columns])))
    return np.concatenate(found)


def other_episodes(seeds: Sequence[int]) -> list[int]:
    """For each clip another clip, of another episode wherever there is one: half the list further on."""
    count = len(seeds)
    found = []
    for i in range(count):
        ways = [(i + count // 2 + k) % count for k in range(count)]
        found.append(next((j for j in ways if seeds[j] != seeds[i]), ways[0]))
    return found


def measure_inverse(
    omni: "Omni", clips: Sequence[HeldClip], *, embodiment: str = EMBODIMENT, on_done: Told | None = None
) -> list[InverseScore]:
    """Read the actions off every clip."""
    body = load_embodiment(embodiment)
    scores: list[InverseScore] = []
    for first in range(0, len(clips), BATCH):
        batch = clips[first : first + BATCH]
        requests = [
            {"mode": "inverse-dynamics", "video": clip.video, "embodiment": embodiment,
             "seed": first + i}
            for i, clip in enumerate(batch)
        ]  # fmt: skip
        for clip, rollout in zip(batch, omni.imagine_many(requests), strict=True):
            assert rollout.actions is not None
            right = _gripper_right(body, clip.actions, rollout.actions)
            scores.append(InverseScore(
                seed=clip.seed, kind=clip.kind, start=clip.start, gripper_right=int(right.sum()),
                gripper_all=len(right), true_steps=rounded(clip.actions[:, body.translation]),
                found_steps=rounded(rollout.actions[:, body.translation]),
            ))  # fmt: skip
        if on_done is not None:
            on_done(len(scores))
    return scores


def forward_figures(scores: Sequence[ForwardScore], *, seed: int = 0) -> dict[str, Figure]:
    """The figures of forward dynamics, by name; those about centres only where a clip could be judged."""
    if not scores:
        return {}
    groups = [score.seed for score in scores]
    strange = [s.psnr_shuffled for s in scores if s.psnr_shuffled is not None]
    columns = {
        "psnr": [s.psnr for s in scores],
        "psnr_repeat_first_frame": [s.psnr_still for s in scores],
        "psnr_codec": [s.psnr_codec for s in scores],
        "db_over_repeat_first_frame": [s.psnr - s.psnr_still for s in scores],
        "db_below_codec": [s.psnr_codec - s.psnr for s in scores],
    }
    if strange:
        columns["psnr_shuffled_actions"] = strange
        columns["db_lost_with_shuffled_actions"] = [s.psnr - x for s, x in zip(scores, strange, strict=True)]
    figures = {name: mean(values, groups, seed=seed) for name, values in columns.items()}
    judged = [score for score in scores if score.judged]
    if judged:
        groups = [score.seed for score in judged]
        for name, offs in (
            ("centre_within_5_percent", [s.off for s in judged]),
            ("centre_within_5_percent_codec", [s.off_codec for s in judged]),
            ("centre_within_5_percent_shuffled_actions", [s.off_shuffled for s in judged]),
            ("centre_within_5_percent_true_frame", [s.off_true for s in judged]),
        ):
            if strange or "shuffled" not in name:
                figures[name] = mean([off is not None and off <= NEAR_SHARE for off in offs], groups, seed=seed)
    return figures


def inverse_figures(scores: Sequence[InverseScore], *, what: str = "translation", seed: int = 0) -> dict[str, Figure]:
    """R squared of the translation and accuracy of the gripper, for each controller and (gripper) for all.

    ``what``: the translation's name in the figures. Of bodies without a gripper none is told.
    """
    figures: dict[str, Figure] = {}
    for kind in dict.fromkeys(score.kind for score in scores):
        own = [score for score in scores if score.kind == kind]
        truth, found = (np.array([getattr(s, name) for s in own]) for name in ("true_steps", "found_steps"))
        figures[f"r2_{what}_{kind}"] = r_squared(truth, found, [s.seed for s in own], seed=seed)
        if own[0].gripper_all:
            figures[f"gripper_accuracy_{kind}"] = _gripper(own, seed)
    if any(score.gripper_all for score in scores):
        figures["gripper_accuracy"] = _gripper(scores, seed)
    return figures


def _gripper(scores: Sequence[InverseScore], seed: int) -> Figure:
    return bootstrap([(s.gripper_right, s.gripper_all) for s in scores], [s.seed for s in scores], ratio, seed=seed)


def _gripper_right(body: Embodiment, done: Array, found: Array) -> Array:
    """Of each step, whether the gripper was read off right: t, or none where the body has no gripper."""
    if body.gripper is None:
        return np.zeros(0, bool)
    column = [channel.name for channel in body.channels].index(body.gripper.channel)
    return np.asarray((done[:, column] > 0.5) == (found[:, column] > 0.5))


def _marked(clip: HeldClip, own: Array, shuffled: Array | None, again: Array) -> ForwardScore:
    still = np.broadcast_to(clip.video[:1], clip.video.shape)
    truth = clip.video[1:]
    strange = own if shuffled is None else shuffled
    distances = _distances(clip, (own[-1], again[-1], strange[-1], clip.video[-1]))
    off, off_codec, off_shuffled, off_true = distances or (None,) * 4
    return ForwardScore(
        seed=clip.seed, kind=clip.kind, start=clip.start, moved=clip.moved, psnr=psnr(own[1:], truth),
        psnr_still=psnr(still[1:], truth), psnr_codec=psnr(again[1:], truth),
        psnr_shuffled=None if shuffled is None else psnr(shuffled[1:], truth), judged=distances is not None, off=off,
        off_codec=off_codec, off_shuffled=off_shuffled, off_true=off_true,
    )  # fmt: skip


def _distances(clip: HeldClip, pictures: Sequence[Array]) -> list[float | None] | None:
    """How far the moved object's colour is from its true place in each picture, in shares of the width.

    None if that cannot be judged. The true place: the middle of that colour within the object's true box, which is
    the segmentation's, in the last frame.
    """
    if clip.moved is None or clip.box is None or not clip.alone:
        return None
    colour = clip.moved.split()[0]
    true = within(mask_of(clip.video[-1], colour), clip.box)
    if true.sum() < LEAST_SEEN:
        return None
    found = [blobs_of(picture, colour) for picture in pictures]
    width = clip.video.shape[2]
    return [float(np.linalg.norm(centre_of(b[0]) - centre_of(true)) / width) if b else None for b in found]


def rounded(steps: Array) -> list[list[float]]:
    """Steps t c as lines keep them: to a millionth."""
    return [[round(float(x), 6) for x in row] for row in steps]
