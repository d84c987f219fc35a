"""A checkpoint is a folder: written in one move, read with one complaint that names everything wrong.

    transformer/       both towers and the ports, opened unchanged by Diffusers' Cosmos3OmniTransformer
    vision_encoder/    the reasoner's eyes, named as Transformers' Qwen3VLVisionModel
    config.json, model.safetensors.index.json      let Transformers open the reasoner; no second copy of weights
    model_index.json, scheduler/                   let Diffusers' Cosmos3OmniPipeline open the whole

The VAE and the text tokenizer are written beside them by ``tokenizers/``. Weights are bfloat16 except the noise
level's embedder, which is fp32 everywhere (cosmos3.md 12.1). Layout: cosmos3.md 8.
"""

import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from armillary.errors import CheckpointError
from armillary.model.sizes import ModelConfig, TowerConfig, VisionConfig
from armillary.model.two_towers import TOWERS, TwoTowers, tower_of

DIFFUSERS = "0.42.1"  # the release whose layout this is
TRANSFORMER_FILE = "diffusion_pytorch_model.safetensors"
VISION_FILE = "model.safetensors"
Json = dict[str, Any]


def save_model(folder: str | Path, model: TwoTowers, *, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write both towers, the eyes and the files that let other libraries open them into ``folder``.

    Each part appears whole or not at all. Raises ``CheckpointError`` for a model loaded without some tower.
    """
    if missing := set(TOWERS) - model.towers:
        raise CheckpointError(
            f"this model was loaded without its {', '.join(sorted(missing))}: only a whole one is saved."
        )
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    parts = {
        "transformer": (model.transformer, TRANSFORMER_FILE, transformer_config(model.config)),
        "vision_encoder": (model.visual, VISION_FILE, vision_config(model.config)),
    }
    where: dict[str, str] = {}
    total = 0
    for name, (module, file, config) in parts.items():
        tensors = _stored(module, dtype)
        fresh = _fresh(root / name)
        save_file(tensors, fresh / file, metadata={"format": "pt"})
        _write_json(fresh / "config.json", config)
        _move_in(fresh, root / name)
        for key, tensor in tensors.items():
            if tower_of(key) != "generator":
                where[key] = f"{name}/{file}"
                total += tensor.numel() * tensor.element_size()
    _write_json(root / "config.json", root_config(model.config, dtype))
    _write_json(root / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})


def load_model(
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    towers: Collection[str] = TOWERS,
    device: str | torch.device = "cpu",
) -> TwoTowers:
    """Read a model from ``folder``, only the ``towers`` named: reasoner, generator, vision.

    A generator brings along the reasoner's layers, which make its memory, but not its head. Raises
    ``CheckpointError`` naming every tensor that is missing, unknown or of another shape.
    """
    if unknown := set(towers) - set(TOWERS):
        raise CheckpointError(f"towers {sorted(unknown)} are unknown: choose from {', '.join(TOWERS)}.")
    root = Path(folder)
    with torch.device("meta"):
        model = TwoTowers(load_config(root))
    model.towers = frozenset(towers)
    faults: list[str] = []
    for name, module in (("transformer", model.transformer), ("vision_encoder", model.visual)):
        wanted = [key for key, _ in module.named_parameters() if _wanted(key, model.towers)]
        _drop(module, wanted)
        if wanted:
            expected = {key: tuple(parameter.shape) for key, parameter in module.named_parameters()}
            tensors = _read_tensors(root / name, name, expected, model.towers, faults)
            for key, tensor in tensors.items():
                _place(module, key, tensor.to(device, torch.float32 if "time_embedder" in key else dtype))
    if faults:
        raise CheckpointError(f"{root} does not hold this model ({len(faults)} faults): {'; '.join(faults)}.")
    return model


def load_config(folder: str | Path) -> ModelConfig:
    """The sizes of the checkpoint in ``folder``; ``CheckpointError`` if a file or a field is missing."""
    root = Path(folder)
    net, eyes, top = (
        _read_json(root / name) for name in ("transformer/config.json", "vision_encoder/config.json", "config.json")
    )
    try:
        tower = TowerConfig(
            layers=net["num_hidden_layers"],
            width=net["hidden_size"],
            heads=net["num_attention_heads"],
            kv_heads=net["num_key_value_heads"],
            head_width=net["head_dim"],
            mlp_width=net["intermediate_size"],
            eps=net["rms_norm_eps"],
            rope_theta=net["rope_theta"],
            rope_axes=tuple(net["rope_axes_dim"]),
        )
        vision = VisionConfig(
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
        return ModelConfig(
            tower=tower,
            vision=vision,
            vocabulary=net["vocab_size"],
            action_dim=net["action_dim"],
            domains=net["num_embodiment_domains"],
            latent_channels=net["latent_channel"],
            latent_patch=net["latent_patch_size"],
            sound_dim=net["sound_dim"] or 0,
            sound_rate=net["sound_latent_fps"],
            base_fps=net["base_fps"],
            margin=net["unified_3d_mrope_temporal_modality_margin"],
            timestep_scale=net["timestep_scale"],
            max_positions=top["text_config"]["max_position_embeddings"],
            im_end=top["text_config"]["eos_token_id"],
            vision_start=top["vision_start_token_id"],
            vision_end=top["vision_end_token_id"],
            image_pad=top["image_token_id"],
            video_pad=top["video_token_id"],
        )
    except KeyError as fault:
        raise CheckpointError(
            f"a config of {root} lacks the field {fault}: write the folder with save_model."
        ) from fault


def transformer_config(config: ModelConfig) -> Json:
    """``transformer/config.json``: every argument of Diffusers' constructor."""
    tower = config.tower
    return {
        "_class_name": "Cosmos3OmniTransformer",
        "_diffusers_version": DIFFUSERS,
        "action_dim": config.action_dim,
        "action_gen": True,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "base_fps": config.base_fps,
        "enable_fps_modulation": True,
        "head_dim": tower.head_width,
        "hidden_act": "silu",
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp_width,
        "latent_channel": config.latent_channels,
        "latent_patch_size": config.latent_patch,
        "num_attention_heads": tower.heads,
        "num_embodiment_domains": config.domains,
        "num_hidden_layers": tower.layers,
        "num_key_value_heads": tower.kv_heads,
        "patch_latent_dim": config.patch_numbers,
        "qk_norm_for_text": True,
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
        "use_und_k_norm_for_gen": False,
        "vocab_size": config.vocabulary,
    }


def vision_config(config: ModelConfig) -> Json:
    """``vision_encoder/config.json``: a Qwen3-VL vision tower."""
    eyes = config.vision
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
    tower = config.tower
    text = {
        "model_type": "qwen3_vl_text",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": config.im_end,
        "head_dim": tower.head_width,
        "hidden_act": "silu",
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp_width,
        "max_position_embeddings": config.max_positions,
        "num_attention_heads": tower.heads,
        "num_hidden_layers": tower.layers,
        "num_key_value_heads": tower.kv_heads,
        "rms_norm_eps": tower.eps,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": tower.rope_theta,
            "mrope_section": list(tower.rope_axes),
            "mrope_interleaved": True,
        },
        "vocab_size": config.vocabulary,
    }
    return {
        "architectures": ["Cosmos3OmniForConditionalGeneration"],
        "model_type": "cosmos3_omni",
        "dtype": str(dtype).removeprefix("torch."),
        "image_token_id": config.image_pad,
        "video_token_id": config.video_pad,
        "vision_start_token_id": config.vision_start,
        "vision_end_token_id": config.vision_end,
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": vision_config(config),
    }


