"""Sound of a prompt and pictures changed over plain HTTP, and what is told where the checkpoint has learnt neither."""

import base64
import io
from dataclasses import replace

import av
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tiny import small_checkpoint

from armillary.media import read_wav
from armillary.serving.app import make_app
from armillary.serving.heard import FORMS, sound_file, wav_bytes
from armillary.serving.settings import ServeSettings

ASK = {"input": "a cube falls", "audio_length": 0.4, "num_inference_steps": 1, "seed": 2}


def png(seed=0, side=64):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def as_url(data):
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_sound_is_as_long_as_asked_and_near_to_what_was_made(form):
    t = np.arange(48_000) / 48_000
    sound = np.stack([0.5 * np.sin(2 * np.pi * 440 * t), 0.3 * np.sin(2 * np.pi * 220 * t)]).astype(np.float32)
    made = sound_file(wav_bytes(sound), form, 0.5)
    if form == "pcm":
        found = np.frombuffer(made, "<i2").reshape(-1, 2).T / 32767
    else:
        with av.open(io.BytesIO(made)) as opened:
            resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48_000)
            found = np.concatenate([p.to_ndarray() for f in opened.decode(audio=0) for p in resampler.resample(f)], 1)
    assert abs(found.shape[1] - 24_000) <= 2400, "lossy forms pad by their window"
    middle = slice(6000, 18_000)
    loud = np.sqrt((found[:, middle] ** 2).mean(axis=1))
    assert sound_file(wav_bytes(sound), form, 0.01), "the shortest that may be asked for"
    assert loud == pytest.approx([0.5 / 2**0.5, 0.3 / 2**0.5], rel=0.1), "each ear its own"


def test_a_prompt_is_heard_and_says_how_it_was_made(client):
    answer = client.post("/v1/audio/generate", json=ASK)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    wave, rate = read_wav(io.BytesIO(answer.content))
    assert (wave.shape, rate) == ((2, 19_200), 48_000) and np.abs(wave).max() > 0
    job = answer.headers["x-armillary-job"]
    told = client.get(f"/v1/videos/{job}/content?variant=provenance").json()["request"]
    assert (told["sound"], told["outputs"], told["frames"], told["seed"]) == (True, ["sound"], 5, 2)
    assert client.get(f"/v1/videos/{job}").json()["variants"] == ["sound", "provenance"]
    again = client.post("/v1/audio/generate", json={**ASK, "response_format": "flac"})
    assert again.headers["content-type"] == "audio/flac" and again.content.startswith(b"fLaC")
    with av.open(io.BytesIO(again.content)) as opened:
        whole = np.concatenate([f.to_ndarray().reshape(-1, 2) for f in opened.decode(audio=0)]).T
    assert np.abs(whole / 32767 - wave).max() < 1e-4, "the same seed is the same sound, without loss"


@pytest.mark.parametrize(
    ("more", "param"),
    [({"response_format": "ogg"}, "response_format"), ({"speed": 2}, "speed"), ({"voice": "a"}, "voice"),
     ({"audio_length": 1e3}, "audio_length"), ({"audio_length": 1e-9}, "audio_length"),
     ({"input": ""}, "input"), ({"audio_length": "nan"}, "audio_length")],
)  # fmt: skip
def test_what_has_no_effect_or_cannot_be_is_refused(client, more, param):
    answer = client.post("/v1/audio/generate", json={**ASK, **more})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_picture_is_changed_the_same_however_it_is_sent(client):
    picture, how = png(), {"prompt": "make it blue", "size": "64x64", "num_inference_steps": 1, "seed": 3}
    kept = client.post("/v1/files", files={"file": ("a.png", picture)}).json()["id"]
    form = client.post("/v1/images/edits", data=how, files={"image": ("a.png", picture)})
    ways = [
        client.post("/v1/images/edits", json={**how, **one})
        for one in (
            {"image": as_url(picture)},
            {"images": [{"image_url": as_url(picture)}]},
            {"image": {"file_id": kept}},
        )
    ]
    found = [base64.b64decode(one.json()["data"][0]["b64_json"]) for one in (form, *ways)]
    assert len(set(found)) == 1
    other = client.post("/v1/images/edits", data=how, files={"image": ("a.png", png(1))}).json()["data"][0]["b64_json"]
    assert base64.b64decode(other) != found[0], "the picture matters"


@pytest.mark.parametrize("more", [{}, {"images": ["a", "b"]}, {"image": 3}, {"mask": "x"}, {"image": "nowhere"},
                                  {"image": "data:image/png;base64,AAAA"}, {"output_format": "gif"},
                                  {"image": as_url(png()), "output_compression": 3}])  # fmt: skip
def test_pictures_that_are_none_or_too_many_are_refused(client, more):
    answer = client.post("/v1/images/edits", json={"prompt": "x", **more})
    assert answer.status_code == 400 and answer.json()["error"]["param"]


def test_capabilities_are_told(client):
    told = client.get("/v1/models").json()["data"][0]
    assert {"/v1/images/edits", "/v1/audio/generate"} <= set(told["capabilities"])
    assert told["modes"]["text-to-video"]["sound"] and not told["modes"]["image-edit"]["sound"]


def test_a_checkpoint_that_has_learnt_neither_says_so(tmp_path):
    plain = small_checkpoint(tmp_path / "plain")
    settings = ServeSettings(checkpoint=str(plain), folder=tmp_path / "run", role="api")
    with TestClient(make_app(replace(settings, host="127.0.0.1")), base_url="http://127.0.0.1") as door:
        told = door.get("/v1/models").json()["data"][0]
        assert "image-edit" not in told["modes"] and not any(mode["sound"] for mode in told["modes"].values())
        assert not {"/v1/images/edits", "/v1/audio/generate"} & set(told["capabilities"])
        edit = door.post("/v1/images/edits", data={"prompt": "x"}, files={"image": ("a.png", png())})
        answers = [edit, door.post("/v1/audio/generate", json=ASK),
                   door.post("/v1/videos", json={"prompt": "x", "generate_sound": True}),
                   door.post("/v1/videos", json={"prompt": "x", "mode": "image-edit"})]  # fmt: skip
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_mode")
    assert "text-to-video" in edit.json()["error"]["message"]
