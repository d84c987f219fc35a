"""What the demo page shows: what a checkpoint can do on seeds nobody has trained or been measured on, beside the truth.

    an opened model, how much, a first seed   --gather-->   a Page (page.py makes it HTML)

The numbers are those of the very films, answers and drives on the page, by the same functions that make the card's;
the card's own figures stand beside them, so that one sees how far a few samples may be from many.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from armillary.closed_loop.drive import drive_together
from armillary.closed_loop.policies import Chunks
from armillary.datasets.sounds import sound_again
from armillary.embodiments import load_embodiment
from armillary.evaluation.answers import Guesser, answers_figures, measure_answers, questions_of, same
from armillary.evaluation.behaviour import Attempt, policy_figures
from armillary.evaluation.bootstrap import Figure
from armillary.evaluation.dynamics import (
    EMBODIMENT,
    InverseScore,
    forward_figures,
    imagined_films,
    inverse_figures,
    measure_forward,
)
from armillary.evaluation.films import SEARCHES, facts_of, filmed, films_figures, words_of
from armillary.evaluation.held_out import CAMERA, FRAMES, HeldClip, HeldOut, clip_at, moving_clips, scene
from armillary.evaluation.page import Answer, Chart, Film, Number, Page, Reading, Section
from armillary.evaluation.report import ROWS
from armillary.evaluation.shapes import ShapeJudge
from armillary.records import Array, Episode
from armillary.sampling.abilities import modes_of
from armillary.sampling.hearing import heard_in
from armillary.worlds.tabletop import SPEC, Tabletop

if TYPE_CHECKING:
    from armillary.sampling.omni import Omni

FIRST_SEED = 2_000_000  # training uses seeds below 1,000,000, evaluation those from there to here
REPORT, DOING = "Describe what you see.", "What is the robot doing?"
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Much:
    """How much is shown of everything. ``readings``: of each of three controllers. ``judged``: true tables on which the
    judge of shapes is fitted."""

    films: int
    clips: int
    readings: int
    lives: int
    steps: int
    questions: int
    reports: int
    judged: int


FULL = Much(films=4, clips=4, readings=2, lives=6, steps=SPEC.max_steps, questions=12, reports=3, judged=60)
QUICK = Much(films=2, clips=2, readings=1, lives=2, steps=SPEC.max_steps, questions=4, reports=1, judged=30)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """What every section works with: the model, how much, where held-out lives come from, the card's figures."""

    omni: "Omni"
    much: Much
    held: HeldOut
    card: Mapping[str, Any]

    def numbers(self, section: str, figures: Mapping[str, Figure], keys: Sequence[str]) -> list[Number]:
        """These figures in the words of the report, each beside the card's."""
        found = []
        for row in ROWS:
            name = row.key.removeprefix(f"{section}/")
            if name in keys and name in figures and row.key.startswith(f"{section}/"):
                figure = figures[name]
                found.append(Number(words=row.words.strip(), unit=row.unit, value=figure.value, n=figure.n,
                                    card=self.card.get(row.key)))  # fmt: skip
        return found


def gather(omni: "Omni", much: Much = FULL, *, seed: int = FIRST_SEED, report: Report = print) -> Page:
    """Do all of it; ``report`` is told each part and how long it took. ``ConfigError`` for a seed below a million."""
    begun = time.monotonic()
    card = read_card(omni.parts.folder)
    sections = []
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(omni=omni, much=much, held=HeldOut(Path(folder), seed=seed), card=card)
        for number, (title, show) in enumerate(PARTS.items(), 1):
            start = time.monotonic()
            report(f"[{number}/{len(PARTS)}] {title} ...")
            sections.append(show(stage, title))
            report(f"      {time.monotonic() - start:.0f} s")
    about = omni.parts
    facts = [
        ("Model", f"{about.folder.name}, weights {about.weights_sha256[:16]}, {about.device.type}, {omni.parts.dtype}"),
        ("Seeds", f"from {seed:,} on; training used those below 1,000,000, the card's figures those from there to "
                  f"{FIRST_SEED:,}"),
        ("Numbers", "here: of exactly what is shown, n samples; card: the same figure of many, with its 95 % interval"),
        ("Made in", f"{time.monotonic() - begun:.0f} seconds"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in about.versions.items())),
    ]  # fmt: skip
    lead = (
        "One model imagines film from words, goes on from a picture, foresees what actions do, reads actions off a "
        "film, acts, and answers. Every scene here is new to it; nothing was picked by hand."
    )
    if about.defaults.untrained:
        lead = f"{about.defaults.untrained} {lead}"
    return Page(
        title=f"What {about.folder.name.capitalize()} imagines, foresees and does",
        lead=lead,
        sections=sections,
        facts=facts,
    )


