"""What is being imagined can be seen before it is done, and looking changes nothing of it."""

import io
import time

import numpy as np
import pytest
from PIL import Image

import armillary
from armillary.sampling import imagine

ASK = {"mode": "text-to-video", "prompt": "the arm moves", "size": (64, 64), "frames": 5, "steps": 6, "seed": 1}


@pytest.mark.filterwarnings("ignore")
def test_looking_changes_nothing_and_shows_what_it_will_become(checkpoint, monkeypatch):
    monkeypatch.setattr(imagine, "LOOK_SHARE", 0)
    omni = armillary.load(checkpoint, dtype="float32")
    seen = {0: [], 1: []}
    requests = [{**ASK, "mode": "text-to-image", "frames": 1}, ASK]
    looked = omni.imagine_many(requests, on_look=lambda number, film: seen[number].append(film))
    plain = omni.imagine_many(requests)
    for number in (0, 1):
        assert np.array_equal(looked[number].video, plain[number].video)
        assert {film.shape for film in seen[number]} == {plain[number].video.shape}
        last, first = (np.abs(seen[number][i].astype(int) - plain[number].video).mean() for i in (-1, 0))
        assert last <= first, "the last look is nearer to the end than the first"


def test_a_running_job_shows_its_preview(client):
    slow = {"prompt": "the arm moves", "size": "128x128", "num_frames": 17, "num_inference_steps": 90}
    job = client.post("/v1/videos", json=slow).json()["id"]
    until = time.monotonic() + 100
    while not (told := client.get(f"/v1/videos/{job}").json())["preview"]:
        assert told["status"] in ("queued", "in_progress") and time.monotonic() < until, told
        time.sleep(0.05)
    answer = client.get(f"/v1/videos/{job}/content?variant=preview")
    assert Image.open(io.BytesIO(answer.content)).format == "WEBP"
    client.delete(f"/v1/videos/{job}")
    assert client.get(f"/v1/videos/{job}/content?variant=preview").status_code == 404
