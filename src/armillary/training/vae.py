"""Teaches the video tokenizer to keep what matters in a picture: small things, and things that move.

    clips (uint8 files)  ->  crops and weights  ->  encode, decode  ->  weighted pixel error  ->  one step

A plain pixel loss lets an autoencoder drop a three-pixel ball and still score well, and whatever learns on top
of it is then blind to the ball. So pixels of marked objects, and pixels that change within the clip, weigh
several times as much. A share of the clips is encoded on the padded canvas and decoded from the cropped latents,
the way action clips are used later, so that picture borders come out clean on both roads.

The length of a run is given in minutes or in steps; the learning rate falls to its end over that length. Weights
compute in bfloat16, the optimizer works on float32 copies, and the average of the last weights (EMA) is kept. A run
that is started again continues where its last checkpoint stood. Batches: ``vae_data.py``. Optimizer: ``muon.py``
and AdamW. The model: ``tokenizers/video.py``. Run: ``python -m armillary.training.vae --data D --out O``.

A tokenizer that is in use can learn more worlds: of ``kept`` clips its latents must stay what ``origin`` makes of
them, so that whatever was learnt in them still holds. And its decoder can learn what a generator's latents show
(``foreseen``), which are no picture's.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from armillary.datasets.byte_clips import ByteClips
from armillary.errors import ConfigError
from armillary.model.arithmetic import usable_device
from armillary.tokenizers.video import SPACE, VideoVAE, VideoVAEConfig, fit_latent_statistics
from armillary.training.made_from import check_tokenizers
from armillary.training.muon import Muon
from armillary.training.timed import average_share, brought, noise_like, progress_of, take_step
from armillary.training.vae_data import CropPlan, Pixels, check_clips, check_latents, draw, draw_foreseen, psnr, scaled

Judge = Callable[[VideoVAE, Path], dict[str, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class VAERun:
    """Everything a training run of the video tokenizer depends on; stored beside its weights."""

    data: Path
    out: Path
    minutes: float = 40.0
    steps: int | None = None  # a length in steps instead of minutes: repeatable to the bit
    threads: int = 1
    device: str = "cpu"  # or cuda
    seed: int = 0
    origin: Path | None = None  # a tokenizer's folder to begin from; its sizes must be those of ``model``
    model: VideoVAEConfig = field(default_factory=VideoVAEConfig)
    decoder_only: bool = False  # the latents of ``origin`` stay as they are; only what is made of them gets better
    kept: Path | None = None  # clips whose latents must stay as ``origin`` makes them, while it learns others
    kept_share: float = 0.35  # of the batches is of those
    kept_weight: float = 1.0  # of the square by which their latents differ, in deviations of a channel
    foreseen: Path | None = None  # clips beside latents that a generator imagined of them (``foreseen.py``)
    foreseen_share: float = 0.55  # of the batches is of those
    emphasis: float = 1.0  # how much of the extra weight of objects and of what moves is used
    batch: int = 2  # whole clips of nine frames of 128x128 pixels that one step costs
    crop: int = 64  # side of the crops of the first part, pixels
    crop_share: float = 0.3  # how much of the run sees crops only
    canvas_share: float = 0.3  # of the batches is encoded on the canvas
    learning_rate: float = 2e-3
    final_rate: float = 0.02  # share of the learning rate left at the end
    warmup_steps: int = 100
    max_grad_norm: float = 1.0
    kl_weight: float = 1e-6
    square: tuple[float, float] = (3.0, 20.0)  # weight of the squared error beside the absolute one: first, at the end
    latent_noise: float = 0.03  # in deviations of the latents: the decoder must bear small errors
    ema: float = 0.999
    checkpoint_seconds: float = 120.0
    report_steps: int = 50

    def __post_init__(self) -> None:
        if self.decoder_only and self.origin is None:
            raise ConfigError("a run that trains the decoder only needs the tokenizer whose decoder: say its origin.")
        if self.kept is not None and self.origin is None:
            raise ConfigError("a run that keeps latents needs the tokenizer whose latents they are: say its origin.")
        if self.foreseen is not None and not self.decoder_only:
            raise ConfigError("what a generator foresees is of the latents it knows: say decoder_only, too.")
        if min(self.kept_share, self.foreseen_share) < 0 or self._shared > 1:
            raise ConfigError(
                f"kept_share={self.kept_share}, foreseen_share={self.foreseen_share}: neither below 0, and where both "
                "are drawn not above 1 together."
            )
        if self.crop % SPACE or self.batch < 1 or self.minutes <= 0 or (self.steps is not None and self.steps < 1):
            raise ConfigError(
                f"a run with crop {self.crop}, batch {self.batch}, {self.minutes} minutes, {self.steps} steps cannot "
                f"start: crop must be a multiple of {SPACE}, the others positive."
            )

    @property
    def _shared(self) -> float:
        """The share of the batches that are not of ``data``."""
        return self.kept_share * (self.kept is not None) + self.foreseen_share * (self.foreseen is not None)


def vae_loss(
    vae: VideoVAE, pixels: Pixels, run: VAERun, generator: torch.Generator, progress: float = 0.0,
    before: VideoVAE | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The loss of one batch, and what to log: ``square``, its plain mean squared error (of pixels in [-1, 1]).

    Weighted absolute error, which learns small things early, plus squared error, which is what decibels count and
    weighs more towards the end of the run (``progress`` 0 to 1), plus a very small pull of the latents to the normal
    distribution. Latents get noise of their own deviation and ``latent_noise`` of the batch's; imagined ones are
    decoded as they are, and what comes out is ``square_foreseen``. ``before``: the tokenizer whose latents this batch
    should keep; ``moved`` is the square by which they differ.
    """
    if pixels.latents is not None:
        square, seen = _weighted(vae.render(vae.unnormalised(pixels.latents)), pixels, run, progress)
        return seen, {"square_foreseen": square}
    with torch.set_grad_enabled(torch.is_grad_enabled() and not run.decoder_only):
        mean, log_variance = vae.moments(pixels.video.to(vae.dtype))
    noise, more = (noise_like(mean, generator) for _ in range(2))
    log_variance = log_variance.clamp(-30.0, 20.0)
    spread = mean.detach().float().std(dim=(0, 2, 3, 4), keepdim=True).to(mean.dtype)
    latents = mean + noise * torch.exp(0.5 * log_variance) + more * spread * run.latent_noise
    rows, columns = (side // SPACE for side in pixels.target.shape[-2:])
    square, seen = _weighted(vae.render(latents[..., :rows, :columns]), pixels, run, progress)
    m, v = mean.float(), log_variance.float()
    kl = 0.5 * (m.square() + v.exp() - 1.0 - v).mean()
    loss = seen + run.kl_weight * kl
    told = {"square" if before is None else "square_kept": square}
    if before is not None:
        with torch.no_grad():
            was = before.moments(pixels.video.to(before.dtype))[0].float()
        spread = torch.tensor(before.config.latents_std, device=m.device).view(1, -1, 1, 1, 1)
        moved = ((m - was) / spread).square().mean()
        loss = loss + run.kept_weight * moved
        told["moved"] = moved.detach()
    return loss, told


def _weighted(shown: Tensor, pixels: Pixels, run: VAERun, progress: float) -> tuple[Tensor, Tensor]:
    """Of pixels b 3 t h w their mean squared error, plain and without gradient, and the weighted loss."""
    error = shown.float() - pixels.target
    weight = 1.0 + run.emphasis * (pixels.weight - 1.0)
    weight = weight / weight.mean()
    square = error.square()
    much = run.square[0] + (run.square[1] - run.square[0]) * progress
    return square.mean().detach(), (weight * (error.abs() + much * square)).mean()


class VAETrainer:
    """The state of one run: bfloat16 weights that compute, float32 copies that learn, their average."""

    def __init__(self, run: VAERun) -> None:
        self.run = run
        torch.manual_seed(run.seed)
        self.device = usable_device(run.device)
        vae = VideoVAE(run.model)
        if run.origin is not None:
            found = _origin(run)
            vae.load_state_dict(found.state_dict())
            vae.config = found.config
        vae.to(self.device)
        if run.decoder_only:
            vae.encoder.requires_grad_(False)
            vae.quant_conv.requires_grad_(False)
        keeps = run.kept is not None and not run.decoder_only  # where the encoder does not learn, latents stay anyway
        self.before = _origin(run).to(self.device, torch.bfloat16).eval() if keeps else None
        self.names = [name for name, part in vae.named_parameters() if part.requires_grad]
        parts = dict(vae.named_parameters())
        self.master = [parts[name].detach().clone() for name in self.names]
        self.average = [part.clone() for part in self.master]
        self.vae = vae.to(torch.bfloat16)
        parts = dict(self.vae.named_parameters())
        self.working = [parts[name] for name in self.names]
        inner = [
            index for index, (name, part) in enumerate(zip(self.names, self.master, strict=True)) if _inner(name, part)
        ]
        self.muon = Muon([self.master[index] for index in inner], lr=run.learning_rate)
        outer = [part for index, part in enumerate(self.master) if index not in set(inner)]
        self.optimizer = torch.optim.AdamW(outer, lr=run.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
        self.step = 0
        self.seconds = 0.0  # of training so far, over all starts

    @property
    def progress(self) -> float:
        """How much of the run is done, 0 to 1."""
        return progress_of(self.run, self.step, self.seconds)

    def learn(self, pixels: Pixels, *, keep: bool = False) -> dict[str, Tensor]:
        """One step on one batch; ``keep``: whether its latents must stay what they were. Returns what to log."""
        run = self.run
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + self.step)
        pixels = pixels.to(self.device)
        loss, told = vae_loss(self.vae, pixels, run, generator, self.progress, self.before if keep else None)
        loss.backward()
        for master, working in zip(self.master, self.working, strict=True):
            master.grad = None if working.grad is None else working.grad.float()
            working.grad = None
        grad_norm = nn.utils.clip_grad_norm_(self.master, run.max_grad_norm)
        take_step(run, (self.optimizer, self.muon), grad_norm, step=self.step, progress=self.progress)
        self.step += 1
        share = average_share(run, self.step)
        with torch.no_grad():
            for master, working, average in zip(self.master, self.working, self.average, strict=True):
                working.copy_(master)
                average.lerp_(master, share)
        return {"loss": loss.detach(), **told, "grad_norm": grad_norm}

    def averaged(self) -> VideoVAE:
        """A copy of the model with the average of the weights, float32."""
        vae = VideoVAE(self.vae.config)
        state = vae.state_dict() | dict(zip(self.names, self.average, strict=True))
        state |= {name: part.float() for name, part in self.vae.state_dict().items() if name not in set(self.names)}
        vae.load_state_dict(state)
        return vae.eval()

    def save(self) -> None:
        """Write the whole state as ``state.safetensors``, atomically."""
        tensors: dict[str, Tensor] = {}
        for name, master, average in zip(self.names, self.master, self.average, strict=True):
            tensors |= {f"master.{name}": master, f"average.{name}": average}
            if master in self.optimizer.state:
                tensors |= {f"{key}.{name}": part for key, part in self.optimizer.state[master].items()}
        for name, master in zip(self.names, self.master, strict=True):
            tensors |= {f"muon.{name}": part for part in self.muon.state.get(master, {}).values()}
        frozen = {n: p for n, p in self.vae.state_dict().items() if n not in set(self.names)}
        tensors |= {f"frozen.{name}": part for name, part in frozen.items()}
        target = self.run.out / "state.safetensors"
        part = target.with_suffix(".part")
        note = {"step": str(self.step), "seconds": repr(self.seconds)}
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, part, metadata=note)
        part.replace(target)

    def resume(self) -> bool:
        """Continue from ``state.safetensors`` where there is one; True if so."""
        source = self.run.out / "state.safetensors"
        if not source.exists():
            return False
        with safe_open(source, "pt") as file, torch.no_grad():
            note = file.metadata()
            self.step, self.seconds = int(note["step"]), float(note["seconds"])
            known = set(file.keys())
            for name, master, average, working in zip(self.names, self.master, self.average, self.working, strict=True):
                master.copy_(file.get_tensor(f"master.{name}"))
                average.copy_(file.get_tensor(f"average.{name}"))
                working.copy_(master)
                if f"muon.{name}" in known:
                    self.muon.state[master] = brought({"average": file.get_tensor(f"muon.{name}")}, self.device)
                moments = {key: f"{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq")}
                if moments["step"] in known:
                    kept = {key: file.get_tensor(where) for key, where in moments.items()}
                    self.optimizer.state[master] = brought(kept, self.device)
            frozen = {key: file.get_tensor(key) for key in known if key.startswith("frozen.")}
        self.vae.load_state_dict({key.removeprefix("frozen."): part for key, part in frozen.items()}, strict=False)
        return True


