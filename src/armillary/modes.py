"""The one table of tasks, and ``Asked``, the one request.

A task is only which tokens are given and which must be found. Training draws from this table,
sampling reads what to hide from it, the command line and the evaluation take their names from it.
A mode stands here only once it works.
"""

import difflib
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from armillary.errors import RequestError

Role = Literal["given", "hidden", "first", "none"]  # of a whole modality; first = the first latent frame is given


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """Which segments a task has, and which of them are given.

    ``video``: ``hidden`` (all to be found), ``first`` (the first latent frame is given), ``given`` (all given).
    ``action``: ``none``, ``given`` or ``hidden``. ``needs``: the fields of ``Asked`` without which it cannot run;
    ``takes``: more that it may be given, beside what every mode takes. ``source``: the given image is not the first
    frame but stands before it, an item of its own. ``apart``: only checkpoints that say so have learnt it (``learnt``
    in their ``defaults.json``, or an adapter's ``modes``). ``sounds``: what is to be found is the film's sound.
    ``history``: in place of the image it may be given a film of what came before, 4k+1 frames; the actions then lead
    from that film's first frame on.
    """

    name: str
    video: Role
    action: Role
    needs: tuple[str, ...]
    steps: int
    guidance: float
    shift: float
    sounds: bool = False
    frames: int = 17
    given_latent_frames: int = 1  # how many count as "first"
    also_last: bool = False
    takes: tuple[str, ...] = ()
    source: bool = False
    apart: bool = False
    history: bool = False

    @property
    def heeds_sound(self) -> bool:
        """Whether a sound is, or may be, given to this mode: what is then found is what that is heard in."""
        return "sound" in self.needs or "sound" in self.takes

    @property
    def may_sound(self) -> bool:
        """Whether a film of this mode can be asked for with sound (cosmos3.md 4.2)."""
        free = self.action == "none" and not self.also_last and "controls" not in self.needs
        return self.frames > 1 and free and not self.heeds_sound


MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode(
            name="text-to-image", video="hidden", action="none", needs=("prompt",), steps=20, guidance=3.0, shift=3.0,
            frames=1,
        ),
        Mode(
            name="image-edit", video="hidden", action="none", needs=("prompt", "image"), steps=20, guidance=3.0,
            shift=3.0, frames=1, source=True, apart=True,
        ),
        Mode(
            name="text-to-video", video="hidden", action="none", needs=("prompt",), steps=20, guidance=3.0, shift=3.0,
            takes=("steady", "acting"),
        ),
        Mode(
            name="image-to-video", video="first", action="none", needs=("image",), steps=20, guidance=3.0, shift=3.0,
            takes=("steady", "acting"),
        ),
        Mode(
            name="video-to-video", video="first", action="none", needs=("video",), steps=20, guidance=3.0, shift=3.0,
            given_latent_frames=2,
        ),
        Mode(
            name="first-last-frame", video="first", action="none", needs=("image", "last_image"), steps=20,
            guidance=3.0, shift=3.0, also_last=True,
        ),
        Mode(
            name="sound-to-video", video="first", action="none", needs=("image", "sound"), steps=20, guidance=3.0,
            shift=3.0, takes=("steady", "acting"), apart=True,
        ),
        Mode(
            name="forward-dynamics", video="first", action="given", needs=("image", "actions", "embodiment"),
            steps=10, guidance=1.0, shift=3.0, takes=("video", "steady", "state"), history=True,
        ),
        Mode(
            name="inverse-dynamics", video="given", action="hidden", needs=("video", "embodiment"),
            steps=10, guidance=1.0, shift=3.0, takes=("state",),
        ),
        Mode(
            name="policy", video="first", action="hidden", needs=("prompt", "image", "embodiment"),
            steps=10, guidance=1.0, shift=3.0, takes=("steady", "sound", "state"),
        ),
        Mode(
            name="video-to-sound", video="given", action="none", needs=("video",), steps=10, guidance=1.0, shift=3.0,
            apart=True, sounds=True,
        ),
        Mode(
            name="transfer", video="hidden", action="none", needs=("controls",), steps=35, guidance=3.0, shift=10.0,
            takes=("video", "given_frames", "control_weights", "control_guidance", "stretch", "overlap", "steady"),
            apart=True,
        ),
        Mode(name="reason", video="none", action="none", needs=("prompt",), steps=0, guidance=1.0, shift=1.0, frames=0),
    )
}  # fmt: skip

