"""Stage two, from files to files: a cache of windows and a checkpoint that reads become one that imagines.

in    a checkpoint folder with a trained reasoner, a cache of windows, the video tokenizer they were made with
out   ``out/checkpoint``: both towers, codec, words, scheduler, embodiments: everything that sampling needs
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from armillary.embodiments import Embodiment, bundled, load_embodiment, save_embodiments
from armillary.errors import ConfigError
from armillary.model import TwoTowers
from armillary.model.arithmetic import usable_device
from armillary.model.layouts import fresh_folder, move_in
from armillary.model.two_towers import tower_of
from armillary.model.weights import load_model, save_model, save_preprocessor, write_model_index
from armillary.tokenizers.sound import SoundVAE
from armillary.tokenizers.text import TextTokenizer
from armillary.training.compiling import compile_layers
from armillary.training.heard import TO_FILM, load_heard, with_ears
from armillary.training.held import HELD, load_held
from armillary.training.imagination import FlowConfig, FlowSource
from armillary.training.latents import ANY_TASK, PICTURE, Windows, load_cache
from armillary.training.loop import Report, Stage, train_stage
from armillary.training.made_from import check_tokenizers
from armillary.training.parallel import company, joined, spread
from armillary.training.talk import PLACES

EMBODIMENTS = ("tabletop", "pusht", "umi", "av", "droid")
STEADY = 0.08  # of full scale: what differs less from a still film is shown as given (decision 9)


@dataclass(frozen=True, kw_only=True)
class GeneratorRun:
    """Everything that decides how a generator is trained.

    ``origin``: the checkpoint whose reasoner is frozen; ``fresh``: begin the generator as a copy of that reasoner.
    ``stills``: a second cache, of windows of one frame; ``controls``: a third, of windows beside their controls;
    ``laid``: a fourth, of tables as they are laid. ``more`` and ``more_stills``: caches of other worlds, made with the
    same tokenizer, whose windows join those of ``cache`` and of ``stills``; every window is drawn as often as another.
    ``sounds``: the sounds of the windows of ``cache`` (``heard.py``), and of these alone,
    made with the tokenizer in ``sound_tokenizer``; a model without a sound port gains one. ``like``: bodies that begin
    as others are, for actions of much the same meaning. ``same_latents``: tokenizers whose latents those of ``vae``
    have stayed (``VAERun.kept``), so that caches made with them are right, too.
    """

    origin: Path
    cache: Path
    vae: Path
    out: Path
    stage: Stage
    flow: FlowConfig = field(default_factory=FlowConfig)
    fresh: bool = True
    stills: Path | None = None
    controls: Path | None = None
    laid: Path | None = None
    sounds: Path | None = None
    sound_tokenizer: Path | None = None
    more: tuple[Path, ...] = ()
    more_stills: tuple[Path, ...] = ()
    like: Mapping[str, str] = field(default_factory=dict)
    same_latents: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.sounds is not None and self.sound_tokenizer is None:
            raise ConfigError("films with sound need the tokenizer their sounds were made with: say sound_tokenizer.")


def train_generator(run: GeneratorRun, report: Report = print) -> bool:
    """Train, or go on; writes ``out/checkpoint`` when the steps (True) or the minutes (False) are over.

    ``DataError`` for a cache that says it is of another tokenizer than ``run`` names.
    """
    here = company()
    here.check_batch(run.stage.batch)
    device = usable_device(run.stage.device)
    torch.manual_seed(run.stage.seed)
    model = load_model(run.origin, dtype=torch.float32)
    if run.sounds:
        model = with_ears(model)
    if run.fresh:
        model.init_generator_from_reasoner()
    for body, other in run.like.items():
        begin_like(model, load_embodiment(body), load_embodiment(other, run.origin))
    for parameter in model.to(device).reasoner_parameters():
        parameter.requires_grad_(False)
    tokenizer = TextTokenizer.load(run.origin / "text_tokenizer")
    codecs = (run.vae, *run.same_latents)
    windows = load_cache(run.cache, *run.more, tokenizers=codecs)
    report(f"{len(windows)} windows, {int(windows.acts.sum())} of them for the policy")
    still = _stills(run)
    stills = load_cache(*still, tokenizers=codecs) if still else None
    if stills is not None:
        report(f"{len(stills)} single frames, {int(stills.acts.sum())} of them for the policy")
    held = load_held(run.controls, codecs) if run.controls else None
    if held is not None:
        report(f"{len(held.windows)} windows with controls")
    heard = None
    if run.sounds and run.sound_tokenizer:
        check_tokenizers([run.sounds], [run.sound_tokenizer], SoundVAE.load)
        heard = load_heard(run.sounds, run.cache, sounding=run.flow.heard.sounding, windows=len(windows))
    if heard is not None:
        report(f"{int(heard.known.sum())} windows can be heard, in {int(heard.loud.sum())} of them something sounds")
    laid = load_cache(run.laid, tokenizers=codecs) if run.laid else None
    if laid is not None:
        report(f"{len(laid)} pictures of tables as they are laid")
    source = FlowSource(model, tokenizer, windows, run.flow, stills, held, heard, laid)
    if run.stage.compile:
        compile_layers(model, "generate")
    spread(model, here)
    parameters = [(name, p) for name, p in model.named_parameters() if tower_of(name) == "generator"]

    def losses(step: int) -> Mapping[str, Tensor]:
        return source.losses(np.random.default_rng([run.stage.seed, step]), run.stage.batch)

    finished = train_stage(run.stage, run.out, parameters, losses, report)
    model = joined(model)
    if here.leads:
        write_checkpoint(
            run.out / "checkpoint", model, vae=run.vae, words=run.origin / "text_tokenizer",
            defaults=abilities_of(run), embodiments=_bodies(windows),
            sound=run.sound_tokenizer or sound_tokenizer_of(run.origin),
        )  # fmt: skip
    here.wait()
    return finished


@torch.no_grad()
def begin_like(model: TwoTowers, body: Embodiment, other: Embodiment) -> None:
    """Give a body's slot of the action port the weights of another's."""
    for name, weights in model.named_parameters():
        if "action_proj" in name:
            weights[body.domain_id] = weights[other.domain_id]


def _stills(run: GeneratorRun) -> list[Path]:
    """The caches of single frames."""
    return [*([run.stills] if run.stills else []), *run.more_stills]


def _bodies(windows: Windows) -> list[Embodiment]:
    """The usual embodiments, and those that the windows are of."""
    learnt = set(windows.domain.tolist())
    others = [load_embodiment(name) for name in bundled() if name not in EMBODIMENTS]
    return [load_embodiment(name) for name in EMBODIMENTS] + [body for body in others if body.domain_id in learnt]


def abilities_of(run: GeneratorRun) -> dict[str, Any]:
    """What a generator has learnt by a run, as its ``defaults.json`` says it (``write_checkpoint``)."""
    flow = run.flow
    under_control = run.controls is not None and flow.held.share > 0
    learnt = {
        "onwards": flow.onwards > 0, "transfer": under_control,
        "video-to-sound": run.sounds is not None and flow.heard.share * flow.heard.modes.get(TO_FILM, 0) > 0,
    }  # fmt: skip
    found: dict[str, Any] = {
        "filmless": ["policy"] if _stills(run) and flow.stills_share * flow.still_policy > 0 else [],
        "learnt": [name for name, has in learnt.items() if has],
        "control_scale": dict(flow.held.scale) if under_control else {},
        **({"controls": list(HELD)} if under_control else {}),
    }
    if run.laid is not None and flow.painting > 0:
        places = {"ask": PLACES, "temperature": 1.0, "longest": 64, "usual": True, "places": True, "tries": 8}
        found |= {
            "painting": {"tries": 4, "bare_guidance": 2.0},
            "upsampling": dict.fromkeys(("text-to-image", "text-to-video"), places),
        }
    return found


def sound_tokenizer_of(checkpoint: Path) -> Path | None:
    """The folder of a checkpoint's sound tokenizer, if it has one."""
    folder = checkpoint / "sound_tokenizer"
    return folder if folder.is_dir() else None


