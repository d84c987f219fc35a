"""A film that goes on while actions come: four of them, four frames, for as long as anybody asks.

    first picture          -> latents of one frame, seen all along --------+
    the next four actions  -> the last one to three latent frames, known --+-> one more latent frame -> its four frames

The first picture stands beside the film as a control does: without it colours drift within seconds. What was imagined
stays latent: nothing is decoded and encoded again between two steps, and the decoder goes on where it ended
(``tokenizers/streaming.py``). What stands still is shown as the first picture has it (``steady.py``), of which nothing
goes back into the film. Time and memory of a step do not grow. A film may be branched wherever it stands, that is after
every four frames: what if something else were done from here? Only for checkpoints that have learnt it
(``FlowConfig.onwards`` in training, or an adapter for ``onwards``): others know no film that begins in its middle.
"""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from armillary.errors import RequestError
from armillary.model.ports import action_positions, patchify, unpatchify, video_positions
from armillary.prompts import action_prompt
from armillary.records import Array
from armillary.sampling.adapters import NONE, ONWARDS, settle_adapter
from armillary.sampling.bodies import embodiment_of, rows_of
from armillary.sampling.guidance import Field, Part
from armillary.sampling.parts import Parts
from armillary.sampling.pictures import to_numbers, to_pixels
from armillary.sampling.requests import FRAMES_A_LATENT, check_request
from armillary.sampling.solver import walk
from armillary.sampling.steady import held, shown_at, still_film
from armillary.sampling.upsampling import upsampled
from armillary.tokenizers.streaming import StreamDecoder
from armillary.tokenizers.video import SPACE, canvas_for, on_canvas

_USELESS = {"actions", "video", "frames", "outputs", "latents", "state"}
_USELESS |= {"guidance", "guidance_between", "negative_prompt", "reuse"}
KNOWN = 3  # latent frames that a step looks back on: as many as training shows


