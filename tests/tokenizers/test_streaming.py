"""Laws of streaming: however a film is cut, the numbers are those of one pass over the whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.errors import RequestError
from armillary.tokenizers.streaming import StreamDecoder, StreamEncoder, decode_in_pieces, encode_in_pieces
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig

torch.manual_seed(0)
VAE = VideoVAE(VideoVAEConfig(base_dim=4, decoder_base_dim=4, latents_mean=(0.1,) * 48, latents_std=(0.5,) * 48))
VAE.load_state_dict({name: part + 0.1 * torch.randn_like(part) for name, part in VAE.state_dict().items()})
VAE.eval()


@settings(max_examples=6, deadline=None)
@given(cuts=st.lists(st.integers(1, 2), min_size=0, max_size=3), first=st.integers(0, 1))
def test_a_film_pushed_in_any_pieces_has_the_latents_of_the_whole(cuts, first):
    counts = [1 + 4 * first, *(4 * cut for cut in cuts)]
    video = torch.rand(1, 3, sum(counts), 32, 16) * 2 - 1
    stream = StreamEncoder(VAE)
    pieces = torch.cat([stream.push(piece) for piece in video.split(counts, dim=2)], dim=2)
    torch.testing.assert_close(pieces, VAE.encode(video), atol=1e-4, rtol=1e-4)


@settings(max_examples=6, deadline=None)
@given(counts=st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_latents_pushed_in_any_pieces_give_the_film_of_the_whole(counts):
    latents = torch.randn(1, 48, sum(counts), 2, 1)
    stream = StreamDecoder(VAE)
    pieces = [stream.push(piece) for piece in latents.split(counts, dim=2)]
    assert pieces[0].shape[2] == 4 * counts[0] - 3
    torch.testing.assert_close(torch.cat(pieces, dim=2), VAE.decode(latents), atol=1e-4, rtol=1e-4)


def test_two_streams_over_one_tokenizer_do_not_meet():
    first, second = torch.randn(1, 48, 4, 2, 2), torch.randn(1, 48, 4, 2, 2)
    one, two = StreamDecoder(VAE), StreamDecoder(VAE)
    made = [(one.push(first[:, :, i : i + 2]), two.push(second[:, :, i : i + 2])) for i in (0, 2)]
    torch.testing.assert_close(torch.cat([a for a, _ in made], dim=2), VAE.decode(first), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.cat([b for _, b in made], dim=2), VAE.decode(second), atol=1e-4, rtol=1e-4)


def test_the_short_ways_cut_the_film_themselves():
    video = torch.rand(1, 3, 13, 16, 16) * 2 - 1
    latents = encode_in_pieces(VAE, video, frames=8)
    torch.testing.assert_close(latents, VAE.encode(video), atol=1e-4, rtol=1e-4)
    film = torch.cat(list(decode_in_pieces(VAE, latents, frames=3)), dim=2)
    torch.testing.assert_close(film, VAE.decode(latents), atol=1e-4, rtol=1e-4)


def test_pieces_that_make_no_latents_are_refused():
    stream = StreamEncoder(VAE)
    with pytest.raises(RequestError, match=r"cannot be pushed first: give 1 \+ 4k"):
        stream.push(torch.zeros(1, 3, 4, 16, 16))
    stream.push(torch.zeros(1, 3, 1, 16, 16))
    with pytest.raises(RequestError, match="cannot be pushed next: give 4k"):
        stream.push(torch.zeros(1, 3, 5, 16, 16))
    with pytest.raises(RequestError, match="give a multiple of it"):
        encode_in_pieces(VAE, torch.zeros(1, 3, 5, 16, 16), frames=6)
