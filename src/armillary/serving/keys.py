"""Who may ask: API keys from the operator's file, compared without telling how near a guess was."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path

from armillary.errors import ConfigError
from armillary.serving.problems import Problem

NOBODY = "anonymous"
LINE = "NAME KEY [PRIORITY [QUOTA]]"
_LINE = re.compile(r"(\S+) (\S{16,})(?: (-?\d{1,6})(?: (\d{1,6}))?)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks. Jobs of higher priority go first; ``quota``: how many may wait or run, as for everybody if None."""

    name: str
    priority: int = 0
    quota: int | None = None


class Keys:
    """The keys of a file, kept as hashes; with no file everybody is the same caller."""

    def __init__(self, path: Path | None) -> None:
        self._callers: dict[bytes, Caller] = {}
        self.required = path is not None
        if path is None:
            return
        if not path.is_file():
            raise ConfigError(f"keys={str(path)!r} is no file: write one, a line each: {LINE}.")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            found = _LINE.fullmatch(" ".join(words))
            if found is None:
                raise ConfigError(
                    f"{path}, line {number}: write {LINE}, the key at least 16 characters, whole numbers."
                )
            name, key, priority, quota = found.groups()
            self._callers[_hash(key)] = Caller(name=name[:64], priority=int(priority or 0),
                                               quota=None if quota is None else int(quota))  # fmt: skip
        if not self._callers:
            raise ConfigError(f"{path} holds no key, so nobody could ask: write a line NAME KEY, or leave keys out.")

    def caller(self, authorization: str | None) -> Caller:
        """Who sent this ``Authorization`` header (Bearer or Api-Key); a 401 if nobody we know."""
        if not self.required:
            return Caller(name=NOBODY)
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() in ("bearer", "api-key") and key.strip():
            offered, found = _hash(key.strip()), None
            for known, caller in self._callers.items():
                if hmac.compare_digest(known, offered):
                    found = caller
            if found is not None:
                return found
        raise Problem(401, "invalid_api_key", "a key is needed: send Authorization: Bearer KEY, one the operator gave.")


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