class Onwards:
    """One film on its way. ``asked``: ``image``, ``embodiment`` and what else forward dynamics takes, but no actions.

    ``frames`` counts those there are, the given one included. ``warning``: why they may be noise, empty if not.
    Raises ``RequestError`` for what cannot be.
    """

    def __init__(self, parts: Parts, asked: dict[str, Any]) -> None:
        asked = {name: value for name, value in asked.items() if value is not None}
        if unfit := sorted(set(asked) & _USELESS):
            raise RequestError(
                f"{unfit[0]} has no use where a film goes on: actions are given as they come, and four frames at a "
                "time are walked to in full and without guidance. Leave it out."
            )
        body = embodiment_of(asked, parts.folder)
        if body is None:
            raise RequestError("a film that goes on needs to know whose actions will come: give embodiment.")
        worn = settle_adapter(ONWARDS, asked, parts.adapters)
        steps = None if worn is None else worn.steps_in(ONWARDS)
        usual = {} if steps is None else {"steps": steps}
        still = {"actions": [body.rest] * FRAMES_A_LATENT, "adapter": NONE}
        request = check_request("forward-dynamics", {**usual, **asked, **still}, parts.folder, parts.adapters)
        request = upsampled(parts, [request])[0]
        assert request.film is not None and request.schedule is not None
        self._parts, self._body, self._words = parts, body, request.prompt
        self._fps, self._schedule, self._size = request.fps, request.schedule, request.size
        self._chance = torch.Generator().manual_seed(request.seed)
        self._decoder = StreamDecoder(parts.vae)
        self._steady, self._worn = request.steady, "" if worn is None else worn.name
        able = worn is not None and worn.has_learnt(ONWARDS)
        self.warning = parts.defaults.untrained or ("" if able else parts.defaults.unlearnt(ONWARDS))
        self.frames = 1
        self._begin(request.film)

    def push(self, actions: ArrayLike) -> Array:
        """The frames uint8 t h w 3 to which these actions t a lead; t is a multiple of four, else ``RequestError``.

        ``DataError`` for rows that cannot be this body's.
        """
        coded = torch.from_numpy(self._body.encode(rows_of(self._body, actions)))
        if len(coded) == 0 or len(coded) % FRAMES_A_LATENT:
            raise RequestError(
                f"{len(coded)} actions: a film goes on by four frames at a time, give a multiple of four."
            )
        return np.concatenate([self._four(four) for four in coded.split(FRAMES_A_LATENT)])

    def branch(self) -> "Onwards":
        """The same film from here on, to go another way; this one stays where it is.

        Given the same actions both become the same. What was computed so far is shared, so a branch costs nothing.
        """
        other = copy.copy(self)  # its tensors are replaced as it goes on, never changed
        other._decoder = self._decoder.branch()
        other._chance = torch.Generator()
        other._chance.set_state(self._chance.get_state())
        return other

    @torch.inference_mode()
    def _begin(self, film: Array) -> None:
        given = to_numbers(film).to(self._parts.device)
        canvas, _ = on_canvas(given)
        rows, columns = (side // SPACE for side in self._size)
        self._known = self._parts.vae.encode(canvas)[..., :rows, :columns].float()
        self._first = patchify(self._known, self._parts.sizes.latent_patch)
        self._done = torch.zeros(0, self._parts.sizes.action_dim)
        self._decoder.push(self._known)
        self._given, self._still = given, None
        if self._steady:
            self._still = still_film(self._parts.vae, given, canvas=True)

    @torch.inference_mode()
    def _four(self, actions: torch.Tensor) -> Array:
        """The frames to which four coded actions lead."""
        self._done = torch.cat([self._done, actions])
        latest = self._next()
        self._known = torch.cat([self._known, latest], dim=2)[:, :, -KNOWN:]
        self._done = self._done[-(KNOWN - 1) * FRAMES_A_LATENT :]
        shown = self._decoder.push(latest)
        if self._still is not None:
            late = torch.arange(self.frames, self.frames + FRAMES_A_LATENT)
            shown = held(shown, self._still[:, :, shown_at(late)], self._given, torch.tensor([self._steady]))
        self.frames += FRAMES_A_LATENT
        return to_pixels(shown)[0]

    def _next(self) -> torch.Tensor:
        """The latent frame after the known ones, 1 c 1 y x."""
        parts, patch = self._parts, self._parts.sizes.latent_patch
        count = self._known.shape[2] + 1
        size = (count, *self._known.shape[3:])
        noise = torch.randn(self._known[:, :, :1].shape, generator=self._chance).to(self._known)
        tokens = patchify(torch.cat([self._known, torch.zeros_like(noise)], dim=2), patch)
        hidden = torch.arange(tokens.shape[1]) >= tokens.shape[1] // count * (count - 1)
        places = video_positions(size, fps=self._fps, patch=patch, tcf=parts.sizes.tcf)
        video = Part(modality="video", tokens=tokens, hidden=hidden[None].to(tokens.device),
                     positions=places[None].to(tokens.device))  # fmt: skip
        held = torch.zeros(1, self._first.shape[1], dtype=torch.bool, device=tokens.device)
        first = Part(modality="video", tokens=self._first, hidden=held, positions=video.positions[:, : held.shape[1]])
        start = patchify(torch.cat([self._known, noise], dim=2), patch)
        memory = parts.memory_of(self._prompt(count))  # before the generator, which takes its place under offload
        field = Field(
            parts.generator(self._worn), memory, [first, video, self._actions(count)],
            fps=torch.tensor([self._fps], device=parts.device),
        )  # fmt: skip

        def fresh() -> torch.Tensor:
            return field.start([None, torch.randn(start.shape, generator=self._chance).to(start), None])

        ended = field.tokens(walk(field, field.start([None, start, None]), self._schedule, fresh))
        return unpatchify(ended[1], size, patch)[:, :, -1:]

    def _actions(self, count: int) -> Part:
        device = self._parts.device
        done = self._done[-(count - 1) * FRAMES_A_LATENT :]
        channels = (torch.arange(done.shape[1]) < self._body.width).float()
        return Part(
            modality="action",
            tokens=done[None].to(device),
            hidden=torch.zeros(1, len(done), dtype=torch.bool, device=device),
            positions=action_positions(len(done), fps=self._fps)[None].to(device),
            domain=torch.tensor([self._body.domain_id], device=device),
            channels=channels[None, None].to(device),
        )

    def _prompt(self, count: int) -> str:
        height, width = canvas_for(*self._size)
        view = self._body.cameras[0].view if self._body.cameras else None
        frames = 1 + FRAMES_A_LATENT * (count - 1)
        return action_prompt(self._words, frames=frames, fps=self._fps, height=height, width=width, view=view)
