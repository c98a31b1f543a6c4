"""Servers that several files about HTTP ask; files that need other flags have their own."""

import pytest


@pytest.fixture(scope="module")
def server(shared):
    return shared("wire_app:app", "--threads", "2")


@pytest.fixture(scope="module")
def echoing(shared):
    return shared("echoing:app", "--threads", "2")
