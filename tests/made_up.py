"""A small made-up episode in which everything that can be there is there, and what makes two the same.

episode(seed, ...)     pictures, actions, states, words, depth, labels and sound, drawn by the seed
same(one, other)       asserts that nothing was lost on the way
contents(folder)       every file's bytes, by name
"""

import numpy as np

from armillary.records import Episode, Question


def episode(seed, frames=9, objects=2, side=32, words="push the T", cameras=("top", "wrist"), body="made-up"):
    """A small made-up episode in which everything that can be there is there."""
    rng = np.random.default_rng(seed)
    pictures = {c: rng.integers(0, 256, (frames, side, side, 3), dtype=np.uint8) for c in cameras}
    return Episode(
        world="made-up",
        seed=seed,
        fps=10.0,
        frames=pictures,
        actions=rng.normal(size=(frames - 1, 3)).astype(np.float32),
        embodiment=body,
        states={"tip": rng.normal(size=(frames, 3)), "objects": rng.normal(size=(frames, objects, 3))},
        instruction=words,
        captions={"short": "A thing moves.", "dense": "Ein Ding, grün, bewegt sich."},
        questions=[Question(task="place", words="Where?", answer="left", choices=("left", "right"), frames=(0, 2))],
        events=[(0.1, 0.4, "touch")],
        depth={c: rng.uniform(0, 3, (frames, side, side)).astype(np.float32) for c in cameras},
        segmentation={"top": rng.integers(0, 5, (frames, side, side)).astype(np.int32)},
        boxes=[{"cube": (1, 2, 3, 4)} for _ in range(frames)],
        cameras={"top": {"matrix": [[1.0, 0.0], [0.0, 1.0]]}},
        sound=rng.uniform(-1, 1, (2, 4800)).astype(np.float32),
        success=seed % 2 == 0,
        recipe={"world": "made-up", "seed": seed},
    )


def same(one, other):
    assert set(one.frames) == set(other.frames)
    assert all(np.array_equal(one.frames[c], other.frames[c]) for c in one.frames)
    assert one.actions.dtype == other.actions.dtype
    assert np.array_equal(one.actions, other.actions)
    assert all(np.array_equal(one.states[n], other.states[n]) for n in one.states)
    for name in ("world", "seed", "fps", "embodiment", "instruction", "captions", "success", "recipe", "cameras"):
        assert vars(one)[name] == vars(other)[name]
    assert [vars(q) for q in one.questions] == [vars(q) for q in other.questions]
    assert list(one.events) == list(other.events) and list(one.boxes) == list(other.boxes)
    assert all(np.abs(one.depth[c] - other.depth[c]).max() <= 0.0005 + 1e-6 for c in one.depth)
    assert np.array_equal(one.segmentation["top"], other.segmentation["top"])
    assert np.abs(one.sound - other.sound).max() <= 1 / 32767


def contents(path):
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}
