"""How long a film is to be: told by its actions or by what is given of it, else asked for.

Asked's frames, actions, film  --frames_of-->  4k+1, or one more than there are actions
"""

from collections.abc import Mapping
from typing import Any

from armillary.errors import RequestError
from armillary.modes import Mode
from armillary.records import Array
from armillary.sampling.values import MOST_FRAMES, whole

FRAMES_A_LATENT = 4


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


def frames_of(mode: Mode, given: Mapping[str, Any], actions: Array | None, film: Array | None) -> int:
    """How many frames the film has: told by actions or film where these are given, else asked for."""
    frames = whole(given, "frames", mode.frames, 0, MOST_FRAMES)
    if mode.name == "reason":
        return 0
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
