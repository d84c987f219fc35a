"""Our prompts are, letter for letter, what Diffusers' Cosmos 3 pipeline feeds its model."""

import pytest

from armillary.prompts import VIEWS, action_prompt, chat_text, negative_prompt, video_prompt
from armillary.tokenizers.text import train_tokenizer

pytest.importorskip("diffusers", reason="Diffusers is the oracle here: pip install -e '.[hf]'")
pytest.importorskip("transformers", reason="Transformers opens the tokenizer here: pip install -e '.[hf]'")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """Our tokenizer, and the same folder opened by Transformers."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("text_tokenizer")
    texts = [chat_text([{"role": "user", "content": action_prompt("go", frames=17, fps=10.0, height=256, width=256)}])]
    return train_tokenizer(texts * 3, folder, vocabulary=400), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def pipeline(tokenizers):
    """Diffusers' pipeline around our words. Its networks are as small as they can be: no prompt passes through them."""
    from diffusers import AutoencoderKLWan, Cosmos3OmniPipeline, Cosmos3OmniTransformer, UniPCMultistepScheduler

    transformer = Cosmos3OmniTransformer(
        head_dim=6, hidden_size=12, intermediate_size=24, num_attention_heads=2, num_key_value_heads=1,
        num_hidden_layers=1, latent_channel=2, latent_patch_size=1, patch_latent_dim=2, vocab_size=32,
        rope_scaling={"mrope_section": [1, 1, 1]},
    )  # fmt: skip
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=2, dim_mult=[1, 1], num_res_blocks=1, temperal_downsample=[False],
        latents_mean=[0.0, 0.0], latents_std=[1.0, 1.0],
    )  # fmt: skip
    return Cosmos3OmniPipeline(
        transformer=transformer, text_tokenizer=tokenizers[1], vae=vae, scheduler=UniPCMultistepScheduler(),
        enable_safety_checker=False, default_use_system_prompt=False,
    )  # fmt: skip


@pytest.mark.parametrize("view", [*VIEWS, None])
@pytest.mark.parametrize("task", ["push the block", "Stop!", "Is it red?", "put it down.", ""])
def test_action_prompts_are_theirs(pipeline, view, task):
    for frames, fps in ((17, 10.0), (2, 15), (61, 10), (1201, 20.0), (38, 15.0), (721, 10.0)):
        for height, width in ((256, 256), (192, 320), (320, 192), (256, 320), (320, 256)):
            size = {"fps": fps, "height": height, "width": width}
            theirs = pipeline._build_action_json_prompt(task, view_point=view, num_frames=frames, **size)
            assert action_prompt(task, frames=frames, view=view, **size) == theirs


@pytest.mark.parametrize("frames", [1, 17, 33])
@pytest.mark.parametrize("text", ["a red cube", "A red cube moves. Then it stops.", ""])
def test_prompt_ids_are_theirs_with_metadata_sentences(pipeline, tokenizers, frames, text):
    ours, _ = tokenizers
    size = {"fps": 10.0, "height": 128, "width": 128}
    given, unwanted = pipeline.tokenize_prompt(
        text, negative_prompt="blurry.", num_frames=frames, use_system_prompt=False, **size
    )
    assert ours.prompt_ids(video_prompt(text, frames=frames, **size)) == list(given)
    assert ours.prompt_ids(negative_prompt("blurry.", frames=frames, **size)) == list(unwanted)


def test_prompt_ids_of_actions_are_theirs(pipeline, tokenizers):
    ours, _ = tokenizers
    size = {"fps": 10.0, "height": 256, "width": 256}
    given, unwanted = pipeline.tokenize_prompt(
        "go left", num_frames=17, use_system_prompt=False, action_mode="policy", action_view_point="ego_view", **size
    )
    assert ours.prompt_ids(action_prompt("go left", frames=17, view="ego_view", **size)) == list(given)
    assert ours.prompt_ids("") == list(unwanted)


def test_the_chat_is_the_same_through_their_template(tokenizers):
    ours, theirs = tokenizers
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "what is it?"}]},
        {"role": "assistant", "content": "a cube"},
        {"role": "user", "content": [{"type": "video", "video": "a.mp4"}, {"type": "text", "text": "and now?"}]},
    ]
    for follows in (True, False):
        text = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=follows)
        assert text == chat_text(messages, answer_follows=follows)
        ids = theirs(text, add_special_tokens=False).input_ids
        assert ids == ours.chat_ids(messages, answer_follows=follows)


@pytest.mark.parametrize("text", ["Grüße, 你好 😀", "  two\n\n  lines ", "it's 1234 <think>no</think>", "<|im_end|>"])
def test_their_tokenizer_cuts_and_joins_as_ours(tokenizers, text):
    ours, theirs = tokenizers
    ids = ours.encode(text)
    assert theirs(text, add_special_tokens=False).input_ids == ids
    assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
