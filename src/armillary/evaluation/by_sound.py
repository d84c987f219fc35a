"""Films by their sound: does what is given to be heard happen when it is heard?

    a held-out window with a contact: its first picture, the life's words, its true sound
       ->  the film in which that is heard                beside the true one
       ->  the actions by which it was acted out, done in the life's own physics from there on   ->  what is heard then

The same with the sound of another window (``other``), and asked without any (``unheard``, a film from the picture and
the words alone). A sound says when things touch, not how the arm moves: so beside the film, which is marked against the
true one, physics is asked, whose contacts are to be heard when they are told, within a frame. Who acts without hearing
also meets some of these in time, since picture and words say where the arm is bound for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from armillary.datasets.sounds import sound_again
from armillary.evaluation.bootstrap import Figure, bootstrap, mean, ratio
from armillary.evaluation.dynamics import BATCH, other_episodes
from armillary.evaluation.held_out import FRAMES, recorded
from armillary.evaluation.pixels import psnr
from armillary.evaluation.sound import SLICE, SoundClip, clip_of, matched, onsets_of
from armillary.records import SOUND_HZ, Array, Episode, Rollout, World
from armillary.sampling.abilities import makes_sound
from armillary.worlds.tabletop import Tabletop

if TYPE_CHECKING:
    from armillary.evaluation.suite import Bench, Result
    from armillary.sampling.omni import Omni

KIND = "expert"  # whose lives these are
OWN, OTHER, UNHEARD = "own", "other", "unheard"
ENDS = {OWN: "", OTHER: "_other_sound", UNHEARD: "_unheard"}  # of the names of figures
MODE = "sound-to-video"


@dataclass(frozen=True, kw_only=True)
class BySoundScore:
    """One window, and of each way that it was imagined ``psnr`` in dB over the frames that are not given, and of its
    actions, done in physics, how many of the ``contacts`` that are told are made within a frame (``made``) and how many
    others are (``false``); empty where nobody acted. ``still``: the mark of the first frame, repeated."""

    seed: int
    start: int
    contacts: int
    seconds: float
    still: float
    psnr: Mapping[str, float]
    made: Mapping[str, int] = field(default_factory=dict)
    false: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """A window in which something is heard, and the life it is of."""

    clip: SoundClip
    life: Episode


def by_sound(bench: "Bench") -> "Result":
    """The section of the suite: a third as many windows as there are to be clips."""
    if not makes_sound(bench.omni.parts.folder):
        return [], {}, [f"Not measured: {bench.omni.parts.folder.name} has no ears."]
    windows = bench.first("sounding windows", max(2, bench.plan.clips // 3), sounding(bench))
    told = bench.told("films by their sound", len(windows))
    with closing(Tabletop(views=(), extras=("sound",))) as world:
        scores = measure_by_sound(bench.omni, windows, world, on_done=told)
    return scores, by_sound_figures(scores), [
        f"Windows of {FRAMES} frames of the expert's lives, the first contact between the 4th and the 14th; given are "
        "the first picture, the words of the life and the window's true sound, of other sound that of another window, "
        "unheard none: a film from a picture.",
        "contacts made: of the contacts that are told, those that physics makes within a frame when the film's own "
        "actions are done there from the window's first frame on; false contacts: those it makes that are not told.",
    ]  # fmt: skip


def sounding(bench: "Bench") -> Iterator[Window]:
    """One window with a contact of each life that has one, in order of their seeds, without end."""
    for number in count():
        life = recorded(bench.episodes, KIND, bench.held.seed_of("by-sound", number))
        if (clip := clip_of(life, sound_again(life), contact=True)) is not None:
            yield Window(clip=clip, life=life)


def measure_by_sound(
    omni: "Omni", windows: Sequence[Window], world: World, *, on_done: Callable[[int], None] | None = None
) -> list[BySoundScore]:
    """Imagine every window by its own sound, by another's and by none, and mark the films and what their actions do.

    ``world``: one that can be heard.
    """
    strangers = other_episodes([one.clip.seed for one in windows])
    scores: list[BySoundScore] = []
    for first in range(0, len(windows), BATCH):
        batch = windows[first : first + BATCH]
        own = [one.clip.sound for one in batch]
        other = [windows[i].clip.sound for i in strangers[first : first + BATCH]]
        found = {OWN: _filmed(omni, batch, own, seed=first), OTHER: _filmed(omni, batch, other, seed=first),
                 UNHEARD: _filmed(omni, batch, None, seed=first)}  # fmt: skip
        for i, one in enumerate(batch):
            scores.append(_marked(one, {way: films[i] for way, films in found.items()}, world))
        if on_done is not None:
            on_done(len(scores))
    return scores


def contacts_of(life: Episode, start: int, actions: Array, world: World) -> list[float]:
    """Seconds after frame ``start`` of a life at which contacts are first seen if these actions are done from there."""
    moment = world.reset(life.seed, life.instruction)
    heard: list[NDArray[np.float32]] = []
    for action in (*life.actions[:start], *actions):
        moment = world.step(action)
        assert moment.sound is not None  # it was asked for
        heard.append(moment.sound)
    begins = np.array(onsets_of(np.concatenate(heard, axis=1)))
    seen = np.ceil(begins * life.fps) / life.fps - start / life.fps
    return np.unique(seen[seen > 0].round(6)).tolist()


def by_sound_figures(scores: Sequence[BySoundScore], *, seed: int = 0) -> dict[str, Figure]:
    """The figures by name; contacts where any film was acted out."""
    if not scores:
        return {}
    groups = [score.seed for score in scores]
    marks = {way: np.array([score.psnr[way] for score in scores]) for way in ENDS}
    still = np.array([score.still for score in scores])
    columns = {"psnr_repeat_first_frame": still, "psnr": marks[OWN]}
    columns |= {f"db_over_repeat_first_frame{end}": marks[way] - still for way, end in ENDS.items()}
    columns |= {
        "db_lost_with_other_sound": marks[OWN] - marks[OTHER],
        "db_more_than_unheard": marks[OWN] - marks[UNHEARD],
    }
    figures = {name: mean(values, groups, seed=seed) for name, values in columns.items()}
    for way, end in ENDS.items():
        if acted := [score for score in scores if way in score.made]:
            seeds = [score.seed for score in acted]
            made = [(score.made[way], score.contacts) for score in acted]
            false = [(score.false[way], score.seconds) for score in acted]
            figures[f"contacts_made{end}"] = bootstrap(made, seeds, ratio, seed=seed)
            figures[f"false_contacts{end}"] = bootstrap(false, seeds, ratio, seed=seed)
    both = [score for score in scores if OWN in score.made and UNHEARD in score.made]
    for way, end in ((OTHER, "other_sound"), (UNHEARD, "unheard")):
        if both:
            more = [(score.made[OWN] - score.made[way], score.contacts) for score in both]
            figures[f"contacts_made_more_than_{end}"] = bootstrap(more, [one.seed for one in both], ratio, seed=seed)
    return figures


def _filmed(omni: "Omni", windows: Sequence[Window], sounds: Sequence[Array] | None, *, seed: int) -> list[Rollout]:
    """A film of each window's first picture and words, by these sounds, or from the picture alone."""
    asked: list[dict[str, Any]] = []
    for i, one in enumerate(windows):
        by = {"mode": "image-to-video"} if sounds is None else {"mode": MODE, "sound": sounds[i]}
        asked.append({"image": one.clip.video[0], "prompt": one.clip.words, "frames": FRAMES, "fps": one.clip.fps,
                      "seed": seed + i, **by})  # fmt: skip
    return omni.imagine_many(asked)


def _marked(window: Window, films: Mapping[str, Rollout], world: World) -> BySoundScore:
    clip, truth = window.clip, window.clip.video
    made: dict[str, int] = {}
    false: dict[str, int] = {}
    for way, film in films.items():
        if film.actions is not None:
            times = contacts_of(window.life, clip.start, film.actions, world)
            made[way], false[way] = matched(clip.onsets, times, within=1 / clip.fps + SLICE / SOUND_HZ)
    marks = {way: psnr(film.video[1:], truth[1:]) for way, film in films.items() if film.video is not None}
    return BySoundScore(
        seed=clip.seed, start=clip.start, contacts=len(clip.onsets), seconds=(FRAMES - 1) / clip.fps, psnr=marks,
        still=psnr(np.broadcast_to(truth[:1], truth[1:].shape), truth[1:]), made=made, false=false,
    )  # fmt: skip