def train_vae(run: VAERun, judge: Judge | None = None) -> dict[str, float]:
    """Train to the end of the run; leave ``vae/``, ``state.safetensors``, ``metrics.jsonl``, ``run.json`` in ``out``.

    ``judge`` is called with the averaged model and ``out`` at every checkpoint; what it returns is logged.
    Returns the last held-out figures. Raises ``DataError`` where ``data`` holds no clips, or what is ``foreseen`` says
    that it is of another tokenizer.
    """
    torch.set_num_threads(run.threads)
    run.out.mkdir(parents=True, exist_ok=True)
    clips, trainer = check_clips(ByteClips(run.data)), VAETrainer(run)
    kept, foreseen = (None if one is None else check_clips(ByteClips(one)) for one in (run.kept, run.foreseen))
    if run.foreseen is not None and run.origin is not None and foreseen is not None:
        check_tokenizers([run.foreseen], [run.origin])
        check_latents(foreseen, run.model.z_dim)
    trainer.resume()
    (run.out / "run.json").write_text(json.dumps(asdict(run), indent=2, default=str) + "\n")
    saved = last = now = time.monotonic()
    sums: list[dict[str, Tensor]] = []
    while trainer.progress < 1.0:
        drawn, keep = _drawn(trainer, clips, kept, foreseen)
        sums.append(trainer.learn(drawn, keep=keep))
        before, now = now, time.monotonic()
        trainer.seconds += now - before
        if trainer.step % run.report_steps == 0:
            means = {key: float(torch.stack([row[key].float() for row in sums if key in row]).mean())
                     for key in sorted(set().union(*sums))}  # fmt: skip
            rate = len(sums) / (time.monotonic() - last)
            sharp = {
                key.replace("square", "train_psnr"): psnr(means.pop(key)) for key in list(means) if "square" in key
            }
            _log(run, trainer, {**sharp, **means, "steps_per_second": rate})
            sums, last = [], time.monotonic()
        if time.monotonic() - saved > run.checkpoint_seconds:
            _checkpoint(trainer, clips, judge, foreseen, thorough=False)
            clips = check_clips(ByteClips(run.data))  # files may have come
            saved = last = time.monotonic()
    return _checkpoint(trainer, clips, judge, foreseen, thorough=True)


