"""Stage two: the generator learns to imagine and to act, the reasoner frozen.

    in    a cache of windows, a checkpoint whose reasoner can read
    out   the same checkpoint with a generator

Every batch has one layout. With actions: forward dynamics, inverse dynamics and policy, drawn for each sample;
without: text-, image-, video- and first-last-frame-to-video, or a picture. Only the levels differ. A film under a
control has that one before it (``held.py``). Whether words are heard is measured while it learns: ``hears_video`` and
``hears_action`` say by what share the error grows when the prompts of a batch are exchanged; 0 is deaf.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from armillary.errors import DataError
from armillary.model import TwoTowers, action_positions, video_positions
from armillary.model.shelf import Shelf
from armillary.prompts import action_prompt
from armillary.records import Segment
from armillary.tokenizers.text import TextTokenizer
from armillary.tokenizers.video import TIER
from armillary.training.flow import flow_loss, mix, more_where_moving, sample_levels, stretch
from armillary.training.heard import GIVEN, TO_FILM, Heard, HeardConfig
from armillary.training.held import HELD, Held, HeldConfig
from armillary.training.latents import ANY_TASK, FRAMES, Windows
from armillary.training.painting import Laid
from armillary.training.parallel import company, rows_of

PICTURES = 4  # as many pictures as this cost no more than one film
ONWARDS = 3  # latent frames after which the next one is said
FILMS_HEARD = 0.65  # so many films with sound cost as much as one without
ACTIONS_ALONE = 2  # as many chunks of actions without a film cost no more than one with
FILMS_HELD = 2  # a film beside its control costs as much as so many films


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowConfig:
    """How exercises are drawn and marked. Shares need not add up to one.

    ``stills_share``: the share of batches of one frame, where there are such windows: pictures from words, and (of
    these the share ``still_policy``) actions from a picture and words, no film beside them. ``full_noise``: the
    share of samples with actions whose hidden tokens are pure noise (level 1, where sampling begins: a solver of few
    steps gives little but what the model says there; the schedule alone seldom draws it), ``full_noise_films``: of
    those without, ``full_noise_painting``: of painted things. ``policy_video``: the weight of a policy's film beside
    other films: what nobody can know teaches little. ``places``: the share of captions that say where things are.
    ``painting``: the share of batches of tables on which one thing more is painted, where there are such.
    ``history``: the share of forward dynamics that is given two or three latent frames, as later chunks may be.
    ``onwards``: the share of batches with actions that ask for one latent frame alone, after one to three others, which
    need not begin a film, and beside the first frame of the episode, which holds colours and things where they were: so
    a world goes on without end (``sampling/onwards.py``). ``lived``: how often some of those others are what the model
    itself has just said, as they will be then. ``held``: films under controls. ``heard``: films with sound.
    """

    stills_share: float = 0.5
    still_policy: float = 0.5
    action_share: float = 0.75
    modes: Mapping[str, float] = field(
        default_factory=lambda: {"forward-dynamics": 0.4, "inverse-dynamics": 0.15, "policy": 0.45}
    )
    films: Mapping[str, float] = field(
        default_factory=lambda: {
            "text-to-video": 0.5, "image-to-video": 0.1, "video-to-video": 0.05, "first-last-frame": 0.05,
            "text-to-image": 0.3,
        }
    )  # fmt: skip
    shift: float = 3.0
    levels: tuple[float, ...] = ()  # the only ones that noise has, for a walk of few steps which meets no others
    full_noise: float = 0.4
    full_noise_alone: float | None = None
    full_noise_films: float = 0.2
    full_noise_painting: float = 0.4
    video_weight: float = 10.0
    policy_video: float = 0.25
    action_weight: float = 40.0
    moving_weight: float = 3.0  # more weight for tokens that differ from the first frame's
    things_weight: float = 3.0  # more weight for tokens that show things
    places: float = 0.5
    painting: float = 0.1
    history: float = 0.2
    onwards: float = 0.15
    lived: float = 0.6
    held: HeldConfig = field(default_factory=HeldConfig)
    heard: HeardConfig = field(default_factory=HeardConfig)
    drop_prompt: float = 0.1
    drop_task: float = 0.5  # of forward and inverse dynamics: told only to move
    listen_every: int = 20  # batches from words are marked a second time with exchanged prompts, one in so many


def drawn(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    """One name, by its share."""
    names = list(shares)
    weights = np.array([shares[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


class Pool:
    """Windows to draw from, with what marks them: the weight of each token, who acts, who is told about."""

    def __init__(self, windows: Windows, config: FlowConfig) -> None:
        self.windows = windows
        self.acting, self.telling = np.flatnonzero(windows.acts), np.flatnonzero(windows.tells)
        self._may = {"policy": self.acting, "inverse-dynamics": np.flatnonzero(windows.moves)}  # of others: any
        self.frames, self.plane = windows.size[0], windows.size[1:]
        self.cells = windows.video.shape[1] // self.frames  # tokens of one latent frame
        self.weight = more_where_moving(windows.video, self.cells, config.moving_weight)
        self.weight += config.things_weight * (windows.things / 0.25).clamp(max=1)

    def draw(self, mode: str, rng: np.random.Generator) -> int:
        """A window that can teach a mode with actions; ``DataError`` where none can."""
        rows = self._may.get(mode, np.arange(len(self.windows)))
        if not len(rows):
            raise DataError(f"no window can teach {mode}: give it a share of 0, or add windows of a body that acts.")
        return int(rows[rng.integers(len(rows))])


class FlowSource:
    """Makes the losses of step i from windows and from ``stills`` of one frame; ``shelf``: where prompts are read."""

    def __init__(
        self, model: TwoTowers, tokenizer: TextTokenizer, windows: Windows, config: FlowConfig,
        stills: Windows | None = None, held: Held | None = None, heard: Heard | None = None,
        laid: Windows | None = None,
    ) -> None:  # fmt: skip
        self._model, self._config, self._heard, self._here = model, config, heard, company()
        self.shelf, self._ids = Shelf(lambda: model, room=16000), lru_cache(16000)(tokenizer.prompt_ids)
        self._films, self._stills = Pool(windows, config), stills and Pool(stills, config)
        self._laid = laid and (Laid.among(laid), Pool(laid, config))
        self._held = held and (held, Pool(held.windows, config))
        self._any = lru_cache(lambda fps, n: action_prompt(ANY_TASK, frames=n, fps=fps, height=TIER, width=TIER))

    def losses(self, rng: np.random.Generator, samples: int) -> dict[str, Tensor]:
        """Draw one batch, ask the model, mark the answer."""
        config = self._config
        if self._laid and rng.random() < config.painting:
            return self._painting(*self._laid, rng, samples * PICTURES)
        if self._stills and rng.random() < config.stills_share:
            if rng.random() < config.still_policy:
                return self._with_actions(self._stills, rng, samples * ACTIONS_ALONE, {"policy": 1.0})
            return self._told(self._stills, rng, samples, "text-to-image")
        if self._held and rng.random() < config.held.share:
            return self._under_control(*self._held, rng, max(1, samples // FILMS_HELD))
        if self._heard and rng.random() < config.heard.share:
            return self._sounding(self._heard, self._films, rng, max(1, round(samples * FILMS_HEARD)))
        if rng.random() < config.action_share:
            if rng.random() < config.onwards:
                return self._onwards(self._films, rng, samples)
            return self._with_actions(self._films, rng, samples, config.modes)
        return self._told(self._films, rng, samples, drawn(config.films, rng))

    def _with_actions(
        self, pool: Pool, rng: np.random.Generator, samples: int, shares: Mapping[str, float]
    ) -> dict[str, Tensor]:
        windows, config = pool.windows, self._config
        rows: list[int] = []
        modes: list[str] = []
        prompts: list[str] = []
        for _ in range(samples):
            mode = drawn(shares, rng)
            row = pool.draw(mode, rng)
            told = mode == "policy" or rng.random() >= config.drop_task
            rows.append(row)
            modes.append(mode)
            prompts.append(windows.task[row] if told else self._any(windows.fps[row], FRAMES))
        full = config.full_noise if pool.frames > 1 or config.full_noise_alone is None else config.full_noise_alone
        torch_rng, level = self._levels(rng, samples, full)
        forward, inverse, policy = (torch.tensor([mode == one for mode in modes])
                                    for one in ("forward-dynamics", "inverse-dynamics", "policy"))  # fmt: skip
        video_level = level[:, None].repeat(1, pool.cells * pool.frames)
        video_level[inverse] = 0
        longer = forward & (torch.rand(samples, generator=torch_rng) < config.history) & (pool.frames > 3)
        known = torch.where(longer, torch.randint(2, 4, (samples,), generator=torch_rng), 1)
        video_level[torch.arange(pool.cells * pool.frames) < pool.cells * known[:, None]] = 0
        action_level = torch.where(forward, 0.0, level)[:, None].repeat(1, FRAMES - 1)
        weight = torch.where(policy, config.policy_video, 1.0)
        listen = bool(policy.all()) and int(rng.integers(config.listen_every)) == 0
        return self._marked(
            Exercise(pool=pool, rows=rows, prompts=prompts, video_level=video_level, action_level=action_level,
                     film_weight=weight, listen=listen), torch_rng,
        )  # fmt: skip

    def _onwards(self, pool: Pool, rng: np.random.Generator, samples: int) -> dict[str, Tensor]:
        windows, config = pool.windows, self._config
        length = int(rng.integers(2, ONWARDS + 2))
        rows = rng.integers(len(windows), size=samples).tolist()
        begins = torch.from_numpy(rng.integers(pool.frames - length + 1, size=samples))
        first = int(rng.integers(1, length)) if rng.random() < config.lived else length - 1
        opening = windows.video[windows.opening[rows]][:, : pool.cells]
        torch_rng, level = self._levels(rng, samples, config.full_noise)
        lived: Tensor | None = None
        for last in range(first, length):
            prompts = [self._any(windows.fps[row], 1 + 4 * last) for row in rows]
            hidden = (torch.arange((last + 1) * pool.cells) >= last * pool.cells).float()
            asked = Exercise(
                pool=pool, rows=rows, prompts=prompts, film_weight=torch.ones(samples), listen=False, begins=begins,
                lived=lived, control=opening, action_level=torch.zeros(samples, 4 * last),
                video_level=hidden * (level[:, None] if last == length - 1 else torch.ones(samples, 1)),
            )  # fmt: skip
            if last < length - 1:
                lived = self._said(asked, torch_rng)
        return self._marked(asked, torch_rng)

    @torch.no_grad()
    def _said(self, exercise: "Exercise", rng: torch.Generator) -> Tensor:
        """The film of an exercise as the model says it is, in one step from noise: b n d."""
        segments, _, _ = exercise.made(rng)
        velocity = self._velocity(exercise.prompts, segments, exercise.fps)[1]
        film, own = segments[1], self._here.rows(len(exercise.rows))  # after the episode's first frame
        film.tokens[own] -= film.level[own][..., None] * velocity.float().cpu()  # other rows stay noise: nobody asks
        return film.tokens

    def _velocity(self, prompts: Sequence[str], segments: list[Segment], fps: Tensor) -> list[Tensor]:
        own = self._here.rows(len(prompts))
        ids = [self._ids(prompt) for prompt in prompts[own]]
        self.shelf.read_ahead(ids)
        asked = [rows_of(part, own, self._model.device) for part in segments]
        return self._model.velocity(self.shelf.batch(ids), asked, fps=fps[own].to(self._model.device))

    def _told(self, pool: Pool, rng: np.random.Generator, samples: int, mode: str) -> dict[str, Tensor]:
        windows, config = pool.windows, self._config
        frames = 1 if mode == "text-to-image" else pool.frames
        samples *= PICTURES if frames == 1 else 1
        rows = [int(pool.telling[rng.integers(len(pool.telling))]) for _ in range(samples)]
        prompts = self._captions(windows, rows, rng)
        if frames == 1:
            prompts = [_still_prompt(prompt) for prompt in prompts]
        torch_rng, level = self._levels(rng, samples, config.full_noise_films, image=frames == 1)
        video_level = level[:, None].repeat(1, pool.cells * frames)
        given = {"image-to-video": [0], "video-to-video": [0, 1], "first-last-frame": [0, frames - 1]}.get(mode, [])
        for number in given:
            video_level[:, number * pool.cells : (number + 1) * pool.cells] = 0
        listen = not given and int(rng.integers(config.listen_every)) == 0
        exercise = Exercise(pool=pool, rows=rows, prompts=prompts, video_level=video_level, action_level=None,
                            film_weight=torch.ones(samples), listen=listen)  # fmt: skip
        return self._marked(exercise, torch_rng)

    def _painting(self, laid: Laid, pool: Pool, rng: np.random.Generator, samples: int) -> dict[str, Tensor]:
        """One thing more on a table; ``hears_paint``: what another thing's words would cost."""
        batch = laid.draw(rng, samples)
        torch_rng, level = self._levels(rng, samples, self._config.full_noise_painting, image=True)
        exercise = Exercise(
            pool=pool, rows=batch.rows, prompts=batch.prompts, film_weight=torch.ones(samples), action_level=None,
            video_level=level[:, None] * batch.hidden, lived=batch.seen, control=batch.before,
            listen=batch.before is not None and int(rng.integers(self._config.listen_every)) == 0,
        )  # fmt: skip
        names = {"video": "painted", "hears_video": "hears_paint"}
        return {names.get(name, name): value for name, value in self._marked(exercise, torch_rng).items()}

    def _under_control(self, held: Held, pool: Pool, rng: np.random.Generator, samples: int) -> dict[str, Tensor]:
        """Films of which a control says where everything is; ``hears_control``: what another film's would cost."""
        config = self._config
        rows = rng.integers(len(pool.windows), size=samples).tolist()
        kinds = [HELD.index(drawn(config.held.kinds, rng)) for _ in range(samples)]
        pairs = zip(rows, kinds, strict=True)
        prompts = ["" if rng.random() < config.drop_prompt else held.prompt(*pair) for pair in pairs]
        control = None if rng.random() < config.held.unheld else held.shown(rows, kinds, config.held.scale)
        begun = torch.from_numpy(rng.random(samples) < config.held.begun)
        torch_rng, level = self._levels(rng, samples, config.full_noise_films)
        first = torch.arange(pool.cells * pool.frames) < pool.cells
        exercise = Exercise(
            pool=pool, rows=rows, prompts=prompts, video_level=level[:, None] * ~(begun[:, None] & first),
            action_level=None, film_weight=torch.ones(samples), listen=False, control=control,
        )  # fmt: skip
        again = torch.Generator()
        again.set_state(torch_rng.get_state())
        losses = self._marked(exercise, torch_rng)
        told = {"loss": losses["loss"], "unheld" if control is None else "held": losses["video"]}
        if control is not None and int(rng.integers(config.listen_every)) == 0:
            with torch.no_grad():
                other = self._marked(replace(exercise, control=control.roll(1, 0)), again)["video"]
            told["hears_control"] = other / losses["video"] - 1
        return told

    def _sounding(self, heard: Heard, pool: Pool, rng: np.random.Generator, samples: int) -> dict[str, Tensor]:
        """Films with their sound: both are to be found, or the sound of a film that is given as a whole."""
        config, mode = self._config, drawn(self._config.heard.modes, rng)
        among = pool.telling if mode == "text-to-video" else np.arange(len(pool.windows))
        rows = [heard.draw(rng, among, config.heard.loud) for _ in range(samples)]
        torch_rng, level = self._levels(rng, samples, config.full_noise_films)
        hidden = torch.arange(pool.cells * pool.frames) >= GIVEN.get(mode, pool.frames) * pool.cells
        exercise = Exercise(
            pool=pool, rows=rows, prompts=self._captions(pool.windows, rows, rng), video_level=level[:, None] * hidden,
            action_level=None, film_weight=torch.ones(samples), listen=False, heard=heard, sound_level=level,
        )  # fmt: skip
        return {"sound_to_film" if name == "sound" and mode == TO_FILM else name: value
                for name, value in self._marked(exercise, torch_rng).items() if name != "video"}  # fmt: skip

    def _levels(
        self, rng: np.random.Generator, samples: int, full_noise: float, *, image: bool = False
    ) -> tuple[torch.Generator, Tensor]:
        """Chance for one batch, and a noise level for each of its samples: pure noise for the share ``full_noise``."""
        torch_rng, config = torch.Generator().manual_seed(int(rng.integers(2**62))), self._config
        level = sample_levels(samples, shift=config.shift, generator=torch_rng, image=image, among=config.levels)
        return torch_rng, level.masked_fill(torch.rand(samples, generator=torch_rng) < full_noise, 1.0)

    def _captions(self, windows: Windows, rows: Sequence[int], rng: np.random.Generator) -> list[str]:
        return ["" if rng.random() < self._config.drop_prompt else self._words(windows, row, rng) for row in rows]

    def _words(self, windows: Windows, row: int, rng: np.random.Generator) -> str:
        with_places = bool(windows.placed[row]) and rng.random() < self._config.places
        return windows.placed[row] if with_places else windows.caption[row]

    def _marked(self, exercise: "Exercise", rng: torch.Generator) -> dict[str, Tensor]:
        """Ask the model and mark what it says; where it is listened to, a second time with exchanged prompts."""
        config, prompts, here = self._config, exercise.prompts, self._here
        segments, targets, weights = exercise.made(rng)
        hidden, own = [part.level > 0 for part in segments], here.rows(len(prompts))

        def errors(prompts: Sequence[str]) -> dict[str, Tensor]:
            said = self._velocity(prompts, segments, exercise.fps)
            # the film's loss comes after its control's, which is 0
            marked = dict[str, Tensor]()
            for part, one, *true in zip(segments, said, targets, hidden, weights, strict=True):
                marked[part.modality] = here.mean(flow_loss(one, *(x[own].to(one.device) for x in true)), len(prompts))
            return marked

        losses = errors(prompts)
        loss = config.video_weight * losses["video"]
        loss = loss + config.action_weight * losses.get("action", 0) + config.heard.weight * losses.get("sound", 0)
        told = {"loss": loss} | {name: value.detach() for name, value in losses.items()}
        if exercise.listen:
            heard = segments[-1].modality
            with torch.no_grad():
                exchanged = errors([*prompts[1:], prompts[0]])[heard]
            told[f"hears_{heard}"] = exchanged / losses[heard].detach() - 1
        return told


