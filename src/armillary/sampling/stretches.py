"""A long film is made of stretches: each is one walk from noise, and starts from the end of the one before.

    Request  --unfold-->  Stretch, Stretch, ...      asked for one by one
                  ^          |
                  +-- Made --+                       what the walk brought back

``unfold`` is a generator: it yields a stretch, is sent what was made of it, and returns the whole. So many
requests can be unfolded side by side, and stretches of one layout made in one batch (``imagine.py``).
"""

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import RequestError
from armillary.model.positions import tokens_near
from armillary.modes import mode_named
from armillary.prompts import Placed, action_prompt, control_prompt, negative_prompt, video_prompt
from armillary.records import Array
from armillary.sampling.adapters import Adapter
from armillary.sampling.controlled import Controlled, reflected
from armillary.sampling.counts import count_stretches, lead_of, window_starts
from armillary.sampling.hearing import heard_in, samples_of
from armillary.sampling.lengths import FRAMES_A_LATENT, UNIT
from armillary.sampling.painting import agreed
from armillary.sampling.requests import Request
from armillary.sampling.shortcuts import EXACT, Shortcuts
from armillary.sampling.solver import Schedule, make_schedule
from armillary.tokenizers.video import canvas_for


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """What a stretch became: video uint8 t h w 3 and sound float32 2 s if decoded, actions float32 t 64 in model space
    if hidden.

    ``ending``: its last frames 1 3 t h w in [-1, 1], unrounded, where the next stretch is to begin with them.
    ``canvas``: tokens n d of a picture that is painted on. ``answers``: what the reasoner says of what it was asked.
    """

    video: Array | None = None
    sound: NDArray[np.float32] | None = None
    actions: NDArray[np.float32] | None = None
    ending: Tensor | None = None
    canvas: Tensor | None = None
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What must agree for stretches to be made in one batch. ``state``: whether a row says where the body is before its
    first action. ``sound``: its samples, 0 for none; ``sound_given``:
    whether that is given rather than to be found."""

    latent_frames: int
    size: tuple[int, int]
    given: tuple[int, ...]
    actions: int
    actions_hidden: bool
    state: bool
    schedule: Schedule
    guided: bool
    shortcuts: Shortcuts = EXACT
    sound: int = 0
    sound_given: bool = False
    source: bool = False
    controls: int = 0
    held: bool = False  # guided towards the controls
    apart: bool = False  # each control is seen apart
    painted: bool = False
    steady: bool = False  # what stands still is shown as given (``steady.py``)
    adapter: str = ""  # what the generator wears


@dataclass(frozen=True, kw_only=True, eq=False)
class Stretch:
    """One walk: ``frames`` 4k+1 of them, the first ones given as ``film``, and actions given, hidden or none.

    ``film`` is uint8 t h w 3, or 1 3 t h w in [-1, 1] where a stretch before left it so. ``given``: which latent frames
    are given. ``controls``: uint8 t h w 3 each, as long as the stretch. ``noise``: the request's own source of noise.
    ``decode``: whether anybody will look at the frames. ``keep``: how many last frames the next stretch begins with.
    ``state`` 64: where the body is before the first of its actions. ``hears``: the sound that is given, float32 2 s as
    long as its frames.
    ``canvas`` n d: the tokens of a picture of which those ``hidden`` n are painted anew, the model sees it beside; None
    hides all. ``questions``: what the reasoner is asked about its first frame, which is then decoded.
    """

    request: Request
    frames: int
    given: tuple[int, ...]
    film: Array | Tensor | None
    actions: NDArray[np.float32] | None
    noise: torch.Generator
    decode: bool
    controls: tuple[Array, ...] = ()
    keep: int = 0
    canvas: Tensor | None = None
    hidden: Tensor | None = None
    questions: tuple[str, ...] = ()
    hears: NDArray[np.float32] | None = None
    state: NDArray[np.float32] | None = None

    @property
    def latent_frames(self) -> int:
        if self.request.filmless:
            return 1
        return 1 + (self.frames - 1) // FRAMES_A_LATENT

    @property
    def layout(self) -> Layout:
        request = self.request
        assert request.schedule is not None
        return Layout(
            latent_frames=self.latent_frames,
            size=request.size,
            given=self.given,
            actions=self.frames - 1 if request.has_actions else 0,
            actions_hidden=request.mode.action == "hidden",
            state=self.state is not None,
            schedule=request.schedule,
            guided=request.guidance != 1.0,
            sound=samples_of(self.frames, request.fps) if request.sound or self.hears is not None else 0,
            sound_given=self.hears is not None,
            source=request.source is not None,
            controls=len(self.controls),
            held=request.controlled is not None and request.controlled.guidance != 1.0,
            apart=len(self.controls) > 1 and request.dialect == "native",
            shortcuts=request.shortcuts,
            painted=self.canvas is not None,
            steady=request.steady > 0 and self.given == (0,) and self.latent_frames > 1,
            adapter="" if request.adapter is None else request.adapter.name,
        )

    def prompts(self) -> tuple[str, str]:
        """The words with and the words without which the generator walks, metadata included.

        Without a negative prompt the second is the empty string itself, which is what training put in a dropped
        caption's place; a negative prompt gets the metadata too (negated in Diffusers' dialect, which has it always).
        """
        request = self.request
        negative = request.negative_prompt
        if request.embodiment is not None:
            cameras = request.embodiment.cameras
            view = cameras[0].view if cameras else None
            height, width = canvas_for(*request.size)
            words = action_prompt(
                request.prompt, frames=self.frames, fps=request.fps, height=height, width=width, view=view
            )
            return words, negative or ""
        height, width = request.size
        told = {"frames": self.frames, "height": height, "width": width}
        if request.controlled is not None:
            if request.dialect == "diffusers":
                return request.prompt, negative or ""
            names = request.controlled.names
            with_words = control_prompt(request.prompt, names, fps=request.fps, **told)
            return with_words, "" if negative is None else control_prompt(negative, (), fps=request.fps, **told)
        with_words = video_prompt(request.prompt, fps=request.fps, **told)
        if request.dialect == "diffusers":
            return with_words, negative_prompt(negative or "", fps=request.fps, **told)
        return with_words, "" if negative is None else video_prompt(negative, fps=request.fps, **told)

    def draw(self, modality: str, shape: tuple[int, ...]) -> Tensor:
        """This stretch's noise: what the request brought, else the next numbers of its own generator."""
        if modality not in self.request.latents:
            return torch.randn((1, *shape), generator=self.noise)[0]
        brought = torch.from_numpy(self.request.latents[modality])
        if brought.numel() != torch.Size(shape).numel():
            raise RequestError(f"latents for {modality} have shape {tuple(brought.shape)}: this request needs {shape}.")
        return brought.reshape(shape)

    def draw_again(self, shape: tuple[int, ...]) -> Tensor:
        """Noise for a walk on its way: always the next numbers of its own generator."""
        return torch.randn((1, *shape), generator=self.noise)[0]


