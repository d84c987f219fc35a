"""Films under controls against Diffusers' modular Cosmos 3 pipeline: same folder, same noise, same pictures.

Both walk from the same noise in float32, one control or several, one stretch or several, with and without guidance.
Levels, first states and every velocity at their states must agree to 1e-5 of their size; so must the walk, to 1e-3,
and the pixels. Diffusers walks several controls as our dialect ``diffusers`` says: all are seen at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Cosmos3OmniPipeline, UniPCMultistepScheduler
from diffusers.modular_pipelines.cosmos import Cosmos3OmniBlocks
from drawn import compared, shapes
from hypothesis import given
from hypothesis import strategies as st
from loud import A_STEP, ALL_STEPS, SHIFT, error, film, loud_checkpoint
from PIL import Image

import armillary
from armillary import controls
from armillary.model import Sampling, patchify, write_model_index
from armillary.sampling import solver

pytestmark = pytest.mark.filterwarnings("ignore:this checkpoint does not say")
KINDS = {"edge": "edge", "blur": "blur", "depth": "depth", "segmentation": "seg", "map": "wsm"}
SEED = 11


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One folder, opened by both."""

    ours: armillary.Omni
    theirs: Any


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = loud_checkpoint(tmp_path_factory.mktemp(request.param), edge=request.param == "edge")
    return Pair(ours=armillary.load(folder, device="cpu", dtype="float32"), theirs=opened(folder))


def opened(folder: Any) -> Any:
    """Diffusers' modular pipeline with the folder's parts."""
    parts = Cosmos3OmniPipeline.from_pretrained(folder, dtype=torch.float32, enable_safety_checker=False)
    pipeline = Cosmos3OmniBlocks().init_pipeline()
    scheduler = UniPCMultistepScheduler.from_config(parts.scheduler.config, flow_shift=SHIFT)
    pipeline.update_components(
        transformer=parts.transformer, vae=parts.vae, text_tokenizer=parts.text_tokenizer, scheduler=scheduler
    )
    pipeline.register_to_config(enable_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@dataclass(frozen=True, kw_only=True)
class Task:
    """A film under controls, in words that both understand."""

    kinds: tuple[str, ...] = ("edge",)
    frames: int = 13
    size: tuple[int, int] = (64, 64)
    stretch: int = 13
    overlap: int = 1
    given: int = 0
    steps: int = 3
    guidance: float = 1.0
    control_guidance: float = 1.0
    negative: str | None = None
    fps: float = 10.0

    def source(self) -> np.ndarray:
        return film(self.frames, *self.size)

    def controls(self) -> dict[str, np.ndarray]:
        """A film for each kind, unlike one another."""
        source = self.source()
        made = {
            "edge": lambda: controls.edge(source), "blur": lambda: controls.blur(source),
            "depth": lambda: np.repeat(source[..., :1], 3, axis=3), "segmentation": lambda: 255 - source,
            "map": lambda: source[::-1].copy(),
        }  # fmt: skip
        return {kind: made[kind]() for kind in self.kinds}


def pictures(frames: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(frame) for frame in frames]


def run_theirs(pair: Pair, task: Task) -> tuple[list[torch.Tensor], list[torch.Tensor], np.ndarray]:
    """Diffusers' states before and velocities at each step of each stretch, flat as ours, and its pixels."""
    states, velocities = [], []
    plain = UniPCMultistepScheduler.step

    def watched(self: Any, velocity: torch.Tensor, t: Any, sample: torch.Tensor, **how: Any) -> Any:
        states.append(patchify(sample[0], 2).flatten(1))
        velocities.append(patchify(velocity[0].reshape(sample[0].shape), 2).flatten(1))
        return plain(self, velocity, t, sample, **how)

    begins = {"video": pictures(task.source())} if task.given else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UniPCMultistepScheduler, "step", watched)
        video = pair.theirs(
            prompt="push the red cube to the left", negative_prompt=task.negative,
            control_videos={KINDS[kind]: pictures(one) for kind, one in task.controls().items()},
            height=task.size[0], width=task.size[1], num_frames=task.frames, fps=task.fps,
            num_video_frames_per_chunk=task.stretch, num_conditional_frames=task.overlap,
            num_first_chunk_conditional_frames=task.given, num_inference_steps=task.steps,
            guidance_scale=task.guidance, control_guidance=task.control_guidance,
            generator=torch.Generator().manual_seed(SEED), output_type="np", output="videos", **begins,
        )  # fmt: skip
    return states, velocities, np.asarray(video)


