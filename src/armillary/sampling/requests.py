"""What was asked, checked: everything that can be wrong with a request is found here, before any weights load.

    Asked (names and values)  --check_request-->  Request (every value settled, pictures at their size)

A wrong request raises ``RequestError``, one sentence: what came, what must hold, what would do. The settled
values, with hashes in place of pictures, are kept as ``Request.record`` and travel with the rollout.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.embodiments import Embodiment
from armillary.errors import RequestError
from armillary.modes import MODES, Asked, Mode, check_asked, mode_named
from armillary.prompts import Placed, places_in
from armillary.records import Array
from armillary.sampling.abilities import check_sound
from armillary.sampling.acting import OWN_WALK, rate_of, settle_acting, with_things
from armillary.sampling.adapters import BY_SOUND, NONE, Adapter, adapters_of, left_off, settle_adapter, walk_called
from armillary.sampling.bodies import actions_of, embodiment_of, state_of
from armillary.sampling.controlled import Controlled, check_controls
from armillary.sampling.defaults import Defaults
from armillary.sampling.dialects import Walking, settle
from armillary.sampling.hearing import given_sound
from armillary.sampling.lengths import FRAMES_A_LATENT, frames_of, heard_frames, history_of, size_of
from armillary.sampling.painting import Painting, check_painted, settle_painting
from armillary.sampling.pictures import film_from, fit_film, fit_picture, picture_from
from armillary.sampling.recorded import recorded
from armillary.sampling.shortcuts import EXACT, Shortcuts
from armillary.sampling.solver import Schedule, make_schedule
from armillary.sampling.templates import Upsampling, settle_upsampling
from armillary.sampling.values import noise_of, number, prompt_of, whole, words

_ALWAYS = {"prompt", "negative_prompt", "size", "fps", "steps", "guidance", "shift", "solver", "seed", "outputs"}
_ALWAYS |= {"frames", "latents", "dialect", "sound", "guidance_between", "reuse", "adapter"}
_ALWAYS |= {"upsample", "upsample_model"}
_TALK = {"prompt", "image", "video", "seed", "outputs"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """A checked request: nothing is absent that its mode needs.

    ``film`` uint8 t h w 3: the given frames at ``size`` (a picture is one frame). ``actions`` float32 t 64: given
    actions in model space. ``controlled``: what holds the film. ``frames``: how long the film is to be.
    ``negative_prompt``: None means that the walk without the prompt reads the empty string, as in training.
    ``dialect``, ``system``: see ``dialects.py``. ``source`` uint8 h w 3: the picture that is to be changed. ``sound``:
    the film is to be heard, too; ``listening``: how its sound walks once the film is made, None with it. ``hears``
    float32 2 s: the sound that is given, from where the film begins. ``state`` float32 64: where the body is before its
    first action, in model space. ``filmless``: actions are found beside the given picture alone.
    ``upsampling``: what is to be done with the prompt before. ``painting``: how things that the prompt places are
    painted. ``steady``: how unlike what stands still a film may be and is yet shown as given (``steady.py``); 0 shows
    all of it as decoded. ``adapter``: what the generator wears; ``left_off``: why not one that has learnt the mode.
    ``acted``: the requests by which a film's words are planned and foreseen (``acting.py``), None where it walks by
    itself; pictures, seeds and actions are still to come. ``record``: all of it as plain data.
    """

    mode: Mode
    prompt: str
    negative_prompt: str | None
    frames: int
    size: tuple[int, int]
    fps: float
    guidance: float
    schedule: Schedule | None
    seed: int
    outputs: tuple[str, ...]
    film: Array | None = None
    last_image: Array | None = None
    source: Array | None = None
    sound: bool = False
    listening: Schedule | None = None
    hears: NDArray[np.float32] | None = None
    actions: NDArray[np.float32] | None = None
    state: NDArray[np.float32] | None = None
    embodiment: Embodiment | None = None
    controlled: Controlled | None = None
    dialect: str = "native"
    system: str | None = None
    shortcuts: Shortcuts = EXACT
    filmless: bool = False
    upsampling: Upsampling | None = None
    painting: Painting | None = None
    steady: float = 0.0
    adapter: Adapter | None = None
    left_off: str = ""
    acted: tuple["Request", "Request"] | None = None
    latents: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_actions(self) -> bool:
        return self.mode.action != "none"

    @property
    def walk(self) -> str:
        """What adapters call its walk, and what a checkpoint must have learnt for it."""
        return BY_SOUND if self.mode.action == "hidden" and self.hears is not None else self.mode.name

    @property
    def things(self) -> list[Placed]:
        """What is painted one after the other: things that the words place, where the checkpoint paints."""
        things = places_in(self.prompt) if self.painting is not None else []
        return sorted(things, key=lambda one: one.y)  # what is near hides what is far

    @property
    def may_paint(self) -> bool:
        """Whether it has things to paint, or may have once its prompt is written out."""
        return bool(self.things) or (self.painting is not None and self.upsampling is not None)

    @property
    def may_act(self) -> bool:
        """Whether its film begins with a picture, before which actions can be planned, or may once it is painted."""
        return self.mode.video == "first" or (self.frames > 1 and self.may_paint)

    @property
    def may_hold_still(self) -> bool:
        """Whether any stretch of its film begins with one given latent frame alone and is shown (``steady.py``)."""
        mode, several = self.mode, self.frames > self.mode.frames
        if self.acted is not None:
            return self.may_act
        if (held := self.controlled) is not None:
            begun = held.begins is not None and len(held.begins) <= FRAMES_A_LATENT
            return held.stretch > 1 and (begun or (several and 0 < held.overlap <= FRAMES_A_LATENT))
        if mode.frames == 1 or not (several or "video" in self.outputs or self.listening is not None):
            return False
        if mode.video == "hidden":
            return several or self.may_paint
        return mode.video == "first" and mode.given_latent_frames == 1 and not mode.also_last


def check_request(
    name: str, asked: Mapping[str, Any], folder: Path, adapters: Mapping[str, Adapter] | None = None
) -> Request:
    """The request that ``asked`` means in mode ``name``, for the checkpoint in ``folder``, which may wear one of
    ``adapters`` (None: its own); else ``RequestError``."""
    check_asked(mode := mode_named(name), dict(asked))
    given: Mapping[str, Any] = {key: value for key, value in asked.items() if value is not None}
    _refuse_unused(mode, given)
    defaults = Defaults.load(folder)
    given = with_things(mode, given, defaults.acting, defaults.painting, defaults.upsampling.get(mode.name))
    sound, hears = check_sound(mode, given, folder), given_sound(mode, given, folder)
    if mode.frames > 1:
        mode = replace(mode, frames=defaults.frames)  # longer films are made of stretches of this length
    embodiment = embodiment_of(given, folder)
    fps = number(given, "fps", rate_of(mode, given, folder, embodiment, defaults.fps), above=0.0, most=1000.0)
    size, actions = size_of(mode, given, defaults.size), actions_of(mode, given, embodiment)
    controlled = None
    if "controls" in mode.needs:
        controlled = check_controls(given, size, fps, defaults.frames if defaults.told else None)
        mode = replace(mode, frames=controlled.stretch, guidance=controlled.words)
    film, last_image = _pictures(mode, given, size, fps)
    mode = _begun(mode, film)
    frames = controlled.frames if controlled else frames_of(mode, heard_frames(mode, given, hears, fps), actions, film)
    adapters = adapters_of(folder) if adapters is None else adapters
    adapter = settle_adapter(walk := walk_called(mode, given), given, adapters)
    mode = defaults.walked(mode, embodiment.name if embodiment else "", adapter, walk)
    walking = _walking(mode, given, folder, picture=frames == 1)
    request = Request(
        mode=mode,
        prompt=prompt_of(mode, given, defaults.task if mode.action != "none" else ""),
        negative_prompt=_unwanted(given, walking),
        frames=frames,
        size=size,
        fps=fps,
        guidance=walking.guidance if walking else mode.guidance,
        schedule=walking.schedule if walking else None,
        dialect=walking.dialect if walking else "native",
        system=walking.system if walking else None,
        shortcuts=walking.shortcuts if walking else EXACT,
        seed=whole(given, "seed", 0, 0, 2**63 - 1),
        outputs=(),
        film=controlled.begins if controlled else None if mode.source else film,
        source=film[0] if mode.source and film is not None else None,
        sound=sound,
        hears=hears,
        last_image=last_image,
        controlled=_unguided(controlled) if walking and walking.distilled else controlled,
        actions=None if actions is None or embodiment is None else embodiment.encode(actions),
        state=state_of(given, embodiment),
        embodiment=embodiment,
        latents=noise_of(mode, given, frames),
        upsampling=settle_upsampling(mode, given, defaults.upsampling),
        painting=settle_painting(mode, given, defaults.painting),
        steady=number(given, "steady", _usually_steady(mode, given, defaults), least=0.0, most=1.0),
        adapter=adapter,
        left_off=left_off(walk, given, adapters, adapter),
    )
    acted = _acted(request, given, defaults, folder, adapters)
    request = replace(request, acted=acted, outputs=_outputs(mode, given, sound, acted is not None))
    return _finished(request, given, defaults, recorded(request, actions, walking))


def _begun(mode: Mode, film: Array | None) -> Mode:
    """The mode with as many given latent frames as what came before has, where it begins with a film of that."""
    if not mode.history or film is None or len(film) == 1:
        return mode
    return replace(mode, given_latent_frames=history_of(mode, len(film)))


def _acted(
    request: Request, given: Mapping[str, Any], defaults: Defaults, folder: Path, adapters: Mapping[str, Adapter]
) -> tuple[Request, Request] | None:
    """The requests for a plan and for what comes of it by which this film is made; None where it walks by itself.

    Nobody acts unasked where somebody's own adapter would be passed over, nor in films of another size than the usual.
    """
    own = request.adapter is not None and request.adapter.own
    mute = request.sound and _listening(request, defaults) is None
    usual = not (own or mute) and request.size == defaults.size
    found = settle_acting(request.mode, given, defaults.acting, folder, fps=request.fps, usual=usual)
    if found is None:
        return None
    body, told = found
    done = min(defaults.execute_of(body.name), defaults.frames - 1)
    one: dict[str, Any] = {
        "embodiment": body.name,
        "size": request.size,
        "image": np.zeros((*request.size, 3), np.uint8),
    }
    ahead = {"actions": [body.rest] * done, "steady": request.steady}
    heeds = {"prompt": told, "outputs": ("actions",)} | ({} if request.hears is None else {"sound": request.hears})
    try:
        plan = check_request("policy", {**one, **heeds}, folder, adapters)
        if words := defaults.unlearnt(plan.walk, plan.adapter) if request.hears is not None else "":
            raise RequestError(words)
        acted = plan, check_request("forward-dynamics", {**one, **ahead}, folder, adapters)
    except RequestError as wrong:
        if "acting" not in given:
            return None
        raise RequestError(f"acting={given['acting']!r} cannot be here: {wrong}") from wrong
    if mute:
        raise RequestError(
            f"sound has no use where {body.name} acts out the film's words, since this checkpoint cannot hear a film "
            f"that is made: leave it out, or say acting={NONE!r}."
        )
    if own and request.adapter not in [half.adapter for half in acted]:
        assert request.adapter is not None
        raise RequestError(
            f"acting={body.name!r} would pass over the adapter {request.adapter.name!r}, which is worn in "
            f"{request.mode.name}: say acting={NONE!r}, or open the checkpoint without it."
        )
    return acted


def _walking(mode: Mode, given: Mapping[str, Any], folder: Path, *, picture: bool) -> Walking | None:
    """The walk that is asked for, the mode's own where nobody says otherwise; None where nothing is walked."""
    guidance = number(given, "guidance", mode.guidance, most=100.0)
    shift = number(given, "shift", mode.shift, above=0.0, most=1000.0) if "shift" in given else None
    if mode.name == "reason":
        return None
    steps = whole(given, "steps", mode.steps, 1, 999)
    return settle(given, folder, steps=steps, guidance=guidance, shift=shift, usual_shift=mode.shift, picture=picture)


