"""What is written can be read back, and a bad file is refused in one sentence with nothing half-written."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from armillary.errors import DataError
from armillary.media import (
    contact_sheet,
    read_image,
    read_sound,
    read_video,
    read_wav,
    write_image,
    write_video,
    write_wav,
    write_whole,
)


def smooth_film(t=9, h=64, w=96):
    """A soft wave that travels to the right: what a codec should keep."""
    x = np.arange(w)[None, None, :] + 3 * np.arange(t)[:, None, None]
    y = np.arange(h)[None, :, None]
    channels = [127 + 90 * np.sin(x / 15 + y * 0 + k) * np.cos(y / 20 + x * 0) for k in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("fps", [10.0, 15.0, 24000 / 1001])
def test_a_film_comes_back_with_its_length_rate_and_looks(tmp_path, fps):
    film = smooth_film()
    back, rate = read_video(write_video(tmp_path / "a.mp4", film, fps))
    assert back.shape == film.shape
    assert rate == pytest.approx(fps, rel=1e-4)
    error = np.mean((back.astype(float) - film) ** 2)
    assert 10 * np.log10(255**2 / error) > 33


def test_red_stays_red(tmp_path):
    film = np.zeros((3, 32, 32, 3), np.uint8)
    film[..., 0] = 220
    back, _ = read_video(write_video(tmp_path / "red.mp4", film, 10.0))
    assert np.abs(back.astype(int) - film).max() < 12


def test_reading_stops_where_told(tmp_path):
    film = smooth_film()
    path = write_video(tmp_path / "a.mp4", film, 10.0)
    assert np.array_equal(read_video(path, max_frames=4)[0], read_video(path)[0][:4])


def test_sound_travels_inside_the_film(tmp_path):
    seconds = np.arange(48_000) / 48_000
    tone = np.stack([0.5 * np.sin(2 * np.pi * 440 * seconds), 0.5 * np.sin(2 * np.pi * 880 * seconds)])
    path = write_video(tmp_path / "a.mp4", smooth_film(10), 10.0, tone.astype(np.float32))
    back, rate = read_sound(path)
    assert rate == 48_000
    assert abs(back.shape[1] - tone.shape[1]) <= 2048  # AAC works in blocks
    for channel, pitch in enumerate((440, 880)):
        spectrum = np.abs(np.fft.rfft(back[channel, 4800:43200]))
        assert np.argmax(spectrum) * rate / 38400 == pytest.approx(pitch, abs=2)


def test_a_picture_comes_back_to_the_bit(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(read_image(write_image(tmp_path / "a.png", picture)), picture)
    assert np.array_equal(read_image(Image.fromarray(picture)), picture)
    assert np.array_equal(read_image(picture / 255.0), picture)


def test_sound_comes_back_within_sixteen_bits(tmp_path):
    sound = np.random.default_rng(0).uniform(-1, 1, (2, 1000)).astype(np.float32)
    back, rate = read_wav(write_wav(tmp_path / "a.wav", sound))
    assert rate == 48_000
    assert np.abs(back - sound).max() <= 1 / 32767


def test_a_sheet_shows_the_first_and_the_last_frame_of_every_film():
    films = [smooth_film(17, 32, 32), smooth_film(5, 32, 32), smooth_film(1, 32, 32)]
    sheet = contact_sheet(films, columns=4, gap=2)
    assert sheet.shape == (3 * 34, 4 * 34, 3)
    for row, film in enumerate(films):
        assert np.array_equal(sheet[row * 34 : row * 34 + 32, :32], film[0])
        assert np.array_equal(sheet[row * 34 : row * 34 + 32, 3 * 34 : 3 * 34 + 32], film[-1])
    assert contact_sheet(films, labels=["a", "b", "c"], columns=4, gap=2).shape[0] == 3 * (34 + 14)


@pytest.mark.parametrize("read", [read_video, read_image, read_wav, read_sound])
def test_what_is_not_media_is_refused_by_name(tmp_path, read):
    garbage = tmp_path / "garbage.bin"
    garbage.write_bytes(b"this is neither film nor picture nor sound" * 20)
    with pytest.raises(DataError, match=r"garbage\.bin"):
        read(garbage)
    with pytest.raises(DataError, match="there is no file"):
        read(tmp_path / "nothing")


def test_a_film_cut_off_in_the_middle_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", smooth_film(), 10.0)
    (tmp_path / "half.mp4").write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"half\.mp4"):
        read_video(tmp_path / "half.mp4")


def test_a_film_without_sound_says_so(tmp_path):
    path = write_video(tmp_path / "a.mp4", smooth_film(), 10.0)
    with pytest.raises(DataError, match="no sound track"):
        read_sound(path)


@pytest.mark.parametrize(
    "frames", [np.zeros((3, 32, 32, 3)), np.zeros((3, 3, 32, 32), np.uint8), np.zeros((3, 33, 32, 3), np.uint8)]
)
def test_frames_of_another_shape_are_refused_before_a_file_appears(tmp_path, frames):
    with pytest.raises(DataError, match=r"uint8 t h w 3|must be even"):
        write_video(tmp_path / "a.mp4", frames, 10.0)
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError("the power goes")

    with pytest.raises(RuntimeError):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["kept.txt"]
