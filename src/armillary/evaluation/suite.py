"""All figures of a checkpoint in one run, each section kept as soon as it is done.

    checkpoint  ->  forward-dynamics, drift, inverse-dynamics, policy, questions, text-to-video, picture-films,
                    given-films, sound, sound-to-video, transfer, looks, twins, plans  ->  numbers.json
                    (questions-WORLD and those of elsewhere.py, where asked for)

In the folder ``out``: ``episodes-…/`` (simulated once), of every section ``SECTION.jsonl`` (a line a sample) and
``SECTION.json`` (its figures), and ``numbers.json`` (all figures). A section that is there, for the same weights,
counts and world, is not computed again: an interrupted run goes on where it was. ``forget`` throws sections away.
"""

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from armillary.closed_loop.policies import Chunks
from armillary.errors import ConfigError
from armillary.evaluation.answers import Guesser, answers_figures, measure_answers, questions_of
from armillary.evaluation.behaviour import measure_policy, measure_random, policy_figures
from armillary.evaluation.bootstrap import Figure
from armillary.evaluation.by_sound import by_sound
from armillary.evaluation.drift import drift
from armillary.evaluation.dynamics import forward_figures, inverse_figures, measure_forward, measure_inverse
from armillary.evaluation.elsewhere import SECTIONS as ASKED_ELSEWHERE
from armillary.evaluation.films import films_figures, measure_films
from armillary.evaluation.given_films import given_films
from armillary.evaluation.held_out import (
    FRAMES,
    HELD_OUT,
    HeldOut,
    clip_at,
    gather_moving,
    recorded,
    scene,
    world_fingerprint,
)
from armillary.evaluation.looks import looks
from armillary.evaluation.other_worlds import WORLDS, fingerprint, questions_about
from armillary.evaluation.picture_films import picture_films
from armillary.evaluation.plans import plans
from armillary.evaluation.samples import LINES, figures_again
from armillary.evaluation.shapes import ShapeJudge
from armillary.evaluation.sound import gather_sounds, measure_sounds, sound_figures
from armillary.evaluation.transfer import held_film, measure_transfer, transfer_figures
from armillary.evaluation.twins import twins
from armillary.media import write_whole
from armillary.records import Episode, Rollout
from armillary.sampling.abilities import makes_sound
from armillary.sampling.omni import Omni, load
from armillary.sampling.requests import Defaults
from armillary.worlds.tabletop import Tabletop

SECTIONS = (
    "forward-dynamics", "drift", "inverse-dynamics", "policy", "questions", "text-to-video", "picture-films",
    "given-films", "sound", "sound-to-video", "transfer", "looks", "twins", "plans",
)  # fmt: skip
OTHERS = tuple(f"questions-{world}" for world in WORLDS)  # asked for by name only
ELSEWHERE = (*OTHERS, *ASKED_ELSEWHERE, "twins")  # not on the tabletop
KINDS = ("expert", "clumsy", "random")
QUESTIONS_AN_EPISODE = 5  # so that questions come from many episodes
CLIPS_A_HELD = 12  # a clip whose controls are tried gives as many films, each in more evaluations than others
One = TypeVar("One")
Step = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured. ``clips`` also counts lives of drift, picture-films and given-films, and films of
    text-to-video; each look takes a third, twins a fifth.

    ``seed``: the first held-out seed, at least 1,000,000. ``known``: training-seed episodes, on which the judges that
    know no model are fitted.

    ``steps``: of the solver, in every mode; None: what the checkpoint takes where nobody says a number.
    """

    clips: int = 300
    questions: int = 300
    episodes: int = 100
    seed: int = HELD_OUT
    known: int = 60
    steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("clips", "questions", "episodes", "known", "steps"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: it must be at least 1.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """What every section works with: the opened model, the plan, the held-out episodes, and whom to tell."""

    omni: Omni
    plan: Plan
    folder: Path
    tell: Step

    @property
    def episodes(self) -> Path:
        """Where this world's episodes are kept."""
        return self.folder / f"episodes-{world_fingerprint()}"

    @property
    def held(self) -> HeldOut:
        return HeldOut(self.episodes, seed=self.plan.seed)

    def told(self, what: str, total: int) -> Callable[[int], None]:
        """For loops that count what they have done."""
        return lambda done: self.tell(what, done, total)

    def first(self, what: str, count: int, found: Iterable[One]) -> list[One]:
        """The first ``count`` of what is found, telling of each."""
        taken: list[One] = []
        for one in islice(found, count):
            taken.append(one)
            self.tell(what, len(taken), count)
        return taken

    def known(self) -> list[Episode]:
        """Expert episodes of training seeds."""
        count, folder = self.plan.known, self.episodes
        return [self._counted("known episodes", i, count, recorded(folder, "expert", i)) for i in range(count)]

    def experts(self, count: int) -> list[Episode]:
        """The first held-out expert episodes."""
        return [self._counted("episodes", i, count, self.held.episode("expert", i)) for i in range(count)]

    def _counted(self, what: str, number: int, total: int, episode: Episode) -> Episode:
        self.tell(what, number + 1, total)
        return episode


