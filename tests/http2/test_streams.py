"""RFC 9113 §5: states and identifiers of streams, and how many may be open."""

import pytest
from harness.http2 import (
    CANCEL,
    END_HEADERS,
    GET,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    POST,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    Http2,
    block,
    continuation,
    data,
    frame,
    headers,
    priority,
    rst_stream,
    settings,
    window_update,
)
from harness.http2 import PRIORITY as PRIORITY_FRAME
from harness.http2_rules import (
    Rule,
    answered,
    connection_error,
    get,
    goes_on,
    ignored,
    reset_by_server,
    response_of,
    round_trip,
    stream_error,
    stream_or_connection_error,
    window_of,
)

LARGE = get(b"/large?megabytes=1")
GET_BLOCK = block(GET)
# A field name in upper case: malformed, so that the server resets the stream (§8.1.1).
MALFORMED = (*POST, (b"X-Upper", b"case"))


def on_closed_window(section, fact, steps, expect):
    """The response cannot end, so that its stream stays half-closed (remote)."""
    return Rule(section, fact, [headers(1, LARGE), *steps], expect, opening=window_of(0))


RULES = [
    # idle
    Rule("5.1", "idle: DATA", [data(1, b"x")], connection_error(PROTOCOL_ERROR, STREAM_CLOSED)),
    Rule("5.1", "idle: RST_STREAM", [rst_stream(1)], connection_error(PROTOCOL_ERROR)),
    Rule("5.1", "idle: WINDOW_UPDATE", [window_update(1, 100)], connection_error(PROTOCOL_ERROR)),
    Rule("5.1", "idle: CONTINUATION", [continuation(1, GET_BLOCK)],
         connection_error(PROTOCOL_ERROR)),
    Rule("5.1", "idle: PRIORITY", [priority(1), headers(1)], answered()),
    Rule("5.1", "idle, above an open one: DATA", [headers(1, POST, False), data(3, b"x")],
         connection_error(PROTOCOL_ERROR, STREAM_CLOSED)),
    Rule("5.1", "idle, above an open one: WINDOW_UPDATE",
         [headers(1, POST, False), window_update(3, 1)], connection_error(PROTOCOL_ERROR)),
    Rule("5.1", "idle, of the server: DATA", [data(2, b"x")],
         connection_error(PROTOCOL_ERROR, STREAM_CLOSED)),
    Rule("5.1", "idle, of the server: RST_STREAM", [rst_stream(2)],
         connection_error(PROTOCOL_ERROR)),
    Rule("5.1", "idle, of the server: WINDOW_UPDATE", [window_update(2, 1)],
         connection_error(PROTOCOL_ERROR)),
    # open
    Rule("5.1", "open: all that is allowed",
         [headers(1, POST, False), priority(1), window_update(1, 1), data(1, b"a", False),
          frame(PRIORITY_FRAME, 0, 1, bytes(5)), data(1, b"b", False), headers(1, ())],
         answered(body=b"POST / ab")),
    Rule("5.1", "open: RST_STREAM", [headers(1, POST, False), rst_stream(1), round_trip], ignored),
    # half-closed (remote)
    on_closed_window("5.1", "half-closed (remote): DATA", [data(1, b"x")],
                     stream_error(1, STREAM_CLOSED)),
    on_closed_window("5.1", "half-closed (remote): empty DATA", [data(1)],
                     stream_error(1, STREAM_CLOSED)),
    on_closed_window("5.1", "half-closed (remote): HEADERS", [headers(1)],
                     stream_error(1, STREAM_CLOSED)),
    on_closed_window("5.1", "half-closed (remote): HEADERS without END_STREAM",
                     [headers(1, GET, False)], stream_error(1, STREAM_CLOSED)),
    on_closed_window("5.1", "half-closed (remote): CONTINUATION", [continuation(1, GET_BLOCK)],
                     connection_error(PROTOCOL_ERROR)),
    on_closed_window("5.1", "half-closed (remote): WINDOW_UPDATE", [window_update(1, 5)], ignored),
    on_closed_window("5.1", "half-closed (remote): PRIORITY", [priority(1)], ignored),
    on_closed_window("5.1", "half-closed (remote): RST_STREAM", [rst_stream(1)], ignored),
    Rule("5.1", "half-closed (remote) by DATA: DATA",
         [headers(1, POST, False), data(1), data(1, b"x")],
         stream_or_connection_error(1, STREAM_CLOSED)),
    Rule("5.1", "half-closed (remote), sent at once: DATA", [headers(1) + data(1, b"x")],
         stream_or_connection_error(1, STREAM_CLOSED)),
    Rule("5.1", "half-closed (remote), sent at once: HEADERS", [headers(1) + headers(1)],
         stream_or_connection_error(1, STREAM_CLOSED)),
    Rule("5.1", "half-closed (remote) by trailers: DATA",
         [headers(1, POST, False), headers(1, ((b"x", b"y"),)), data(1, b"x")],
         stream_or_connection_error(1, STREAM_CLOSED)),
    # closed, by RST_STREAM of the client
    Rule("5.1", "closed by RST_STREAM: DATA",
         [headers(1, POST, False), rst_stream(1), data(1, b"x")],
         stream_or_connection_error(1, STREAM_CLOSED)),
    Rule("5.1", "closed by RST_STREAM: HEADERS",
         [headers(1, POST, False), rst_stream(1), headers(1)],
         stream_or_connection_error(1, STREAM_CLOSED)),
    Rule("5.1", "closed by RST_STREAM: CONTINUATION",
         [headers(1, POST, False), rst_stream(1), continuation(1, GET_BLOCK)],
         connection_error(PROTOCOL_ERROR, STREAM_CLOSED)),
    Rule("5.1", "closed by RST_STREAM: PRIORITY",
         [headers(1, POST, False), rst_stream(1), priority(1)], ignored),
    Rule("5.1", "closed by RST_STREAM: WINDOW_UPDATE, a while later",
         [headers(1, POST, False), rst_stream(1), round_trip, window_update(1, 1)],
         lambda client: client.round_trip() if not client.goaways else None),
    # closed, by END_STREAM of both
    Rule("5.1", "closed: DATA", [headers(1), response_of(1), data(1, b"x")],
         stream_or_connection_error(1, STREAM_CLOSED)),
    Rule("5.1", "closed: HEADERS", [headers(1), response_of(1), headers(1)],
         connection_error(STREAM_CLOSED)),
    Rule("5.1", "closed: HEADERS of a second request on it, after others",
         [headers(1), response_of(1), headers(3), response_of(3), headers(1)],
         connection_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    Rule("5.1", "closed: CONTINUATION", [headers(1), response_of(1), continuation(1, GET_BLOCK)],
         connection_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    Rule("5.1", "closed: PRIORITY", [headers(1), response_of(1), priority(1)], ignored),
    Rule("5.1", "closed: WINDOW_UPDATE", [headers(1), response_of(1), window_update(1, 1)],
         ignored),
    Rule("5.1", "closed: RST_STREAM", [headers(1), response_of(1), rst_stream(1)], ignored),
    # closed, by RST_STREAM of the server: what was under way is dropped.
    Rule("5.1", "reset by the server: DATA",
         [headers(1, MALFORMED, False), reset_by_server(1), data(1, b"x" * 1_000, False),
          data(1, b"x")], lambda client: goes_on(client)),
    Rule("5.1", "reset by the server: trailers",
         [headers(1, MALFORMED, False), reset_by_server(1), headers(1, ((b"x", b"y"),))],
         lambda client: goes_on(client)),
    Rule("5.1", "reset by the server: WINDOW_UPDATE, RST_STREAM, PRIORITY",
         [headers(1, MALFORMED, False), reset_by_server(1), window_update(1, 9), rst_stream(1),
          priority(1)], lambda client: goes_on(client)),
    Rule("5.1", "reset by the server: all that a client had sent at once",
         [headers(1, MALFORMED, False) + data(1, b"x", False) + window_update(1, 1)
          + data(1, b"y", False) + headers(1, ((b"x", b"y"),))],
         stream_error(1, PROTOCOL_ERROR)),
    # Identifiers (§5.1.1).
    Rule("5.1.1", "an even one", [headers(2)], connection_error(PROTOCOL_ERROR)),
    Rule("5.1.1", "a smaller one", [headers(5), response_of(5), headers(3)],
         connection_error(PROTOCOL_ERROR)),
    Rule("5.1.1", "a smaller one, while the larger one is open",
         [headers(5, POST, False), headers(3)], connection_error(PROTOCOL_ERROR)),
    Rule("5.1.1", "0", [headers(0)], connection_error(PROTOCOL_ERROR)),
    Rule("5.1.1", "some left out", [headers(7), response_of(7), headers(101)], answered(101)),
    Rule("5.1.1", "one that was left out: DATA", [headers(5, POST, False), data(3, b"x")],
         stream_or_connection_error(3, STREAM_CLOSED, PROTOCOL_ERROR)),
    Rule("5.1.1", "the largest", [headers(2**31 - 1)], answered(2**31 - 1)),
    # Dependencies of RFC 7540: deprecated, but the frames are checked.
    Rule("RFC 7540 5.3.1", "HEADERS that depend on themselves",
         [headers(1, b"\0\0\0\1\xff" + GET_BLOCK, flags=END_HEADERS | 0x20)],
         stream_or_connection_error(1, PROTOCOL_ERROR)),
    Rule("RFC 7540 5.3.1", "PRIORITY that depends on itself", [priority(1, 1)],
         stream_or_connection_error(1, PROTOCOL_ERROR)),
    Rule("RFC 7540 5.3.1", "PRIORITY of an open stream that depends on itself",
         [headers(1, POST, False), priority(1, 1)], stream_or_connection_error(1, PROTOCOL_ERROR)),
    Rule("RFC 7540 5.3.1", "PRIORITY that depends on a stream that is not there",
         [priority(3, 77), headers(3)], answered(3)),
    Rule("RFC 7540 5.3.1", "PRIORITY, exclusive, of each weight",
         [b"".join(priority(1, 1 << 31, weight) for weight in (0, 1, 255)), headers(1)],
         answered()),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rule(server, rule):
    rule.check(server.address)


def test_5_1_2_more_streams_than_announced_are_refused(server):
    with Http2(server.address, settings((INITIAL_WINDOW_SIZE, 0))) as client:
        client.settled()
        limit = client.settings[MAX_CONCURRENT_STREAMS]
        streams = range(1, 2 * limit + 3, 2)
        client.send(*(headers(stream) for stream in streams))
        client.wait(lambda: client.streams[streams[-1]].reset is not None, "RST_STREAM")
        assert client.streams[streams[-1]].reset == REFUSED_STREAM
        # What was accepted is answered.
        client.send(settings((INITIAL_WINDOW_SIZE, 65_535)))
        for stream in streams[:-1]:
            assert client.response(stream).body == b"GET / "
        goes_on(client)


def test_5_1_2_a_stream_that_ends_makes_room(server):
    with Http2(server.address) as client:
        client.settled()
        limit = client.settings[MAX_CONCURRENT_STREAMS]
        open_streams = list(range(1, 2 * limit + 1, 2))
        client.send(*(headers(stream, POST, False) for stream in open_streams))
        client.send(data(open_streams[0], b"a"))
        assert client.response(open_streams[0]).body == b"POST / a"
        client.send(rst_stream(open_streams[1], CANCEL))
        after = open_streams[-1] + 2
        for stream in (after, after + 2):
            client.send(headers(stream))
            assert client.response(stream).body == b"GET / "


def test_5_1_2_a_refused_request_leaves_the_compression_in_order(server):
    """Its fields are in the dynamic table all the same (§4.3)."""
    with Http2(server.address) as client:
        client.settled()
        limit = client.settings[MAX_CONCURRENT_STREAMS]
        open_streams = range(1, 2 * limit + 1, 2)
        client.send(*(headers(stream, POST, False) for stream in open_streams))
        refused = open_streams[-1] + 2
        client.send(headers(refused, block(get(b"/indexed"), 0x40)))
        client.wait(lambda: client.streams[refused].reset == REFUSED_STREAM, "RST_STREAM")
        client.send(rst_stream(1))
        # The four fields, the oldest first.
        client.send(headers(refused + 2, b"\xc1\xc0\xbf\xbe"))
        assert client.response(refused + 2).body == b"GET /indexed "


def test_5_1_an_interleaved_request_is_put_together(server):
    """Frames of many streams in any order."""
    with Http2(server.address) as client:
        streams = range(1, 41, 2)
        for stream in streams:
            client.send(headers(stream, POST, False))
        for piece in range(5):
            for stream in reversed(streams):
                client.send(data(stream, b"%d.%d;" % (stream, piece), piece == 4))
        for stream in streams:
            expected = b"".join(b"%d.%d;" % (stream, piece) for piece in range(5))
            assert client.response(stream).body == b"POST / " + expected


def test_5_1_a_client_that_resets_all_its_streams_is_served_after_that(server):
    with Http2(server.address) as client:
        for stream in range(1, 41, 2):
            client.send(headers(stream, get(b"/large?megabytes=1")), rst_stream(stream))
        goes_on(client)


def test_5_2_a_response_blocked_by_its_window_delays_no_other(server):
    with Http2(server.address, settings((INITIAL_WINDOW_SIZE, 10))) as client:
        client.settled()
        client.gives_window = False
        client.send(headers(1, get(b"/large?megabytes=1")))
        assert client.request(3).body == b"GET / "
        client.wait(lambda: client.streams[1].body, "DATA on stream 1")
        client.send(window_update(1, 5))
        client.wait(lambda: len(client.streams[1].body) == 15, "15 bytes on stream 1")
        client.send(rst_stream(1))
        goes_on(client)