@dataclass(frozen=True, kw_only=True, eq=False)
class Exercise:
    """Windows ``rows`` of a pool, each with its prompt, and how noisy every token of it is (0: given).

    ``levels``: of the films' tokens b n, of the actions b c if they take part. ``film_weight`` b. ``listen``: whether
    to look how much worse it gets with exchanged prompts. ``begins`` b: by how many latent frames it begins after its
    window. ``lived`` b m d: what is given in place of the first m tokens as they truly were. ``control`` b n d: tokens
    of another film, given as a whole, before the film and nowhere marked. ``heard``, ``sound_level`` b: the sounds.
    """

    pool: Pool
    rows: list[int]
    prompts: list[str]
    video_level: Tensor
    action_level: Tensor | None
    film_weight: Tensor
    listen: bool
    begins: Tensor | None = None
    lived: Tensor | None = None
    control: Tensor | None = None
    heard: Heard | None = None
    sound_level: Tensor | None = None

    @property
    def fps(self) -> Tensor:
        return torch.tensor(self.pool.windows.fps[self.rows], dtype=torch.float32)

    def made(self, rng: torch.Generator) -> tuple[list[Segment], list[Tensor], list[Tensor]]:
        """What the model is shown, what it should say, and how much every number of that counts."""
        pool, windows, rows, level = self.pool, self.pool.windows, self.rows, self.video_level
        grid = (level.shape[1] // pool.cells, *pool.plane)
        begins = torch.zeros(len(rows), dtype=torch.long) if self.begins is None else self.begins
        video = stretch(windows.video[rows], begins * pool.cells, level.shape[1]).float()
        noise = torch.randn(video.shape, generator=rng)
        seen = video if self.lived is None else torch.cat([self.lived, video[:, self.lived.shape[1] :]], dim=1)
        places = torch.stack([video_positions(grid, fps=float(f)) for f in self.fps])
        segments = [Segment(modality="video", tokens=mix(seen, noise, level), positions=places, level=level)]
        targets = [noise - video]
        counts = stretch(pool.weight[rows], begins * pool.cells, video.shape[1])[..., None]
        weights = [counts * self.film_weight[:, None, None]]
        if self.control is not None:
            given = self.control.float()
            none = level.new_zeros(given.shape[:2])
            shown = Segment(modality="video", tokens=given, positions=places[:, : none.shape[1]], level=none)
            segments, targets = [shown, *segments], [given, *targets]
            weights = [torch.ones_like(given[..., :1]), *weights]
        if self.heard is not None and self.sound_level is not None:
            sound, target, weight = self.heard.made(rows, self.sound_level, rng)
            segments, targets, weights = [*segments, sound], [*targets, target], [*weights, weight]
        if self.action_level is None:
            return segments, targets, weights
        level = self.action_level
        actions = stretch(windows.actions[rows], begins * 4, level.shape[1])
        channels = (torch.arange(64) < torch.tensor(windows.width[rows])[:, None]).float()[:, None]
        noise = torch.randn(actions.shape, generator=rng) * channels
        places = torch.stack([action_positions(level.shape[1], fps=float(f)) for f in self.fps])
        segments.append(Segment(modality="action", tokens=mix(actions, noise, level), positions=places, level=level,
                                domain=torch.tensor(windows.domain[rows])))  # fmt: skip
        return segments, [*targets, noise - actions], [*weights, channels.expand(actions.shape)]


def _still_prompt(prompt: str) -> str:
    """A film's prompt as a picture's: only its size is told."""
    words, _, size = prompt.partition("The video is ")
    return words + "This image is of 128x128 resolution." if size else prompt
