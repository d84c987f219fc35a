"""A short prompt is written out before it is imagined: by the reasoner, or at an endpoint of this machine."""

import base64
import io
import json
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

import armillary
from armillary.errors import CheckpointError, RequestError
from armillary.modes import mode_named
from armillary.prompts import chat_text, places_in
from armillary.sampling import upsampling
from armillary.sampling.omni import UntrainedWarning
from armillary.sampling.requests import check_request
from armillary.sampling.templates import Template, Upsampling, settle_upsampling
from armillary.sampling.upsampling import KEY

ASK = 'Say where everything is, {"as": "JSON"}: {prompt}'
HOW = {"ask": ASK, "longest": 5}
TEMPLATES = {
    "text-to-image": HOW,
    "text-to-video": {**HOW, "temperature": 1.5, "usual": True},
    "image-to-video": {**HOW, "look": True},
    "forward-dynamics": HOW,
}
STILL = [[0, 0, 0, 1, 0, 0, 0, 1, 0, 0.5]] * 4
SMALL = {"size": (32, 32), "steps": 1, "guidance": 1.0}


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    """The small checkpoint, with templates."""
    place = shutil.copytree(checkpoint, tmp_path_factory.mktemp("templates") / "small")
    told = json.loads((place / "defaults.json").read_text())
    (place / "defaults.json").write_text(json.dumps({**told, "upsampling": TEMPLATES}))
    return place


@pytest.fixture(scope="module")
def omni(folder):
    return armillary.load(folder, dtype="float32")


class Endpoint(BaseHTTPRequestHandler):
    """Answers every chat with what ``says`` holds, and keeps what it heard."""

    says: object
    heard: list

    def log_message(self, *words):
        """Say nothing."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.heard.append((self.path, self.headers.get("Authorization"), body))
        code, data = self.says if isinstance(self.says, tuple) else (200, self.says)
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(code)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def listening():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def endpoint(listening, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    monkeypatch.setattr(Endpoint, "heard", [], raising=False)
    monkeypatch.setattr(Endpoint, "says", chat("  a long table\n"), raising=False)
    return listening


def chat(words, **more):
    return {"choices": [{"message": {"role": "assistant", "content": words}, "finish_reason": "stop", **more}]}


def test_the_reasoner_is_asked_as_it_was_taught(omni, monkeypatch):
    """Letter for letter the conversation of training, the prompt's own braces untouched; and its answer is imagined."""
    asked = []
    plain = upsampling.speak_many
    monkeypatch.setattr(
        upsampling, "speak_many", lambda parts, chats, how: (asked.extend(chats), plain(parts, chats, how))[1]
    )
    words = omni.upsample("a {red} cube")
    question = ASK.replace("{prompt}", "a {red} cube")
    assert chat_text(asked[0]) == f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    assert words == omni.ask(question, longest=5).strip()


def test_what_is_imagined_is_the_longer_prompt_and_the_record_has_both(omni):
    rollout = omni.imagine("text-to-image", prompt="a cube", upsample=True, seed=3, **SMALL)
    told = rollout.provenance["request"]
    longer = omni.upsample("a cube", seed=3)
    assert (told["prompt"], told["upsample"], told["upsampled_prompt"]) == ("a cube", True, longer)
    assert longer not in ("", "a cube")
    same = omni.imagine("text-to-image", prompt=longer, seed=3, **SMALL)
    other = omni.imagine("text-to-image", prompt="a cube", seed=3, **SMALL)
    assert np.array_equal(rollout.video, same.video) and not np.array_equal(rollout.video, other.video)
    assert not {"upsample", "upsampled_prompt"} & set(other.provenance["request"])


def test_the_same_seed_gives_the_same_words_and_another_seed_others(omni):
    said = {seed: omni.upsample("a cube", "text-to-video", seed=seed) for seed in range(4)}
    assert said == {seed: omni.upsample("a cube", "text-to-video", seed=seed) for seed in range(4)}
    assert len(set(said.values())) > 1


def test_requests_in_company_are_written_out_each_for_itself(omni):
    asked = [
        {"mode": "text-to-image", "prompt": "a cube", "upsample": True, "seed": 3, **SMALL},
        {"mode": "text-to-image", "prompt": "a cube", "seed": 3, **SMALL},
        {"mode": "text-to-video", "prompt": "a ball", "frames": 5, "seed": 2, **SMALL},
    ]
    told = [one.provenance["request"] for one in omni.imagine_many(asked)]
    assert told[0]["upsampled_prompt"] == omni.upsample("a cube", seed=3)
    assert "upsampled_prompt" not in told[1]
    assert told[2]["upsampled_prompt"] == omni.upsample("a ball", "text-to-video", seed=2), "its mode usually does"


def test_what_usually_happens_can_be_declined_and_spares_what_is_written_out(folder):
    def settled(**asked):
        return check_request("text-to-video", {"prompt": "a cube", **asked}, folder)

    assert settled().upsampling is not None
    declined = settled(upsample=False)
    assert declined.upsampling is None and declined.record["upsample"] is False
    assert settled(prompt=' {"subjects": []}').upsampling is None
    with pytest.raises(RequestError, match="has no words"):
        settled(prompt="")
    assert settled(dialect="diffusers").upsampling is None
    assert settled(dialect="diffusers", upsample=True).upsampling is not None