Result = tuple[Sequence[Any], Mapping[str, Figure], Sequence[str]]  # samples (dataclasses), figures, notes


def evaluate(
    checkpoint: str | Path, plan: Plan | None = None, *, out: Path, sections: Sequence[str] = SECTIONS
) -> dict[str, Any]:
    """Measure a checkpoint on held-out seeds; write everything into ``out``, return what ``numbers.json`` holds.

    Raises ``ConfigError`` for an unknown section, ``CheckpointError`` if there is no such checkpoint.
    """
    plan = plan or Plan()
    check_sections(sections)
    HeldOut(out, seed=plan.seed)
    return measure(load(checkpoint), plan, out=out, sections=sections)


def measure(omni: Omni, plan: Plan, *, out: Path, sections: Sequence[str] = SECTIONS) -> dict[str, Any]:
    """``evaluate`` for a model that is open: run the sections that are not there yet, then join all there are."""
    check_sections(sections)
    out.mkdir(parents=True, exist_ok=True)
    known = omni.parts.made_from | {"plan": asdict(plan), "dtype": str(omni.parts.dtype)}
    asked = omni if plan.steps is None else Stepping(omni, plan.steps)
    console = Console(stderr=True)
    for section in sections:
        path = out / f"{section}.json"
        wanted = {**known, "world": fingerprint() if section in ELSEWHERE else world_fingerprint()}
        if path.is_file() and json.loads(path.read_text("utf-8"))["made_from"] == wanted:
            console.print(f"{section}: kept from an earlier run")
            continue
        start = time.monotonic()
        with progress(console) as bars:
            samples, figures, notes = _MEASURES[section](Bench(omni=asked, plan=plan, folder=out, tell=teller(bars)))
        _write_lines(out / f"{section}.jsonl", samples)
        kept = {"made_from": wanted, "notes": list(notes), "seconds": round(time.monotonic() - start, 1),
                "figures": {name: figure.told() for name, figure in figures.items()}}  # fmt: skip
        write_json(path, kept)
        console.print(f"{section}: {len(samples)} samples in {kept['seconds']:.0f} s")
    numbers = _joined(omni, plan, out, [s for s in _MEASURES if s in sections])
    write_json(out / "numbers.json", numbers)
    return numbers


class Stepping(Omni):
    """An open model whose solver takes ``steps`` steps wherever a request says no number. Shares all its parts."""

    def __init__(self, omni: Omni, steps: int) -> None:
        super().__init__(omni.parts)
        self._steps = steps

    def imagine_many(self, requests: Sequence[Mapping[str, Any]], **how: Any) -> list[Rollout]:
        """As ``Omni.imagine_many``."""
        return super().imagine_many([{"steps": self._steps, **request} for request in requests], **how)


def forget(out: Path, sections: Sequence[str] = SECTIONS) -> None:
    """Throw the results of these sections away, so that they are computed again. Episodes stay: they are the same."""
    check_sections(sections)
    for section in sections:
        (out / f"{section}.json").unlink(missing_ok=True)


def _forward(bench: Bench) -> Result:
    count = bench.plan.clips
    clips = gather_moving(bench.held, count, on_found=bench.told("moving clips", count))
    scores = measure_forward(bench.omni, clips, on_done=bench.told("forward dynamics", count))
    return scores, forward_figures(scores), [
        "Clips: 17 frames, two expert episodes to each clumsy one, an object's centre goes at least 10 % of the width.",
        "Centres are marked where no other object has the moved one's colour and it can be seen in the last frame.",
    ]  # fmt: skip


