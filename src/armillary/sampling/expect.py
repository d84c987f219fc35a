"""What a model expects to see next, in latents: the mean of all that may come, from one evaluation at pure noise.

    films                                              --latents_of-->  their latents b c t h w
    latents, the first ``given`` frames of them known  --expected-->    latents, the others as the model expects them

The velocity there is noise less that mean, so one step leads to it: blurred where much may happen, and of all guesses
the one whose squared error is least. No film is decoded.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import RequestError
from armillary.model.ports import patchify, unpatchify, video_positions
from armillary.prompts import video_prompt
from armillary.records import Array
from armillary.sampling.guidance import Field, Part
from armillary.sampling.parts import Parts
from armillary.sampling.pictures import to_numbers
from armillary.sampling.solver import make_schedule
from armillary.tokenizers.video import SPACE

_NOISE = make_schedule(1, 1.0).stops[0]  # where a walk begins


@torch.inference_mode()
def latents_of(parts: Parts, films: Sequence[Array]) -> Float[Tensor, "b c t h w"]:
    """Normalised latents of films of one size and length, uint8 t h w 3 each; t is 4k+1, else ``RequestError``."""
    return torch.cat([parts.vae.encode(to_numbers(film).to(parts.device)) for film in films])


@torch.inference_mode()
def expected(
    parts: Parts, latents: Float[Tensor, "b c t h w"], *, given: int, fps: float, words: str = "",
    noises: Sequence[int] = (0,),
) -> Float[Tensor, "b c t h w"]:  # fmt: skip
    """Each film's latents after its first ``given`` ones as the model expects them; the given ones as they are.

    ``words``: what the film is said to be; nothing is said where they are empty, as training drops captions.
    ``noises``: seeds of noise, the same for every film; of several the mean. ``RequestError`` if nothing is given, or
    all.
    """
    b, _, t, h, w = latents.shape
    if not 0 < given < t:
        raise RequestError(f"given={given} of {t} latent frames: at least one must be known, and one be expected.")
    patch = parts.sizes.latent_patch
    tokens = patchify(latents.float(), patch)
    hidden = (torch.arange(tokens.shape[1]) >= tokens.shape[1] // t * given).expand(b, -1).to(tokens.device)
    places = video_positions((t, h, w), fps=fps, patch=patch, tcf=parts.sizes.tcf).to(tokens.device)
    part = Part(modality="video", tokens=tokens, hidden=hidden, positions=places.expand(b, -1, -1))
    frames, size = 1 + parts.sizes.tcf * (t - 1), {"height": h * SPACE, "width": w * SPACE}
    prompt = video_prompt(words, frames=frames, fps=fps, **size) if words else ""
    memory = parts.shelf.batch([parts.text.prompt_ids(prompt)] * b)
    field = Field(parts.model("generator"), memory, [part], fps=torch.full((b,), fps, device=tokens.device))
    found = torch.zeros_like(tokens)
    for seed in noises:
        noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(seed)).to(tokens.device)
        state = field.start([patchify(noise[None], patch).expand_as(tokens)])
        found += field.tokens(state - _NOISE.level * field(state, _NOISE))[0]
    return unpatchify(found / len(noises), (t, h, w), patch)
