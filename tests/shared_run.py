"""A run of every kind of exercise from made-up windows, small enough for several processes in a test.

``all_of_them`` trains it with each optimizer, as ``armillary train FILE.py:all_of_them`` starts it; where its windows
lie says the environment.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from exercises import windows
from safetensors.torch import save_file
from tiny import SMALL_SOUND, small_checkpoint

from armillary.run_kinds import Generator
from armillary.tokenizers.sound import SoundVAE
from armillary.training.heard import HeardConfig
from armillary.training.held import HELD, HeldConfig
from armillary.training.imagination import FlowConfig
from armillary.training.loop import Stage

PLACE = "SHARED_RUN_PLACE"
STEPS, HALF = 16, 7


def make(root):
    """A checkpoint, and a cache of each kind of windows: four films of four tokens a frame, four single frames."""
    small_checkpoint(root / "start", sound=True)
    SoundVAE(SMALL_SOUND).save(root / "sound")
    rng, films = torch.Generator().manual_seed(2), windows(4)
    row = {"placed": "", "fps": 10.0, "domain": 6, "width": 10, "acts": True, "tells": True, "named": {}, "words": "A.",
           "held": list(HELD)}  # fmt: skip
    rows = [{**row, "task": films.task[i], "caption": films.caption[i], "start": i} for i in range(4)]
    things = [{**one, "named": {"red cube": [9, 9, 60, 60]} if one["start"] % 2 else {}} for one in rows]
    for name, tokens, told in (("films", 80, rows), ("held", 80, rows), ("stills", 16, rows), ("laid", 16, things)):
        (root / name).mkdir()
        tensors = {
            "video": torch.randn(4, tokens, 192, generator=rng).bfloat16(), "actions": films.actions,
            "controls": torch.randn(4, len(HELD), tokens, 192, generator=rng).bfloat16(),
            "things": torch.zeros(4, tokens),
        }  # fmt: skip
        save_file(tensors, root / name / "episode_000000.safetensors", metadata={"rows": json.dumps(told)})
    (root / "heard").mkdir()
    note = {"starts": json.dumps([0, 1, 2]), "loud": json.dumps([True] * 3)}
    save_file(
        {"sound": torch.randn(3, 43, 64, generator=rng)}, root / "heard/episode_000000.safetensors", metadata=note
    )


def described(root, name, *, muon):
    """The run: an odd batch; of films under controls it has one row, of films with sound two. This seed meets all."""
    flow = FlowConfig(
        stills_share=0.25, painting=0.15, onwards=0.7, lived=1.0, action_share=0.8, listen_every=2,
        held=HeldConfig(share=0.2), heard=HeardConfig(share=0.15),
    )  # fmt: skip
    stage = Stage(name="shared", steps=STEPS, batch=3, rate=3e-3, warmup=2, log_every=1, bf16=False, muon=muon, seed=4)
    return Generator(
        origin=root / "start", cache=root / "films", stills=root / "stills", controls=root / "held", laid=root / "laid",
        sounds=root / "heard", sound_tokenizer=root / "sound", vae=root / "start/vae", out=root / name, stage=stage,
        flow=flow,
    )  # fmt: skip


def cut_off(run, report):
    """Train a run and stop it with its state kept after ``HALF`` steps, as if its minutes were over."""
    from armillary.training import loop

    class Clock:
        @staticmethod
        def monotonic():
            lines = run.out / "metrics.jsonl"
            done = lines.exists() and len(lines.read_text().splitlines()) >= HALF
            return true.monotonic() + 1e6 * done

    true, loop.time = loop.time, Clock
    run.start(report)
    loop.time = true


@dataclass(frozen=True, kw_only=True)
class Several(Generator):
    """The run with AdamW alone, with Muon, cut off, and gone on with where one process cut it off."""

    def start(self, report=print):
        for muon in (False, True):
            described(self.out, f"two_{muon}", muon=muon).start(report)
        for name in ("two_then_one", "two_then_two"):
            cut_off(described(self.out, name, muon=True), report)
        described(self.out, "two_then_two", muon=True).start(report)
        described(self.out, "one_then_two", muon=True).start(report)


def all_of_them():
    """What ``armillary train`` asks for."""
    root = Path(os.environ[PLACE])
    run = described(root, "", muon=True)
    return Several(**{name: value for name, value in vars(run).items() if name != "out"}, out=root)
