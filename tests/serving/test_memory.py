"""Memory is refused before it is taken: how much a request needs follows from the checkpoint, not from a constant."""

import json
import shutil

import pytest

from armillary.sampling.parts import find_checkpoint
from armillary.serving.memory import Memory


@pytest.fixture
def described(tmp_path):
    """A checkpoint's description without its weights, its decoder made wider or not."""

    def make(times):
        folder = tmp_path / str(times)
        shutil.copytree(find_checkpoint("pico"), folder, ignore=shutil.ignore_patterns("*.safetensors"))
        path = folder / "vae/config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, "decoder_base_dim": config["decoder_base_dim"] * times}))
        return folder

    return make


def test_a_decoder_of_twice_the_width_takes_twice_the_memory(described):
    one, two = (Memory.of(described(times), "cpu").pixel for times in (1, 2))
    assert 1.8 < two / one < 2.2


def test_what_was_measured_with_pico_is_what_is_reckoned_with():
    assert 155 <= Memory.of(find_checkpoint("pico"), "cpu").pixel <= 200, "155 bytes were measured, docs/serving.md"


def test_only_what_does_not_fit_is_lacking():
    memory = Memory(pixel=160)
    assert memory.lacking(1000) is None
    needed, free = memory.lacking(2**50)
    assert needed == 160 * 2**50 and 0 < free < needed
