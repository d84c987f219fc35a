"""Post-training: a trained model, somebody's recordings, some minutes, and figures before and after.

    recordings -> held-out part, embodiment's statistics -> measured as it is
               -> (the tokenizer learns the pictures) -> windows -> the generator learns -> measured again

``out`` then holds ``checkpoint/``, which ``armillary.load`` opens, ``figures.json`` and ``sheet.png``. A run that was
cut off goes on where it was. The reasoner stays as it is. With a ``rank`` nothing of the checkpoint changes: ``out``
holds ``adapter/`` in the place of ``checkpoint/``, which ``armillary.load(origin, adapter=...)`` wears.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from safetensors.torch import load_file, save_file

from armillary.embodiments import Embodiment, fit_normaliser, load_embodiment, load_embodiments
from armillary.errors import ConfigError
from armillary.media import contact_sheet, write_image, write_whole
from armillary.model import TwoTowers, load_model
from armillary.model.arithmetic import usable_device
from armillary.post_training.figures import Said, drive_figures, figures_of, measure
from armillary.post_training.pictures import RATE, adapt_vae
from armillary.post_training.recordings import (
    HeldClip,
    Parts,
    acts,
    clips_of,
    film_of,
    open_recordings,
    split,
    spread,
    words_of,
)  # fmt: skip
from armillary.post_training.teaching import Teaching, teach, teach_adapter, write_json
from armillary.prompts import action_prompt
from armillary.sampling.adapters import adapters_of
from armillary.sampling.omni import Omni, load
from armillary.sampling.parts import find_checkpoint
from armillary.tokenizers.text import TextTokenizer
from armillary.tokenizers.video import SPACE, TIER, VideoVAE
from armillary.training.generator import begin_like, sound_tokenizer_of, write_checkpoint
from armillary.training.latents import FRAMES, Windows, encode_windows
from armillary.training.loop import Report
from armillary.training.vae import VAERun

MAY_CHANGE = ("origin", "threads", "device")  # settings with which a run may go on otherwise than it began


@dataclass(frozen=True, kw_only=True)
class FinetuneRun(Teaching):
    """Everything that decides a post-training.

    ``origin`` (``--from``): a bundled name or a checkpoint folder. ``data``: a LeRobot folder or raw episodes.
    ``embodiment``: a name or a .toml file; its statistics are taken from the part that is learnt, or (``refit``
    false) stay those with which the checkpoint has learnt it. ``like``: a body whose slot the new one begins with,
    for actions of the same meaning (empty: its own as it is). ``steps``: a length in steps instead of ``minutes``:
    repeatable. ``vae_minutes``: the tokenizer learns the pictures first (0: it does not). ``world``: drive the policy
    there as well (empty: nowhere), ``lives`` times. ``rank``: an adapter of so many rows learns, and nothing else (0:
    every matrix of the generator does); the body and its statistics are then the checkpoint's. ``alpha``: over the
    rank, how much it counts (0: twice the rank).
    """

    origin: Annotated[str, tyro.conf.arg(name="from")]
    data: Path
    embodiment: str
    camera: str = ""
    size: tuple[int, int] | None = None  # height, width; else recordings.fitting_size
    refit: bool = True
    like: str = ""
    held_out: float = 0.2
    vae_minutes: float = 0.0
    vae_steps: int | None = None
    windows: int = 500  # about how many are learnt from
    clips: int = 32  # about how many are measured
    solver_steps: int | None = None  # None: as many as the checkpoint takes
    world: str = ""
    lives: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held_out={self.held_out}: it is the share that is not learnt from, between 0 and 1.")
        walked = 1 if self.solver_steps is None else self.solver_steps
        if min(self.minutes, self.windows, self.clips, self.batch, self.lives, walked) <= 0:
            raise ConfigError(
                f"minutes={self.minutes}, windows={self.windows}, clips={self.clips}, batch={self.batch}, lives="
                f"{self.lives}, solver_steps={self.solver_steps}: all must be positive."
            )
        if self.flow.action_share < 1:
            raise ConfigError("flow.action_share must be 1: recordings for post-training need no captions.")
        if self.rank < 0 or self.alpha < 0 or (self.alpha and not self.rank):
            raise ConfigError(
                f"rank={self.rank}, alpha={self.alpha:g}: an adapter has a rank from 1 on, alpha above 0."
            )
        if self.rank and (self.vae_minutes > 0 or self.vae_steps is not None):
            raise ConfigError(
                f"vae_minutes={self.vae_minutes:g} with rank={self.rank}: an adapter changes the generator alone, and "
                "the tokenizer stays the checkpoint's. Take vae_minutes 0 and no vae_steps, or leave rank out."
            )
        if self.rank and self.like:
            raise ConfigError(
                f"like={self.like!r} with rank={self.rank}: an adapter gives no body a slot of its own. Take a body "
                "that the checkpoint knows as embodiment, or leave rank out."
            )

    def start(self, report: Report = print) -> None:
        """Do it; what comes of it lies in ``out``."""
        finetune(self, report)


def finetune(run: FinetuneRun, report: Report = print) -> dict[str, Any]:
    """Post-train as ``run`` says; returns what ``figures.json`` holds. Errors are ``ArmillaryError``s, before work."""
    torch.set_num_threads(run.threads)
    usable_device(run.device)
    base = find_checkpoint(run.origin)
    body = load_embodiment(run.embodiment, base)
    episodes = open_recordings(run.data, body, camera=run.camera, size=run.size)
    parts = split(episodes, run.held_out)
    body = as_known(base, body, parts) if run.rank else fitted(body, parts, refit=run.refit)
    report(f"{sum(len(one.actions) for one in parts.known)} actions to learn from; {parts.how}")
    _begin(run, load(base, device=run.device).parts.weights_sha256)

    clips = clips_of(parts.held, run.clips)
    found = (_adapter if run.rank else _checkpoint)(run, base, body, parts, clips, report)
    before, after, size = found.before, found.after, clips[0].video.shape[1:3]

    mean_action = np.concatenate([one.actions for one in parts.known if acts(one)] or [parts.known[0].actions]).mean(0)
    figures = {name: one.told() for name, one in figures_of(clips, before, after, body, mean_action).items()}
    figures |= {f"drive: before, {name}": one.told() for name, one in found.driven_before.items()}
    figures |= {f"drive: after, {name}": one.told() for name, one in found.driven.items()}
    told = {
        "run": json.loads((run.out / "run.json").read_text()), "held out": parts.how, "windows": found.windows,
        "clips": len(clips), "size": list(size), "rate_hz": body.rate_hz, "seconds": found.seconds,
        "all steps done": found.whole_way,
        "interval": "95 %, bootstrap over episodes (of one episode: over stretches of 17 frames)", "figures": figures,
    }  # fmt: skip
    write_json(run.out / "figures.json", told)
    write_image(run.out / "sheet.png", sheet(clips, before, after))
    for name, one in figures.items():
        report(f"{name}: {one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]")
    return told


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What was said of the clips and done in the world, before and after, and how long learning took, in seconds."""

    before: Said
    driven_before: dict[str, Any]
    after: Said
    driven: dict[str, Any]
    windows: int
    seconds: float
    whole_way: bool


