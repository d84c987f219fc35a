"""The public object: one model that reads, reasons, imagines and acts.

    omni = armillary.load("pico")
    rollout = omni.imagine("policy", prompt="put the red cube on the left tray", image=frame, embodiment="tabletop")
    answer = omni.ask("Which block is nearest to the gripper?", image=frame)

``load`` opens a folder and loads nothing yet; each call loads the parts it needs. A request that cannot be
served raises an ``ArmillaryError`` before any weights are read.
"""

import difflib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack, overload

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import ConfigError, RequestError
from armillary.model.arithmetic import best_dtype, usable_device
from armillary.model.memory import Memory
from armillary.modes import Asked
from armillary.records import Array, Rollout
from armillary.sampling.adapters import ONWARDS, STATE, settle_adapter
from armillary.sampling.imagine import imagine_all, imagined_latents
from armillary.sampling.onwards import Onwards
from armillary.sampling.parts import Parts, best_device, find_checkpoint
from armillary.sampling.requests import Request, check_request
from armillary.sampling.speak import Manner, speak, speak_many
from armillary.sampling.upsampling import upsampled
from armillary.sampling.weigh import weigh

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def load(
    name_or_folder: str | Path = "pico",
    *,
    device: str | None = None,
    dtype: str | None = None,
    weights: str = "plain",
    offload: str = "none",
    compiled: bool = False,
    adapter: str | Path | None = None,
) -> "Omni":
    """Open a bundled model by name, or a checkpoint folder.

    ``device``: cpu or cuda, by default CUDA where there is one. ``dtype``: bfloat16 or float32, by default
    bfloat16 where the hardware multiplies it. ``weights``: int8 keeps the towers' matrices as whole numbers, which on
    a processor is faster and smaller, and not exact. ``offload``: towers or layers, whichever alone is then in memory
    while it works; slower, and exact. ``compiled``: words are said by compiled layers, which the first of them waits
    for, a few seconds or a quarter of a minute (``model/compiled.py``). ``adapter``: the folder of a LoRA adapter, as
    ``armillary train finetune --rank`` or PEFT writes it, which the generator wears (``adapters.py``); or the name of
    the checkpoint's only one that is worn where a request names none; or ``none``. Raises
    ``CheckpointError`` if there is no such checkpoint or adapter, ``ConfigError`` for a device, dtype, weights, offload
    or compiled that cannot be used.
    """
    folder = find_checkpoint(name_or_folder)
    place = best_device() if device is None else usable_device(device)
    if dtype is not None and dtype not in _DTYPES:
        near = difflib.get_close_matches(dtype, _DTYPES, n=1, cutoff=0.0)[0]
        raise ConfigError(f"dtype={dtype!r} is not computed in: take {' or '.join(_DTYPES)}; nearest is {near!r}.")
    kind = best_dtype(place) if dtype is None else _DTYPES[dtype]
    return Omni(
        Parts(folder, device=place, dtype=kind, weights=weights, offload=offload, compiled=compiled, adapter=adapter)
    )


class UntrainedWarning(UserWarning):
    """A generator was asked that is not trained yet, or that does not say it has learnt the mode or the control."""


