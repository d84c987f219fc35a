"""The verbs about data: worlds are listed, episodes recorded, exported, looked at.

They are verbs like those of ``cli.py``, which lists them all: docstrings are helps, parameters are options.
"""

import json
import sys
from pathlib import Path

from armillary.cli_parts import Form, Json, Size, progress, write_text
from armillary.errors import RequestError


def worlds() -> None:
    """List the worlds there are, with their bodies, cameras and controllers."""
    from armillary.errors import ConfigError
    from armillary.worlds import OTHERS, WORLDS, make_world
    from armillary.worlds.lives import controllers

    for name in (*WORLDS, *OTHERS):
        try:
            spec = make_world(name).spec
        except ConfigError as missing:
            print(f"{name}: not here; {missing}")
            continue
        print(f"{name}: {', '.join(controllers(name))} may act; embodiment {spec.embodiment}, {spec.fps:g} moments a "
              f"second, at most {spec.max_steps} steps, cameras {', '.join(spec.cameras)}")  # fmt: skip


def simulate(
    world: str,
    out: Path,
    /,
    *,
    episodes: int = 100,
    seed: int = 0,
    controller: str | None = None,
    size: Size | None = None,
    workers: int = 1,
    form: Form = "lerobot",
) -> None:
    """Record episodes of a world, with everything known of them: depth, segmentation, sound, true words, questions.

    Stopped or killed at any time and started again, or run with more workers, it ends with the same bytes.

    Args:
        world: A name from `armillary worlds`.
        out: A folder for the episodes: a new one, or one that this verb began and did not finish.
        episodes: How many in all. Episode i uses seed + i, so a larger number extends a smaller one.
        seed: The first episode's seed. Evaluation uses seeds from 1,000,000 on.
        controller: Who acts, a name from `armillary worlds`; the world's first (expert, or still) if none is named.
        size: Height and width of the pictures, in pixels.
        workers: Processes that simulate side by side; the episodes are the same whatever their number.
        form: lerobot (LeRobotDataset v3.0), lerobot-v2.1, webdataset (tar shards) or jsonl (rows and films). All can
            be trained on, inspected, and exported to one another.
    """
    from armillary.datasets.store import EpisodeWriter
    from armillary.worlds import make_world
    from armillary.worlds.lives import ALWAYS_ALIKE, Plan, begin, controllers, lives

    spec = make_world(world).spec
    plan = Plan(world=world, controller=controller or controllers(world)[0], seed=seed, size=size or spec.size)
    if episodes < 1:
        raise RequestError(f"episodes={episodes}: ask for at least one.")
    begin(plan, out)
    told = ALWAYS_ALIKE[world]
    with EpisodeWriter(
        out, fps=spec.fps, cameras=spec.cameras, robot=spec.embodiment, states=told or None, form=form
    ) as writer:
        begun = writer.next_index
        with progress(f"episodes of {world}") as show:
            show(begun / episodes)
            for number, episode in enumerate(lives(plan, range(seed + begun, seed + episodes), workers), begun + 1):
                writer.write(episode)
                show(number / episodes)
    print(f"{out}: {max(begun, episodes)} episodes of {world}" + (f", already there: {begun}" if begun else ""))


def export(data: Path, out: Path, /, *, form: Form = "lerobot-v2.1", lossless: bool = True) -> None:
    """Write a data set in another form. Nothing known of an episode is lost; what was begun goes on.

    Args:
        data: A LeRobot folder (v3.0 or v2.1), WebDataset shards, or JSONL and films.
        out: A folder: a new one, or one that this verb began with the same data and settings and did not finish.
        form: lerobot (LeRobotDataset v3.0), lerobot-v2.1 (GR00T, older openpi), webdataset or jsonl.
        lossless: Keep every pixel; without it films are smaller, at about 45 dB.
    """
    from armillary.datasets.sources import export as write

    with progress(f"episodes as {form}") as show:
        count, begun = write(data, out, form, lossless=lossless, on_progress=show)
    print(f"{out}: {count} episodes as {form}" + (f", already there: {begun}" if begun else ""))


