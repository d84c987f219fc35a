"""Imagining: requests in, walks from noise to data in batches of one layout, films, sounds and actions out.

    requests -> stretches -> batch by layout -> encode what is given -> walk -> decode what was asked -> rollouts

Only what is needed is computed: given frames are encoded as far as they reach, prompts are read once, frames
that nobody asked for are never decoded.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import ArmillaryError, RequestError
from armillary.model import ModelConfig
from armillary.model.ports import action_positions, patchify, unpatchify, video_positions
from armillary.records import Array, Rollout
from armillary.sampling.counts import count_evaluations, count_stretches
from armillary.sampling.guidance import Field, Hold, Part
from armillary.sampling.parts import Parts
from armillary.sampling.pictures import to_numbers, to_pixels
from armillary.sampling.requests import Request
from armillary.sampling.solver import walk
from armillary.sampling.sounds import heard, hearing_part, sound_part
from armillary.sampling.speak import Manner, speak_many
from armillary.sampling.steady import held_steady
from armillary.sampling.stretches import Layout, Made, Stretch, unfold, worn_for
from armillary.tokenizers.streaming import decode_film, encode_in_pieces
from armillary.tokenizers.video import SPACE, on_canvas

LOOK_SHARE = 5  # between two looks at what is not finished passes at least so many times what one look costs
ANSWER = 8  # tokens of an answer about what was painted, at most
LARGEST_BATCH = 32  # walks at once: beyond it a batch gains no speed and only takes memory


class CancelledError(ArmillaryError):
    """Somebody asked to stop."""

    code = "cancelled"


@dataclass(kw_only=True)
class Watch:
    """Tells how far the work is, and stops it when asked: counted in evaluations of one request's walk."""

    total: int
    on_progress: Callable[[float], None] | None = None
    cancel: Callable[[], bool] | None = None
    on_look: Callable[[int, Array], None] | None = None
    batch: Sequence[int] = ()  # the numbers of the requests that are walked now
    done: int = 0
    next_look: float = 0.0

    def before_step(self) -> None:
        if self.cancel is not None and self.cancel():
            raise CancelledError(f"cancelled after {self.done} of {self.total} steps: nothing is returned.")

    def after_step(self, walks: int) -> None:
        self.done += walks
        if self.on_progress is not None:
            self.on_progress(self.done / self.total)

    def may_look(self) -> bool:
        """Whether somebody wants to see what there is so far, and it is time for it."""
        return self.on_look is not None and self.done < self.total and time.monotonic() >= self.next_look

    def look(self, decode: Callable[[], list]) -> None:
        """Show what the films look like so far; looking stays a small part of the work."""
        begun = time.monotonic()
        for number, film in zip(self.batch, decode(), strict=True):
            if film is not None and self.on_look is not None:
                self.on_look(number, film)
        self.next_look = time.monotonic() + LOOK_SHARE * (time.monotonic() - begun)


def imagine_all(
    parts: Parts,
    requests: Sequence[Request],
    *,
    on_progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    on_look: Callable[[int, Array], None] | None = None,
) -> list[Rollout]:
    """A rollout for each request, in order. Stretches of equal layout are walked together, whosever they are."""
    evaluations = sum(count_evaluations(request) for request in requests)
    watch = Watch(total=max(evaluations, 1), on_progress=on_progress, cancel=cancel, on_look=on_look)
    finished: dict[int, Made] = {}
    unfolding: dict[int, Generator[Stretch, Made, Made]] = {i: unfold(request) for i, request in enumerate(requests)}
    waiting = {i: next(story) for i, story in unfolding.items()}
    while waiting:
        layout = next(iter(waiting.values())).layout
        batch = [i for i, stretch in waiting.items() if stretch.layout == layout][:LARGEST_BATCH]
        watch.batch = batch
        asked = [waiting.pop(i) for i in batch]
        results = looked_at(parts, asked, make(parts, layout, asked, watch))
        for i, made in zip(batch, results, strict=True):
            try:
                waiting[i] = unfolding[i].send(made)
            except StopIteration as end:
                finished[i] = end.value
    if on_progress is not None and watch.done < watch.total:
        on_progress(1.0)  # some things were painted right before their last try
    return [_rollout(parts, request, finished[i]) for i, request in enumerate(requests)]


