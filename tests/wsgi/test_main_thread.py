"""Errors of applications that come from sync workers, and the log messages about them."""

import pytest


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/signal", "ValueError: signal only works in main thread"),
        ("/loop", "RuntimeError: There is no current event loop in thread"),
        ("/sqlite", "ProgrammingError: SQLite objects created in a thread"),
        ("/none", "KeyError: '/none'"),
    ],
)
def test_an_error_of_a_view_off_the_main_thread_has_a_hint(start, target, error):
    server = start("main_thread:app", "--threads", "1")
    assert server.get(target).status == 500
    server.wait_for_log(error)
    hint = "requests do not run on the main thread; docs/threads.md has the cure"
    assert (hint in server.errors) == (target != "/none")
