"""The named runs: each a function that returns every setting of one piece of work; ``armillary train NAME`` starts it.

    pico-data -> pico-clips -> pico-vae -+-> pico-cache ---+-> pico-generator    the bundled model, in this order
    |        |                           +-> pico-decoder -+-> pico-cloning      what its policy is compared with
    |        +-> pico-words -+-> pico-reasoner ------------+
    |        +-> pico-moments ----------------------------+   single frames of the episodes
    |        +-> pico-controls ---------------------------+   films beside what may hold them
    +--> pico-sounds -> pico-sound -> pico-heard ---------+   what is heard in them
    pico-laid -> pico-paintings --------------------------+   tables as they are laid, thing by thing
    pico-stills -> pico-glances --------------------------+   single frames of many more tables, talked about as well
    pico-worlds -+-> pico-worlds-clips -> pico-worlds-vae -+   the bundled tokenizer and then the generator learn more
                 +-> pico-worlds-windows <-----------------+-> pico-worlds-lesson, -between, -generator, -back, -settled
                                                           +-> pico-worlds-rehearsed, -hand, -sounds, -last
    pico-worlds-lives -> pico-worlds-abroad                what the reasoner knows of six more worlds
    pico-after-table, -pusht -> pico-after-foreseen, -foreseen-pusht -> pico-after-shown -+  what its films look like
    pico-after-lasting -> pico-after-followed, -followed-pusht <-----------------------------+-> pico-after-shown-on
    pico-worlds-abroad -> pico-after-names                 names of those worlds are words of one token
    pico-after-names, -shown-on -> pico-after-whole        the last parts as one checkpoint
    pico-after-boards -> pico-after-windows -> pico-after-steps    and its generator goes on in PushT
    pico-pushing-replans, -moments, -first, -own, -amends, -moved, -both, -last, -bundle    and learns to push
    pico-onwards-lives, -films, -pushed -> pico-onwards      the bundled adapters: with which films go on,
    pico-told-lives, -windows -> pico-few-steps              films from a picture in four steps,
    pico-told-heard -> pico-by-sound                         films and plans that go with a sound
    pico-pushing-bundle, pico-onwards, -few-steps, -by-sound -> pico-dressed    the checkpoint that wears them
    pico-generator -> pico-corrections -> pico-amends       moments it came to, and what the expert would have done
    pico        all of these from nothing, one after the other: ``--list`` says them
    tiny        all of it in seconds, for the tests
    finetune    a trained model learns your recordings
    pusht-recordings -> pusht, and droid    finetune, shown twice: gym-pusht, and a real recording

Folders of one run are found by the next under ``runs/``. Every field is also a flag; a run of your own is
``FILE.py:function``, a function without arguments that returns a ``Run``.
"""

import difflib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from armillary.errors import ConfigError
from armillary.model import ModelConfig, TowerConfig, VisionConfig
from armillary.post_training.finetune import FinetuneRun
from armillary.post_training.mixed import MixedRun
from armillary.run_kinds import Data as Data
from armillary.run_kinds import Run as Run
from armillary.run_kinds import WholeWay as WholeWay
from armillary.runs_adapters import (
    pico_by_sound,
    pico_few_steps,
    pico_onwards,
    pico_onwards_films,
    pico_onwards_lives,
    pico_onwards_pushed,
    pico_told_heard,
    pico_told_lives,
    pico_told_windows,
)
from armillary.runs_after import (
    pico_after_boards,
    pico_after_followed,
    pico_after_followed_pusht,
    pico_after_foreseen,
    pico_after_foreseen_pusht,
    pico_after_lasting,
    pico_after_names,
    pico_after_pusht,
    pico_after_shown,
    pico_after_shown_on,
    pico_after_steps,
    pico_after_table,
    pico_after_whole,
    pico_after_windows,
)
from armillary.runs_pico import (
    pico_amends,
    pico_cache,
    pico_clips,
    pico_cloning,
    pico_controls,
    pico_corrections,
    pico_data,
    pico_decoder,
    pico_generator,
    pico_glances,
    pico_heard,
    pico_laid,
    pico_moments,
    pico_paintings,
    pico_reasoner,
    pico_sound,
    pico_sounds,
    pico_stills,
    pico_vae,
    pico_words,
)
from armillary.runs_pushing import (
    pico_pushing_amends,
    pico_pushing_both,
    pico_pushing_bundle,
    pico_pushing_first,
    pico_pushing_last,
    pico_pushing_moments,
    pico_pushing_moved,
    pico_pushing_own,
    pico_pushing_replans,
)
from armillary.runs_whole import pico, pico_dressed
from armillary.runs_worlds import (
    pico_worlds,
    pico_worlds_abroad,
    pico_worlds_back,
    pico_worlds_between,
    pico_worlds_clips,
    pico_worlds_decoder,
    pico_worlds_generator,
    pico_worlds_hand,
    pico_worlds_last,
    pico_worlds_lesson,
    pico_worlds_lives,
    pico_worlds_rehearsed,
    pico_worlds_settled,
    pico_worlds_sounds,
    pico_worlds_vae,
    pico_worlds_windows,
)
from armillary.training.vae import VAERun, VideoVAEConfig