def _finished(request: Request, given: Mapping[str, Any], defaults: Defaults, record: dict[str, Any]) -> Request:
    """The request with what follows from the whole of it; ``RequestError`` for what nothing in it would heed."""
    if request.may_paint and request.frames == 1:
        check_painted(request.mode, given)
    if given.get("upsample") is False:
        record["upsample"] = False
    if "acting" in given or (request.acted is not None and "actions" in given.get("outputs", ())):
        record["acting"] = NONE if request.acted is None else request.acted[0].record["embodiment"]
    if request.adapter is not None or "adapter" in given:
        record["adapter"] = NONE if request.adapter is None else request.adapter.name
    alone, listening = _alone(request, defaults), _listening(request, defaults)
    request = replace(request, filmless=alone, listening=listening, record=record)
    if given.get("steady") and not request.may_hold_still:
        raise RequestError(
            f"steady={given['steady']:g} has no use in this {request.mode.name}: no stretch of it that is shown begins "
            "with one given picture alone, which could be held. Leave it out."
        )
    return retold(request)


def retold(request: Request) -> Request:
    """The request with what follows from its last words in its record; as it is where these are still to come."""
    if request.upsampling is not None:
        return request
    record, how = dict(request.record), request.painting
    if how is not None and request.things:
        record["painting"] = how.record()
        if request.frames == 1:  # nothing but things is walked, and their place
            record |= {"steps": how.steps, "guidance": how.guidance}
            record.pop("negative_prompt", None)
    if request.may_hold_still:
        record["steady"] = request.steady
    if request.acted is None:
        return replace(request, record=record)
    if not request.may_act:
        if "acting" in record:
            raise RequestError(
                f"acting={record['acting']!r} has no use in a film that begins with no picture, since its words place "
                "nothing that could be painted: say which things there are, or ask for neither acting nor actions."
            )
        outputs = tuple(name for name in request.outputs if name != "actions")
        return replace(request, acted=None, outputs=outputs, record=record | {"outputs": list(outputs)})
    plan, ahead = request.acted
    record = {name: one for name, one in record.items() if name not in OWN_WALK}
    steps = {one.mode.name: one.record["steps"] for one in request.acted}
    told: dict[str, Any] = {"prompt": plan.prompt, "steps": steps, "actions_a_plan": ahead.frames - 1}
    worn = {one.mode.name: one.adapter.told for one in request.acted if one.adapter is not None}
    record |= {"acting": ahead.record["embodiment"], "acted": told | ({"adapters": worn} if worn else {})}
    return replace(request, record=record)


