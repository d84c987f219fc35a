"""Bodies of HTTP become the one request: every field of ``Asked``, and the field's other spellings of it.

    {"num_frames": 17, "size": "128x128", "extra_params": {"action_mode": "policy", ...}}  ->  mode, Asked, inputs

A field that nobody knows is refused, and so is one that would have no effect.
"""

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from armillary.modes import Asked
from armillary.serving.held import FIELDS, NAMES, REFERENCE
from armillary.serving.problems import Problem, bad

SPELLINGS = {  # of the field -> of Asked
    "num_frames": "frames",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "flow_shift": "shift",
    "action": "actions",
    "action_mode": "mode",
    "generate_sound": "sound",
    "domain_name": "embodiment",
    "raw_actions": "actions",
    "num_video_frames_per_chunk": "stretch",
    "num_conditional_frames": "overlap",
    "num_first_chunk_conditional_frames": "given_frames",
}
PICTURES = ("image", "last_image", "video")
SOUNDS = ("sound", "audio_reference")  # as a file or named: what is heard; ``sound`` alone may also be true or false
REFERENCES = ("input_reference", "image_reference", "video_reference")
NEUTRAL = {  # known to others, without effect here: only the value that asks for nothing is taken
    "enable_frame_interpolation": False,
    "guardrails": False,
    "show_input": False,
    "show_control_condition": False,
    "negative_metadata_mode": "inverse",
    "use_resolution_template": True,
    "use_duration_template": True,
    "emphasize_control_in_prompt": True,
    "share_vision_temporal_positions": True,
}
_BESIDE = ("model", "user", "deadline_seconds", "seconds", "width", "height")
_CHUNK = ("action_chunk_size", "raw_action_dim", "domain_id")  # Cosmos' words about actions
_UPSAMPLE = "whether the reasoner writes the prompt out first; by default as the checkpoint usually does"
_SOUND = (
    "true: the film is to be heard, too; of sound-to-video and policy: what is heard, a data URL, an allowed http(s) "
    "URL, or the id of an uploaded file"
)
_MUST = {  # of a kind of pydantic's errors: what must hold
    "too_short": "it must have at least {min_length}", "too_long": "it must have at most {max_length}",
    "string_too_short": "it must have at least {min_length} characters",
    "string_too_long": "it must have at most {max_length} characters",
    "string_pattern_mismatch": "it must be written another way", "string_type": "it must be text",
    "list_type": "it must be a list", "dict_type": "it must be an object", "model_type": "it must be an object",
    "model_attributes_type": "it must be an object", "tuple_type": "it must be a list",
    "bool_type": "it must be true or false", "bool_parsing": "it must be true or false",
    "int_type": "it must be a whole number", "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number", "float_type": "it must be a number",
    "float_parsing": "it must be a number", "finite_number": "it must be a finite number",
    "literal_error": "it must be {expected}", "greater_than": "it must be above {gt}",
    "greater_than_equal": "it must be at least {ge}", "less_than": "it must be below {lt}",
    "less_than_equal": "it must be at most {le}",
}  # fmt: skip
_SUCH = {  # of a field: what it may look like
    "size": "128x128", "actions": "[[0.01, 0, 0, 1, 0, 0, 0, 1, 0, 1]]", "state": "[256, 256]",
    "outputs": '["video"]', "guidance_between": "[0.2, 0.9]", "messages": '[{"role": "user", "content": "why?"}]',
}  # fmt: skip
_REFERENCE = "a data URL, an allowed http(s) URL, or the id of an uploaded file"


def _type_of(annotation: Any) -> Any:
    """The HTTP type of a field of ``Asked``; None for what has no plain form."""
    if annotation in (str, int, float, bool):
        return annotation | None
    if get_origin(annotation) is Literal:
        return annotation | None
    if get_origin(annotation) is tuple and (inner := get_args(annotation)[0]) in (str, float):
        return list[inner] | None  # type: ignore[valid-type]
    return None


