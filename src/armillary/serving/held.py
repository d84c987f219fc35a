"""Controls in a body: a field for each kind, by the names of both, become the fields of ``Asked``.

    edge: true                                           made of the film that comes as video
    seg: "data:video/mp4;base64,..."                     a film or a picture: a data URL, an allowed URL, a file's id
    edge: {"control_path": ..., "control_weight": 2}     the same with how much it counts beside others
    edge: {"control_weight": 2}                          in a form, of the file that comes under the same name
    control_reference and control_type                   one control, as a file or named

They may stand beside the other fields or inside ``extra_params``. A path on this machine is never opened.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from armillary.controls import BLURS, CALLED, EDGES, KINDS
from armillary.modes import MODES
from armillary.serving.problems import bad

NAMES: Mapping[str, str] = {**{kind: kind for kind in KINDS}, **{called: kind for kind, called in CALLED.items()}}
REFERENCE = "control_reference"
FIELDS = (*NAMES, REFERENCE, "control_type")  # of a body
FILES = (*NAMES, REFERENCE)  # of those, what may come as a file
_STRENGTHS = {"edge": ("preset_edge_threshold", EDGES), "blur": ("preset_blur_strength", BLURS)}
_SOURCES = ("control_path", "control", "image_url", "video_url", "url", "file_id")
_FILE = object()  # in place of a value: what is meant came as a file
_MARK = "control "  # before a kind, in the names of a request's inputs


@dataclass(frozen=True, kw_only=True)
class Held:
    """``asked``: fields of ``Asked``. ``shown``: by kind, what the client called it and what it named; None: a file."""

    asked: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, tuple[str, Any]] = field(default_factory=dict)


def held_of(body: Any, files: Mapping[str, bytes]) -> Held:
    """What a body says of controls; a ``Problem`` where it says too much or cannot be meant."""
    beside = {name: value for name, value in body.model_dump().items() if name in FIELDS and value is not None}
    inside = {name: value for name, value in (body.extra_params or {}).items() if name in FIELDS and value is not None}
    told = [(name, name, value) for name, value in beside.items()]
    told += [(f"extra_params.{name}", name, value) for name, value in inside.items()]
    told += [(name, name, _FILE) for name in files if name in FILES]
    of_reference = next((str(value) for _, name, value in told if name == "control_type"), "")
    if of_reference and not any(name == REFERENCE for _, name, _ in told):
        raise bad("control_type names a kind without control_reference: give both.", "control_type")
    named = [(called, _kind(called, name, of_reference), value) for called, name, value in told
             if name != "control_type" and value is not False]  # fmt: skip
    files_of = {kind for _, kind, value in named if value is _FILE}
    found = Held()
    made: dict[str, str] = {}
    weights: dict[str, float] = {}
    for called, kind, value in named:
        if kind in files_of and isinstance(value, Mapping) and set(value) == {"control_weight"}:
            weights[kind] = value["control_weight"]  # of the file that comes beside
            continue
        if kind in made or kind in found.shown:
            raise bad(f"{called} gives {kind} a second time: give it once.", called, "conflict")
        source, weight = (None, None) if value is _FILE else _read(kind, called, value)
        if isinstance(source, str) and source.startswith("auto"):
            made[kind] = source
        else:
            found.shown[kind] = (called, source)
        if weight is not None:
            weights[kind] = weight
    found.asked.update({"controls": made} if made else {}, **({"control_weights": weights} if weights else {}))
    return found


def _kind(called: str, name: str, of_reference: str) -> str:
    """Of which kind a field is; ``control_type`` says it of ``control_reference``."""
    kind = NAMES.get(of_reference if name == REFERENCE else name, "")
    if not kind:
        raise bad(f"{called} is of no kind: say control_type, one of {', '.join(NAMES)}.", "control_type")
    return kind


def _read(kind: str, called: str, value: Any) -> tuple[Any, Any]:
    """What a control is made of, and how much it counts, None where that is not said."""
    if not isinstance(value, Mapping):
        return (_auto(kind, called, {}) if value is True else value), None
    preset = _STRENGTHS[kind][0] if kind in _STRENGTHS else None
    known = {*_SOURCES, "control_weight", *([preset] if preset else [])}
    if unknown := sorted(set(value) - known):
        raise bad(f"{called}.{unknown[0]} is not a field here: known are {', '.join(sorted(known))}.", called,
                  "unknown_field")  # fmt: skip
    named = [value[name] for name in _SOURCES if value.get(name) is not None]
    if len(named) > 1 or (named and preset in value):
        raise bad(f"{called} names {len(named)} films and a preset: give one of these.", called, "conflict")
    return (named[0] if named else _auto(kind, called, value)), value.get("control_weight")


def _auto(kind: str, called: str, value: Mapping[str, Any]) -> str:
    """A control that is made of the film."""
    if kind not in _STRENGTHS:
        raise bad(f"{called} cannot be made of a film alone, only edge and blur can: send its film.", called)
    name, presets = _STRENGTHS[kind]
    strength = str(value.get(name, "medium")).replace("_", " ")
    if strength not in presets:
        raise bad(f"{called}.{name}={strength!r} must be one of {', '.join(presets)}.", called, "invalid_value")
    return f"auto:{strength}"


def input_name(kind: str) -> str:
    """What a control's file is called among a request's inputs."""
    return _MARK + kind


def gathered(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A request in which the controls that came as inputs stand among the others, under their kinds."""
    came = {name.removeprefix(_MARK): value for name, value in fields.items() if name.startswith(_MARK)}
    rest = {name: value for name, value in fields.items() if not name.startswith(_MARK)}
    return {**rest, "controls": {**rest.get("controls", {}), **came}} if came else rest


def stood_in(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same where the inputs are stand-ins: nothing is made of these, the film itself stands for what would be."""
    found = gathered(fields)
    if "controls" in found and "video" in found:
        auto = [kind for kind, one in found["controls"].items() if isinstance(one, str)]
        found["controls"] = {**found["controls"], **dict.fromkeys(auto, found["video"])}
        if auto and not found.get("given_frames"):
            del found["video"]
    return found


def tells_length(request: Mapping[str, Any], name: str) -> bool:
    """Whether the film that comes as this input says how long the film is that is made, or is a part of that."""
    mode = MODES[request["mode"]]
    if "controls" in mode.needs:
        held = name.startswith(_MARK) or (name == "video" and "controls" in request)
        return held and request.get("frames") is None
    return name == "video" and (mode.video == "given" or mode.history)
