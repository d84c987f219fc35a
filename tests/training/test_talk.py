"""What the reasoner learns from: answers alone, pictures in the places kept for them, batches from chance alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import moving_square, small_checkpoint, small_config, small_model

from armillary.datasets.raw import save_raw
from armillary.errors import ConfigError, DataError
from armillary.model import TwoTowers, load_model, save_model
from armillary.prompts import places_in, with_places
from armillary.records import Question
from armillary.tokenizers.text import TextTokenizer
from armillary.training.dreams import Lesson
from armillary.training.heard import with_ears
from armillary.training.loop import Stage
from armillary.training.reasoner import ReasonerRun, drift, learn_tokenizer, train_reasoner
from armillary.training.talk import (
    DOING,
    NO_LABEL,
    PLACES,
    REPORT,
    TalkSource,
    layouts_of,
    pictures_of,
    plan_pictures,
    prompts_of,
    related,
    talk_loss,
)  # fmt: skip
from armillary.worlds.record import record_tabletop

ANSWERS = {"Which colour is the square?": "red", "Where is it?": "in the middle", "How many are there?": "one"}


def episode(seed, *, success=True):
    plain = moving_square(seed, frames=20, side=64)
    questions = [
        Question(task="t", words=words, answer=answer, frames=(frame,))
        for frame in (0, 10)
        for words, answer in ANSWERS.items()
    ]
    captions = {"short": "A square is pushed.", "dense": "A red square moves about.", "report 0": "One red square."}
    return replace(
        plain, frames={"front": plain.frames["top"]}, questions=questions, captions=captions, success=success
    )


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talk")
    for seed in range(3):
        save_raw(folder / f"episode_{seed:06d}.npz", episode(seed, success=seed != 1))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("words"))


def rng(*seed):
    return np.random.default_rng(seed)


def test_every_annotated_frame_is_a_picture_and_only_done_deeds_are_films():
    done, not_done = pictures_of(episode(0)), pictures_of(episode(0, success=False))
    assert [one.frames.shape for one in done] == [(64, 64, 3)] * 2 + [(4, 64, 64, 3)]
    said = [[(turn.words, turn.answer) for turn in one.turns] for one in done]
    assert (REPORT, "One red square.") in said[0] and len(said[1]) == 3 and said[2] == [(DOING, "A square is pushed.")]
    assert [bool(one.seconds) for one in not_done] == [False, False]


@pytest.mark.parametrize("kind", ["still", "film"])
def test_only_answers_are_learnt_and_each_is_whole(made, raw, kind):
    words: TextTokenizer = made[1]
    talk = TalkSource([raw], words).batch(rng(1), 4, kind=kind)
    known = {answer for one in pictures_of(episode(0)) for answer in (turn.answer for turn in one.turns)}
    for ids, mask, labels in zip(talk.ids, talk.mask, talk.labels, strict=True):
        learnt = labels != NO_LABEL
        assert not learnt[~mask].any() and torch.equal(labels[learnt], ids[learnt])
        said: list[list[int]] = [[]]
        for number in ids[learnt].tolist():
            said = [*said, []] if number == words.im_end else [*said[:-1], [*said[-1], number]]
        assert {words.decode(one).strip() for one in said if one} <= known and len(said) > 1


@pytest.mark.parametrize("kind", ["still", "film"])
def test_pictures_fill_exactly_the_places_kept_for_them(made, raw, kind):
    model, words = made
    talk = TalkSource([raw], words).batch(rng(2), 3, kind=kind)
    pad = words.video_pad if kind == "film" else words.image_pad
    kept = ((talk.ids == pad) & talk.mask).sum()
    assert kept == sum(t * h * w for t, h, w in talk.visual.grids) // model.config.vision.merge**2
    assert torch.isfinite(talk_loss(model, talk)["loss"])


def test_of_a_prompt_every_word_is_learnt(made, raw):
    talk = TalkSource([raw], made[1]).batch(rng(3), 2, kind="prompt")
    assert talk.visual is None and torch.equal(talk.labels[talk.mask], talk.ids[talk.mask])
    ids = talk.ids[0][talk.mask[0]].tolist()
    assert ids in [made[1].prompt_ids(prompt) for prompt in prompts_of(episode(0))]


def test_a_batch_is_a_function_of_seed_and_step(made, raw):
    source = TalkSource([raw], made[1])
    one, same, other = (source.batch(rng(4, step), 4, kind="still") for step in (0, 0, 1))
    assert torch.equal(one.ids, same.ids) and torch.equal(one.visual.patches, same.visual.patches)
    assert one.ids.shape != other.ids.shape or not torch.equal(one.ids, other.ids)


def test_long_talks_are_cut_between_turns(made, raw):
    source = TalkSource([raw], made[1], longest=40)
    full = TalkSource([raw], made[1]).batch(rng(5), 8, kind="still")
    talk = source.batch(rng(5), 8, kind="still")
    assert talk.ids.shape[1] < full.ids.shape[1]
    starts = (talk.labels != NO_LABEL).sum(dim=1)
    assert (starts > 0).all()


def test_tasks_are_asked_by_their_shares_and_no_more_than_most(made, raw):
    def questions(**how):
        source = TalkSource([raw], made[1], **how)
        talk = source.batch(rng(5), 24, kind="still")
        return [made[1].decode(ids[mask].tolist()) for ids, mask in zip(talk.ids, talk.mask, strict=True)]

    assert all(text.count("assistant") == 2 for text in questions(most=2))
    reports = sum(REPORT in text for text in questions())
    assert reports > 5 and sum(REPORT in text for text in questions(shares={"report": 0.0})) == 0
    assert any("Where is it?" in text for text in questions(shares={"report": 0.0, "t": 0.5}))


def test_plans_are_samples_of_their_own_and_their_frame_is_the_one_they_speak_of(made, raw, tmp_path):
    lived = record_tabletop(1, views=("front",), extras=(), size=(64, 64))
    save_raw(tmp_path / "episode_000001.npz", lived)
    shown = plan_pictures(lived, 4)
    assert len(shown) == 4 and len({one.turns[0].answer for one in shown}) == 4
    for one in shown:
        assert np.array_equal(one.frames, lived.frames["front"][one.turns[0].frames[0]]) and len(one.turns) == 1
    source = TalkSource([tmp_path], made[1], plans=4)
    talk = source.batch(rng(8), 6, kind="plan")
    said = {made[1].decode(row[row != NO_LABEL].tolist()).strip() for row in talk.labels}
    assert len(said) > 1 and said <= {one.turns[0].answer for one in shown}
    assert TalkSource([tmp_path], made[1]).plans == []  # not kept where nobody learns them
    with pytest.raises(DataError, match="pico-data"):
        TalkSource([raw], made[1], plans=4)


def test_eyes_that_learn_no_more_look_once_and_see_the_same(made, raw):
    model, words = made
    for kind in ("still", "film"):
        fresh = TalkSource([raw], words).batch(rng(7), 3, kind=kind)
        source = TalkSource([raw], words, eyes=model.visual)
        kept = source.batch(rng(7), 3, kind=kind)
        assert torch.equal(fresh.ids, kept.ids) and fresh.visual.grids == kept.visual.grids
        tokens, features = model.visual(fresh.visual, torch.float32)
        torch.testing.assert_close(kept.visual.tokens.float(), tokens, rtol=1e-2, atol=1e-2)
        assert len(features) == len(kept.visual.features)
        assert source.batch(rng(7), 3, kind=kind).visual.tokens.equal(kept.visual.tokens)
        assert torch.isfinite(talk_loss(model, kept)["loss"])


def test_a_reasoner_goes_through_its_lessons_and_a_kill_changes_nothing(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    save_raw(raw / "episode_000003.npz", record_tabletop(3, views=("front",), extras=(), max_steps=8))
    words = learn_tokenizer(raw, tmp_path / "words", vocabulary=400)
    small = replace(small_config(words), tower=replace(small_config(words).tower, width=64))
    stage = Stage(name="r", steps=2, batch=2, rate=1e-3, warmup=1, bf16=False, log_every=1, save_seconds=0.0)
    lessons = tuple(Lesson(stage=replace(stage, minutes=5.0), shares={task: 1.0}) for task in ("colour", "relation"))

    def run(out, *, minutes):
        folder = tmp_path / out / "checkpoint/text_tokenizer"
        if not folder.exists():
            learn_tokenizer(raw, folder, vocabulary=400)
        cut = tuple(replace(one, stage=replace(one.stage, minutes=minutes)) for one in lessons)
        settings = ReasonerRun(
            data=raw, out=tmp_path / out, stage=stage, model=small, eyes=stage, lessons=cut, look_once=True
        )
        return train_reasoner(settings, lambda _: None)

    assert run("whole", minutes=5.0)
    assert not run("cut", minutes=1e-9)  # ends in the first lesson
    assert not (tmp_path / "cut/lesson_1").exists() and run("cut", minutes=5.0)
    weights = "checkpoint/transformer/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "whole" / weights).read_bytes() == (tmp_path / "cut" / weights).read_bytes()


def test_the_loss_of_a_few_answers_goes_to_near_zero(raw, made):
    torch.manual_seed(0)
    model, source = TwoTowers(small_config(made[1])), TalkSource([raw], made[1])
    optimizer = torch.optim.AdamW(model.reasoner_parameters(), lr=5e-3)
    losses = []
    for step in range(60):
        values = talk_loss(model, source.batch(rng(6, step), 4, kind="still"))
        optimizer.zero_grad()
        values["loss"].backward()
        optimizer.step()
        losses.append(values["loss"].item())
    assert losses[-1] < 0.1 * losses[0] and values["right"].item() > 0.9


def test_a_reasoner_that_was_killed_goes_on_with_the_losses_it_would_have_had(raw, tmp_path):
    words = learn_tokenizer(raw, tmp_path / "words", vocabulary=400)
    stage = Stage(
        name="r", steps=4, batch=2, rate=1e-3, warmup=1, bf16=False, log_every=1, save_seconds=0.0, minutes=5.0
    )

    def run(out, *, end):
        (tmp_path / out / "checkpoint").mkdir(parents=True, exist_ok=True)
        if not (tmp_path / out / "checkpoint/text_tokenizer").exists():
            learn_tokenizer(raw, tmp_path / out / "checkpoint/text_tokenizer", vocabulary=400)
        settings = ReasonerRun(
            data=raw, out=tmp_path / out, stage=replace(stage, minutes=end), model=small_config(words)
        )
        return train_reasoner(settings, lambda _: None)

    assert run("whole", end=5.0)
    assert not run("cut", end=1e-9)
    assert run("cut", end=5.0)
    one, other = (
        [row.split('"rate"')[0] for row in (tmp_path / out / "metrics.jsonl").read_text().splitlines()]
        for out in ("whole", "cut")
    )
    assert one == other and len(one) == 4
    weights = "checkpoint/transformer/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "whole" / weights).read_bytes() == (tmp_path / "cut" / weights).read_bytes()


def test_a_reasoner_that_keeps_its_memory_strays_less_from_what_the_generator_knows(raw, tmp_path):
    origin = small_checkpoint(tmp_path / "origin")
    known, words = load_model(origin, dtype=torch.float32), TextTokenizer.load(origin / "text_tokenizer")
    prompts = TalkSource([raw], words).batch(rng(9), 4, kind="prompt")
    stage = Stage(name="r", steps=20, batch=2, rate=3e-3, warmup=1, bf16=False, log_every=10)
    strayed = {}
    for keep in (0.0, 20.0):
        out = tmp_path / str(keep)
        run = ReasonerRun(
            data=raw, out=out, stage=stage, model=small_config(words), origin=origin, seeing=True, keep=keep
        )
        assert train_reasoner(run, lambda _: None)
        strayed[keep] = drift(load_model(out / "checkpoint", dtype=torch.float32), known, prompts).item()
    assert drift(known, known, prompts).item() == 0.0
    assert 0.0 < strayed[20.0] < 0.3 * strayed[0.0]


def test_a_reasoner_goes_on_beside_a_generator_that_hears_and_dreams_as_its_eyes_were_taught(raw, tmp_path):
    origin = small_checkpoint(tmp_path / "origin")
    model = with_ears(load_model(origin, dtype=torch.float32))
    save_model(origin, model, dtype=torch.float32)
    louder = load_model(origin, dtype=torch.float32)
    with torch.no_grad():
        louder.transformer.embed_tokens.weight.mul_(2.0)
    save_model(tmp_path / "taught", louder, dtype=torch.float32)
    stage = Stage(name="r", steps=1, batch=2, rate=3e-3, warmup=1, bf16=False, log_every=1)
    said = {}
    for taught in (None, tmp_path / "taught"):
        out = tmp_path / str(taught is None)
        lesson = Lesson(stage=stage, shares={"box": 1.0})
        run = ReasonerRun(data=raw, out=out, stage=stage, origin=origin, seeing=True, lessons=(lesson,), taught=taught)
        assert train_reasoner(run, lambda _: None)
        after = load_model(out / "checkpoint", dtype=torch.float32)
        torch.testing.assert_close(after.transformer.audio_proj_in.weight, model.transformer.audio_proj_in.weight,
                                   atol=1e-2, rtol=1e-2)  # fmt: skip
        said[taught] = json.loads((out / "lesson_0/metrics.jsonl").read_text().splitlines()[0])["loss"]
    assert said[None] != said[tmp_path / "taught"], "things look louder to eyes that were taught louder words"


def test_there_is_no_memory_to_keep_without_an_origin(tmp_path):
    with pytest.raises(ConfigError, match="--origin"):
        ReasonerRun(data=tmp_path, out=tmp_path, stage=Stage(name="r", steps=1, batch=1, rate=1e-3), keep=1.0)


SCENE = "On the table: a blue ball, a red cube and a green cross."


def laid_out(seed):
    told = {"short": "The robot lifts the ball.", "scene": SCENE, "dense": f"The robot lifts the ball. {SCENE}",
            "report 0": "a red cube at 20 50, a blue ball at 60 52, a green cross at 62 80."}  # fmt: skip
    return replace(episode(seed), captions=told)


def test_places_come_in_the_order_of_the_words_and_what_is_said_of_two_things_is_true():
    (layout,) = layouts_of(laid_out(0))
    assert layouts_of(episode(0)) == []  # its report has no places
    assert layout.answer == "60 52, 20 50, 62 80."  # the ball is named first
    told = {related(layout, rng(step)) for step in range(200)}
    assert all(places_in(with_places(words, layout.answer)) == list(layout.things) for words in told)
    sentences = {f"{part.strip('.')}." for words in told for part in words.split(". ")[1:] if " is " in part}
    assert sentences == {
        "The red cube is to the left of the blue ball.", "The blue ball is to the right of the red cube.",
        "The green cross is in front of the blue ball.", "The blue ball is behind the green cross.",
    }  # fmt: skip  # of the cube and the cross neither direction clearly wins


def test_a_batch_of_layouts_teaches_the_places_alone(made, tmp_path):
    _, words = made
    save_raw(tmp_path / "episode_000000.npz", laid_out(0))
    talk = TalkSource([tmp_path], words).batch(rng(2), 5, kind="layout")
    assert talk.visual is None
    for ids, mask, labels in zip(talk.ids, talk.mask, talk.labels, strict=True):
        assert PLACES.partition("{")[0] in words.decode(ids[mask].tolist())
        assert words.decode(labels[labels != NO_LABEL].tolist()).strip() == "60 52, 20 50, 62 80."


def test_a_kind_of_talk_that_is_none_is_refused(tmp_path):
    stage = Stage(name="talk", steps=1, batch=1, rate=1e-3)
    with pytest.raises(ConfigError, match="still, film, plan, prompt or layout"):
        ReasonerRun(data=tmp_path, out=tmp_path, stage=stage, kinds=("still", "song"))