def inspect(
    path: Path,
    /,
    *,
    embodiment: str | None = None,
    most: int = 100,
    html: Path | None = None,
    play: Path | None = None,
    episode: int = 0,
    as_json: Json = False,
) -> None:
    """Examine a data set: what is in it, what is odd about it and how much that matters, what can be used.

    Exit code 0 where there is nothing graver than a note, 3 where the gravest is a warning, 4 where it is an error.

    Args:
        path: A LeRobot folder (v3.0 or v2.1), WebDataset shards, or JSONL and films; ours or anybody's.
        embodiment: What its actions mean: a name or a .toml file. Without it the set's own word is taken.
        most: How many episodes are looked at, evenly spaced.
        html: Also write a page that needs nothing else.
        play: Also write an episode's cameras as a film (.mp4) or a contact sheet (.png).
        episode: Which episode to play.
        as_json: Print JSON for machines.
    """
    from armillary.datasets import inspect as room
    from armillary.datasets.findings import EXIT_CODES

    report = room.inspect_path(path, embodiment=embodiment, most=most)
    if as_json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        print("\n".join(report.lines()))
    if html is not None:
        from armillary.datasets.doctor_page import page_of

        write_text(html, page_of(report))
        print(f"{html}: open it in a browser", file=sys.stderr)
    if play is not None:
        play.parent.mkdir(parents=True, exist_ok=True)
        print(f"played into {room.play(path, play, episode=episode)}", file=sys.stderr)
    if code := EXIT_CODES[report.severity]:
        raise SystemExit(code)


def controls(
    path: Path,
    out: Path,
    /,
    *,
    kinds: tuple[str, ...] = (),
    episode: int = 0,
    camera: str | None = None,
    strength: str = "medium",
) -> None:
    """Make control films: edge and blur of any film, and depth, segmentation and scenario map of recorded episodes.

    Args:
        path: A film, or a data set of any form.
        out: A folder; edge.mp4 and so on are written there.
        kinds: Of edge, blur, depth, segmentation and map; all that there are if none is named.
        episode: Which episode of a data set.
        camera: Which camera; the first if none is named.
        strength: Of edge and blur: very low, low, medium, high or very high.
    """
    from armillary.datasets.control_films import write_controls

    made = write_controls(path, out, kinds, episode=episode, camera=camera, strength=strength)
    print(f"{out}: {', '.join(file.name for file in made)}")


def factory(
    scenario: str,
    out: Path,
    /,
    *,
    episodes: int = 20,
    world: str | None = None,
    seed: int = 0,
    controller: str | None = None,
    size: Size | None = None,
    form: Form = "lerobot",
    workers: int = 1,
    tries: int = 10,
    failures: bool = False,
    licence: str = "Apache-2.0",
    plan: bool = False,
) -> None:
    """Make a labelled data set from words: seeds are found, lives lived, only good ones kept, and all of it traced.

    A word that is not understood is named. Killed and started again, it goes on where it was. Reasons for what was left
    out, recipes and hashes lie in OUT/factory. Example: armillary factory "a red van in the rain at night" data/vans

    Args:
        scenario: What every episode must show, in words; or a .txt file with a scenario a line.
        out: A folder: a new one, or one that this verb began and did not finish.
        episodes: How many of each scenario.
        world: A name from `armillary worlds`; without it, the one world that knows all the words.
        seed: The first seed that is tried.
        controller: Who acts where the words do not say so.
        size: Height and width of the pictures, in pixels.
        form: lerobot (LeRobotDataset v3.0), lerobot-v2.1, webdataset or jsonl.
        workers: Processes that live side by side; the episodes are the same whatever their number.
        tries: How many lives may be lived for each episode kept.
        failures: Also keep episodes in which the expert does not succeed.
        licence: Of the data, as the manifest states it.
        plan: Only say how the words are understood, and the first seeds that fit.
    """
    from itertools import islice

    from armillary.factory.gate import Gate
    from armillary.factory.produce import Order, produce, understood
    from armillary.factory.seeds import fitting

    given: tuple[str, ...] = (scenario,)
    if scenario.endswith(".txt"):
        given = tuple(line.strip() for line in Path(scenario).read_text(encoding="utf-8").splitlines() if line.strip())
    order = Order(
        scenarios=given, episodes=episodes, world=world, seed=seed, controller=controller, size=size, form=form,
        licence=licence, tries=tries, gate=Gate(success=not failures),
    )  # fmt: skip
    if plan:
        for one in understood(order):
            seeds = ", ".join(str(choice.seed) for choice in islice(fitting(one, seed), min(episodes, 5)))
            wants = "; ".join(want.told() for want in one.wants) or "anything"
            print(f"{one.words}\n  in {one.world}, acted by {one.controller or controller or 'its first controller'}: "
                  f"{wants}\n  first seeds: {seeds}")  # fmt: skip
        return
    made = produce(order, out, workers=workers, report=lambda line: print(line, file=sys.stderr, flush=True))
    left = "".join(f"\n  left out {count}: {reason}" for reason, count in made.reasons.items())
    print(f"{out}: {made.kept} episodes kept of {made.lived} lived{left}")
