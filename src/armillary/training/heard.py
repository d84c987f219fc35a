"""Sound beside films, as the generator learns it.

    in    raw episodes, lived again for what is heard in them, the sound tokenizer
    out   beside a cache of windows a folder of as many files: sound tokens n m 64 of each window, 25 a second

Files of a cache do not hold sound; this companion finds its windows by the episode's name and the frame they begin
with, so one companion serves every cache of the same episodes. A window's sound begins with its first frame and lasts
as long as its frames do, brought to its peak as the tokenizer does it; what is quieter than ``tokenizers/sound.py``'s
``QUIET`` is silence. Film and sound of an exercise have one noise level, as in sampling; to learn what belongs to what
there is also a film given as a whole, to which the sound is to be found.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from armillary.datasets.raw import load_raw, raw_files
from armillary.datasets.sounds import STEM, load_sound, sound_again
from armillary.errors import ConfigError, DataError
from armillary.model import TwoTowers
from armillary.model.arithmetic import usable_device
from armillary.model.ports import sound_positions
from armillary.records import SOUND_HZ, Episode, Segment
from armillary.tokenizers.sound import SoundVAE, at_peak
from armillary.training.episodes import SAY_EVERY, check_share
from armillary.training.flow import mix
from armillary.training.latents import FRAMES, STRIDE, window_starts
from armillary.training.loop import Report
from armillary.training.made_from import agree, begin

TO_FILM = "sound-to-a-film"  # the exercise whose film is given as a whole
GIVEN = {"text-to-video": 0, "image-to-video": 1, "video-to-video": 2}  # latent frames


FAR = 0.5  # mean distance of a token's numbers from silence's, from which on it counts in full


@dataclass(frozen=True, kw_only=True, slots=True)
class HeardConfig:
    """How films with sound are drawn. ``share``: of the batches of films, where sounds are known.

    ``modes``: those of ``modes.py`` that may sound, and ``TO_FILM``. ``weight``: of the sound's error beside the
    film's (cosmos3.md 5.4: 2 beside 10). ``loud``: how often a window is taken in which something is heard; else any.
    ``sounding``: how much more a token weighs that is not silence. Raises ``ConfigError`` for an unknown exercise.
    """

    share: float = 0.15
    modes: Mapping[str, float] = field(
        default_factory=lambda: {"image-to-video": 0.5, "text-to-video": 0.1, "video-to-video": 0.1, TO_FILM: 0.3}
    )
    weight: float = 2.0
    loud: float = 0.7
    sounding: float = 3.0

    def __post_init__(self) -> None:
        known = (*GIVEN, TO_FILM)
        if unknown := set(self.modes) - set(known):
            raise ConfigError(
                f"films with sound cannot be learnt as {', '.join(unknown)}: take some of {', '.join(known)}."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """Of each window of a cache: sound tokens float n m 64, whether they are known, whether anything is heard.

    ``weight`` n m 1: how much each token counts. ``rate``: tokens a second.
    """

    tokens: Tensor
    known: NDArray[np.bool_]
    loud: NDArray[np.bool_]
    weight: Tensor
    rate: float = 25.0

    def made(self, rows: list[int], level: Float[Tensor, " b"], rng: torch.Generator) -> tuple[Segment, Tensor, Tensor]:
        """The sounds of windows ``rows`` as a model is shown them, what it should say, how much that counts."""
        sound = self.tokens[rows]
        levels, noise = level[:, None].repeat(1, sound.shape[1]), torch.randn(sound.shape, generator=rng)
        places = sound_positions(sound.shape[1], rate=self.rate).expand(len(rows), -1, -1)
        shown = Segment(modality="sound", tokens=mix(sound, noise, levels), positions=places, level=levels)
        return shown, noise - sound, self.weight[rows].expand(sound.shape)

    def exchanged(self, rows: list[int]) -> "Heard":
        """The same, but each of these windows is heard as the next one of them."""
        tokens = self.tokens.clone()
        tokens[rows] = self.tokens[[*rows[1:], *rows[:1]]]
        return replace(self, tokens=tokens)

    def draw(self, rng: np.random.Generator, rows: NDArray[np.int64], loud: float) -> int:
        """One of ``rows`` whose sound is known, with the chance ``loud`` one in which something is heard.

        ``DataError`` where none is known.
        """
        rows = rows[self.known[rows]]
        if not len(rows):
            raise DataError("of no window that can be drawn is the sound known: make the sounds of more episodes.")
        ringing = rows[self.loud[rows]]
        rows = ringing if len(ringing) and rng.random() < loud else rows
        return int(rows[rng.integers(len(rows))])


def joined(parts: Sequence[Heard]) -> Heard:
    """The sounds of several caches, in their order."""
    return replace(
        parts[0], tokens=torch.cat([one.tokens for one in parts]), weight=torch.cat([one.weight for one in parts]),
        known=np.concatenate([one.known for one in parts]), loud=np.concatenate([one.loud for one in parts]),
    )  # fmt: skip


def with_ears(model: TwoTowers, *, numbers: int = 64) -> TwoTowers:
    """The same model with a sound port, whose weights are new (cosmos3.md 3.8); every other weight is the old one."""
    if model.config.sound_dim:
        return model
    heard = TwoTowers(replace(model.config, sound_dim=numbers))
    new = heard.load_state_dict(model.state_dict(), strict=False)
    assert not new.unexpected_keys and all("audio" in name for name in new.missing_keys)
    heard.towers = model.towers
    return heard


def sound_of(sound: Float[np.ndarray, "2 s"], starts: list[int], fps: float) -> Float[np.ndarray, "n 2 u"]:
    """The sounds of windows that begin with these frames, each as long as its frames, at its peak.

    Zeros where the episode is over.
    """
    length = int(FRAMES / fps * SOUND_HZ)
    begins = [round(start / fps * SOUND_HZ) for start in starts]
    longer = np.pad(sound, ((0, 0), (0, max(0, begins[-1] + length - sound.shape[1]))))
    return np.stack([at_peak(longer[:, begin : begin + length]) for begin in begins])


def make_sounds(
    data: Path, vae: SoundVAE, folder: Path, *, kept: Path | None = None, share: tuple[int, int] = (0, 1)
) -> Iterator[str]:
    """Encode what is heard in the episodes of ``data`` that have no file yet, yielding each one's name.

    ``kept``: sounds of the same seeds that ``datasets/sounds.py`` wrote; what is not there is simulated. May be cut off
    and continued. ``DataError`` where a kept sound is of another length than its episode, ``ConfigError`` for a folder
    that another tokenizer began.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made_from = {"tokenizer": vae.latents_sha256}
    agree(folder, made_from)
    for path in raw_files(data)[share[0] :: share[1]]:
        target = folder / f"{path.stem}.safetensors"
        if not target.exists():
            begin(folder, made_from)
            episode = load_raw(path)
            starts = window_starts(episode, offset=int(episode.recipe.get("detour", 0)) % STRIDE)
            if not starts:
                continue
            sound = _sound(episode, kept)
            cut = sound_of(sound, starts, episode.fps)
            loud = np.array([bool(one.any()) for one in cut])
            tokens = _encoded(vae, np.zeros_like(cut[:1])).repeat(len(cut), 1, 1)
            if loud.any():
                tokens[torch.from_numpy(loud)] = _encoded(vae, cut[loud])
            draft = target.with_suffix(f".draft{share[0]}")
            save_file(
                {"sound": tokens.bfloat16()},
                draft,
                metadata={"starts": json.dumps(starts), "loud": json.dumps(loud.tolist())},
            )
            os.replace(draft, target)
        yield path.stem