def _checkpoint(
    run: FinetuneRun, base: Path, body: Embodiment, parts: Parts, clips: Sequence[HeldClip], report: Report
) -> _Found:
    """A checkpoint of its own learns, whole but for the reasoner, and is written."""
    words, model = base / "text_tokenizer", _begun(base, body, run)
    before_folder, after_folder = run.out / "before", run.out / "checkpoint"
    own = {"size": list(clips[0].video.shape[1:3]), "fps": body.rate_hz, "task": words_of(parts.known[0])}
    whole: dict[str, Any] = {"words": words, "embodiments": _bodies(base, body), "sound": sound_tokenizer_of(base)}
    said = _said(base)
    write_checkpoint(before_folder, model, vae=base / "vae", defaults=said | own, **whole)
    before, driven_before = _measured(run, load(before_folder, device=run.device), clips, body, report)

    vae = _tokenizer(run, base / "vae", parts, report)
    windows = _windows(run, vae, parts, body)
    seconds, whole_way = teach(run, model, TextTokenizer.load(words), windows, report)
    write_checkpoint(after_folder, model, vae=vae, defaults=_kept(said) | own, **whole)
    after, driven = _measured(run, load(after_folder, device=run.device), clips, body, report)
    shutil.rmtree(before_folder)
    return _Found(
        before=before, driven_before=driven_before, after=after, driven=driven, windows=len(windows), seconds=seconds,
        whole_way=whole_way,
    )  # fmt: skip


