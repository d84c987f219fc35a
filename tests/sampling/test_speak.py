"""The laws of speaking: cached equals uncached, greedy is sure, chance is seeded, pictures are seen."""

import numpy as np
import pytest
import torch

from armillary.errors import RequestError
from armillary.model import load_model
from armillary.sampling import speak
from armillary.sampling.echo import Echo
from armillary.sampling.speak import Heard, Manner, choose, hear, say

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_cached_words_are_the_uncached_ones(omni):
    """Word by word with a cache equals reading the whole chat anew for each word."""
    messages = [{"role": "user", "content": [{"type": "image", "image": PICTURE}, {"type": "text", "text": "what?"}]}]
    said = omni.chat(messages, longest=6)
    text, visual = hear(omni.parts, messages)
    ids = omni.parts.text.encode(text)
    start = len(ids)
    model = omni.parts.model("reasoner", "vision")
    for _ in range(6):
        row = torch.tensor([ids])
        with torch.no_grad():
            token = int(model.logits(row, torch.ones_like(row, dtype=torch.bool), visual)[0, -1].argmax())
        if token in (omni.parts.text.im_end, omni.parts.text.endoftext):
            break
        ids.append(token)
    assert omni.parts.text.decode(ids[start:]) == said


def test_many_questions_are_answered_as_each_alone(omni):
    """Of other lengths, with and without pictures, in manners of their own, more than fit one batch."""
    asked = [{"question": "why " * (1 + i % 5) + "?", "longest": 1 + 3 * i % 7, "seed": i} for i in range(5)]
    asked[1] |= {"image": PICTURE, "temperature": 1.5}
    asked[3] |= {"video": np.stack([PICTURE] * 9)}
    alone = [omni.ask(one["question"], **{k: v for k, v in one.items() if k != "question"}) for one in asked]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speak, "MOST_AT_ONCE", 3)
        assert omni.ask_many(asked) == alone
    assert omni.ask_many(asked) == alone
    assert len(set(alone)) > 2
    assert omni.ask_many([]) == []


def test_many_questions_take_as_many_steps_as_the_longest_answer(omni, monkeypatch):
    model = omni.parts.model("reasoner")
    sizes = []
    plain = model.step
    monkeypatch.setattr(model, "step", lambda ids, *rest, **how: (sizes.append(len(ids)), plain(ids, *rest, **how))[1])
    questions = [{"question": "what?", "longest": longest} for longest in (3, 9, 5)]
    tokens = [len(omni.parts.text.encode(answer)) for answer in omni.ask_many(questions)]
    assert tokens and len(sizes) <= 9
    assert sizes[0] == 3
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_wrong_with_one_question_of_many_is_said_with_its_number(omni):
    with pytest.raises(RequestError, match="question 1 has no words"):
        omni.ask_many(["why?", {"image": PICTURE}])
    with pytest.raises(RequestError, match=r"chat 1: .*no file"):
        omni.ask_many(["why?", {"question": "what?", "image": "gone.png"}])


def test_greedy_words_are_the_same_each_time_and_seeded_chance_too(omni):
    assert omni.ask("why?", longest=8) == omni.ask("why?", longest=8)
    loose = {"longest": 12, "temperature": 2.0}
    assert omni.ask("why?", seed=1, **loose) == omni.ask("why?", seed=1, **loose)
    assert len({omni.ask("why?", seed=seed, **loose) for seed in range(4)}) > 1


def test_the_pieces_of_a_stream_join_to_the_reply(omni):
    messages = [{"role": "user", "content": "tell me"}]
    pieces = list(omni.chat(messages, stream=True, longest=20))
    assert len(pieces) > 1
    assert "".join(pieces) == omni.chat(messages, longest=20)


def test_another_picture_can_change_the_words(omni):
    scores = []
    model = omni.parts.model("reasoner", "vision")
    for picture in (PICTURE, 255 - PICTURE):
        text, visual = hear(omni.parts, [{"role": "user", "content": [{"type": "image", "image": picture}]}])
        with torch.no_grad():
            scores.append(model.step(torch.tensor([omni.parts.text.encode(text)]), visual=visual)[0])
    assert not torch.allclose(scores[0], scores[1])


def test_a_film_is_shown_as_timed_pairs(omni):
    film = np.stack([PICTURE] * 17)
    text, visual = hear(omni.parts, [{"role": "user", "content": [{"type": "video", "video": film, "fps": 10.0}]}])
    assert visual.grids == ((2, 16, 16),)
    assert text.count("seconds>") == 2
    assert text.count("<|video_pad|>") == 128
    assert omni.ask("what happens?", video=film, longest=3) == omni.ask("what happens?", video=film, longest=3)


