"""The command line keeps its word: options are explained, a mistake is one sentence, nothing is half-written."""

import inspect
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import small_checkpoint

from armillary import cli, embodiments
from armillary.media import read_video, write_image, write_video
from armillary.modes import Asked
from armillary.sampling.omni import UntrainedWarning


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(small_checkpoint(tmp_path_factory.mktemp("checkpoint")))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with a picture, a film and actions."""
    rng = np.random.default_rng(0)
    write_image(tmp_path / "frame.png", rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    write_video(tmp_path / "film.mp4", rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8), fps=10)
    (tmp_path / "actions.json").write_text(json.dumps([[0.01, 0, 0, 1, 0, 0, 0, 1, 0, 1]] * 4))
    (tmp_path / "torn.json").write_text('{"actions": [[0.01')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def armillary(monkeypatch, capsys):
    """Run a command line in this process; gives exit code, stdout and stderr."""

    def run(*line):
        monkeypatch.setattr(sys, "argv", ["armillary", *(str(word) for word in line)])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_every_field_of_a_request_is_an_option_except_injected_noise():
    options = set(inspect.signature(cli.imagine).parameters)
    assert set(Asked.__annotations__) - {"latents"} <= options


@pytest.mark.parametrize("verb", cli.VERBS.values(), ids=cli.VERBS)
def test_every_option_is_explained(verb):
    told = inspect.getdoc(verb)
    for name in inspect.signature(verb).parameters:
        assert f"{name}: " in told


MISTAKES = [
    ("imagine", "dream", "OUT", "--prompt", "a cube"),
    ("imagine", "text-to-video", "OUT"),
    ("imagine", "image-to-video", "OUT", "--image", "nothing.png"),
    ("imagine", "text-to-video", "OUT", "--prompt", "a cube", "--size", "100", "32"),
    ("imagine", "policy", "OUT", "--prompt", "go", "--image", "frame.png", "--embodiment", "tabeltop"),
    (
        "imagine",
        "forward-dynamics",
        "OUT",
        "--image",
        "frame.png",
        "--embodiment",
        "tabletop",
        "--actions",
        "torn.json",
    ),
    (
        "imagine",
        "forward-dynamics",
        "OUT",
        "--image",
        "frame.png",
        "--embodiment",
        "pusht",
        "--actions",
        "actions.json",
    ),
    ("imagine", "text-to-video", "OUT", "--prompt", "a cube", "--dtype", "float16"),
    ("imagine", "text-to-video", "OUT", "--prompt", "a cube", "--upsample", "yes"),
    ("imagine", "transfer", "OUT"),
    ("imagine", "transfer", "OUT", "--control", "edge"),
    ("imagine", "transfer", "OUT", "--control", "edges=frame.png"),
    ("imagine", "transfer", "OUT", "--control", "edge=frame.png", "--control", "edge=frame.png"),
    ("imagine", "transfer", "OUT", "--control", "edge=torn.json"),
    ("imagine", "text-to-video", "OUT", "--prompt", "a cube", "--control", "edge=frame.png"),
    ("ask", "What is this?", "--image", "nothing.png"),
    ("ask", "What is this?", "--image", "film.mp4"),
    ("ask", "What is this?", "--compiled", "--weights", "int8"),
]


@pytest.mark.parametrize("line", MISTAKES, ids=lambda line: " ".join(line[:2]) + f" {len(line)}")
def test_a_mistake_about_a_request_is_one_sentence_and_leaves_nothing(line, place, armillary, checkpoint):
    before = sorted(place.rglob("*"))
    code, out, err = armillary(*line, "--checkpoint", checkpoint)
    assert (code, out) == (2, "")
    assert err.startswith("armillary: ")
    assert len(err.strip().splitlines()) == 1
    assert sorted(place.rglob("*")) == before


OTHER_MISTAKES = [
    ("simulate", "tabeltop", "OUT"),
    ("simulate", "tabletop", "OUT", "--controller", "lazy"),
    ("simulate", "tabletop", "OUT", "--episodes", "0"),
    ("simulate", "tabletop", "OUT", "--size", "33", "32"),
    ("simulate", "pusht", "OUT", "--size", "64", "32"),
    ("simulate", "tabletop", "frame.png"),
    ("inspect", "nothing"),
    ("inspect", "."),
    ("train", "pico-genrator"),
    ("train", "nothing.py:mine"),
    ("train", "pico", "--from", "pico-by-sound"),
    ("evaluate", "no-such-model", "--out", "OUT"),
    ("evaluate", "no-such-model", "--out", "OUT", "--sections", "cooking"),
    ("demo", "--checkpoint", "no-such-model", "--out", "OUT.html"),
]


@pytest.mark.parametrize("line", OTHER_MISTAKES, ids=" ".join)
def test_a_mistake_of_any_verb_is_one_sentence_and_leaves_nothing(line, place, armillary):
    before = sorted(place.rglob("*"))
    code, out, err = armillary(*line)
    assert (code, out) == (2, "")
    assert err.startswith("armillary: ")
    assert len(err.strip().splitlines()) == 1
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(("line", "told"), [
    (("--suite", "trust", "--clips", 5, "--against", "x", "--sections", "plans"), "--sections, --clips, --against:"),
    (("--suite", "trust", "--world", "physics", "--questions", 5, "--episodes", 5), "--world, --questions, --episodes"),
    (("--suite", "trust", "--steps", 2, "--known", 5, "--no-page", "--seeds", 3), "--known, --steps, --no-page:"),
    (("--seeds", 3, "--policies", "expert", "model"), "card does not read --seeds, --policies: leave out"),
])  # fmt: skip
def test_what_a_suite_does_not_read_is_refused_before_anything_is_opened(line, told, place, armillary):
    code, out, err = armillary("evaluate", "no-such-model", *line)
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1)
    assert told in err and not (place / "runs").exists()


@pytest.mark.parametrize("line", [
    ("--suite", "trust", "--seeds", 3, "--seed", 1_000_009, "--policies", "expert", "model", "--json"),
    ("--clips", 5, "--seed", 1_000_009, "--sections", "plans", "--no-page", "--steps", 2, "--json"),
], ids=["trust", "card"])  # fmt: skip
def test_what_a_suite_reads_is_not_refused(line, place, armillary):
    assert "'no-such-model' is no checkpoint" in armillary("evaluate", "no-such-model", *line, "--out", "OUT")[2]


@pytest.mark.parametrize("line", [["paint"], ["imagine", "text-to-video"], ["simulate", "tabletop", "x", "--fast"]])
def test_a_line_that_cannot_be_read_is_code_2(line, place, armillary):
    code, _, err = armillary(*line)
    assert code == 2
    assert err.strip()


def test_a_film_and_its_request_are_written_together(place, armillary, checkpoint):
    line = ("imagine", "text-to-video", "out/film", "--prompt", "a cube", "--size", 32, 32, "--frames", 5, "--steps", 1)
    assert armillary(*line, "--upsample", "no", "--seed", 7, "--checkpoint", checkpoint)[0] == 0
    made = place / "out/film"
    assert sorted(path.name for path in made.iterdir()) == ["provenance.json", "sample_args.json", "vision.mp4"]
    film, fps = read_video(made / "vision.mp4")
    asked = json.loads((made / "sample_args.json").read_text())
    assert film.shape == (5, 32, 32, 3)
    assert (fps, asked["seed"], asked["prompt"], asked["upsample"]) == (10, 7, "a cube", False)
    assert json.loads((made / "provenance.json").read_text())["request"] == asked
    assert [path.name for path in (place / "out").iterdir()] == ["film"]


def test_actions_come_with_their_units_and_go_back_in(place, armillary, checkpoint):
    body = ("--embodiment", "tabletop", "--size", 32, 32, "--steps", 1, "--checkpoint", checkpoint)
    line = ("imagine", "policy", "plan", "--prompt", "go", "--image", "frame.png", "--frames", 5, *body)
    assert armillary(*line, "--outputs", "actions")[0] == 0
    assert not (place / "plan/vision.mp4").exists()
    told = json.loads((place / "plan/actions.json").read_text())
    assert np.shape(told["actions"]) == (4, len(told["channels"])) == (4, 10)
    assert {(c["unit"], c["frame"]) for c in told["channels"][:3]} == {("metre", "framewise relative")}
    assert (told["embodiment"], told["rate_hz"]) == ("tabletop", 10)

    back = ("imagine", "forward-dynamics", "seen", "--image", "frame.png", "--actions", "plan/actions.json", *body)
    assert armillary(*back)[0] == 0
    given = json.loads((place / "seen/sample_args.json").read_text())["actions"]
    np.testing.assert_allclose(given, told["actions"], atol=1e-6)
    other = ("imagine", "forward-dynamics", "no", "--image", "frame.png", "--actions", "plan/actions.json")
    assert armillary(*other, "--embodiment", "pusht", "--checkpoint", checkpoint)[0] == 2


def test_actions_of_a_body_of_one_s_own_say_its_units(place, armillary, checkpoint):
    """Of a name that nobody else knows, and of one that a bundled body has; no checkpoint tells of either."""
    plain = shutil.copytree(checkpoint, place / "plain")
    (plain / "embodiments.json").unlink()
    written = (Path(embodiments.__file__).parent / "embodiment_files/pusht.toml").read_text()
    for number, name in enumerate(("my_arm", "pusht")):
        own = written.replace('name = "pusht"', f'name = "{name}"', 1).replace("pixel of the 512 by 512 board", "inch")
        (place / "mine.toml").write_text(own)
        body = ("--embodiment", "mine.toml", "--size", 32, 32, "--steps", 1, "--checkpoint", plain)
        line = ("imagine", "policy", f"plan{number}", "--prompt", "go", "--image", "frame.png", "--frames", 5, *body)
        assert armillary(*line, "--outputs", "actions")[0] == 0
        told = json.loads((place / f"plan{number}/actions.json").read_text())
        assert (told["embodiment"], {one["unit"] for one in told["channels"]}) == (name, {"inch"})
        back = ("imagine", "forward-dynamics", f"seen{number}", "--image", "frame.png", *body)
        assert armillary(*back, "--actions", f"plan{number}/actions.json")[0] == 0
    back = ("imagine", "forward-dynamics", "no", "--image", "frame.png", *body, "--actions", "plan0/actions.json")
    assert armillary(*back)[0] == 2


@pytest.mark.filterwarnings("ignore:this checkpoint does not say")
def test_a_film_is_made_under_controls_of_another(place, armillary, checkpoint):
    """Controls made by one verb hold what another makes; what was not learnt is told in a sentence."""
    assert armillary("controls", "film.mp4", "held")[0] == 0
    line = (
        "imagine",
        "transfer",
        "out",
        "--size",
        32,
        32,
        "--steps",
        1,
        "--checkpoint",
        checkpoint,
        "--video",
        "film.mp4",
    )
    kinds = ("--control", "edge=auto:low", "--control", "blur=held/blur.mp4", "--control-weight", "blur=3")
    assert armillary(*line, *kinds)[0] == 0
    asked = json.loads((place / "out/sample_args.json").read_text())
    assert asked["control_weights"] == {"edge": 0.25, "blur": 0.75}
    assert asked["frames"] == 5
    assert cli._plainly(UntrainedWarning("so."), UntrainedWarning, "omni.py", 1) == "armillary: so.\n"
    assert "omni.py:1: UserWarning: so." in cli._plainly(UserWarning("so."), UserWarning, "omni.py", 1)


def test_a_control_that_was_not_learnt_is_told_in_a_sentence(place, armillary, checkpoint):
    shutil.copytree(checkpoint, place / "mine")
    told = {"size": [64, 64], "fps": 10, "learnt": ["transfer"], "controls": ["edge", "blur"]}
    (place / "mine/defaults.json").write_text(json.dumps(told))
    line = ("imagine", "transfer", "out", "--size", 32, 32, "--steps", 1, "--checkpoint", "mine")
    with pytest.warns(UntrainedWarning, match="has learnt the control map, but edge, blur"):
        assert armillary(*line, "--control", "map=film.mp4")[0] == 0
    assert (place / "out").is_dir()


def test_nothing_that_is_there_is_overwritten(place, armillary, checkpoint):
    (place / "mine").mkdir()
    (place / "mine/thesis.txt").write_text("years of work")
    line = ("imagine", "text-to-image", "mine", "--prompt", "a cube", "--size", 32, 32, "--checkpoint", checkpoint)
    code, _, err = armillary(*line)
    assert code == 2
    assert "name a new folder" in err
    assert armillary("simulate", "tabletop", "mine")[0] == 2
    assert [path.name for path in (place / "mine").iterdir()] == ["thesis.txt"]


def test_a_disk_that_fails_leaves_no_half_folder(place, armillary, checkpoint, monkeypatch):
    from armillary.sampling import keep

    def full(path, *_, **__):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(keep, "write_image", full)
    before = sorted(place.rglob("*"))
    line = ("imagine", "text-to-image", "out", "--prompt", "a cube", "--size", 32, 32, "--steps", 1)
    code, _, err = armillary(*line, "--checkpoint", checkpoint)
    assert code == 2
    assert "No space left on device" in err
    assert sorted(place.rglob("*")) == before


def test_a_page_that_cannot_be_written_is_refused_before_the_work(place, armillary, checkpoint):
    code, out, err = armillary("demo", "--out", place, "--checkpoint", checkpoint)
    assert (code, out) == (2, "")
    assert "name a file" in err


def test_a_question_is_answered_and_repeats(place, armillary, checkpoint):
    line = ("ask", "What is this?", "--video", "film.mp4", "--longest", 4, "--checkpoint", checkpoint)
    first, second = armillary(*line), armillary(*line)
    assert first[0] == 0
    assert first[1] == second[1]


def test_a_question_is_answered_by_compiled_layers_where_that_is_asked(place, armillary, checkpoint, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function, **how: (asked.append(function), function)[1])
    monkeypatch.setattr(shutil, "which", lambda name: name)
    line = ("ask", "What is this?", "--longest", 4, "--checkpoint", checkpoint)
    plain, compiled = armillary(*line), armillary(*line, "--compiled")
    assert plain == compiled and plain[0] == 0
    assert [function.__name__ for function in asked] == ["go_on"]


def test_a_recording_that_was_stopped_goes_on_as_if_it_had_not_been(place, armillary):
    from armillary.datasets.store import read_episodes

    line = ("--size", 32, 32, "--controller", "random", "--seed", 5)
    assert armillary("simulate", "tabletop", "once", "--episodes", 2, *line)[0] == 0
    assert armillary("simulate", "tabletop", "twice", "--episodes", 1, *line)[0] == 0
    assert armillary("simulate", "tabletop", "twice", "--episodes", 2, "--workers", 2, *line)[0] == 0
    for one, other in zip(read_episodes("once"), read_episodes("twice"), strict=True):
        assert one.seed == other.seed
        assert np.array_equal(one.actions, other.actions)
        assert all(np.array_equal(one.frames[camera], other.frames[camera]) for camera in one.frames)
    code, _, err = armillary("simulate", "tabletop", "twice", "--episodes", 3, "--size", 32, 32)
    assert code == 2
    assert "was begun with controller random, seed 5" in err

    code, out, _ = armillary("inspect", "once", "--json")
    assert code == 0
    assert json.loads(out)["episodes"] == 2
    assert armillary("inspect", "once", "--play", "shown/once.png")[0] == 0
    assert (place / "shown/once.png").is_file()


def test_every_setting_of_a_run_is_a_flag(place, armillary):
    code, out, _ = armillary("train", "tiny", "--help")
    assert code == 0
    assert "--episodes" in out
    assert "--codec.batch" in out


def test_the_version_is_the_package_s(armillary):
    code, out, _ = armillary("--version")
    assert (code, out.strip()) == (0, cli.armillary.__version__)


def test_stopping_is_130(armillary, monkeypatch):
    def interrupted() -> None:
        """Wait."""
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.VERBS, "worlds", interrupted)
    code, _, err = armillary("worlds")
    assert (code, err) == (130, "armillary: stopped.\n")


BROKEN = """
import sys
from armillary import cli, embodiments
def broken() -> None:
    "Break."
    {}["key"]
