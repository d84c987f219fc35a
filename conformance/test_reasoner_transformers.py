"""The reasoner against Transformers: the same folder, opened by both, gives the same scores.

A small random checkpoint of each family is written by ``save_model`` in fp32 and opened unchanged by
``Cosmos3OmniForConditionalGeneration`` or ``Cosmos3EdgeForConditionalGeneration``, which read the reasoner and the
eyes out of the two parts. What ``save_reasoner`` writes is opened by these and by ``Qwen3VLForConditionalGeneration``.
The bundled checkpoint is asked there as the document says, words and pictures prepared by ``AutoProcessor``.
"""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import armillary
from armillary.model import (
    PICO,
    TowerConfig,
    TwoTowers,
    VisionConfig,
    Visual,
    load_model,
    patchify_images,
    patchify_video,
    save_model,
    save_reasoner,
)
from armillary.sampling.speak import Heard, Manner, hear, say
from armillary.worlds.record import record_tabletop

transformers = pytest.importorskip("transformers")

SMALL = replace(
    PICO,
    tower=TowerConfig(layers=3, width=48, heads=4, kv_heads=2, head_width=32, mlp_width=80, rope_axes=(6, 5, 5)),
    vision=VisionConfig(depth=3, width=32, heads=2, mlp_width=64, grid_side=6, deepstack=(0, 1)),
    vocabulary=96,
)
SMALL_EDGE = replace(
    SMALL,
    tower=replace(SMALL.tower, eps=1e-5, rope_theta=1e8, mlp="relu2", text_norms=False, memory_norms=True),
    vision=replace(SMALL.vision, deepstack=(), kind="siglip", temporal_patch=1, projector=40),
)
FAMILIES = {"qwen": (SMALL, "Cosmos3Omni"), "edge": (SMALL_EDGE, "Cosmos3Edge")}


def random_model(config):
    torch.manual_seed(0)
    model = TwoTowers(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)  # norms and biases too, or they would prove nothing
    return model


def open_theirs(name, folder):
    kind = getattr(transformers, f"{name}ForConditionalGeneration")
    theirs, info = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), info
    return theirs.eval()


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, tmp_path_factory):
    """Our model and theirs, from one folder."""
    config, name = FAMILIES[request.param]
    ours = random_model(config)
    folder = tmp_path_factory.mktemp("checkpoint")
    save_model(folder, ours, dtype=torch.float32)
    return ours, open_theirs(name, folder)


def cut(pair):
    """How this pair's eyes want their patches."""
    return {"temporal_patch": pair[0].config.vision.temporal_patch}


def text(*parts):
    """Ids: ``parts`` are numbers of words, or ("image" | "video", tokens)."""
    ids = []
    generator = torch.Generator().manual_seed(len(parts))
    for part in parts:
        if isinstance(part, int):
            ids += torch.randint(20, SMALL.vocabulary, (part,), generator=generator).tolist()
        else:
            kind, count = part
            pad = SMALL.image_pad if kind == "image" else SMALL.video_pad
            ids += [SMALL.vision_start, *[pad] * count, SMALL.vision_end]
    return torch.tensor([ids])