def _drawn(
    trainer: VAETrainer, clips: ByteClips, kept: ByteClips | None, foreseen: ByteClips | None
) -> tuple[Pixels, bool]:
    """The batch of the next step, and whether its latents must stay."""
    run, seed = trainer.run, (trainer.run.seed, trainer.step)
    chance = np.random.default_rng([*seed, 7]).random()
    if foreseen is not None and chance >= 1 - run.foreseen_share:
        return draw_foreseen(foreseen, seed=seed), False
    keep = kept is not None and chance < run.kept_share
    return draw(kept if kept is not None and keep else clips, _plan(run, trainer.progress), seed=seed), keep


def _origin(run: VAERun) -> VideoVAE:
    """The tokenizer a run begins from; ``ConfigError`` if it is of other sizes than the run's."""
    assert run.origin is not None
    found = VideoVAE.load(run.origin)
    same = replace(found.config, latents_mean=run.model.latents_mean, latents_std=run.model.latents_std)
    if same != run.model:
        raise ConfigError(
            f"{run.origin} holds a tokenizer of other sizes than this run's model: say the same sizes, or begin afresh."
        )
    return found


def _inner(name: str, part: Tensor) -> bool:
    """Whether Muon updates a parameter: kernels between the network's two ends, not norms, biases or the ends."""
    return (
        part.ndim > 3 and name.endswith("weight") and not any(end in name for end in ("conv_in", "conv_out", "quant"))
    )


