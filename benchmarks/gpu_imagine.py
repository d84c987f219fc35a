"""How fast Nano imagines on a GPU, beside Diffusers with the same random weights. Each part takes under ten minutes.

    python -m benchmarks.gpu_imagine whole     picture 720p; policy chunk of 32 actions, 4 steps, g 3; film 256p x 189
    python -m benchmarks.gpu_imagine steps     films of 189 frames at 480p and 720p: 6 of 35 steps, the rest foretold
    python -m benchmarks.gpu_imagine words     the reasoner's tokens a second

``whole`` runs both in turns, everything included. In ``steps`` the two take turns step by step: between two steps of
Diffusers' pipeline one of ours is taken and timed; a line says 35 medians, and that it does. ``--tiny`` tries the
program itself on a processor and writes nothing.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.gpu_models import Both, device_or_refuse, picture, random_model, sizes
from benchmarks.measure import Timing, alternate, report
from PIL import Image

from armillary.sampling import imagine
from armillary.sampling.solver import walk
from armillary.sampling.speak import Heard, Manner, say

STEPS = 35
SHOWN = 6


def whole(both: Both, tiny: bool, repeats: int) -> None:
    """Three rows, both in turns."""
    small = (64, 64)
    rows: list[tuple[str, dict[str, Any], int]] = [
        ("image_720p", {"mode": "text-to-image", "size": (720, 1280), "steps": 50, "guidance": 4.0}, 1),
        ("policy_32_actions", {"mode": "policy", "size": (480, 640), "steps": 4, "guidance": 3.0}, 33),
        ("film_256p", {"mode": "text-to-video", "size": (192, 320), "steps": STEPS, "guidance": 6.0}, 189),
    ]
    for name, asked, frames in rows:
        if tiny:
            asked |= {"size": small, "steps": 2}
            frames = min(frames, 9)
        if asked["mode"] != "policy" and not tiny:
            asked["size"] = tuple(side // 32 * 32 for side in asked["size"])
        prompt = both.prompt(1500 if asked["mode"] == "text-to-video" else 250)
        own, their = alternate(
            *(lambda side=side: side(both, asked, frames, prompt) for side in (_ours, _theirs)),  # noqa: B023
            warmup=1,
            repeats=repeats,
        )
        told = {key: value for key, value in asked.items() if key != "mode"} | {"frames": frames, "weights": "random"}
        told |= {"diffusers_median_ms": their.median_ms, "times_faster": round(their.median_ms / own.median_ms, 2)}
        _say(f"gpu_{name}", own, tiny, **told)


def _ours(both: Both, asked: dict[str, Any], frames: int, prompt: str) -> None:
    both.ours.parts.shelf.forget()
    more: dict[str, Any] = {"frames": frames, "seed": 0, "prompt": prompt, "dialect": "diffusers"}
    if asked["mode"] == "policy":
        more |= {"image": picture(asked["size"]), "embodiment": "tabletop", "outputs": ("actions",), "fps": 15.0}
    both.ours.imagine(**asked, **more)


def _theirs(both: Both, asked: dict[str, Any], frames: int, prompt: str) -> None:
    from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import CosmosActionCondition

    how: dict[str, Any] = {"prompt": prompt, "num_inference_steps": asked["steps"], "output_type": "np"}
    how |= {"guidance_scale": asked["guidance"], "generator": torch.Generator(both.device).manual_seed(0)}
    height, width = asked["size"]
    if asked["mode"] == "policy":
        how["action"] = CosmosActionCondition(
            mode="policy", chunk_size=frames - 1, domain_name="umi", resolution_tier=256 if height < 256 else 480,
            view_point="third_person_view", image=Image.fromarray(picture(asked["size"])),
        )  # fmt: skip
        both.theirs(**how, fps=15.0)
    else:
        both.theirs(**how, fps=24.0, height=height, width=width, num_frames=frames)


def steps(both: Both, tiny: bool, repeats: int) -> None:
    """Films at 480p and 720p, step against step."""
    del repeats
    for name, size in (("480p", (480, 832)), ("720p", (704, 1280))):
        asked = {"mode": "text-to-video", "size": (64, 64) if tiny else size, "steps": SHOWN, "guidance": 6.0}
        frames = 9 if tiny else 189
        own, their = _step_by_step(both, asked, frames, both.prompt(1500))
        told: dict[str, Any] = {"size": asked["size"], "frames": frames, "guidance": 6.0, "weights": "random"}
        told |= {"steps_measured": len(own), "diffusers_median_ms": round(statistics.median(their), 2)}
        told |= {"times_faster": round(statistics.median(their) / statistics.median(own), 2)}
        told["foretold_35_steps_s"] = round(statistics.median(own) * STEPS / 1e3, 2)
        told["diffusers_foretold_35_steps_s"] = round(statistics.median(their) * STEPS / 1e3, 2)
        _say(f"gpu_film_{name}_step", _timing(own), tiny, **told)


def _step_by_step(both: Both, asked: dict[str, Any], frames: int, prompt: str) -> tuple[list[float], list[float]]:
    """Milliseconds of each step of both but the first, taken in turns: theirs is stopped where its scheduler steps."""
    from diffusers import UniPCMultistepScheduler

    own: list[float] = []
    their: list[float] = []
    plain, wait = UniPCMultistepScheduler.step, torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    caught: list[tuple[Callable, torch.Tensor, Any]] = []

    def catch(velocity: Any, state: torch.Tensor, schedule: Any, fresh: Any) -> torch.Tensor:
        del fresh
        caught.append((velocity, state, schedule))
        return state

    last = [0.0]

    def watched(self: Any, velocity: torch.Tensor, t: Any, sample: torch.Tensor, **how: Any) -> Any:
        wait()
        their.append((time.perf_counter() - last[0]) * 1e3)
        begin = time.perf_counter()
        find, state, schedule = caught[0]
        with torch.inference_mode():
            find(state, schedule.stops[0])
        wait()
        own.append((time.perf_counter() - begin) * 1e3)
        stepped = plain(self, velocity, t, sample, **how)
        wait()
        last[0] = time.perf_counter()
        return stepped

    before, decode = imagine.walk, imagine._decoded
    try:
        imagine.walk = catch
        imagine._decoded = lambda *_: [(None, None)]  # nothing is decoded
        _ours(both, asked, frames, prompt)
        UniPCMultistepScheduler.step = watched
        _theirs(both, asked, frames, prompt)
    finally:
        imagine.walk, imagine._decoded, UniPCMultistepScheduler.step = before, decode, plain
    assert before is walk
    return own[1:], their[1:]


def words(tiny: bool, repeats: int) -> None:
    """Greedy words of the reasoner after 200 tokens, one chat and eight."""
    device = device_or_refuse(tiny)
    config, _ = sizes("nano", tiny)
    model = random_model(config, device)
    model.lay_side_by_side()
    said = 8 if tiny else 128
    for chats in (1, 8):
        ids = torch.randint(0, config.vocabulary, (chats, 200), generator=torch.Generator().manual_seed(0)).tolist()
        heard = [Heard(ids=row, visual=None, manner=Manner(longest=said), longest=said) for row in ids]
        (own,) = alternate(lambda: list(say(model, heard, ends=())), warmup=1, repeats=repeats)  # noqa: B023
        _say(f"gpu_words_{chats}", own, tiny, said=said, tokens_a_second=round(chats * said / own.median_ms * 1e3, 1))


def _timing(spent: list[float]) -> Timing:
    low, median, high = statistics.quantiles(spent, n=4)
    return Timing(median_ms=round(median, 2), low_ms=round(low, 2), high_ms=round(high, 2), processor_ms=0.0,
                  repeats=len(spent))  # fmt: skip


def _say(name: str, timing: Timing, tiny: bool, **told: Any) -> None:
    if tiny:
        print(json.dumps({"tiny": name, "median_ms": timing.median_ms, **told}), flush=True)
    else:
        report(name, timing, **told)


def main(part: str, tiny: bool = False, repeats: int = 3) -> None:
    """One part."""
    if part == "words":
        words(tiny, repeats)
    else:
        both = Both("nano", tiny=tiny, frames=189)
        {"whole": whole, "steps": steps}[part](both, tiny, repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("whole", "steps", "words"))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    main(**vars(parser.parse_args()))
