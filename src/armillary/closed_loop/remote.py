"""A policy that runs elsewhere: pictures and words go over a websocket, actions come back (openpi's protocol).

    Moment  --picture, words-->  ws://host:port  --actions h a-->  the first of them are done

``armillary serve`` is such a server; so are openpi's, and robots' own.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from armillary.errors import ConfigError, RequestError
from armillary.records import Array, Moment
from armillary.sampling.defaults import EXECUTE
from armillary.serving.wire import pack, unpack


class Remote:
    """A planner behind ``url``; of each chunk the first ``execute`` actions are done. Close it, or use a ``with``.

    ``camera``: whose picture is sent. ``metadata``: what the server says of itself. Raises ``ConfigError`` where nobody
    answers, ``RequestError`` for an answer that is no chunk of actions, or for the server's own complaint.
    """

    def __init__(self, url: str, *, camera: str, execute: int = EXECUTE, seconds: float = 60.0) -> None:
        self.url, self._camera, self._execute, self._seconds = url, camera, execute, seconds
        if execute < 1:
            raise ConfigError(f"execute={execute}: it must be at least 1.")
        try:
            self._socket = connect(url, open_timeout=seconds, max_size=None, compression=None)
            self.metadata: Any = unpack(self._received())
        except (OSError, WebSocketException, ValueError) as closed:
            if isinstance(closed, RequestError):
                raise
            raise ConfigError(
                f"no policy answers at {url} ({closed}): start one, for example with `armillary serve`."
            ) from closed

    def __call__(self, moments: Sequence[Moment], seeds: Sequence[int]) -> list[Array]:
        """The next actions of each moment, t a in physical units, asked one after the other."""
        return [self._asked(moment) for moment in moments]

    def __enter__(self) -> "Remote":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _asked(self, moment: Moment) -> Array:
        shown = {"observation/image": moment.frames[self._camera], "prompt": moment.instruction}
        try:
            self._socket.send(pack(shown))
            answer = unpack(self._received())
        except (OSError, WebSocketException) as lost:
            raise RequestError(f"the policy at {self.url} went away ({lost}): start it again.") from lost
        actions = answer.get("actions") if isinstance(answer, dict) else None
        if not isinstance(actions, np.ndarray) or actions.ndim != 2 or not len(actions):
            raise RequestError(f"the policy at {self.url} sent no actions of shape t a: is it a policy server?")
        return actions[: self._execute].astype(np.float64)

    def _received(self) -> bytes:
        message = self._socket.recv(timeout=self._seconds)
        if isinstance(message, str):  # openpi's servers complain in text
            raise RequestError(f"the policy at {self.url} says: {message.strip().splitlines()[-1][:300]}")
        return message
