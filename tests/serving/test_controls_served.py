"""Films under controls over HTTP: every spelling of a control means the same, and none can mean two things."""

import base64
import json

import numpy as np
import pytest

from armillary.media import read_video, write_video
from armillary.serving.forms import VideoBody, asked_of, from_form, parsed
from armillary.serving.held import gathered, held_of, stood_in
from armillary.serving.problems import Problem

FILM = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def told(body, files=()):
    return held_of(parsed(VideoBody, {"prompt": "x", **body}), dict.fromkeys(files, b""))


def test_a_control_is_named_in_many_ways():
    assert told({"edge": True}).asked == {"controls": {"edge": "auto:medium"}}
    assert told({"extra_params": {"blur": {"preset_blur_strength": "very_high"}}}).asked == {
        "controls": {"blur": "auto:very high"}
    }
    found = told({"extra_params": {"seg": {"control_path": "job_1", "control_weight": 2}}, "map": "job_2"})
    assert found.shown == {"map": ("map", "job_2"), "segmentation": ("extra_params.seg", "job_1")}
    assert found.asked == {"control_weights": {"segmentation": 2}}
    assert told({"control_type": "wsm", "control_reference": "job_3"}).shown == {"map": ("control_reference", "job_3")}
    assert told({"control_type": "depth"}, ["control_reference"]).shown == {"depth": ("control_reference", None)}
    assert told({}, ["edge"]).shown == {"edge": ("edge", None)}
    weighed = told({"edge": {"control_weight": 3}}, ["edge"])
    assert (weighed.shown, weighed.asked) == ({"edge": ("edge", None)}, {"control_weights": {"edge": 3}})
    how = {"control_type": "wsm", "extra_params": {"wsm": {"control_weight": 3}}}
    assert told(how, ["control_reference"]).asked == {"control_weights": {"map": 3}}
    assert told({"edge": False}).asked == told({"edge": False}).shown == {}
    form = from_form({"prompt": "x", "edge": "true", "seg": '{"url": "job_1"}'})
    assert (form["edge"], form["seg"]) == (True, {"url": "job_1"})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"edge": "job_1", "extra_params": {"edge": "job_2"}}, "a second time"),
        ({"seg": "job_1", "segmentation": "job_2"}, "a second time"),
        ({"depth": True}, "only edge and blur can"),
        ({"edge": {"preset_edge_threshold": "hard"}}, "must be one of"),
        ({"edge": {"weight": 2}}, "is not a field here"),
        ({"edge": {"url": "a", "file_id": "b"}}, "give one of these"),
        ({"edge": {"url": "a", "preset_edge_threshold": "low"}}, "give one of these"),
        ({"control_reference": "job_1"}, "say control_type"),
        ({"control_type": "edge"}, "give both"),
        ({"emphasize_control_in_prompt": False}, "has no effect"),
    ],
)
def test_a_control_that_means_two_things_is_refused(body, words):
    with pytest.raises(Problem, match=words):
        told(body)


def test_cosmos_names_of_numbers_are_ours():
    body = {"num_video_frames_per_chunk": 9, "num_conditional_frames": 2, "num_first_chunk_conditional_frames": 3}
    asked = asked_of(parsed(VideoBody, {"prompt": "x", "edge": True, "extra_params": {**body, "control_guidance": 2}}))[
        1
    ]
    assert {name: asked[name] for name in ("stretch", "overlap", "given_frames", "control_guidance")} == {
        "stretch": 9, "overlap": 2, "given_frames": 3, "control_guidance": 2.0,
    }  # fmt: skip
    assert not {"edge", "controls"} & set(asked)


def test_files_join_the_controls_and_stand_ins_are_never_worked_on():
    fields = {"controls": {"edge": "auto:low"}, "control depth": 1, "video": 2, "frames": 5}
    assert gathered(fields)["controls"] == {"edge": "auto:low", "depth": 1}
    assert stood_in(fields) == {"controls": {"edge": 2, "depth": 1}, "frames": 5}
    assert stood_in({**fields, "given_frames": 1})["video"] == 2


def test_a_film_under_controls_is_made_and_served(client, tmp_path):
    data = write_video(tmp_path / "film.mp4", FILM, 10).read_bytes()
    extra = {"depth": {"url": "data:video/mp4;base64," + base64.b64encode(data).decode(), "control_weight": 2}}
    body = {"prompt": "a cube", "size": "32x32", "num_inference_steps": "1", "extra_params": json.dumps(extra)}
    answer = client.post("/v1/videos/sync", data={**body, "edge": "true"}, files={"input_reference": ("a.mp4", data)})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    (tmp_path / "made.mp4").write_bytes(answer.content)
    assert read_video(tmp_path / "made.mp4")[0].shape == (5, 32, 32, 3)
    lacking = client.post("/v1/videos", json={"prompt": "a cube", "edge": True})
    assert (lacking.status_code, lacking.json()["error"]["code"]) == (400, "invalid_request")
    assert "give that as video" in lacking.json()["error"]["message"]


def test_a_control_that_was_not_learnt_is_said_with_what_came_of_it(client, tmp_path):
    """As the library warns; which were learnt is said before."""
    assert client.get("/v1/models").json()["data"][0]["modes"]["transfer"]["controls"] == ["edge", "blur", "depth"]
    data = write_video(tmp_path / "film.mp4", FILM, 10).read_bytes()
    body = {"prompt": "a cube", "size": "32x32", "num_inference_steps": "1"}
    for kind, words in (("map", "has learnt the control map, but edge, blur, depth"), ("depth", None)):
        job = client.post("/v1/videos", data=body, files={kind: ("held.mp4", data)}).json()
        while (told := client.get(f"/v1/videos/{job['id']}").json())["status"] in ("queued", "in_progress"):
            pass
        assert told["status"] == "completed", told
        assert words in told["notice"] if words else told["notice"] is None