def test_reason_is_a_mode_like_others(omni):
    rollout = omni.imagine("reason", prompt="what is it?", image=PICTURE)
    assert rollout.text == omni.ask("what is it?", image=PICTURE)
    assert rollout.provenance["request"]["film"]["shape"] == [1, 64, 64, 3]


def test_the_likeliest_few_are_kept_and_no_others():
    scores = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    chance = torch.Generator().manual_seed(0)

    def drawn(**how):
        return {choose(scores, Manner(temperature=1.0, **how), chance) for _ in range(300)}

    assert choose(scores, Manner(), chance) == 0
    assert drawn() == {0, 1, 2, 3}
    assert drawn(top_k=2) == {0, 1}
    assert drawn(top_p=0.4) == {0}
    assert drawn(top_p=0.7) == {0, 1}
    assert drawn(top_k=3, top_p=0.9) == {0, 1, 2}


def test_temperature_sharpens_and_flattens():
    scores = torch.log(torch.tensor([0.6, 0.4]))

    def share(temperature):
        chance = torch.Generator().manual_seed(0)
        picks = [choose(scores, Manner(temperature=temperature), chance) for _ in range(2000)]
        return picks.count(0) / 2000

    assert share(1.0) == pytest.approx(0.6, abs=0.04)
    assert share(0.5) == pytest.approx(0.36 / 0.52, abs=0.04)


@pytest.mark.parametrize(
    ("messages", "how", "words"),
    [
        ([], {}, "at least one turn"),
        ([{"role": "user"}], {}, "needs 'role' and 'content'"),
        ([{"role": "user", "content": [{"type": "image", "image": "gone.png"}]}], {}, "no file"),
        ([{"role": "user", "content": "<|vision_start|><|image_pad|><|vision_end|>"}], {}, "give each picture"),
        ([{"role": "user", "content": "hi"}], {"warmth": 1}, "not a way of speaking"),
        ([{"role": "user", "content": "hi"}], {"top_p": 0.0}, "top_p=0.0 is out of range: give a number above 0"),
        ([{"role": "user", "content": "hi"}], {"longest": 0}, "^longest=0 is out of range: give a whole number from 1"),
        ([{"role": "user", "content": "hi"}], {"longest": 2.5}, "longest=2.5 is out of range"),
        ([{"role": "user", "content": "hi"}], {"longest": True}, "longest=True is out of range"),
        ([{"role": "user", "content": "hi"}], {"temperature": float("nan")}, "^temperature=nan is out of range: give"),
        ([{"role": "user", "content": "hi"}], {"temperature": float("inf")}, "temperature=inf is out of range"),
        ([{"role": "user", "content": "hi"}], {"temperature": "hot"}, "temperature='hot' is out of range"),
        ([{"role": "user", "content": "hi"}], {"top_k": -1}, "top_k=-1 is out of range"),
        ([{"role": "user", "content": "hi"}], {"seed": None}, "seed=None is out of range"),
        ([{"role": "user", "content": "hi " * 5000}], {}, "no room for a reply: at most 4096 are read"),
        (
            [{"role": "user", "content": [{"type": "video", "video": np.zeros((2, 4, 4, 3), np.uint8), "fps": 0}]}],
            {},
            "above 0",
        ),
    ],
)
def test_a_chat_that_cannot_be_is_refused_before_a_word_is_said(omni, messages, how, words):
    with pytest.raises(RequestError, match=words):
        omni.chat(messages, stream=True, **how)


@pytest.mark.parametrize("question", ["", "  \n", None, 3, ["why?"]])
def test_a_question_without_words_is_refused(omni, question):
    with pytest.raises(RequestError, match="question 0 has no words, it is"):
        omni.ask_many([{"question": question, "image": PICTURE}])
    if isinstance(question, str):
        with pytest.raises(RequestError, match="the question has no words"):
            omni.ask(question)


def test_the_coldest_chance_takes_the_likeliest(omni):
    assert omni.ask("why?", longest=6, temperature=1e-300) == omni.ask("why?", longest=6)


