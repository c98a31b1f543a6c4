"""Servers of the uwsgi protocol."""

import pytest
from harness import free_port


@pytest.fixture(scope="module")
def uwsgi(shared):
    """Starts a server that lives as long as the module: uwsgi("module:app", "--flag")."""

    def begin(app, *arguments, **options):
        port = free_port()
        server = shared(app, *arguments, bind=[f"uwsgi://127.0.0.1:{port}"], **options)
        server.port, server.address = port, ("127.0.0.1", port)
        return server

    return begin
