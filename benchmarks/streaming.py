"""How fast an imagined world runs: frames a second of a film driven by actions, from request to pixels.

    python -m benchmarks.streaming [STEPS ...]

The bundled model, 128x128, 64 actions: in chunks of 16, each beginning with the last frame of the one before, as
``/v1/realtime/video`` makes them (``film``); and four at a time, latent frame by latent frame (``onwards``). Pictures
are encoded and decoded; nothing is written to a file.
"""

import sys
from collections.abc import Sequence

import torch
from benchmarks.measure import measure, report

import armillary
from armillary.worlds.record import record_tabletop

ACTIONS, SEED = 64, 2_000_500


def main(steps: Sequence[int] = (1, 4), repeats: int = 5) -> None:
    """Measure with each number of solver steps."""
    omni = armillary.load("pico", device="cpu")
    lived = record_tabletop(SEED, "random", views=("front",), extras=(), max_steps=ACTIONS)
    actions = lived.actions[:ACTIONS]
    for count in steps:

        def film(count: int = count) -> None:
            omni.imagine("forward-dynamics", image=lived.frames["front"][0], actions=actions, embodiment="tabletop",
                         steps=count, outputs=("video",))  # fmt: skip

        def onwards(count: int = count) -> None:
            going = omni.onwards(image=lived.frames["front"][0], embodiment="tabletop", steps=count)
            for first in range(0, len(actions), 4):
                going.push(actions[first : first + 4])

        for name, work in (("film", film), ("onwards", onwards)):
            timing = measure(work, warmup=1, repeats=repeats)
            report(f"streaming_{name}", timing, frames=len(actions), steps=count, threads=torch.get_num_threads(),
                   dtype=str(omni.parts.dtype))  # fmt: skip
            print(f"{name}: {len(actions) / timing.median_ms * 1e3:.1f} frames a second, "
                  f"{len(actions) / timing.processor_ms * 1e3:.1f} a processor second")  # fmt: skip


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or (1, 4))
