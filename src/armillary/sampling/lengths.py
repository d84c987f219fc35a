"""How long a film is to be: told by its actions or by what is given of it, else asked for; and how large.

Asked's frames, actions, film  --frames_of-->  4k+1, or one more than there are actions
Asked's size                   --size_of-->    height, width
"""

from collections.abc import Mapping
from typing import Any

from armillary.errors import RequestError
from armillary.modes import Mode
from armillary.records import SOUND_HZ, Array
from armillary.sampling.hearing import frames_heard
from armillary.sampling.values import MOST_FRAMES, whole
from armillary.tokenizers.video import canvas_for

FRAMES_A_LATENT = 4
UNIT = 32  # pixels: a latent cell has 16, a token 2x2 cells
MOST_SIDE = 4096  # pixels: three times the longest side of the largest published tier


def history_of(mode: Mode, count: int) -> int:
    """How many latent frames so many frames of what came before are, which every stretch then begins with."""
    most = mode.frames - FRAMES_A_LATENT
    if count % FRAMES_A_LATENT != 1 or count > most:
        near = min(most, FRAMES_A_LATENT * ((count - 1) // FRAMES_A_LATENT) + 1)
        raise RequestError(
            f"video has {count} frames: of what came before {mode.name} takes 4k+1, at most {most}. Give the last "
            f"{near}."
        )
    return 1 + (count - 1) // FRAMES_A_LATENT


def heard_frames(mode: Mode, given: Mapping[str, Any], sound: Array | None, fps: float) -> Mapping[str, Any]:
    """A request that says how long its film is: as long as the sound it is to go with, where nobody says.

    ``RequestError`` for a film that would go on after its sound, and for a sound in which nothing could happen.
    """
    if sound is None or mode.action != "none":
        return given
    lasts = frames_heard(sound, fps)
    if lasts < 1 + FRAMES_A_LATENT:
        raise RequestError(
            f"sound lasts {sound.shape[1] / SOUND_HZ:.2f} s, no {1 + FRAMES_A_LATENT} frames at {fps:g} a second: give "
            "a longer one."
        )
    if lasts > MOST_FRAMES and "frames" not in given:
        raise RequestError(
            f"sound lasts for {lasts} frames at {fps:g} a second: films have at most {MOST_FRAMES}. Cut it, or say in "
            "frames how many."
        )
    asked = whole(given, "frames", min(lasts, MOST_FRAMES), 1, MOST_FRAMES)
    if asked > lasts:
        raise RequestError(
            f"frames={asked}, but the sound lasts for {lasts} at {fps:g} a second: leave frames out, or give a longer "
            "sound."
        )
    return {**given, "frames": asked}


def frames_of(mode: Mode, given: Mapping[str, Any], actions: Array | None, film: Array | None) -> int:
    """How many frames the film has: told by actions or film where these are given, else asked for."""
    if mode.name == "reason":
        return 0
    frames = whole(given, "frames", mode.frames, 1, MOST_FRAMES)
    told = (
        len(actions) + 1 if actions is not None else len(film) if mode.video == "given" and film is not None else None
    )
    if told is not None:
        if "frames" in given and frames != told:
            raise RequestError(f"frames={frames} does not fit what is given, which makes {told}: leave frames out.")
        if actions is not None and film is not None and told <= len(film):
            raise RequestError(
                f"actions has {len(actions)} rows, which lead no further than the {len(film)} frames of video: its own "
                f"{len(film) - 1} come first, and more must follow."
            )
        if told > MOST_FRAMES:
            raise RequestError(f"{told} frames are more than {MOST_FRAMES}: give fewer.")
        frames = told
    if mode.frames == 1 and frames != 1:
        raise RequestError(f"frames={frames}, but {mode.name} makes one picture: leave frames out.")
    if actions is None and (frames % FRAMES_A_LATENT != 1 or (frames == 1 and mode.frames != 1)):
        near = max(FRAMES_A_LATENT + 1, FRAMES_A_LATENT * round((frames - 1) / FRAMES_A_LATENT) + 1)
        what = f"frames={frames}" if told is None else f"video has {frames} frames, which"
        raise RequestError(f"{what} cannot be cut into latents: a film must have 4k+1, {near} would do.")
    if mode.also_last and frames > mode.frames:
        raise RequestError(f"frames={frames}: {mode.name} makes one stretch of at most {mode.frames} frames.")
    told_latents = mode.given_latent_frames + int(mode.also_last)
    least = 1 + FRAMES_A_LATENT * told_latents
    if mode.video == "first" and actions is None and frames < least:
        raise RequestError(f"frames={frames} leaves {mode.name} nothing to find: ask for at least {least}.")
    return frames


def size_of(mode: Mode, given: Mapping[str, Any], usual: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the film in pixels, ``usual`` where nobody says; ``RequestError`` for what no token fits."""
    value = given.get("size", usual)
    try:
        height, width = (int(side) for side in value)
        exact = (height, width) == tuple(value)
    except (TypeError, ValueError):
        exact = False
    if not exact:
        raise RequestError(f"size={value!r} is no size: give two whole numbers, height and width in pixels.")
    if height < UNIT or width < UNIT or height % UNIT or width % UNIT:
        near = tuple(max(UNIT, UNIT * round(side / UNIT)) for side in (height, width))
        raise RequestError(
            f"size={height}x{width}: both sides must be multiples of {UNIT}, {near[0]}x{near[1]} would do."
        )
    if max(height, width) > MOST_SIDE:
        raise RequestError(f"size={height}x{width}: no side is longer than {MOST_SIDE} pixels, scale it down.")
    if mode.action != "none":
        canvas_for(height, width)
    return height, width