def read_card(folder: Path) -> Mapping[str, Any]:
    """The figures of a checkpoint's ``numbers.json`` by SECTION/NAME; empty where it has none."""
    path = folder / "numbers.json"
    return json.loads(path.read_text(encoding="utf-8"))["figures"] if path.is_file() else {}


def text_to_video(stage: Stage, title: str) -> Section:
    """Captions of unseen tables, and the film of each; its first frame is asked what the words say."""
    world = Tabletop(views=(CAMERA,), extras=("segmentation",))
    scenes = [scene(stage.held.seed_of("scene", i), world) for i in range(stage.much.films)]
    known = [scene(i, world) for i in range(stage.much.judged)]
    world.close()
    judge = ShapeJudge.fit((one.picture, one.boxes) for one in known)
    films = filmed(stage.omni, scenes, seed=0)
    found, shown = [], []
    for one, film in zip(scenes, films, strict=True):
        answers = facts_of(film[0], one, judge, seed=one.seed, search=SEARCHES[0])
        there, words = sum(answer.there for answer in answers), words_of(one)
        found += answers
        shown.append(Film(
            films=[film], labels=[], fps=SPEC.fps, says=f"Imagined film. {words}", words=words,
            mark="right" if there == len(answers) else "wrong", verdict=f"{there} of {len(answers)} questions: yes",
        ))  # fmt: skip
    return Section(
        key="text-to-video", title=title, films=shown,
        lead=(
            "Nothing is given but the words below each film. Yes-or-no questions ask for each named thing, its colour, "
            "how many there are and how two of them lie; a small classifier that knows true pictures only answers."
        ),
        call='omni.imagine("text-to-video", prompt=words, seed=0)',
        numbers=stage.numbers("text-to-video", films_figures(found), ["facts_film"]),
    )  # fmt: skip


def image_to_video(stage: Stage, title: str) -> Section:
    """The first picture of an unseen life and what is going to be done; beside it what really happened."""
    episodes = [stage.held.episode("expert", i) for i in range(stage.much.clips)]
    words = [episode.captions["dense"] for episode in episodes]
    made = stage.omni.imagine_many([
        {"mode": "image-to-video", "image": episode.frames[CAMERA][0], "prompt": text, "seed": i}
        for i, (episode, text) in enumerate(zip(episodes, words, strict=True))
    ])  # fmt: skip
    shown = [
        Film(films=[episode.frames[CAMERA][:FRAMES], film], labels=["what happened", "imagined"], fps=SPEC.fps,
             says=f"What happened beside what the model imagined. {text}", words=text)
        for episode, text, film in zip(episodes, words, _films_of(made), strict=True)
    ]  # fmt: skip
    return Section(
        key="image-to-video", title=title, films=shown,
        lead=(
            "The first picture and the words are given; a checkpoint that acts plans what they tell, and foresees it. "
            "What really happened is one of many ways to do it: the words should come true, and the things stay."
        ),
        call='omni.imagine("image-to-video", image=picture, prompt=words, seed=0)',
    )  # fmt: skip