def test_a_tokenizer_that_does_not_say_how_much_it_reads_leaves_that_to_the_model(omni, monkeypatch):
    assert omni.parts.longest_chat == 4096 < omni.parts.sizes.max_positions
    monkeypatch.setattr(omni.parts.text, "longest", None)
    assert omni.parts.longest_chat == omni.parts.sizes.max_positions


def test_guesses_are_what_followed_the_last_time_and_fewer_the_more_were_wrong():
    echo = Echo([1, 2, 3, 4, 5, 9, 1, 2])
    assert echo.guesses(8) == [3]
    assert echo.guesses(0) == []
    echo.follow([1, 2, 3, 4, 5, 9, 1, 2, 3, 4, 5])
    assert echo.guesses(8) == [9, 1, 2], "what was guessed came, so more is guessed"
    echo.follow([1, 2, 3, 4, 5, 9, 1, 2, 3, 4, 5, 7])
    assert echo.guesses(8) == [], "never stood there"
    for _ in range(4):
        echo.follow([*echo._text, 1, 2, len(echo._text) + 20])
    echo.follow([*echo._text, 1, 2])
    assert echo.guesses(8) == [], "it has been wrong too often"


@pytest.fixture
def parrot(omni, monkeypatch):
    """A model whose next token follows from the one before: the text turns in circles. Each pass is counted."""
    model = omni.parts.model("reasoner")
    plain, passes = model.step, []

    def step(ids, cache=None, *, every=False, likeliest=False, **how):
        scores, cache = plain(ids, cache, every=every, **how)
        passes.append(1)
        last = ids if every else ids[:, -1]
        scores = scores + 100.0 * torch.nn.functional.one_hot((last + 1) % 50, scores.shape[-1])
        return scores.argmax(dim=-1) if likeliest else scores, cache

    monkeypatch.setattr(model, "step", step)
    return model, passes


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_text_that_repeats_itself_takes_fewer_passes_and_stays_the_same(parrot, temperature):
    model, passes = parrot
    manner = Manner(temperature=temperature, seed=3)
    heard = [Heard(ids=[*range(50)] * 2, visual=None, manner=manner, longest=60)]
    heard += [Heard(ids=[0, 1, 2], visual=None, manner=manner, longest=4)]
    plain = list(say(model, heard, ends=(), guess=False))
    assert len(passes) == 60 and len(plain) == 64
    passes.clear()
    guessed = list(say(model, heard, ends=()))
    assert sorted(guessed) == sorted(plain)
    assert [one for one in guessed if one[0] == 0] == [(0, token % 50) for token in range(60)]
    assert len(passes) < 25


def test_a_text_that_never_repeats_itself_stays_the_same_too(omni):
    model = omni.parts.model("reasoner")
    for temperature in (0.0, 2.0):
        heard = [Heard(ids=[5, 6] * 8, visual=None, manner=Manner(temperature=temperature, seed=1), longest=40)]
        said = [[token for _, token in say(model, heard, ends=(), guess=one)] for one in (True, False)]
        assert said[0] == said[1] and len(said[0]) == 40


@pytest.mark.parametrize(("dtype", "apart"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_one_pass_over_many_words_says_what_one_by_one_would_unless_two_words_are_as_near_as_rounding(
    checkpoint, dtype, apart
):
    """Which is all that holds of guesses: a near tie may fall the other way, as it may in another batch."""
    model = load_model(checkpoint, dtype=dtype, towers=("reasoner",), quick=True)
    ids = torch.randint(10, 60, (1, 60), generator=torch.Generator().manual_seed(5))
    together, _ = model.step(ids[:, 20:], model.step(ids[:, :20])[1], every=True)
    scores, cache = model.step(ids[:, :20])
    alone = []
    for place in range(20, 60):
        scores, cache = model.step(ids[:, place : place + 1], cache)
        alone.append(scores)
    one, other = torch.stack(alone, dim=1)[0].float(), together[0].float()
    worst = (one - other).abs().max()
    assert worst <= apart * one.abs().max()
    best = one.topk(2, dim=-1).values
    sure = best[:, 0] - best[:, 1] > 2 * worst
    assert sure.sum() >= 20
    assert torch.equal(one.argmax(-1)[sure], other.argmax(-1)[sure])


def test_what_is_guessed_ends_where_the_reply_ends(parrot):
    heard = [Heard(ids=[*range(50)] * 3, visual=None, manner=Manner(), longest=30)]
    assert [token for _, token in say(parrot[0], heard, ends=(23,))] == [*range(23)]
    assert [token for _, token in say(parrot[0], heard, ends=())] == [*range(30)]
