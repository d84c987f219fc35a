"""An adapter for films and plans that begin with a picture and go with a sound (``training/by_sound.py``).

The bundled checkpoint has heard sounds beside films that were to be found with them, or to films that were given; what
a sound alone says of what is to come it has never been asked. The adapter learns that, and nothing else changes.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from armillary.embodiments import load_embodiment
from armillary.model import TwoTowers
from armillary.post_training.adapted import AdapterRun, train_adapter
from armillary.sampling.adapters import BY_SOUND
from armillary.sampling.parts import find_checkpoint
from armillary.sampling.solver import make_schedule
from armillary.tokenizers.sound import SoundVAE
from armillary.tokenizers.text import TextTokenizer
from armillary.training.by_sound import BySoundConfig, BySoundSource, load_sounding
from armillary.training.imagination import FlowConfig
from armillary.training.loop import Report
from armillary.training.made_from import check_tokenizers

FILM = "sound-to-video"


@dataclass(frozen=True, kw_only=True)
class BySoundRun(AdapterRun):
    """An adapter for ``sound-to-video``, in ``steps`` steps, and for the policy that heeds a sound.

    ``caches``: windows, ``sounds``: what is heard in them, a folder for each. ``embodiment``: who may wait before.
    """

    caches: tuple[Path, ...]
    sounds: tuple[Path, ...]
    steps: int = 4
    shift: float = 3.0
    embodiment: str = "tabletop"
    how: BySoundConfig = field(
        default_factory=lambda: BySoundConfig(plans=0.9, late=0.4, flow=FlowConfig(drop_prompt=0.0))
    )

    def start(self, report: Report = print) -> bool:
        """Learn, or go on; ``DataError`` for windows or sounds of another tokenizer, or windows without sounds,
        ``ConfigError`` where caches and sounds are not as many, else errors as for ``train_adapter``."""
        folder = find_checkpoint(self.origin)
        check_tokenizers(self.sounds, [folder / "sound_tokenizer"], SoundVAE.load)
        windows, heard = load_sounding(self.caches, self.sounds, [folder / "vae"])
        report(f"{len(windows)} windows, the sound of {int(heard.known.sum())} known, {int(heard.loud.sum())} sounding")
        levels = tuple(stop.level for stop in make_schedule(self.steps, self.shift).stops)
        body = load_embodiment(self.embodiment, folder)

        def source(model: TwoTowers, words: TextTokenizer) -> BySoundSource:
            return BySoundSource(model, words, windows, heard, replace(self.how, levels=levels), body=body)

        where = {"modes": [FILM, BY_SOUND], "steps": {FILM: self.steps}, "guidance": 1.0}
        return train_adapter(self, source, where, report)
