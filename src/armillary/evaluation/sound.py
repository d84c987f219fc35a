"""Sound: is a contact heard when it happens, and nothing where nothing does?

    held-out windows, half with a contact and half without  ->  film and sound from the first picture and the words
    and, of a checkpoint that has learnt it, the sound to the true film  ->  beside the true contacts
    onsets of the sound  ->  beside the true contacts, and beside what is seen in the same imagined film

An onset is where a sound rises steeply above what it was just before. The tabletop's sounds are made of its contacts,
so the onsets of a true sound are the contacts; each is first seen in the frame after it, and counts as heard if an
onset lies at most a frame before or after that. Nobody can know from one picture exactly when the hand will arrive:
that is why each sound is also judged beside its own film, where a thing begins to move or comes to rest. What the same
judge says of the true film and sound, of the sound tokenizer alone, and of another clip's sound stands beside.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from armillary.datasets.sounds import sound_again
from armillary.evaluation.bootstrap import Figure, bootstrap, ratio
from armillary.evaluation.held_out import CAMERA, FRAMES, HeldOut
from armillary.evaluation.pixels import blobs_of, centre_of
from armillary.records import SOUND_HZ, Array, Episode

if TYPE_CHECKING:
    from armillary.sampling.omni import Omni

BATCH = 8
SLICE = 480  # samples: a hundredth of a second, in which loudness is told
RISE, BEFORE = 4.0, 6  # how many times louder than in so many slices before a sound must become
LOUD = 0.08  # of full scale, what is quieter begins nothing
APART = 8  # slices between two onsets
FIRST, LAST = 3, 13  # frames between which a window's first contact lies
MOVES = 1.5  # pixels a frame, from which on a thing moves
PEAK = 0.95  # of every sound, as the tokenizer brings it there
JUDGED = ("imagined", "to_film", "to_other_film", "codec", "exchanged", "silence")  # sounds, beside the true contacts
SEEN = ("imagined", "true", "exchanged")  # sounds, beside a film


@dataclass(frozen=True, kw_only=True, eq=False)
class SoundClip:
    """Seventeen frames of a held-out episode with their true sound, float32 2 s.

    ``onsets``: seconds at which contacts are first seen, which is when the frame after each is.
    """

    seed: int
    kind: str
    start: int
    words: str
    fps: float
    video: Array
    sound: Float[np.ndarray, "2 s"]
    onsets: tuple[float, ...]
    colours: tuple[str, ...]  # of the things that no other thing shares its colour with


@dataclass(frozen=True, kw_only=True)
class Listened:
    """One sound beside what it should fit: how many events, how many of them heard within a frame, false onsets.

    ``beside``: contacts or film. ``contact``: whether the true window has a contact.
    """

    seed: int
    kind: str
    sound: str
    beside: str
    contact: bool
    events: int
    heard: int
    onsets: int
    false: int
    seconds: float


def onsets_of(sound: Float[np.ndarray, "2 s"]) -> list[float]:
    """Seconds at which a sound begins: at least four times as loud as just before."""
    count = sound.shape[1] // SLICE
    level = np.abs(sound[:, : count * SLICE]).max(axis=0).reshape(count, SLICE).max(axis=1)
    found: list[int] = []
    for i in range(count):
        before = float(level[max(0, i - BEFORE) : i].max(initial=0.0)) if i else 0.0
        if level[i] > LOUD and level[i] > RISE * before and (not found or i - found[-1] >= APART):
            found.append(i)
    return [i * SLICE / SOUND_HZ for i in found]


def matched(events: Sequence[float], onsets: Sequence[float], *, within: float) -> tuple[int, int]:
    """How many events have an onset within so many seconds, and how many onsets have no event."""
    near = [[abs(onset - event) <= within for onset in onsets] for event in events]
    heard = sum(any(row) for row in near)
    false = sum(not any(row[i] for row in near) for i in range(len(onsets)))
    return heard, false


def clip_of(episode: Episode, sound: Float[np.ndarray, "2 s"], *, contact: bool) -> SoundClip | None:
    """A window of an episode whose first contact lies in its middle, or one without any; None where there is none."""
    fps, last = episode.fps, len(episode.actions) + 1 - FRAMES
    if last < 0:
        return None
    contacts = np.ceil(np.array(onsets_of(sound)) * fps) / fps  # at these frames they are first seen
    length = round(FRAMES / fps * SOUND_HZ)
    rng = np.random.default_rng([episode.seed, 71])
    for start in rng.permutation(last + 1).tolist():
        own = contacts[(contacts >= start / fps) & (contacts < (start + FRAMES) / fps)] - start / fps
        begin = round(start / fps * SOUND_HZ)
        cut = np.pad(sound, ((0, 0), (0, length)))[:, begin : begin + length]
        fits = len(own) and FIRST / fps <= own[0] <= LAST / fps if contact else not (np.abs(cut) > 1e-3).any()
        if fits:
            names = [thing["name"].split()[0] for thing in episode.recipe["parameters"]["objects"]]
            return SoundClip(
                seed=episode.seed, kind=str(episode.recipe["controller"]), start=start, fps=fps,
                words=episode.captions["dense"], video=episode.frames[CAMERA][start : start + FRAMES],
                sound=(cut * (PEAK / max(float(np.abs(cut).max()), 1e-3))).astype(np.float32),
                onsets=tuple(np.unique(own.round(6)).tolist()),
                colours=tuple(name for name in names if names.count(name) == 1),
            )  # fmt: skip
    return None


def gather_sounds(held: HeldOut, count: int, *, on_found: Callable[[int], None] | None = None) -> list[SoundClip]:
    """``count`` windows, by turns with a contact and without, of the expert and the clumsy one by turns."""
    sources = [held.episodes("expert"), held.episodes("clumsy")]
    wanted = [count - count // 2, count // 2]  # with, without
    found: list[SoundClip] = []
    turn = 0
    while len(found) < count:
        episode = next(sources[turn % 2])
        contact = (turn // 2) % 2 == 0 if min(wanted) else wanted[0] > 0
        turn += 1
        clip = clip_of(episode, sound_again(episode), contact=contact)
        if clip is not None:
            wanted[not contact] -= 1
            found.append(clip)
            if on_found is not None:
                on_found(len(found))
    return found


def seen_events(film: Array, colours: Sequence[str], fps: float) -> list[float]:
    """Seconds at which a thing of one of these colours begins to move or comes to rest, as pixels show it.

    Where its patch is not seen nothing is said. The moment lies between two frames: the later one's time is given.
    """
    found: set[int] = set()
    for colour in colours:
        places = []
        for frame in film:
            patches = blobs_of(frame, colour)
            places.append(centre_of(patches[0]) if patches else np.full(2, np.nan))
        pace = np.linalg.norm(np.diff(np.array(places), axis=0), axis=1)  # of the step into frames 1, 2, …
        moves = np.nan_to_num(pace, nan=0.0) > MOVES
        moves[1:-1] &= moves[:-2] | moves[2:]  # not a single jump
        found |= {int(i) + 2 for i in np.flatnonzero(moves[1:] != moves[:-1])}
        found |= {1} if moves[0] else set()
    return [frame / fps for frame in sorted(found)]


def measure_sounds(
    omni: "Omni", clips: Sequence[SoundClip], *, on_done: Callable[[int], None] | None = None
) -> list[Listened]:
    """Imagine film and sound of every clip from its first picture and its words, and judge them.

    A checkpoint that has learnt ``video-to-sound`` also finds the sound to the true film; another clip's such sound
    stands beside it.
    """
    films: list[Array] = []
    sounds: list[NDArray[np.float32]] = []
    to_film: list[NDArray[np.float32]] | None = [] if "video-to-sound" in omni.parts.defaults.learnt else None
    for first in range(0, len(clips), BATCH):
        batch = clips[first : first + BATCH]
        asked = [{"mode": "image-to-video", "image": clip.video[0], "prompt": clip.words, "sound": True,
                  "frames": FRAMES, "fps": clip.fps, "seed": first + i} for i, clip in enumerate(batch)]  # fmt: skip
        for rollout in omni.imagine_many(asked):
            assert rollout.video is not None and rollout.sound is not None
            films.append(rollout.video)
            sounds.append(rollout.sound)
        if to_film is not None:
            asked = [{"mode": "video-to-sound", "video": clip.video, "prompt": clip.words, "fps": clip.fps,
                      "seed": first + i} for i, clip in enumerate(batch)]  # fmt: skip
            to_film += [rollout.sound for rollout in omni.imagine_many(asked) if rollout.sound is not None]
        if on_done is not None:
            on_done(first + len(batch))
    return judged(clips, films, sounds, [again(omni, clip.sound) for clip in clips], to_film)


def again(omni: "Omni", sound: Float[np.ndarray, "2 s"]) -> Float[np.ndarray, "2 s"]:
    """A sound as it comes back from the sound tokenizer."""
    vae = omni.parts.sound_vae
    wave = torch.from_numpy(sound)[None].to(omni.parts.device)
    return vae.decode(vae.encode(wave))[0, :, : sound.shape[1]].cpu().numpy()


def judged(
    clips: Sequence[SoundClip], films: Sequence[Array], sounds: Sequence[NDArray[np.float32]],
    codec: Sequence[NDArray[np.float32]], to_film: Sequence[NDArray[np.float32]] | None = None,
) -> list[Listened]:  # fmt: skip
    """Each clip's sounds beside its contacts, and beside the imagined and the true film."""
    found: list[Listened] = []
    for i, clip in enumerate(clips):
        stranger = _stranger(clips, i)
        heard = {"imagined": sounds[i], "codec": codec[i], "exchanged": sounds[stranger],
                 "silence": np.zeros_like(sounds[i])}  # fmt: skip
        if to_film is not None:
            heard |= {"to_film": to_film[i], "to_other_film": to_film[stranger]}
        seen, true = seen_events(films[i], clip.colours, clip.fps), seen_events(clip.video, clip.colours, clip.fps)
        pairs: list[tuple[str, str, NDArray[np.float32], Sequence[float]]]
        pairs = [(name, "contacts", heard[name], clip.onsets) for name in JUDGED if name in heard]
        pairs += [
            (name, "film", {**heard, "true": clip.sound}[name], true if name == "true" else seen) for name in SEEN
        ]
        for name, beside, sound, events in pairs:
            onsets = onsets_of(sound)
            hits, false = matched(events, onsets, within=1 / clip.fps + SLICE / SOUND_HZ)
            found.append(Listened(
                seed=clip.seed, kind=clip.kind, sound=name, beside=beside, contact=bool(clip.onsets),
                events=len(events), heard=hits, onsets=len(onsets), false=false, seconds=FRAMES / clip.fps,
            ))  # fmt: skip
    return found


