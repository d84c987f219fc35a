"""Logs on the standard error: one JSON object a line, whichever part of the server or of a library speaks."""

import json
import logging
from datetime import UTC, datetime


class Line(logging.Formatter):
    """What is an object already stays as it is; anything else becomes one."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if text.startswith("{"):
            return text
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"at": at, "level": record.levelname.lower(), "from": record.name, "message": text}
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told)


def begin() -> None:
    """From now on everything that is logged or warned of in this process is told so."""
    handler = logging.StreamHandler()
    handler.setFormatter(Line())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