def other_starts(stage: Stage, title: str) -> Section:
    """A single picture from words, a film gone on with, one between two pictures, and one that goes with a sound."""
    count, parts = max(1, stage.much.films // 2), stage.omni.parts
    able = modes_of(parts.folder, parts.defaults, parts.adapters)
    episodes = [stage.held.episode("expert", i) for i in range(count)]
    shown = []
    for mode, labels in (("text-to-image", ["imagined"]), ("video-to-video", ["what happened", "imagined"]),
                         ("first-last-frame", ["what happened", "imagined"]),
                         ("sound-to-video", ["what happened", "imagined"])):  # fmt: skip
        if mode not in able:
            continue
        requests: list[dict[str, Any]] = []
        for i, episode in enumerate(episodes):
            film, request = (
                episode.frames[CAMERA][:FRAMES],
                {"mode": mode, "prompt": episode.captions["dense"], "seed": i},
            )
            if mode == "video-to-video":
                request["video"] = film
            if mode == "first-last-frame":
                request |= {"image": film[0], "last_image": film[-1]}
            if mode == "sound-to-video":
                request |= {"image": film[0], "sound": heard_in(sound_again(episode), 0, FRAMES, SPEC.fps)}
            requests.append(request)
        for episode, made in zip(episodes, _films_of(stage.omni.imagine_many(requests)), strict=True):
            films = [made] if len(made) == 1 else [episode.frames[CAMERA][:FRAMES], made]
            words = f"{mode.replace('-', ' ').capitalize()}: {episode.captions['dense']}"
            shown.append(
                Film(films=films, labels=labels, fps=SPEC.fps, says=f"{', '.join(labels)}. {words}", words=words)
            )
    return Section(
        key="other-starts", title=title, films=shown,
        lead=(
            "The same model with other things given: nothing (one picture only), the first five frames of a "
            "film, its first and its last frame, or its first and what was heard."
        ),
        call='omni.imagine("first-last-frame", image=first, last_image=last, prompt=words, seed=0)',
    )  # fmt: skip


def forward_dynamics(stage: Stage, title: str) -> Section:
    """One picture and sixteen actions, beside the physics, and beside doing nothing."""
    clips: list[HeldClip] = []
    number = 0
    while len(clips) < stage.much.clips:
        clips += moving_clips(stage.held.episode("clumsy" if number % 3 == 2 else "expert", number))[:1]
        number += 1
    scores = measure_forward(stage.omni, clips)
    films = imagined_films(stage.omni, clips, [clip.actions for clip in clips], seed=0)
    shown = []
    for clip, film, score in zip(clips, films, scores, strict=True):
        still = np.broadcast_to(clip.video[:1], clip.video.shape)
        words = f"{clip.kind.capitalize()}, seed {clip.seed}: the {clip.moved} moves. "
        words += f"{score.psnr:.1f} dB imagined, {score.psnr_still:.1f} dB if nothing moved."
        shown.append(Film(films=[clip.video, film, still], labels=["physics", "imagined", "repeated"],
                          fps=SPEC.fps, says=f"Physics, imagined, repeated. {words}", words=words))  # fmt: skip
    keys = ["psnr", "db_over_repeat_first_frame", "db_below_codec", "db_lost_with_shuffled_actions",
            "centre_within_5_percent"]  # fmt: skip
    return Section(
        key="forward-dynamics", title=title, films=shown,
        lead=(
            "Given: the first picture and sixteen actions, and no words but those that stand for any task: only the "
            "actions can say what happens."
        ),
        call=f'omni.imagine("forward-dynamics", image=picture, actions=actions, embodiment="{EMBODIMENT}")',
        numbers=stage.numbers("forward-dynamics", forward_figures(scores), keys),
    )  # fmt: skip


def inverse_dynamics(stage: Stage, title: str) -> Section:
    """A film, and the actions read off it as curves beside those that were done."""
    body = load_embodiment(EMBODIMENT, stage.omni.parts.folder)
    assert body.gripper is not None
    gripper = [channel.name for channel in body.channels].index(body.gripper.channel)
    kinds = ("expert", "clumsy", "random")
    clips = [_middle(stage.held.episode(kind, i // len(kinds))) for i, kind in enumerate(kinds * stage.much.readings)]
    made = stage.omni.imagine_many([
        {"mode": "inverse-dynamics", "video": clip.video, "embodiment": EMBODIMENT, "seed": i}
        for i, clip in enumerate(clips)
    ])  # fmt: skip
    scores: list[InverseScore] = []
    shown: list[Reading] = []
    for clip, rollout in zip(clips, made, strict=True):
        assert rollout.actions is not None
        right = int(((clip.actions[:, gripper] > 0.5) == (rollout.actions[:, gripper] > 0.5)).sum())
        scores.append(InverseScore(
            seed=clip.seed, kind=clip.kind, start=clip.start, true_steps=clip.actions[:, :3].tolist(),
            found_steps=rollout.actions[:, :3].tolist(), gripper_right=right, gripper_all=len(clip.actions),
        ))  # fmt: skip
        if len(shown) < max(3, stage.much.readings):
            words = (
                f"{clip.kind.capitalize()}, seed {clip.seed}. Gripper right in {right} of {len(clip.actions)} steps."
            )
            film = Film(films=[clip.video], labels=[], fps=SPEC.fps, says=f"The film. {words}", words=words)
            shown.append(Reading(film=film, charts=_charts(clip.actions, rollout.actions, gripper)))
    keys = [*(f"r2_translation_{kind}" for kind in kinds), "gripper_accuracy"]
    return Section(
        key="inverse-dynamics", title=title, readings=shown,
        lead=(
            "Given: seventeen frames. Found: the sixteen actions between them, in metres a step along the "
            "gripper's own axes, and how far the gripper is to be open."
        ),
        call=f'omni.imagine("inverse-dynamics", video=film, embodiment="{EMBODIMENT}").actions',
        numbers=stage.numbers("inverse-dynamics", inverse_figures(scores), keys),
    )  # fmt: skip


def policy(stage: Stage, title: str) -> Section:
    """The model drives the physics; every life is shown, done or not."""
    seeds = [stage.held.seed_of("policy", i) for i in range(stage.much.lives)]
    tables = [Tabletop(views=(CAMERA,)) for _ in seeds]
    lives: list[list[Array]] = [[] for _ in seeds]
    told, success = [""] * len(seeds), [False] * len(seeds)
    try:
        planner = Chunks(omni=stage.omni, embodiment=EMBODIMENT)
        for i, moment in drive_together(tables, planner, seeds=seeds, max_steps=stage.much.steps):
            lives[i].append(moment.frames[CAMERA])
            told[i], success[i] = moment.instruction, moment.success
    finally:
        for table in tables:
            table.close()
    attempts, shown = [], []
    for seed, words, done, life in zip(seeds, told, success, lives, strict=True):
        steps = len(life) - 1
        kind = words.split()[0].lower()
        attempts.append(Attempt(seed=seed, policy="model", kind=kind, instruction=words, told=words, success=done,
                                steps=steps))  # fmt: skip
        verdict = f"Done after {steps} steps" if done else f"Not done within {steps} steps"
        says, mark = f"The model acting. {words} {verdict}.", "right" if done else "wrong"
        shown.append(Film(films=[np.stack(life)], labels=[], fps=SPEC.fps, says=says, words=f"{words} Seed {seed}.",
                          mark=mark, verdict=verdict))  # type: ignore[arg-type] # fmt: skip
    keys = ["success_model"]
    return Section(
        key="policy", title=title, films=shown,
        lead=(
            "The model sees the picture, hears the words, plans sixteen actions, does them and looks "
            "again. The physics answers, and the world itself judges whether it was done. All lives are shown, "
            "in order."
        ),
        call=f'omni.imagine("policy", prompt=words, image=picture, embodiment="{EMBODIMENT}").actions',
        numbers=stage.numbers("policy", policy_figures(attempts), keys),
    )  # fmt: skip


def questions(stage: Stage, title: str) -> Section:
    """Questions with one true answer, then what the model says of a picture and of a film in its own words."""
    episodes = [stage.held.episode("expert", i) for i in range(max(2, stage.much.clips))]
    chosen = questions_of(episodes, stage.much.questions, seed=0)[: stage.much.questions]
    found = measure_answers(stage.omni, chosen, Guesser([]))
    shown = [
        Answer(picture=one.picture, says=f"A table, seed {one.seed}, frame {one.question.frames[0]}.",
               question=done.words, answer=done.answer, truth=done.truth, mark="right" if done.right else "wrong")
        for one, done in zip(chosen, found, strict=True)
    ]  # fmt: skip
    for episode in episodes[: stage.much.reports]:
        film = episode.frames[CAMERA]
        answer, truth = stage.omni.ask(REPORT, image=film[0]), episode.captions["report 0"]
        shown.append(_said(film[0], f"The first frame of seed {episode.seed}.", REPORT, answer, truth))
        answer, truth = stage.omni.ask(DOING, video=film), episode.captions["short"]
        shown.append(_said(film[len(film) // 2], f"From the middle of the film of seed {episode.seed}.",
                           f"{DOING} (about the whole film)", answer, truth))  # fmt: skip
    return Section(
        key="questions", title=title, answers=shown,
        lead=(
            "True answers come from the state of the physics, not from anybody's guess. A description counts as "
            "right only if it is the same words, which is more than one can ask."
        ),
        call='omni.ask("What is the gripper holding?", image=picture)',
        numbers=stage.numbers("questions", answers_figures(found), ["exact"]),
    )  # fmt: skip


PARTS: Mapping[str, Callable[[Stage, str], Section]] = {
    "From words: text to video": text_to_video,
    "From a picture: image to video": image_to_video,
    "What actions do: forward dynamics": forward_dynamics,
    "Which actions were done: inverse dynamics": inverse_dynamics,
    "Acting: the policy in closed loop": policy,
    "Questions and captions": questions,
    "Other beginnings": other_starts,
}


def _said(picture: Array, says: str, question: str, answer: str, truth: str) -> Answer:
    mark = "right" if same(answer, truth) else "none"
    return Answer(picture=picture, says=says, question=question, answer=answer, truth=truth, mark=mark)  # type: ignore[arg-type]


def _films_of(rollouts: Sequence[Any]) -> list[Array]:
    return [rollout.video for rollout in rollouts]


def _middle(episode: Episode) -> HeldClip:
    return clip_at(episode, (len(episode.actions) + 1 - FRAMES) // 2)


def inverse_charts(true: ArrayLike, found: ArrayLike) -> list[Chart]:
    """Steps in metres, t 3 or more, done and read off: a curve for each direction."""
    done, read = (1000 * np.asarray(steps) for steps in (true, found))
    return [
        Chart(title=f"Step along {name}", unit="mm", seconds=SPEC.step_seconds, true=done[:, i].tolist(),
              found=read[:, i].tolist())
        for i, name in enumerate("xyz")
    ]  # fmt: skip


def _charts(true: Array, found: Array, gripper: int) -> list[Chart]:
    charts = inverse_charts(true, found)
    return [*charts, Chart(title="Gripper open", unit="share", seconds=SPEC.step_seconds,
                           true=true[:, gripper].tolist(), found=found[:, gripper].tolist())]  # fmt: skip
