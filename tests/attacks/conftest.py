"""A well-behaved client, which no attack may affect."""

import pytest
from harness import allow_descriptors


@pytest.fixture
def alone(start):
    """Starts the least server there is, with one worker and one thread."""
    allow_descriptors(4096)

    def begin(*arguments, app="wire_app:app", **options):
        return start(app, "--threads", "1", *arguments, **options)

    return begin


@pytest.fixture
def still_serves():
    """Asks as a client that behaves, on connections of its own and on a kept one."""

    def ask(server, times=10):
        with server.connect() as kept:
            for _ in range(times):
                assert server.get("/fine").body == b"GET /fine "
                kept.send(b"GET /kept HTTP/1.1\r\nHost: lockgate.test\r\n\r\n")
                assert kept.response().body == b"GET /kept "

    return ask
