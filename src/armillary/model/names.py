"""What a tensor is called: one name inside this package, and the names under which other libraries keep it.

    ours, and Diffusers'     layers.3.self_attn.to_q.weight          vision_encoder: blocks.0.norm1.weight
    Transformers'            model.language_model.layers.3.self_attn.q_proj.weight       model.visual.blocks.0...
    the native framework's   net.language_model.model.layers.3.self_attn.q_proj.weight
    Edge's 56-block source   model.language_model.layers.6.mixer.q_proj.weight           block 2N + 1 is layer N's MLP

``canonical`` takes a name of any layout to ours; ``to_transformers`` and ``to_native`` are the ways back
(cosmos3.md 8.2-8.4).
"""

import re

TOWERS = ("reasoner", "generator", "vision")
_EYES = (
    "visual.", "blocks.", "merger.", "patch_embed.", "pos_embed.", "deepstack_merger_list.",
    "model.visual.", "model.projector.", "projector.",
)  # fmt: skip
_PORTS = ("proj_in.", "proj_out.", "time_embedder.", "action_", "audio_")
_GENERATOR = ("_moe_gen", ".add_q_proj", ".add_k_proj", ".add_v_proj", ".to_add_out", ".norm_added_", "_for_gen")
_SIGLIP = ("embeddings.", "encoder.", "post_layernorm.")

_NATIVE = {  # within a layer: native name -> ours
    "self_attn.q_proj_moe_gen.": "self_attn.add_q_proj.",
    "self_attn.k_proj_moe_gen.": "self_attn.add_k_proj.",
    "self_attn.v_proj_moe_gen.": "self_attn.add_v_proj.",
    "self_attn.o_proj_moe_gen.": "self_attn.to_add_out.",
    "self_attn.q_norm_moe_gen.": "self_attn.norm_added_q.",
    "self_attn.k_norm_moe_gen.": "self_attn.norm_added_k.",
    "self_attn.q_proj.": "self_attn.to_q.",
    "self_attn.k_proj.": "self_attn.to_k.",
    "self_attn.v_proj.": "self_attn.to_v.",
    "self_attn.o_proj.": "self_attn.to_out.",
    "self_attn.q_norm.": "self_attn.norm_q.",
    "self_attn.k_norm.": "self_attn.norm_k.",
}
_NATIVE_PORTS = {
    "vae2llm.": "proj_in.",
    "llm2vae.": "proj_out.",
    "time_embedder.mlp.0.": "time_embedder.linear_1.",
    "time_embedder.mlp.2.": "time_embedder.linear_2.",
    "action2llm.": "action_proj_in.",
    "llm2action.": "action_proj_out.",
    "sound2llm.": "audio_proj_in.",
    "llm2sound.": "audio_proj_out.",
    "sound_modality_embed": "audio_modality_embed",
}
_EDGE_MLP = {".mlp.fc1.": ".mlp.up_proj.", ".mlp.fc2.": ".mlp.down_proj."}
_PREFIXES = ("net.", "language_model.model.", "model.language_model.", "language_model.")


def tower_of(name: str) -> str:
    """Whose tensor that is, by its name in ``TwoTowers`` or in a checkpoint: reasoner, generator or vision."""
    plain = name.removeprefix("transformer.")
    if plain.startswith(_EYES):
        return "vision"
    return "generator" if plain.startswith(_PORTS) or any(mark in plain for mark in _GENERATOR) else "reasoner"


def canonical(name: str) -> str:
    """Our name of a tensor, from its name in any of the layouts; a name of no layout comes back as it is.

    Vision tensors are named as in ``vision_encoder/``: bare for the Qwen family, with ``model.`` before for Edge.
    """
    plain = name.removeprefix("net.").removeprefix("language_model.")
    for start in ("model.visual.", "visual."):
        if plain.startswith(start):
            inner = plain.removeprefix(start)
            return f"model.visual.{inner}" if inner.startswith(_SIGLIP) else inner
    if plain.startswith(("model.projector.", "projector.")):
        return f"model.projector.{plain.split('projector.', 1)[1]}"
    for prefix in _PREFIXES:
        plain = plain.removeprefix(prefix)
    plain = plain.removeprefix("model.") if plain.startswith(("model.layers.", "model.embed", "model.norm")) else plain
    plain = re.sub(r"^embeddings\.", "embed_tokens.", plain)
    plain = re.sub(r"^norm_f\.", "norm.", plain)
    plain = _unfolded(plain)
    for theirs, ours in (_NATIVE | _EDGE_MLP | _NATIVE_PORTS).items():
        at_start = theirs in _NATIVE_PORTS
        if plain.startswith(theirs) if at_start else theirs in plain:
            return plain.replace(theirs, ours, 1)
    return plain


def to_native(name: str) -> str:
    """The native framework's name of one of our tensors."""
    if tower_of(name) == "vision":
        return f"net.language_model.visual.{name.removeprefix('model.visual.')}"
    for theirs, ours in _NATIVE_PORTS.items():
        if name.startswith(ours):
            return f"net.{name.replace(ours, theirs, 1)}"
    if name.startswith("action_"):
        return f"net.{name}"
    for theirs, ours in _NATIVE.items():
        if ours in name:
            name = name.replace(ours, theirs, 1)
            break
    return f"net.language_model.{name}" if name.startswith("lm_head.") else f"net.language_model.model.{name}"


def to_transformers(name: str, *, edge: bool) -> str | None:
    """Transformers' name of one of our tensors, None for the generator's, which it does not have."""
    tower = tower_of(name)
    if tower == "generator":
        return None
    if tower == "vision":
        return name if edge else f"model.visual.{name}"
    if name.startswith("lm_head."):
        return name
    for theirs, ours in (_NATIVE | (_EDGE_MLP if edge else {})).items():
        if ours in name:
            name = name.replace(ours, theirs, 1)
            break
    return f"model.language_model.{name}"


def _unfolded(name: str) -> str:
    """Edge's source keeps attention and MLP as blocks of their own: block 2N and 2N + 1 of layer N."""
    found = re.fullmatch(r"layers\.(\d+)\.(norm|mixer)\.(.+)", name)
    if not found:
        return name
    block, kind, rest = int(found[1]), found[2], found[3]
    half = "mlp" if block % 2 else "self_attn"
    if kind == "norm":
        half = "post_attention_layernorm" if block % 2 else "input_layernorm"
    return f"layers.{block // 2}.{half}.{rest}"