def _fields() -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: (_type_of(kind), None) for name, kind in Asked.__annotations__.items() if _type_of(kind) is not None
    }
    fields["upsample"] = (bool | None, Field(default=None, description=_UPSAMPLE))
    fields["state"] = (list[float] | None, Field(default=None, description="where the body is: a row of its actions"))
    fields["sound"] = (bool | str | dict[str, Any] | None, Field(default=None, description=_SOUND))
    del fields["upsample_model"]  # whom else the words are sent to is nothing that a client may say
    for name in PICTURES:
        fields[name] = (str | dict[str, Any] | None, Field(default=None, description=_REFERENCE))
    for name in (*NAMES, REFERENCE):
        about = f"a control: true (edge and blur of the video), an object, or {_REFERENCE}"
        fields[name] = (bool | str | dict[str, Any] | None, Field(default=None, description=about))
    fields["control_type"] = (Literal[*NAMES] | None, Field(default=None, description="of control_reference"))
    fields["actions"] = (list[list[float]] | None, Field(default=None, description="rows in the embodiment's units"))
    fields["size"] = (
        str | None,
        Field(default=None, pattern=r"^\d{1,5}x\d{1,5}$", description="WIDTHxHEIGHT in pixels"),
    )
    return fields


class Strict(BaseModel):
    """A body in which nothing is ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


VideoBody: Any = create_model(
    "VideoBody",
    __base__=Strict,
    **_fields(),
    mode=(str | None, Field(default=None, description="a mode of /v1/models; by default told by what is given")),
    model=(str | None, None),
    seconds=(str | float | None, Field(default=None, description="how long; the number of frames becomes 4k+1")),
    width=(int | None, None),
    height=(int | None, None),
    num_frames=(int | None, None),
    num_inference_steps=(int | None, None),
    guidance_scale=(float | None, None),
    flow_shift=(float | None, None),
    generate_sound=(bool | None, Field(default=None, description="the film is to be heard, too")),
    input_reference=(str | dict[str, Any] | None, Field(default=None, description=_REFERENCE)),
    image_reference=(str | dict[str, Any] | None, None),
    video_reference=(str | dict[str, Any] | None, None),
    audio_reference=(str | dict[str, Any] | None, Field(default=None, description="what is heard, as sound")),
    user=(str | None, Field(default=None, max_length=256, description="kept in the audit log")),
    deadline_seconds=(float | None, Field(default=None, gt=0, description="fail rather than come later")),
    extra_params=(dict[str, Any] | None, Field(default=None, description="more of these fields, by Cosmos' names")),
)


class ImageBody(Strict):
    """What ``/v1/images/generations`` takes."""

    prompt: str
    model: str | None = None
    n: int = Field(default=1, ge=1, le=10)
    size: str | None = Field(default=None, pattern=r"^(\d{1,5}x\d{1,5}|auto)$")
    response_format: Literal["b64_json"] | None = None
    output_format: Literal["png", "jpeg", "jpg", "webp"] | None = None
    output_compression: int | None = Field(default=None, ge=0, le=100, description="quality, of jpeg and webp")
    user: str | None = Field(default=None, max_length=256)
    negative_prompt: str | None = None
    upsample: bool | None = Field(default=None, description=_UPSAMPLE)
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None


class EditBody(ImageBody):
    """What ``/v1/images/edits`` takes: one picture, as a file or named by one of these three."""

    image: str | dict[str, Any] | list[str | dict[str, Any]] | None = Field(default=None, description=_REFERENCE)
    images: list[str | dict[str, Any]] | None = Field(default=None, description=_REFERENCE)
    url: str | None = Field(default=None, description=_REFERENCE)

    def named(self) -> list[tuple[str, str | dict[str, Any]]]:
        """Every picture that is named, with the field that names it."""
        image = self.image if isinstance(self.image, list) else [self.image]
        told = [("image", one) for one in image] + [("images", one) for one in self.images or ()] + [("url", self.url)]
        return [(field, one) for field, one in told if one is not None]


class SoundBody(Strict):
    """What ``/v1/audio/generate`` takes."""

    input: str = Field(min_length=1, description="what happens, and what is to be heard")
    model: str | None = None
    response_format: Literal["wav", "flac", "mp3", "opus", "aac", "pcm"] = "wav"
    audio_length: float | None = Field(default=None, ge=0.01, le=3600, description="seconds")
    audio_start: float | None = Field(default=None, ge=0, le=0)
    speed: float | None = Field(default=None, ge=1, le=1)
    negative_prompt: str | None = None
    upsample: bool | None = Field(default=None, description=_UPSAMPLE)
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    user: str | None = Field(default=None, max_length=256)


def parsed(model: Any, data: Mapping[str, Any]) -> Any:
    """The body as ``model``; a 400 names the field, what came and what must hold."""
    for name, neutral in NEUTRAL.items():
        if name in data and name not in model.model_fields:
            if data[name] not in (neutral, str(neutral).lower()):
                raise bad(f"{name}={data[name]!r} has no effect with this model: leave it out.", name, "unsupported")
            data = {key: value for key, value in data.items() if key != name}
    try:
        return model.model_validate(data)
    except ValidationError as wrong:
        raise _told(wrong, list(model.model_fields)) from wrong
    except RecursionError as deep:
        raise bad("the body is nested too deeply: send plain fields.") from deep


def _told(wrong: ValidationError, known: list[str]) -> Problem:
    first = wrong.errors(include_url=False)[0]
    where = [str(part) for part in first["loc"]]
    name = where[0] if where else "body"
    if first["type"] == "extra_forbidden":
        path = ".".join(where)
        near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near and len(where) == 1 else ""
        return bad(f"{path!r} is not a field here: nothing is ignored, so leave it out.{hint}", path, "unknown_field")
    if first["type"] == "missing":
        return bad(f"{'.'.join(where)} is missing: it is needed.", ".".join(where), "missing_field")
    came = repr(first["input"])
    came = came if len(came) <= 80 else came[:77] + "..."
    return bad(f"{name}={came} cannot be: {plainly(first)}.", name, "invalid_value")


def plainly(wrong: Mapping[str, Any]) -> str:
    """What must hold where one of pydantic's errors came, and an example where there is one."""
    words = _MUST.get(wrong["type"])
    field = next((part for part in reversed(wrong["loc"]) if part in _SUCH), "")
    told = words.format(**wrong.get("ctx", {})) if words else wrong["msg"][0].lower() + wrong["msg"][1:]
    return f"{told}, such as {_SUCH[field]}" if field else told


