"""Adapters against PEFT: the same folder, worn here and by Diffusers' transformer, gives the same velocities.

Ours is opened by ``PeftModel`` and by Diffusers' own ``load_lora_adapter``, PEFT's by ``Stock.wear``.
"""

import json

import pytest
import torch
from conformance.test_two_towers_diffusers import FAMILIES, noise, ours_velocity, theirs_velocity
from safetensors.torch import load_file

from armillary.model import load_model, save_model
from armillary.model.low_rank import LowRank, learning, learnt
from armillary.model.two_towers import TwoTowers
from armillary.model.weights import open_model
from armillary.sampling.parts import CHECKPOINTS

peft = pytest.importorskip("peft", reason="peft is not installed: pip install it")
diffusers = pytest.importorskip("diffusers")

WORDS = list(range(20, 44))
TOWERS = ("memory", "reasoner", "generator", "vision")


@pytest.fixture(scope="module", params=[*FAMILIES, "pico"])
def folder(request, tmp_path_factory):
    """A checkpoint: a small random one of each family, and the bundled one."""
    if request.param == "pico":
        if not (CHECKPOINTS / "pico/model_index.json").is_file():
            pytest.skip("no checkpoint is bundled")
        return CHECKPOINTS / "pico"
    torch.manual_seed(0)
    model = TwoTowers(FAMILIES[request.param]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    root = tmp_path_factory.mktemp("checkpoint")
    save_model(root, model, dtype=torch.float32)
    return root


@pytest.fixture
def theirs(folder):
    return diffusers.Cosmos3OmniTransformer.from_pretrained(folder / "transformer", torch_dtype=torch.float32).eval()


@pytest.fixture
def stock(folder):
    return open_model(folder, dtype=torch.float32)


@pytest.fixture
def made(folder, tmp_path):
    """An adapter of ours in which nothing is zero, in a folder."""
    model = load_model(folder, dtype=torch.float32)
    with learning(model, rank=4, alpha=6.0) as parameters:
        for name, parameter in parameters.items():
            if name.endswith("lora_b"):
                torch.nn.init.normal_(parameter, std=0.3)
        learnt(model).save(tmp_path / "ours", base="mine")
    return tmp_path / "ours"


def velocities(stock, theirs):
    """What both say of a film with actions: theirs, and ours as it lies in memory now."""
    how = {"fps": 10.0, "actions": noise(16, 64, seed=2) * (torch.arange(64) < 10)}
    latents = noise(48, 5, 4, 4)
    return (theirs_velocity(theirs, WORDS, latents, (0,), **how),
            ours_velocity(stock.hold(TOWERS), [WORDS], latents, (0,), **how)[0])  # fmt: skip


def apart(some, other):
    """The largest relative distance of two velocities."""
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(some, other, strict=True))


def test_ours_is_worn_by_peft(folder, stock, theirs, made):
    plain = velocities(stock, theirs)
    assert apart(*plain) <= 1e-5
    stock.wear(LowRank.load(made))
    worn = peft.PeftModel.from_pretrained(theirs, made).eval()
    here, there = velocities(stock, worn.base_model.model)[::-1]
    assert apart(here, there) <= 1e-5
    assert apart(here, plain[1]) > 0.05, "it changes what is said"
    with worn.disable_adapter():
        assert apart(velocities(stock, worn.base_model.model)[0], plain[0]) == 0


def test_ours_is_worn_by_diffusers_own_loader(folder, stock, theirs, made):
    """Given the tensors and the settings: of a folder alone it reads the tensors, and takes alpha to be the rank."""
    stock.wear(LowRank.load(made))
    told = json.loads((made / "adapter_config.json").read_text())
    settings = {f"base_model.model.{name}": told[name] for name in ("r", "lora_alpha", "target_modules")}
    tensors = load_file(made / "adapter_model.safetensors")
    theirs.load_lora_adapter(tensors, prefix="base_model.model", metadata=settings)
    assert apart(*velocities(stock, theirs)) <= 1e-5


def test_pefts_is_worn_here(folder, stock, theirs, tmp_path):
    torch.manual_seed(3)
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=["add_q_proj", "to_add_out", "mlp_moe_gen.down_proj"],
                             init_lora_weights=False)  # fmt: skip
    worn = peft.get_peft_model(theirs, config).eval()
    worn.save_pretrained(tmp_path / "theirs")
    adapter = LowRank.load(tmp_path / "theirs")
    assert (adapter.rank, adapter.alpha) == (3, 5.0)
    stock.wear(adapter)
    assert apart(*velocities(stock, worn.base_model.model)) <= 1e-5
