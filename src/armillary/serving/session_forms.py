"""What clients say in a world session: how it begins, what is done in it, as ``realtime.py`` hears it."""

from typing import Literal

from pydantic import Field

from armillary.serving.forms import Strict

MOST_ACTIONS = 64


class Start(Strict):
    """How a session begins, or goes on."""

    type: Literal["session.start"]
    model: str | None = None
    session_id: str | None = None
    prompt: str = ""
    image: str | None = None
    embodiment: str | None = None
    format: Literal["m4s"] = "m4s"
    width: int | None = None
    height: int | None = None
    fps: float | None = Field(default=None, gt=0, le=60)
    num_frames: int | None = Field(default=None, ge=1, le=MOST_ACTIONS)
    history: int | None = Field(default=None, ge=1, description="frames that the model sees again, 4k+1; 1")
    steps: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, le=2**31)


class Actions(Strict):
    """Rows in the embodiment's units."""

    data: list[list[float]] = Field(min_length=1, max_length=MOST_ACTIONS)
    embodiment: str | None = None


class Pose(Strict):
    """+X right, +Y up, +Z forward; rotation as a quaternion x y z w."""

    translation: list[float] = Field(min_length=3, max_length=3)
    rotation: list[float] = Field(min_length=4, max_length=4)


class Camera(Strict):
    """A step of the camera for each frame, or the place that it is to reach, seen from where the session began."""

    mode: Literal["velocity", "target"]
    data: Pose


class MultiModal(Strict):
    """Actions, or a camera's way."""

    action: Actions | None = None
    camera: Camera | None = None


class Event(Strict):
    """What happens next: moves, or another prompt from now on, or both. With a prompt alone the body rests."""

    prompt: str | None = None
    multi_modal_data: MultiModal | None = None


class Interaction(Strict):
    """An event with a name, so that its answer can be told from others."""

    event_id: str = Field(default="", max_length=64)
    event: Event
    transition_chunks: int | None = Field(default=None, ge=1, le=MOST_ACTIONS, description="of a camera's way; 1")


class Message(Strict):
    """What a client says after it began."""

    type: Literal["session.interaction", "session.ping", "session.stop"]
    interaction: Interaction | None = None