def asked_of(body: Any) -> tuple[str | None, dict[str, Any], dict[str, str]]:
    """Mode (or None), fields of ``Asked`` without pictures, and what the client called each of them."""
    given = {key: value for key, value in body.model_dump().items() if value is not None}
    extra = _extra(given.pop("extra_params", {}))
    asked: dict[str, Any] = {}
    called: dict[str, str] = {}
    for source, prefix in ((given, ""), (extra, "extra_params.")):
        for name, value in source.items():
            plain = SPELLINGS.get(name, name)
            if name in (*PICTURES, *REFERENCES, *_CHUNK, *_BESIDE, *FIELDS) or _names_sound(name, value):
                continue
            if plain in asked and asked[plain] != value:
                raise bad(f"{prefix}{name} says {value!r}, but {called[plain]} says {asked[plain]!r}: give one.",
                          prefix + name, "conflict")  # fmt: skip
            asked[plain], called[plain] = value, prefix + name
    mode = asked.pop("mode", None)
    _size(given, asked, called)
    _length(given, extra, asked, called)
    return mode, asked, called


def _names_sound(name: str, value: Any) -> bool:
    """Whether a field names a sound, which is collected as pictures are, rather than saying that there is to be one."""
    return name in SOUNDS and not isinstance(value, bool)


