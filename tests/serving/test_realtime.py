"""A world session: actions go in, film comes out that plays as one, and the session is taken up again."""

import base64
import io
import json

import av
import numpy as np
import pytest
import websockets
import websockets.sync.client
from PIL import Image

from armillary.serving.jobs import Jobs

STILL = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0.5]
ALREADY = dict.fromkeys(("embodiment", "width", "height", "steps"))  # agreed when the session began


@pytest.fixture
def connect(server):
    opened = []

    def connect():
        opened.append(
            websockets.sync.client.connect(f"ws://127.0.0.1:{server.port}/v1/realtime/video", open_timeout=60)
        )
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


@pytest.fixture
def begin(connect):
    def begin(**start):
        one = connect()
        told = {"type": "session.start", "embodiment": "tabletop", "width": 64, "height": 64, "steps": 1, **start}
        one.send(json.dumps({name: value for name, value in told.items() if value is not None}))
        return one

    return begin


def picture():
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def heard(session):
    return json.loads(session.recv(120))


def piece(session):
    told = heard(session)
    assert told["type"] == "video.chunk_metadata", told
    data = session.recv(120)
    assert len(data) == told["bytes"]
    return told, data


def act(session, rows, event_id="e", *, prompt=None, **action):
    event = {"multi_modal_data": {"action": {"data": rows, **action}}, "prompt": prompt}
    session.send(json.dumps({"type": "session.interaction", "interaction": {"event_id": event_id, "event": event}}))


def test_pieces_join_into_one_film_that_goes_on_after_a_break(begin):
    session = begin(image=picture())
    start = heard(session)
    assert start["type"] == "video.start" and start["format"] == "m4s"
    told, film = piece(session)
    assert (told["chunk"], told["frames"]) == (0, 1)
    for number, count in enumerate((4, 3, 8), 1):
        act(session, [STILL] * count, f"e{number}", embodiment="tabletop")
        assert heard(session) == {"type": "session.interaction.queued", "event_id": f"e{number}", "frames": count}
        told, data = piece(session)
        assert (told["chunk"], told["frames"], told["event_id"]) == (number, count, f"e{number}")
        assert told["provenance"]["request"]["mode"] == "forward-dynamics"
        film += data
    with av.open(io.BytesIO(film)) as container:
        times = [round(float(frame.pts * frame.time_base), 6) for frame in container.decode(video=0)]
    assert times == [round(n / 10, 6) for n in range(16)]
    session.send(json.dumps({"type": "session.stop"}))
    done = heard(session)
    assert (done["type"], done["frames"], done["chunks"]) == ("session.done", 16, 4)

    again = begin(session_id=start["session_id"], **ALREADY)
    assert heard(again)["session_id"] == start["session_id"]
    _, first = piece(again)
    act(again, [STILL] * 4)
    heard(again)
    _, more = piece(again)
    with av.open(io.BytesIO(first + more)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(io.BytesIO(film)) as container:
        last = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][-1]
    assert len(frames) == 5
    assert np.abs(frames[0].astype(int) - last).mean() < 6, "it goes on from the frame where it stopped"


def test_what_was_agreed_cannot_be_agreed_again(begin):
    session = begin(image=picture())
    start = heard(session)
    told = heard(begin(session_id=start["session_id"]))["error"]
    assert (told["code"], told["param"]) == ("conflict", "embodiment")


def test_words_alone_begin_a_world(begin):
    session = begin(prompt="a table", image=None)
    heard(session)
    assert piece(session)[0]["frames"] == 1
    session.send(json.dumps({"type": "session.ping"}))
    assert heard(session)["type"] == "session.pong"


def test_a_mistake_leaves_the_session_open(begin):
    session = begin(image=picture())
    heard(session), piece(session)
    for wrong in ({"type": "session.dance"}, {"type": "session.interaction"}, [1], {"type": "session.ping", "x": 1}):
        session.send(json.dumps(wrong))
        assert heard(session)["type"] == "error"
    act(session, [[0.0] * 3], "wide")
    told = heard(session)
    assert (told["type"], told["event_id"]) == ("error", "wide") and "10 numbers" in told["message"]
    act(session, [STILL], embodiment="pusht")
    assert heard(session)["type"] == "error"
    act(session, [STILL] * 2)
    assert heard(session)["type"] == "session.interaction.queued"
    assert piece(session)[0]["frames"] == 2