@torch.inference_mode()
def make(parts: Parts, layout: Layout, stretches: Sequence[Stretch], watch: Watch) -> list[Made]:
    """Walk stretches of one layout as one batch."""
    ended, size = _walked(parts, layout, stretches, watch)
    none = [None] * len(stretches)
    films = _decoded(parts, unpatchify(ended["video"], size, parts.sizes.latent_patch), stretches, layout)
    sounding = layout.sound and not layout.sound_given
    sounds = heard(parts.sound_vae, ended["sound"], stretches, layout.sound) if sounding else none
    actions = ended["action"][:, int(layout.state) :].cpu().numpy() if layout.actions_hidden else none
    canvases = ended["video"].cpu() if layout.latent_frames == 1 else none  # only a picture is painted on
    return [Made(video=film, sound=sound, actions=found, ending=ending, canvas=canvas)
            for (film, ending), sound, found, canvas in zip(films, sounds, actions, canvases, strict=True)]  # fmt: skip


@torch.inference_mode()
def imagined_latents(parts: Parts, requests: Sequence[Request]) -> Float[Tensor, "b z n y x"]:
    """The normalised latents of which the requests' films would be decoded, on the CPU.

    ``RequestError`` unless all have one layout, and each is one walk and a film.
    """
    films = all(request.mode.name != "reason" and not request.filmless for request in requests)
    stretches = [next(unfold(request)) for request in requests] if films else []
    layouts = {stretch.layout for stretch in stretches}
    if len(layouts) != 1 or any(count_stretches(request) != 1 for request in requests):
        raise RequestError(
            f"latents were asked of {len(requests)} requests: all must be films of one layout, each made in one "
            "stretch. Ask for others apart, for no more frames than the mode's, and with acting='none'."
        )
    watch = Watch(total=sum(count_evaluations(request) for request in requests))
    found = []
    for first in range(0, len(stretches), LARGEST_BATCH):
        ended, size = _walked(parts, stretches[0].layout, stretches[first : first + LARGEST_BATCH], watch)
        found.append(unpatchify(ended["video"], size, parts.sizes.latent_patch).float().cpu())
    return torch.cat(found)


def _walked(
    parts: Parts, layout: Layout, stretches: Sequence[Stretch], watch: Watch
) -> tuple[dict[str, Tensor], tuple[int, int, int]]:
    """The tokens of every modality after the walk, b n d, and how the film's lie: latent frames, rows, columns."""
    parts.expect("generator")
    patch = parts.sizes.latent_patch
    size = (layout.latent_frames, layout.size[0] // SPACE, layout.size[1] // SPACE)
    shape = (parts.sizes.latent_channels, *size)
    video, video_noise = _video_part(parts, stretches, layout, size, shape)
    held = {f"control {number}": part for number, part in enumerate(_control_parts(parts, stretches, video))}
    if layout.painted:
        held["canvas"] = replace(video, hidden=torch.zeros_like(video.hidden))
    pieces: dict[str, Part] = {**held, "video": video}
    noises: list[Tensor | None] = [*[None] * len(held), video_noise]
    if layout.sound_given:
        pieces["sound"] = hearing_part(parts.sound_vae, parts.sizes, stretches, parts.device)
        noises.append(None)
    elif layout.sound:
        pieces["sound"], sound_noise = sound_part(parts.sizes, stretches, layout.sound, parts.device)
        noises.append(sound_noise)
    if layout.actions:
        pieces["action"], action_noise = _action_part(parts, stretches, layout)
        noises.append(action_noise)
    if layout.source:
        pieces["source"] = _source_part(parts, stretches, size)
        noises.append(None)
    words = [(*stretch.prompts(), stretch.request.system) for stretch in stretches]
    read = [(text, system) for text, _, system in words] + [
        (text, system) for _, text, system in words if layout.guided
    ]
    memory = parts.shelf.batch([parts.text.prompt_ids(text, system) for text, system in read])
    guidance = torch.tensor([s.request.guidance for s in stretches], device=parts.device)
    fps = torch.tensor([s.request.fps for s in stretches], device=parts.device)
    hold = _hold(parts, stretches, layout)
    scale = guidance if layout.guided else None
    model = parts.generator(layout.adapter)  # after the memory: under offload the reasoner is gone by now
    shown = list(pieces.values())
    field = Field(model, memory, shown, fps=fps, guidance=scale, hold=hold, shortcuts=layout.shortcuts)

    def velocity(state: Tensor, stop: object) -> Tensor:
        watch.before_step()
        found = field(state, stop)  # type: ignore[arg-type]
        watch.after_step(len(stretches))
        if watch.may_look():
            guess = field.tokens(state - stop.level * found)[len(held)]  # type: ignore[attr-defined]
            watch.look(lambda: [film for film, _ in _decoded(parts, unpatchify(guess, size, patch), stretches, layout)])
        return found

    def fresh() -> Tensor:
        again = patchify(torch.stack([s.draw_again(shape) for s in stretches]).to(parts.device), patch)
        rest = [None if one is None else torch.stack([s.draw_again(one.shape[1:]) for s in stretches]).to(one)
                for one in noises[len(held) + 1 :]]  # fmt: skip
        return field.start([*noises[: len(held)], again, *rest])

    tokens = field.tokens(walk(velocity, field.start(noises), layout.schedule, fresh))
    return dict(zip(pieces, tokens, strict=True)), size


def looked_at(parts: Parts, stretches: Sequence[Stretch], results: Sequence[Made]) -> list[Made]:
    """What was made, with the reasoner's answers about the first frames of those stretches that ask for them."""
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": made.video[0]}, {"type": "text", "text": question}]}]
        for stretch, made in zip(stretches, results, strict=True) if made.video is not None
        for question in stretch.questions
    ]  # fmt: skip
    if not chats:
        return list(results)
    said = iter(speak_many(parts, chats, [Manner(longest=ANSWER)] * len(chats)))
    return [replace(made, answers=tuple(next(said) for _ in stretch.questions))
            for stretch, made in zip(stretches, results, strict=True)]  # fmt: skip


