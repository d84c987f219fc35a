"""Films and plans that begin with a picture and go with a sound, which is given as a whole.

    first picture, words, sound        ->  the film in which that is heard               marked
    picture, instruction, sound        ->  what is to be done so that it is heard, alone marked
    the same                           ->  that, and the film of it                      marked

Who has done a thing once could have waited before: where a body can rest and nothing is heard yet, a plan also teaches
to begin so much later, and is heard so much later. Without that hardly anything would hang on the sound, since picture
and words nearly say when the hand will arrive.

The first is the specification's ts2v (cosmos3.md 4.2): the sound is clean, all but the first picture is to be found.
Whether the sound is heeded is measured while it learns: ``heeds_video`` and ``heeds_action`` say by what share the
error grows when the sounds of a batch are exchanged; 0 is deaf.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.embodiments import Embodiment
from armillary.errors import ConfigError, DataError
from armillary.model import TwoTowers
from armillary.tokenizers.text import TextTokenizer
from armillary.training.heard import Heard, joined, load_heard
from armillary.training.imagination import ACTIONS_ALONE, FILMS_HEARD, Exercise, FlowConfig, FlowSource
from armillary.training.latents import FRAMES, Windows, load_cache

LONGEST_WAIT, WAITS = 8, 3  # frames that somebody waits at most; how many lengths of waiting each window is given
HELD = 3  # actions in which a gripper stays as it is: then it did before
SILENT, ALMOST_SILENT = 4, 1.3  # tokens at the beginning of which none may weigh more: what rings there began before


@dataclass(frozen=True, kw_only=True, slots=True)
class BySoundConfig:
    """How exercises are drawn.

    ``plans``: the share of batches that ask for actions, ``filmed``: of those the share that asks for their film, too,
    ``late``: of the others the share that waits before. ``loud``: the share of samples in which anything is heard.
    ``full_noise``: of samples whose hidden tokens are pure noise. ``levels``: of films, the only ones that noise has
    (``FlowConfig.levels``). Raises ``ConfigError`` for shares that are none.
    """

    plans: float = 0.7
    filmed: float = 0.1
    late: float = 0.5
    loud: float = 0.85
    full_noise: float = 0.7
    levels: tuple[float, ...] = ()
    flow: FlowConfig = field(default_factory=FlowConfig)

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("plans", "filmed", "late", "loud", "full_noise")}
        if wrong := [f"{name}={share}" for name, share in shares.items() if not 0 <= share <= 1]:
            raise ConfigError(f"{', '.join(wrong)}: a share lies between 0 and 1.")


def load_sounding(caches: Sequence[Path], sounds: Sequence[Path], tokenizers: Sequence[Path]) -> tuple[Windows, Heard]:
    """The windows of some caches, and what is heard in them: ``sounds`` are their companions (``heard.py``), in order.

    ``ConfigError`` where these are not as many, ``DataError`` as for ``load_cache`` and ``load_heard``.
    """
    if len(caches) != len(sounds):
        raise ConfigError(f"{len(caches)} caches and {len(sounds)} folders of sounds: each cache has one of its own.")
    windows = load_cache(*caches, tokenizers=tokenizers)
    return windows, joined([load_heard(own, cache) for own, cache in zip(sounds, caches, strict=True)])


def begun_later(
    windows: Windows, heard: Heard, body: Embodiment, rng: np.random.Generator
) -> tuple[Windows, Heard, NDArray[np.int64]]:
    """The same windows, each after a while in which ``body`` rests: actions and sounds that much later, cut at the end.

    And those that can be: of that body, the gripper held for a while, nothing heard yet, where any window is silent.
    Films stay as they were, only their first frames hold. The first token of a sound is another one than those of
    silence, whatever is heard, so it stays the first.
    """
    quiet = (heard.weight[:, 1:SILENT, 0] < ALMOST_SILENT).all(dim=1).numpy()
    silent = np.flatnonzero(heard.known & ~heard.loud)
    mine = torch.from_numpy(windows.domain == body.domain_id)
    rest = torch.from_numpy(body.encode([body.rest])).float().expand(len(windows), -1).clone()
    held = mine
    if body.gripper is not None:
        number = [channel.name for channel in body.channels].index(body.gripper.channel)
        openness = windows.actions[:, :HELD, number]
        held = mine & (openness == openness[:, :1]).all(dim=1)
        rest[:, number] = openness[:, 0]
    actions, tokens = windows.actions.clone(), heard.tokens.clone()
    which = np.flatnonzero(held.numpy() & quiet & heard.known & windows.acts & bool(len(silent)))
    for row in which.tolist():
        frames = 2 * int(rng.integers(1, LONGEST_WAIT // 2 + 1))  # even: two frames are five tokens of sound
        later = round(frames / windows.fps[row] * heard.rate)
        actions[row] = torch.cat([rest[row].expand(frames, -1), windows.actions[row, :-frames]])
        tokens[row, : later + 1] = heard.tokens[silent[0], : later + 1]
        tokens[row, later + 1 :] = heard.tokens[row, 1:-later]
    return replace(windows, actions=actions), replace(heard, tokens=tokens), which


class BySoundSource(FlowSource):
    """Makes the losses of step i from windows whose sounds are known; ``DataError`` where these can teach nothing."""

    def __init__(
        self, model: TwoTowers, tokenizer: TextTokenizer, windows: Windows, heard: Heard, config: BySoundConfig,
        *, body: Embodiment | None = None,
    ) -> None:  # fmt: skip
        """``body``: who may wait."""
        super().__init__(model, tokenizer, windows, replace(config.flow, levels=()), heard=heard)
        self._by, self._sounds, self._later = config, heard, []
        for variant in range(0 if body is None else WAITS):
            assert body is not None
            others, late, which = begun_later(windows, heard, body, np.random.default_rng([variant, 83]))
            pool = copy(self._films)
            pool.windows, pool.acting = others, which
            if len(which):
                self._later.append((pool, late))
        for what, rows in (("plans", self._films.acting), ("films", self._films.telling)):
            if not heard.known[rows].any() and (config.plans > 0 if what == "plans" else config.plans < 1):
                raise DataError(f"no window whose sound is known can teach {what}: make the sounds of more episodes.")

    def losses(self, rng: np.random.Generator, samples: int) -> dict[str, Tensor]:
        """Draw one batch, ask the model, mark the answer."""
        if rng.random() >= self._by.plans:
            return self._film(rng, max(1, round(samples * FILMS_HEARD)))
        if rng.random() < self._by.filmed:
            return self._plan(rng, max(1, round(samples * FILMS_HEARD)), filmed=True)
        return self._plan(rng, samples * ACTIONS_ALONE, filmed=False)

    def _film(self, rng: np.random.Generator, samples: int) -> dict[str, Tensor]:
        pool = self._films
        rows = [self._sounds.draw(rng, pool.telling, self._by.loud) for _ in range(samples)]
        prompts = self._captions(pool.windows, rows, rng)
        chance, level = self._levels(rng, samples, self._by.full_noise)
        if among := self._by.levels:
            level = torch.tensor(among)[torch.randint(len(among), (samples,), generator=chance)]
        hidden = torch.arange(pool.cells * pool.frames) >= pool.cells
        return self._heeded(Exercise(
            pool=pool, rows=rows, prompts=prompts, video_level=level[:, None] * hidden, action_level=None,
            film_weight=torch.ones(samples), listen=False, heard=self._sounds, sound_level=torch.zeros(samples),
        ), chance, rng, "video")  # fmt: skip

    def _plan(self, rng: np.random.Generator, samples: int, *, filmed: bool) -> dict[str, Tensor]:
        pool, sounds = self._films, self._sounds
        if self._later and not filmed and rng.random() < self._by.late:
            pool, sounds = self._later[int(rng.integers(len(self._later)))]
        rows = [sounds.draw(rng, pool.acting, self._by.loud) for _ in range(samples)]
        chance, level = self._levels(rng, samples, self._by.full_noise)
        hidden = torch.arange(pool.cells * (pool.frames if filmed else 1)) >= pool.cells
        return self._heeded(Exercise(
            pool=pool, rows=rows, prompts=[pool.windows.task[row] for row in rows], video_level=level[:, None] * hidden,
            action_level=level[:, None].repeat(1, FRAMES - 1), listen=False, heard=sounds,
            film_weight=torch.full((samples,), self._config.policy_video), sound_level=torch.zeros(samples),
        ), chance, rng, "action")  # fmt: skip

    def _heeded(
        self, exercise: Exercise, chance: torch.Generator, rng: np.random.Generator, marked: str
    ) -> dict[str, Tensor]:
        """The losses; now and then also by how much they grow with the sounds of other windows."""
        again = torch.Generator()
        again.set_state(chance.get_state())
        losses = self._marked(exercise, chance)
        told = {"loss": losses["loss"], marked: losses[marked]}
        if exercise.heard is not None and int(rng.integers(self._config.listen_every)) == 0:
            others = replace(exercise, heard=exercise.heard.exchanged(exercise.rows))
            with torch.no_grad():
                told[f"heeds_{marked}"] = self._marked(others, again)[marked] / losses[marked] - 1
        return told