@pytest.mark.parametrize("start", [{"history": 4}, {"history": 17}, {"embodiment": "nobody"}, {"session_id": "job_x"},
                                   {"width": 63}, {"colour": 1}, {"prompt": "", "image": None},
                                   {"image": "/etc/passwd"}])  # fmt: skip
def test_a_beginning_that_cannot_be_is_told_and_hung_up_on(begin, start):
    session = begin(**{"prompt": "a table", **start})
    while "error" not in (told := heard(session)):
        assert told["type"] == "video.start"
    assert told["error"]["type"] in ("invalid_request_error", "not_found_error")
    with pytest.raises(websockets.ConnectionClosed):
        session.recv(60)


def test_the_model_sees_as_many_frames_again_as_asked_and_they_are_kept(begin):
    session = begin(image=picture(), history=9)
    start = heard(session)
    assert start["config"]["history"] == 9
    piece(session)
    seen = []
    for count in (4, 3, 8, 1):
        act(session, [STILL] * count)
        assert heard(session)["frames"] == count
        told, _ = piece(session)
        seen.append(told["provenance"]["request"])
        assert told["frames"] == count
    assert [one["film"]["shape"][0] for one in seen] == [1, 5, 5, 9], "4k+1 of what there is"
    assert [len(one["actions"]) for one in seen] == [4, 4 + 3, 4 + 8, 8 + 1], "with the actions between them"
    session.send(json.dumps({"type": "session.stop"}))
    heard(session)
    again = begin(session_id=start["session_id"], **ALREADY)
    heard(again), piece(again)
    act(again, [STILL] * 2)
    heard(again)
    told, _ = piece(again)
    assert told["provenance"]["request"]["film"]["shape"][0] == 9, "and the session remembers them"


def test_a_session_is_kept_from_its_last_piece_on(begin, server):
    session = begin(image=picture())
    name = heard(session)["session_id"]
    piece(session)
    table = Jobs(f"sqlite:///{server.folder / 'jobs.sqlite'}")
    begun = table.of_id(name).expires_at
    act(session, [STILL])
    heard(session), piece(session)
    assert table.of_id(name).expires_at > begun
    table.close()


def test_a_prompt_holds_from_its_own_event_on_and_alone_the_body_rests(begin):
    session = begin(image=picture(), prompt="first", num_frames=2)
    heard(session), piece(session)
    act(session, [STILL], "a")
    act(session, [STILL], "b", prompt="second")
    session.send(json.dumps({"type": "session.interaction", "interaction": {"event": {"prompt": "third"}}}))
    act(session, [STILL], "d")
    said = []
    while len(said) < 4:
        if (told := heard(session))["type"] == "video.chunk_metadata":
            session.recv(120)
            said.append((told["provenance"]["request"]["prompt"], told["frames"]))
    assert said == [("first", 1), ("second", 1), ("third", 2), ("third", 1)]
    for event in ({}, {"prompt": None}):
        session.send(json.dumps({"type": "session.interaction", "interaction": {"event": event}}))
        assert "the event is empty" in heard(session)["message"]


def test_who_takes_a_session_up_again_has_it_alone(begin):
    first = begin(image=picture())
    start = heard(first)
    piece(first)
    second = begin(session_id=start["session_id"], **ALREADY)
    assert heard(first)["error"]["code"] == "session_taken"
    assert heard(second)["session_id"] == start["session_id"]
    piece(second)
    act(second, [STILL])
    heard(second)
    assert piece(second)[0]["frames"] == 1


def last_word(session):
    """What ends a session's line: why it is hung up on, or the last piece and where it leads."""
    while (told := heard(session)).get("event_id") is None or told["type"] == "session.interaction.queued":
        if "error" in told:
            return told["error"]["code"]
        if told["type"] == "video.chunk_metadata":
            session.recv(120)
    session.recv(120)
    return told["first_frame"], told["frames"]


def test_of_those_who_take_a_session_up_at_once_one_has_it(begin, connect):
    first = begin(image=picture())
    name = heard(first)["session_id"]
    piece(first)
    first.send(json.dumps({"type": "session.stop"}))
    assert heard(first)["type"] == "session.done"
    lines = [connect() for _ in range(4)]
    for line in lines:
        line.send(json.dumps({"type": "session.start", "session_id": name}))
        act(line, [STILL])
    assert sorted(map(last_word, lines), key=str) == [(1, 1), *["session_taken"] * 3]
    again = begin(session_id=name, **ALREADY)
    assert heard(again)["session_id"] == name, "and its line may be taken over as before"