def _adapter(
    run: FinetuneRun, base: Path, body: Embodiment, parts: Parts, clips: Sequence[HeldClip], report: Report
) -> _Found:
    """An adapter learns, and is worn by the checkpoint, which stays as it is."""
    if (name := "adapter") in adapters_of(base):
        raise ConfigError(
            f"{run.origin} has an adapter that is called {name!r}, as the one that is to be learnt: rename that folder "
            "in its adapters/, or go on from a checkpoint without it."
        )
    report(f"an adapter of rank {run.rank} learns: the body's statistics and the tokenizer stay those of {base.name}")
    before, driven_before = _measured(run, load(base, device=run.device), clips, body, report)
    windows = _windows(run, base / "vae", parts, body)
    began = time.monotonic()
    whole_way = teach_adapter(run, base, windows, report)
    seconds = time.monotonic() - began
    after, driven = _measured(run, load(base, device=run.device, adapter=run.out / "adapter"), clips, body, report)
    return _Found(
        before=before, driven_before=driven_before, after=after, driven=driven, windows=len(windows), seconds=seconds,
        whole_way=whole_way,
    )  # fmt: skip


def fitted(body: Embodiment, parts: Parts, *, refit: bool = True) -> Embodiment:
    """The body with the rate of the part that is learnt, and with ``refit`` its statistics."""
    known = fit_normaliser(body, np.concatenate([episode.actions for episode in parts.known])) if refit else body
    return replace(known, rate_hz=float(parts.known[0].fps))


def as_known(base: Path, body: Embodiment, parts: Parts) -> Embodiment:
    """The body as the checkpoint ``base`` knows it, all of which an adapter leaves as it is.

    ``ConfigError`` for a body that it does not know, and for recordings of another rate than it knows it at.
    """
    known, rate = load_embodiments(base), float(parts.known[0].fps)
    if body.name not in known:
        raise ConfigError(
            f"embodiment {body.name!r} is not known to {base.name}, and an adapter gives no body a slot: take one of "
            f"{', '.join(known) or 'another checkpoint'}, or leave rank out."
        )
    if rate != known[body.name].rate_hz:
        raise ConfigError(
            f"the recordings have {rate:g} frames a second, but {base.name} knows {body.name} at "
            f"{known[body.name].rate_hz:g}, and an adapter changes no body: take such recordings, or leave rank out."
        )
    return known[body.name]


def _begin(run: FinetuneRun, weights: str) -> None:
    """Keep the settings in ``out``; ``ConfigError`` if it was begun with others, or from other weights."""
    run.out.mkdir(parents=True, exist_ok=True)
    wanted = json.loads(json.dumps(asdict(run) | {"weights": weights}, default=str))
    kept = run.out / "run.json"
    if kept.exists():
        before = {"rank": 0, "alpha": 0.0} | json.loads(kept.read_text(encoding="utf-8"))  # older ones had none
        changed = [name for name in wanted if before.get(name) != wanted[name] and name not in MAY_CHANGE]
        if changed:
            name = changed[0]
            raise ConfigError(
                f"{run.out} was begun with {name} {before.get(name)!r}, now it is {wanted[name]!r}: go on with that "
                f"or take another folder."
            )
    write_json(kept, wanted)


def sheet(clips: Sequence[HeldClip], before: Said, after: Said, *, shown: int = 3) -> Any:
    """Some held-out clips as they were, as imagined after and before, one above the other."""
    rows, labels = [], []
    for i in np.linspace(0, len(clips) - 1, min(shown, len(clips))).round().astype(int):
        rows += [clips[i].video, after.films[i], before.films[i]]
        labels += [f"clip {i}, as it was", f"clip {i}, imagined after", f"clip {i}, imagined before"]
    return contact_sheet(rows, labels=labels, columns=6)


def _bodies(base: Path, body: Embodiment) -> list[Embodiment]:
    """The checkpoint's bodies, ours in place of one of its name."""
    return list((load_embodiments(base) | {body.name: body}).values())


