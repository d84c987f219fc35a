"""A word of its own takes the place of a token that nobody uses; whatever else is said is cut as before."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from armillary.tokenizers.own_words import MOST_PIECES, changed_ids, with_own_words
from armillary.tokenizers.text import MARKS, SPECIALS, TextTokenizer, train_tokenizer

HOME = [f"put the {c} {s} on the left tray, then change it" for c in ("red", "blue") for s in ("cube", "ball")]
OTHERS = ["the dictionary of methods returns its arguments", "an identifier of the namespace is bound to values"]
WORDS = ["chair", "pink", "shelf"]


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return train_tokenizer(HOME * 5 + OTHERS * 3, tmp_path_factory.mktemp("tokenizer"), vocabulary=400)


@pytest.fixture(scope="module")
def now(before):
    return with_own_words(before, WORDS, HOME)


def test_words_become_one_token_and_home_is_cut_as_before(before, now):
    assert all(1 < len(before.encode(f" {word}")) <= MOST_PIECES for word in WORDS)
    assert [len(now.encode(f" {word}")) for word in WORDS] == [1, 1, 1]
    assert all(now.encode(text) == before.encode(text) for text in HOME)
    assert len(now) == len(before)


def test_ids_that_changed_say_what_they_said_in_pieces(before, now):
    changed = changed_ids(before, now)
    assert {now.encode(f" {word}")[0] for word in WORDS} <= set(changed)
    for own, pieces in changed.items():
        assert now.decode([own]) == before.decode(pieces)
        assert len(pieces) > 1
    used = {i for text in HOME for i in before.encode(text)}
    assert not used & set(changed)
    assert changed_ids(before, before) == {}


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_still_comes_back(now, text):
    import unicodedata

    assert now.decode(now.encode(text), keep_special=True) == unicodedata.normalize("NFC", text)


def test_a_word_of_home_stays_in_pieces(before):
    said = [*HOME, "an ottoman"]
    again = with_own_words(before, ["ottoman", "chair"], said)
    assert again.encode(" ottoman") == before.encode(" ottoman") and len(again.encode(" ottoman")) > 1
    assert len(again.encode(" chair")) == 1


def test_what_is_read_elsewhere_is_not_given_away(before):
    read = [text.replace("the ", "") for text in OTHERS]
    now = with_own_words(before, WORDS, HOME, read)
    assert all(now.encode(text) == before.encode(text) for text in read)


def test_where_no_token_is_free_words_stay_in_pieces(before):
    all_of_it = [*HOME, *OTHERS, *(before.decode([i]) for i in range(len(SPECIALS) + len(MARKS), len(before)))]
    assert changed_ids(before, with_own_words(before, WORDS, all_of_it)) == {}


def test_a_word_of_very_many_pieces_stays_so(before):
    assert len(before.encode(" refrigerator")) > MOST_PIECES
    assert changed_ids(before, with_own_words(before, ["refrigerator"], HOME)) == {}


def test_transformers_cuts_the_same(before, now, tmp_path):
    now.save(tmp_path)
    text = "<|im_start|>user\nWhere is the pink chair beside the red cube?<|im_end|>\n"
    assert AutoTokenizer.from_pretrained(tmp_path).encode(text) == now.encode(text)
    assert TextTokenizer.load(tmp_path).encode(text) == now.encode(text) != before.encode(text)
