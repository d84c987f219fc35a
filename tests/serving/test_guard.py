"""Other sites' pages cannot use somebody's browser to ask a server, and a strange name does not lead to it."""

import pytest

from armillary.serving.guard import foreign


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "localhost", "127.0.0.1"])
def test_programs_and_the_server_s_own_page_may_ask(host):
    assert foreign({"host": host}, loopback=True) is None
    assert foreign({"host": host, "origin": f"http://{host}"}, loopback=True) is None


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "", "http://[bad"])
@pytest.mark.parametrize("loopback", [True, False])
def test_another_site_s_page_may_not(origin, loopback):
    wrong = foreign({"host": "127.0.0.1:8000", "origin": origin}, loopback=loopback)
    assert wrong is not None and (wrong.status, wrong.code) == (403, "foreign_origin")


def test_a_name_that_was_bent_to_this_machine_is_refused():
    wrong = foreign({"host": "evil.example:8000"}, loopback=True)
    assert wrong is not None and wrong.code == "foreign_host"
    assert foreign({"host": "models.example"}, loopback=False) is None
