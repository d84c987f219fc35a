"""What stands still in a film is shown as the given picture has it.

    the film as it is decoded  -+-->  where it is like a still film of the given picture: the picture itself
    the given picture          -+     elsewhere: as it is decoded

A film's first picture is known exactly, and yet a decoder gives back only what its latents keep; going on from there
loses that again with every stretch. So the picture's own still film is encoded and decoded beside the imagined one:
where the two hardly differ nothing happens, and what the decoder lost there (picture less still film) is added again.
Compositing with the first picture: Finn, Goodfellow and Levine, 2016, arXiv 1605.07157; here nothing is learnt.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from armillary.tokenizers.streaming import decode_film
from armillary.tokenizers.video import SPACE, TIME, VideoVAE, on_canvas

STILL = 1 + 2 * TIME  # frames of the still film: the last four of them show how it goes on
AROUND = 5  # pixels on each side of the square in which a difference is averaged


@torch.inference_mode()
def held_steady(
    vae: VideoVAE, film: Float[Tensor, "b 3 t h w"], given: Float[Tensor, "b 3 1 h w"], unlike: Float[Tensor, " b"], *,
    canvas: bool,
) -> Float[Tensor, "b 3 t h w"]:  # fmt: skip
    """The film with the given picture wherever it stands still; all in [-1, 1], not clamped.

    ``unlike``: at which difference from the still film, a share of full scale, a pixel is given back by exp(-1) of
    what was lost; above 0. ``canvas``: whether the film's latents are those of its canvas (clips with actions).
    """
    late = torch.arange(film.shape[2])
    return held(film, still_film(vae, given, canvas=canvas)[:, :, shown_at(late)], given, unlike)


def held(
    film: Float[Tensor, "b 3 t h w"], still: Float[Tensor, "b 3 t h w"], given: Float[Tensor, "b 3 1 h w"],
    unlike: Float[Tensor, " b"],
) -> Float[Tensor, "b 3 t h w"]:  # fmt: skip
    """The same of frames that have their still ones beside them."""
    still = still.to(film)
    difference = (film - still).abs().mean(dim=1) / 2
    b, t, h, w = difference.shape
    near = functional.avg_pool2d(
        difference.reshape(b * t, 1, h, w), AROUND, stride=1, padding=AROUND // 2, count_include_pad=False
    ).reshape(b, 1, t, h, w)
    share = torch.exp(-((near / unlike.to(film).view(-1, 1, 1, 1, 1)) ** 2))
    return film + share * (given.to(film) - still)


def still_film(vae: VideoVAE, given: Float[Tensor, "b 3 1 h w"], *, canvas: bool) -> Float[Tensor, "b 3 s h w"]:
    """What the tokenizer makes of the ``STILL`` first frames of a film in which nothing happens."""
    rows, columns = (side // SPACE for side in given.shape[-2:])
    film = given.expand(-1, -1, STILL, -1, -1)
    latents = vae.encode(on_canvas(film)[0] if canvas else film)[..., :rows, :columns]
    return decode_film(vae, latents)


def shown_at(frames: Int[Tensor, " t"]) -> Int[Tensor, " t"]:
    """Which of these first frames stands for each of a film's frames, counted from 0: the last four go on and on."""
    return torch.where(frames < STILL, frames, STILL - TIME + (frames - STILL) % TIME)