class Omni:
    """A checkpoint, opened. ``parts`` is what of it is loaded."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def __repr__(self) -> str:
        dtype = str(self.parts.dtype).removeprefix("torch.")
        return f"Omni({self.parts.folder.name!r}, {self.parts.device.type}, {dtype})"

    def imagine(
        self,
        mode: str,
        *,
        on_progress: Callable[[float], None] | None = None,
        cancel: Callable[[], bool] | None = None,
        **asked: Unpack[Asked],
    ) -> Rollout:
        """What the model says happens: one request in a mode of ``modes.MODES``, its fields as in ``modes.Asked``.

        ``on_progress`` is told the share that is done, 0 to 1, after each evaluation. ``cancel`` is asked before
        each; if it says True, ``CancelledError`` is raised. Raises ``RequestError`` for a request that cannot be.
        """
        return self.imagine_many([{"mode": mode, **asked}], on_progress=on_progress, cancel=cancel)[0]

    def imagine_many(
        self,
        requests: Sequence[Mapping[str, Any]],
        *,
        on_progress: Callable[[float], None] | None = None,
        cancel: Callable[[], bool] | None = None,
        on_look: Callable[[int, Array], None] | None = None,
    ) -> list[Rollout]:
        """Rollouts of many requests, in order: each a mapping of ``mode`` and the fields of ``imagine``.

        Requests of one layout run as one batch; a request gives the same in company as alone, to rounding.
        ``on_look`` is now and then shown what a film looks like so far: the request's number, frames uint8 t h w 3;
        it costs at most a sixth of the time. All are checked before any is begun. Warns (``UntrainedWarning``) where
        the checkpoint's makers say that its generator has not been trained, or do not say that it has learnt a mode
        or a control that not every one learns: what it imagines may then be noise.
        """
        checked = self._settled(requests)
        pictured = [i for i, request in enumerate(checked) if request.mode.name != "reason"]
        look = None if on_look is None else lambda number, film: on_look(pictured[number], film)
        imagined = imagine_all(
            self.parts, [checked[i] for i in pictured], on_progress=on_progress, cancel=cancel, on_look=look
        )
        found = dict(zip(pictured, imagined, strict=True))
        worded = [i for i in range(len(checked)) if i not in found]
        found |= dict(zip(worded, self._reasoned([checked[i] for i in worded]), strict=True))
        return [found[i] for i in range(len(checked))]

    def latents(self, requests: Sequence[Mapping[str, Any]]) -> Float[Tensor, "b z n y x"]:
        """The normalised latents of the films that ``imagine_many`` would decode, float32 on the CPU.

        Warns as it does; ``RequestError`` unless all requests have one layout and each is one film of one stretch.
        """
        return imagined_latents(self.parts, self._settled(requests))

    def onwards(self, **asked: Any) -> Onwards:
        """A film that goes on as actions come, four frames at a time: ``push`` says what follows (``onwards.py``).

        ``asked``: ``image``, ``embodiment`` and what else of ``modes.Asked`` forward dynamics takes, but no actions.
        Warns (``UntrainedWarning``) where the checkpoint's makers do not say that it has learnt this; raises
        ``RequestError``.
        """
        film = Onwards(self.parts, asked)
        if words := film.warning:
            warnings.warn(words, UntrainedWarning, stacklevel=2)
        return film

    @property
    def goes_on(self) -> bool:
        """Whether it has an adapter with which films go on (``onwards``), and none of somebody's own is before that."""
        worn = settle_adapter(ONWARDS, {}, self.parts.adapters)
        own = settle_adapter("forward-dynamics", {}, self.parts.adapters)
        return worn is not None and worn.has_learnt(ONWARDS) and (own is None or own is worn or not own.own)

    def ask(self, question: str, *, image: Any = None, video: Any = None, **how: Any) -> str:
        """The answer to a question, about a picture (path, Pillow image, uint8 h w 3) or a film (path, uint8 t h w 3).

        ``how``: longest, temperature, top_k, top_p, seed (``speak.Manner``); by default the likeliest words. Raises
        ``RequestError`` for a question without words, for what cannot be looked at, and for more than can be read.
        """
        return self.chat(_question(question, image=image, video=video), **how)

    def ask_many(self, questions: Sequence[str | Mapping[str, Any]], **how: Any) -> list[str]:
        """The answers to many questions, in order: each a string, or a mapping of ``question`` and what ``ask`` takes.

        They are answered together, which is faster, and each as it would be alone, to rounding. ``how`` holds for all.
        """
        chats, manners = [], []
        for number, asked in enumerate(questions):
            chat, fields = _turn(number, asked)
            chats.append(chat)
            manners.append(Manner.of({**how, **fields}))
        return speak_many(self.parts, chats, manners)

    def weigh(self, questions: Sequence[str | Mapping[str, Any]], answers: Sequence[str]) -> list[list[float]]:
        """How likely each of ``answers`` is for each question (written as for ``ask_many``): shares, 1 in all.

        ``RequestError`` as for ``ask``, for ways of speaking (nothing is said), and for fewer than two answers.
        """
        chats = []
        for number, asked in enumerate(questions):
            chat, others = _turn(number, asked)
            if others:
                raise RequestError(
                    f"question {number} has {min(others)!r}: beside words only image or video are weighed."
                )
            chats.append(chat)
        return weigh(self.parts, chats, answers).tolist()

    @overload
    def chat(self, messages: Sequence[Mapping[str, Any]], *, stream: Literal[False] = False, **how: Any) -> str: ...

    @overload
    def chat(self, messages: Sequence[Mapping[str, Any]], *, stream: Literal[True], **how: Any) -> Iterator[str]: ...

    def chat(self, messages: Sequence[Mapping[str, Any]], *, stream: bool = False, **how: Any) -> "str | Iterator[str]":
        """The assistant's reply to chat turns (``speak.py`` says how they are written); with ``stream`` in pieces."""
        pieces = speak(self.parts, messages, Manner.of(how))
        return pieces if stream else "".join(pieces)

    def upsample(self, prompt: str, /, mode: str = "text-to-image", **asked: Unpack[Asked]) -> str:
        """The longer words that ``imagine`` would take for these in a mode, with the other fields of the request.

        The reasoner writes them, or whom ``upsample`` names. ``RequestError`` if the checkpoint says nothing of how.
        """
        request = self._checked(0, {"upsample": True, **asked, "prompt": prompt, "mode": mode}, 1)
        return upsampled(self.parts, [request])[0].prompt

    def read(self, prompt: str) -> Memory:
        """The reasoner's keys and values of a prompt, as given: read once, kept, and shared by whoever asks again."""
        return self.parts.memory_of(prompt)

    def _settled(self, requests: Sequence[Mapping[str, Any]]) -> list[Request]:
        """The requests, checked and written out, after the warnings that their modes deserve."""
        checked = [self._checked(number, request, len(requests)) for number, request in enumerate(requests)]
        for words in self.doubts(checked):
            warnings.warn(words, UntrainedWarning, stacklevel=3)
        return upsampled(self.parts, checked)

    def doubts(self, requests: Sequence[Request]) -> list[str]:
        """Why what comes of these may not be what is asked, as the checkpoint's makers say: a sentence each."""
        defaults = self.parts.defaults
        told = [defaults.warning(one.mode, one.walk, one.adapter, one.left_off) for one in requests if one.schedule]
        told += [defaults.unlearnt(STATE, one.adapter) for one in requests if one.state is not None]
        told += [defaults.unheld(one.controlled.films, one.adapter) for one in requests if one.controlled is not None]
        return [words for words in dict.fromkeys(told) if words]

    def _checked(self, number: int, request: Mapping[str, Any], count: int) -> Request:
        asked = dict(request)
        mode = asked.pop("mode", None)
        if not isinstance(mode, str):
            raise RequestError(f"request {number} has no mode: give 'mode' beside its fields.")
        try:
            return check_request(mode, asked, self.parts.folder, self.parts.adapters)
        except RequestError as wrong:
            raise wrong if count == 1 else RequestError(f"request {number}: {wrong}") from wrong

    def _reasoned(self, requests: Sequence[Request]) -> list[Rollout]:
        """Mode ``reason``: words about what is shown."""
        questions: list[Mapping[str, Any]] = []
        for request in requests:
            film = request.film
            shown = {} if film is None else {"image": film[0]} if len(film) == 1 else {"video": film}
            questions.append({"question": request.prompt, "seed": request.seed, **shown})
        return [
            Rollout(
                mode=request.mode.name, fps=request.fps, text=text, provenance=self.parts.provenance(request.record)
            )
            for request, text in zip(requests, self.ask_many(questions), strict=True)
        ]


def _turn(number: int, asked: str | Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One of many questions as a chat of one turn, and what else was given with it."""
    fields = {"question": asked} if isinstance(asked, str) else dict(asked)
    pictures = {name: fields.pop(name) for name in ("image", "video") if name in fields}
    return _question(fields.pop("question", None), called=f"question {number}", **pictures), fields


def _question(
    question: Any, *, called: str = "the question", image: Any = None, video: Any = None
) -> list[dict[str, Any]]:
    """A chat of one turn: what is shown, then the words."""
    if not isinstance(question, str) or not question.strip():
        raise RequestError(f"{called} has no words, it is {question!r}: give a text, such as 'What is red?'.")
    pictures = [{"type": k, k: v} for k, v in (("image", image), ("video", video)) if v is not None]
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": question}]}]
