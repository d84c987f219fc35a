"""A prompt written out over HTTP: by the server's own reasoner if the client wishes, and by nobody else."""

import pytest

from armillary.serving.forms import ImageBody, SoundBody, VideoBody, asked_of, parsed
from armillary.serving.problems import Problem

ASK = {"prompt": "a cube", "size": "64x64", "num_inference_steps": 1, "seed": 3}


def test_a_picture_says_how_its_prompt_was_written_out(client):
    made = {wish: client.post("/v1/images/generations", json={**ASK, **more}).json()["data"][0]
            for wish, more in {"yes": {"upsample": True}, "no": {"upsample": False}, "": {}}.items()}  # fmt: skip
    told = made["yes"]["provenance"]["request"]
    assert made["yes"]["revised_prompt"] == told["upsampled_prompt"] not in ("", "a cube")
    assert (told["prompt"], told["upsample"]) == ("a cube", True)
    assert made["no"]["revised_prompt"] is made[""]["revised_prompt"] is None
    assert made["no"]["b64_json"] == made[""]["b64_json"] != made["yes"]["b64_json"]
    again = client.post("/v1/images/generations", json={**ASK, "prompt": made["yes"]["revised_prompt"]}).json()
    assert again["data"][0]["b64_json"] == made["yes"]["b64_json"]


def test_a_mode_without_a_template_is_refused_before_it_is_kept(client):
    modes = client.get("/v1/models").json()["data"][0]["modes"]
    assert (modes["text-to-image"]["upsampled"], modes["text-to-video"]["upsampled"]) == ("if asked", "never")
    answer = client.post("/v1/videos", json={"prompt": "a cube", "upsample": True})
    assert answer.status_code == 400 and "a prompt of text-to-video" in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [VideoBody, ImageBody, SoundBody])
def test_no_client_says_where_words_and_key_are_sent(body):
    needed = {"input": "x"} if body is SoundBody else {"prompt": "x"}
    for more in ({"upsample": "http://127.0.0.1:1/v1"}, {"upsample": True, "upsample_model": "scribe"}):
        with pytest.raises(Problem) as refusal:
            parsed(body, {**needed, **more})
        assert refusal.value.status == 400


def test_inside_extra_params_the_same_holds():
    assert asked_of(parsed(VideoBody, {"prompt": "x", "extra_params": {"upsample": True}}))[1]["upsample"] is True
    for more in ({"upsample": "http://127.0.0.1:1/v1"}, {"upsample_model": "scribe"}):
        with pytest.raises(Problem):
            asked_of(parsed(VideoBody, {"prompt": "x", "extra_params": more}))
