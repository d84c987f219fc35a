"""The bundled card says what was measured, of the weights that lie beside it, and a card is made as its maker says."""

import importlib.util
import json
from pathlib import Path

import pytest

from armillary.errors import DataError
from armillary.sampling.omni import load

ROOT = Path(__file__).resolve().parents[1]
PICO = ROOT / "src/armillary/checkpoints/pico"
_spec = importlib.util.spec_from_file_location("make_card", ROOT / "docs/make_card.py")
make_card = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_card)


def numbers(weights: str = "a", **values: float) -> dict:
    figures = {name.replace("__", "/"): {"value": value, "low": value - 1, "high": value + 1, "n": 5}
               for name, value in values.items()}  # fmt: skip
    notes = {make_card.section_of(name): [f"of {weights}"] for name in figures}
    return {
        "checkpoint": "pico",
        "weights": weights,
        "device": "cpu",
        "dtype": "bf16",
        "figures": figures,
        "notes": notes,
    }


def card(*rows: str) -> str:
    tables = [f"## {title}\n\n{make_card.HEAD}" + (rows[i] if i < len(rows) else "") + "\nProse.\n\n"
              for i, title in enumerate(make_card.TITLES.values())]  # fmt: skip
    return "# Card\n\n" + "".join(tables)


def test_the_bundled_card_s_tables_are_its_numbers():
    figures = json.loads((PICO / "numbers.json").read_text("utf-8"))["figures"]
    text = (PICO / "README.md").read_text("utf-8")
    assert make_card.filled(text, figures) == text, "python docs/make_card.py src/armillary/checkpoints/pico"


def test_what_is_bundled_has_forty_megabytes_in_all():
    assert sum(path.stat().st_size for path in PICO.rglob("*") if path.is_file()) <= 40_000_000


def test_the_bundled_numbers_are_of_the_bundled_weights():
    measured, parts = json.loads((PICO / "numbers.json").read_text("utf-8")), load("pico").parts
    assert measured["weights"] == parts.weights_sha256, "evaluate the weights that are bundled"
    assert measured["settings"] == parts.settings_sha256, "evaluate them with the settings that are bundled"
    assert measured.get("adapters", {}) == parts.adapters_told, "evaluate what wears the adapters that are bundled"
    assert measured.get("acting", {}) == parts.acts_told, "evaluate what is acted out as it is bundled"


def test_what_may_wear_adapters_is_of_the_same_ones():
    """Another adapter for going on changes films that go on, and nothing else; one for all modes changes all films."""

    def wearing(sha256, modes=("onwards",), **values):
        return numbers(**values) | {"adapters": {"mine": {"sha256": sha256, "modes": modes and list(modes)}}}

    before = wearing("a", policy__success=1.0, drift__psnr=2.0, transfer__led=3.0)
    for now, kept in (
        (wearing("a", plans__whole=3.0), {"policy/success", "drift/psnr", "transfer/led"}),
        (wearing("b", plans__whole=3.0), {"policy/success", "transfer/led"}),
        (wearing("b", modes=None, plans__whole=3.0), set()),
        (numbers(plans__whole=3.0), {"policy/success", "transfer/led"}),
    ):
        whole = make_card.joined(before, [now])
        assert set(whole["figures"]) == kept | {"plans/whole"} and whole.get("adapters") == now.get("adapters")


def test_what_may_be_acted_out_is_of_the_same_deeds():
    def acting(sha256, **values):
        return numbers(**values) | {"acting": {"sha256": sha256, "modes": ["image-to-video"]}}

    before = acting("a", policy__success=1.0, sound__heard=2.0)
    for now, kept in (
        (acting("a", plans__whole=3.0), {"policy/success", "sound/heard"}),
        (acting("b", plans__whole=3.0), {"policy/success"}),
        (numbers(plans__whole=3.0), {"policy/success"}),
    ):
        whole = make_card.joined(before, [now])
        assert set(whole["figures"]) == kept | {"plans/whole"} and whole.get("acting") == now.get("acting")


def test_every_section_that_asks_the_generator_says_in_which_modes():
    """Of the others the reasoner alone is asked, or, in twins, a generator that wears nothing."""
    bare = {name for name in make_card.TITLES if name.startswith("questions")} | {"plans", "twins"}
    assert set(make_card.WEARS) == set(make_card.TITLES) - bare


def test_a_section_that_was_measured_again_replaces_the_old_and_the_others_stay():
    before = numbers(policy__success=1.0, policy__gone=2.0, sound__heard=3.0)
    whole = make_card.joined(before, [numbers(policy__success=7.0)])
    assert {name: figure["value"] for name, figure in whole["figures"].items()} == {
        "sound/heard": 3,
        "policy/success": 7,
    }
    text = make_card.filled(card(), whole["figures"])
    assert "| success | 7.000 | 6.000 to 8.000 | 5 |\n\nProse." in text and "| heard | 3.000 |" in text
    assert make_card.filled(text, whole["figures"]) == text
    assert make_card.filled(text, {}) == card()


def test_figures_of_other_weights_never_stand_beside_each_other():
    old = numbers("old", policy__success=1.0, sound__heard=3.0)
    whole = make_card.joined(old, [numbers("new", policy__success=2.0)])
    assert set(whole["figures"]) == {"policy/success"} and whole["notes"] == {"policy": ["of new"]}
    with pytest.raises(DataError, match="one checkpoint"):
        make_card.joined(old, [numbers("new", policy__success=2.0), old])


def test_a_section_without_a_heading_is_an_error_and_nothing_is_written(tmp_path):
    (tmp_path / "README.md").write_text(card())
    (tmp_path / "found").mkdir()
    (tmp_path / "found/numbers.json").write_text(json.dumps(numbers(dreams__vivid=1.0)))
    with pytest.raises(DataError, match="dreams has no heading"):
        make_card.main(tmp_path, [tmp_path / "found"])
    assert not (tmp_path / "numbers.json").exists() and (tmp_path / "README.md").read_text() == card()
    with pytest.raises(DataError, match="the card has no '## Forward"):
        make_card.filled("# Card\n", numbers(policy__success=1.0)["figures"])
