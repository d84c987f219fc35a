"""What a checkpoint takes where nobody says anything, read for a plan: sizes, steps, the usual film, how it paints.

a folder's configuration files, or a model of the family  --usual_of-->  Usual
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import armillary
from armillary.errors import ConfigError
from armillary.model.family import member
from armillary.model.layouts import fixed_steps, load_config, read_json
from armillary.model.sizes import ModelConfig
from armillary.modes import Mode
from armillary.tokenizers.published import AVAE, WAN22
from armillary.tokenizers.sound import SoundVAEConfig
from armillary.tokenizers.video import VideoVAEConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Painted:
    """How a picture is painted (``sampling/painting.py``): the bare place, then ``things``, ``tries`` times at most."""

    things: int
    steps: int = 4
    guidance: float = 1.0
    bare_steps: int = 20
    bare_guidance: float = 1.0
    tries: int = 1

    @property
    def looks(self) -> int:
        """How many pictures are decoded at most: every try that the reasoner looks at, else the last one alone."""
        return self.things * self.tries if self.tries > 1 else 1


@dataclass(frozen=True, kw_only=True)
class Usual:
    """``size`` height, width and ``frames`` of a film, ``chunk`` frames where there are actions. ``ears``: what it is
    heard with, None for nothing. ``fixed``: the steps of a distilled checkpoint, 0 for others. ``steps``: of a mode,
    where it takes others than the mode does. ``worn``: of a mode in which it wears an adapter where nobody asks for
    other steps or guidance, these (``sampling/adapters.py``). ``paints``: its ``painting``, None where it has not
    learnt to. ``acts``: in which modes words that tell a deed are acted out."""

    config: ModelConfig
    vae: VideoVAEConfig
    size: tuple[int, int]
    frames: int
    chunk: int
    fps: float
    fixed: int
    ears: SoundVAEConfig | None
    steps: Mapping[str, int] = field(default_factory=dict)
    worn: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    paints: Mapping[str, float] | None = None
    acts: tuple[str, ...] = ()

    def painted(self, mode: Mode, things: int | None) -> Painted | None:
        """How a request's ``things`` are painted, one of them where nobody says; None where they are not.

        ``ConfigError`` for things of a mode or a checkpoint that does not paint.
        """
        paints = self.paints if mode.name in ("text-to-image", "text-to-video") else None
        if things and paints is None:
            raise ConfigError(f"things={things}: {mode.name} of this checkpoint does not paint them. Leave it out.")
        if things is not None and things < 0:
            raise ConfigError(f"things={things}: give how many the words place, 0 for none.")
        if paints is None or things == 0:
            return None
        told = {name: paints[name] for name in Painted.__dataclass_fields__ if name in paints}
        return Painted(things=things or 1, **told)  # type: ignore[arg-type]

    def walk(self, mode: Mode, painted: Painted | None, asked: Mapping[str, Any]) -> tuple[int, float]:
        """Steps and guidance of a request: of each thing of a picture that is painted, else of its film or picture.

        ``ConfigError`` for others than those of a distilled checkpoint.
        """
        taken = {"steps": self.steps.get(mode.name, mode.steps), "guidance": mode.guidance}
        worn = self.worn.get(mode.name, {})
        if all(asked.get(name) in (None, one) for name, one in worn.items()):
            taken |= worn
        steps, guidance = taken["steps"], taken["guidance"]
        if painted is not None and mode.frames == 1:
            steps, guidance = painted.steps, painted.guidance
        if self.fixed:
            steps, guidance = self.fixed, 1.0
        own: dict[str, float] = {"steps": steps, "guidance": guidance}
        for name, usual in own.items():
            came = asked.get(name)
            if self.fixed and came not in (None, usual):
                raise ConfigError(
                    f"{name}={came}: this checkpoint is distilled to {self.fixed} steps. Leave {name} out."
                )
            own[name] = usual if came is None else came
        return int(own["steps"]), own["guidance"]


def usual_of(checkpoint: str | Path) -> Usual:
    """Of a bundled name, a folder, or a model of the family that is not here; ``ConfigError`` for anything else."""
    for folder in (Path(armillary.__file__).parent / "checkpoints" / checkpoint, Path(checkpoint)):
        if (folder / "transformer").is_dir():
            said = read_json(folder / "defaults.json") if (folder / "defaults.json").is_file() else {}
            config, ears, frames = load_config(folder), folder / "sound_tokenizer/config.json", said.get("frames", 17)
            return Usual(
                config=config,
                vae=VideoVAEConfig.from_dict(read_json(folder / "vae/config.json")),
                size=tuple(said.get("size", (128, 128))),
                frames=frames,
                chunk=frames,
                fps=said.get("fps", 10.0),
                fixed=fixed_steps(folder),
                ears=SoundVAEConfig.from_dict(read_json(ears)) if config.sound_dim and ears.is_file() else None,
                steps=said.get("steps", {}),
                worn=_worn(folder),
                paints=said.get("painting"),
                acts=tuple(said.get("acting", {}).get("modes", ())),
            )
    try:
        one = member(str(checkpoint))
    except ConfigError as unknown:
        raise ConfigError(f"{checkpoint} is no folder with transformer/ in it, and {unknown}") from unknown
    return Usual(
        config=one.config, vae=WAN22, size=(480, 832), frames=189, chunk=17, fps=24.0,
        fixed=len(one.sampling.levels), ears=AVAE if one.config.sound_dim else None,
    )  # fmt: skip


def _worn(checkpoint: Path) -> dict[str, dict[str, float]]:
    """Of each mode in which one of its adapters is worn unasked what that one takes; of two the first."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted((checkpoint / "adapters").glob("*/adapter.json")):
        told = read_json(path)
        modes, steps, guidance = told.get("modes"), told.get("steps"), told.get("guidance")
        each = steps if isinstance(steps, dict) else {}  # a number for each mode, or one for all of them
        numbers = [one for one in (*each.values(), guidance, None if each else steps) if one is not None]
        if not isinstance(modes, list) or not all(isinstance(one, int | float) for one in numbers):
            raise ConfigError(f"{path} cannot be read: it must say modes, a list, and may say steps and guidance.")
        for mode in map(str, modes):
            taken = {"steps": each.get(mode) if isinstance(steps, dict) else steps, "guidance": guidance}
            found.setdefault(mode, {name: one for name, one in taken.items() if one is not None})
    return found