def _unwanted(given: Mapping[str, Any], walking: Walking | None) -> str | None:
    """The negative prompt; None where there is none, and where an empty one would not be read."""
    negative = words(given, "negative_prompt", "") if "negative_prompt" in given else None
    if walking is None or walking.guidance != 1.0:
        return negative
    if negative:
        raise RequestError(
            f"negative_prompt={negative[:60]!r} has no use with guidance 1, which is none: leave it out, or give "
            "another guidance."
        )
    return None


def _usually_steady(mode: Mode, given: Mapping[str, Any], defaults: Defaults) -> float:
    """What the checkpoint takes where films begin with a picture; nothing where another implementation is repeated."""
    return defaults.steady if mode.frames > 1 and given.get("dialect", "native") == "native" else 0.0


def _alone(request: Request, defaults: Defaults) -> bool:
    """Whether actions are found without a film beside them."""
    usual = request.mode.name in defaults.filmless and request.dialect == "native" and "video" not in request.latents
    return usual and request.outputs == ("actions",) and request.frames <= request.mode.frames


def _listening(request: Request, defaults: Defaults) -> Schedule | None:
    """How the sound of a film is found after the film, by a checkpoint that has learnt that; else None."""
    apart = MODES["video-to-sound"]
    with_it = request.mode.sounds or not request.sound or request.dialect != "native" or "sound" in request.latents
    if with_it or apart.name not in defaults.learnt:
        return None
    return make_schedule(defaults.steps_of(apart), apart.shift)


