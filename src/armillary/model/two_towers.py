"""The model: a reasoner that reads, and a generator that looks at what was read and finds what is hidden.

    ids, pictures -> read     -> Memory            the reasoner, once a prompt
    Memory, segments -> velocity -> numbers        the generator, once a solver's step
    ids, pictures -> logits   -> the next word     the reasoner on its own
    ids -> step -> one word at a time              the same, cached

Samples of one layout run as one batch. Text is padded on the right: harmless to a causal tower, masked for the
generator. Inputs are computed in the weights' dtype, or in autocast's where that is on; rotations, norms'
statistics and the noise level's vector stay fp32.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from armillary.errors import CheckpointError, DataError
from armillary.model.head import PackedLinear
from armillary.model.memory import DecodeCache, Memory
from armillary.model.names import TOWERS, tower_of
from armillary.model.ports import level_vectors
from armillary.model.positions import Rotation, rotation, segment_ids, text_ids, text_rotation
from armillary.model.siglip import SiglipTower
from armillary.model.sizes import ModelConfig
from armillary.model.tower import Transformer
from armillary.model.vision import Seen, VisionTower, Visual
from armillary.records import Batch, Segment

ROOM = 256  # tokens: what a chat's cache has room for beyond its prompt, before it is made anew


class TwoTowers(nn.Module):
    """Reasoner, generator and eyes, with one weight each, sizes from ``config``, initialised as cosmos3.md 3.8."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.towers: frozenset[str] = frozenset(TOWERS)
        self.transformer = Transformer(config)
        eyes = SiglipTower if config.vision.kind == "siglip" else VisionTower
        self.visual = eyes(config.vision, config.tower.width)
        initialise(self)

    def read(self, ids: Int[Tensor, "b m"], mask: Bool[Tensor, "b m"], visual: Visual | Seen | None = None) -> Memory:
        """The memory of a text, right-padded; ``mask`` is True where a real id stands.

        Raises ``DataError`` if ``visual`` does not fill exactly the places that the ids keep for pictures.
        """
        x, where, extra, _ = self._embed(ids, mask, visual)
        keys, values = [], []
        last = len(self.transformer.layers) - 1
        for number, layer in enumerate(self.transformer.layers):
            if number == last:
                shown, v = layer.remember(x, where)
            else:
                x, shown, v = layer.read(x, where)
                x = extra(number, x)
            keys.append(shown)
            values.append(v)
        return Memory(
            keys=tuple(keys), values=tuple(values), mask=mask, lengths=mask.sum(dim=1), padded=not bool(mask.all())
        )

    def logits(
        self,
        ids: Int[Tensor, "b m"],
        mask: Bool[Tensor, "b m"],
        visual: Visual | Seen | None = None,
        *,
        at: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "... v"]:
        """Scores of the token after each token, b m v; or only after those where ``at`` is True, n v.

        Learning answers needs few of them, and all are a fifth of a step. Errors as for ``read``.
        """
        hidden = self.hidden(ids, mask, visual)
        return self.transformer.lm_head(hidden if at is None else hidden[at])

    def hidden(
        self, ids: Int[Tensor, "b m"], mask: Bool[Tensor, "b m"], visual: Visual | Seen | None = None
    ) -> Float[Tensor, "b m d"]:
        """The reasoner's last states, after its norm. Errors as for ``read``."""
        self.need("reasoner")
        x, where, extra, _ = self._embed(ids, mask, visual)
        for number, layer in enumerate(self.transformer.layers):
            x, _, _ = layer.read(x, where)
            x = extra(number, x)
        return self.transformer.norm(x)

    @torch.no_grad()
    def step(
        self,
        ids: Int[Tensor, "b n"],
        cache: DecodeCache | None = None,
        *,
        mask: Bool[Tensor, "b n"] | None = None,
        visual: Visual | Seen | None = None,
        every: bool = False,
        likeliest: bool = False,
    ) -> tuple[Float[Tensor, "b *n v"] | Int[Tensor, " b *n"], DecodeCache]:
        """Scores of the token after the last real one of ``ids``, and the cache to go on with.

        First the prompt, right-padded with its mask and pictures, without a cache; then one id (or some) a sample.
        ``every``, with a cache: scores b n v after each of ``ids``. ``likeliest``: only the token with the highest.
        """
        self.need("reasoner")
        padded = mask is not None and not bool(mask.all())
        mask = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
        if cache is None:
            x, cache = self._begin(ids, mask, visual, padded=padded)
        else:
            x, cache = self._go_on(ids, cache, mask, visual, padded=padded)
            if not every:
                x = x[torch.arange(len(x), device=x.device), (mask.sum(dim=1) - 1).clamp(min=0)] if padded else x[:, -1]
        x, head = self.transformer.norm(x), self.transformer.lm_head
        if not likeliest:
            return head(x), cache
        return head.likeliest(x) if isinstance(head, PackedLinear) else head(x).argmax(dim=-1), cache

    def _begin(
        self, ids: Tensor, mask: Tensor, visual: Visual | Seen | None, *, padded: bool
    ) -> tuple[Tensor, DecodeCache]:
        """The last states b d of prompts b m, and what is remembered of them. Nothing is worked out for padding."""
        x, where, extra, following = self._embed(ids, mask, visual)
        x, where = x[mask][None], (where[0][mask][None], where[1][mask][None])  # one text behind another: 1 n d
        extra = extra.without(mask)
        ends = mask.sum(dim=1).cumsum(dim=0).tolist()
        spans = list(zip([0, *ends[:-1]], ends, strict=True))
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for number, layer in enumerate(self.transformer.layers):
            x, k, v = layer.read_each(x, where, spans, last=number == self.config.tower.layers - 1)
            if number < self.config.tower.layers - 1:
                x = extra(number, x)
            for kept, own in ((keys, k), (values, v)):
                roomy = own.new_zeros(len(ids), own.shape[1], ids.shape[1] + ROOM, own.shape[3])  # b g room e
                roomy.transpose(1, 2)[:, : ids.shape[1]][mask] = own[0].transpose(0, 1)
                kept.append(roomy)
        reach = int(following.max())
        cache = DecodeCache(
            keys=tuple(keys), values=tuple(values), mask=mask, following=following, reach=reach, padded=padded
        )
        return x[0], cache

    def _go_on(
        self, ids: Tensor, cache: DecodeCache, mask: Tensor, visual: Visual | Seen | None, *, padded: bool
    ) -> tuple[Tensor, DecodeCache]:
        """The states b n d of a few more tokens, and the longer cache."""
        if visual is None:
            dtype = _compute_dtype(self.transformer.embed_tokens.weight)
            x, extra = self.transformer.embed_tokens(ids).to(dtype), Extra(None, [])
            n = torch.arange(ids.shape[1], device=ids.device)
            where = text_rotation(cache.following[:, None] + n, cache.reach + len(n), self.config.tower, dtype)
            following = cache.following + (mask.sum(dim=1) if padded else len(n))
        else:
            x, where, extra, following = self._embed(ids, mask, visual, cache.following)
        cache = cache.longer(mask, following, padded=padded)
        bias = cache.bias(ids.shape[1], self.config.tower.heads)
        for number, layer in enumerate(self.transformer.layers):
            x = extra(number, layer.go_on(x, where, cache.at(number), bias))
        return x, cache

    def velocity(
        self, memory: Memory, segments: "list[Segment] | tuple[Segment, ...]", *, fps: float | Tensor
    ) -> list[Tensor]:
        """Velocity (noise minus data) of each segment's tokens, b n d_in in their own dtype, exact zeros where given.

        ``fps``: frames a second of the film, one for all or b numbers; it places the tokens. A token is given
        where its level is 0. Raises ``ConfigError`` for a modality without a port, ``DataError`` for wrong widths.
        """
        self.need("generator")
        where, mask = self.places(memory, segments, fps=fps)
        dtype = self.compute_dtype
        levels = [level_vectors(self.transformer.time_embedder, part.level, dtype) for part in segments]
        states = [self.enter(part, part.tokens) + level for part, level in zip(segments, levels, strict=True)]
        x = torch.cat(states, dim=1)
        for layer, key, value in zip(self.transformer.layers, memory.keys, memory.values, strict=True):
            x = layer.generate(x, where, (key, value), mask)
        x = self.transformer.norm_moe_gen(x)
        parts = x.split([part.tokens.shape[1] for part in segments], dim=1)
        return [
            self.leave(part, hidden).to(part.tokens.dtype).masked_fill((part.level == 0)[..., None], 0.0)
            for part, hidden in zip(segments, parts, strict=True)
        ]

    def places(
        self, memory: Memory, segments: "list[Segment] | tuple[Segment, ...]", *, fps: float | Tensor
    ) -> tuple[Rotation, Tensor | None]:
        """Where the generator's tokens stand, and which keys b 1 m of memory and tokens they may see; None: all."""
        ids = [
            segment_ids(part.modality, part.positions, memory.lengths, fps=fps, config=self.config) for part in segments
        ]
        where = rotation(torch.cat(ids, dim=1), self.config.tower, self.compute_dtype)
        if not memory.padded:
            return where, None
        own = torch.ones(where[0].shape[:2], dtype=torch.bool, device=memory.mask.device)
        return where, torch.cat((memory.mask, own), dim=1)[:, None]

    def forward(self, batch: Batch, fps: float | Tensor) -> list[Tensor]:
        """Velocities of a batch: ``read`` then ``velocity``. A frozen reasoner is read without gradients."""
        frozen = not self.transformer.embed_tokens.weight.requires_grad
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            memory = self.read(batch.ids, batch.mask)
        return self.velocity(memory, tuple(batch.segments), fps=fps)

    def reasoner_parameters(self) -> list[nn.Parameter]:
        """Parameters of the reasoner and of its eyes."""
        return [parameter for name, parameter in self.named_parameters() if tower_of(name) != "generator"]

    def generator_parameters(self) -> list[nn.Parameter]:
        """Parameters of the generator, its ports and its noise level's vector."""
        return [parameter for name, parameter in self.named_parameters() if tower_of(name) == "generator"]

    @property
    def device(self) -> torch.device:
        """Where the model lies, told by the reasoner's words."""
        return self.transformer.embed_tokens.weight.device

    def init_generator_from_reasoner(self) -> None:
        """Copy each tensor of the reasoner's layers to its counterpart in the generator; ports stay as they are."""
        tensors = dict(self.transformer.named_parameters())
        with torch.no_grad():
            for name, tensor in tensors.items():
                source = _counterpart(name)
                if source is not None and source in tensors:  # Edge's reasoner has no norms of queries and keys
                    tensor.copy_(tensors[source])

    def _embed(
        self, ids: Tensor, mask: Tensor, visual: Visual | Seen | None, start: Tensor | None = None
    ) -> "tuple[Tensor, Rotation, Extra, Tensor]":
        """States b m d, their rotation, what DeepStack adds, and the next free positions."""
        dtype = _compute_dtype(self.transformer.embed_tokens.weight)
        x = self.transformer.embed_tokens(ids).to(dtype)
        at = None
        features: list[Tensor] = []
        if visual is not None:
            self.need("vision")
            at = ((ids == self.config.image_pad) | (ids == self.config.video_pad)) & mask
        places, following = text_ids(mask, at, visual.grids if visual else (), merge=self.config.vision.merge)
        if start is not None:
            places, following = places + start[:, None, None], following + start
        index = None
        if visual is not None and at is not None:
            tokens, features = self.visual(visual, dtype)
            index = at.flatten().nonzero().squeeze(1)
            x = x.flatten(0, 1).index_copy(0, index, tokens.to(dtype)).view_as(x)
        where = rotation(places, self.config.tower, dtype)
        return x, where, Extra(index, features), following

    @property
    def compute_dtype(self) -> torch.dtype:
        """The generator's: that of its weights, or autocast's where that is on."""
        return _compute_dtype(self.transformer.proj_in.weight)

    def enter(self, segment: Segment, tokens: Tensor) -> Tensor:
        """Tokens b n d_in of a segment's kind to states b n d, without their noise levels' vectors."""
        width, dtype = self.config.port_width(segment.modality), self.compute_dtype
        if tokens.shape[-1] != width:
            raise DataError(
                f"{segment.modality} tokens came with {tokens.shape[-1]} numbers: this model's have {width}."
            )
        net, tokens = self.transformer, tokens.to(dtype)
        if segment.modality == "video":
            return net.proj_in(tokens)
        if segment.modality == "action":
            return net.action_proj_in(tokens, _domain(segment)) + net.action_modality_embed.to(dtype)
        return net.audio_proj_in(tokens) + net.audio_modality_embed.to(dtype)

    def leave(self, segment: Segment, x: Tensor) -> Tensor:
        """States b n d of a segment's kind, after the norm, to velocities b n d_in."""
        if segment.modality == "video":
            return self.transformer.proj_out(x)
        if segment.modality == "action":
            return self.transformer.action_proj_out(x, _domain(segment))
        return self.transformer.audio_proj_out(x)

    def lay_side_by_side(self) -> None:
        """Lay matrices of one input below one another in memory, for speed; see ``attention.Joint``."""
        for layer in self.transformer.layers:
            layer.lay_side_by_side()  # type: ignore[operator]

    def need(self, tower: str) -> None:
        """Raise ``CheckpointError`` if the model was loaded without ``tower``."""
        if tower not in self.towers:
            raise CheckpointError(
                f"this model was loaded without its {tower}: it has {', '.join(sorted(self.towers))}. "
                f"Load it with towers including {tower!r}."
            )