def compare(pair: Pair, task: Task) -> None:
    """Walk both, look at ours wherever theirs was, and compare what came of it."""
    states, velocities, pixels = run_theirs(pair, task)
    seen = {"stops": 0, "stretches": 0}
    plain = solver.unipc

    def watched(velocity: Callable, start: torch.Tensor, schedule: solver.Schedule) -> torch.Tensor:
        assert list(schedule.timesteps) == pair.theirs.scheduler.timesteps.tolist()
        close = A_STEP if not seen["stretches"] else ALL_STEPS  # later ones begin with what was made before
        assert error(start, states[seen["stops"]]) <= close, "noise, or what is given"
        seen["stretches"] += 1

        def look(now: torch.Tensor, stop: solver.Stop) -> torch.Tensor:
            state, wanted = states[seen["stops"]], velocities[seen["stops"]]
            assert float(wanted.abs().max()) > 0.1, "nothing is compared with nothing"
            assert error(velocity(state, stop), wanted) <= A_STEP, f"velocity of step {seen['stops']}"
            assert error(now, state) <= ALL_STEPS, f"our own state before step {seen['stops']}"
            seen["stops"] += 1
            return velocity(now, stop)

        return plain(look, start, schedule)

    own = {"negative_prompt": task.negative} if task.negative is not None else {}
    own |= {"video": task.source(), "given_frames": task.given} if task.given else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(solver.SOLVERS, "unipc", watched)
        mine = pair.ours.imagine(
            "transfer", prompt="push the red cube to the left", controls=task.controls(), frames=task.frames,
            size=task.size, fps=task.fps, stretch=task.stretch, overlap=task.overlap, steps=task.steps, shift=SHIFT,
            guidance=task.guidance, control_guidance=task.control_guidance, seed=SEED, dialect="diffusers", **own,
        ).video  # fmt: skip
    assert seen["stops"] == len(states)
    assert mine.shape == pixels.shape
    assert pixels.std() > 0.01
    assert np.abs(mine / 255.0 - pixels).max() <= 0.5 / 255 + ALL_STEPS


TASKS = {
    "one control": Task(),
    "two controls": Task(kinds=("edge", "depth")),
    "all controls": Task(kinds=tuple(KINDS), frames=5, stretch=5),
    "a picture": Task(kinds=("segmentation",), frames=1, stretch=1, overlap=0),
    "guided by words": Task(kinds=("edge", "blur"), guidance=3.0, negative="blurred"),
    "guided by controls": Task(kinds=("edge", "blur"), control_guidance=1.5),
    "guided by both": Task(kinds=("map",), guidance=3.0, control_guidance=2.0),
    "three stretches": Task(kinds=("edge", "depth"), frames=12, stretch=5),
    "stretches that share five": Task(kinds=("depth",), frames=14, stretch=9, overlap=5, control_guidance=1.5),
    "stretches that share three": Task(frames=12, stretch=9, overlap=3),
    "stretches that share nothing": Task(frames=9, stretch=5, overlap=0),
    "a film that begins as given": Task(given=5, guidance=2.0),
    "a length that is no 4k+1": Task(frames=7, stretch=9, size=(32, 96)),
}


CASES = [("random", name) for name in TASKS]
CASES += [("edge", name) for name in ("two controls", "guided by both", "three stretches")]


@pytest.mark.parametrize(("pair", "name"), CASES, indirect=["pair"], ids=lambda word: word)
def test_a_film_under_controls_is_theirs(pair: Pair, name: str) -> None:
    compare(pair, TASKS[name])


@pytest.mark.parametrize("pair", ["random"], indirect=True)
@shapes(25, 500)
@given(drawn=st.data())
def test_any_film_under_controls_is_theirs(pair: Pair, drawn: st.DataObject) -> None:
    """Any kinds, sizes, lengths, cuts and guidance."""
    frames = drawn.draw(st.integers(2, 14), label="frames")
    longest = 1 + 4 * -(-(frames - 1) // 4)
    stretch = drawn.draw(st.sampled_from([n for n in (5, 9, 13, 17) if n <= longest]), label="stretch")
    chosen = drawn.draw(st.sets(st.sampled_from(list(KINDS)), min_size=1), label="kinds")
    task = Task(
        kinds=tuple(kind for kind in KINDS if kind in chosen),
        frames=frames,
        size=drawn.draw(st.tuples(*[st.sampled_from([32, 64, 96])] * 2), label="size"),
        stretch=stretch,
        overlap=drawn.draw(st.integers(0, min(5, stretch - 1)), label="overlap"),
        given=drawn.draw(st.integers(0, frames - 1), label="given") if stretch > frames else 0,
        steps=drawn.draw(st.integers(1, 3), label="steps"),
        guidance=drawn.draw(st.sampled_from([1.0, 2.0]), label="guidance"),
        control_guidance=drawn.draw(st.sampled_from([1.0, 0.5, 1.5]), label="control guidance"),
        fps=drawn.draw(st.sampled_from([10.0, 24.0, 29.97]), label="fps"),
    )
    with compared("films under controls"):
        compare(pair, task)


def test_levels_of_karras_are_theirs_too(tmp_path: Any) -> None:
    """A folder that asks for them; ``shift`` has no say then."""
    folder = loud_checkpoint(tmp_path / "karras")
    write_model_index(folder, sampling=Sampling(spacing="karras", shift=1.0))
    theirs = opened(folder)
    compare(Pair(ours=armillary.load(folder, device="cpu", dtype="float32"), theirs=theirs), Task(guidance=2.0))
