"""Teaches the sound tokenizer to keep what is heard: when something rings, how it rings, on which side.

    kept sounds (int16 files)  ->  crops at their peak  ->  encode, decode  ->  error of wave and spectra  ->  one step

Beside the plain error of the wave, which alone knows the phase, stand errors of spectra of three resolutions: the
short one says when, the long one which tone; amplitudes count as they are, and as logarithms down to 60 dB below the
peak, so that what fades is heard to its end. Latents are not normalised (cosmos3.md 6.2), the generator takes them as
they are: a pull to the normal distribution keeps them about as large as its noise. What is quieter than 60 dB below
full scale counts as silence, of which a share of the crops is.

The length of a run is given in minutes or in steps; the rate falls to its end over that length; the average of the
last weights (EMA) is kept. A run that is started again continues where its last checkpoint stood. Sounds:
``datasets/sounds.py``. The model: ``tokenizers/sound.py``.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from armillary.datasets.sounds import load_sound, simulate_sounds, sound_files
from armillary.errors import ConfigError, DataError
from armillary.model.arithmetic import usable_device
from armillary.tokenizers.sound import QUIET, SoundVAE, SoundVAEConfig, at_peak
from armillary.training.episodes import check_share
from armillary.training.loop import Report
from armillary.training.muon import Muon
from armillary.training.timed import average_share, brought, noise_like, progress_of, take_step

SPECTRA = ((2048, 512), (512, 128), (128, 32))  # window and step of the spectra, in samples
HELD_EVERY = 20  # one life of so many is held out, by its seed
PICO_SOUND = SoundVAEConfig(
    dec_dim=8, dec_c_mults=(1, 3, 6, 10, 12), dec_strides=(8, 6, 5, 4, 2), enc_dim=24, enc_num_blocks=1
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundRun:
    """Everything a training run of the sound tokenizer depends on; stored beside its weights.

    ``shares``: how often each world is drawn, in place of the number of its files. ``crop``: latents a crop;
    ``quiet_share``: of the crops begins anywhere, the others where something is heard. ``origin``: a tokenizer's folder
    to begin from, of the same sizes as ``model``; ``decoder_only``: its latents stay as they are, only what is made of
    them gets better. Raises ``ConfigError`` for settings that cannot be.
    """

    data: Path
    out: Path
    minutes: float = 15.0
    steps: int | None = None  # a length in steps instead of minutes: repeatable to the bit
    threads: int = 1
    device: str = "cpu"  # or cuda
    seed: int = 0
    model: SoundVAEConfig = field(default_factory=lambda: PICO_SOUND)
    origin: Path | None = None
    decoder_only: bool = False
    shares: Mapping[str, float] = field(default_factory=dict)
    batch: int = 2
    crop: int = 12
    quiet_share: float = 0.15
    learning_rate: float = 3e-3
    final_rate: float = 0.02  # share of the learning rate left at the end
    warmup_steps: int = 60
    max_grad_norm: float = 1.0
    kl_weight: float = 1e-3
    wave_weight: float = 5.0
    ema: float = 0.995
    checkpoint_seconds: float = 120.0
    report_steps: int = 50

    def __post_init__(self) -> None:
        if min(self.batch, self.crop) < 1 or self.minutes <= 0 or (self.steps is not None and self.steps < 1):
            raise ConfigError(
                f"batch={self.batch}, crop={self.crop}, minutes={self.minutes}, steps={self.steps}: all must be "
                "positive."
            )

        if self.decoder_only and self.origin is None:
            raise ConfigError("a run that trains the decoder only needs the tokenizer whose decoder: say its origin.")

    @property
    def results(self) -> tuple[Path, ...]:
        """What others read of it (``run_chain.py``)."""
        return (self.out / "sound_tokenizer",)

    def start(self, report: Report = print) -> None:
        """Train, or go on."""
        train_sound(self, report)


@dataclass(frozen=True, kw_only=True)
class LivesRun:
    """What is heard in so many ``lives`` of each world, from ``seed`` on, is kept in ``out``."""

    out: Path
    lives: Mapping[str, int]
    seed: int = 0
    share: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        check_share(self.share)

    def start(self, report: Report = print) -> None:
        """Simulate what is not there yet."""
        keep_sounds(self, report)


def keep_sounds(run: LivesRun, report: Report = print) -> int:
    """Simulate what is not there yet; returns how many sounds this share has."""
    made = 0
    for world, lives in run.lives.items():
        own = sum(1 for _ in simulate_sounds(run.out, world=world, lives=lives, seed=run.seed, share=run.share))
        report(f"{world}: {own} sounds")
        made += own
    return made


class Sounds:
    """Kept sounds to draw crops from; one file of twenty is held out. ``DataError`` where a folder holds too few."""

    def __init__(self, folder: Path, shares: Mapping[str, float]) -> None:
        files = sound_files(folder)
        held = {path for path in files if int(path.stem.rpartition("_")[2]) % HELD_EVERY == HELD_EVERY // 2}
        held = held or {files[0]}
        self.held, self.known = sorted(held), [path for path in files if path not in held]
        if not self.known:
            raise DataError(f"{folder} holds one sound: training needs one to learn from and one held out.")
        worlds = [path.name.rpartition("_")[0] for path in self.known]
        weights = np.array([shares.get(world, 1.0) / (worlds.count(world) if shares else 1) for world in worlds])
        self._weights = weights / weights.sum()
        self._kept: dict[Path, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}

    def _heard(self, path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """A sound, and the samples (every 64th) at which anything is heard."""
        if path not in self._kept:
            sound = load_sound(path)
            loud = np.abs(sound[:, : sound.shape[1] // 64 * 64]).reshape(2, -1, 64).max(axis=(0, 2)) > QUIET
            self._kept[path] = sound, np.flatnonzero(loud) * 64
        return self._kept[path]

    def draw(self, run: SoundRun, seed: tuple[int, int]) -> Float[Tensor, "b 2 s"]:
        """A batch of crops, each at its peak as the tokenizer brings it there, silence as zeros."""
        rng, length = np.random.default_rng([*seed, 67]), run.crop * run.model.hop
        crops = []
        for number in rng.choice(len(self.known), size=run.batch, p=self._weights).tolist():
            sound, loud = self._heard(self.known[number])
            if len(loud) and rng.random() >= run.quiet_share:
                start = int(loud[rng.integers(len(loud))]) - int(rng.integers(length))
            else:
                start = int(rng.integers(max(sound.shape[1] - length, 0) + 1))
            start = max(0, min(start, sound.shape[1] - length))
            crops.append(
                at_peak(np.pad(sound[:, start : start + length], ((0, 0), (0, max(0, length - sound.shape[1])))))
            )
        return torch.from_numpy(np.stack(crops))


def spectrum(sound: Float[Tensor, "b 2 s"], size: int, hop: int) -> Float[Tensor, "c f n"]:
    """Amplitudes of both ears, one after the other in c: a sine of amplitude 1 shows as about 1."""
    window = torch.hann_window(size, device=sound.device)
    found = torch.stft(sound.flatten(0, 1), size, hop, window=window, pad_mode="constant", return_complex=True)
    return (found.real.square() + found.imag.square() + 1e-10).sqrt() * (2 / window.sum())


def sound_loss(
    vae: SoundVAE, sound: Float[Tensor, "b 2 s"], run: SoundRun, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one batch, and its parts: ``wave``, ``spectra``, ``kl``."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and not run.decoder_only):
        mean, deviation = vae.moments(sound)
    made = vae.decoder(mean + deviation * noise_like(mean, generator)).float()
    wave = (made - sound).abs().mean()
    spectra = wave.new_zeros(())
    for size, hop in SPECTRA:
        one, true = spectrum(made, size, hop), spectrum(sound, size, hop)
        apart = (one - true).abs().mean() / (true.mean() + 1e-3)
        spectra = spectra + apart + ((one + QUIET).log() - (true + QUIET).log()).abs().mean()
    kl = 0.5 * (mean.square() + deviation.square() - 1.0 - 2 * deviation.log()).mean()
    loss = run.wave_weight * wave + spectra + run.kl_weight * kl
    return loss, {"wave": wave.detach(), "spectra": spectra.detach(), "kl": kl.detach()}


class SoundTrainer:
    """The state of one run: weights, their average, the optimizer's moments."""

    def __init__(self, run: SoundRun) -> None:
        self.run = run
        torch.manual_seed(run.seed)
        self.device = usable_device(run.device)
        self.vae = (SoundVAE(run.model) if run.origin is None else SoundVAE.load(run.origin)).to(self.device)
        if self.vae.config != run.model:
            raise ConfigError(
                f"{run.origin} holds a tokenizer of other sizes than this run's model: say the same sizes."
            )
        whole = dict(self.vae.named_parameters())
        self.weights = {n: p for n, p in whole.items() if not (run.decoder_only and n.startswith("encoder."))}
        self.average = {name: part.detach().clone() for name, part in self.weights.items()}
        inner = {name for name, part in self.weights.items() if _inner(name, part)}
        outer = [part for name, part in self.weights.items() if name not in inner]
        self.muon = Muon([self.weights[name] for name in sorted(inner)], lr=run.learning_rate)
        self.adam = torch.optim.AdamW(outer, lr=run.learning_rate, betas=(0.9, 0.98), weight_decay=0)
        self.step, self.seconds = 0, 0.0  # of training so far, over all starts

    @property
    def progress(self) -> float:
        """How much of the run is done, 0 to 1."""
        return progress_of(self.run, self.step, self.seconds)

    def learn(self, sound: Float[Tensor, "b 2 s"]) -> dict[str, Tensor]:
        """One step on one batch. Returns what to log."""
        run = self.run
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + self.step)
        loss, parts = sound_loss(self.vae, sound.to(self.device), run, generator)
        for part in self.weights.values():
            part.grad = None
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.weights.values(), run.max_grad_norm)
        take_step(run, (self.muon, self.adam), grad_norm, step=self.step, progress=self.progress)
        self.step += 1
        share = average_share(run, self.step)
        with torch.no_grad():
            for name, part in self.weights.items():
                self.average[name].lerp_(part, share)
        return {"loss": loss.detach(), **parts, "grad_norm": grad_norm}

    def averaged(self) -> SoundVAE:
        """A copy of the model with the average of the weights."""
        vae = SoundVAE(self.run.model)
        vae.load_state_dict(self.vae.state_dict() | self.average)
        return vae.eval()

    def save(self) -> None:
        """Write the whole state as ``state.safetensors``, atomically."""
        tensors: dict[str, Tensor] = {}
        for name, part in self.weights.items():
            tensors |= {f"weights/{name}": part.detach(), f"average/{name}": self.average[name]}
            for optimizer in (self.muon, self.adam):
                tensors |= {f"optimizer/{name}/{key}": value for key, value in optimizer.state.get(part, {}).items()}
        target = self.run.out / "state.safetensors"
        draft = target.with_suffix(".draft")
        note = {"step": str(self.step), "seconds": repr(self.seconds)}
        save_file({name: part.contiguous() for name, part in tensors.items()}, draft, metadata=note)
        draft.replace(target)

    def resume(self) -> bool:
        """Continue from ``state.safetensors`` where there is one; True if so."""
        source = self.run.out / "state.safetensors"
        if not source.exists():
            return False
        with safe_open(source, "pt") as file, torch.no_grad():
            note, known = file.metadata(), set(file.keys())
            self.step, self.seconds = int(note["step"]), float(note["seconds"])
            for name, part in self.weights.items():
                part.copy_(file.get_tensor(f"weights/{name}"))
                self.average[name].copy_(file.get_tensor(f"average/{name}"))
                kept = {key.rpartition("/")[2]: file.get_tensor(key) for key in known
                        if key.startswith(f"optimizer/{name}/")}  # fmt: skip
                if kept:
                    (self.muon if "average" in kept else self.adam).state[part] = brought(kept, self.device)
        return True


