"""Robots get chunks of actions over a websocket: openpi's protocol by its own client, and vLLM-Omni's dialect."""

import json
import os
import subprocess
import threading

import httpx
import numpy as np
import pytest
import websockets
import websockets.sync.client

from armillary.modes import MODES
from armillary.serving.wire import pack, unpack

FRAME = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
SEEN = {"observation/image": FRAME, "prompt": "take the red cube"}


@pytest.fixture
def connect(server):
    opened = []

    def connect(path="/?embodiment=tabletop&steps=2&horizon=8"):
        where = f"ws://127.0.0.1:{server.port}{path}"
        one = websockets.sync.client.connect(where, compression=None, max_size=None, open_timeout=60)
        opened.append(one)
        return one

    yield connect
    for one in opened:
        one.close()


def test_the_first_message_says_what_the_numbers_mean(connect):
    told = unpack(connect().recv(60))
    assert (told["embodiment"], told["action_horizon"], told["action_dim"]) == ("tabletop", 8, 10)
    assert told["action_spec"]["channels"][0] == {
        "name": "step_x", "unit": "metre", "frame": "framewise relative", "low": -0.1, "high": 0.1,
    }  # fmt: skip
    assert "observation/wrist_image" in told["keys_without_effect"]


def test_who_does_not_say_in_how_many_steps_gets_the_checkpoint_s_own_number(connect, client):
    assert unpack(connect("/").recv(60))["steps"] == 3
    assert unpack(connect("/?embodiment=pusht").recv(60))["steps"] == 5
    modes = client.get("/v1/models").json()["data"][0]["modes"]
    assert (modes["policy"]["steps"], modes["text-to-video"]["steps"]) == (3, MODES["text-to-video"].steps)


def test_an_observation_is_answered_with_a_chunk(connect):
    robot = connect()
    robot.recv(60)
    robot.send(pack({**SEEN, "observation/state": np.zeros(8)}))
    first = unpack(robot.recv(60))
    assert first["actions"].shape == (8, 10) and first["actions"].dtype == np.float32
    assert np.isfinite(first["actions"]).all() and first["server_timing"]["infer_ms"] > 0
    assert len(first["provenance"]["weights"]) == 64 and first["provenance"]["request"]["mode"] == "policy"
    robot.send(pack(SEEN))
    second = unpack(robot.recv(60))
    assert "prev_total_ms" in second["server_timing"]
    assert not np.array_equal(first["actions"], second["actions"]), "each chunk has noise of its own"


def test_the_same_seed_is_the_same_chunk_after_a_reset(connect):
    robot = connect("/v1/realtime/robot/openpi?embodiment=pusht&steps=2&horizon=4")
    assert unpack(robot.recv(60))["type"] == "policy_server_config"
    robot.send(pack({**SEEN, "seed": 7}))
    first = unpack(robot.recv(60))
    assert first.shape == (4, 2) and first.dtype == np.float32
    robot.send(pack({"endpoint": "reset"}))
    assert unpack(robot.recv(60)) == {"status": "reset successful"}
    robot.send(pack({**SEEN, "seed": 7}))
    assert np.array_equal(unpack(robot.recv(60)), first)


def test_a_mistake_is_one_text_frame_and_the_end_for_openpi(connect):
    robot = connect()
    robot.recv(60)
    robot.send(pack({"prompt": "no picture"}))
    told = json.loads(robot.recv(60))
    assert told["error"]["code"] == "invalid_request" and "picture" in told["error"]["message"]
    with pytest.raises(websockets.ConnectionClosedError) as closed:
        robot.recv(60)
    assert closed.value.rcvd.code == 1011


def test_a_mistake_leaves_the_dialect_s_socket_open(connect):
    robot = connect("/v1/realtime/robot/openpi?embodiment=pusht&steps=1&horizon=4")
    robot.recv(60)
    for wrong in ({**SEEN, "observation/image": np.full((8, 8, 3), np.nan)}, {**SEEN, "gripper_colour": 1},
                  {**SEEN, "observation/image": FRAME.astype(np.int32)}, {**SEEN, "prompt": 5}):  # fmt: skip
        robot.send(pack(wrong))
        assert unpack(robot.recv(60))["type"] == "error"
    robot.send(pack(SEEN))
    assert unpack(robot.recv(60)).shape == (4, 2)


@pytest.mark.parametrize("path", ["/?embodiment=../etc", "/?steps=0", "/?horizon=7", "/?colour=red"])
def test_options_that_cannot_be_are_refused_at_once(connect, path):
    assert json.loads(connect(path).recv(60))["error"]["type"] == "invalid_request_error"


def test_robots_that_ask_at_once_are_computed_together(server, connect):
    robots = [connect() for _ in range(6)]
    for robot in robots:
        robot.recv(60)

    def ask_three_times(robot):
        for _ in range(3):
            robot.send(pack(SEEN))
            robot.recv(60)

    threads = [threading.Thread(target=ask_three_times, args=(robot,)) for robot in robots]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    page = httpx.get(f"{server.url}/metrics", timeout=60).text
    alone, all_of_them = (
        float(line.split()[-1])
        for name in ('batch_jobs_bucket{le="1.0",mode="policy"}', 'batch_jobs_bucket{le="+Inf",mode="policy"}')
        for line in page.splitlines()
        if line.startswith(f"armillary_{name}")
    )
    assert alone < all_of_them


def test_openpi_s_own_client_is_served(server):
    python = os.environ.get("ARMILLARY_OPENPI_PYTHON")
    if not python:
        pytest.skip("set ARMILLARY_OPENPI_PYTHON to a Python that has openpi-client (it wants numpy below 2)")
    program = f"""
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy
policy = WebsocketClientPolicy("ws://127.0.0.1:{server.port}/?steps=2&horizon=8", None)
assert policy.get_server_metadata()["action_dim"] == 10
for _ in range(2):
    found = policy.infer({{"observation/image": np.zeros((64, 64, 3), np.uint8), "prompt": "go"}})
    assert found["actions"].shape == (8, 10) and found["actions"].dtype == np.float32
"""
    subprocess.run([python, "-c", program], check=True, timeout=120)
