"""What a client is told when something cannot be: OpenAI's envelope, stable codes, which field, no traces.

{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}
"""

import re
from typing import Any

from armillary.errors import ArmillaryError, RefusedError

MOST_WORDS = 2_000  # of an answer: what a client sent is not sent back by the megabyte
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    411: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    500: "server_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
STATUSES = {  # of a job's code, when somebody waits for it on the line
    "refused": 400,
    "cancelled": 409,
    "deadline_exceeded": 504,
    "worker_lost": 503,
    "server_error": 500,
    "not_ready": 503,
}


class Problem(Exception):
    """An answer that is not what was asked for. ``code`` is stable for machines, ``param`` names the field."""

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param, self.retry_after = status, code, message, param, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """``Connection: close`` where the rest of the body is not worth waiting for."""
        told = {} if self.retry_after is None else {"Retry-After": str(max(1, round(self.retry_after)))}
        return {**told, "Connection": "close"} if self.status in (408, 413) else told

    def envelope(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        param = None if self.param is None else self.param[:MOST_WORDS]
        return {"error": {"message": self.message[:MOST_WORDS], "type": kind, "param": param, "code": self.code}}


def bad(message: str, param: str | None = None, code: str = "invalid_request") -> Problem:
    """A 400: what came cannot be."""
    return Problem(400, code, message, param=param)


def problem_of(error: ArmillaryError, names: dict[str, str] | None = None) -> Problem:
    """A mistake of the user's as an answer; ``names``: what the client called a field of ``Asked``."""
    code = "refused" if isinstance(error, RefusedError) else "invalid_request"
    message = str(error)
    if message.startswith("size="):  # height comes first in ``Asked``, width first in what clients write
        message = re.sub(r"(\d+)x(\d+)", r"\2x\1", message)
    param = field_named(message)
    return Problem(400, code, message, param=(names or {}).get(param, param) if param else None)


def field_named(message: str) -> str | None:
    """The field that one of our sentences begins with: ``steps=0 is no use`` or ``image cannot be used``."""
    found = re.match(r"(?:request \d+: )?'?(\w+)'?(?:=| (?:'.*?' )?(?:cannot|is|has|names|lacks|must)\b)", message)
    word = found.group(1) if found else None
    lacking = re.match(r"[\w-]+ lacks (\w+)", message)
    if lacking:
        return lacking.group(1)
    from armillary.modes import Asked

    return word if word in Asked.__annotations__ or (word and " is not a field" in message) else None


def of_job(code: str, message: str) -> Problem:
    """What became of a job, told to somebody who waited for it."""
    return Problem(STATUSES.get(code, 400), code, message)
