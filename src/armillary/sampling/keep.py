"""A rollout kept as a folder, which appears in one move: film or picture, actions with their units, how it was made.

vision.mp4 | vision.png   frames            actions.json      rows in physical units, with channels and rate
sound.wav                 48 kHz stereo     sample_args.json  the request, settled
answer.txt                words
provenance.json           weights, request, seed, versions
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from armillary.errors import DataError
from armillary.media import write_image, write_video, write_wav
from armillary.records import Rollout

_TOLD = ("about", "domain", "rotation", "channels", "gripper")


def keep_rollout(out: Path, rollout: Rollout) -> list[str]:
    """Write the rollout into the new folder ``out``; returns the names of its files.

    ``DataError`` if ``out`` holds something already.
    """
    check_new(out)
    draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    draft.mkdir(parents=True)
    try:
        if rollout.video is not None and len(rollout.video) == 1:
            write_image(draft / "vision.png", rollout.video[0])
        elif rollout.video is not None:
            write_video(draft / "vision.mp4", rollout.video, rollout.fps, rollout.sound)
        if rollout.sound is not None:
            write_wav(draft / "sound.wav", rollout.sound)
        if rollout.actions is not None:
            _json(draft / "actions.json", actions_told(rollout))
        if rollout.text is not None:
            (draft / "answer.txt").write_text(rollout.text + "\n", encoding="utf-8")
        _json(draft / "sample_args.json", rollout.provenance["request"])
        _json(draft / "provenance.json", dict(rollout.provenance))
        names = sorted(path.name for path in draft.iterdir())
        draft.replace(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return names


def check_new(out: Path) -> None:
    """``DataError`` unless ``out`` is a name that is free, or an empty folder."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise DataError(f"{out} is there already: name a new folder, so that nothing is overwritten.")


def actions_told(rollout: Rollout) -> dict[str, Any]:
    """A rollout's actions with all that is needed to carry them out: channels, units, frames of reference, rate.

    ``DataError`` if it has none.
    """
    body = rollout.body
    if body is None or rollout.actions is None:
        raise DataError(f"a rollout of {rollout.mode} without actions came: there is nothing to tell.")
    told = {name: value for name, value in body.to_dict().items() if name in _TOLD}
    rows = [[round(float(x), 7) for x in row] for row in rollout.actions]
    return {"embodiment": body.name, **told, "rate_hz": rollout.fps, "actions": rows}


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
