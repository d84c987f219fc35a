"""The chain that makes Pico from nothing is whole: whatever a stage reads, a stage before it has written."""

import inspect
import json
import re
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path

import pytest

import armillary
from armillary.run_chain import covers
from armillary.runs import RUNS
from armillary.runs_after import pico_after_whole
from armillary.runs_pushing import pico_pushing_bundle
from armillary.runs_whole import BUNDLE, pico, pico_dressed
from armillary.runs_worlds import pico_worlds_last
from armillary.training.generator import STEADY, abilities_of
from armillary.training.latents import ANY_TASK
from armillary.training.loop import Stage
from armillary.training.sound import SoundRun
from armillary.training.vae import VAERun

ROOT = Path(__file__).resolve().parents[1]
LINKS = pico().links
LEARNS = (Stage, VAERun, SoundRun)  # what has a length in minutes
BUNDLED = Path(armillary.__file__).parent / "checkpoints/pico"
COMPARED = {"pico-cloning"}  # what is made to be compared with, and no part of Pico
# these add to what a stage before them has learnt from, for those after it
AFTERWARDS = {"pico-amends", "pico-after-followed", "pico-after-followed-pusht"}
OF_THE_BUNDLED = {"origin", "vae"}  # what adapters' runs read of the bundled checkpoint when they are run by themselves
NUMBERS = {"a": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "ten": 10,
           "sixteen": 16, "twenty": 20}  # fmt: skip
SAID = {"an hour and a quarter": 75, "three quarters of an hour": 45, "a quarter of an hour": 15, "half an hour": 30,
        "a minute and a half": 1.5, "an hour": 60}  # fmt: skip


def parts_of(settings):
    """Every dataclass in a stage's settings, itself included, in tuples too."""
    yield settings
    for value in (getattr(settings, one.name) for one in fields(settings)):
        for part in value if isinstance(value, tuple) else (value,):
            if is_dataclass(part):
                yield from parts_of(part)


def unmade(links):
    """What stages read that none before them has written, each with its reader."""
    return [
        (link.name, path) for number, link in enumerate(links) for path in link.reads
        if not any(covers(before, path) for before in links[:number])
    ]  # fmt: skip


def minutes_said(words):
    """The first length of time in a docstring, in minutes; None where there is none, or only a few."""
    found = re.search(rf"\b(?:{'|'.join(SAID)}|(\d+|{'|'.join(NUMBERS)}) minutes?)\b", words, re.IGNORECASE)
    if found is None:
        return None
    number = (found.group(1) or "").lower()
    return SAID[found.group(0).lower()] if not number else float(NUMBERS.get(number) or number)


def test_every_path_that_a_stage_reads_is_written_by_one_before_it():
    assert unmade(LINKS) == []
    assert sum(len(link.reads) for link in LINKS) > 150


@pytest.mark.parametrize("name", [link.name for link in LINKS[:-1]])
def test_without_any_one_of_its_stages_the_chain_is_not_whole_or_learns_from_less(name):
    """So nothing is made for nothing. What several stages write into is named; there a reader misses nothing."""
    gone = next(link for link in LINKS if link.name == name)
    rest = [link for link in LINKS if link.name != name]
    others = [link for link in rest if set(link.results) & set(gone.results)]
    assert unmade(rest) or others, name
    readers = [link.name for link in LINKS for path in link.reads if covers(gone, path)]
    assert readers


def test_whoever_reads_a_folder_reads_it_when_all_have_written_into_it():
    for number, link in enumerate(LINKS):
        late = {other.name for other in LINKS[number + 1 :] for path in link.reads if covers(other, path)}
        assert late <= AFTERWARDS, (link.name, late)


def test_an_order_in_which_a_reader_comes_first_is_found():
    names = [link.name for link in LINKS]
    one, other = names.index("pico-worlds-hand"), names.index("pico-worlds-sounds")
    exchanged = list(LINKS)
    exchanged[one], exchanged[other] = LINKS[other], LINKS[one]
    assert ("pico-worlds-sounds", Path("runs/pico/worlds/hand/checkpoint")) in unmade(exchanged)


def test_the_stages_are_the_named_runs_each_once():
    names = [link.name for link in LINKS]
    assert len(set(names)) == len(names)
    assert {name for name in RUNS if name.startswith("pico-")} - COMPARED == {*names}


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_a_stage_is_the_named_run_but_for_whose_adapter_it_is(link):
    named = RUNS[link.name]()
    changed = {one.name for one in fields(named) if getattr(named, one.name) != getattr(link.run, one.name)}
    assert type(named) is type(link.run) and changed <= OF_THE_BUNDLED
    for name in changed:
        assert BUNDLE in (now := Path(getattr(link.run, name)), *now.parents)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_its_minutes_are_those_that_the_stage_says(link):
    said = minutes_said(inspect.getdoc(RUNS[link.name]))
    assert link.minutes == (said if said is not None else getattr(link.run, "minutes", None))


def test_what_the_last_stages_say_is_what_the_bundled_checkpoint_takes():
    """Its ``defaults.json``, from the stages' settings alone: what the generator has learnt, steps, deeds and all."""
    bundled = json.loads((BUNDLED / "defaults.json").read_text())
    whole, bundle = pico_after_whole(), pico_pushing_bundle()
    made = {"size": [128, 128], "fps": 10.0, "task": ANY_TASK, "untrained": "", "steady": STEADY}
    made |= abilities_of(pico_worlds_last()) | {"steps": {**whole.steps, **bundle.steps}, "execute": bundle.execute}
    made = json.loads(json.dumps(made | pico_dressed().defaults))
    for usual in ({"steps": 4, "bare_steps": 20},):  # said in the bundled one though they are as for any
        made["painting"] = usual | made["painting"]
    assert made == bundled
    assert pico_pushing_bundle().halved  # as the bundled one is
    assert sorted(pico_dressed().adapters) == sorted(path.name for path in (BUNDLED / "adapters").iterdir())


def test_nothing_learns_longer_than_an_hour_without_a_state_to_go_on_from():
    told = [(link.name, stage.minutes) for link in LINKS for stage in parts_of(link.run) if isinstance(stage, LEARNS)]
    assert len(told) > 30 and max(minutes for _, minutes in told) <= 60


def test_the_chain_says_what_cannot_be_made_again_and_lists_all_of_itself():
    assert "not that one's bits" in inspect.getdoc(pico)
    lines = pico().told()
    assert len(lines) == len(LINKS) + 1 and lines[-1].startswith(f"{len(LINKS)} stages: ")
    assert all(link.says.endswith((".", ")")) and "``" not in link.says for link in LINKS)
    assert asdict(replace(pico(), listed=True))["listed"]


def test_the_walk_lists_the_chain_with_its_minutes():
    page = (ROOT / "docs/the_data_s_way.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| [^|]+ \| (`pico-data`.*|`pico-worlds`.*|`pico-after-table`.*|`pico-pushing-replans`.*|"
                        r"`pico-onwards-lives`.*) \|$", page, re.MULTILINE)  # fmt: skip
    wanted = [f"`{link.name}`" + (f" {link.minutes:g}" if link.minutes else "") for link in LINKS]
    assert ", ".join(listed).split(", ") == wanted
    minutes = [link.minutes for link in LINKS if link.minutes is not None]
    silent = len(LINKS) - len(minutes)
    assert f"{len(LINKS)} stages, {sum(minutes) / 60:.1f} hours, without the {silent} that say none" in page