def _stranger(clips: Sequence[SoundClip], i: int) -> int:
    """The next clip of another episode, with a contact where this one has one."""
    others = [(i + k) % len(clips) for k in range(1, len(clips)) if clips[(i + k) % len(clips)].seed != clips[i].seed]
    alike = [j for j in others if bool(clips[j].onsets) == bool(clips[i].onsets)]
    return (alike or others or [i])[0]


def sound_figures(found: Sequence[Listened], *, seed: int = 0) -> dict[str, Figure]:
    """Shares of contacts heard, false onsets a second, and how often what is heard and what is seen go together.

    ``onset_found_S``: contacts that sound S begins within a frame of; ``false_onsets_S`` a second, of all windows;
    ``false_onsets_quiet_S``: of those without a contact; ``onset_seen_S``: onsets of S within a frame of a visible
    beginning or end of motion in the film beside it.
    """
    figures: dict[str, Figure] = {}

    def figure(name: str, own: Sequence[Listened], top: Callable[[Listened], float],
               bottom: Callable[[Listened], float]) -> None:  # fmt: skip
        rows = [(top(one), bottom(one)) for one in own]
        if sum(row[1] for row in rows) > 0:
            figures[name] = bootstrap(rows, [one.seed for one in own], ratio, seed=seed)

    for name in JUDGED:
        own = [one for one in found if one.sound == name and one.beside == "contacts"]
        quiet = [one for one in own if not one.contact]
        figure(f"onset_found_{name}", own, lambda one: one.heard, lambda one: one.events)
        figure(f"false_onsets_{name}", own, lambda one: one.false, lambda one: one.seconds)
        figure(f"false_onsets_quiet_{name}", quiet, lambda one: one.false, lambda one: one.seconds)
    for name in SEEN:
        own = [one for one in found if one.sound == name and one.beside == "film"]
        figure(f"onset_seen_{name}", own, lambda one: one.onsets - one.false, lambda one: one.onsets)
    return figures