def unfold(request: Request) -> Generator[Stretch, Made, Made]:
    """The request's stretches one after the other; returns the whole film and all actions."""
    return (yield from _unfolded(request, torch.Generator().manual_seed(request.seed)))


def _unfolded(request: Request, noise: torch.Generator) -> Generator[Stretch, Made, Made]:
    if request.listening is not None:
        whole = yield from _listened(request, noise)
    elif request.controlled is not None:
        whole = yield from _held(request, request.controlled, noise)
    elif things := request.things:
        whole = yield from _painted(request, things, noise)
    else:
        whole = yield from (_windows if request.mode.video == "given" else _moving)(request, noise)
    return whole


def _moving(request: Request, noise: torch.Generator) -> Generator[Stretch, Made, Made]:
    """A film that is to be found: acted out, or walked to by itself; one that goes with a given sound comes with it."""
    acted = request.acted
    whole = yield from (_onwards(request, noise) if acted is None else _acted(request, acted))
    if request.hears is None or whole.video is None or request.has_actions:
        return whole
    return replace(whole, sound=heard_in(request.hears, 0, len(whole.video), request.fps))


def _onwards(request: Request, noise: torch.Generator) -> Generator[Stretch, Made, Made]:
    """Frames from what is given onwards; each later stretch starts from the last frames of the one before.

    Its sound goes on where that one's ended: it is joined there, not blended.
    """
    mode, lead = request.mode, lead_of(request)
    film, start = request.film, 0
    frames: list[Array] = []
    found: list[NDArray[np.float32]] = []
    heard: list[NDArray[np.float32]] = []
    state = request.state
    while True:
        count = min(mode.frames, 1 + FRAMES_A_LATENT * -(-(request.frames - start - 1) // FRAMES_A_LATENT))
        last = start + count >= request.frames
        given = tuple(range(mode.given_latent_frames)) if film is not None else ()
        actions = None
        if request.actions is not None:
            actions = request.actions[start : start + count - 1]
            actions = np.concatenate([actions, actions[-1:].repeat(count - 1 - len(actions), axis=0)])
        if mode.also_last and film is not None and request.last_image is not None:
            given = (0, (count - 1) // FRAMES_A_LATENT)
            film = np.concatenate([film.repeat(5, axis=0), request.last_image[None].repeat(4, axis=0)])
        made = yield Stretch(
            request=request,
            frames=count,
            given=given,
            film=film,
            actions=actions,
            noise=noise,
            decode=not last or "video" in request.outputs,
            hears=None if request.hears is None else heard_in(request.hears, start, count, request.fps),
            state=state,
        )
        if made.actions is not None:
            found.append(made.actions)
        state = _then(state, actions if made.actions is None else made.actions, lead)
        if made.sound is not None:
            heard.append(made.sound if start == 0 else made.sound[:, samples_of(lead, request.fps) :])
        if made.video is not None:
            frames.append(made.video if start == 0 else made.video[lead:])
            film = made.video[-lead:]
        if last:
            break
        start += count - lead
    return Made(
        video=np.concatenate(frames)[: request.frames] if frames and "video" in request.outputs else None,
        sound=np.concatenate(heard, axis=1)[:, : samples_of(request.frames, request.fps)] if heard else None,
        actions=np.concatenate(found)[: request.frames - 1] if found else None,
    )


def _then(
    state: NDArray[np.float32] | None, actions: NDArray[np.float32] | None, lead: int
) -> NDArray[np.float32] | None:
    """Where the body is when the next stretch begins, ``lead`` - 1 frames before these actions end. None stays None."""
    return state if state is None or actions is None else actions[-lead]


def _painted(request: Request, things: list[Placed], noise: torch.Generator) -> Generator[Stretch, Made, Made]:
    """The bare place, then thing after thing; a film then begins with that picture."""
    how = request.painting
    assert how is not None
    plane = (request.size[0] // UNIT, request.size[1] // UNIT)
    bare, picture = (
        replace(
            request, mode=mode_named("text-to-image"), frames=1, guidance=guidance, negative_prompt=None,
            sound=False, schedule=make_schedule(steps, request.mode.shift), shortcuts=EXACT, prompt=how.bare,
            adapter=worn_for(request, "text-to-image"),
        )
        for steps, guidance in ((how.bare_steps, how.bare_guidance), (how.steps, how.guidance))
    )  # fmt: skip
    made = yield Stretch(request=bare, frames=1, given=(), film=None, actions=None, noise=noise, decode=False)
    for number, one in enumerate(things, start=1):
        asked = how.questions(things[:number])
        questions, wanted = tuple(question for question, _ in asked), [answer for _, answer in asked]
        stretch = Stretch(
            request=replace(picture, prompt=how.one.format(placed=one.words)), frames=1, given=(), film=None,
            actions=None, noise=noise, decode=bool(questions) or number == len(things), canvas=made.canvas,
            hidden=tokens_near((one.x, one.y), plane, how.reach), questions=questions,
        )  # fmt: skip
        tries: list[Made] = []
        while not tries or (len(tries) < how.tries and agreed(tries[-1].answers, wanted) < len(wanted)):
            tries.append((yield stretch))
        made = max(tries, key=lambda one: agreed(one.answers, wanted))  # of equals the first
    if request.frames == 1:
        return Made(video=made.video)
    moving = replace(mode_named("image-to-video"), frames=request.mode.frames)
    return (yield from _moving(replace(request, mode=moving, film=made.video), noise))


def _acted(request: Request, acted: tuple[Request, Request]) -> Generator[Stretch, Made, Made]:
    """Again and again a plan for the last picture, and what comes of it: as two requests of their own would say.

    The first two have the request's seed, those after them the numbers after it.
    """
    plan, ahead = acted
    assert request.film is not None and plan.embodiment is not None
    frames, film = 1, [request.film]
    found: list[NDArray[np.float32]] = []
    while frames < request.frames:
        last, seed = film[-1][-1:], (request.seed + len(film) - 1) % 2**63
        rest = None if request.hears is None else request.hears[:, samples_of(frames - 1, request.fps) :]
        planned = yield from unfold(replace(plan, film=last, seed=seed, hears=rest))
        assert planned.actions is not None
        done = min(ahead.frames - 1, request.frames - frames)
        actions = plan.embodiment.encode(plan.embodiment.decode(planned.actions)[:done])
        made = yield from unfold(replace(ahead, film=last, seed=seed, actions=actions, frames=done + 1))
        assert made.video is not None
        film.append(made.video[1:])
        found.append(actions)
        frames += done
    video = np.concatenate(film) if "video" in request.outputs else None
    return Made(video=video, actions=np.concatenate(found))


def _listened(request: Request, noise: torch.Generator) -> Generator[Stretch, Made, Made]:
    """First the film, then its sound, to the film as it then is."""
    whole = yield from _unfolded(replace(request, sound=False, listening=None, outputs=("video",)), noise)
    hears = replace(
        request, mode=replace(mode_named("video-to-sound"), frames=request.mode.frames), film=whole.video, guidance=1.0,
        schedule=request.listening, listening=None, shortcuts=EXACT, outputs=("sound",),
        adapter=worn_for(request, "video-to-sound"),
    )  # fmt: skip
    heard = yield from _windows(hears, noise)
    return replace(whole, video=whole.video if "video" in request.outputs else None, sound=heard.sound)


def worn_for(request: Request, mode: str) -> Adapter | None:
    """The request's adapter in its walks of a mode: in those of another one only where it is meant for that."""
    worn = request.adapter
    return worn if worn is not None and (request.mode.name == mode or worn.worn_in(mode)) else None


def _windows(request: Request, noise: torch.Generator) -> Generator[Stretch, Made, Made]:
    """A film that is given as a whole, window by window; neighbours share a frame."""
    assert request.film is not None
    found: list[NDArray[np.float32]] = []
    heard: list[NDArray[np.float32]] = []
    state = request.state
    for start in window_starts(request):
        film = request.film[start : start + request.mode.frames]
        made = yield Stretch(
            request=request,
            frames=len(film),
            given=tuple(range(1 + (len(film) - 1) // FRAMES_A_LATENT)),
            film=film,
            actions=None,
            noise=noise,
            decode=False,
            state=state,
        )
        if made.actions is not None:
            found.append(made.actions)
        state = _then(state, made.actions, 1)
        if made.sound is not None:
            heard.append(made.sound if start == 0 else made.sound[:, samples_of(1, request.fps) :])
    return Made(
        actions=np.concatenate(found) if found else None,
        sound=np.concatenate(heard, axis=1)[:, : samples_of(request.frames, request.fps)] if heard else None,
    )


def _held(request: Request, held: Controlled, noise: torch.Generator) -> Generator[Stretch, Made, Made]:
    """A film under controls, in stretches of one length; where controls end, they go back and forth (cosmos3.md)."""
    count = count_stretches(request)
    film: Array | Tensor | None = held.begins
    shared = 0 if held.begins is None else len(held.begins)
    frames: list[Array] = []
    for number in range(count):
        last = number == count - 1
        start = number * (held.stretch - held.overlap)
        if number and request.dialect == "native":
            noise = torch.Generator().manual_seed(request.seed + number)
        given = -(-shared // FRAMES_A_LATENT)  # latent frames that are known as a whole
        made = yield Stretch(
            request=request,
            frames=held.stretch,
            given=tuple(range(given)),
            film=None if film is None else _first(film, 1 + FRAMES_A_LATENT * (given - 1)),
            actions=None,
            noise=noise,
            decode=True,
            controls=tuple(reflected(one[start : start + held.stretch], held.stretch) for one in held.films.values()),
            keep=0 if last else held.overlap,
        )
        assert made.video is not None
        frames.append(made.video[shared if number else 0 :])
        film, shared = made.ending, held.overlap
    return Made(video=np.concatenate(frames)[: request.frames])


def _first(film: Array | Tensor, frames: int) -> Array | Tensor:
    return film[:, :, :frames] if isinstance(film, Tensor) else film[:frames]
