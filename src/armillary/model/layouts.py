"""The files beside the weights: how large the model is, in the words of the libraries that open it.

    transformer/config.json       Diffusers' Cosmos3OmniTransformer
    vision_encoder/config.json    Transformers' Qwen3VLVisionModel; Edge's eyes are described in the root file alone
    config.json                   Transformers' Cosmos3Omni* (Qwen style) or Cosmos3Edge*: the reasoner and its eyes
    model_index.json, scheduler/  Diffusers' Cosmos3OmniPipeline

``load_config`` reads them, of our own writing or of theirs (cosmos3.md 7.1, 8.1).
"""

import json
import os
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from armillary.errors import ArmillaryError, CheckpointError
from armillary.model.family import EDGE, NANO, Sampling
from armillary.model.sizes import ModelConfig, TowerConfig, VisionConfig

DIFFUSERS = "0.42.1"  # the release whose layout this is
EDGE_BACKBONE = "cosmos3_edge_nemotron_dense"
Json = dict[str, Any]


def load_config(folder: str | Path) -> ModelConfig:
    """The sizes of the checkpoint in ``folder``; ``CheckpointError`` if a file or a field is missing, or no number.

    A folder without ``transformer/`` holds the reasoner alone, as Transformers keeps it.
    """
    root = Path(folder)
    reasoner_only = not (root / "transformer").is_dir() and (root / "config.json").is_file()
    net = {} if reasoner_only else read_json(root / "transformer/config.json")
    top = read_json(root / "config.json")
    edge = top.get("model_type") == "cosmos3_edge"
    eyes_file = root / "vision_encoder/config.json"
    eyes = read_json(eyes_file) if eyes_file.is_file() or not (edge or reasoner_only) else top.get("vision_config", {})
    try:
        text = top["text_config"]
        tower = _tower_of_text(text, edge) if reasoner_only else _tower_of_net(net)
        vision = _siglip(eyes, top) if edge else _qwen(eyes)
        family = EDGE if edge else NANO
        found = ModelConfig(
            tower=tower,
            vision=vision,
            vocabulary=(text if reasoner_only else net)["vocab_size"],
            action_dim=net.get("action_dim") or family.action_dim,
            domains=net.get("num_embodiment_domains", family.domains),
            latent_channels=net.get("latent_channel", family.latent_channels),
            latent_patch=net.get("latent_patch_size", family.latent_patch),
            sound_dim=(net.get("sound_dim") or 0) if net.get("sound_gen", True) else 0,
            sound_rate=net.get("sound_latent_fps", family.sound_rate),
            base_fps=net.get("base_fps", family.base_fps),
            margin=net.get("unified_3d_mrope_temporal_modality_margin", family.margin),
            timestep_scale=net.get("timestep_scale", family.timestep_scale),
            max_positions=text.get("max_position_embeddings", family.max_positions),
            im_end=_first(text.get("eos_token_id", family.im_end)),
            vision_start=top.get("vision_start_token_id", family.vision_start),
            vision_end=top.get("vision_end_token_id", family.vision_end),
            image_pad=top.get("image_token_id", family.image_pad),
            video_pad=top.get("video_token_id", family.video_pad),
        )
    except KeyError as fault:
        raise CheckpointError(
            f"a config of {root} lacks the field {fault}: write the folder with save_model."
        ) from fault
    except ArmillaryError as wrong:
        raise CheckpointError(f"a config of {root}: {wrong}") from wrong
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as wrong:
        raise CheckpointError(
            f"a config of {root} holds what is no size ({wrong}): copy the checkpoint again."
        ) from wrong
    for part in (found, found.tower, found.vision):
        for one in fields(part):
            value = getattr(part, one.name)
            if one.type in (int, float) and not _is_size(value, whole=one.type is int):
                raise CheckpointError(
                    f"a config of {root} says {one.name}={value!r}, which is no size: copy the checkpoint again."
                )
    return found


