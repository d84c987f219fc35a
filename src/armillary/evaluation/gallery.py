"""The page of a measurement: every section's figures with their intervals, and its worst, middle and best to look at.

    a folder that ``suite.py`` filled, the open model   --gather-->   a Page (page.py makes it HTML)

Films are made again from the seeds that stand in the samples' lines, truth beside imagination; which ones are shown is
decided by their marks alone: the worst, the one in the middle, the best. Lives of the policy are the first ones, in
order of their seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from armillary.evaluation.about import ABOUT, About
from armillary.evaluation.answers import Answered
from armillary.evaluation.by_sound import OWN, BySoundScore, imagined_by, window_of
from armillary.evaluation.curves import curves_of
from armillary.evaluation.demo import Much, Stage, inverse_charts
from armillary.evaluation.demo import policy as lived
from armillary.evaluation.drift import FRAMES as LONG
from armillary.evaluation.drift import DriftScore, chained, seen, together
from armillary.evaluation.dynamics import EMBODIMENT, ForwardScore, InverseScore, imagined_films
from armillary.evaluation.elsewhere import SPECS, clip_again, long_push
from armillary.evaluation.films import Named, filmed, words_of
from armillary.evaluation.given_films import FADE, WAYS, GivenScore, imagined_given, untouched
from armillary.evaluation.held_out import CAMERA, HeldClip, clip_at, long_life, recorded, scene
from armillary.evaluation.looks import LOOKS, LookScore, relived
from armillary.evaluation.page import Answer, Chart, Film, Page, Reading, Section
from armillary.evaluation.paired import HEADS, Pair, cells_of
from armillary.evaluation.picture_films import KIND, STILL, USUAL, PictureScore, beginning, imagined_ways, words_told
from armillary.evaluation.pushing import body_of
from armillary.evaluation.report import ROWS, interval, reached, said, worded
from armillary.evaluation.samples import samples_of
from armillary.evaluation.suite import OTHERS, Bench
from armillary.evaluation.twins import MODEL, TwinScore, by_asking, lived_pair, margin, pairs_folder
from armillary.tokenizers.video import TIME
from armillary.worlds.tabletop import SPEC, Tabletop

PLACES = ("worst", "middle", "best")
LIVES = 4  # of the policy
Parts = Mapping[str, Any]  # films, readings, answers, drawing: fields of a Section


def gather(bench: Bench, numbers: Mapping[str, Any], *, pairs: Sequence[Pair] = (), against: str = "") -> Page:
    """The page of all sections that ``numbers`` tells of; with a table of differences where there are ``pairs``."""
    measured = [section for section in numbers["notes"] if (bench.folder / f"{section}.jsonl").is_file()]
    sections = []
    for number, section in enumerate(measured):
        sections.append(_section(bench, section, numbers))
        bench.tell("the page", number + 1, len(measured))
    if pairs:
        sections.insert(0, _differences(pairs, against))
    steps = "as the checkpoint says" if bench.plan.steps is None else str(bench.plan.steps)
    facts = [
        ("Model", f"{numbers['checkpoint']}, weights {numbers['weights'][:16]}, {numbers['dtype']}, "
                  f"{numbers['device']}; steps of the solver: {steps}"),
        ("Seeds", f"from {bench.plan.seed:,} on, which no training uses"),
        ("Intervals", numbers["interval"]),
        ("Commands", "; ".join(sorted(set(numbers["commands"].values())))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in numbers["versions"].items())),
        *((section, " ".join(notes)) for section, notes in numbers["notes"].items() if notes),
    ]  # fmt: skip
    return Page(
        title=f"{numbers['checkpoint'].capitalize()}, measured",
        lead="Every figure on held-out seeds with its 95 % interval, beside what chance or doing nothing reaches. "
        "Films: the worst, the middle one and the best by their marks, not picked by hand.",
        sections=sections, facts=facts,
    )  # fmt: skip


def _section(bench: Bench, section: str, numbers: Mapping[str, Any]) -> Section:
    kind = "questions" if section in OTHERS else section
    about = ABOUT.get(kind, About(title=section.capitalize(), lead=""))
    if section in OTHERS:
        about = replace(about, title=f"{about.title}: {section.removeprefix('questions-')}")
    show = _SHOWN.get(kind)
    parts: Parts = {}
    if show is not None and section not in OTHERS:
        samples = samples_of(bench.folder, section)
        parts = show(bench, samples) if samples else {}
    return Section(key=section, title=about.title, lead=about.lead, table=_table(section, numbers), **parts)


def _table(section: str, numbers: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Every figure of the section: those of the report in its words, the others by their names."""
    rows = {row.key: row for row in ROWS}
    table: list[tuple[str, ...]] = [("what", "value", "95 %", "n", "floor", "goal", "reached")]
    own = {key: figure for key, figure in numbers["figures"].items() if key.split("/")[0] == section}
    for key in sorted(own, key=lambda key: (key not in rows, list(rows).index(key) if key in rows else 0)):
        figure, row, (words, unit) = own[key], rows.get(key), worded(key)
        bars = ("", "", "") if row is None else (row.bar(row.floor), row.bar(row.goal), reached(row, figure))
        table.append((words, said(figure["value"], unit), interval(figure, unit), str(figure["n"]), *bars))
    return table


