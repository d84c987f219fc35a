"""Films by their sound: does what is given to be heard happen when it is heard?

    a held-out window with a contact: its first picture, the life's words, its true sound
       ->  the film in which that is heard                beside the true one
       ->  the actions by which it was acted out, done in the life's own physics from there on   ->  what is heard then

The same with the sound of another window (``other``), with its own ``later`` than it was, and asked without any
(``unheard``, a film from the picture and the words alone); and ``plain``, by its own and by another's, where nobody
acts. A sound says when things touch, not how the arm moves: so beside the film, which is marked against the
true one, physics is asked, whose contacts are to be heard when they are told, within a frame. Who acts without hearing
also meets some of these in time, since picture and words say where the arm is bound for; hardly any that are told
later than anybody would come there by himself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
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
from armillary.sampling.abilities import hears_sound
from armillary.sampling.adapters import NONE
from armillary.worlds.tabletop import Tabletop

if TYPE_CHECKING:
    from armillary.evaluation.suite import Bench, Result
    from armillary.sampling.omni import Omni

KIND = "expert"  # whose lives these are
OWN, OTHER, UNHEARD, LATER = "own", "other", "unheard", "later"
PLAIN, PLAIN_OTHER = "plain", "plain_other"  # nobody acts
DEAF = "later_unheard"  # what is done without hearing, beside what is told later
ENDS = {OWN: "", OTHER: "_other_sound", UNHEARD: "_unheard"}  # of the names of figures
MODE = "sound-to-video"
DELAY = 4  # frames by which a sound is told later


@dataclass(frozen=True, kw_only=True)
class BySoundScore:
    """One window, and of each way that it was imagined ``psnr`` in dB over the frames that are not given, and of its
    actions, done in physics, how many of the ``contacts`` that are told (``late`` ones where they are told later) are
    made within a frame (``made``) and how many others are (``false``); empty where nobody acted. ``still``: the mark of
    the first frame, repeated."""

    seed: int
    start: int
    contacts: int
    late: int
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
    if not hears_sound(bench.omni.parts.folder):
        return [], {}, [f"Not measured: {bench.omni.parts.folder.name} has no ears."]
    windows = bench.first("sounding windows", max(2, bench.plan.clips // 3), sounding(bench))
    told = bench.told("films by their sound", len(windows))
    with closing(Tabletop(views=(), extras=("sound",))) as world:
        scores = measure_by_sound(bench.omni, windows, world, on_done=told)
    return scores, by_sound_figures(scores), [
        f"Windows of {FRAMES} frames of the expert's lives, the first contact between the 4th and the 14th; given are "
        "the first picture, the words of the life and the window's true sound, of other sound that of another window, "
        "unheard none: a film from a picture.",
        f"later: the sound told {DELAY} frames later, its contacts as far as the window holds them; later unheard: "
        "what is done without hearing, beside these. plain: nobody acts, beside the true film.",
        f"{sum(bool(score.made) for score in scores)} of {len(scores)} windows were acted out, of which contacts tell.",
        "contacts made: of the contacts that are told, those that physics makes within a frame when the film's own "
        "actions are done there from the window's first frame on; false contacts: those it makes that are not told.",
    ]  # fmt: skip


def sounding(bench: "Bench") -> Iterator[Window]:
    """One window with a contact of each life that has one, in order of their seeds, without end."""
    for number in count():
        if (found := window_of(bench.episodes, bench.held.seed_of("by-sound", number))) is not None:
            yield found


def window_of(folder: Path, seed: int) -> Window | None:
    """The window with a contact of the life of a seed, which is kept in ``folder``; None where it has none."""
    life = recorded(folder, KIND, seed)
    clip = clip_of(life, sound_again(life), contact=True)
    return None if clip is None else Window(clip=clip, life=life)


def imagined_by(omni: "Omni", window: Window, *, seed: int) -> list[Array]:
    """A window as it is imagined by its own sound, and from its picture and words alone: uint8 t h w 3 each."""
    made = [*_filmed(omni, [window], [window.clip.sound], seed=seed), *_filmed(omni, [window], None, seed=seed)]
    return [film.video for film in made if film.video is not None]


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
        late = [_later(one, batch[i].clip.fps) for i, one in enumerate(own)]
        sounds = {OWN: own, OTHER: other, LATER: late, UNHEARD: None}
        found = {way: _filmed(omni, batch, heard, seed=first) for way, heard in sounds.items()}
        found |= {PLAIN: _filmed(omni, batch, own, seed=first, acting=NONE),
                  PLAIN_OTHER: _filmed(omni, batch, other, seed=first, acting=NONE)}  # fmt: skip
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
    if any(score.made for score in scores):  # else it is what the others are
        plain, strange = (np.array([score.psnr[way] for score in scores]) for way in (PLAIN, PLAIN_OTHER))
        columns |= {
            "db_over_repeat_first_frame_plain": plain - still,
            "db_lost_with_other_sound_plain": plain - strange,
        }
    figures = {name: mean(values, groups, seed=seed) for name, values in columns.items()}
    if acted := [score for score in scores if score.made]:
        figures |= _contact_figures(acted, seed)
    return figures


def _contact_figures(acted: Sequence[BySoundScore], seed: int) -> dict[str, Figure]:
    seeds, figures = [score.seed for score in acted], dict[str, Figure]()
    for way, end in {**ENDS, LATER: "_later", DEAF: "_later_unheard"}.items():
        made = [(one.made[way], one.late if way in (LATER, DEAF) else one.contacts) for one in acted]
        false = [(one.false[way], one.seconds) for one in acted]
        figures[f"contacts_made{end}"] = bootstrap(made, seeds, ratio, seed=seed)
        figures[f"false_contacts{end}"] = bootstrap(false, seeds, ratio, seed=seed)
    pairs = {"_more_than_other_sound": (OWN, OTHER), "_more_than_unheard": (OWN, UNHEARD),
             "_later_more_than_unheard": (LATER, DEAF)}  # fmt: skip
    for end, (one, two) in pairs.items():
        more = [(row.made[one] - row.made[two], row.late if one == LATER else row.contacts) for row in acted]
        figures[f"contacts_made{end}"] = bootstrap(more, seeds, ratio, seed=seed)
    return figures


def _later(sound: Array, fps: float) -> Array:
    """A sound that begins so much later, and is cut at its end."""
    silence = np.zeros((2, round(DELAY / fps * SOUND_HZ)), np.float32)
    return np.concatenate([silence, sound], axis=1)[:, : sound.shape[1]]


def _late_onsets(clip: SoundClip) -> list[float]:
    """When a window's contacts are told if they are told later: those that its actions can still make."""
    last = (FRAMES - 1) / clip.fps + 1e-6
    return [at + DELAY / clip.fps for at in clip.onsets if at + DELAY / clip.fps <= last]


