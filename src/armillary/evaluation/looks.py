"""Looks and combinations that no training seed can draw, beside the plain table of the same seeds.

    dusk      lamps and daylight at 45 %: training's key light varies from 85 to 110 %, the rest not at all
    meadow    a green table: training's tables keep at least 64 % of their red, this one has 45 %
    aside     the camera goes 12 degrees round the table, some 14 cm; training's stays within 1.2 cm
    alike     three things or more of one colour on the table: training's seeds draw two at most

All 24 pairs of colour and shape, and all 276 pairs of such things, occur in the training episodes, so seeds alone
hold out no combination; ``alike`` is one that they cannot draw. What happens is the same in each look, action by
action and state by state, since only what is seen changes: each figure stands beside the plain one of the same lives,
and their difference is paired. The tables are those whose things have at least three different shapes.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from armillary.closed_loop.drive import drive_together
from armillary.closed_loop.policies import Chunks
from armillary.evaluation.answers import BOX, Guesser, Shown, measure_answers
from armillary.evaluation.behaviour import TOGETHER
from armillary.evaluation.bootstrap import Figure, difference, mean, mean_over_kinds
from armillary.evaluation.dynamics import BATCH, EMBODIMENT, imagined_films, reconstructed
from armillary.evaluation.held_out import CAMERA, FRAMES, HeldClip, moving_clips
from armillary.evaluation.pixels import psnr
from armillary.records import Array, Episode, Moment
from armillary.worlds.camera import mujoco
from armillary.worlds.captions import questions
from armillary.worlds.tabletop import SPEC, Tabletop
from armillary.worlds.tabletop_tasks import Thing

if TYPE_CHECKING:
    from armillary.evaluation.suite import Bench, Result
    from armillary.sampling.omni import Omni

PIVOT = (0.0, 0.05)  # of the table, which the camera looks at
LEAST_SHAPES = 3  # of a table, so that three things can be of one colour
Rgb = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is changed of a table: shares of light, of the table's red, green and blue; the camera's turn; the things'
    colours."""

    light: float = 1.0
    table: Rgb = (1.0, 1.0, 1.0)
    turn_degrees: float = 0.0
    alike: bool = False


PLAIN = "plain"
LOOKS = {
    PLAIN: Look(),
    "dusk": Look(light=0.45),
    "meadow": Look(table=(0.45, 0.9, 0.55)),
    "aside": Look(turn_degrees=12.0),
    "alike": Look(alike=True),
}


class Changed(Tabletop):
    """The tabletop in another look. Nothing that moves or is moved is different."""

    def __init__(self, look: Look, *, extras: tuple[str, ...] = ()) -> None:
        super().__init__(views=(CAMERA,), extras=extras)
        self._look = look

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        """The table of that seed in this look; its instruction names the things as they now are."""
        super().reset(seed, instruction)
        model, look = self._model, self._look
        model.light_diffuse *= look.light
        model.vis.headlight.ambient[:] *= look.light
        model.vis.headlight.diffuse[:] *= look.light
        model.material("table").rgba[:3] = look.table
        self._turn_camera(np.deg2rad(look.turn_degrees))
        if look.alike:
            self._paint()
        mujoco.mj_camlight(model, self._data)
        return self._moment(None)

    def _turn_camera(self, angle: float) -> None:
        camera = self._model.camera(CAMERA)
        away = camera.pos[:2] - PIVOT
        cosine, sine = np.cos(angle), np.sin(angle)
        camera.pos[:2] = PIVOT + np.array([cosine * away[0] - sine * away[1], sine * away[0] + cosine * away[1]])
        turned = np.zeros(4)
        mujoco.mju_mulQuat(turned, np.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)]), np.array(camera.quat))
        camera.quat[:] = turned

    def _paint(self) -> None:
        """Give every thing the colour of the first; of two of one shape the second takes the next colour there is."""
        painted = alike(self.things)
        names = dict(zip(self.names, (thing.name for thing in painted), strict=True))
        donors = {thing.colour: thing.name for thing in reversed(self.things)}
        kinds = {name: self._model.material(donors[thing.colour]).id
                 for name, thing in zip(self.names, painted, strict=True)}  # fmt: skip
        for name, body in zip(self.names, self._bodies, strict=True):
            first, count = int(self._model.body_geomadr[body]), int(self._model.body_geomnum[body])
            self._model.geom_matid[first : first + count] = kinds[name]
        task = self.task
        self.task = replace(task, target=names[task.target], place=names.get(task.place, task.place))
        self.things, self.names = painted, list(names.values())