def test_a_film_that_goes_on_hears_the_longer_words(omni, picture):
    asked = {"image": picture, "embodiment": "tabletop", "size": (64, 64), "steps": 1}
    longer = omni.upsample("go", "forward-dynamics", actions=STILL, **asked)
    with pytest.warns(UntrainedWarning):
        films = [omni.onwards(**asked, **words) for words in ({"prompt": "go", "upsample": True}, {"prompt": longer})]
    one, same = (film.push(STILL) for film in films)
    assert np.array_equal(one, same)


def test_an_endpoint_writes_and_is_told_the_seed_and_the_key(omni, endpoint, monkeypatch):
    monkeypatch.setenv(KEY, "secret\n")
    asked = {"upsample": endpoint + "/?version=hidden", "upsample_model": "scribe", "seed": 7}
    fresh = armillary.load(omni.parts.folder, dtype="float32")
    assert fresh.upsample("a cube", "text-to-video", **asked) == "a long table"
    assert fresh.parts.loaded == (), "no weights are read for that"
    path, key, body = Endpoint.heard[0]
    assert (path, key) == ("/v1/chat/completions?version=hidden", "Bearer secret")
    assert body == {
        "model": "scribe", "seed": 7, "temperature": 1.5,
        "messages": [{"role": "user", "content": ASK.replace("{prompt}", "a cube")}],
    }  # fmt: skip
    rollout = omni.imagine("text-to-image", prompt="a cube", **asked, **SMALL)
    told = rollout.provenance["request"]
    assert (told["prompt"], told["upsampled_prompt"], told["upsample_model"]) == ("a cube", "a long table", "scribe")
    assert "secret" not in json.dumps(rollout.provenance) and "hidden" not in json.dumps(rollout.provenance)


def test_a_template_that_looks_shows_the_given_picture(omni, endpoint, picture, monkeypatch):
    asked = {"image": picture, "size": (64, 64)}
    seen = omni.upsample("a cube", "image-to-video", **asked)
    shown = [{"type": "image", "image": picture}, {"type": "text", "text": ASK.replace("{prompt}", "a cube")}]
    assert seen == omni.chat([{"role": "user", "content": shown}], longest=5).strip()
    omni.upsample("a cube", "image-to-video", upsample=endpoint, upsample_model="scribe", **asked)
    content = Endpoint.heard[0][2]["messages"][0]["content"]
    data = base64.b64decode(content[0]["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)
    assert content[1] == {"type": "text", "text": ASK.replace("{prompt}", "a cube")}


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (b"<html>", "something else than a chat's words"),
        (b"\xff", "something else than a chat's words"),
        ([], "something else than a chat's words"),
        ({"choices": []}, "something else than a chat's words"),
        (chat(None), "no words"),
        (chat("  "), "no words"),
        (chat("a table, a", finish_reason="length"), "cut off"),
        (b" " * (upsampling.MOST_BYTES + 1), "more than 1048576 bytes"),
        ((404, {"error": {"message": "model 'scribe'\nis not here"}}), r"\(404, model 'scribe' is not here\)"),
        ((500, b"oh"), r"refused to write the prompt out \(500\)"),
        ((302, b""), r"\(302\)"),
    ],
    ids=["html", "no text", "a list", "no choice", "nothing", "blank", "cut", "long", "404", "500", "elsewhere"],
)
def test_an_answer_that_is_no_use_is_one_sentence_and_nothing_loads(folder, endpoint, monkeypatch, says, words):
    monkeypatch.setattr(Endpoint, "says", says)
    omni = armillary.load(folder, dtype="float32")
    with pytest.raises(RequestError, match=words) as refusal:
        omni.imagine("text-to-image", prompt="a cube", upsample=endpoint, upsample_model="scribe", **SMALL)
    assert "\n" not in str(refusal.value) and endpoint in str(refusal.value)
    assert omni.parts.loaded == () and len(Endpoint.heard) == 1, "and nobody else is asked"


def test_an_endpoint_that_is_not_there_is_named(omni, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RequestError, match=rf"127.0.0.1:{port}/chat/completions cannot be reached .*\(\[Errno"):
        omni.upsample("a cube", upsample=f"http://127.0.0.1:{port}", upsample_model="scribe")


def test_a_key_that_cannot_be_sent_is_not_shown(omni, endpoint, monkeypatch):
    monkeypatch.setenv(KEY, "sec\nret")
    with pytest.raises(RequestError, match=KEY) as refusal:
        omni.upsample("a cube", upsample=endpoint, upsample_model="scribe")
    assert "ret" not in str(refusal.value).replace("characters", "") and not Endpoint.heard


def test_a_reasoner_that_says_nothing_is_told_of(omni, monkeypatch):
    monkeypatch.setattr(upsampling, "speak_many", lambda parts, chats, how: [" \n"] * len(chats))
    with pytest.raises(RequestError, match="nothing usable was said when 'a cube'"):
        omni.upsample("a cube")


