"""--adapter on the command line: a name of the checkpoint's, none, or a folder of one's own; it is told beside."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from tiny import small_checkpoint

from armillary import cli
from armillary.errors import ConfigError, RequestError
from armillary.evaluation.driven import Driven, drive_all
from armillary.evaluation.suite import Plan, measure
from armillary.model.low_rank import LowRank
from armillary.sampling.omni import load

MATRIX = "layers.1.self_attn.add_v_proj"
LINE = ("imagine", "text-to-video", "film", "--prompt", "a cube", "--size", "32", "32", "--frames", "5")


def written(folder, told=None):
    chance = torch.Generator().manual_seed(1)
    pair = (torch.randn(1, 32, generator=chance), torch.randn(32, 1, generator=chance))
    LowRank(alpha=4.0, targets=("add_v_proj",), pairs={MATRIX: pair}).save(folder)
    if told is not None:
        (folder / "adapter.json").write_text(json.dumps(told))
    return str(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = small_checkpoint(tmp_path_factory.mktemp("dressed") / "dressed")
    written(folder / "adapters/quick", {"modes": ["text-to-video"], "steps": 1, "guidance": 1.0})
    return str(folder)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A command line in this process: exit code, and what stood on stderr."""
    monkeypatch.chdir(tmp_path)

    def line(*words):
        monkeypatch.setattr(sys, "argv", ["armillary", *words])
        try:
            cli.main()
        except SystemExit as end:
            return end.code or 0, capsys.readouterr().err
        return 0, capsys.readouterr().err

    return line


@pytest.mark.parametrize(("given", "worn"), [
    ((), "quick"), (("--adapter", "quick", "--steps", "2"), "quick"), (("--adapter", "none", "--steps", "1"), None),
    (("--adapter", "own/mine", "--steps", "1"), "mine"), (("--adapter", "./own/../own/mine/", "--steps", "1"), "mine"),
], ids=["unasked", "by name", "none", "a folder", "a folder, written otherwise"])  # fmt: skip
def test_what_is_worn_is_told_beside_the_film(run, tmp_path, checkpoint, given, worn):
    """A folder is worn where it is named, in whatever modes its adapter.json says it is worn unasked."""
    written(tmp_path / "own/mine", {"modes": ["policy"]})
    assert run(*LINE, "--checkpoint", checkpoint, *given)[0] == 0
    told = json.loads((tmp_path / "film/provenance.json").read_text())
    assert told.get("adapter", {"name": None})["name"] == worn
    assert json.loads((tmp_path / "film/sample_args.json").read_text())["adapter"] == (worn or "none")


@pytest.mark.parametrize("line", [
    LINE, ("evaluate", "PICO", "--out", "OUT"), ("evaluate", "PICO", "--suite", "trust", "--out", "OUT"),
    ("drive", "tabletop", "OUT", "--policy", "PICO"),
], ids=lambda line: " ".join(line[:4:3]))  # fmt: skip
def test_an_adapter_that_is_none_is_one_sentence_for_every_verb(run, tmp_path, checkpoint, line):
    words = [checkpoint if word == "PICO" else word for word in line]
    more = ["--checkpoint", checkpoint] if line is LINE else []
    code, err = run(*words, *more, "--adapter", "nowhere")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "'nowhere' is no adapter: give a folder with adapter_config.json" in err and "quick, none, by name" in err
    assert not list(tmp_path.rglob("*.json"))


def test_figures_and_lives_of_another_adapter_are_not_gone_on_with(checkpoint, tmp_path, monkeypatch):
    plain = load(checkpoint, adapter="none")
    first, other = (load(checkpoint, adapter=written(tmp_path / name)).parts.made_from for name in ("one", "two"))
    assert plain.parts.made_from.items() < first.items() and first["adapters"] != other["adapters"]
    monkeypatch.setattr("armillary.evaluation.suite._MEASURES", {"transfer": lambda bench: ([], {}, [])})
    for adapter in ("none", "quick"):
        numbers = measure(load(checkpoint, adapter=adapter), Plan(), out=tmp_path / "figures", sections=["transfer"])
        assert set(numbers["adapters"]) == ({"quick"} if adapter == "quick" else set())
    plan = Driven(world="tabletop", policy=checkpoint, episodes=1, steps=1)
    drive_all(plan, tmp_path / "lives")
    with pytest.raises(RequestError, match=r"was begun with .*adapter None"):
        drive_all(replace(plan, adapter=str(tmp_path / "one")), tmp_path / "lives")
    drive_all(replace(plan, adapter=str(tmp_path / "one")), tmp_path / "other")
    written(tmp_path / "one", {"modes": ["policy"], "steps": 3})
    with pytest.raises(RequestError, match="was begun with policy's weights"):
        drive_all(replace(plan, adapter=str(tmp_path / "one")), tmp_path / "other")


def test_policy_and_imagination_wear_each_their_own(checkpoint, tmp_path):
    own = written(tmp_path / "mine")
    dream = Driven(world="tabletop", policy=checkpoint, imagined=checkpoint, episodes=1, steps=3)
    films = {}
    for name, more in (("plain", {}), ("policy", {"adapter": own}), ("dreamt", {"imagined_adapter": own})):
        (ride,) = drive_all(replace(dream, **more), tmp_path / name)
        films[name] = (tmp_path / name / ride.film).read_bytes()
    assert len(set(films.values())) == 3
    for more, said in (({"policy": "ws://127.0.0.1:1", "adapter": own}, "serve it there with it"),
                       ({"imagined": "", "imagined_adapter": own}, "needs a checkpoint that imagines")):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            replace(dream, **more)


def test_a_reproducing_line_names_the_adapter(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("armillary.evaluation.suite._MEASURES", {"plans": lambda bench: ([], {}, [])})
    monkeypatch.setattr("armillary.evaluation.suite.figures_again", lambda out, section: {})
    numbers = measure(load(checkpoint, adapter="quick"), Plan(), out=tmp_path, sections=["plans"])
    assert numbers["commands"]["plans"].endswith("--adapter quick --sections plans")
