"""A policy behind a websocket: what it is sent, what of its answer is done, and what is said when it is none."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
from websockets.sync.server import serve

from armillary.closed_loop.remote import Remote
from armillary.errors import ConfigError, RequestError
from armillary.records import Moment
from armillary.serving.wire import pack, unpack


@contextmanager
def answering(answer):
    """A server that keeps what it is asked and sends ``answer``; yields its address and what it was asked."""
    asked = []

    def talk(socket):
        socket.send(pack({"model": "small"}))
        for message in socket:
            asked.append(unpack(message))
            socket.send(answer)

    with serve(talk, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}", asked
        server.shutdown()


def moment(shade=7):
    frame = np.full((8, 6, 3), shade, np.uint8)
    return Moment(frames={"front": frame, "side": frame * 0}, state={}, instruction="Lift it.", reward=0.0,
                  success=False, over=False)  # fmt: skip


def test_it_sends_picture_and_words_and_does_the_first_actions():
    plan = np.arange(12, dtype=np.float32).reshape(4, 3)
    with answering(pack({"actions": plan})) as (url, asked), Remote(url, camera="front", execute=2) as remote:
        done = remote([moment(7), moment(9)], [0, 1])
        assert remote.metadata == {"model": "small"}
    assert [one.tolist() for one in done] == [plan[:2].tolist()] * 2
    assert [one["prompt"] for one in asked] == ["Lift it."] * 2
    assert [int(one["observation/image"][0, 0, 0]) for one in asked] == [7, 9]


@pytest.mark.parametrize(("answer", "said"), [
    (pack({"status": "fine"}), "sent no actions"), (pack({"actions": np.zeros(3)}), "sent no actions"),
    ("Traceback\nthe picture is too large", "says: the picture is too large"),
])  # fmt: skip
def test_an_answer_that_is_none_is_said(answer, said):
    with answering(answer) as (url, _), Remote(url, camera="front") as remote, pytest.raises(RequestError, match=said):
        remote([moment()], [0])


def test_where_nobody_answers():
    with pytest.raises(ConfigError, match=r"no policy answers at ws://127\.0\.0\.1:9 "):
        Remote("ws://127.0.0.1:9", camera="front")
    with pytest.raises(ConfigError, match="no policy answers at"):
        Remote("ws://127.0.0.1:99999", camera="front")
    with pytest.raises(ConfigError, match="execute=0"):
        Remote("ws://127.0.0.1:9", camera="front", execute=0)


def test_a_policy_that_goes_away_is_said():
    def talk(socket):
        socket.send(pack({}))

    with serve(talk, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        with Remote(url, camera="front") as remote, pytest.raises(RequestError, match="went away"):
            remote([moment()], [0])
        server.shutdown()
