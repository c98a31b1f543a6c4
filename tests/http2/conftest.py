"""The server that the rules are checked on: cleartext HTTP/2 by prior knowledge."""

import pytest


@pytest.fixture(scope="module")
def server(shared):
    return shared("wire_app:app", "--http2", "--threads", "2")


@pytest.fixture(scope="module")
def echoing(shared):
    return shared("echoing:app", "--http2", "--threads", "2")
