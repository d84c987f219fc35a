"""Pictures and films by URL: from hosts on the operator's list only, and never from inside his network.

The name is resolved once and the connection goes to the address that was checked, so that a name cannot change its
meaning in between. Every redirect is checked like the first URL. No credentials of ours are ever sent.
"""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit

import httpx

from armillary.serving.problems import Problem, bad
from armillary.serving.settings import Limits

MOST_REDIRECTS = 3
SECONDS = 20.0


class Fetcher:
    """Fetches by URL what the operator's list allows. ``resolve``: host and port to addresses (for tests)."""

    def __init__(self, hosts: Sequence[str], limits: Limits) -> None:
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts)
        self._limits = limits

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [str(entry[4][0]) for entry in found]

    async def fetch(self, url: str, field: str) -> bytes:
        """The bytes at ``url``; a ``Problem`` with code url_refused or url_failed otherwise."""
        until = time.monotonic() + SECONDS
        for _ in range(MOST_REDIRECTS + 1):
            host, port, address = await self._checked(url, field)
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    found = await self._get(url, host, port, address, field)
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as broken:
                raise bad(f"{field}: {host} did not give it ({type(broken).__name__}): send the bytes instead.",
                          field, "url_failed") from broken  # fmt: skip
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        raise bad(f"{field} is redirected more than {MOST_REDIRECTS} times: give the last URL.", field, "url_failed")

    async def _checked(self, url: str, field: str) -> tuple[str, int, str]:
        """Host, port and the one address to connect to."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as broken:
            raise bad(f"{field} is no URL ({broken}): give https://HOST/PATH.", field, "url_refused") from broken
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise bad(f"{field} must be an http(s) or data URL without a user: send the bytes.", field, "url_refused")
        if host not in self._hosts:
            allowed = f"allowed are {', '.join(sorted(self._hosts))}" if self._hosts else "no host is allowed here"
            raise bad(f"{field} names the host {host!r}: {allowed}. Send the bytes as a data URL or an upload.",
                      field, "url_refused")  # fmt: skip
        try:
            addresses = await self.resolve(host, port)
        except (OSError, UnicodeError) as unknown:
            raise bad(f"{field}: the host {host!r} has no address.", field, "url_failed") from unknown
        if not addresses or not all(_public(address) for address in addresses):
            raise bad(f"{field}: {host!r} leads to an address that is not public: send the bytes instead.",
                      field, "url_refused")  # fmt: skip
        return host, port, addresses[0]

    async def _get(self, url: str, host: str, port: int, address: str, field: str) -> bytes | str:
        """The body, or where it has gone."""
        parts = urlsplit(url)
        place = f"[{address}]" if ":" in address else address
        named = host if parts.port is None else f"{host}:{port}"
        target = httpx.URL(
            f"{parts.scheme}://{place}:{port}{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        )
        most = self._limits.body_mb * 2**20
        async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=SECONDS) as client:
            request = client.build_request("GET", target, headers={"Host": named, "Accept-Encoding": "identity"},
                                           extensions={"sni_hostname": host})  # fmt: skip
            answer = await client.send(request, stream=True)
            try:
                if answer.is_redirect:
                    return answer.headers.get("location", "")
                if answer.status_code != 200:
                    raise bad(f"{field}: {host} answered {answer.status_code}: check the URL.", field, "url_failed")
                whole = bytearray()
                async for piece in answer.aiter_raw():
                    whole += piece
                    if len(whole) > most:
                        raise Problem(413, "too_large", f"{field} is larger than {self._limits.body_mb} MiB.",
                                      param=field)  # fmt: skip
                return bytes(whole)
            finally:
                await answer.aclose()


def _public(address: str) -> bool:
    """Whether an address belongs to the open internet, also when it is an IPv4 address in IPv6 clothes."""
    found = ipaddress.ip_address(address.split("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None and not inner.is_global:
            return False
    return found.is_global and not found.is_multicast