def pixels(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def compare(pair, ids, visual=None, mask=None, **theirs_more):
    ours, theirs = pair
    mask = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    kinds = (ids == SMALL.image_pad).int() + 2 * (ids == SMALL.video_pad).int()
    theirs = copy.copy(theirs)
    with torch.no_grad():
        mine = ours.logits(ids, mask, visual)
        other = theirs(input_ids=ids, attention_mask=mask.long(), mm_token_type_ids=kinds, **theirs_more).logits
    error = ((mine - other)[mask].norm() / other[mask].norm()).item()
    assert error <= 1e-4, error
    return error


def test_plain_text_scores_as_in_transformers(pair):
    compare(pair, text(40))


def test_one_picture_scores_as_in_transformers(pair):
    visual = patchify_images(pixels(1, 64, 96, 3), **cut(pair))
    grid = torch.tensor(visual.grids)
    compare(pair, text(5, ("image", 6), 12), visual, pixel_values=visual.patches, image_grid_thw=grid)


def test_two_pictures_of_two_sizes_score_as_in_transformers(pair):
    visual = patchify_images([pixels(128, 128, 3, seed=1), pixels(32, 96, 3, seed=2)], **cut(pair))
    ids = text(3, ("image", 16), 7, ("image", 3), 9)
    compare(pair, ids, visual, pixel_values=visual.patches, image_grid_thw=torch.tensor(visual.grids))


def test_a_film_scores_as_in_transformers(pair):
    visual = patchify_video(pixels(6, 64, 64, 3), **cut(pair))
    shown = [part for _ in range(visual.grids[0][0]) for part in (2, ("video", 4))]
    ids = text(3, *shown, 9)
    compare(pair, ids, visual, pixel_values_videos=visual.patches, video_grid_thw=torch.tensor(visual.grids))


def test_a_padded_batch_with_pictures_scores_as_in_transformers(pair):
    first = patchify_images(pixels(1, 64, 64, 3, seed=3), **cut(pair))
    second = patchify_images(pixels(1, 64, 96, 3, seed=4), **cut(pair))
    long, short = text(4, ("image", 4), 20), text(2, ("image", 6), 6)
    ids = torch.zeros(2, long.shape[1], dtype=torch.long)
    ids[0], ids[1, : short.shape[1]] = long[0], short[0]
    mask = torch.arange(ids.shape[1])[None] < torch.tensor([[long.shape[1]], [short.shape[1]]])
    both = Visual.join([first, second])
    compare(pair, ids, both, mask, pixel_values=both.patches, image_grid_thw=torch.tensor(both.grids))


def test_patches_are_those_of_the_qwen_processor():
    processor = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    make = processor.Qwen2VLImageProcessorPil(
        patch_size=16, temporal_patch_size=2, merge_size=2, do_resize=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    picture = pixels(64, 96, 3)
    theirs = make(images=[picture.numpy()], return_tensors="pt", input_data_format="channels_last")
    mine = patchify_images(picture[None])
    torch.testing.assert_close(mine.patches, theirs["pixel_values"], atol=1e-6, rtol=0)
    assert torch.equal(torch.tensor(mine.grids), theirs["image_grid_thw"])


def test_patches_are_those_of_the_edge_processor():
    processor = pytest.importorskip("transformers.models.cosmos3_edge.image_processing_pil_cosmos3_edge")
    make = processor.Cosmos3EdgeImageProcessorPil(do_resize=False)
    picture = pixels(64, 96, 3)
    theirs = make(images=[picture.numpy()], return_tensors="pt", input_data_format="channels_last")
    mine = patchify_images(picture[None], temporal_patch=1)
    torch.testing.assert_close(mine.patches, theirs["pixel_values"], atol=1e-6, rtol=0)
    assert torch.equal(torch.tensor(mine.grids), theirs["image_grid_thw"])


@pytest.mark.parametrize(("family", "name"), [("qwen", "Qwen3VL"), ("qwen", "Cosmos3Omni"), ("edge", "Cosmos3Edge")])
def test_a_reasoner_written_alone_opens_there_and_one_of_theirs_opens_here(family, name, tmp_path):
    ours = random_model(FAMILIES[family][0])
    save_reasoner(tmp_path / "ours", ours, dtype=torch.float32)
    if name == "Qwen3VL":  # the same model under the name it had before
        fields = json.loads((tmp_path / "ours/config.json").read_text())
        fields |= {"model_type": "qwen3_vl", "architectures": ["Qwen3VLForConditionalGeneration"]}
        (tmp_path / "ours/config.json").write_text(json.dumps(fields))
    theirs = open_theirs(name, tmp_path / "ours")
    compare((ours, theirs), text(30))
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_model(tmp_path / "theirs", towers=("reasoner", "vision"))
    assert again.config.tower == ours.config.tower
    visual = patchify_images(pixels(1, 64, 96, 3), **cut((ours,)))
    ids = text(5, ("image", 6), 12)
    with torch.no_grad():
        scores = [model.logits(ids, torch.ones_like(ids, dtype=torch.bool), visual) for model in (ours, again)]
    assert torch.equal(*scores)


def test_words_said_one_by_one_are_those_of_transformers(pair):
    ours, theirs = pair
    visual = patchify_images(pixels(1, 64, 64, 3, seed=5), **cut(pair))
    ids = text(5, ("image", 4), 5)
    kinds = (ids == SMALL.image_pad).int()
    with torch.no_grad():
        said = theirs.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=kinds, pixel_values=visual.patches,
            image_grid_thw=torch.tensor(visual.grids), do_sample=False, max_new_tokens=8, eos_token_id=None,
            pad_token_id=0,
        )[0, ids.shape[1] :]  # fmt: skip
        scores, cache = ours.step(ids, visual=visual)
        mine = []
        for _ in range(8):
            mine.append(int(scores.argmax()))
            scores, cache = ours.step(torch.tensor([[mine[-1]]]), cache)
    assert mine == said.tolist()


def test_chats_of_different_lengths_are_answered_as_by_generate_whether_guessed_or_not(pair):
    """Together and alone; the longest has its own words twice, so that much of what it goes on with is guessed."""
    ours, theirs = pair
    prompts = [text(30)[0].tolist() * 2, text(11)[0].tolist(), text(4, 3)[0].tolist()]
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(one)) + one for one in prompts])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
    with torch.no_grad():
        wanted = theirs.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=24, eos_token_id=None, pad_token_id=0
        )[:, longest:].tolist()
    heard = [Heard(ids=one, visual=None, manner=Manner(longest=24), longest=24) for one in prompts]

    def said(some, **how):
        told = [[] for _ in some]
        for number, token in say(ours, some, ends=(), **how):
            told[number].append(token)
        return told

    assert said(heard) == wanted
    for guess in (True, False):
        assert [said([one], guess=guess)[0] for one in heard] == wanted


