"""Edge's eyes: pictures to a few tokens, in the layout of SigLIP2 with a projector behind it.

    picture -> 16x16 patches of one frame -> blocks of attention within the frame -> 2x2 patches merged to a token

Where a patch stands is told by a learned 16x16 grid alone, resized to each picture. Films are seen frame by frame,
and nothing is handed to the reasoner's layers besides the tokens. ``patchify_images(..., temporal_patch=1)`` of
``vision.py`` makes the ``Visual``. Tensor names are those of Transformers' ``Cosmos3EdgeModel`` (cosmos3.md 8.4).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from armillary.model.sizes import VisionConfig
from armillary.model.vision import PatchMerger, Visual, look_within


class SiglipAttention(nn.Module):
    """Full attention within one frame."""

    def __init__(self, vision: VisionConfig) -> None:
        super().__init__()
        self.heads = vision.heads
        self.q_proj = nn.Linear(vision.width, vision.width)
        self.k_proj = nn.Linear(vision.width, vision.width)
        self.v_proj = nn.Linear(vision.width, vision.width)
        self.out_proj = nn.Linear(vision.width, vision.width)

    def forward(self, x: Tensor, lengths: list[int]) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)) for part in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(look_within(q, k, v, lengths))


class SiglipMLP(nn.Module):
    """Two layers with a GELU between."""

    def __init__(self, vision: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(vision.width, vision.mlp_width)
        self.fc2 = nn.Linear(vision.mlp_width, vision.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))


class SiglipBlock(nn.Module):
    """x += attention(norm(x)); x += mlp(norm(x))."""

    def __init__(self, vision: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(vision.width, eps=1e-6)
        self.self_attn = SiglipAttention(vision)
        self.layer_norm2 = nn.LayerNorm(vision.width, eps=1e-6)
        self.mlp = SiglipMLP(vision)

    def forward(self, x: Tensor, lengths: list[int]) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), lengths)
        return x + self.mlp(self.layer_norm2(x))


class SiglipEmbeddings(nn.Module):
    """A patch's numbers and its place in the picture, to one vector."""

    def __init__(self, vision: VisionConfig) -> None:
        super().__init__()
        self.vision = vision
        self.patch_embedding = nn.Linear(vision.patch_numbers, vision.width)
        self.position_embedding = nn.Embedding(vision.grid_side**2, vision.width)

    def places(self, h: int, w: int) -> Float[Tensor, "n d"]:
        """The learned grid at h x w patches, in merge-block order; computed in fp32."""
        m, side = self.vision.merge, self.vision.grid_side
        grid = self.position_embedding.weight.float().view(1, side, side, -1).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, size=(h, w), mode="bilinear", align_corners=False, antialias=True)
        cut = grid[0].reshape(-1, h // m, m, w // m, m)  # d block-row row block-column column
        return cut.permute(1, 3, 2, 4, 0).flatten(0, 3)

    def forward(self, patches: Tensor, frames: list[tuple[int, int]]) -> Tensor:
        known = {size: self.places(*size) for size in dict.fromkeys(frames)}
        places = torch.cat([known[size] for size in frames])
        return self.patch_embedding(patches) + places.to(patches.dtype)


class SiglipVision(nn.Module):
    """Patches to features, one each."""

    def __init__(self, vision: VisionConfig) -> None:
        super().__init__()
        self.embeddings = SiglipEmbeddings(vision)
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(SiglipBlock(vision) for _ in range(vision.depth))})
        self.post_layernorm = nn.LayerNorm(vision.width, eps=1e-6)

    def forward(self, patches: Tensor, frames: list[tuple[int, int]]) -> Tensor:
        x = self.embeddings(patches, frames)
        lengths = [h * w for h, w in frames]
        for block in self.encoder["layers"]:  # type: ignore[attr-defined]
            x = block(x, lengths)
        return self.post_layernorm(x)


class SiglipTower(nn.Module):
    """Pictures to tokens of the reasoner's width; ``model.visual`` and ``model.projector`` are the published names."""

    def __init__(self, vision: VisionConfig, width: int) -> None:
        super().__init__()
        projector = PatchMerger(vision, width, after=False)
        self.model = nn.ModuleDict({"visual": SiglipVision(vision), "projector": projector})

    @property
    def first(self) -> nn.Module:
        """What turns a patch's numbers into the tower's width."""
        return self.model.get_submodule("visual.embeddings.patch_embedding")

    def forward(self, visual: Visual, dtype: torch.dtype) -> tuple[Float[Tensor, "n d"], list[Tensor]]:
        """Tokens n d computed in ``dtype``, and no features besides."""
        frames = [(h, w) for t, h, w in visual.grids for _ in range(t)]
        features = self.model["visual"](visual.patches.to(dtype), frames)
        return self.model["projector"](features), []
