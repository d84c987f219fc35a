"""How fast a middle-sized model imagines on this machine, beside Diffusers with the same weights and the same output.

    python -m benchmarks.against_diffusers [--repeats 5] [--only policy]

A random checkpoint (width 512, 12 layers, 8 query and 2 key-value heads of 64, MLP 1536, Wan2.2 layout VAE of base
32) is opened by both in one process, on one thread, and asked for the same in turns: ours, theirs, ours, theirs. The
prompt has about 250 tokens and is read anew each time on our side too. A line is only written if both gave the same:
actions and pixels to 1e-3. On a shared machine trust the ratio of the processor times.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.measure import alternate, report
from diffusers import Cosmos3OmniPipeline, UniPCMultistepScheduler
from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import CosmosActionCondition
from PIL import Image

import armillary
from armillary.embodiments import load_embodiment, save_embodiments
from armillary.model import ModelConfig, TowerConfig, TwoTowers, VisionConfig, save_model, write_model_index
from armillary.tokenizers.text import train_tokenizer
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig

SIZE, FPS, SHIFT, TOKENS = (192, 320), 10.0, 3.0, 250
WORDS = "the arm puts a red cube on the left tray while a blue ball rolls away "


@dataclass(frozen=True, kw_only=True)
class Task:
    """One request in both languages."""

    name: str
    mode: str
    steps: int
    guidance: float
    frames: int
    size: tuple[int, int] = SIZE


TASKS = (
    *(
        Task(name=f"policy_{steps}_steps_g{g:g}", mode="policy", steps=steps, guidance=g, frames=17)
        for steps in (4, 30)
        for g in (1.0, 3.0)
    ),
    Task(name="text_to_video_49_frames_g3", mode="text-to-video", steps=10, guidance=3.0, frames=49),
    Task(name="text_to_video_49_frames_g1", mode="text-to-video", steps=10, guidance=1.0, frames=49),
    Task(name="image_g3", mode="text-to-image", steps=20, guidance=3.0, frames=1),
    Task(name="image_g1", mode="text-to-image", steps=20, guidance=1.0, frames=1),
)


def middle_checkpoint(folder: Path, *, base: int = 32) -> Path:
    """A checkpoint of the benchmark's sizes whose weights mean nothing."""
    words = train_tokenizer([WORDS] * 2, folder / "text_tokenizer", 400)
    torch.manual_seed(0)
    tower = TowerConfig(layers=12, width=512, heads=8, kv_heads=2, head_width=64, mlp_width=1536)
    ids = {"vision_start": words.vision_start, "vision_end": words.vision_end}
    ids |= {"image_pad": words.image_pad, "video_pad": words.video_pad}
    eyes = VisionConfig(depth=1, width=24, heads=2, mlp_width=32, grid_side=4)
    save_model(folder, TwoTowers(ModelConfig(tower=tower, vision=eyes, vocabulary=len(words), **ids)))
    config = VideoVAEConfig(base_dim=base, decoder_base_dim=base, num_res_blocks=2)
    VideoVAE(config).save(folder / "vae", dtype=torch.bfloat16)
    save_embodiments(folder, [load_embodiment("tabletop")])
    write_model_index(folder, flow_shift=SHIFT)
    (folder / "defaults.json").write_text('{"size": [192, 320], "fps": 10.0, "frames": 49}\n', encoding="utf-8")
    return folder