def _inner(name: str, part: Tensor) -> bool:
    """Whether Muon updates a parameter: kernels between the network's two ends, not lengths, snakes or the ends."""
    ends = ("encoder.layers.0.", "decoder.conv1.", "decoder.conv2.")
    return part.ndim == 3 and name.endswith(("weight_v", "conv1.weight", "conv2.weight")) and not name.startswith(ends)


def train_sound(run: SoundRun, report: Report = print) -> dict[str, float]:
    """Train to the end of the run; leave ``sound_tokenizer/`` (bf16), ``state.safetensors``, ``metrics.jsonl``.

    Returns the last held-out figures. Raises ``DataError`` where ``data`` holds no sounds.
    """
    torch.set_num_threads(run.threads)
    sounds, trainer = Sounds(run.data, run.shares), SoundTrainer(run)
    run.out.mkdir(parents=True, exist_ok=True)
    trainer.resume()
    (run.out / "run.json").write_text(json.dumps(asdict(run), indent=2, default=str) + "\n")
    saved = now = time.monotonic()
    rows: list[dict[str, Tensor]] = []
    while trainer.progress < 1.0:
        rows.append(trainer.learn(sounds.draw(run, (run.seed, trainer.step))))
        before, now = now, time.monotonic()
        trainer.seconds += now - before
        if trainer.step % run.report_steps == 0:
            _log(trainer, {key: float(torch.stack([row[key] for row in rows]).mean()) for key in rows[0]}, report)
            rows = []
        if now - saved > run.checkpoint_seconds:
            _checkpoint(trainer, sounds, 6, report)
            saved = now = time.monotonic()
    return _checkpoint(trainer, sounds, 60, report)


