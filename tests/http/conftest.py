"""Servers shared by several test files; files that need other flags start their own."""

import pytest


@pytest.fixture(scope="module")
def server(shared):
    return shared("wire_app:app", "--threads", "2")


@pytest.fixture(scope="module")
def echoing(shared):
    return shared("echoing:app", "--threads", "2")
