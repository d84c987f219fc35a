"""A sound may be sent: films and plans go with it however it comes, and what is no sound, or too much, is refused."""

import base64
import io
import json
import struct
import wave
from dataclasses import replace

import av
import httpx
import numpy as np
import pytest
from benchmarks.serving_process import running, told
from fastapi.testclient import TestClient
from PIL import Image
from tiny import small_checkpoint

from armillary.errors import RequestError
from armillary.media import read_wav, write_video
from armillary.sampling.abilities import hears_sound
from armillary.serving.app import make_app
from armillary.serving.decode import TooLargeError, open_sound
from armillary.serving.desk import Desk, Wanted, batch_key
from armillary.serving.forms import VideoBody, asked_of, from_form, parsed
from armillary.serving.heard import sound_file, wav_bytes
from armillary.serving.inbound import Input, as_input, sniff
from armillary.serving.problems import Problem
from armillary.serving.settings import Limits, ServeSettings

FILM = {"prompt": "an arm pushes the red cube", "size": "64x64", "num_inference_steps": 1, "seed": 3}
PLAN = {**FILM, "mode": "policy", "embodiment": "tabletop", "outputs": ["actions"]}


def knock(at, seconds=0.95):
    """A short noise ``at`` so many seconds of a silence."""
    sound = np.zeros((2, round(seconds * 48_000)), np.float32)
    begin = round(at * 48_000)
    sound[:, begin : begin + 2400] = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 2400))
    return sound


