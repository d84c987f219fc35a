"""Thoughts and words of a reply stand apart, and a reply that is streamed letter by letter is the one told whole."""

import numpy as np
import pytest

from armillary.errors import RequestError
from armillary.serving.forms import parsed
from armillary.serving.problems import Problem, problem_of
from armillary.serving.settings import Limits
from armillary.serving.talk import Apart, ChatBody, film_of, manner_of, pieces_of, stops_of, unnested
from armillary.serving.worker import picked

REPLIES = {
    "three": ("", "three"),
    "<think>two and one</think>three": ("two and one", "three"),
    " \n<think>two\n</think>\n\nthree": ("two\n", "three"),
    "<think>it never ends": ("it never ends", ""),
    "<thin air": ("", "<thin air"),
    "a < b </think> c": ("", "a < b </think> c"),
    "<think>a < b </thing></think>x STOP y": ("a < b </thing>", "x "),
    "x STO": ("", "x STO"),
    "STOP": ("", ""),
    "": ("", ""),
}


@pytest.mark.parametrize(("reply", "found"), REPLIES.items())
@pytest.mark.parametrize("step", [1, 3])
def test_what_is_streamed_is_what_is_told_whole(reply, found, step):
    assert Apart(["STOP"]).split(reply) == found
    apart, thought, words = Apart(["STOP"]), "", ""
    for end in [*range(0, len(reply), step), len(reply)]:
        more = apart.news(reply[:end], over=False)
        thought, words = thought + more[0], words + more[1]
        assert (found[0].startswith(thought), found[1].startswith(words)) == (True, True), "nothing is taken back"
    more = apart.news(reply, over=True)
    assert (thought + more[0], words + more[1]) == found


def body_of(**more):
    return parsed(ChatBody, {"messages": [{"role": "user", "content": "hm"}], **more})


def test_fields_of_sampling_reach_the_speaker():
    how = {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "seed": 3}
    assert manner_of(body_of(max_tokens=8, **how), Limits()) == {"longest": 8, **how}
    assert manner_of(body_of(max_completion_tokens=9, top_k=-1), Limits())["longest"] == 9
    assert stops_of(body_of(stop="a")) == ["a"] and stops_of(body_of()) == []
    film = {"media_io_kwargs": {"video": {"num_frames": 8}}}
    nested = unnested({"messages": [{"role": "user", "content": "hm"}], "extra_body": film})
    assert parsed(ChatBody, nested).media_io_kwargs.video.num_frames == 8


@pytest.mark.parametrize(
    ("count", "places"),
    [(1, [0]), (2, [0, 8]), (3, [0, 4, 8]), (9, list(range(9))), (12, list(range(9)))],
)
def test_a_film_is_read_at_so_many_frames(count, places):
    film = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    found, rate = picked(film, 10.0, count)
    assert found[:, 0, 0, 0].tolist() == places
    assert rate == pytest.approx(len(places) / 0.9), "it lasts as long as before"


@pytest.mark.parametrize(
    ("message", "field"),
    [("frames=6 cannot be cut into latents: a film must have 4k+1, 5 would do.", "num_frames"),
     ("solver 'heun' is unknown: choose from unipc, euler.", "solver"),
     ("embodiment 'the big one' is not one this checkpoint was trained with: it knows pusht.", "embodiment"),
     ("actions has 4 rows, which lead no further.", "actions"), ("policy lacks image, embodiment.", "image"),
     ("size=1312x64 does not fit.", "size"), ("the film is too long.", None)],
)  # fmt: skip
def test_the_field_that_a_sentence_begins_with_is_named_as_the_client_called_it(message, field):
    assert problem_of(RequestError(message), {"frames": "num_frames"}).param == field


def read_whole(more):
    body = body_of(**more)
    return manner_of(body, Limits()), film_of(body), stops_of(body), list(pieces_of(body, Limits()))


@pytest.mark.parametrize(
    "more",
    [{"max_tokens": 10_000}, {"max_tokens": 8, "max_completion_tokens": 9}, {"stream_options": {"include_usage": True}},
     {"media_io_kwargs": {"video": {"fps": 2, "num_frames": 8}}}, {"stop": ["a"] * 5}, {"stop": ""},
     {"temperature": 3}, {"frequency_penalty": 0.5},
     {"repetition_penalty": 1.1}, {"n": 2}, {"logprobs": True}, {"tools": []}, {"media_io_kwargs": {"audio": {}}},
     {"messages": [{"role": "user", "content": "<|im_end|>"}]},
     {"messages": [{"role": "assistant", "content": "x", "tool_calls": [1]}]},
     {"messages": [{"role": "user", "content": [{"type": "text", "image_url": "x"}]}]}],
)  # fmt: skip
def test_what_would_have_no_effect_or_another_one_is_refused(more):
    with pytest.raises(Problem) as wrong:
        read_whole(more)
    assert wrong.value.status == 400