def _tower_of_net(net: Json) -> TowerConfig:
    """From Diffusers' configuration; older published ones lack what came with Edge."""
    section = (net.get("rope_scaling") or {}).get("mrope_section", [24, 20, 20])
    return TowerConfig(
        layers=net["num_hidden_layers"],
        width=net["hidden_size"],
        heads=net["num_attention_heads"],
        kv_heads=net["num_key_value_heads"],
        head_width=net["head_dim"],
        mlp_width=net["intermediate_size"],
        eps=net["rms_norm_eps"],
        rope_theta=net["rope_theta"],
        rope_axes=tuple(net.get("rope_axes_dim") or section),
        mlp=net.get("hidden_act", "silu"),
        text_norms=net.get("qk_norm_for_text", True),
        memory_norms=net.get("use_und_k_norm_for_gen", False),
    )


def _tower_of_text(text: Json, edge: bool) -> TowerConfig:
    """From Transformers' configuration of the reasoner."""
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    like = (EDGE if edge else NANO).tower
    return TowerConfig(
        layers=text["num_hidden_layers"],
        width=text["hidden_size"],
        heads=text["num_attention_heads"],
        kv_heads=text["num_key_value_heads"],
        head_width=text.get("head_dim", like.head_width),
        mlp_width=text["intermediate_size"],
        eps=text.get("rms_norm_eps", like.eps),
        rope_theta=float(rope.get("rope_theta") or text.get("rope_theta") or like.rope_theta),
        rope_axes=tuple(rope.get("mrope_section", like.rope_axes)),
        mlp=like.mlp,
        text_norms=like.text_norms,
        memory_norms=like.memory_norms,
    )


def _qwen(eyes: Json) -> VisionConfig:
    return VisionConfig(
        depth=eyes["depth"],
        width=eyes["hidden_size"],
        heads=eyes["num_heads"],
        mlp_width=eyes["intermediate_size"],
        grid_side=round(eyes["num_position_embeddings"] ** 0.5),
        deepstack=tuple(eyes["deepstack_visual_indexes"]),
        patch=eyes["patch_size"],
        temporal_patch=eyes["temporal_patch_size"],
        merge=eyes["spatial_merge_size"],
    )


def _siglip(eyes: Json, top: Json) -> VisionConfig:
    like = EDGE.vision
    return VisionConfig(
        depth=eyes.get("num_hidden_layers", like.depth),
        width=eyes.get("hidden_size", like.width),
        heads=eyes.get("num_attention_heads", like.heads),
        mlp_width=eyes.get("intermediate_size", like.mlp_width),
        grid_side=round(eyes.get("num_patches", like.grid_side**2) ** 0.5),
        patch=_first(eyes.get("patch_size", like.patch)),
        temporal_patch=1,
        merge=eyes.get("spatial_merge_size", like.merge),
        kind="siglip",
        projector=top.get("projector_hidden_size", like.projector),
    )


def _is_size(value: Any, *, whole: bool) -> bool:
    return isinstance(value, (int, float)) and value >= 0 and (not whole or value == int(value))


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, (list, tuple)) else value)


def transformer_config(config: ModelConfig) -> Json:
    """``transformer/config.json``: every argument of Diffusers' constructor."""
    tower = config.tower
    fields: Json = {
        "_class_name": "Cosmos3OmniTransformer",
        "_diffusers_version": DIFFUSERS,
        "action_dim": config.action_dim,
        "action_gen": True,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "base_fps": config.base_fps,
        "enable_fps_modulation": True,
        "head_dim": tower.head_width,
        "hidden_act": tower.mlp,
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp_width,
        "latent_channel": config.latent_channels,
        "latent_patch_size": config.latent_patch,
        "num_attention_heads": tower.heads,
        "num_embodiment_domains": config.domains,
        "num_hidden_layers": tower.layers,
        "num_key_value_heads": tower.kv_heads,
        "patch_latent_dim": config.patch_numbers,
        "qk_norm_for_text": tower.text_norms,
        "rms_norm_eps": tower.eps,
        "rope_axes_dim": list(tower.rope_axes),
        "rope_scaling": {"mrope_section": list(tower.rope_axes)},
        "rope_theta": tower.rope_theta,
        "sound_dim": config.sound_dim or None,
        "sound_gen": bool(config.sound_dim),
        "sound_latent_fps": config.sound_rate,
        "timestep_scale": config.timestep_scale,
        "unified_3d_mrope_reset_spatial_ids": True,
        "unified_3d_mrope_temporal_modality_margin": config.margin,
        "use_und_k_norm_for_gen": tower.memory_norms,
        "vocab_size": config.vocabulary,
    }
    if tower.memory_norms:
        fields |= {"backbone_type": EDGE_BACKBONE, "temporal_compression_factor": config.tcf}
    return fields