def _plan(run: VAERun, progress: float) -> CropPlan:
    """Small crops first, mostly single: many different pictures teach space sooner than many frames of few clips.

    Whole pictures and longer stretches after that.
    """
    whole = run.batch * 9 * 128 * 128
    if progress < run.crop_share:
        return CropPlan(side=run.crop, pixels=whole // 2, canvas_share=0.0, lengths=(0.5, 0.35, 0.15, 0.0))
    return CropPlan(side=None, pixels=whole, canvas_share=run.canvas_share, lengths=(0.3, 0.3, 0.2, 0.2))


def _checkpoint(
    trainer: VAETrainer, clips: ByteClips, judge: Judge | None, foreseen: ByteClips | None, *, thorough: bool
) -> dict[str, float]:
    """Save the state and a usable model with its latent statistics; measure it on clips held out."""
    trainer.save()
    vae = trainer.averaged()
    fast = VideoVAE(vae.config).to(torch.bfloat16)
    fast.load_state_dict(vae.state_dict())
    known = (scaled(clip[None]) for clip in clips.known(200 if thorough else 12))
    if not trainer.run.decoder_only and trainer.run.kept is None:
        vae.config = fit_latent_statistics(fast, known)
    vae.save(trainer.run.out / "vae")
    count = 64 if thorough else 8
    held = (scaled(clip[None]) for clip, _ in clips.held(count))
    figures = {"held_psnr": _psnr_of(fast, ((video, fast.encode(video)) for video in held))}
    if foreseen is not None:
        pairs = (
            (scaled(clip[None]), torch.from_numpy(own[None]).float()) for clip, own in foreseen.held_latents(count)
        )
        figures["held_psnr_foreseen"] = _psnr_of(fast, pairs)
    if judge is not None:
        figures |= judge(vae, trainer.run.out)
    _log(trainer.run, trainer, figures)
    return figures


def _psnr_of(vae: VideoVAE, pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """dB of the mean squared error with which videos come out of the latents beside them."""
    return psnr(float(torch.stack([(vae.decode(latents) - video).square().mean() for video, latents in pairs]).mean()))


def _log(run: VAERun, trainer: VAETrainer, figures: dict[str, Any]) -> None:
    row = {
        "step": trainer.step,
        "seconds": round(trainer.seconds, 1),
        "progress": round(trainer.progress, 4),
        **figures,
    }
    with (run.out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(" ".join(f"{key} {value:.5g}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    train_vae(tyro.cli(VAERun))