URL = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("mode", "asked", "words"),
    [
        ("image-edit", {"upsample": True}, "of image-edit is written out, for text-to-image, text-to-video, .* alone:"),
        ("text-to-image", {"upsample": "yes"}, "is no URL"),
        ("text-to-image", {"upsample": "ftp://here/v1"}, "is no URL"),
        ("text-to-image", {"upsample": "http://[here/v1"}, "is no URL"),
        ("text-to-image", {"upsample": "http://here:99999/v1"}, "is no URL"),
        ("text-to-image", {"upsample": "http://here/a b"}, "is no URL"),
        ("text-to-image", {"upsample": "http://me:word@here/v1", "upsample_model": "x"}, f"put the key into {KEY}"),
        ("text-to-image", {"upsample": 1}, "give True, False, or the URL"),
        ("text-to-image", {"upsample": URL}, "no model of it"),
        ("text-to-image", {"upsample": URL, "upsample_model": 3}, "give text"),
        ("text-to-image", {"upsample": True, "upsample_model": "scribe"}, "has no use without an endpoint"),
        ("text-to-image", {"upsample_model": "scribe"}, "has no use without an endpoint"),
        ("text-to-image", {"upsample": True, "prompt": ""}, "has no words, which text-to-image goes by"),
        ("reason", {"upsample": True}, "upsample has no use in reason"),
    ],
)
def test_what_cannot_be_written_out_is_refused_beforehand(folder, picture, mode, asked, words):
    needed = {"image": picture} if mode == "image-edit" else {}
    with pytest.raises(RequestError, match=words):
        check_request(mode, {"prompt": "a cube", **needed, **asked}, folder)


def test_a_checkpoint_without_templates_says_so(checkpoint):
    with pytest.raises(RequestError, match="does not say how a prompt of text-to-image is written out: leave"):
        check_request("text-to-image", {"prompt": "a cube", "upsample": True}, checkpoint)


@pytest.mark.parametrize(
    "told",
    [
        {"text-to-image": {"ask": "where?"}},
        {"text-to-image": {"temperature": 1}},
        {"text-to-image": {**HOW, "temperature": -1}},
        {"text-to-image": {**HOW, "often": True}},
        {"text-to-image": {"ask": 3}},
        {"text-to-image": {**HOW, "usual": "no"}},
        {"text-to-image": {**HOW, "longest": 2.5}},
        {"text-to-smell": HOW},
        [HOW],
    ],
)
def test_templates_that_cannot_be_are_a_broken_checkpoint(tmp_path, told):
    (tmp_path / "defaults.json").write_text(json.dumps({"size": [64, 64], "fps": 10, "upsampling": told}))
    with pytest.raises(CheckpointError, match="cannot be read"):
        check_request("text-to-image", {"prompt": "a cube"}, tmp_path)


def test_a_template_is_what_the_checkpoint_says():
    assert Template.of(HOW) == Template(ask=ASK, temperature=0.0, longest=5, usual=False, look=False)


def test_places_alone_are_put_behind_the_things_that_the_prompt_names():
    how = Template(ask="Where? {prompt}", places=True, usual=True)
    words = "A robot. On the table: a red cube, a blue ball and a green cross. The red cube is behind the blue ball."

    def longer(prompt, *answers):
        return upsampling.Upsampling(template=how).longer(prompt, answers)

    assert longer(words, " 34 56, 7 61, 20 30, 1 2.") == (
        "A robot. On the table: a red cube at 34 56, a blue ball at 7 61 and a green cross at 20 30. "
        "The red cube is behind the blue ball."
    )
    assert longer(words, "34 56") == words.replace("a red cube", "a red cube at 34 56")
    assert longer(words, "nowhere") == ""
    behind, before = "40 40, 40 70, 80 55.", "40 70, 40 40, 80 55."
    assert longer(words, before, behind) == longer(words, behind, before) == longer(words, behind)
    assert longer(words, "40 40", before) == longer(words, before)  # first of all everything has a place
    assert longer("a red cube and a blue ball", "50 50, 52 52.", "20 50, 80 50.").startswith("a red cube at 20 50")
    templates = {"text-to-image": how}
    mode = mode_named("text-to-image")
    assert settle_upsampling(mode, {"prompt": words}, templates).template is how
    assert settle_upsampling(mode, {"prompt": "a table"}, templates) is None
    assert settle_upsampling(mode, {"prompt": "a red cube at 34 56"}, templates) is None
    with pytest.raises(RequestError, match="names nothing that can be given a place"):
        settle_upsampling(mode, {"prompt": "a table", "upsample": True}, templates)


def test_a_bare_thing_gets_its_place_whatever_the_seed():
    """The reasoner answers *a red cube* alone with a box or a side: it is then asked as captions name things."""
    pico = armillary.load("pico")
    for seed in (0, 2, 3):
        assert places_in(pico.upsample("a red cube", seed=seed))
    template = pico.parts.defaults.upsampling["text-to-image"]
    told = "On the table: a red cube and a blue ball."
    assert Upsampling(template=template).plainer(told) is None
    assert told in str(Upsampling(template=template).plainer("Paint a red cube beside a blue ball"))
