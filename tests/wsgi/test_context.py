"""Context variables: requests see those of the import, and none of each other's."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.requirements import require_module


@pytest.mark.parametrize("arguments", [["--threads", "1"], ["--threads", "4"], ["--preload"]])
def test_a_request_begins_with_what_the_import_has_left_and_leaves_nothing(start, arguments):
    server = start("contexts:app", "--log-level", "debug", *arguments)
    for _ in range(4):
        seen = json.loads(server.get("/").body)
        assert seen["found"] == {
            "text": "of the import",
            "number": 7,
            "pair": ["a", [1, None]],
            # It belongs to the thread that imported.
            "object": "nothing",
            "inner": "nothing",
            "of-request": "nothing",
        }
        assert seen["decimal"] == [50, "ROUND_DOWN"]
        assert seen["third"] == "0.333333334"
        assert seen["in body"] == "of a request"
    server.wait_for_log("requests do not see these context variables .*: object")


def test_requests_do_not_share_a_flask_context_that_the_import_has_pushed(start):
    require_module("flask")
    server = start("flask_at_import:app", "--threads", "4")
    with ThreadPoolExecutor(2) as pool:
        paths = [f"/?user={name}&beside" for name in ("ann", "bob")]
        bodies = [response.body for response in pool.map(server.get, paths)]
    assert bodies == [b"None ann", b"None bob"]
    assert server.get("/?user=eve").body == b"None eve"
