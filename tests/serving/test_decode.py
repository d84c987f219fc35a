"""A film that somebody sends holds the limits of one that is made, and is opened no further than it may be long."""

import numpy as np
import pytest
from tiny import small_checkpoint

import armillary
from armillary.embodiments import load_embodiment, save_embodiments
from armillary.media import write_video
from armillary.modes import MODES
from armillary.serving import decode
from armillary.serving.bell import WorkerBell
from armillary.serving.decode import TooLargeError, most_made, open_film
from armillary.serving.files import Files
from armillary.serving.held import tells_length
from armillary.serving.jobs import Jobs, NewJob
from armillary.serving.settings import Limits
from armillary.serving.worker import Worker, picked

FRAMES = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", FRAMES, 10.0).read_bytes()


@pytest.fixture(scope="module")
def omni(tmp_path_factory):
    folder = small_checkpoint(tmp_path_factory.mktemp("decode") / "small")
    save_embodiments(folder, [load_embodiment("tabletop")])
    return armillary.load(folder, dtype="float32")


@pytest.fixture
def became(omni, tmp_path, film):
    """What became of a request that brings the film: the code and the words with which it was refused."""

    def became(limits, name="video", **asked):
        jobs, files = Jobs(f"sqlite:///{tmp_path / 'jobs.sqlite'}"), Files(str(tmp_path / "files"))
        asks = [{"size": [32, 32], **asked, name: {"input": "0.bin", "kind": "video", "field": "clip"}}]
        new = NewJob(owner="ann", kind="video", mode=asked["mode"], request={"asks": asks}, cost=1.0, batch_key="")
        files.write(f"{new.id}/in/0.bin", film)
        jobs.create(new)
        bell = WorkerBell(connected=False)
        assert Worker(omni=omni, jobs=jobs, files=files, bell=bell, limits=limits, name="one").once()
        job = jobs.of_id(new.id)
        assert job.status == "failed"
        return job.error_code, job.error_message

    return became


ACTED = {"mode": "inverse-dynamics", "embodiment": "tabletop", "steps": 1}
TOO_LONG = [
    (Limits(out_frames=37), ACTED, "clip has more than 37 frames at 10 a second"),
    (Limits(out_pixels=37 * 32 * 32), ACTED, "clip has more than 37 frames at 10 a second"),
    (Limits(out_frames=37), {"mode": "forward-dynamics", "embodiment": "tabletop"}, "clip has more than 37 frames"),
    (Limits(sound_seconds=2), {"mode": "video-to-sound", "fps": 5.0}, "clip has more than 10 frames at 5 a second"),
    (Limits(out_frames=37), {"mode": "transfer", "name": "control depth", "fps": 10.0}, "say with num_frames how many"),
    (Limits(film_frames=900), {"mode": "video-to-video", "prompt": "x", "fps": 1000.0}, "at 1000 frames a second, has"),
    (Limits(film_frames=39), {"mode": "reason", "prompt": "x"}, "clip has more than 39 frames"),
]


@pytest.mark.parametrize(("limits", "asked", "words"), TOO_LONG)
def test_what_comes_may_be_no_longer_than_what_is_made(became, limits, asked, words):
    code, told = became(limits, **asked)
    assert code == "too_large" and words in told, told


def test_a_film_is_opened_no_further_than_it_may_be_long(film, monkeypatch):
    seen = []
    measure = decode._measure
    monkeypatch.setattr(
        decode, "_measure", lambda pixels, frames, *more: seen.append(frames) or measure(pixels, frames, *more)
    )
    with pytest.raises(TooLargeError, match="more than 5 frames at 10 a second"):
        open_film(film, "clip", Limits(), fps=10.0, most=5)
    assert seen == [1, 1, 2, 3, 4, 5]
    found, rate = open_film(film, "clip", Limits(), fps=5.0, most=20)
    assert (len(found), rate) == (20, 5.0), "it is as long as it is shown"


def test_what_tells_how_much_is_made_is_held_to_it():
    assert most_made(MODES["inverse-dynamics"], (32, 64), 10.0, Limits(out_pixels=20_480)) == 10
    edges = {"mode": "transfer", "controls": {"edge": "auto"}}
    told = [tells_length(edges, "video"), tells_length({**edges, "frames": 5}, "video"),
            tells_length({"mode": "transfer", "given_frames": 5}, "video"),
            tells_length({"mode": "video-to-video"}, "video")]  # fmt: skip
    assert told == [True, False, False, False], "of the others a part is looked at, which is asked for"


def test_no_frame_is_shown_twice_to_reach_a_number(film):
    found, rate = picked(*open_film(film, "clip", Limits()), 512)
    assert (len(found), rate) == (40, 10.0)