def png():
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def url(data, kind="audio/wav"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


WAV, OTHER, PICTURE = wav_bytes(knock(0.2)), wav_bytes(knock(0.7)), png()
SHOWN = {"image": url(PICTURE, "image/png")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint that has learnt to heed a sound."""
    checkpoint = small_checkpoint(tmp_path_factory.mktemp("hearing") / "hearing", sound=True)
    learnt = {"size": [64, 64], "fps": 10.0, "learnt": ["sound-to-video", "policy-by-sound"]}
    (checkpoint / "defaults.json").write_text(json.dumps(learnt))
    return checkpoint


@pytest.fixture(scope="module")
def heeding(folder, tmp_path_factory):
    """A server of that checkpoint, by which no sound of more than three seconds is heard."""
    flags = ("--sound-seconds", "3", "--out-frames", "25")
    with running(folder, tmp_path_factory.mktemp("serve") / "run", *flags) as server:
        with httpx.Client(base_url=server.url, timeout=120) as one:
            yield one


@pytest.fixture
def desk_with(folder, tmp_path):
    def begin(**limits):
        settings = ServeSettings(checkpoint=str(folder), folder=tmp_path / "serve")
        return Desk(replace(settings, limits=Limits(**limits)))

    return begin


def settled(desk, mode="sound-to-video", **fields):
    """The request as the desk settles it from a body that comes with a picture and a sound."""
    _, asked, called = asked_of(parsed(VideoBody, {"prompt": "x", "size": "64x64", **fields}))
    inputs = {"image": Input(kind="image", data=b"", field="image"),
              "sound": Input(kind="sound", data=b"", field="audio_reference")}  # fmt: skip
    return desk.check(Wanted(mode=mode, asked=asked, inputs=inputs, called=called))


def made(client, job, variant="video"):
    return client.get(f"/v1/videos/{job}/content?variant={variant}").content


def asked(client, job):
    return json.loads(made(client, job, "provenance"))["request"]


def test_a_film_by_a_sound_is_the_same_however_the_sound_is_sent(heeding):
    kept = heeding.post("/v1/files", files={"file": ("a.wav", WAV)}).json()["id"]
    form = heeding.post("/v1/videos/sync", data=FILM, files={"image": ("a.png", PICTURE), "sound": ("a.wav", WAV)})
    ways = [form] + [
        heeding.post("/v1/videos/sync", json={**FILM, **SHOWN, **one})
        for one in ({"sound": url(WAV)}, {"audio_reference": {"audio_url": url(WAV)}}, {"sound": {"file_id": kept}})
    ]
    assert [one.status_code for one in ways] == [200] * 4, [one.text for one in ways if one.status_code != 200]
    jobs = [one.headers["x-armillary-job"] for one in ways]
    assert {asked(heeding, job)["mode"] for job in jobs} == {"sound-to-video"}
    assert len({one.content for one in ways}) == 1 == len({made(heeding, job, "sound") for job in jobs})
    heard, rate = read_wav(io.BytesIO(made(heeding, jobs[0], "sound")))
    assert rate == 48_000 and np.abs(heard - knock(0.2)[:, : heard.shape[1]]).max() < 1e-3
    with av.open(io.BytesIO(form.content)) as film:
        assert film.streams.video[0].frames == 9 and film.streams.audio


def test_another_sound_is_another_request_and_another_film(heeding):
    ways = [heeding.post("/v1/videos/sync", json={**FILM, **SHOWN, "sound": url(one)}) for one in (WAV, OTHER)]
    one, other = (asked(heeding, way.headers["x-armillary-job"]) for way in ways)
    assert one["sound"]["sha256"] != other["sound"]["sha256"] and one["sound"]["shape"] == other["sound"]["shape"]
    assert ways[0].content != ways[1].content
    named = {"Idempotency-Key": "one-sound"}
    first, again, odd = (heeding.post("/v1/videos", json={**FILM, **SHOWN, "sound": url(data)}, headers=named)
                         for data in (WAV, WAV, OTHER))  # fmt: skip
    assert first.json()["id"] == again.json()["id"]
    assert (odd.status_code, told(odd)["code"]) == (409, "idempotency_conflict")


def test_the_sound_track_of_a_film_is_a_sound(heeding, tmp_path):
    film = write_video(tmp_path / "film.mp4", np.zeros((10, 64, 64, 3), np.uint8), 10.0, knock(0.2, 1.0)).read_bytes()
    answer = heeding.post("/v1/videos/sync", data=FILM, files={"image": PICTURE, "audio_reference": ("f.mp4", film)})
    heard, _ = read_wav(io.BytesIO(made(heeding, answer.headers["x-armillary-job"], "sound")))
    assert answer.status_code == 200 and abs(np.argmax(np.abs(heard[0]) > 0.1) - 9600) < 480


def test_a_policy_heeds_a_sound(heeding):
    found = []
    for more in ({}, {"sound": url(WAV)}, {"audio_reference": url(WAV)}, {"sound": url(OTHER)}):
        answer = heeding.post("/v1/videos/sync", json={**PLAN, **SHOWN, **more})
        assert answer.status_code == 200, answer.text
        found.append(np.array(heeding.get(f"/v1/videos/{answer.headers['x-armillary-job']}").json()["action"]["data"]))
    plain, one, same, other = found
    assert plain.shape == one.shape == (16, 10) and np.array_equal(one, same)
    assert np.abs(one - plain).max() > 1e-6 < np.abs(one - other).max()


@pytest.mark.parametrize("more", [{"sound": "true"}, {"sound": "True"}, {"generate_sound": "true"}])
def test_a_film_that_is_to_be_heard_is_asked_for_as_before(heeding, more):
    answer = heeding.post("/v1/videos/sync", data={**FILM, "num_frames": 5, **more}, files={"image": PICTURE})
    request = asked(heeding, answer.headers["x-armillary-job"])
    assert (request["mode"], request["sound"]) == ("image-to-video", True)


def test_a_form_says_whether_there_is_sound_or_names_it():
    for word, meant in (("true", True), ("false", False), ("TRUE", True), ("job_a", "job_a")):
        assert parsed(VideoBody, from_form({"sound": word})).sound == meant
    assert parsed(VideoBody, from_form({"sound": '{"file_id": "job_a"}'})).sound == {"file_id": "job_a"}
    body = parsed(VideoBody, {"sound": True})
    assert asked_of(body)[1] == {"sound": True} and asked_of(parsed(VideoBody, {"sound": "job_a"}))[1] == {}


HOLLOW = WAV[:12]
MUTE = struct.pack("<4sI4s4sIHHIIHHH", b"RIFF", 50, b"WAVE", b"fmt ", 18, 0x1234, 2, 48_000, 192_000, 4, 16, 0)
REFUSED = {
    "a picture": ({**SHOWN, "sound": url(PICTURE)}, "sound", "is no file that is taken"),
    "garbage": ({**SHOWN, "audio_reference": url(b"garbage " * 9)}, "audio_reference", "67 61 72 62"),
    "a picture of the web's": ({**SHOWN, "sound": url(b"RIFF\0\0\0\0WEBPVP8 ")}, "sound", "is no file that is taken"),
    "nothing": ({**SHOWN, "sound": url(b"")}, "sound", "begins with nothing"),
    "a path": ({**SHOWN, "sound": "/etc/passwd"}, "sound", ""),
    "no URL": ({**SHOWN, "sound": {"path": "/etc/passwd"}}, "sound", "audio_url"),
    "a list": ({**SHOWN, "sound": [0.0, 0.1]}, "sound", "sound="),
    "a film of words": ({"sound": url(WAV)}, "sound", "no use in text-to-video"),
    "that mode by name": ({**SHOWN, "mode": "i2v", "sound": url(WAV)}, "sound", "no use in image-to-video"),
    "of a reference": ({"audio_reference": url(WAV)}, "audio_reference", "no use in text-to-video"),
    "dynamics": ({**SHOWN, "mode": "fd", "sound": url(WAV)}, "sound", "no use in forward-dynamics"),
    "no picture": ({"mode": "sound-to-video", "sound": url(WAV)}, "image", "lacks image"),
    "no sound": ({**SHOWN, "mode": "sound-to-video"}, "sound", "lacks sound"),
    "only said": ({**SHOWN, "mode": "s2v", "generate_sound": True}, "generate_sound", "says nothing here"),
    "inside": ({**SHOWN, "extra_params": {"sound": url(WAV)}}, "extra_params.sound", "give it beside"),
    "inside, too": ({"extra_params": {"audio_reference": "x"}}, "extra_params.audio_reference", "give it beside"),
    "two": ({**SHOWN, "sound": url(WAV), "audio_reference": url(WAV)}, "audio_reference", "send one"),
    "made and given": ({**SHOWN, "sound": url(WAV), "generate_sound": True}, "generate_sound", "send one of the two"),
    "said and given": ({**SHOWN, "sound": False, "audio_reference": url(WAV)}, "sound", "send one of the two"),
    "a slow film": ({**SHOWN, "sound": url(WAV), "fps": 1e-9}, "frames", "at most 3 s"),
    "a film back": ({**SHOWN, "sound": url(WAV), "fps": -4}, "fps", "fps=-4"),
    "too long a film": ({**SHOWN, "sound": url(WAV), "num_frames": 29}, "num_frames", "at most 25"),
    "no film's length": ({**SHOWN, "sound": url(WAV), "num_frames": 6}, "num_frames", "4k+1"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_sound_that_cannot_be_is_refused_at_the_door_with_its_field(heeding, name):
    more, field, words = REFUSED[name]
    answer = heeding.post("/v1/videos", json={**FILM, **more})
    wrong = told(answer)
    assert (answer.status_code, wrong["param"]) == (400, field), wrong
    assert words in wrong["message"] and "\n" not in wrong["message"] and len(wrong["message"]) < 300
    assert "root:" not in answer.text


@pytest.mark.parametrize("text", ["true", "false", url(WAV)], ids=["true", "false", "named"])
def test_a_sound_that_comes_as_a_file_and_as_text_is_refused(heeding, text):
    answer = heeding.post("/v1/videos", data={**FILM, "sound": text}, files={"image": PICTURE, "sound": WAV})
    assert (answer.status_code, told(answer)["param"], told(answer)["code"]) == (400, "sound", "conflict")


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [(HOLLOW, "invalid_request", "cannot be read as a sound"), (MUTE, "invalid_request", "cannot be read as a sound"),
     (b"ID3" + b"\xff" * 900, "invalid_request", "sound"), (b"fLaC" + b"\0" * 99, "invalid_request", "cannot be read"),
     (wav_bytes(knock(0.1, 0.3)), "invalid_request", "no 5 frames at 10 a second"),
     (wav_bytes(knock(0.1, 3.1)), "too_large", "lasts longer than 3 s"),
     (wav_bytes(knock(0.1, 2.95)), "too_large", "at most 25 of this size")],
    ids=["a head", "an unknown codec", "no MP3", "no FLAC", "too short", "too long", "more than is made"],
)  # fmt: skip
def test_a_sound_that_cannot_be_opened_is_refused_in_one_sentence_by_whoever_opens_it(heeding, data, code, words):
    answer = heeding.post("/v1/videos/sync", json={**FILM, **SHOWN, "sound": url(data)})
    wrong = told(answer)
    assert (answer.status_code, wrong["code"]) == (400, code), wrong
    assert wrong["message"].startswith("sound ") and words in wrong["message"] and "Errno" not in wrong["message"]


def test_of_a_long_sound_a_film_is_made_that_is_as_long_as_asked(heeding):
    long = wav_bytes(knock(0.1, 2.95))
    answer = heeding.post("/v1/videos/sync", json={**FILM, **SHOWN, "sound": url(long), "num_frames": 5})
    heard, _ = read_wav(io.BytesIO(made(heeding, answer.headers["x-armillary-job"], "sound")))
    assert answer.status_code == 200 and heard.shape == (2, 24_000)


def test_a_sound_that_breaks_off_is_heard_as_far_as_it_goes():
    assert open_sound(WAV[: 44 + 4 * 4800], "sound", Limits()).shape == (2, 4800)


@pytest.mark.parametrize("form", ["flac", "mp3", "opus"])
def test_a_long_silence_in_a_small_file_is_opened_no_further_than_it_may_be_long(form, monkeypatch):
    bomb = sound_file(wav_bytes(np.zeros((2, 60 * 48_000), np.float32)), form, 60.0)
    assert sniff(bomb) == "sound" and len(bomb) < 60 * 48_000 * 4 / 8, "much smaller than what it holds"
    opened, resampled = [], av.AudioResampler

    class Counting:
        def __init__(self, **how):
            self._inner = resampled(**how)

        def resample(self, frame):
            opened.append(0 if frame is None else frame.samples)
            return self._inner.resample(frame)

    monkeypatch.setattr("armillary.media.av.AudioResampler", Counting)
    with pytest.raises(TooLargeError, match=r"clip lasts longer than 0\.5 s"):
        open_sound(bomb, "clip", Limits(sound_seconds=0.5))
    assert sum(opened) <= 48_000, "half a second, and what came in one piece with its end"


@pytest.mark.parametrize("rate", [1, 999, 400_001, 2**31 - 1])
def test_few_samples_that_would_be_hours_or_much_work_are_not_opened(rate):
    data = bytearray(WAV)
    data[24:28] = struct.pack("<I", rate)
    with pytest.raises(RequestError, match=f"clip says {rate} samples a second"):
        open_sound(bytes(data), "clip", Limits())


@pytest.mark.parametrize("form", ["wav", "flac", "mp3", "opus"])
def test_what_is_broken_anywhere_is_heard_or_refused_in_one_sentence(form):
    whole, rng = sound_file(WAV, form, 0.9), np.random.default_rng(5)
    for number in range(60):
        data = np.frombuffer(whole, np.uint8).copy()
        span = len(data) if number % 2 else 100
        data[rng.integers(4, span, 3)] = rng.integers(0, 256, 3)
        broken = data[: rng.integers(12, len(data))] if number % 5 == 0 else data
        try:
            heard = open_sound(broken.tobytes(), "clip", Limits(sound_seconds=5))
        except RequestError as wrong:
            said = str(wrong)
        else:
            said = "clip is heard"
            assert len(heard) == 2 and heard.shape[1] <= 5 * 48_000
        assert said.startswith("clip ") and "\n" not in said


def test_a_sound_is_known_by_its_first_bytes_and_is_no_picture():
    forms = {form: sound_file(WAV, form, 0.9) for form in ("wav", "flac", "mp3", "opus")}
    assert {form: sniff(data) for form, data in forms.items()} == dict.fromkeys(forms, "sound")
    for data in forms.values():
        assert as_input(data, "sound", "sound").kind == "sound"
        for kind in (None, "image", "video"):
            with pytest.raises(Problem, match="is no file that is taken"):
                as_input(data, "input_reference", kind)


def test_a_sound_of_eight_bits_in_one_ear_is_heard_in_both():
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes(np.round(128 + 60 * np.sin(np.arange(4000) / 8)).astype(np.uint8)))
    heard = open_sound(buffer.getvalue(), "sound", Limits())
    assert abs(heard.shape[1] - 24_000) <= 2 and np.array_equal(heard[0], heard[1]) and heard.max() > 0.3


@pytest.mark.parametrize("fps", [7.0, 10.0, 23.976, 30.0])
def test_how_long_a_film_is_may_be_said_before_its_sound_is_opened(desk_with, fps):
    desk = desk_with()
    assert settled(desk, num_frames=25, fps=fps).frames == 25
    assert settled(desk, fps=fps).frames == 17
    with pytest.raises(Problem, match=r"frames=24 cannot be cut into latents.*25 would do"):
        settled(desk, num_frames=24, fps=fps)


def test_no_more_sound_is_made_room_for_than_may_be_given(desk_with):
    for mode, more in (("sound-to-video", {}), ("policy", {"embodiment": "tabletop"})):
        with pytest.raises(Problem, match="at most 2 s") as wrong:
            settled(desk_with(sound_seconds=2), mode, fps=5.0, **more)
        assert (wrong.value.status, wrong.value.code) == (400, "too_large")


def test_who_cannot_hear_says_so_of_the_field_that_came(tmp_path):
    deaf = small_checkpoint(tmp_path / "deaf")
    (deaf / "defaults.json").write_text(json.dumps({"size": [64, 64], "fps": 10.0, "learnt": ["sound-to-video"]}))
    assert not hears_sound(deaf)
    settings = ServeSettings(checkpoint=str(deaf), folder=tmp_path / "run", role="api")
    with TestClient(make_app(settings), base_url="http://127.0.0.1") as door:
        ways = [(door.post("/v1/videos", json={**PLAN, **SHOWN, field: url(WAV)}), field)
                for field in ("sound", "audio_reference")]  # fmt: skip
        film = door.post("/v1/videos", json={**FILM, **SHOWN, "sound": url(WAV)})
    assert (film.status_code, told(film)["code"]) == (400, "unsupported_mode")
    assert "cannot do 'sound-to-video'" in told(film)["message"]  # though it says that it has learnt it
    for answer, field in ways:
        wrong = told(answer)
        assert (answer.status_code, wrong["code"], wrong["param"]) == (400, "unsupported_mode", field), wrong
        assert "hears sound" in wrong["message"]


def test_who_has_not_learnt_it_says_what_there_is(client):
    answer = client.post("/v1/videos", json={**FILM, **SHOWN, "sound": url(WAV)})
    assert (answer.status_code, told(answer)["code"]) == (400, "unsupported_mode")
    assert "cannot do 'sound-to-video': it can do" in told(answer)["message"]


@pytest.mark.parametrize("fps", [-1e-9, -0.001, 1e-300])
def test_no_rate_makes_the_desk_s_own_stand_in_large(desk_with, fps):
    with pytest.raises(Problem) as wrong:
        settled(desk_with(), fps=fps)
    assert (wrong.value.status, wrong.value.param) == (400, "fps") or wrong.value.code == "too_large"


def test_films_by_a_sound_are_made_alone_since_nobody_knows_yet_how_long_they_last(desk_with):
    desk = desk_with()
    films, plans = ([settled(desk, **how) for _ in range(2)] for how in ({}, {"mode": "policy", "embodiment": "pusht"}))
    assert len({batch_key("imagine", [one]) for one in films}) == 2
    assert len({batch_key("imagine", [one]) for one in plans}) == 1


def test_what_has_not_been_learnt_is_said_with_what_came_of_it(heeding):
    """As the library warns: here of a state, which nobody taught this checkpoint."""
    body = {**PLAN, **SHOWN, "embodiment": "pusht", "state": [100.0, 200.0]}
    job = heeding.post("/v1/videos", json=body).json()
    while (told := heeding.get(f"/v1/videos/{job['id']}").json())["status"] in ("queued", "in_progress"):
        pass
    assert told["status"] == "completed" and "has learnt state" in told["notice"]
    heard = heeding.post("/v1/videos", json={**PLAN, **SHOWN, "sound": url(WAV)}).json()
    while (told := heeding.get(f"/v1/videos/{heard['id']}").json())["status"] in ("queued", "in_progress"):
        pass
    assert told["status"] == "completed" and told["notice"] is None
