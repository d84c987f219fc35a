"""Any text comes back from its ids, and the chat has the marks where Qwen has them."""

import hashlib
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from armillary.errors import CheckpointError, ConfigError, RequestError
from armillary.prompts import action_prompt, chat_text, video_prompt
from armillary.tokenizers.text import MARKS, SPECIALS, TextTokenizer, train_tokenizer

TEXTS = [f"put the {c} {s} on the {side} tray" for c in ("red", "blue") for s in ("cube", "ball") for side in ("left",)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train_tokenizer(TEXTS * 5, tmp_path_factory.mktemp("tokenizer"), vocabulary=340)


@settings(max_examples=80, deadline=None)
@given(text=st.text(max_size=60))
@example(text="a <|image_pad|> b")
def test_any_text_comes_back(tokenizer, text):
    import unicodedata

    composed = unicodedata.normalize("NFC", text)
    assert tokenizer.decode(tokenizer.encode(text), keep_special=True) == composed
    if not any(special in composed for special in SPECIALS):
        assert tokenizer.decode(tokenizer.encode(text)) == composed


def test_known_words_take_few_tokens_and_unknown_ones_their_bytes(tokenizer):
    assert len(tokenizer.encode(" cube")) == 1
    assert len(tokenizer.encode("😀")) == 4


def test_special_tokens_are_one_id_each_and_first(tokenizer):
    ids = [tokenizer.encode(token) for token in (*SPECIALS, *MARKS)]
    assert ids == [[i] for i in range(len(SPECIALS) + len(MARKS))]
    assert tokenizer.decode(tokenizer.encode("<|im_start|>a<think>b</think>")) == "a<think>b</think>"
    assert tokenizer.decode(tokenizer.encode("<|im_start|>a"), keep_special=True) == "<|im_start|>a"


def test_the_prompt_ends_where_the_picture_begins(tokenizer):
    ids = tokenizer.prompt_ids("put the red cube on the left tray")
    assert ids[0] == tokenizer.im_start
    assert ids[-2:] == [tokenizer.im_end, tokenizer.vision_start]
    words = tokenizer.decode(ids[:-2], keep_special=True)
    assert words == "<|im_start|>user\nput the red cube on the left tray<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.prompt_ids("x", system="be brief")[: len(tokenizer.encode("<|im_start|>system\nbe brief"))] == (
        tokenizer.encode("<|im_start|>system\nbe brief")
    )


def test_a_picture_and_a_film_stand_in_the_chat_as_one_mark_each(tokenizer):
    parts = [{"type": "image", "image": "a.png"}, {"type": "video", "video": "b.mp4"}, {"type": "text", "text": "why?"}]
    ids = tokenizer.chat_ids([{"role": "user", "content": parts}])
    assert ids.count(tokenizer.image_pad) == ids.count(tokenizer.video_pad) == 1
    assert ids[ids.index(tokenizer.image_pad) - 1] == tokenizer.vision_start
    assert ids[ids.index(tokenizer.image_pad) + 1] == tokenizer.vision_end


def test_the_same_texts_give_the_same_file(tmp_path):
    hashes = []
    for name in ("a", "b"):
        train_tokenizer(TEXTS, tmp_path / name, vocabulary=300)
        hashes.append(hashlib.sha256((tmp_path / name / "tokenizer.json").read_bytes()).hexdigest())
    assert hashes[0] == hashes[1]


def test_the_vocabulary_is_never_larger_than_asked(tmp_path):
    assert len(train_tokenizer(TEXTS, tmp_path, vocabulary=300)) <= 300
    with pytest.raises(ConfigError, match="special tokens and bytes alone take 270"):
        train_tokenizer(TEXTS, tmp_path, vocabulary=200)


def test_a_folder_that_is_no_tokenizer_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        TextTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        TextTokenizer.load(tmp_path)


def test_a_tokenizer_without_the_marks_is_refused(tmp_path, tokenizer):
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"lacks <\|endoftext"):
        TextTokenizer.load(tmp_path)


def test_a_message_without_role_or_known_part_is_refused():
    with pytest.raises(RequestError, match="needs 'role' and 'content'"):
        chat_text([{"content": "x"}])
    with pytest.raises(RequestError, match="text, image or video"):
        chat_text([{"role": "user", "content": [{"type": "smell"}]}])


def test_an_action_prompt_is_json_that_says_time_size_and_task():
    said = json.loads(action_prompt("push it", frames=17, fps=10.0, height=256, width=256))
    assert list(said) == ["cinematography", "actions", "duration", "fps", "resolution", "aspect_ratio"]
    assert said["actions"] == [{"time": "0:00-0:02", "description": "push it."}]
    assert said["duration"] == "1s"  # cut, where the time above is rounded: both as published
    assert said["resolution"] == {"H": 256, "W": 256}
    with pytest.raises(RequestError, match="view 'below' is unknown"):
        action_prompt("push it", frames=17, fps=10.0, height=256, width=256, view="below")


def test_a_film_prompt_ends_in_its_length_rate_and_size():
    said = video_prompt("a cube falls.", frames=17, fps=10.0, height=128, width=128)
    assert said == (
        "a cube falls. The video is 1.7 seconds long and is of 10 FPS. This video is of 128x128 resolution."
    )
    assert video_prompt("", frames=1, fps=10.0, height=64, width=96) == "This image is of 64x96 resolution."
