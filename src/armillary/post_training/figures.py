"""What a model can do on clips held out, and how sure that is: forward dynamics, inverse dynamics, the policy.

    measure         a model, clips -> what it said of each clip
    figures_of      what was said before and after -> numbers with 95 % intervals, differences in pairs
    drive_figures   a model in a world -> success and best reward

Beside the model stand the cheap answers: the first frame repeated, the actions of another clip, the mean action,
and the tokenizer's own reconstruction, which no imagination can beat.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.closed_loop.drive import drive_together
from armillary.closed_loop.policies import Chunks
from armillary.embodiments import Embodiment
from armillary.evaluation.bootstrap import Figure, mean, r_squared
from armillary.evaluation.pixels import psnr
from armillary.post_training.recordings import HeldClip, told
from armillary.records import Array
from armillary.sampling.omni import Omni
from armillary.sampling.pictures import to_numbers, to_pixels
from armillary.steps import acting_in
from armillary.worlds import make_world

Floats = NDArray[np.float64]
DRIVE_SEED = 2_000_000  # worlds are driven from seeds that no recording uses


@dataclass(frozen=True, kw_only=True, eq=False)
class Said:
    """What a model said of n clips.

    ``films``: forward dynamics, uint8 17 h w 3 each. dB of frames 1 to 16: ``forward``, with the actions of
    another clip ``exchanged``, of the tokenizer's own reconstruction ``codec``. ``inverse`` and ``policy``: n 16 a.
    """

    films: Sequence[Array]
    forward: Floats
    exchanged: Floats
    codec: Floats
    inverse: Array
    policy: Array


def measure(
    omni: Omni, clips: Sequence[HeldClip], body: Embodiment, *, steps: int | None = None, seed: int = 0
) -> Said:
    """Ask the model about every clip: its film from its actions, its actions from its film, and what it would do."""
    walk = {} if steps is None else {"steps": steps}
    shared = [told(clip, body) | {"seed": seed + i} | walk for i, clip in enumerate(clips)]
    first = [one | {"image": clip.video[0]} for one, clip in zip(shared, clips, strict=True)]
    other = [clips[(i + len(clips) // 2) % len(clips)].actions for i in range(len(clips))]
    asked = [("forward-dynamics", one | {"actions": clip.actions}) for one, clip in zip(first, clips, strict=True)]
    asked += [("forward-dynamics", one | {"actions": moves}) for one, moves in zip(first, other, strict=True)]
    asked += [("inverse-dynamics", one | {"video": clip.video}) for one, clip in zip(shared, clips, strict=True)]
    asked += [("policy", one | {"outputs": ("actions",)}) for one in first]
    rollouts = omni.imagine_many([{"mode": mode, **fields} for mode, fields in asked])
    n = len(clips)
    films, exchanged = ([one.video for one in rollouts[i * n : (i + 1) * n] if one.video is not None] for i in (0, 1))
    inverse, policy = (
        np.stack([one.actions for one in rollouts[i * n : (i + 1) * n] if one.actions is not None]) for i in (2, 3)
    )
    codec = [_later(reconstructed(omni, clip.video), clip) for clip in clips]
    return Said(
        films=films,
        forward=np.array([_later(film, clip) for film, clip in zip(films, clips, strict=True)]),
        exchanged=np.array([_later(film, clip) for film, clip in zip(exchanged, clips, strict=True)]),
        codec=np.array(codec),
        inverse=inverse,
        policy=policy,
    )


def reconstructed(omni: Omni, film: Array) -> Array:
    """A film t h w 3 through the video tokenizer and back."""
    vae = omni.parts.vae
    return to_pixels(vae.decode(vae.encode(to_numbers(film).to(omni.parts.device))))[0]


def repeated(clip: HeldClip) -> float:
    """dB of frames 1 to 16 if nothing ever moved."""
    return psnr(np.broadcast_to(clip.video[:1], clip.video[1:].shape), clip.video[1:])


def figures_of(
    clips: Sequence[HeldClip], before: Said, after: Said, body: Embodiment, mean_action: Array
) -> dict[str, Figure]:
    """Every figure by name. dB for pictures; R² of the translation; errors in units of the body's normaliser."""
    groups = [clip.group for clip in clips]
    still = np.array([repeated(clip) for clip in clips])
    truth = np.stack([clip.actions for clip in clips]).astype(np.float64)
    found = {
        "forward: repeat first frame, dB": mean(still, groups),
        "forward: after minus repeat first frame, dB": mean(after.forward - still, groups),
        "forward: after minus before, dB": mean(after.forward - before.forward, groups),
    }
    for name, said in (("before", before), ("after", after)):
        found |= {
            f"forward: {name}, dB": mean(said.forward, groups),
            f"forward: {name}, minus with another clip's actions, dB": mean(said.forward - said.exchanged, groups),
            f"tokenizer: {name}, dB": mean(said.codec, groups),
        }
        found |= {f"inverse: {name}, {what}": figure for what, figure in _inverse(truth, said, body, groups).items()}
    examples = [i for i, clip in enumerate(clips) if clip.acts]
    if examples:
        wanted, whose = truth[examples], [groups[i] for i in examples]
        plain = np.broadcast_to(np.asarray(mean_action, np.float64), wanted.shape)
        for name, plan in (("mean action", plain), ("before", before.policy[examples]),
                           ("after", after.policy[examples])):  # fmt: skip
            found[f"policy: {name}, error"] = mean(_distance(plan, wanted, body), whose)
    return found


def _inverse(truth: Floats, said: Said, body: Embodiment, groups: Sequence[int]) -> dict[str, Figure]:
    moving = body.translation
    found = {"R2": r_squared(truth[..., moving], said.inverse[..., moving].astype(np.float64), groups)}
    if body.gripper is not None:
        column = [channel.name for channel in body.channels].index(body.gripper.channel)
        middle = (body.gripper.closed + body.gripper.opened) / 2
        right = (truth[..., column] > middle) == (said.inverse[..., column] > middle)
        found["gripper"] = mean(right.mean(axis=1), groups)
    return found


def _later(film: Array, clip: HeldClip) -> float:
    return psnr(film[1:], clip.video[1:])


def _distance(plan: Array, truth: Floats, body: Embodiment) -> Floats:
    """n: mean absolute error of each clip's actions, in units of the normaliser (1 is half the usual range)."""
    return np.asarray((np.abs(plan - truth) / np.asarray(body.normaliser.scale)).mean(axis=(1, 2)))


def drive_figures(
    omni: Omni, body: Embodiment, world: str, camera: str, *, lives: int, steps: int | None = None
) -> dict[str, Figure]:
    """Success and best reward of the policy in a world of ``armillary.worlds``, mean of ``lives`` seeds."""
    worlds = [acting_in(make_world(world), {body.name: body}) for _ in range(lives)]
    planner = Chunks(omni=omni, embodiment=body.name, steps=steps, camera=camera)
    best, done = np.full(lives, -np.inf), np.zeros(lives)
    try:
        seeds = [DRIVE_SEED + i for i in range(lives)]
        longest = worlds[0].spec.max_steps
        for i, moment in drive_together(worlds, planner, seeds=seeds, max_steps=longest):
            best[i], done[i] = max(best[i], moment.reward), max(done[i], float(moment.success))
    finally:
        for one in worlds:
            one.close()
    return {"success": mean(done, range(lives)), "best reward": mean(best, range(lives))}