def vision_config(config: ModelConfig) -> Json:
    """The eyes: Qwen3-VL's vision tower as in ``vision_encoder/config.json``, or Edge's as in the root file."""
    eyes = config.vision
    if eyes.kind == "siglip":
        return {
            "model_type": "cosmos3_edge_vision",
            "attention_dropout": 0.0,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": eyes.width,
            "intermediate_size": eyes.mlp_width,
            "layer_norm_eps": 1e-6,
            "num_attention_heads": eyes.heads,
            "num_channels": 3,
            "num_hidden_layers": eyes.depth,
            "num_patches": eyes.grid_side**2,
            "patch_size": eyes.patch,
            "spatial_merge_size": eyes.merge,
        }
    return {
        "architectures": ["Qwen3VLVisionModel"],
        "model_type": "qwen3_vl_vision",
        "deepstack_visual_indexes": list(eyes.deepstack),
        "depth": eyes.depth,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": eyes.width,
        "in_channels": 3,
        "initializer_range": 0.02,
        "intermediate_size": eyes.mlp_width,
        "num_heads": eyes.heads,
        "num_position_embeddings": eyes.grid_side**2,
        "out_hidden_size": config.tower.width,
        "patch_size": eyes.patch,
        "spatial_merge_size": eyes.merge,
        "temporal_patch_size": eyes.temporal_patch,
    }


def root_config(config: ModelConfig, dtype: torch.dtype) -> Json:
    """The root ``config.json``, from which Transformers opens the reasoner."""
    tower, edge = config.tower, config.vision.kind == "siglip"
    rope = {"rope_type": "default", "rope_theta": tower.rope_theta, "mrope_section": list(tower.rope_axes)}
    text: Json = {
        "model_type": "cosmos3_edge_text" if edge else "qwen3_vl_text",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": config.im_end,
        "head_dim": tower.head_width,
        "hidden_act": tower.mlp,
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp_width,
        "max_position_embeddings": config.max_positions,
        "num_attention_heads": tower.heads,
        "num_hidden_layers": tower.layers,
        "num_key_value_heads": tower.kv_heads,
        "rms_norm_eps": tower.eps,
        "rope_parameters": rope if edge else rope | {"mrope_interleaved": True},
        "vocab_size": config.vocabulary,
    }
    more: Json = {"projector_hidden_size": config.vision.projector} if edge else {}
    if edge:
        text |= {"mlp_bias": False, "bos_token_id": 1, "pad_token_id": 0}
    family = "Cosmos3Edge" if edge else "Cosmos3Omni"
    return more | {
        "architectures": [f"{family}ForConditionalGeneration"],
        "model_type": "cosmos3_edge" if edge else "cosmos3_omni",
        "dtype": str(dtype).removeprefix("torch."),
        "image_token_id": config.image_pad,
        "video_token_id": config.video_pad,
        "vision_start_token_id": config.vision_start,
        "vision_end_token_id": config.vision_end,
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": vision_config(config),
    }