@pytest.fixture(scope="module")
def bundled():
    """The bundled checkpoint here, Transformers' processor and model of the same folder, and a life with questions."""
    pico = armillary.load("pico", dtype="float32")
    processor = transformers.AutoProcessor.from_pretrained(pico.parts.folder, subfolder="text_tokenizer")
    theirs = transformers.AutoModelForImageTextToText.from_pretrained(pico.parts.folder, dtype=torch.float32).eval()
    return pico, processor, theirs, record_tabletop(1000100, views=("front",), extras=(), max_steps=2)


def prepared(processor, parts):
    return processor.apply_chat_template(
        [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=True, return_dict=True,
        return_tensors="pt",
    )  # fmt: skip


@pytest.mark.parametrize("size", [None, (128, 128), (96, 96), (480, 480), (640, 480)])
def test_the_bundled_reasoner_scores_what_transformers_has_prepared_alone_as_here(bundled, size):
    """Words are the same; so are pictures, to one level of 255, since both round."""
    pico, processor, theirs, life = bundled
    parts = [{"type": "text", "text": "What shape is the yellow object?"}]
    if size is not None:
        parts.insert(0, {"type": "image", "image": Image.fromarray(life.frames["front"][0]).resize(size)})
    asked = prepared(processor, parts)
    chat, visual = hear(pico.parts, [{"role": "user", "content": parts}])
    ids = torch.tensor([pico.parts.text.encode(chat)])
    assert torch.equal(asked["input_ids"], ids)
    if visual is not None:
        assert torch.equal(asked["image_grid_thw"], torch.tensor(visual.grids))
        assert (asked["pixel_values"] - visual.patches).abs().max() < 1.01 / 127.5
    with torch.no_grad():
        other = theirs(**asked).logits[0, -1]
        mine = pico.parts.model("reasoner", "vision").logits(ids, torch.ones_like(ids, dtype=torch.bool), visual)[0, -1]
    assert (mine - other).norm() <= (1e-4 if visual is None else 1e-2) * mine.norm()


@pytest.mark.parametrize("shown", [True, False])
def test_the_bundled_reasoner_answers_what_transformers_has_prepared_alone_as_here(bundled, shown):
    pico, processor, theirs, life = bundled
    picture = life.frames["front"][0]
    answers = set()
    for question in {one.words for one in life.questions if one.frames == (0,)}:
        parts = [{"type": "image", "image": Image.fromarray(picture)}] * shown + [{"type": "text", "text": question}]
        asked = prepared(processor, parts)
        said = theirs.generate(**asked, max_new_tokens=40, do_sample=False)[0, asked["input_ids"].shape[1] :]
        answer = processor.decode(said, skip_special_tokens=True)
        assert answer == pico.ask(question, longest=40, **({"image": picture} if shown else {})), question
        answers.add(answer)
    assert len(answers) > 2


def test_the_document_s_way_through_transformers_runs_and_answers_as_here(bundled, tmp_path, monkeypatch, capsys):
    pico, _, _, life = bundled
    page = (Path(__file__).resolve().parents[1] / "docs/published_models.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?AutoProcessor.*?)```", page, re.DOTALL)
    Image.fromarray(life.frames["front"][0]).save(tmp_path / "table.png")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "published_models.md", "exec"), {})
    asked = pico.ask("What shape is the yellow object?", image=tmp_path / "table.png")
    assert asked and capsys.readouterr().out.strip() == asked
