"""X-Request-Id: one id in the application, the response and the logs."""

import contextlib
import json
import os
import re
import signal

import httpx
import pytest
from harness import eventually, request, run
from harness.admin import Admin

MADE = re.compile(r"[0-9a-f]{32}")


@pytest.mark.parametrize("is_http2", [False, True])
def test_the_application_the_response_and_the_log_have_one_id(site, is_http2):
    served = site("protocol:app", {"request_id": True}, "--http2")
    with httpx.Client(http1=not is_http2, http2=is_http2, base_url=served.server.url) as client:
        made = client.get("/environ")
        taken = client.get("/environ", headers={"X-Request-Id": "from-the-proxy"})
        refused = client.get("/environ", headers={"X-Request-Id": "not an id"})
    responses = (made, taken, refused)
    ids = [response.headers["x-request-id"] for response in responses]
    assert ids[1] == "from-the-proxy"
    assert MADE.fullmatch(ids[0]) and MADE.fullmatch(ids[2]) and ids[0] != ids[2]
    assert [response.json()["HTTP_X_REQUEST_ID"] for response in responses] == ids
    lines = served.lines(3)
    assert [line["request_id"] for line in lines] == ids
    assert not any({"trace_id", "span_id", "queued_before"} & set(line) for line in lines)


def test_an_id_of_a_client_that_is_not_trusted_is_replaced(site):
    served = site("protocol:app", {"request_id": True}, "--forwarded-allow-ips", "192.0.2.1")
    response = served.server.get("/environ", "X-Request-Id: mine")
    id = json.loads(response.body)["HTTP_X_REQUEST_ID"]
    assert MADE.fullmatch(id) and response.all("X-Request-Id") == [id]


def test_answers_of_the_server_have_ids(site):
    served = site("hello:app", {"request_id": True})
    wire = served.server.connect()
    wire.send(b"GET / HTTP/1.1\r\nX-Request-Id: mine\r\n\r\n")
    response = wire.response()
    assert response.status == 400
    (id,) = response.all("X-Request-Id")
    assert MADE.fullmatch(id)
    (line,) = served.lines(1)
    assert (line["request_id"], line["status"]) == (id, 400)


def test_without_the_setting_the_field_is_the_clients(site):
    served = site("protocol:app", {})
    response = served.server.get("/environ", "X-Request-Id: mine")
    assert json.loads(response.body)["HTTP_X_REQUEST_ID"] == "mine"
    assert response.header("X-Request-Id") is None
    assert "request_id" not in served.lines(1)[0]


def test_ids_of_workers_differ(site):
    served = site("hello:app", {"request_id": True}, workers=3)
    ids = set()
    with contextlib.ExitStack() as stack:
        # Connections that are open at the same time go to several workers.
        wires = [stack.enter_context(served.server.connect()) for _ in range(12)]
        for _ in range(100):
            for wire in wires:
                wire.send(request())
            ids.update(wire.response().header("X-Request-Id") for wire in wires)
    pids = {line["pid"] for line in served.lines(1200)}
    assert len(ids) == 1200
    assert len(pids) > 1


def test_top_and_the_report_on_a_dead_worker_name_the_id(start, tmp_path):
    config = tmp_path / "identity.toml"
    config.write_text("request_id = true\nadmin_show = 'targets'\n")
    admin = Admin(start, tmp_path, "protocol:app", "--config", str(config), "--threads", "2")
    wire = admin.server.connect()
    wire.send(request("GET", "/streamed-through-a-gate?top", "X-Request-Id: held-request"))
    assert wire.head().status == 200
    shown = run("top", "--once", "--admin", admin.address)
    assert "GET /streamed-through-a-gate?top (id held-request)" in shown.stdout, shown
    (worker,) = admin.workers()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: "(id held-request)" in admin.server.errors, what="the report")
