"""One episode followed from the world to a gradient and to a film: every record on the way, with its shapes.

    world -> Episode -> Clip -> tokens -> Segments and losses -> gradient        model -> Rollout

Everything that is shown is made on the way by the functions that training and sampling use; nothing is written down
here. With ``tiny`` the model is the smallest one with random weights, so the numbers mean nothing and the shapes all.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from armillary.datasets.clips import ClipPlan, Dropped, cut
from armillary.embodiments import Embodiment, load_embodiment, save_embodiments
from armillary.errors import ConfigError
from armillary.model import TwoTowers, save_model, write_model_index
from armillary.model.memory import Memory
from armillary.records import Episode, Segment
from armillary.runs import WholeWay, tiny
from armillary.sampling.omni import Omni, load
from armillary.tokenizers.text import train_tokenizer
from armillary.tokenizers.video import VideoVAE
from armillary.training.imagination import FlowConfig, FlowSource
from armillary.training.latents import FRAMES, Windows, windows_from, windows_of
from armillary.worlds.record import record_tabletop

LONGEST = 76  # letters of a text that are shown
MODE = {"forward-dynamics": 1.0, "inverse-dynamics": 0.0, "policy": 0.0}
Say = Callable[[str], None]


def explain(checkpoint: str | Path, *, seed: int = 0, say: Say = print) -> None:
    """Follow the expert's episode of ``seed`` on the tabletop through ``checkpoint``, or through ``tiny``.

    Raises ``CheckpointError`` if there is no such checkpoint, ``ConfigError`` if that episode is too short.
    """
    with ExitStack() as stack:
        folder = checkpoint
        if str(checkpoint) == "tiny":
            folder = smallest(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        omni = load(folder, device="cpu", dtype="float32")
        episode = _happened(seed, say)
        windows = _tokens(episode, omni, say)
        _learnt(windows, omni, say)
        _imagined(episode, omni, say)


def smallest(folder: Path) -> Path:
    """A whole checkpoint with two layers and random weights, as small as the layout allows."""
    words = train_tokenizer(["an arm moves a red cube"] * 3, folder / "text_tokenizer", vocabulary=400)
    way = tiny()
    assert isinstance(way, WholeWay)
    model = TwoTowers(replace(
        way.model, vocabulary=len(words), image_pad=words.image_pad, video_pad=words.video_pad,
        vision_start=words.vision_start, vision_end=words.vision_end,
    ))  # fmt: skip
    save_model(folder, model, dtype=torch.float32)
    VideoVAE(way.codec.model).save(folder / "vae")
    save_embodiments(folder, [load_embodiment("tabletop")])
    write_model_index(folder)
    return folder


def _happened(seed: int, say: Say) -> Episode:
    say(f"1  worlds: something happens                            record_tabletop({seed}, 'expert')")
    episode = record_tabletop(seed, "expert", views=("front",), extras=("depth", "segmentation"))
    show(episode, say)
    say("\n2  datasets: a window at one rate and size              cut(episode, ClipPlan())")
    show(next(cut(episode, ClipPlan(frames=min(FRAMES, len(episode.actions) + 1)), Dropped())), say)
    return episode


def _tokens(episode: Episode, omni: Omni, say: Say) -> Windows:
    body = load_embodiment("tabletop", omni.parts.folder)
    if len(episode.actions) < FRAMES - 1:
        raise ConfigError(
            f"seed={episode.seed}: its {len(episode.actions)} actions fill no window of {FRAMES - 1}; another would do."
        )
    tensors, rows = windows_of(episode, omni.parts.vae, body, most=2)
    say("\n3  tokenizers: pictures, actions and words as numbers   windows_of(episode, vae, embodiment)")
    ids = omni.parts.text.prompt_ids(rows[0]["task"])
    show({**tensors, "prompt": rows[0]["task"], "ids": ids}, say)
    return windows_from(tensors, rows, [0] * len(rows))


def _learnt(windows: Windows, omni: Omni, say: Say) -> None:
    model = omni.parts.model("reasoner", "generator")
    asked: list[Any] = []

    def velocity(memory: Memory, segments: Sequence[Segment], *, fps: torch.Tensor) -> list[torch.Tensor]:
        asked[:] = [memory, segments]
        return TwoTowers.velocity(model, memory, list(segments), fps=fps)

    config = FlowConfig(action_share=1.0, onwards=0.0, history=0.0, modes=MODE)
    with torch.inference_mode(False):
        source = FlowSource(model, omni.parts.text, windows, config)
        model.velocity = velocity  # type: ignore[method-assign, assignment]
        losses = source.losses(np.random.default_rng(0), 2)
        say("\n4  training: an exercise of forward dynamics, marked     FlowSource(...).losses(rng, 2)")
        del model.velocity
        memory, segments = asked
        say(f"   memory       keys of {len(memory.keys)} layers, each {_of(memory.keys[0])}: the words, read once")
        for segment in segments:
            say(f"   Segment      {segment.modality}")
            show(segment, say, skip=("modality",), indent="     ")
            given = float((segment.level == 0).float().mean())
            say(f"     {'':<12} {100 * given:.0f} % of the tokens are given (level 0)")
        show({name: value.detach() for name, value in losses.items()}, say)
        losses["loss"].backward()
        learnt = [parameter for parameter in model.parameters() if parameter.grad is not None]
        norm = torch.stack([p.grad.norm() for p in learnt if p.grad is not None]).norm()
        say(f"   gradient     of {len(learnt)} parameters, {sum(p.numel() for p in learnt):,} numbers, norm {norm:.3g}")
        for parameter in learnt:
            parameter.grad = None


def _imagined(episode: Episode, omni: Omni, say: Say) -> None:
    say("\n5  sampling: the same road backwards                    omni.imagine('forward-dynamics', ...)")
    actions = episode.actions[: FRAMES - 1]
    show(omni.imagine("forward-dynamics", image=episode.frames["front"][0], actions=actions, embodiment="tabletop",
                      size=episode.frames["front"].shape[1:3], steps=2), say)  # fmt: skip


def show(record: Any, say: Say, *, skip: Sequence[str] = (), indent: str = "   ") -> None:
    """A line for each field of a record or mapping: what it is and of which shape. Empty ones are left out."""
    if is_dataclass(record) and not isinstance(record, type):
        named: Mapping[str, Any] = {field.name: getattr(record, field.name) for field in fields(record)}
    else:
        named = record
    for name, value in named.items():
        if name in skip or value is None or (isinstance(value, (str, Mapping, list, tuple)) and not value):
            continue
        say(f"{indent}{name:<12} {_of(value)}")


def _of(value: Any) -> str:
    if isinstance(value, (np.ndarray, torch.Tensor)):
        kind = str(value.dtype).removeprefix("torch.")
        if value.ndim == 0:
            return f"{float(value):.4g}"
        return f"{kind} {'x'.join(map(str, value.shape))}"
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST else value[: LONGEST - 1] + "…")
    if isinstance(value, Mapping):
        told = ", ".join(f"{name}: {_of(one)}" for name, one in list(value.items())[:3])
        return f"{{{told}{', …' if len(value) > 3 else ''}}}" if len(told) < 2 * LONGEST else f"{len(value)} entries"
    if isinstance(value, Embodiment):
        names = ", ".join(channel.name for channel in value.channels)
        return f"Embodiment {value.name}, {value.width} channels ({names}), {value.rate_hz:g} a second"
    if isinstance(value, (list, tuple)) and not isinstance(value[0], (int, float)):
        return f"{len(value)} of {_kind(value[0])}"
    if isinstance(value, (list, tuple)):
        return f"{len(value)} numbers, {', '.join(map(str, value[:6]))}{', …' if len(value) > 6 else ''}"
    return str(value)


def _kind(value: Any) -> str:
    told = type(value).__name__
    return f"{told}, the first {_of(value)}" if isinstance(value, (str, Mapping)) else told
