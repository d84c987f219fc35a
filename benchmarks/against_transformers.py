"""How fast the reasoner speaks on this machine, beside Transformers' ``generate`` with the same weights and words.

    python -m benchmarks.against_transformers [--repeats 3] [--dtype float32] [--apart] [--compiled]

A random reasoner (8 layers, width 512, 8 query and 2 key-value heads of 64, MLP 1536, vocabulary of 32,768), whose
head lets each word decide the next, so that no rounding does, is opened by both in one process, on one thread. Both go
on greedily for 100 tokens, in turns: after one prompt of 200 tokens, after eight of 60 to 200, which Transformers takes
as one batch padded on the left, as it documents, and after one that already holds all that will be said (``quoting``:
the text that guessing is best at; in the others nothing repeats, and nothing is guessed). A line is only written if
every token is the same, and every word's score after the first reply too, since that head lets nobody see the layers
in the tokens: ``score_error`` is the largest difference over the scores' deviation. ``--apart`` measures this package
beside itself, its matrices not side by side. ``--compiled``: ours speaks by compiled layers; the compiling is done
before.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from benchmarks.measure import alternate, counted, report
from transformers import Qwen3VLForConditionalGeneration

from armillary.model import ModelConfig, TowerConfig, TwoTowers, VisionConfig, load_model, save_reasoner
from armillary.model.compiled import compile_words
from armillary.sampling.speak import Heard, Manner, say

TOWER = TowerConfig(layers=8, width=512, heads=8, kv_heads=2, head_width=64, mlp_width=1536)
EYES = VisionConfig(depth=1, width=24, heads=2, mlp_width=32, grid_side=4)
CONFIG = ModelConfig(tower=TOWER, vision=EYES, vocabulary=32_768)
SAID = 100
LENGTHS = {"one": (200,), "eight": (200, 180, 160, 140, 120, 100, 80, 60), "quoting": (100,)}
TOWERS = ("reasoner", "vision")
WRONG = {"float32": 1e-4, "bfloat16": 5e-2}  # scores, of their deviation


def prompts(lengths: tuple[int, ...]) -> list[list[int]]:
    """Ids that mean nothing, none of them a special one."""
    chance = torch.Generator().manual_seed(0)
    return [torch.randint(100, CONFIG.vocabulary, (n,), generator=chance).tolist() for n in lengths]


def ours(model: TwoTowers, asked: list[list[int]]) -> list[list[int]]:
    """What this package says after each prompt."""
    heard = [Heard(ids=ids, visual=None, manner=Manner(longest=SAID), longest=SAID) for ids in asked]
    said: list[list[int]] = [[] for _ in asked]
    for number, token in say(model, heard, ends=()):
        said[number].append(token)
    return said


def theirs(model: Any, asked: list[list[int]]) -> list[list[int]]:
    """What Transformers says, in one batch."""
    longest = max(len(ids) for ids in asked)
    ids = torch.tensor([[0] * (longest - len(one)) + one for one in asked])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in asked])
    how = {"max_new_tokens": SAID, "min_new_tokens": SAID, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    with torch.inference_mode():
        return model.generate(input_ids=ids, attention_mask=mask, **how)[:, longest:].tolist()


def score_error(mine: TwoTowers, other: Any, text: list[int], *, apart: bool) -> float:
    """How far the scores after ``text`` are apart where ours are said on from all but three of its tokens."""
    ids = torch.tensor([text])
    with torch.inference_mode():
        _, cache = mine.step(ids[:, :-3])
        for at in (-3, -2, -1):
            scores, cache = mine.step(ids[:, at:][:, :1], cache)
        wanted = other.step(ids)[0] if apart else other(input_ids=ids).logits[:, -1]
    return float((scores - wanted).abs().max() / wanted.std())


def main(repeats: int = 3, dtype: str = "float32", only: str = "", apart: bool = False, compiled: bool = False) -> None:
    """Measure each number of prompts whose name holds ``only``."""
    torch.set_num_threads(1)
    kind = getattr(torch, dtype)
    with tempfile.TemporaryDirectory() as room:
        torch.manual_seed(0)
        whole = TwoTowers(CONFIG)
        with torch.no_grad():
            words = whole.transformer.embed_tokens.weight.mul_(20.0)
            whole.transformer.lm_head.weight.copy_(words[torch.randperm(len(words))])  # one score is far above the rest
        save_reasoner(Path(room), whole, dtype=kind)
        mine = load_model(room, dtype=kind, towers=TOWERS, quick=True).eval()
        mine.lay_side_by_side()
        if compiled:
            compile_words(mine)
        other: Any = load_model(room, dtype=kind, towers=TOWERS, quick=True).eval()
        if not apart:
            other = Qwen3VLForConditionalGeneration.from_pretrained(room, dtype=kind).eval()
    name = "reasoner_matrices_apart" if apart else "against_transformers"
    beside = "apart" if apart else "transformers"
    for count, lengths in LENGTHS.items():
        if only not in count:
            continue
        asked = prompts(lengths)
        if count == "quoting":  # a prompt, its reply, and how that began: the reply comes again
            asked = [[*asked[0], *ours(mine, asked)[0], asked[0][-1]]]
        sides = (lambda: ours(mine, asked), lambda: (ours if apart else theirs)(other, asked))  # noqa: B023
        with counted(mine) as passed:
            said = sides[0]()
        if said != (wanted := sides[1]()):
            alike = sum(a == b for x, y in zip(said, wanted, strict=True) for a, b in zip(x, y, strict=True))
            raise SystemExit(f"{count}: {alike} of {SAID * len(asked)} tokens are the same: nothing measured.")
        error = score_error(mine, other, [*asked[0], *said[0]], apart=apart)
        if error > WRONG[dtype]:
            raise SystemExit(f"{count}: scores are {error:.1e} of their deviation apart: nothing measured.")
        own, their = alternate(*sides, repeats=repeats)
        told: dict[str, Any] = {"dtype": dtype, "threads": 1, "prompts": [len(ids) for ids in asked], "said": SAID}
        told |= {"passes": passed["passes"], "guessed": passed["guessed"], "compiled": compiled}
        told |= {"score_error": float(f"{error:.1e}")}
        told |= {f"{beside}_median_ms": their.median_ms, f"{beside}_processor_ms": their.processor_ms}
        told |= {"times_faster": round(their.median_ms / own.median_ms, 2)}
        told |= {"times_less_processor": round(their.processor_ms / own.processor_ms, 2)}
        report(f"{name}_{count}", own, **told)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--only", default="", choices=("", *LENGTHS))
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--compiled", action="store_true")
    main(**vars(parser.parse_args()))
