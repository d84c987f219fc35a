"""By its sound: the same picture and words, the same contact heard when it was and heard later, and what physics says.

A life is lived and listened to. From its first picture, its words and its sound the model plans and imagines; then once
more with the sound told later. The actions of both are done in the world. Writes a film: what happened, imagined by its
sound, imagined by the later one.
Run: python examples/by_sound.py --steps 4
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import armillary
from armillary.errors import ArmillaryError
from armillary.evaluation.by_sound import contacts_of, window_of
from armillary.evaluation.sound import matched
from armillary.media import write_video
from armillary.records import SOUND_HZ
from armillary.worlds.tabletop import SPEC, Tabletop


def main(steps: int = 4, checkpoint: str = "pico", seed: int = 1_900_005, out: Path = Path("by_sound.mp4")) -> float:
    """``steps``: by how many the sound is told later. Returns which share of both films' contacts is made as told."""
    with TemporaryDirectory() as lives:
        while (window := window_of(Path(lives), seed)) is None:
            seed += 1  # in whose life nothing is touched
    clip, omni = window.clip, armillary.load(checkpoint)
    world = Tabletop(views=(), extras=("sound",))
    films, made, count = [clip.video], 0, 0
    for later in (0, steps):
        silence = np.zeros((2, round(later / clip.fps * SOUND_HZ)), np.float32)
        sound = np.concatenate([silence, clip.sound], axis=1)[:, : clip.sound.shape[1]]
        asked = {"image": clip.video[0], "sound": sound, "seed": seed}
        film = omni.imagine("sound-to-video", prompt=clip.words, **asked)
        actions = film.actions  # a checkpoint that acts films out by their sound has them already
        if actions is None:
            plan = omni.imagine("policy", prompt=window.life.instruction, embodiment=SPEC.embodiment, **asked)
            actions = plan.actions
        assert film.video is not None and actions is not None
        films.append(film.video)
        last = (len(clip.video) - 1) / clip.fps  # what would be told after that is cut off
        told = [at + later / clip.fps for at in clip.onsets if at + later / clip.fps <= last]
        found = contacts_of(window.life, clip.start, actions, world)
        made, count = made + matched(told, found, within=1 / clip.fps)[0], count + len(told)
        print(f"{clip.words} Told {told} s, made {found} s.")
    world.close()
    write_video(out, np.concatenate(films, axis=2), clip.fps, clip.sound)
    print(f"{out}: what happened, by its sound, by its sound {steps} frames later.")
    return made / max(count, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Films by a sound, and by the same sound later.")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--checkpoint", default="pico")
    parser.add_argument("--seed", type=int, default=1_900_005)
    try:
        main(**vars(parser.parse_args()))
    except ArmillaryError as wrong:
        parser.exit(2, f"{parser.prog}: {wrong}\n")