def _filmed(
    omni: "Omni", windows: Sequence[Window], sounds: Sequence[Array] | None, *, seed: int, **how: Any
) -> list[Rollout]:
    """A film of each window's first picture and words, by these sounds, or from the picture alone. ``how``: further
    fields of the requests."""
    asked: list[dict[str, Any]] = []
    for i, one in enumerate(windows):
        by = {"mode": "image-to-video"} if sounds is None else {"mode": MODE, "sound": sounds[i]}
        asked.append({"image": one.clip.video[0], "prompt": one.clip.words, "frames": FRAMES, "fps": one.clip.fps,
                      "seed": seed + i, **by, **how})  # fmt: skip
    return omni.imagine_many(asked)


def _marked(window: Window, films: Mapping[str, Rollout], world: World) -> BySoundScore:
    clip, truth = window.clip, window.clip.video
    made: dict[str, int] = {}
    false: dict[str, int] = {}
    late = _late_onsets(clip)
    actions = {way: own for way in (*ENDS, LATER) if (own := films[way].actions) is not None}
    if len(actions) == len(ENDS) + 1:
        times = {way: contacts_of(window.life, clip.start, own, world) for way, own in actions.items()}
        told = {way: (late if way == LATER else clip.onsets, own) for way, own in times.items()}
        for way, (events, heard) in (told | {DEAF: (late, times[UNHEARD])}).items():
            made[way], false[way] = matched(events, heard, within=1 / clip.fps + SLICE / SOUND_HZ)
    marks = {way: psnr(film.video[1:], truth[1:]) for way, film in films.items() if film.video is not None}
    return BySoundScore(
        seed=clip.seed, start=clip.start, contacts=len(clip.onsets), late=len(late), seconds=(FRAMES - 1) / clip.fps,
        psnr=marks, still=psnr(np.broadcast_to(truth[:1], truth[1:].shape), truth[1:]), made=made, false=false,
    )  # fmt: skip
