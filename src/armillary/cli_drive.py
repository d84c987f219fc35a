"""The verb that lets a policy act: in a world's physics, or in what a model imagines of it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from armillary.cli_parts import Json

MaxSteps = Annotated[int | None, tyro.conf.arg(aliases=("--max-steps",))]


def drive(
    world: str,
    out: Path,
    /,
    *,
    policy: str = "pico",
    imagined: str = "",
    episodes: int = 8,
    seed: int = 1_000_000,
    steps: MaxSteps = None,
    execute: int | None = None,
    doubt: float | None = None,
    adapter: str | None = None,
    imagined_adapter: str | None = None,
    as_json: Json = False,
) -> None:
    """Let a policy act in a world, in physics or as a model imagines it, and say how often it did what it was told.

    Writes into OUT: films/SEED.mp4, results.jsonl (a line a life), drive.json (the settings). Started again it goes on
    where it was; with more episodes it adds to them. Example: armillary drive tabletop runs/dream --imagined pico

    Args:
        world: A name that `armillary worlds` lists.
        out: A folder.
        policy: A bundled model, a checkpoint folder, or a policy server, ws://HOST:PORT, as `armillary serve` is one.
        imagined: The checkpoint in whose imagination it acts, after a true first picture; physics where none is named.
        episodes: How many lives.
        seed: Of the first one; each has the next.
        steps: How many actions of a life at most: few make a short first try. What the world has where nobody says a
            number.
        execute: Of each planned chunk, how many actions are done before it plans again; what the checkpoint takes
            where nobody says a number, 8 of a server's.
        doubt: Stop an imagination that goes further than this from a chunk's first picture (a pixel's root mean square,
            0 to 255), and say so: docs/trust.md tells up to which number Pico's is believed.
        adapter: What the policy's generator wears: the folder of a LoRA of your own, the only one of the checkpoint's,
            by name, or none.
        imagined_adapter: The same of the checkpoint in whose imagination it acts.
        as_json: Print JSON for machines.
    """
    from armillary.evaluation.driven import Driven, drive_all, verdict

    plan = Driven(world=world, policy=policy, imagined=imagined, episodes=episodes, seed=seed, steps=steps,
                  execute=execute, doubt=doubt, adapter=adapter, imagined_adapter=imagined_adapter)  # fmt: skip
    rides = drive_all(plan, out, report=lambda line: None if as_json else print(line, flush=True))
    print(json.dumps([asdict(ride) for ride in rides], indent=1) if as_json else verdict(rides))
