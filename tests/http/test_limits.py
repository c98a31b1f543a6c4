"""Limits per client, per connection and in all, and the responses above them."""

import socket

from harness import Wire, eventually, request

# Otherwise this machine is a trusted proxy, and those are not counted.
NO_PROXY = ("--forwarded-allow-ips", "192.0.2.1")


def open_from(server, source):
    """A connection from another address of this machine."""
    wire = Wire.__new__(Wire)
    wire.socket = socket.create_connection(server.address, timeout=15, source_address=(source, 0))
    wire.pending, wire.was_reset = b"", False
    return wire


def is_served(wire):
    wire.send(request("GET", "/"))
    return wire.response().status == 200


def test_the_last_request_of_a_connection_says_so(shared):
    server = shared("wire_app:app", "--limit-requests-per-connection", "3")
    for _ in range(2):
        with server.connect() as wire:
            wire.send(request("GET", "/a") * 5)
            closing = [wire.response().wants_close() for _ in range(3)]
            assert closing == [False, False, True]
            wire.expect_close()


def test_connections_above_the_limit_of_an_address_get_429(shared):
    server = shared("wire_app:app", "--limit-connections-per-address", "3", *NO_PROXY)
    wires = [server.connect() for _ in range(3)]
    try:
        assert all(map(is_served, wires))
        for _ in range(5):
            with server.connect() as refused:
                response = refused.response()
                assert response.status == 429 and response.wants_close()
                refused.expect_close()
        with open_from(server, "127.0.0.2") as other:
            assert is_served(other)
        assert all(map(is_served, wires))
        wires.pop().close()

        def has_room():
            with server.connect() as again:
                again.send_while_open(request("GET", "/"))
                return again.response().status == 200

        eventually(has_room, what="a place for the one that left")
    finally:
        for wire in wires:
            wire.close()
    server.wait_for_log(r"refused a connection from 127\.0\.0\.1: it has 3 connections already")
    assert server.errors.count("refused a connection from") == 1


def test_a_trusted_proxy_has_as_many_connections_as_it_needs(shared):
    server = shared("wire_app:app", "--limit-connections-per-address", "1")
    wires = [server.connect() for _ in range(5)]
    assert all(map(is_served, wires))
    for wire in wires:
        wire.close()


def test_a_balancer_that_speaks_the_proxy_protocol_has_as_many_as_it_needs(shared):
    server = shared(
        "wire_app:app",
        *("--limit-connections-per-address", "1", "--proxy-protocol", "v1"),
        *("--proxy-allow-ips", "127.0.0.1", *NO_PROXY),
        wait=False,
    )
    server.wait_for_log("the worker is ready")
    wires = [server.connect() for _ in range(5)]
    for number, wire in enumerate(wires):
        wire.send(b"PROXY TCP4 203.0.113.%d 192.0.2.7 4711 80\r\n" % number)
    assert all(map(is_served, wires))
    for wire in wires:
        wire.close()


def test_a_connection_that_the_server_closed_stops_counting_at_once(shared):
    server = shared("patience:app", "--limit-connections-per-address", "2", *NO_PROXY)
    for _ in range(30):
        # Calls that wait are promoted: their threads close the connections, and the event loop is
        # with others.
        wires = [server.connect() for _ in range(2)]
        for wire in wires:
            wire.send(request("GET", "/brief", "Connection: close"))
        for wire in wires:
            assert wire.response().status == 200
            wire.expect_close()
            wire.close()


def test_clients_on_a_unix_socket_are_not_counted(shared, tmp_path):
    path = str(tmp_path / "socket")
    flags = ["--limit-connections-per-address", "1", *NO_PROXY]
    server = shared("wire_app:app", *flags, bind=[f"unix:{path}"])
    server.address = path
    wires = [server.connect() for _ in range(5)]
    assert all(map(is_served, wires))
    for wire in wires:
        wire.close()


def test_a_worker_takes_worker_connections_and_the_next_one_waits(shared):
    server = shared("wire_app:app", "--worker-connections", "2")
    first, second, third = (server.connect() for _ in range(3))
    assert is_served(first) and is_served(second)
    third.send(request("GET", "/patient"))
    server.wait_for_log(r"2 connections are open, the limit set by worker_connections")
    first.close()
    assert third.response().body == b"GET /patient "
    assert is_served(second)
    second.close()
    third.close()
