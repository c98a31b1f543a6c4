"""Breaches of PEP 3333 are reported in the terminal while the application runs."""

import pytest
from harness.dev_site import Site
from lockgate.dev.options import Options

VIEWS = """
def flask(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [b"a"]
"""


@pytest.mark.parametrize("validate, count", [(True, 1), (False, 0)])
def test_a_breach_is_reported_once_with_its_place(start, tmp_path, validate, count):
    site = Site(start, tmp_path, VIEWS, Options(validate=validate))
    line = 1 + site.path.read_text().splitlines().index(VIEWS.splitlines()[2])
    for _ in range(2):
        assert site.server.get("/").status == 200
    errors = site.server.errors
    assert errors.count(f"{site.path}:{line}: error: the header Connection") == count
    assert errors.count("[hop-by-hop; PEP 3333, Other HTTP Features]") == count
