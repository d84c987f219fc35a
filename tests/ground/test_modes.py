"""The table of tasks, and the one request, keep their word."""

import pytest

from armillary.errors import ArmillaryError, RequestError
from armillary.modes import _SPELLINGS, MODES, Asked, check_asked, mode_named


@pytest.mark.parametrize("name", MODES)
def test_every_mode_answers_to_its_own_name_however_it_is_written(name):
    assert mode_named(name) is MODES[name]
    assert mode_named(name.upper().replace("-", "_")) is MODES[name]


@pytest.mark.parametrize("spelling", _SPELLINGS)
def test_the_fields_other_spellings_lead_to_a_mode(spelling):
    assert mode_named(spelling).name in MODES


@pytest.mark.parametrize("name", MODES)
def test_a_mode_needs_only_what_a_request_can_say(name):
    assert {*MODES[name].needs, *MODES[name].takes} <= set(Asked.__annotations__)


@pytest.mark.parametrize("name", [name for name, mode in MODES.items() if mode.video != "none"])
def test_frames_fit_the_four_to_one_of_the_video_tokenizer(name):
    assert MODES[name].frames % 4 == 1


@pytest.mark.parametrize("name", MODES)
def test_every_mode_but_reason_has_something_to_find(name):
    mode = MODES[name]
    found = mode.video in ("hidden", "first") or mode.action == "hidden" or mode.sounds
    assert found == (name != "reason")


def test_an_unknown_mode_names_the_nearest():
    with pytest.raises(RequestError, match="Did you mean 'policy'"):
        mode_named("polcy")


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(RequestError, match="Nearest: 'prompt'"):
        check_asked(mode_named("t2v"), {"prmpt": "a cube"})


def test_what_is_missing_is_named():
    with pytest.raises(RequestError, match="forward-dynamics lacks actions, embodiment"):
        check_asked(mode_named("forward-dynamics"), {"image": "a.png"})
    check_asked(mode_named("forward-dynamics"), {"image": "a.png", "actions": [[0.0]], "embodiment": "pusht"})


def test_every_error_is_a_value_error_with_its_own_code():
    kinds = ArmillaryError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds) >= 5
    assert all(issubclass(kind, ValueError) for kind in kinds)