def _inverse(bench: Bench) -> Result:
    share = -(-bench.plan.clips // len(KINDS))
    clips = []
    for kind in KINDS:
        for number in range(share):
            episode = bench.held.episode(kind, number)
            rng = np.random.default_rng([episode.seed, 53])
            clips.append(clip_at(episode, int(rng.integers(len(episode.actions) + 2 - FRAMES))))
            bench.tell("clips", len(clips), share * len(KINDS))
    scores = measure_inverse(bench.omni, clips, on_done=bench.told("inverse dynamics", len(clips)))
    return scores, inverse_figures(scores), ["One window of each episode, its start drawn by the episode's seed."]


def _policy(bench: Bench) -> Result:
    count = bench.plan.episodes
    seeds = [bench.held.seed_of("policy", i) for i in range(count)]
    planner = Chunks(omni=bench.omni, embodiment="tabletop")
    attempts = measure_policy(planner, seeds, on_done=bench.told("policy", count))
    blind = bench.told("policy, words-blind", count)
    attempts += measure_policy(planner, seeds, name="words_blind", blind=True, on_done=blind)
    attempts += measure_random(seeds)
    notes = ["words_blind: the same model, told an instruction drawn by chance among all that the table allows."]
    cloned = bench.omni.parts.folder.with_name(f"{bench.omni.parts.folder.name}-cloning")
    if (cloned / "model_index.json").is_file():
        cloner = Chunks(omni=load(cloned), embodiment="tabletop")
        told = bench.told("behaviour cloning", count)
        attempts += measure_policy(cloner, seeds, name="behaviour_cloning", on_done=told)
    else:
        notes.append(f"Behaviour cloning was not measured: there is no checkpoint {cloned.name} beside this one.")
    return attempts, policy_figures(attempts), notes


def _questions(bench: Bench) -> Result:
    count = bench.plan.questions
    guesser = Guesser(question for episode in bench.known() for question in episode.questions)
    shown = questions_of(bench.experts(-(-count // QUESTIONS_AN_EPISODE)), count, seed=bench.plan.seed)
    found = measure_answers(bench.omni, shown, guesser, on_done=bench.told("questions", len(shown)))
    return found, answers_figures(found), [
        "without_looking: the commonest answer to the same words, or to words of the same form, over "
        f"{bench.plan.known} episodes of training seeds, whichever of the two rules does better here.",
        "Questions are drawn so that every task has as many as any other; boxes are marked apart.",
    ]  # fmt: skip


def _films(bench: Bench) -> Result:
    count = bench.plan.clips
    judge = ShapeJudge.of_lives(bench.known())
    world = Tabletop(views=("front",), extras=("segmentation",))
    scenes = []
    for number in range(count):
        scenes.append(scene(bench.held.seed_of("scene", number), world))
        bench.tell("scenes", number + 1, count)
    world.close()
    found = measure_films(bench.omni, scenes, judge, on_done=bench.told("text-to-video", count))
    return found, films_figures(found), [
        "Yes-or-no questions to each film's first frame. A thing is there if the largest patch of its colour is as "
        "large as things are, holds most of that colour, and is judged to have its shape, by a linear judge fitted on "
        "true pictures of training seeds; true and codec: the same questions to true held-out pictures and to the "
        "video tokenizer's reconstruction of them.",
        "exchanged: the same films, asked what another table's words say; exchanged_true: true pictures asked so.",
    ]  # fmt: skip


def _sound(bench: Bench) -> Result:
    if not makes_sound(bench.omni.parts.folder):
        return [], {}, [f"Sound was not measured: {bench.omni.parts.folder.name} cannot be heard."]
    count = max(2, bench.plan.clips // 3)
    clips = gather_sounds(bench.held, count, on_found=bench.told("sounding clips", count))
    found = measure_sounds(bench.omni, clips, on_done=bench.told("sound", count))
    return found, sound_figures(found), [
        "Windows of 17 frames, half with a contact between the 4th and the 14th, half without; an onset counts within "
        "a frame (0.1 s). to_film: the sound found to the true film, to_other_film: another window's. codec: the true "
        "sound through the sound tokenizer; exchanged: another window's imagined "
        "sound.",
        "onset_seen: onsets within a frame of a thing's beginning or ceasing to move in the same imagined film; true: "
        "the same judge on true film and true sound, exchanged: another film's sound.",
    ]  # fmt: skip


def _transfer(bench: Bench) -> Result:
    if "transfer" not in Defaults.load(bench.omni.parts.folder).learnt:
        return [], {}, ["Not measured: this checkpoint does not say that it has learnt transfer."]
    count, clips = -(-bench.plan.clips // CLIPS_A_HELD), []
    for number in range(count):
        clips.append(held_film(bench.held.seed_of("expert", number)))
        bench.tell("held clips", number + 1, count)
    found = measure_transfer(bench.omni, clips, on_done=bench.told("films under controls", count))
    return found, transfer_figures(found), [
        "The last 17 frames of held-out expert episodes, one control at a time, words and noise the same; nobody acts "
        "them out: free has no control, strange another clip's, led only the first frame, begun the control and the "
        "first frame; codec is the true film after the video tokenizer. better_than: in pairs, positive is better.",
        "Edges count within a pixel. Labels, and where depth says that things stand, are found by the tables' colours: "
        "colours beside the things that have them, or all coloured pixels beside all things.",
    ]  # fmt: skip


_MEASURES: Mapping[str, Callable[[Bench], Result]] = {
    "forward-dynamics": _forward,
    "drift": drift,
    "inverse-dynamics": _inverse,
    "policy": _policy,
    "questions": _questions,
    "text-to-video": _films,
    "picture-films": picture_films,
    "given-films": given_films,
    "sound": _sound,
    "sound-to-video": by_sound,
    "transfer": _transfer,
    "looks": looks,
    "twins": twins,
    "plans": plans,
    **{f"questions-{world}": questions_about(world) for world in WORLDS},
    **ASKED_ELSEWHERE,
}


def check_sections(sections: Sequence[str]) -> None:
    """``ConfigError`` if one of them is unknown, or if there is none."""
    unknown = [section for section in sections if section not in _MEASURES]
    if unknown or not sections:
        raise ConfigError(f"sections={list(sections)}: give at least one of {', '.join(_MEASURES)}.")


def _joined(omni: Omni, plan: Plan, out: Path, sections: Sequence[str]) -> dict[str, Any]:
    """Every figure of the sections, under SECTION/NAME, with the circumstances it was measured in."""
    command = ["armillary", "evaluate", str(omni.parts.folder.name), "--clips", str(plan.clips), "--questions",
               str(plan.questions), "--episodes", str(plan.episodes), "--seed", str(plan.seed)]  # fmt: skip
    command += [] if plan.known == Plan().known else ["--known", str(plan.known)]
    command += [] if plan.steps is None else ["--steps", str(plan.steps)]
    command += [] if omni.parts.told_adapter is None else ["--adapter", omni.parts.told_adapter]
    figures: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    commands: dict[str, str] = {}
    for section in sections:
        kept = json.loads((out / f"{section}.json").read_text("utf-8"))
        notes[section] = kept["notes"]
        commands[section] = shlex.join([*command, "--sections", section])
        told = {name: figure.told() for name, figure in figures_again(out, section).items()} if section in LINES else {}
        for name, figure in (kept["figures"] | told).items():
            figures[f"{section}/{name}"] = figure
    return {
        "checkpoint": omni.parts.folder.name, **omni.parts.made_from, "adapters": omni.parts.adapters_told,
        **({"acting": acts} if (acts := omni.parts.acts_told) else {}),
        "device": omni.parts.device.type,
        "dtype": str(omni.parts.dtype).removeprefix("torch."), "versions": omni.parts.versions,
        "seed": plan.seed, "interval": "95 %, 2000 draws of whole episodes", "commands": commands, "figures": figures,
        "notes": notes,
    }  # fmt: skip


def _write_lines(path: Path, samples: Iterable[Any]) -> None:
    text = "".join(json.dumps(asdict(sample)) + "\n" for sample in samples)
    write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    text = json.dumps(content, indent=1) + "\n"
    write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def progress(console: Console) -> Progress:
    """Bars on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    return Progress(*columns, console=console, disable=not sys.stderr.isatty())


def teller(bars: Progress) -> Step:
    """Moves the bar of whatever is being done, and makes it when it is first heard of."""
    known: dict[str, Any] = {}

    def tell(what: str, done: int, total: int) -> None:
        if what not in known:
            known[what] = bars.add_task(what, total=total)
        bars.update(known[what], completed=done)

    return tell
