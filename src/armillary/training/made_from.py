"""What a folder of latents was made from, kept beside them, so that latents of two tokenizers are not taken for one's.

    made_from.json    {"tokenizer": "4f0c...", "windows": "films"}    there before the first file

It holds what must be equal for files to lie beside each other, and no more: episodes, camera, body and how many windows
of each may differ. Of a tokenizer that is what its latents depend on (``latents_sha256``), not its decoder, which may
be taught anew for the same latents. Folders of earlier versions have no such file; they are read as they are.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from armillary.errors import ConfigError, DataError
from armillary.media import write_whole
from armillary.tokenizers.sound import SoundVAE
from armillary.tokenizers.video import VideoVAE

RECORD = "made_from.json"
SHOWN = 12  # letters of a hash in a sentence


def agree(folder: Path, made_from: Mapping[str, str]) -> None:
    """``ConfigError`` if the folder says that it was made from something else."""
    before = _said(folder)
    if changed := [name for name in made_from if before and before.get(name) != made_from[name]]:
        name = changed[0]
        raise ConfigError(
            f"{folder} was begun with {name} {before.get(name, '')[:SHOWN]!r}, now it is {made_from[name][:SHOWN]!r}: "
            "what was made otherwise cannot lie beside it, so go on with that or take another folder."
        )


def begin(folder: Path, made_from: Mapping[str, str], files: str = "*.safetensors") -> None:
    """Before a file is put into a folder: say what it is made from, or agree with what the folder says.

    ``ConfigError`` where ``files`` are there and nothing is said: nobody can tell whose they are, and a record that
    claims them would hide for good what it is there to show. What is complete needs no more files and is not asked.
    """
    there = any(folder.glob(files))  # looked at first: another process may write the record, and then a file, just now
    if (folder / RECORD).is_file():
        agree(folder, made_from)
    elif there:
        raise ConfigError(
            f"{folder} holds files of an earlier version, which do not say what they were made from, so nothing can be "
            "put beside them: take another folder, or delete them and make all anew."
        )
    else:
        text = json.dumps(dict(made_from), indent=1) + "\n"
        write_whole(folder / RECORD, lambda draft: draft.write_text(text, encoding="utf-8"))


def check_tokenizers(
    folders: Iterable[Path],
    given: Sequence[Path] = (),
    load: Callable[[Path], VideoVAE | SoundVAE] = VideoVAE.load,
) -> None:
    """``DataError`` for folders that say they are of another tokenizer than those ``given``, any of which is right;
    where none is given, of another than one of the other folders says. Tokenizers are opened when somebody asks."""
    said = {folder: own for folder in folders if (own := _said(folder).get("tokenizer"))}
    right = [] if given else list(said.values())[:1]
    for tokenizer in given:
        if not set(said.values()) <= set(right):
            right.append(load(tokenizer).latents_sha256)
    for folder, own in said.items():
        if own not in right:
            other = given[0] if given else next(iter(said))
            raise DataError(
                f"{folder} is of the tokenizer {own[:SHOWN]}, {other} of {right[0][:SHOWN]}: latents that are learnt "
                "together must be of one, whoever decodes them; give the one they were made with, or make them anew."
            )


def _said(folder: Path) -> dict[str, str]:
    """What a folder says it was made from; nothing if it does not say."""
    path = folder / RECORD
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}
