"""A whole checkpoint with random weights and few numbers, for tests that need one of the right layout."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from armillary.datasets.raw import save_raw
from armillary.embodiments import load_embodiment, save_embodiments
from armillary.model import ModelConfig, TowerConfig, TwoTowers, VisionConfig, save_model, write_model_index
from armillary.records import Episode, Moment, WorldSpec
from armillary.tokenizers.sound import SoundVAE, SoundVAEConfig
from armillary.tokenizers.text import TextTokenizer, train_tokenizer
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig

WORDS = ["an arm pushes the red cube", "Move the arm.", "This video is captured from a third-person perspective."]
SMALL_VAE = VideoVAEConfig(base_dim=4, decoder_base_dim=4, dim_mult=(1, 1, 2, 2))


SMALL_SOUND = SoundVAEConfig(dec_dim=1, dec_c_mults=(1, 1, 1, 1, 2), enc_dim=2, enc_num_blocks=1)


def small_config(words: TextTokenizer, *, sound: bool = False) -> ModelConfig:
    """Two layers of width 32, with the ids of ``words``; ``sound``: with a port for it."""
    return ModelConfig(
        tower=TowerConfig(layers=2, width=32, heads=2, kv_heads=1, head_width=32, mlp_width=64, rope_axes=(6, 5, 5)),
        vision=VisionConfig(depth=1, width=24, heads=2, mlp_width=32, grid_side=4),
        vocabulary=len(words),
        image_pad=words.image_pad,
        video_pad=words.video_pad,
        sound_dim=64 if sound else 0,
        vision_start=words.vision_start,
        vision_end=words.vision_end,
    )


def small_model(folder: Path, *, sound: bool = False) -> tuple[TwoTowers, TextTokenizer]:
    """A model with a tokenizer of its own, kept in ``folder``."""
    words = train_tokenizer(WORDS * 3, folder / "text_tokenizer", vocabulary=400)
    torch.manual_seed(0)
    return TwoTowers(small_config(words, sound=sound)), words


def wide_model(folder: Path, width: int = 64) -> tuple[TwoTowers, TextTokenizer]:
    """As ``small_model``, as wide as words and places together need it."""
    _, words = small_model(folder)
    config = small_config(words)
    torch.manual_seed(0)
    return TwoTowers(replace(config, tower=replace(config.tower, width=width))), words


def small_checkpoint(folder: Path, *, sound: bool = False) -> Path:
    """A folder as ``armillary.load`` opens it; with ``sound`` it can be heard."""
    model, _ = small_model(folder, sound=sound)
    if sound:
        SoundVAE(SMALL_SOUND).save(folder / "sound_tokenizer")
    save_model(folder, model, dtype=torch.float32)
    VideoVAE(SMALL_VAE).save(folder / "vae")
    save_embodiments(folder, [load_embodiment(name) for name in ("tabletop", "pusht", "droid")])
    write_model_index(folder)
    return folder


def kept_raw(folder: Path, episodes: Iterable[Episode]) -> Path:
    """The folder with these episodes in it, raw, numbered in their order."""
    for number, episode in enumerate(episodes):
        save_raw(folder / f"episode_{number:06d}.npz", episode)
    return folder


def moving_square(seed: int, frames: int = 40, side: int = 64) -> Episode:
    """A bright square pushed about on grey ground; PushT's actions are where it goes next (512 units a side)."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(150, 362, 2)
    places = [place]
    for _ in range(frames - 1):
        place = np.clip(place + rng.uniform(-40, 40, 2), 60, 452)
        places.append(place)
    film = np.full((frames, side, side, 3), 90, np.uint8)
    for frame, (x, y) in zip(film, places, strict=True):
        left, top = int(x * side / 512) - 4, int(y * side / 512) - 4
        frame[top : top + 8, left : left + 8] = (240, 60, 40)
    return Episode(
        world="square", seed=seed, fps=10.0, frames={"top": film}, actions=np.stack(places[1:]).astype(np.float32),
        embodiment="pusht", states={}, instruction="Push the square.", captions={"dense": "A square moves."},
        success=True, recipe={"controller": "expert"},
    )  # fmt: skip


class Line:
    """A place on a line; an action adds to it; it is over at ``goal`` or beyond. The picture shows the place."""

    spec = WorldSpec(
        name="line", embodiment="tabletop", action_size=10, step_seconds=0.1, cameras=("front",), size=(64, 64),
        max_steps=9,
    )  # fmt: skip

    def __init__(self, goal: float) -> None:
        self._goal = goal

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        self._seed, self.place, self.done = seed, 0.0, []
        self._words = instruction or f"Go to {self._goal}."
        return self._moment()

    def step(self, action) -> Moment:
        self.place += float(action[0])
        self.done.append(np.asarray(action))
        return self._moment()

    def close(self) -> None:
        self.done = []

    def _moment(self) -> Moment:
        over = self.place >= self._goal
        picture = np.full((64, 64, 3), int(10 * self.place) % 255, np.uint8)
        return Moment(
            frames={"front": picture}, state={"place": np.array([self.place])}, instruction=self._words,
            reward=float(over), success=over, over=over,
        )  # fmt: skip


class Identity(nn.Module):
    """A video tokenizer that loses nothing: it remembers the film, and gives back the part that is asked for."""

    def encode(self, video):
        self.video = video
        return torch.zeros(len(video), 48, 5, video.shape[-2] // 16, video.shape[-1] // 16)

    def decode(self, latents):
        return self.video[..., : 16 * latents.shape[-2], : 16 * latents.shape[-1]]