def write_model_index(folder: str | Path, *, flow_shift: float = 3.0) -> None:
    """Write ``model_index.json`` and ``scheduler/``: UniPC on the native flow grid, no system prompt (as Edge)."""
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    _write_json(
        root / "model_index.json",
        {
            "_class_name": "Cosmos3OmniPipeline",
            "_diffusers_version": DIFFUSERS,
            "default_use_system_prompt": False,
            "enable_safety_checker": False,
            "native_flow_shift": flow_shift,
            "use_native_flow_schedule": True,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "UniPCMultistepScheduler"],
            "sound_tokenizer": [None, None],
            "text_tokenizer": ["transformers", "Qwen2Tokenizer"],
            "transformer": ["diffusers", "Cosmos3OmniTransformer"],
            "vae": ["diffusers", "AutoencoderKLWan"],
        },
    )
    fresh = _fresh(root / "scheduler")
    scheduler = {
        "_class_name": "UniPCMultistepScheduler",
        "_diffusers_version": DIFFUSERS,
        "final_sigmas_type": "zero",
        "flow_shift": flow_shift,
        "num_train_timesteps": 1000,
        "predict_x0": True,
        "prediction_type": "flow_prediction",
        "solver_order": 2,
        "solver_type": "bh2",
        "timestep_spacing": "linspace",
        "use_flow_sigmas": True,
        "use_karras_sigmas": False,
    }
    _write_json(fresh / "scheduler_config.json", scheduler)
    _move_in(fresh, root / "scheduler")


def _stored(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors as they go to disk."""
    return {
        name: tensor.detach().to("cpu", torch.float32 if "time_embedder" in name else dtype).contiguous()
        for name, tensor in module.state_dict().items()
    }


def _wanted(name: str, towers: frozenset[str]) -> bool:
    if (tower := tower_of(name)) != "reasoner":
        return tower in towers
    if name in ("lm_head.weight", "norm.weight"):
        return "reasoner" in towers
    return bool(towers & {"reasoner", "generator"})


def _drop(module: nn.Module, wanted: Collection[str]) -> None:
    for name in [name for name, _ in module.named_parameters() if name not in set(wanted)]:
        path, _, leaf = name.rpartition(".")
        module.get_submodule(path).register_parameter(leaf, None)


def _place(module: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    module.get_submodule(path).register_parameter(leaf, nn.Parameter(tensor))


def _read_tensors(
    folder: Path, part: str, expected: dict[str, tuple[int, ...]], towers: frozenset[str], faults: list[str]
) -> dict[str, Tensor]:
    """The tensors of ``expected`` in a part's safetensors files; what is wrong is added to ``faults``."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} holds no .safetensors file: the checkpoint lacks its {part}.")
    found: dict[str, Tensor] = {}
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118, not a dict
                if name in expected:
                    shape = tuple(tensors.get_slice(name).get_shape())
                    if shape != expected[name]:
                        faults.append(f"{part}: {name} has shape {shape}, not {expected[name]}")
                    found[name] = tensors.get_tensor(name)
                elif _wanted(name, towers):
                    faults.append(f"{part}: {name} is unknown")
    faults.extend(f"{part}: {name} is missing" for name in expected if name not in found)
    return found


def _read_json(path: Path) -> Json:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: a checkpoint folder has it; write the folder with save_model.")
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, content: Json) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    fresh.replace(path)


def _fresh(folder: Path) -> Path:
    """An empty folder beside the one that it will replace."""
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    return fresh


def _move_in(fresh: Path, folder: Path) -> None:
    """Put ``fresh`` in the place of ``folder``; the old one goes only when the new one stands."""
    old = folder.with_name(f".{folder.name}.old.{os.getpid()}")
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