def _video_part(
    parts: Parts, stretches: Sequence[Stretch], layout: Layout, size: tuple[int, int, int], shape: tuple[int, ...]
) -> tuple[Part, Tensor]:
    """Latents of the given frames, noise for all, and which tokens are hidden."""
    config = parts.sizes
    patch = config.latent_patch
    latents = torch.zeros((len(stretches), *shape), device=parts.device)
    if layout.given:
        latents[:, :, list(layout.given)] = encode_given(parts, stretches, layout)
    frames_hidden = torch.ones(layout.latent_frames, dtype=torch.bool, device=parts.device)
    frames_hidden[list(layout.given)] = False
    noise = torch.stack([s.draw("video", shape) for s in stretches]).to(parts.device)
    tokens = patchify(latents, patch)
    hidden = frames_hidden.repeat_interleave(tokens.shape[1] // layout.latent_frames).expand(len(stretches), -1)
    if layout.painted:
        tokens = torch.stack([s.canvas for s in stretches if s.canvas is not None]).to(parts.device)
        hidden = torch.stack([s.hidden for s in stretches if s.hidden is not None]).to(parts.device)
    places = [_places(config, size, s, after=int(layout.source)) for s in stretches]
    part = Part(modality="video", tokens=tokens, hidden=hidden, positions=torch.stack(places).to(parts.device))
    return part, patchify(noise, patch)


def _control_parts(parts: Parts, stretches: Sequence[Stretch], video: Part) -> list[Part]:
    """The controls, given as a whole, each where the film itself is, as large as this checkpoint knows them."""
    patch = parts.sizes.latent_patch
    hidden = torch.zeros_like(video.hidden)
    kinds = [() if stretch.request.controlled is None else tuple(stretch.request.controlled.films)
             for stretch in stretches]  # fmt: skip
    found = []
    for number, films in enumerate(zip(*(stretch.controls for stretch in stretches), strict=True)):
        numbers = torch.cat([to_numbers(film) for film in films]).to(parts.device)
        scale = torch.tensor([parts.defaults.control_scale.get(own[number], 1.0) for own in kinds])
        latents = encode_in_pieces(parts.vae, numbers)
        tokens = patchify(latents * scale.to(latents).view(-1, 1, 1, 1, 1), patch)
        found.append(Part(modality="video", tokens=tokens, hidden=hidden, positions=video.positions))
    return found


def _hold(parts: Parts, stretches: Sequence[Stretch], layout: Layout) -> Hold:
    """How strongly the controls of each stretch hold, and how much each of them counts."""
    held = [s.request.controlled for s in stretches]
    guidance = [one.guidance for one in held if one is not None]
    weights = [one.weights for one in held if one is not None]
    return Hold(
        controls=layout.controls,
        guidance=torch.tensor(guidance, device=parts.device) if layout.held else None,
        weights=torch.tensor(weights, device=parts.device) if layout.apart else None,
    )


def encode_given(parts: Parts, stretches: Sequence[Stretch], layout: Layout) -> Tensor:
    """Normalised latents b c t h w of the given frames; clips with actions on their canvas, cut afterwards."""
    films = torch.cat([_numbers_given(s) for s in stretches if s.film is not None]).to(parts.device)
    crop = (layout.size[0] // SPACE, layout.size[1] // SPACE)
    if layout.actions:
        films, crop = on_canvas(films)
    latents = parts.vae.encode(films)[..., : crop[0], : crop[1]]
    return latents if latents.shape[2] == len(layout.given) else latents[:, :, [0, -1]]


def _numbers_given(stretch: Stretch) -> Tensor:
    """The film a stretch was given, 1 3 t h w in [-1, 1]."""
    assert stretch.film is not None
    return stretch.film if isinstance(stretch.film, Tensor) else to_numbers(stretch.film)


def _source_part(parts: Parts, stretches: Sequence[Stretch], size: tuple[int, int, int]) -> Part:
    """Pictures to be changed: given as a whole, an item that ends where the hidden one begins (cosmos3.md 2.3)."""
    config = parts.sizes
    films = torch.cat([to_numbers(s.request.source[None]) for s in stretches if s.request.source is not None])
    tokens = patchify(parts.vae.encode(films.to(parts.device)), config.latent_patch)
    places = torch.stack([_places(config, (1, *size[1:]), s) for s in stretches])
    hidden = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=parts.device)
    return Part(modality="video", tokens=tokens, hidden=hidden, positions=places.to(parts.device))


def _places(config: ModelConfig, size: tuple[int, int, int], stretch: Stretch, *, after: int = 0) -> Tensor:
    """Where the tokens of latents of ``size`` stand, n 3, ``after`` so many pictures that stand before them."""
    places = video_positions(size, fps=stretch.request.fps, patch=config.latent_patch, tcf=config.tcf)
    places[:, 0] += after * config.tcf / config.base_fps  # one unit of time each
    return places


def _action_part(parts: Parts, stretches: Sequence[Stretch], layout: Layout) -> tuple[Part, Tensor]:
    """Actions in model space, given or to be found; channels beyond the embodiment's width do not exist.

    Where a body's state is known it stands before them, given, where the first frame is (cosmos3.md 2.2, 4.2).
    """
    width, before = parts.sizes.action_dim, int(layout.state)
    shape = (layout.actions, width)
    bodies = [s.request.embodiment for s in stretches]
    channels = torch.zeros(len(stretches), 1, width)
    domain = torch.zeros(len(stretches), dtype=torch.long)
    for i, body in enumerate(bodies):
        assert body is not None
        channels[i, :, : body.width] = 1.0
        domain[i] = body.domain_id
    tokens = torch.zeros(len(stretches), before + layout.actions, width)
    for i, stretch in enumerate(stretches):
        if stretch.actions is not None:
            tokens[i, before:] = torch.from_numpy(stretch.actions)
        if stretch.state is not None:
            tokens[i, 0] = torch.from_numpy(stretch.state)
    noise = [s.draw("action", shape) if layout.actions_hidden else torch.zeros(shape) for s in stretches]
    noise = [torch.cat([torch.zeros(before, width), one]) for one in noise]
    hidden = torch.full(tokens.shape[:2], layout.actions_hidden)
    hidden[:, :before] = False
    places = torch.stack([action_positions(layout.actions, fps=s.request.fps, state=before > 0) for s in stretches])
    part = Part(
        modality="action",
        tokens=tokens.to(parts.device),
        hidden=hidden.to(parts.device),
        positions=places.to(parts.device),
        domain=domain.to(parts.device),
        channels=channels.to(parts.device),
    )
    return part, torch.stack(noise).to(parts.device)


def _decoded(
    parts: Parts, latents: Tensor, stretches: Sequence[Stretch], layout: Layout
) -> list[tuple[Array | None, Tensor | None]]:
    """Frames uint8 t h w 3 of the stretches that are looked at, None for the others; and the last frames that a next
    stretch begins with, 1 3 t h w in [-1, 1]."""
    wanted = [i for i, stretch in enumerate(stretches) if stretch.decode]
    films: list[tuple[Array | None, Tensor | None]] = [(None, None)] * len(stretches)
    if wanted:
        video = decode_film(parts.vae, latents[wanted])
        if layout.steady:
            given = torch.cat([_numbers_given(stretches[i])[:, :, :1] for i in wanted]).to(parts.device)
            unlike = torch.tensor([stretches[i].request.steady for i in wanted])
            video = held_steady(parts.vae, video, given, unlike, canvas=layout.actions > 0)
        for i, film, one in zip(wanted, to_pixels(video), video, strict=True):
            keep = stretches[i].keep
            films[i] = (film, one[None, :, -keep:].float().clamp(-1, 1).cpu() if keep else None)
    return films


def _rollout(parts: Parts, request: Request, made: Made) -> Rollout:
    body, worn = request.embodiment, request.adapter
    if request.acted is not None:  # what is worn then stands in its record
        body, worn = request.acted[0].embodiment, worn_for(request, "text-to-image") if request.things else None
    actions = None
    if made.actions is not None and body is not None and "actions" in request.outputs:
        actions = body.decode(made.actions)
    return Rollout(
        mode=request.mode.name,
        fps=request.fps,
        video=made.video,
        sound=made.sound,
        actions=actions,
        body=body,
        provenance=parts.provenance(request.record, worn),
    )
