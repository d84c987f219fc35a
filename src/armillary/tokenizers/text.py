"""Text tokens: a small byte-level BPE that speaks the Qwen chat format.

    "put the red cube ..."  --encode-->  [812, 291, ...]      any text, any script: the bytes are the alphabet
    chat turns              --chat_ids-->  <|im_start|> user ...

The folder that ``train_tokenizer`` writes is a Qwen2 tokenizer: Transformers' ``AutoTokenizer`` and Diffusers'
pipeline open it as it is. The pre-tokenizer, the special tokens and their meaning are Qwen's; only the
vocabulary is small. The specials come first, so that their ids never depend on the training text.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from armillary.errors import CheckpointError, ConfigError, RequestError
from armillary.prompts import CHAT_TEMPLATE, chat_text

LONGEST = 4096  # ids of a text that tokenizers made here are for
SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
MARKS = ("<think>", "</think>")  # one token each, yet part of the text: decoding keeps them

# How Qwen2 cuts text before merging: contractions, words with one leading sign, single digits, runs of signs, spaces.
CUTS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class TextTokenizer:
    """Text to ids and back. The special ids are attributes: ``im_start``, ``im_end``, ``vision_start`` and so on.

    ``longest``: of how many ids a text is at most, as the folder's ``model_max_length`` says; None where it says none.
    """

    def __init__(self, inner: Tokenizer, longest: int | None = None) -> None:
        self._inner, self.longest = inner, longest
        missing = [token for token in (*SPECIALS, *MARKS) if inner.token_to_id(token) is None]
        if missing:
            raise CheckpointError(f"the tokenizer lacks {', '.join(missing)}: it must be a Qwen-style tokenizer.")
        self.endoftext = self._id("<|endoftext|>")
        self.im_start = self._id("<|im_start|>")
        self.im_end = self._id("<|im_end|>")
        self.vision_start = self._id("<|vision_start|>")
        self.vision_end = self._id("<|vision_end|>")
        self.image_pad = self._id("<|image_pad|>")
        self.video_pad = self._id("<|video_pad|>")

    @classmethod
    def load(cls, folder: str | Path) -> "TextTokenizer":
        """From a folder with ``tokenizer.json``; ``CheckpointError`` if it is missing or broken."""
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(f"{folder} has no tokenizer.json: give the text_tokenizer folder of a checkpoint.")
        text = path.read_text(encoding="utf-8")
        try:
            json.loads(text)
        except json.JSONDecodeError as broken:
            raise CheckpointError(f"{path} is not JSON ({broken}): copy the checkpoint again.") from broken
        return cls(Tokenizer.from_str(text), _longest(path.with_name("tokenizer_config.json")))

    def __len__(self) -> int:
        return self._inner.get_vocab_size()

    def to_json(self) -> str:
        """What ``tokenizer.json`` holds."""
        return self._inner.to_str()

    def save(self, folder: str | Path) -> None:
        """Write the folder as ``train_tokenizer`` does."""
        _write_folder(self._inner, Path(folder))

    def encode(self, text: str) -> list[int]:
        """Ids of the text; special tokens written out in it count as themselves."""
        return self._inner.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """The text of the ids, special tokens left out unless asked for; broken characters become U+FFFD."""
        return self._inner.decode(list(ids), skip_special_tokens=not keep_special)

    def prompt_ids(self, text: str, system: str | None = None) -> list[int]:
        """What the generator's reasoner reads: the chat with the prompt, then <|im_end|> and <|vision_start|>.

        cosmos3.md 9.1. The two closing ids count as text: positions and memory include them.
        """
        messages = [] if system is None else [{"role": "system", "content": system}]
        messages.append({"role": "user", "content": text})
        return [*self.chat_ids(messages), self.im_end, self.vision_start]

    def chat_ids(self, messages: Sequence[Mapping[str, Any]], *, answer_follows: bool = True) -> list[int]:
        """Ids of chat turns (``prompts.chat_text``); with ``answer_follows`` the assistant is about to speak."""
        return self.encode(chat_text(messages, answer_follows=answer_follows))

    def _id(self, token: str) -> int:
        found = self._inner.token_to_id(token)
        if found is None:
            raise RequestError(f"the tokenizer has no token {token!r}.")
        return found


def train_tokenizer(texts: Iterable[str], folder: str | Path, vocabulary: int = 2048) -> TextTokenizer:
    """Learn merges from ``texts`` and write the folder; returns the tokenizer.

    The vocabulary is the 14 special tokens, the 256 bytes, and as many merges as fit. A short training text may
    give fewer merges; every text can still be written, since its bytes can. The result depends on nothing else:
    the same texts give the same file.
    """
    least = len(SPECIALS) + len(MARKS) + 256
    if vocabulary < least:
        raise ConfigError(f"vocabulary={vocabulary} is too small: special tokens and bytes alone take {least}.")
    inner = Tokenizer(models.BPE())
    inner.normalizer = normalizers.NFC()
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CUTS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*SPECIALS, *MARKS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    inner.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKS])
    _write_folder(inner, Path(folder))
    return TextTokenizer.load(folder)


def _longest(path: Path) -> int | None:
    """What a tokenizer's settings say of the longest text; None where they say nothing of use (some say 1e30)."""
    try:
        told = json.loads(path.read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError):
        return None
    return told if isinstance(told, int) and 0 < told < 2**31 else None


def _write_folder(inner: Tokenizer, folder: Path) -> None:
    """``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja``, as Transformers opens them."""
    folder.mkdir(parents=True, exist_ok=True)
    state = json.loads(inner.to_str())
    for added in state["added_tokens"]:
        added["special"] = added["content"] in SPECIALS
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "bos_token": None,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": LONGEST,
        "added_tokens_decoder": {
            str(added["id"]): {key: value for key, value in added.items() if key != "id"}
            for added in state["added_tokens"]
        },
        "extra_special_tokens": {
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_bos_token": "<|vision_start|>",
            "vision_eos_token": "<|vision_end|>",
        },
    }
    compact = json.dumps(state, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(compact, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