def _checkpoint(trainer: SoundTrainer, sounds: Sounds, most: int, report: Report) -> dict[str, float]:
    """Save the state and a usable model; measure it on sounds held out."""
    trainer.save()
    folder = trainer.run.out / "sound_tokenizer"
    trainer.averaged().save(folder, dtype=torch.bfloat16)
    figures = held_figures(SoundVAE.load(folder), sounds.held[:most])
    _log(trainer, figures, report)
    return figures


@torch.no_grad()
def held_figures(vae: SoundVAE, files: Sequence[Path]) -> dict[str, float]:
    """What comes back of whole sounds: ``held_sisdr`` dB, ``held_lsd`` dB, ``latent_size``; of those with anything.

    Scale-invariant signal to distortion of the wave; log-spectral distance (512 samples) where the truth is within
    60 dB of its peak; the root mean square of the latents.
    """
    ratios, apart, sizes = [], [], []
    for path in files:
        sound = torch.from_numpy(at_peak(load_sound(path)))[None]
        if not bool(sound.any()):
            continue
        latents = vae.encode(sound)
        made = vae.decode(latents)[..., : sound.shape[-1]]
        ratios.append(si_sdr(made, sound))
        one, true = (20 * (spectrum(x, 512, 128) + QUIET).log10() for x in (made, sound))
        loud = true > 20 * math.log10(2 * QUIET)
        apart.append(float((one - true)[loud].square().mean().sqrt()))
        sizes.append(float(latents.square().mean()))
    if not ratios:
        return {}
    return {
        "held_sisdr": float(np.mean(ratios)), "held_lsd": float(np.mean(apart)),
        "latent_size": float(np.mean(sizes)) ** 0.5, "held_sounds": float(len(ratios)),
    }  # fmt: skip


def si_sdr(made: Tensor, true: Tensor) -> float:
    """Scale-invariant signal to distortion in decibels: how much of ``made`` is a multiple of ``true``."""
    scale = (made * true).sum() / true.square().sum().clamp(min=1e-12)
    rest = (made - scale * true).square().sum()
    return float(10 * torch.log10(((scale * true).square().sum() + 1e-12) / (rest + 1e-12)))


def _log(trainer: SoundTrainer, figures: Mapping[str, Any], report: Report) -> None:
    row = {"step": trainer.step, "seconds": round(trainer.seconds, 1), **figures}
    with (trainer.run.out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    report(" ".join(f"{key} {value:.5g}" for key, value in row.items()))
