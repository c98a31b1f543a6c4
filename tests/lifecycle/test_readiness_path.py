"""`readiness_path`: what a load balancer learns on the port that serves."""

import signal

from harness import eventually, request

READY = ("--readiness-path", "/readyz")


def asked(server, target="/readyz", method="GET"):
    response = server.get(target, method=method)
    return response.status, response.body


def test_a_server_is_ready_until_it_is_asked_to_stop_and_serves_on_during_the_delay(start):
    server = start("echoing:app", *READY, "--drain-delay", "1h", workers=2)
    assert asked(server) == (200, b"ready\n")
    assert server.get("/readyz").header("Cache-Control") == "no-store"
    server.signal(signal.SIGTERM)
    eventually(lambda: asked(server) == (503, b"draining\n"), what="503")
    # Of each worker, and nothing else has changed.
    assert {asked(server)[0] for _ in range(20)} == {503}
    assert server.get("/").status == 200
    server.signal(signal.SIGINT)  # skips the rest of the delay
    assert server.wait() == 0


def test_a_busy_server_is_ready(start, tmp_path):
    server = start("gates:app", *READY, "--threads", "2")
    gates = [tmp_path / f"gate{number}" for number in range(2)]
    wires = [server.connect() for _ in gates]
    for gate, wire in zip(gates, wires, strict=True):
        wire.send(request("GET", f"/hold?{gate}"))
        eventually(gate.with_name(gate.name + ".started").exists, what="the call")
    assert asked(server) == (200, b"ready\n")
    for gate, wire in zip(gates, wires, strict=True):
        gate.touch()
        assert wire.response().status == 200
        wire.close()


def test_only_get_and_head_of_exactly_this_path_are_the_servers(start):
    server = start("echoing:app", *READY)
    assert asked(server, method="HEAD") == (200, b"")
    assert asked(server, "/readyz?x=1") == (200, b"ready\n")
    others = [("/readyz/", "GET"), ("/Readyz", "GET"), ("/%72eadyz", "GET"), ("/readyz", "PUT")]
    for target, method in others:
        assert asked(server, target, method)[1] != b"ready\n", (target, method)


def test_without_the_setting_the_application_answers(start):
    assert asked(start("echoing:app"))[1] != b"ready\n"


def test_a_redirect_to_https_does_not_hide_it(start):
    server = start("echoing:app", *READY, environment={"LOCKGATE_HTTPS_REDIRECT": "443"})
    assert server.get("/").status == 308
    assert asked(server) == (200, b"ready\n")