cli.VERBS["worlds"] = broken
sys.argv = ["armillary", "worlds"]
cli.main()
"""


@pytest.mark.parametrize("trace", ["", "1"])
def test_a_mistake_of_ours_says_where_to_look_and_is_code_1(trace):
    environment = os.environ | {cli.TRACE: trace, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", BROKEN], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 1
    assert ("Traceback" in result.stderr) == bool(trace)
    assert trace or cli.TRACE in result.stderr


def test_doctor_measures_and_reviews(armillary):
    from armillary import doctor

    names = [finding.name for finding in doctor.examine(Path())]
    assert {"torch", "arithmetic", "drawing", "libx264", "h264", "disk", "bundled models"} <= set(names)
    code, out, _ = armillary("doctor", "--review")
    assert code in (0, 1)
    reaching = {path.name: names for path, names in doctor.network_imports()}
    assert reaching["hub.py"] == {"huggingface_hub"}  # fetches a checkpoint that is named by a hub id
    assert {path.parent.name for path, _ in doctor.network_imports()} <= {"sampling", "serving", "closed_loop"}
    assert "network: only where you ask for it" in out


def test_a_file_that_reaches_for_the_network_is_noticed(tmp_path, monkeypatch):
    from armillary import doctor

    (tmp_path / "quiet.py").write_text("import json\nfrom collections.abc import Mapping\n")
    (tmp_path / "loud.py").write_text("def send():\n    from urllib.request import urlopen\n")
    monkeypatch.setattr(doctor, "PACKAGE", tmp_path)
    assert list(doctor.network_imports()) == [(tmp_path / "loud.py", {"urllib"})]