_SPELLINGS = {
    "t2i": "text-to-image", "text2image": "text-to-image",
    "i2i": "image-edit", "image2image": "image-edit", "edit": "image-edit",
    "t2v": "text-to-video", "text2video": "text-to-video", "text2world": "text-to-video",
    "i2v": "image-to-video", "image2video": "image-to-video", "image2world": "image-to-video",
    "v2v": "video-to-video", "video2video": "video-to-video", "video2world": "video-to-video",
    "flf2v": "first-last-frame", "first_last_frame": "first-last-frame",
    "s2v": "sound-to-video", "ts2v": "sound-to-video", "sound2video": "sound-to-video",
    "audio-image2video": "sound-to-video", "audio-to-video": "sound-to-video", "audio2video": "sound-to-video",
    "fd": "forward-dynamics", "id": "inverse-dynamics", "wam": "policy",
    "v2s": "video-to-sound", "video2sound": "video-to-sound", "foley": "video-to-sound",
    "video-transfer": "transfer",
    "reasoner": "reason", "ask": "reason",
}  # fmt: skip


class Asked(TypedDict, total=False):
    """One request. Absent means the mode's default; an unknown name is an error."""

    prompt: str
    upsample: Any  # write the prompt out first: True (the reasoner does), False, or the URL of a chat endpoint
    upsample_model: str  # which of the endpoint's models
    negative_prompt: str
    image: Any  # a path, a PIL image, or uint8 h w 3
    last_image: Any
    video: Any  # a path, or uint8 t h w 3; of forward dynamics: what came before, in place of the image
    actions: Any  # t-1 a, physical units of the embodiment, or a path to JSON
    sound: Any  # True: the film is to be heard, too, 48 kHz stereo; where a sound is given: a path, or float 2 s
    state: Any  # where the body is before its first action: a row of its actions' numbers, of bodies told where to be
    embodiment: str  # a name, or a path to a .toml file
    controls: Any  # kind -> a film (path, or uint8 t h w 3), or "auto": edge or blur of ``video``
    control_weights: Any  # kind -> its share where there are several, in the native dialect; 1 each
    control_guidance: float  # how strongly controls hold; 1 as they are seen
    given_frames: int  # how many of ``video``'s first frames a transfer begins with; none
    stretch: int  # frames of one walk of a transfer, 4k+1
    overlap: int  # frames that a stretch of a transfer shares with the one before
    frames: int  # 4k+1
    size: tuple[int, int]  # height, width in pixels, multiples of 32
    fps: float
    steps: int
    guidance: float
    guidance_between: tuple[float, float]  # the lowest and the highest level at which guidance is on; not exact
    reuse: float  # how much the first layer's share may change before the other layers are run anew; 0 is exact
    steady: float  # how unlike what stands still a film may be and is yet shown as its first picture has it; 0: never
    shift: float
    solver: Literal["unipc", "euler"]
    seed: int
    acting: str  # who does what the words tell, a body: planned first, then foreseen; or "none"
    adapter: str  # which of the checkpoint's adapters its generator wears, or "none"
    dialect: Literal["native", "diffusers"]  # where public implementations differ; native is how weights were trained
    outputs: tuple[str, ...]  # what to return: "video", "sound", "actions"
    latents: Any  # injected noise, for comparisons: modality -> tensor


def mode_named(name: str) -> Mode:
    """The mode of that name, in any of the field's spellings; ``RequestError`` otherwise."""
    plain = name.strip().lower().replace("_", "-")
    plain = _SPELLINGS.get(plain, _SPELLINGS.get(plain.replace("-", "_"), plain))
    if plain in MODES:
        return MODES[plain]
    near = difflib.get_close_matches(plain, MODES, n=1, cutoff=0.3)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise RequestError(f"mode {name!r} is unknown: it must be one of {', '.join(MODES)}.{hint}")


def check_asked(mode: Mode, asked: dict[str, Any]) -> None:
    """Raise ``RequestError`` for unknown names, and for what the mode needs and did not get."""
    fields = Asked.__annotations__
    for name in asked:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1, cutoff=0.0)
            raise RequestError(
                f"{name!r} is not a field of a request: known are {', '.join(fields)}. Nearest: {near[0]!r}."
            )
    has = {name for name, value in asked.items() if value is not None}
    if mode.history and {"image", "video"} <= has:
        raise RequestError(f"video has no use beside image, one of which {mode.name} begins with: give one of them.")
    missing = [
        name for name in mode.needs if name not in has and not (mode.history and name == "image" and "video" in has)
    ]
    if missing:
        raise RequestError(f"{mode.name} lacks {', '.join(missing)}: it needs {', '.join(mode.needs)}.")
