"""URLs from strangers: only allowed hosts, never an address inside, not after DNS, not after a redirect."""

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from armillary.serving.fetch import Fetcher, _public
from armillary.serving.problems import Problem
from armillary.serving.settings import Limits

INSIDE = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
]  # fmt: skip


class Named(Fetcher):
    """A fetcher whose DNS is a table."""

    def __init__(self, names, hosts, limits=None):
        super().__init__(hosts, limits or Limits())
        self.names = names

    async def resolve(self, host, port):
        return self.names[host]


def refused(fetcher, url):
    with pytest.raises(Problem) as wrong:
        asyncio.run(fetcher.fetch(url, "image"))
    assert wrong.value.param == "image"
    return wrong.value.code


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside_are_not_public(address):
    assert not _public(address)
    assert refused(Named({"good.example": [address]}, ["good.example"]), "https://good.example/a.png") == "url_refused"


def test_one_bad_address_among_good_ones_is_enough():
    names = {"good.example": ["93.184.216.34", "10.0.0.1"]}
    assert refused(Named(names, ["good.example"]), "https://good.example/") == "url_refused"


@pytest.mark.parametrize(
    "url",
    ["https://other.example/", "https://good.example.evil.example/", "https://good.example@evil.example/",
     "https://user:pass@good.example/", "ftp://good.example/", "file:///etc/passwd", "gopher://good.example/",
     "http://[::1]/", "http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "https:///nothing", "good.example",
     "https://good.example:99999/", "http://[bad/", "", "javascript:alert(1)", "http://localhost/", "\x00"],
)  # fmt: skip
def test_everything_off_the_list_is_refused(url):
    assert refused(Named({}, ["good.example"]), url) == "url_refused"


def test_no_host_is_allowed_unless_told():
    assert refused(Named({}, []), "https://good.example/a.png") == "url_refused"


@pytest.fixture
def origin(monkeypatch):
    """A server on this machine that the fetcher takes for a public one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.headers["Host"].startswith("good.example")
            assert "Authorization" not in self.headers
            if self.path == "/a.png":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"\x89PNG")
            elif self.path == "/large":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"x" * (2**20 + 1))
            elif self.path == "/round":
                self.send_response(302)
                self.send_header("Location", "/round")
                self.end_headers()
            else:
                self.send_response(302)
                self.send_header("Location", self.path[1:])
                self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("armillary.serving.fetch._public", lambda address: address == "127.0.0.1")
    yield f"http://good.example:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_is_allowed_is_fetched_and_redirects_are_checked_again(origin):
    names = {"good.example": ["127.0.0.1"], "inside.example": ["10.0.0.1"]}
    fetcher = Named(names, ["good.example", "inside.example"], Limits(body_mb=1))
    assert asyncio.run(fetcher.fetch(f"{origin}/a.png", "image")) == b"\x89PNG"
    assert asyncio.run(fetcher.fetch(f"{origin}//a.png", "image")) == b"\x89PNG"
    assert refused(fetcher, f"{origin}/http://inside.example/") == "url_refused"
    assert refused(fetcher, f"{origin}/http://evil.example/") == "url_refused"
    assert refused(fetcher, f"{origin}/file:///etc/passwd") == "url_refused"
    assert refused(fetcher, f"{origin}/round") == "url_failed"
    assert refused(fetcher, f"{origin}/large") == "too_large"