class Ours:
    """This package."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.omni = armillary.load(folder, device="cpu", dtype=dtype)

    def run(self, task: Task, prompt: str, picture: np.ndarray) -> Any:
        """Actions if the task has any, else frames; the prompt is read anew."""
        self.omni.parts.shelf.forget()
        asked: dict[str, Any] = {"prompt": prompt, "size": task.size, "steps": task.steps, "guidance": task.guidance}
        asked |= {"shift": SHIFT, "fps": FPS, "seed": 0, "dialect": "diffusers"}
        if task.mode == "policy":
            asked |= {"image": picture, "embodiment": "tabletop", "outputs": ("actions",)}
        rollout = self.omni.imagine(task.mode, frames=task.frames, **asked)
        if rollout.actions is None:
            return rollout.video / 255.0
        body = load_embodiment("tabletop", self.omni.parts.folder)
        return body.encode(rollout.actions)[:, : body.width]


class Theirs:
    """Diffusers."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.pipeline = Cosmos3OmniPipeline.from_pretrained(
            folder, dtype=getattr(torch, dtype), enable_safety_checker=False
        )
        self.pipeline.set_progress_bar_config(disable=True)
        self.pipeline.scheduler = UniPCMultistepScheduler.from_config(self.pipeline.scheduler.config, flow_shift=SHIFT)

    def run(self, task: Task, prompt: str, picture: np.ndarray) -> Any:
        """The same; its policy decodes the film as well, it cannot be told not to."""
        how: dict[str, Any] = {"prompt": prompt, "guidance_scale": task.guidance, "num_inference_steps": task.steps}
        how |= {"fps": FPS, "generator": torch.Generator().manual_seed(0), "output_type": "np"}
        if task.mode == "policy":
            how["action"] = CosmosActionCondition(
                mode="policy", chunk_size=task.frames - 1, domain_name="umi", resolution_tier=256,
                view_point="third_person_view", image=Image.fromarray(picture),
            )  # fmt: skip
            return self.pipeline(**how).action[0].numpy()
        height, width = task.size
        return self.pipeline(**how, height=height, width=width, num_frames=task.frames, negative_prompt="").video


def long_prompt(omni: armillary.Omni) -> str:
    """Words of about ``TOKENS`` ids."""
    words = WORDS
    while len(omni.parts.text.prompt_ids(words)) < TOKENS:
        words += WORDS[: len(WORDS) // 3]
    return words


def compare(task: Task, ours: Ours, theirs: Theirs, *, repeats: int, dtype: str) -> None:
    """Measure one task in turns, and write a line if both gave the same the last time."""
    prompt = long_prompt(ours.omni)
    picture = np.random.default_rng(0).integers(0, 256, (*task.size, 3), dtype=np.uint8)
    ours.omni.parts.model("generator"), ours.omni.parts.vae  # loaded now: theirs is loaded too
    found: dict[str, Any] = {}
    sides: list[Callable[[], Any]] = [
        lambda: found.update(ours=ours.run(task, prompt, picture)),
        lambda: found.update(theirs=theirs.run(task, prompt, picture)),
    ]
    own, their = alternate(*sides, repeats=repeats)
    mine, other = (np.asarray(found[name], dtype=np.float64) for name in ("ours", "theirs"))
    apart = float(np.abs(mine - other).max() / max(np.abs(other).max(), 1e-9))
    limit = 1e-3 + 0.5 / 255 if dtype == "float32" else 0.2
    if mine.shape != other.shape or apart > limit:
        raise SystemExit(f"{task.name}: the two differ by {apart:.2g} ({mine.shape}, {other.shape}): nothing written.")
    told = {"dtype": dtype, "threads": torch.get_num_threads(), "apart": round(apart, 6)}
    told |= {"diffusers_median_ms": their.median_ms, "diffusers_processor_ms": their.processor_ms}
    ratio = {"times_faster": round(their.median_ms / own.median_ms, 2)}
    ratio["times_less_processor"] = round(their.processor_ms / own.processor_ms, 2)
    report(f"against_diffusers_{task.name}", own, **told, **ratio)


def main(repeats: int = 5, only: str = "", dtype: str = "float32") -> None:
    """Measure every task whose name holds ``only``."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as room, torch.inference_mode():
        folder = middle_checkpoint(Path(room))
        ours, theirs = Ours(folder, dtype), Theirs(folder, dtype)
        for task in TASKS:
            if only in task.name:
                compare(task, ours, theirs, repeats=repeats, dtype=dtype)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    main(**vars(parser.parse_args()))