def tiny() -> Run:
    """Every stage in well under a minute. The tests use it, so it always works."""
    model = ModelConfig(
        tower=TowerConfig(layers=2, width=32, heads=2, kv_heads=1, head_width=32, mlp_width=64, rope_axes=(6, 5, 5)),
        vision=VisionConfig(depth=1, width=24, heads=2, mlp_width=32, grid_side=4),
        vocabulary=512,
    )
    small = VideoVAEConfig(base_dim=4, decoder_base_dim=4, dim_mult=(1, 1, 2, 2))
    codec = VAERun(data=Path(), out=Path(), steps=6, model=small, batch=1, report_steps=1)
    return WholeWay(out=Path("runs/tiny"), model=model, codec=codec)


def finetune() -> Run:
    """A trained model learns your recordings: say which with --data, whose body with --embodiment, where with --out."""
    return FinetuneRun(origin="pico", data=Path("recordings"), out=Path("runs/finetune"), embodiment="tabletop")


def pusht_recordings() -> Run:
    """80 lives of gym-pusht, three of five the planning expert's: a minute of one core."""
    return MixedRun(out=Path("runs/pusht/recordings"), world="pusht", episodes=80)


def pusht() -> Run:
    """The bundled model learns to push the T from recordings, told in steps, and is driven where they came from."""
    return FinetuneRun(
        origin="pico", data=Path("runs/pusht/recordings"), out=Path("runs/pusht/finetune"),
        embodiment="pusht_steps", refit=False, minutes=7.0, vae_minutes=3.0, windows=600, clips=48, rate=1e-3,
        world="pusht", lives=10, compile=True,
    )  # fmt: skip


def droid() -> Run:
    """The bundled model learns a real arm in a real room from one recording: say where it is with --data."""
    return FinetuneRun(
        origin="pico", data=Path("droid_lerobot"), out=Path("runs/droid"), embodiment="droid", like="tabletop",
        minutes=6.0, vae_minutes=11.0, windows=300, clips=32, rate=1e-3, compile=True,
    )  # fmt: skip


RUNS: dict[str, Callable[[], Run]] = {
    made.__name__.replace("_", "-"): made
    for made in (
        pico_data, pico_clips, pico_vae, pico_decoder, pico_words, pico_reasoner, pico_cache, pico_stills, pico_glances,
        pico_moments, pico_controls, pico_sounds, pico_sound, pico_heard, pico_laid, pico_paintings, pico_corrections,
        pico_amends, pico_generator, pico_cloning, pico_worlds, pico_worlds_clips, pico_worlds_vae,
        pico_worlds_decoder, pico_worlds_windows, pico_worlds_lesson, pico_worlds_between, pico_worlds_generator,
        pico_worlds_back, pico_worlds_settled, pico_worlds_rehearsed, pico_worlds_hand, pico_worlds_sounds,
        pico_worlds_last, pico_worlds_lives, pico_worlds_abroad, pico_after_table, pico_after_pusht,
        pico_after_foreseen, pico_after_foreseen_pusht, pico_after_shown, pico_after_lasting, pico_after_followed,
        pico_after_followed_pusht, pico_after_shown_on, pico_after_names, pico_after_whole, pico_after_boards,
        pico_after_windows, pico_after_steps, pico_pushing_replans, pico_pushing_moments, pico_pushing_first,
        pico_pushing_own, pico_pushing_amends, pico_pushing_moved, pico_pushing_both, pico_pushing_last,
        pico_pushing_bundle, pico_onwards_lives, pico_onwards_films, pico_onwards_pushed, pico_onwards, pico_told_lives,
        pico_told_windows, pico_told_heard, pico_few_steps, pico_by_sound,
        pico_dressed, pico, tiny, finetune, pusht_recordings, pusht, droid,
    )
}  # fmt: skip


def find_run(name: str) -> Callable[[], Run]:
    """The function of a named run, or of ``FILE.py:function``. ``ConfigError`` if there is none."""
    if name in RUNS:
        return RUNS[name]
    file, colon, function = name.rpartition(":")
    if not colon:
        near = difflib.get_close_matches(name, RUNS, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"run {name!r} is unknown: it must be one of {', '.join(RUNS)}, or FILE.py:function. Nearest: {near!r}."
        )
    return _from_file(Path(file), function)


def _from_file(path: Path, function: str) -> Callable[[], Run]:
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"there is no file {str(path)!r} ending in .py: give FILE.py:function.")
    spec = importlib.util.spec_from_file_location(f"a_run_of_ones_own.{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # whoever looks up the types of its classes' fields looks there
    spec.loader.exec_module(module)
    found = vars(module).get(function)
    if not callable(found):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise ConfigError(f"{path} has no function {function!r}: it has {', '.join(names) or 'none'}.")

    def made() -> Run:
        run = found()
        if not isinstance(run, Run):
            raise ConfigError(
                f"{path.name}:{function} returned {type(run).__name__}: a run has a method start(report)."
            )
        return run

    return made