def _differences(pairs: Sequence[Pair], against: str) -> Section:
    return Section(
        key="against", title=f"Against {against}", table=[HEADS, *map(cells_of, pairs)],
        lead="The same samples there, compared pair by pair: here minus there.",
    )  # fmt: skip


def picked(marks: Sequence[float]) -> dict[str, int]:
    """Where the worst, the middle and the best mark stand; fewer where there are fewer samples."""
    order = np.argsort(np.asarray(marks), kind="stable")
    places = {"worst": order[0], "middle": order[len(order) // 2], "best": order[-1]}
    shown: dict[str, int] = {}
    for name in PLACES:
        if int(places[name]) not in shown.values():
            shown[name] = int(places[name])
    return shown


def _forward(bench: Bench, scores: Sequence[ForwardScore], *, elsewhere: str = "") -> Parts:
    """``elsewhere``: the section's name where it is not about the tabletop."""
    body = body_of(bench, elsewhere.rpartition("-")[2]).name if elsewhere else EMBODIMENT
    films = []
    for place, i in picked([score.psnr - score.psnr_still for score in scores]).items():
        score = scores[i]
        clip = _clip_of(bench, score, elsewhere)
        (film,) = imagined_films(bench.omni, [clip], [clip.actions], seed=i, embodiment=body)
        films.append(_beside(
            [clip.video, film], f"{place.capitalize()} of {len(scores)}: {score.psnr - score.psnr_still:+.1f} dB over "
            f"repeat. {score.kind.capitalize()}, seed {score.seed}: the {score.moved} moves.",
        ))  # fmt: skip
    return {"films": films}


def _drift(bench: Bench, scores: Sequence[DriftScore], *, pushed: bool = False) -> Parts:
    table = {name: np.array([vars(score)[name] for score in scores])
             for name in ("psnr", "psnr_still", "psnr_codec", "psnr_shuffled")}  # fmt: skip
    gains = together(table["psnr"]) - together(table["psnr_still"])
    films = []
    for place, i in picked(gains.tolist()).items():
        score = scores[i]
        life = (
            long_push(bench.folder, score.kind, score.seed, body_of(bench, "pusht")) if pushed
            else long_life(bench.episodes, score.kind, score.seed, frames=LONG)
        )  # fmt: skip
        (film,) = chained(bench.omni, [life], [life.actions], seed=i)
        films.append(_beside(
            [seen(life), film], f"{place.capitalize()} of {len(scores)}: {gains[i]:+.1f} dB over repeat. "
            f"{score.kind.capitalize()}, seed {score.seed}.",
        ))  # fmt: skip
    named = {"the tokenizer alone": "psnr_codec", "imagined": "psnr", "nothing moves": "psnr_still",
             "another life's actions": "psnr_shuffled"}  # fmt: skip
    curves = {words: table[name] for words, name in named.items()}
    if gone := [score.psnr_going_on for score in scores if score.psnr_going_on is not None]:
        curves["four frames at a time"] = np.array(gone)
    drawing = curves_of(curves, banded="imagined", first=2)
    return {"films": films, "drawing": drawing}


def _inverse(bench: Bench, scores: Sequence[InverseScore], *, elsewhere: str = "") -> Parts:
    errors = [-float(np.abs(np.array(s.true_steps) - np.array(s.found_steps)).mean()) for s in scores]
    readings = []
    for place, i in picked(errors).items():
        score = scores[i]
        clip = _clip_of(bench, score, elsewhere)
        words = f"{place.capitalize()} of {len(scores)}. {score.kind.capitalize()}, seed {score.seed}" + (
            f"; gripper right in {score.gripper_right} of {score.gripper_all} steps." if score.gripper_all else "."
        )
        film = Film(films=[clip.video], labels=[], fps=SPEC.fps, says=f"The film. {words}", words=words)
        charts = _targets(score) if elsewhere else inverse_charts(score.true_steps, score.found_steps)
        readings.append(Reading(film=film, charts=charts))
    return {"readings": readings}


def _targets(score: InverseScore) -> list[Chart]:
    return [
        Chart(title=f"Where the disc is sent, {name}", unit="pixels of the board", seconds=SPECS["pusht"].step_seconds,
              true=[step[i] for step in score.true_steps], found=[step[i] for step in score.found_steps])
        for i, name in enumerate("xy")
    ]  # fmt: skip


def _clip_of(bench: Bench, score: ForwardScore | InverseScore, elsewhere: str) -> HeldClip:
    if elsewhere:
        return clip_again(bench, elsewhere, score)
    return clip_at(recorded(bench.episodes, score.kind, score.seed), score.start)


def _policy(bench: Bench, attempts: Sequence[Any]) -> Parts:
    much = Much(films=0, clips=0, readings=0, lives=min(LIVES, bench.plan.episodes), steps=SPEC.max_steps, questions=0,
                reports=0, judged=0)  # fmt: skip
    return {"films": lived(Stage(omni=bench.omni, much=much, held=bench.held, card={}), "").films}


def _questions(bench: Bench, found: Sequence[Answered]) -> Parts:
    answers = []
    for task in sorted({one.task for one in found}):
        for right in (True, False):
            one = next((one for one in found if one.task == task and one.right == right), None)
            if one is not None:
                picture = recorded(bench.episodes, "expert", one.seed).frames[CAMERA][one.frame]
                answers.append(Answer(
                    picture=picture, says=f"A table, seed {one.seed}, frame {one.frame}.", question=one.words,
                    answer=one.answer, truth=one.truth, mark="right" if right else "wrong",
                ))  # fmt: skip
    return {"answers": answers}


def _films(bench: Bench, found: Sequence[Named]) -> Parts:
    own = [one for one in found if one.search == "film"]
    seeds = list(dict.fromkeys(one.seed for one in own))
    shares = [float(np.mean([one.there for one in own if one.seed == seed])) for seed in seeds]
    world = Tabletop(views=(CAMERA,), extras=("segmentation",))
    films = []
    for place, i in picked(shares).items():
        one = scene(seeds[i], world)
        (film,) = filmed(bench.omni, [one], seed=i)
        words = f"{place.capitalize()} of {len(seeds)}: yes to {shares[i]:.0%} of the questions. {words_of(one)}"
        still = np.broadcast_to(one.picture[None], film.shape)
        says = f"A true table of these words, and the imagined film. {words}"
        films.append(Film(films=[still, film], labels=["a true table", "imagined"], fps=SPEC.fps, says=says,
                          words=words))  # fmt: skip
    world.close()
    return {"films": films}


def _picture_films(bench: Bench, scores: Sequence[PictureScore]) -> Parts:
    gains = [score.psnr[USUAL] - score.psnr[STILL] for score in scores]
    films = []
    for place, i in picked(gains).items():
        life = recorded(bench.episodes, KIND, scores[i].seed)
        made = imagined_ways(bench.omni, [life], [words_told(life)], seed=i)
        films.append(_beside(
            [beginning(life), *(own[0] for own in made.values())], f"{place.capitalize()} of {len(scores)}: "
            f"{gains[i]:+.1f} dB over repeat. Seed {life.seed}: {words_told(life)}",
            labels=["physics", "imagined", *list(made)[1:]],
        ))  # fmt: skip
    return {"films": films}


def _given_films(bench: Bench, scores: Sequence[GivenScore]) -> Parts:
    films = []
    for mode, way in WAYS.items():
        own = [score for score in scores if score.mode == mode]
        gains = [score.psnr[USUAL] - score.psnr.get(FADE, score.psnr[STILL]) for score in own]
        for place, i in picked(gains).items() if own else ():
            life = recorded(bench.episodes, KIND, own[i].seed)
            faded = [film for name, film in untouched(mode, beginning(life)).items() if name == FADE]
            made = imagined_given(bench.omni, [life], [words_told(life)], mode, seed=i)
            films.append(_beside(
                [beginning(life), *made, *faded], f"{place.capitalize()} of {len(own)} {way.end.strip('_')}: "
                f"{gains[i]:+.1f} dB over {'fading' if faded else 'repeat'}. Seed {life.seed}: {words_told(life)}",
                labels=["physics", "imagined", *(["faded"] * len(faded))],
            ))  # fmt: skip
    return {"films": films}


def _by_sound(bench: Bench, scores: Sequence[BySoundScore]) -> Parts:
    gains = [score.psnr[OWN] - score.still for score in scores]
    films = []
    for place, i in picked(gains).items():
        window = window_of(bench.episodes, scores[i].seed)
        assert window is not None  # it was measured
        told = ", ".join(f"{at:.1f}" for at in window.clip.onsets)
        films.append(_beside(
            [window.clip.video, *imagined_by(bench.omni, window, seed=i)], f"{place.capitalize()} of {len(scores)}: "
            f"{gains[i]:+.1f} dB over repeat. Seed {scores[i].seed}, contact after {told} s: {window.clip.words}",
            labels=["physics", "by its sound", "unheard"],
        ))  # fmt: skip
    return {"films": films}


def _looks(bench: Bench, scores: Sequence[LookScore]) -> Parts:
    own = [score for score in scores if score.ability == "foreseeing" and score.look == "plain"]
    if not own:
        return {}
    i = picked([score.value for score in own]).get("middle", 0)
    seed, start = own[i].seed, int(own[i].which)
    episode = recorded(bench.episodes, own[i].kind, seed)
    films = []
    for name, look in LOOKS.items():
        clip = relived(episode, look, start=start)
        (film,) = imagined_films(bench.omni, [clip], [clip.actions], seed=i)
        value = next(s.value for s in scores if (s.ability, s.look, s.seed) == ("foreseeing", name, seed))
        films.append(_beside([clip.video, film], f"{name.capitalize()}, seed {seed}: {value:+.1f} dB over repeat."))
    return {"films": films}


def _twins(bench: Bench, scores: Sequence[TwinScore]) -> Parts:
    readings = []
    for place, i in picked([margin(score) for score in scores]).items():
        score = scores[i]
        pair = lived_pair(pairs_folder(bench.folder), score.kind, score.seed)
        right = margin(score) > 0
        words = (
            f"{place.capitalize()} of {len(scores)}: {score.what} after frame {score.step + 1}, seed {score.seed}, "
            f"{score.family}. Surprise there {margin(score):+.1%} beside the possible film."
        )
        if score.held_possible:
            words += " Asked, the reasoner holds it likely by {:.0%} in the possible film, {:.0%} in this.".format(
                *by_asking(score)
            )
        film = Film(
            films=list(pair.frames.values()), labels=list(pair.frames), fps=pair.fps, words=words,
            says=f"The possible film beside the impossible one. {words}", mark="right" if right else "wrong",
            verdict="told apart" if right else "not told apart",
        )  # fmt: skip
        curves = Chart(title="Surprise", unit="squared latents", seconds=TIME / pair.fps,
                       true=score.possible[MODEL], found=score.impossible[MODEL])  # fmt: skip
        asked = Chart(title="Held impossible by the reasoner", unit="likelihood", seconds=1 / pair.fps,
                      true=score.held_possible, found=score.held_impossible)  # fmt: skip
        readings.append(Reading(film=film, charts=[curves, asked] if score.held_possible else [curves]))
    return {"readings": readings}


_SHOWN: Mapping[str, Callable[[Bench, Any], Parts]] = {
    "forward-dynamics": _forward,
    "drift": _drift,
    "inverse-dynamics": _inverse,
    "policy": _policy,
    "questions": _questions,
    "plans": _questions,
    "text-to-video": _films,
    "picture-films": _picture_films,
    "given-films": _given_films,
    "sound-to-video": _by_sound,
    "looks": _looks,
    "twins": _twins,
    "forward-dynamics-pusht": partial(_forward, elsewhere="forward-dynamics-pusht"),
    "forward-dynamics-physics": partial(_forward, elsewhere="forward-dynamics-physics"),
    "drift-pusht": partial(_drift, pushed=True),
    "inverse-dynamics-pusht": partial(_inverse, elsewhere="inverse-dynamics-pusht"),
}


def _beside(films: Sequence[Any], words: str, *, labels: Sequence[str] = ("physics", "imagined")) -> Film:
    """Truth and imagination as one film."""
    says = f"Physics beside imagination. {words}"
    return Film(films=films, labels=labels, fps=SPEC.fps, says=says, words=words)


def page_path(out: Path) -> Path:
    """Where the page of a measurement lies."""
    return out / "index.html"