@dataclass(frozen=True, kw_only=True)
class LookScore:
    """One sample in one look. ``ability``: foreseeing (``value``: dB over repeat, ``below``: dB below the tokenizer),
    answering or acting (``value``: 1 if right or done). ``which``: the window's start, the task and words, or what was
    asked."""

    seed: int
    look: str
    ability: str
    kind: str
    which: str
    value: float
    below: float | None = None


def looks(bench: "Bench") -> "Result":
    """The section of the suite: a third of the plan's clips, questions and episodes, each in every look."""
    plan = bench.plan
    clips, asked, acted = (-(-count // 3) for count in (plan.clips, plan.questions, plan.episodes))
    sources = windows(bench, clips)
    scores: list[LookScore] = []
    for number, look in enumerate(LOOKS):
        scores += foreseen(bench.omni, look, sources)
        bench.tell("foreseeing in looks", number + 1, len(LOOKS))
    seeds = [seed for seed, _ in zip(varied(bench.held.seed_of("policy", 0)), range(max(asked, acted)), strict=False)]
    for number, look in enumerate(LOOKS):
        scores += answered(bench.omni, look, seeds, asked)
        bench.tell("answering in looks", number + 1, len(LOOKS))
    for number, look in enumerate(LOOKS):
        scores += acted_out(bench.omni, look, seeds[:acted])
        bench.tell("acting in looks", number + 1, len(LOOKS))
    return scores, looks_figures(scores), [
        "dusk: 45 % of the light; meadow: a green table; aside: the camera 12 degrees round the table; alike: three or "
        "more things of one colour. No training seed draws any of them; the same lives in each, and in the plain look.",
        "All 24 combinations of colour and shape, and all 276 pairs of them, occur among the training seeds: no "
        "combination of two is held out by seeds, so the one held out here is made by painting.",
        "lost_by: plain less this look, paired by life.",
    ]  # fmt: skip


def varied(seed: int) -> Iterator[int]:
    """Seeds from there on whose tables hold at least three shapes."""
    world = Tabletop(views=())
    while True:
        world.reset(seed)
        if len({thing.shape for thing in world.things}) >= LEAST_SHAPES:
            yield seed
        seed += 1


def windows(bench: "Bench", count: int) -> list[tuple[Episode, int]]:
    """Expert lives of such tables and where in them something moves: one window of each."""
    found: list[tuple[Episode, int]] = []
    for episode in bench.held.episodes("expert"):
        shapes = {thing["name"].split()[1] for thing in episode.recipe["parameters"]["objects"]}
        clips = moving_clips(episode) if len(shapes) >= LEAST_SHAPES else []
        if clips:
            found.append((episode, clips[0].start))
            bench.tell("lives for looks", len(found), count)
        if len(found) == count:
            break
    return found


def relived(episode: Episode, look: Look, *, start: int) -> HeldClip:
    """The window of that life from ``start`` on, lived again action by action in another look."""
    with ExitStack() as stack:
        world = Changed(look)
        stack.callback(world.close)
        frames = [world.reset(episode.seed).frames[CAMERA]]
        frames += [world.step(action).frames[CAMERA] for action in episode.actions[: start + FRAMES - 1]]
        return HeldClip(
            seed=episode.seed, kind=episode.recipe["controller"], start=start, instruction=world.task.words,
            video=np.stack(frames[start:]), actions=episode.actions[start : start + FRAMES - 1], moved=None, box=None,
            alone=False,
        )  # fmt: skip


def foreseen(omni: "Omni", look: str, sources: Sequence[tuple[Episode, int]]) -> list[LookScore]:
    """Forward dynamics of every window in that look."""
    scores = []
    for first in range(0, len(sources), BATCH):
        clips = [relived(episode, LOOKS[look], start=start) for episode, start in sources[first : first + BATCH]]
        films = imagined_films(omni, clips, [clip.actions for clip in clips], seed=first)
        again = reconstructed(omni, np.stack([clip.video for clip in clips]))
        for clip, film, coded in zip(clips, films, again, strict=True):
            truth = clip.video[1:]
            found, still = psnr(film[1:], truth), psnr(np.broadcast_to(clip.video[:1], truth.shape), truth)
            scores.append(LookScore(
                seed=clip.seed, look=look, ability="foreseeing", kind=clip.kind, which=str(clip.start),
                value=found - still, below=psnr(coded[1:], truth) - found,
            ))  # fmt: skip
    return scores


def answered(omni: "Omni", look: str, seeds: Sequence[int], count: int) -> list[LookScore]:
    """One question about the first picture of each table, tasks in turn as far as a table has them; no boxes."""
    shown = []
    with ExitStack() as stack:
        world = Changed(LOOKS[look], extras=("segmentation",))
        stack.callback(world.close)
        for number, seed in enumerate(seeds[:count]):
            moment = world.reset(seed)
            asked = [q for q in questions(world, moment, np.random.default_rng([seed, 23]), frame=0) if q.task != BOX]
            tasks = sorted({question.task for question in asked})
            task = tasks[number % len(tasks)]
            question = next(question for question in asked if question.task == task)
            shown.append(Shown(seed=seed, picture=moment.frames[CAMERA], question=question))
    return [
        LookScore(seed=one.seed, look=look, ability="answering", kind=one.task, which=one.words, value=float(one.right))
        for one in measure_answers(omni, shown, Guesser([]))
    ]


def acted_out(omni: "Omni", look: str, seeds: Sequence[int]) -> list[LookScore]:
    """The model's own policy at every table in that look."""
    scores = []
    planner = Chunks(omni=omni, embodiment=EMBODIMENT)
    for first in range(0, len(seeds), TOGETHER):
        batch = seeds[first : first + TOGETHER]
        told, success = [""] * len(batch), [False] * len(batch)
        with ExitStack() as stack:
            worlds = [Changed(LOOKS[look]) for _ in batch]
            for world in worlds:
                stack.callback(world.close)
            for i, moment in drive_together(worlds, planner, seeds=batch, max_steps=SPEC.max_steps):
                told[i], success[i] = moment.instruction, moment.success
        scores += [
            LookScore(seed=seed, look=look, ability="acting", kind=words.split()[0].lower(), which=words,
                      value=float(done))
            for seed, words, done in zip(batch, told, success, strict=True)
        ]  # fmt: skip
    return scores


def looks_figures(scores: Sequence[LookScore], *, seed: int = 0) -> dict[str, Figure]:
    """Of each look: dB over repeat and below the tokenizer, exact answers, success; and what is lost to the plain."""
    figures: dict[str, Figure] = {}
    names = {"foreseeing": "db_over_repeat_first_frame", "answering": "exact_mean_over_tasks", "acting": "success"}
    for ability, name in names.items():
        plain: Figure | None = None
        for look in LOOKS:
            own = [score for score in scores if score.ability == ability and score.look == look]
            if not own:
                continue
            values, groups = [score.value for score in own], [score.seed for score in own]
            if ability == "answering":
                figure = mean_over_kinds(values, [score.kind for score in own], groups, seed=seed)
            else:
                told = [value == 1.0 for value in values] if ability == "acting" else values
                figure = mean(told, groups, seed=seed)
            figures[f"{name}_{look}"] = figure
            if ability == "foreseeing":
                figures[f"db_below_codec_{look}"] = mean([score.below or 0.0 for score in own], groups, seed=seed)
            if look == PLAIN:
                plain = figure
            elif plain is not None and plain.episodes == figure.episodes:
                figures[f"{name}_lost_by_{look}"] = difference(plain, figure)
    return figures


def alike(things: Sequence[Thing]) -> list[Thing]:
    """The things in as few of their own colours as their names allow: of one shape each has another colour."""
    colours = list(dict.fromkeys(thing.colour for thing in things))
    met: dict[str, int] = {}
    painted = []
    for thing in things:
        number = met.get(thing.shape, 0)
        met[thing.shape] = number + 1
        painted.append(replace(thing, colour=colours[number]))
    return painted


def picture_of(seed: int, look: str) -> Array:
    """The first picture of that seed's table in a look, uint8 h w 3."""
    with ExitStack() as stack:
        world = Changed(LOOKS[look])
        stack.callback(world.close)
        return world.reset(seed).frames[CAMERA]