class Extra:
    """What DeepStack adds to picture tokens after the reasoner's first layers."""

    def __init__(self, index: Tensor | None, features: list[Tensor]) -> None:
        self.index, self.features = index, features

    def __call__(self, number: int, x: Tensor) -> Tensor:
        if self.index is None or number >= len(self.features):
            return x
        return x.flatten(0, 1).index_add(0, self.index, self.features[number].to(x.dtype)).view_as(x)

    def without(self, mask: Tensor) -> "Extra":
        """The same where only the tokens of ``mask`` are left, one behind another."""
        return self if self.index is None else Extra((mask.flatten().cumsum(dim=0) - 1)[self.index], self.features)


def initialise(model: TwoTowers) -> None:
    """Weights to start training with: normal 0.02 in towers and eyes, fan-in truncated normal in ports."""
    for name, parameter in model.named_parameters():
        port = tower_of(name) == "generator" and "layers." not in name and "norm" not in name
        if name.endswith(("fc.weight", "bias.weight")) and "action_proj" in name:
            _init_slots(name, parameter, model.config)
        elif "norm" in name:
            nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif port:
            _truncated(parameter, parameter.shape[-1])
        else:
            nn.init.normal_(parameter, std=0.02)
    _truncated(model.visual.first.get_parameter("weight"), model.config.vision.patch_numbers)


def _init_slots(name: str, parameter: nn.Parameter, config: ModelConfig) -> None:
    if name.endswith("bias.weight"):
        nn.init.zeros_(parameter)
    else:
        _truncated(parameter, config.action_dim if "proj_in" in name else config.tower.width)


def _truncated(parameter: Tensor, fan_in: int) -> None:
    std = fan_in**-0.5
    nn.init.trunc_normal_(parameter, std=std, a=-3 * std, b=3 * std)


def _counterpart(name: str) -> str | None:
    """The reasoner's tensor that a generator's tensor of the layers starts from; None if it has none."""
    attention = {
        "add_q_proj": "to_q", "add_k_proj": "to_k", "add_v_proj": "to_v", "to_add_out": "to_out",
        "norm_added_q": "norm_q", "norm_added_k": "norm_k",
    }  # fmt: skip
    for own, source in attention.items():
        if own in name:
            return name.replace(own, source)
    return name.replace("_moe_gen", "") if "_moe_gen" in name else None


def _compute_dtype(weight: Tensor) -> torch.dtype:
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def _domain(segment: Segment) -> Tensor:
    if segment.domain is None:
        raise DataError("an action segment came without its domain: give each sample its embodiment's slot.")
    return segment.domain