def _encoded(vae: SoundVAE, sounds: Float[np.ndarray, "n 2 u"]) -> Float[Tensor, "n m 64"]:
    return vae.encode(torch.from_numpy(sounds).to(next(vae.parameters()).device)).transpose(1, 2).cpu()


def _sound(episode: Episode, kept: Path | None) -> Float[np.ndarray, "2 s"]:
    file = kept and kept / f"{STEM.format(world=episode.world, seed=episode.seed)}.npy"
    if not file or not file.exists():
        return sound_again(episode)
    sound, length = load_sound(file), round(len(episode.actions) / episode.fps * SOUND_HZ)
    if sound.shape[1] != length:
        raise DataError(f"{file} has {sound.shape[1]} samples, its episode {length}: it belongs to another life.")
    return sound


@dataclass(frozen=True, kw_only=True)
class HeardRun:
    """What is heard in the windows of the episodes in ``data``, encoded by the sound tokenizer in ``vae``.

    ``kept``: sounds of the same seeds that are there already (``pico-sounds``); others are simulated again.
    """

    data: Path
    vae: Path
    out: Path
    kept: Path | None = None
    share: tuple[int, int] = (0, 1)
    threads: int = 1
    device: str = "cpu"  # or cuda

    def __post_init__(self) -> None:
        check_share(self.share)

    def start(self, report: Report = print) -> None:
        """Encode what is not there yet."""
        encode_sounds(self, report)


def encode_sounds(run: HeardRun, report: Report = print) -> int:
    """Encode what is not there yet; returns how many episodes of this share have windows."""
    torch.set_num_threads(run.threads)
    vae, made = SoundVAE.load(run.vae).to(usable_device(run.device)), 0
    for name in make_sounds(run.data, vae, run.out, kept=run.kept, share=run.share):
        made += 1
        if made % SAY_EVERY == 0:
            report(f"{made} episodes, the last {name}")
    return made


def load_heard(folder: Path, cache: Path, *, sounding: float = 3.0, windows: int = 0) -> Heard:
    """The sounds of the windows of ``cache`` in their order; unknown ones are zeros. ``DataError`` if all are unknown.

    ``windows``: how many there are in all, where those of other worlds come after the cache's; of these none is known.
    ``sounding``: how much more a token counts that is far from what most tokens are, which is silence.
    """
    tokens: list[Tensor | None] = []
    loud: list[bool] = []
    for path in sorted(cache.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            starts = [row["start"] for row in json.loads(file.metadata()["rows"])]
        found: dict[int, tuple[Tensor, bool]] = {}
        if (own := folder / path.name).exists():
            with safe_open(own, "pt") as file:
                note, sounds = file.metadata(), file.get_tensor("sound").float()
            found = dict(
                zip(json.loads(note["starts"]), zip(sounds, json.loads(note["loud"]), strict=True), strict=True)
            )
        for start in starts:
            one, rings = found.get(start, (None, False))
            tokens.append(one)
            loud.append(rings)
    tokens += [None] * (windows - len(tokens))
    loud += [False] * (len(tokens) - len(loud))
    shape = next((one.shape for one in tokens if one is not None), None)
    if shape is None:
        raise DataError(f"{folder} holds the sound of no window in {cache}: make it from the same episodes.")
    known = np.array([one is not None for one in tokens])
    whole = torch.stack([torch.zeros(shape) if one is None else one for one in tokens])
    silence = whole[torch.from_numpy(known)].flatten(0, 1).median(dim=0).values
    far = (whole - silence).abs().mean(dim=-1, keepdim=True)
    return Heard(tokens=whole, known=known, loud=np.array(loud), weight=1 + sounding * (far / FAR).clamp(max=1))
