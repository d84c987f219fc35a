"""A body of your own: what its numbers mean is a file, and no source is edited for it.

Writes wheels.toml for a robot with two wheels and an open gripper, takes the range of its numbers from recorded
actions, and sends them to the model's channels and back. Run: python examples/own_body.py
"""

import argparse
from pathlib import Path

import numpy as np

from armillary.embodiments import fit_normaliser, load_embodiment
from armillary.errors import ArmillaryError

WHEELS = """\
# Two driven wheels and a gripper.
name = "wheels"
about = "Two driven wheels. Each action is how fast they shall turn, and how far the gripper is to open."
domain = "no_action"
domain_id = 24  # 24 to 31 are free
rate_hz = 10.0
rotation = "none"

[[channels]]
names = ["left", "right"]
unit = "radian per second"
frame = "absolute"
low = -20.0
high = 20.0

[[channels]]
names = ["gripper"]
unit = "open fraction"
frame = "absolute"
low = 0.0
high = 1.0

[gripper]
channel = "gripper"
closed = 0.0
opened = 1.0

[normaliser]
method = "limits"
offset = [0.0, 0.0, 0.5]
scale = [20.0, 20.0, 0.5]
source = "the limits"
"""


def main(steps: int = 200, out: Path = Path("wheels.toml")) -> float:
    """Send ``steps`` actions there and back; returns the largest difference, in the body's own units."""
    out.write_text(WHEELS, encoding="utf-8")
    rng = np.random.default_rng(0)
    actions = np.column_stack([rng.normal(3.0, 2.0, (steps, 2)), rng.integers(0, 2, steps)])

    body = fit_normaliser(load_embodiment(out), actions)
    numbers = body.encode(actions)
    again = body.decode(numbers)

    worst = float(np.abs(again - actions).max())
    print(
        f"{body.name}: {actions.shape} in {body.channels[0].unit} become {numbers.shape} of the model's, and come back"
    )
    print(
        f"usual range after statistics: {np.abs(numbers[:, : body.width]).mean():.2f}; largest difference {worst:.1e}"
    )
    return worst


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A new embodiment from a file.")
    parser.add_argument("--steps", type=int, default=200)
    try:
        main(**vars(parser.parse_args()))
    except ArmillaryError as wrong:
        parser.exit(2, f"{parser.prog}: {wrong}\n")
