"""A folder of latents is of one tokenizer, whoever goes on with it; decoders may be taught anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import SMALL_SOUND, SMALL_VAE, moving_square, small_checkpoint

from armillary.datasets.raw import save_raw
from armillary.errors import ConfigError, DataError
from armillary.runs import RUNS
from armillary.tokenizers.sound import SoundVAE
from armillary.tokenizers.video import VideoVAE
from armillary.training.episodes import CacheRun, encode
from armillary.training.generator import GeneratorRun, train_generator
from armillary.training.heard import make_sounds
from armillary.training.latents import load_cache
from armillary.training.loop import Stage
from armillary.training.made_from import RECORD, agree, begin
from armillary.training.vae import VAERun, train_vae

HEARING = replace(SMALL_SOUND, encoder_enabled=True, enc_dim=2, enc_num_blocks=1)


def quiet(line):
    """Says nothing."""


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    """Folders of four video tokenizers: one, ``other``, and one with another decoder or other statistics."""
    folder = tmp_path_factory.mktemp("codecs")
    torch.manual_seed(0)
    one, other = VideoVAE(SMALL_VAE), VideoVAE(SMALL_VAE)
    one.save(folder / "one")
    other.save(folder / "other")
    one.config = replace(SMALL_VAE, latents_std=(2.0,) * 48)
    one.save(folder / "scaled")
    one.config = SMALL_VAE
    one.decoder, one.post_quant_conv = other.decoder, other.post_quant_conv
    one.save(folder / "decoder", dtype=torch.bfloat16)
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for number in range(2):
        made = moving_square(number, frames=20, side=128)
        frames = {"top": made.frames["top"], "front": made.frames["top"][:, ::-1]}
        save_raw(folder / f"episode_{number:06d}.npz", replace(made, frames=frames))
    return folder


@pytest.fixture
def cache(raw, codecs, tmp_path):
    """A cache that one tokenizer made whole."""
    run = CacheRun(data=raw, vae=codecs / "one", out=tmp_path / "cache", embodiment="pusht", camera="top", most=2)
    encode(run, quiet)
    return run


def half(run):
    """Take the second file of a cache away."""
    (run.out / "episode_000001.safetensors").unlink()


@pytest.mark.parametrize(("codec", "same"), [("one", True), ("decoder", True), ("other", False), ("scaled", False)])
def test_a_tokenizer_is_what_its_latents_depend_on(codecs, codec, same):
    film = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    one, other = (VideoVAE.load(codecs / name, dtype=torch.bfloat16) for name in ("one", codec))
    assert torch.equal(one.encode(film), other.encode(film)) == same == (one.latents_sha256 == other.latents_sha256)
    assert VideoVAE.load(codecs / codec).latents_sha256 == other.latents_sha256  # as it is kept, and as it computes
    wider = VideoVAE(replace(SMALL_VAE, decoder_base_dim=8))
    wider.encoder, wider.quant_conv = one.encoder, one.quant_conv
    assert wider.latents_sha256 == one.latents_sha256


def test_a_sound_tokenizer_is_its_way_in():
    one, other = SoundVAE(HEARING), SoundVAE(HEARING)
    assert one.latents_sha256 != other.latents_sha256
    one.encoder = other.encoder
    assert one.latents_sha256 == other.to(torch.bfloat16).latents_sha256


@pytest.mark.parametrize("codec", ["other", "scaled"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_cache_is_not_continued_with_another_tokenizer(cache, codecs, codec, whole):
    if not whole:
        half(cache)
    before = {path.name: path.read_bytes() for path in cache.out.iterdir()}
    with pytest.raises(ConfigError, match=r"was begun with tokenizer '\w{12}', now it is '\w{12}': .* another folder"):
        encode(replace(cache, vae=codecs / codec), quiet)
    assert before == {path.name: path.read_bytes() for path in cache.out.iterdir()}


def test_a_cache_goes_on_with_another_decoder_and_with_what_may_differ(cache, codecs):
    half(cache)
    others = replace(cache, vae=codecs / "decoder", most=1, camera="front")
    assert encode(others, quiet) == 2 and len(load_cache(cache.out)) == 3


def test_those_who_share_a_cache_agree(cache, codecs, tmp_path):
    for number in (0, 1):
        encode(replace(cache, out=tmp_path / "shared", share=(number, 2)), quiet)
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {path.name for path in cache.out.iterdir()}
    with pytest.raises(ConfigError, match="begun with tokenizer"):
        encode(replace(cache, out=tmp_path / "shared", vae=codecs / "other", share=(1, 2)), quiet)


def test_films_and_single_frames_do_not_lie_in_one_folder(cache):
    with pytest.raises(ConfigError, match="begun with windows 'films', now it is 'stills'"):
        encode(replace(cache, stills=True), quiet)


def test_a_cache_of_an_earlier_version_is_read_and_may_be_whole_but_does_not_grow(cache, codecs):
    (cache.out / RECORD).unlink()
    assert encode(cache, quiet) == 2 and not (cache.out / RECORD).exists()
    assert len(load_cache(cache.out)) == 4
    half(cache)
    with pytest.raises(ConfigError, match=r"do not say what they were made from.* take another folder"):
        encode(cache, quiet)
    assert len(list(cache.out.iterdir())) == 1


def test_who_comes_second_to_an_empty_folder_heeds_the_first(tmp_path, monkeypatch):
    made, path = {"tokenizer": "a" * 64}, type(tmp_path)
    looked = path.glob

    def meanwhile(folder, pattern):
        """Looks when the other process has just written its record and its first file."""
        monkeypatch.setattr(path, "glob", looked)
        begin(tmp_path, made)
        (tmp_path / "episode_000000.safetensors").touch()
        return looked(folder, pattern)

    monkeypatch.setattr(path, "glob", meanwhile)
    begin(tmp_path, made)
    with pytest.raises(ConfigError, match="begun with tokenizer 'aaaaaaaaaaaa', now it is 'bbbbbbbbbbbb'"):
        agree(tmp_path, {"tokenizer": "b" * 64})


def test_caches_of_two_tokenizers_are_not_joined(cache, codecs, tmp_path):
    for codec in ("other", "decoder", "one"):
        encode(replace(cache, vae=codecs / codec, out=tmp_path / codec), quiet)
    assert len(load_cache(cache.out, tmp_path / "decoder", tmp_path / "one")) == 12
    with pytest.raises(DataError, match=r"other is of the tokenizer \w{12}, \S+cache of \w{12}: .* anew"):
        load_cache(cache.out, tmp_path / "decoder", tmp_path / "other")
    both = (codecs / "decoder", codecs / "other")  # whose latents are the same, somebody says
    assert len(load_cache(cache.out, tmp_path / "other", tokenizers=both)) == 8
    with pytest.raises(DataError, match="cache is of the tokenizer"):
        load_cache(cache.out, tokenizers=both[1:])
    (tmp_path / "other" / RECORD).unlink()
    assert len(load_cache(cache.out, tmp_path / "other")) == 8


def test_a_generator_learns_from_caches_of_its_tokenizer_alone(cache, codecs, tmp_path):
    stage = Stage(name="films", steps=1, batch=2, rate=1e-3, bf16=False)
    run = GeneratorRun(
        origin=small_checkpoint(tmp_path / "start"), cache=cache.out, vae=codecs / "decoder", out=tmp_path / "out",
        stage=stage, same_latents=(tmp_path / "nobody asks",),
    )  # fmt: skip
    assert train_generator(run, quiet)
    wrong = replace(run, vae=codecs / "other", same_latents=(), out=tmp_path / "wrong")
    with pytest.raises(DataError, match=r"cache is of the tokenizer \w{12}, \S+other of \w{12}"):
        train_generator(wrong, quiet)
    encode(replace(cache, stills=True, vae=codecs / "other", out=tmp_path / "stills"), quiet)
    SoundVAE(HEARING).save(tmp_path / "hearing")
    hears = {"sounds": tmp_path / "stills", "sound_tokenizer": tmp_path / "hearing"}
    for told in ({"stills": tmp_path / "stills"}, {"laid": tmp_path / "stills"}, hears):
        with pytest.raises(DataError, match="stills is of the tokenizer"):
            train_generator(replace(run, same_latents=(), out=wrong.out, **told), quiet)
    assert not wrong.out.exists()
    assert train_generator(replace(wrong, same_latents=(codecs / "one",)), quiet)


def test_the_worlds_tokenizer_has_kept_the_latents_of_the_tabletop():
    learnt, kept = RUNS["pico-after-steps"](), RUNS["pico-worlds-vae"]()
    assert learnt.same_latents == (kept.origin,) and kept.kept is not None and not kept.decoder_only


def test_sounds_are_of_one_tokenizer_too(tmp_path, monkeypatch):
    still = np.zeros((2, 48_000 * 3), np.float32)
    (tmp_path / "raw").mkdir()
    for number in range(2):
        save_raw(tmp_path / f"raw/episode_{number:06d}.npz", moving_square(number, frames=20))
    one, other = SoundVAE(HEARING).eval(), SoundVAE(HEARING).eval()
    monkeypatch.setattr("armillary.training.heard._sound", lambda episode, kept: still)
    for _ in range(2):
        assert len(list(make_sounds(tmp_path / "raw", one, tmp_path / "heard"))) == 2
    with pytest.raises(ConfigError, match="heard was begun with tokenizer"):
        list(make_sounds(tmp_path / "raw", other, tmp_path / "heard"))


def test_a_decoder_learns_what_is_foreseen_of_its_own_latents_alone(codecs, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "frames_00.npy", rng.integers(0, 255, (6, 5, 32, 32, 3), np.uint8))
    np.save(tmp_path / "latents_00.npy", rng.normal(size=(6, 48, 2, 2, 2)).astype(np.float16))
    (tmp_path / RECORD).write_text(f'{{"tokenizer": "{VideoVAE.load(codecs / "one").latents_sha256}"}}')
    run = VAERun(
        data=tmp_path, foreseen=tmp_path, out=tmp_path / "run", model=SMALL_VAE, origin=codecs / "other",
        decoder_only=True, steps=1, crop=32,
    )  # fmt: skip
    with pytest.raises(DataError, match="is of the tokenizer"):
        train_vae(run)
    train_vae(replace(run, origin=codecs / "decoder"))