def _unguided(controlled: Controlled | None) -> Controlled | None:
    """Controls as a distilled checkpoint holds to them: its weights have their guidance already."""
    return None if controlled is None else replace(controlled, guidance=1.0)


def offers(mode: Mode, *, sound: bool = False, acted: bool = False) -> tuple[str, ...]:
    """What the mode can return, in the order of a rollout's fields; ``sound``: whether it was asked for, ``acted``:
    whether somebody acts out its words, whose actions there are then, too."""
    if mode.name == "reason":
        return ("text",)
    roles = (
        ("video", mode.video),
        ("actions", "hidden" if acted else mode.action),
        ("sound", "hidden" if sound else "none"),
    )
    return tuple(name for name, role in roles if role in ("hidden", "first"))


def _refuse_unused(mode: Mode, given: Mapping[str, Any]) -> None:
    useful = _TALK if mode.name == "reason" else _ALWAYS | set(mode.needs) | set(mode.takes)
    useful = useful - {"dialect"} if mode.source else useful  # no public implementation edits
    for name in given:
        if name not in useful:
            takes = ", ".join(one for one in Asked.__annotations__ if one in useful)
            raise RequestError(f"{name} has no use in {mode.name}, which takes {takes}: leave it out.")


def _pictures(
    mode: Mode, given: Mapping[str, Any], size: tuple[int, int], fps: float
) -> tuple[Array | None, Array | None]:
    """The given frames at their size, and the last picture if the mode ends on one."""
    if mode.name == "reason":
        film = film_from(given["video"], "video", fps) if "video" in given else None
        return (picture_from(given["image"], "image")[None] if "image" in given else film), None
    if "video" in mode.needs:
        film = film_from(given["video"], "video", fps)
        least = 1 + FRAMES_A_LATENT * (mode.given_latent_frames - 1 if mode.video == "first" else 1)
        if len(film) < least:
            raise RequestError(f"video has {len(film)} frames at {fps:g} a second: {mode.name} needs at least {least}.")
        return fit_film(film if mode.video == "given" else film[:least], size), None
    if mode.history and "video" in given:
        return fit_film(film_from(given["video"], "video", fps), size), None
    film = fit_picture(picture_from(given["image"], "image"), size)[None] if "image" in mode.needs else None
    last = fit_picture(picture_from(given["last_image"], "last_image"), size) if mode.also_last else None
    return film, last


def _outputs(mode: Mode, given: Mapping[str, Any], sound: bool, acted: bool) -> tuple[str, ...]:
    known = offers(mode, sound=sound, acted=acted)
    outputs = given.get("outputs", known)
    outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    if not outputs or any(name not in known for name in outputs):
        raise RequestError(f"outputs={outputs}: {mode.name} returns {' and '.join(known)}; ask for at least one.")
    return outputs