def _said(base: Path) -> dict[str, Any]:
    """What the checkpoint takes where nobody asks for more, as it says."""
    path = base / "defaults.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _kept(said: Mapping[str, Any]) -> dict[str, Any]:
    """The same after post-training: but how its policy acts is learnt anew.

    Recordings teach actions beside a film, never without one, so ``filmless`` goes, and with it how much of a plan is
    done before the next look.
    """
    return {name: value for name, value in said.items() if name not in ("filmless", "execute")}


def _begun(base: Path, body: Embodiment, run: FinetuneRun) -> TwoTowers:
    """The model as learning finds it: the reasoner frozen, the body's slot as that of the body it is like."""
    model = load_model(base, dtype=torch.float32)
    for parameter in model.reasoner_parameters():
        parameter.requires_grad_(False)
    if run.like:
        begin_like(model, body, load_embodiment(run.like, base))
    return model


def _measured(
    run: FinetuneRun, omni: Omni, clips: Sequence[HeldClip], body: Embodiment, report: Report
) -> tuple[Said, dict[str, Any]]:
    """What the model says of the held-out clips, and how it does in the world if one is named."""
    worn = "" if omni.parts.told_adapter is None else ", which wears what was learnt,"
    report(f"measuring {omni.parts.folder.name}{worn} on {len(clips)} clips")
    said = measure(omni, clips, body, steps=run.solver_steps, seed=run.seed)
    if not run.world:
        return said, {}
    camera = run.camera or body.cameras[0].name
    return said, drive_figures(omni, body, run.world, camera, lives=run.lives, steps=run.solver_steps)


def _tokenizer(run: FinetuneRun, vae: Path, parts: Parts, report: Report) -> Path:
    """The folder of the tokenizer to use: the old one, or one that has learnt the pictures."""
    if run.vae_minutes <= 0 and run.vae_steps is None:
        return vae
    own = VAERun(
        data=run.out / "clips", out=run.out / "tokenizer", minutes=max(run.vae_minutes, 0.1), steps=run.vae_steps,
        threads=run.threads, device=run.device, seed=run.seed, learning_rate=RATE, warmup_steps=20, ema=0.99,
        report_steps=20, canvas_share=0.2, batch=1,
    )  # fmt: skip
    return adapt_vae(vae, parts.known, own, report)


def _windows(run: FinetuneRun, vae: Path, parts: Parts, body: Embodiment) -> Windows:
    """The part to learn from as the generator's tokens; kept, so that a run that was cut off need not do it again."""
    kept = run.out / "windows.safetensors"
    taken = spread(parts.known, run.windows)
    if not kept.exists():
        codec = VideoVAE.load(vae, dtype=torch.bfloat16).to(run.device)
        found = [encode_windows(codec, film_of(parts.known[n]), starts) for n, starts in taken]
        write_whole(kept, lambda draft: save_file({"video": torch.cat(found).bfloat16()}, draft))
    view = body.cameras[0].view if body.cameras else None
    actions, task, may_act = [], [], []
    opening: list[int] = []
    for number, starts in taken:
        episode = parts.known[number]
        told = {"frames": FRAMES, "fps": body.rate_hz, "height": TIER, "width": TIER, "view": view}
        opening += [len(opening)] * len(starts)
        for start in starts:
            actions.append(body.encode(episode.actions[start : start + FRAMES - 1]))
            task.append(action_prompt(words_of(episode), **told))  # type: ignore[arg-type]
            may_act.append(acts(episode))
    count = len(task)
    height, width = film_of(parts.known[0]).shape[1:3]
    video = load_file(kept)["video"]
    return Windows(
        video=video, actions=torch.from_numpy(np.stack(actions)), task=task, caption=task,
        things=torch.zeros(video.shape[:2]), placed=[""] * count, named=[{}] * count,
        domain=np.full(count, body.domain_id), width=np.full(count, body.width), fps=np.full(count, body.rate_hz),
        acts=np.array(may_act), tells=np.zeros(count, bool), size=((FRAMES + 3) // 4, height // SPACE, width // SPACE),
        opening=np.array(opening),
    )  # fmt: skip
