"""How long one training step of Edge's generator takes on a GPU, and which share of the arithmetic it could do (MFU).

    python -m benchmarks.gpu_training [--tflops 989] [--samples 2] [--repeats 10]

Random weights in bfloat16, the reasoner frozen and read without gradients, films of 189 frames at 192x320 (2,880
tokens) with prompts of 250: forward, backward and one AdamW step over the generator. Operations are counted by formula:
six for each weight of the generator's matrices and token, twelve for each pair of tokens that see each other and
number of a query (cosmos3.md 11), a third of that for the frozen reasoner. ``--tflops`` is what the GPU's maker says.
"""

import argparse
from dataclasses import replace
from typing import Any

import torch
from benchmarks.gpu_models import device_or_refuse, random_model, sizes
from benchmarks.measure import alternate, report

from armillary.model import TwoTowers, video_positions
from armillary.records import Batch, Segment
from armillary.training.flow import flow_loss

FPS, TEXT = 24.0, 250


def exercise(model: TwoTowers, samples: int, latents: tuple[int, int, int]) -> tuple[Batch, torch.Tensor]:
    """Noise at one level as a batch, and noise as what is to be learnt."""
    device = model.transformer.proj_in.weight.device
    places = video_positions(latents, fps=FPS)[None].expand(samples, -1, -1).to(device)
    shape = (*places.shape[:2], model.config.patch_numbers)
    level = torch.full(shape[:2], 0.7, device=device)
    segment = Segment(modality="video", tokens=torch.randn(shape, device=device), positions=places, level=level)
    ids = torch.randint(0, model.config.vocabulary, (samples, TEXT), device=device)
    batch = Batch(ids=ids, mask=torch.ones_like(ids, dtype=torch.bool), segments=(segment,))
    return batch, torch.randn(shape, device=device)


def operations(model: TwoTowers, samples: int, tokens: int) -> float:
    """Of one step, by formula."""
    tower = model.config.tower
    layers = [(name, p) for name, p in model.transformer.named_parameters() if name.startswith("layers.")]
    learnt = sum(p.numel() for _, p in layers if p.requires_grad and p.ndim == 2)
    frozen = sum(p.numel() for _, p in layers if not p.requires_grad and p.ndim == 2)
    wide = tower.heads * tower.head_width * tower.layers
    seen = 12.0 * tokens * (tokens + TEXT) * wide + 2.0 * TEXT**2 * wide
    return samples * (6.0 * learnt * tokens + 2.0 * frozen * TEXT + seen)


def main(tflops: float = 989.0, samples: int = 2, repeats: int = 10, tiny: bool = False) -> None:
    """Measure and write a line."""
    device = device_or_refuse(tiny)
    config, _ = sizes("edge", tiny)
    model = random_model(replace(config, vision=sizes("edge", True)[0].vision), device)
    learnt = [p.requires_grad_() for p in model.generator_parameters()]
    optimizer = torch.optim.AdamW(learnt, lr=1e-4, fused=not tiny)
    latents = (3, 4, 4) if tiny else (48, 12, 20)
    batch, target = exercise(model, samples, latents)
    hidden, weight = torch.ones(target.shape[:2], dtype=torch.bool, device=device), torch.ones(1, 1, 1, device=device)

    def step() -> None:
        (velocity,) = model(batch, FPS)
        flow_loss(velocity, target, hidden, weight).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    (timing,) = alternate(step, warmup=2, repeats=repeats)
    done = operations(model, samples, target.shape[1])
    told: dict[str, Any] = {"samples": samples, "tokens": target.shape[1], "text": TEXT, "dtype": "bfloat16"}
    told |= {"teraflop": round(done / 1e12, 3), "mfu": round(done / (timing.median_ms / 1e3) / (tflops * 1e12), 4)}
    if tiny:
        print({"tiny": "gpu_training_edge", "median_ms": timing.median_ms, **told}, flush=True)
    else:
        report("gpu_training_edge", timing, tflops=tflops, **told)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflops", type=float, default=989.0)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--tiny", action="store_true")
    main(**vars(parser.parse_args()))