def write_checkpoint(
    folder: Path,
    model: TwoTowers,
    *,
    vae: Path,
    words: Path,
    sound: Path | None = None,
    embodiments: Sequence[Embodiment] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """A whole checkpoint folder (contract.md 5) from a model, a codec's folder and a tokenizer's folder. It takes the
    place of what was there, and only when it is whole.

    ``sound``: the sound tokenizer's folder, for a model that has a sound port.
    ``defaults``: what this model takes where a request says nothing, in place of Pico's: ``size``, ``fps``, ``task``,
    ``steps`` of each mode where another number than the mode's own is better, ``filmless``: modes in which it has
    learnt to act without a film, ``learnt``: those that not every checkpoint learns and this one has (transfer),
    ``steady``: how unlike what stands still a film may be and is yet shown as given, ``controls``: those by which it
    has learnt to hold films, ``control_scale``: how large it has seen each kind of them, ``painting`` and
    ``upsampling``: how pictures from words are made (docs/upsampling.md), and ``untrained``, one sentence that warns
    whoever asks a generator that has not been trained.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = fresh_folder(folder)
    save_model(fresh, model, dtype=torch.bfloat16)
    parts = {"vae": vae, "text_tokenizer": words} | ({"sound_tokenizer": sound} if sound else {})
    for name, source in parts.items():
        shutil.copytree(source, fresh / name)
    write_model_index(fresh)
    taken: dict[str, Any] = {"size": list(PICTURE), "fps": 10.0, "task": ANY_TASK, "untrained": ""}
    taken |= {"steps": {}, "filmless": [], "steady": STEADY, **(defaults or {})}
    save_preprocessor(fresh / "text_tokenizer", model.config, most=max(taken["size"]))
    (fresh / "defaults.json").write_text(json.dumps(taken, indent=1) + "\n")
    bodies = [load_embodiment(name) for name in EMBODIMENTS] if embodiments is None else list(embodiments)
    save_embodiments(fresh, bodies)
    move_in(fresh, folder)