def _extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The fields inside ``extra_params``, checked like those outside."""
    plain = {name: value for name, value in extra.items() if name not in _CHUNK}
    renamed = {SPELLINGS.get(name, name): value for name, value in plain.items() if name not in NEUTRAL}
    neutral = {name: value for name, value in plain.items() if name in NEUTRAL}
    for name in (*PICTURES, *REFERENCES, *SOUNDS, "extra_params", "model", "user"):
        if name in renamed and not isinstance(renamed[name], bool):
            raise bad(f"{name} stands inside extra_params: give it beside.", f"extra_params.{name}", "unknown_field")
    checked = parsed(VideoBody, {**renamed, **neutral}).model_dump()
    found = {name: checked[SPELLINGS.get(name, name)] for name in plain if name not in NEUTRAL}
    for name in _CHUNK:
        if name in extra:
            if not isinstance(extra[name], int) or isinstance(extra[name], bool):
                raise bad(f"extra_params.{name}={extra[name]!r} must be a whole number.", f"extra_params.{name}")
            found[name] = extra[name]
    return found


def _size(given: Mapping[str, Any], asked: dict[str, Any], called: dict[str, str]) -> None:
    """``size`` is (height, width) in ``Asked``, and WxH or two fields outside."""
    if "size" in asked:
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(asked["size"]))
        if found is None:
            raise bad(f"size={asked['size']!r} is no size: write WIDTHxHEIGHT, such as 128x128.", "size")
        asked["size"] = (int(found[2]), int(found[1]))
    if ("width" in given) != ("height" in given):
        raise bad("width and height go together: give both, or size.", "width" if "width" in given else "height")
    if "width" in given:
        both = (given["height"], given["width"])
        if asked.setdefault("size", both) != both:
            raise bad("width and height say something else than size: give one of the two.", "size", "conflict")
        called["size"] = "width"


def _length(given: Mapping[str, Any], extra: Mapping[str, Any], asked: dict[str, Any], called: dict[str, str]) -> None:
    if "action_chunk_size" in extra:
        frames = extra["action_chunk_size"] + 1
        if asked.setdefault("frames", frames) != frames:
            raise bad(f"action_chunk_size makes {frames} frames, but frames are {asked['frames']}: give one.",
                      "extra_params.action_chunk_size", "conflict")  # fmt: skip
        called["frames"] = "extra_params.action_chunk_size"
    for name in ("raw_action_dim", "domain_id"):
        if name in extra:
            asked[name] = extra[name]
    if "seconds" in given:
        try:
            asked["seconds"] = float(given["seconds"])
        except ValueError as wrong:
            raise bad(f"seconds={given['seconds']!r} is no number: give seconds, such as 2.", "seconds") from wrong
        if not 0 < asked["seconds"] <= 3600:
            raise bad(f"seconds={given['seconds']}: give more than 0 and at most 3600.", "seconds")


def from_form(fields: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a multipart form: those whose value is JSON are opened, the others stay text."""
    found: dict[str, Any] = dict(fields)
    opened = (
        "extra_params",
        "actions",
        "state",
        "outputs",
        "images",
        "guidance_between",
        *REFERENCES,
        *PICTURES,
        *SOUNDS,
    )
    for name in (*opened, *NAMES, REFERENCE):
        value = found.get(name)
        if (name in NAMES or name == "sound") and str(value).lower() in ("true", "false"):
            found[name] = str(value).lower() == "true"
        if isinstance(value, str) and value[:1] in "{[":
            try:
                found[name] = json.loads(value)
            except (json.JSONDecodeError, RecursionError) as wrong:
                raise bad(f"{name} is not JSON ({wrong}): write an object or a list.", name) from wrong
    return found