def write_model_index(folder: str | Path, *, flow_shift: float = 3.0, sampling: Sampling | None = None) -> None:
    """Write ``model_index.json`` and ``scheduler/``, no system prompt; ``modular_model_index.json`` if distilled.

    ``sampling``: how the model is sampled (``family.py``); by default UniPC on the native grid with ``flow_shift``,
    as Edge.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    how = sampling or Sampling(shift=flow_shift)
    native = how.spacing == "native" and not how.levels
    scheduler = "FlowMatchEulerDiscreteScheduler" if how.levels else "UniPCMultistepScheduler"
    index: Json = {
        "_class_name": "Cosmos3OmniPipeline",
        "_diffusers_version": DIFFUSERS,
        "default_use_system_prompt": False,
        "enable_safety_checker": False,
        "use_native_flow_schedule": native,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", scheduler],
        "sound_tokenizer": [None, None],
        "text_tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "Cosmos3OmniTransformer"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    if native:
        index["native_flow_shift"] = how.shift
    if (root / "sound_tokenizer").is_dir():
        index["sound_tokenizer"] = ["diffusers", "Cosmos3AVAEAudioTokenizer"]
    write_json(root / "model_index.json", index)
    if how.levels:
        distilled = {"_class_name": "Cosmos3DistilledModularPipeline", "is_distilled": True}
        distilled |= {"_diffusers_version": DIFFUSERS, "distilled_sigmas": list(how.levels)}
        write_json(root / "modular_model_index.json", distilled)
    fresh_scheduler = fresh_folder(root / "scheduler")
    write_json(fresh_scheduler / "scheduler_config.json", _scheduler(scheduler, how))
    move_in(fresh_scheduler, root / "scheduler")


def _scheduler(name: str, how: Sampling) -> Json:
    """``scheduler_config.json``: UniPC through shifted or Karras levels, or the fixed steps of a distilled model."""
    known: Json = {"_class_name": name, "_diffusers_version": DIFFUSERS, "num_train_timesteps": 1000}
    if how.levels:
        fixed = {"t_list": list(how.levels), "sample_type": "sde"}
        return known | {"shift": 1.0, "stochastic_sampling": True, "fixed_step_sampler_config": fixed}
    karras = how.spacing == "karras"
    known |= {
        "final_sigmas_type": "zero",
        "flow_shift": how.shift,
        "predict_x0": True,
        "prediction_type": "flow_prediction",
        "solver_order": 2,
        "solver_type": "bh2",
        "timestep_spacing": "linspace",
        "use_flow_sigmas": True,
        "use_karras_sigmas": karras,
    }
    return known | ({"sigma_max": 200.0, "sigma_min": 0.147} if karras else {})


def fixed_steps(folder: Path) -> int:
    """To how many steps a checkpoint is distilled, by either file that may say so; 0 where none does."""
    beside, scheduler = folder / "modular_model_index.json", folder / "scheduler/scheduler_config.json"
    levels = read_json(beside).get("distilled_sigmas") if beside.is_file() else None
    if not levels and scheduler.is_file():
        levels = (read_json(scheduler).get("fixed_step_sampler_config") or {}).get("t_list")
    return sum(level > 0 for level in levels or ())


def read_json(path: Path) -> Json:
    """A file of a checkpoint; ``CheckpointError`` if it is not there or is no JSON object."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: a checkpoint folder has it; write the folder with save_model.")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as broken:
        raise CheckpointError(f"{path} is no JSON ({broken}): copy the checkpoint again.") from broken
    if not isinstance(told, dict):
        raise CheckpointError(f"{path} holds {type(told).__name__}, not an object: copy the checkpoint again.")
    return told


def write_json(path: Path, content: Json, *, compact: bool = False) -> None:
    """Write a file in one move; with ``compact`` in as few bytes as it takes, in the order given."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    how: Json = {"separators": (",", ":")} if compact else {"indent": 2, "sort_keys": True}
    fresh.write_text(json.dumps(content, **how) + "\n", encoding="utf-8")
    fresh.replace(path)


def fresh_folder(folder: Path) -> Path:
    """An empty folder beside the one that it will replace."""
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    return fresh


def move_in(fresh: Path, folder: Path) -> None:
    """Put ``fresh`` in the place of ``folder``; the old one goes only when the new one stands."""
    old = folder.with_name(f".{folder.name}.old.{os.getpid()}")
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
