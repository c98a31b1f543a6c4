"""RFC 9113 §6: each type of frame; RFC 9218 §7: PRIORITY_UPDATE."""

import struct

import pytest
from harness.http2 import (
    ACK,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GET,
    GOAWAY,
    HAS_PRIORITY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    PADDED,
    PING,
    POST,
    PRIORITY,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2,
    block,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    priority,
    rst_stream,
    settings,
    window_update,
)
from harness.http2_rules import (
    Rule,
    answered,
    connection_error,
    get,
    goes_on,
    ignored,
    round_trip,
    stream_error,
    stream_or_connection_error,
    window_of,
)

GET_BLOCK = block(GET)
LARGE = get(b"/large?megabytes=1")
OPEN = headers(1, POST, False)


def padded(kind, flags, stream, content, padding, announced=None):
    length = len(padding) if announced is None else announced
    return frame(kind, flags | PADDED, stream, bytes([length]) + content + padding)


def of_length(kind, length, stream):
    return frame(kind, 0, stream, bytes(length))


RULES = [
    # DATA (§6.1).
    Rule("6.1", "DATA on stream 0", [OPEN, data(0, b"x")], connection_error(PROTOCOL_ERROR)),
    Rule("6.1", "padding is no content",
         [OPEN, padded(DATA, 0, 1, b"bo", bytes(7)), padded(DATA, END_STREAM, 1, b"dy", b"")],
         answered(body=b"POST / body")),
    Rule("6.1", "only padding", [OPEN, padded(DATA, END_STREAM, 1, b"", bytes(255))],
         answered(body=b"POST / ")),
    Rule("6.1", "padding as long as the payload",
         [OPEN, padded(DATA, END_STREAM, 1, b"body", b"", announced=5)],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.1", "padding longer than the payload",
         [OPEN, padded(DATA, END_STREAM, 1, b"body", b"", announced=255)],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.1", "padding of a payload without a length",
         [OPEN, frame(DATA, PADDED | END_STREAM, 1)],
         connection_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR)),
    Rule("6.1", "empty DATA in between", [OPEN, data(1, b"", False), data(1, b"x", False), data(1)],
         answered(body=b"POST / x")),
    # HEADERS (§6.2).
    Rule("6.2", "HEADERS on stream 0", [headers(0)], connection_error(PROTOCOL_ERROR)),
    Rule("6.2", "padding", [padded(HEADERS, END_HEADERS | END_STREAM, 1, GET_BLOCK, bytes(9))],
         answered()),
    Rule("6.2", "padding and priority",
         [padded(HEADERS, END_HEADERS | END_STREAM | HAS_PRIORITY, 1,
                 b"\x80\0\0\0\x10" + GET_BLOCK, bytes(200))], answered()),
    Rule("6.2", "priority",
         [headers(1, b"\0\0\0\0\xff" + GET_BLOCK, flags=END_HEADERS | HAS_PRIORITY)], answered()),
    Rule("6.2", "padding as long as the payload",
         [padded(HEADERS, END_HEADERS | END_STREAM, 1, GET_BLOCK, b"",
                 announced=len(GET_BLOCK) + 1)],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.2", "padding that leaves no room for the priority",
         [padded(HEADERS, END_HEADERS | END_STREAM | HAS_PRIORITY, 1, bytes(5), b"", announced=1)],
         connection_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR)),
    Rule("6.2", "padding without a length", [headers(1, b"", flags=END_HEADERS | PADDED)],
         connection_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR)),
    Rule("6.2", "priority that is cut",
         [headers(1, bytes(4), flags=END_HEADERS | HAS_PRIORITY)],
         connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    Rule("6.2", "END_STREAM before END_HEADERS counts from the end of the block",
         [headers(1, GET_BLOCK[:5], flags=0), continuation(1, GET_BLOCK[5:])], answered()),
    # PRIORITY (§6.3).
    Rule("6.3", "PRIORITY on stream 0", [priority(0)], connection_error(PROTOCOL_ERROR)),
    *(Rule("6.3", f"PRIORITY of {length} bytes", [OPEN, of_length(PRIORITY, length, 1)],
           stream_or_connection_error(1, FRAME_SIZE_ERROR)) for length in (0, 4, 6)),
    Rule("6.3", "PRIORITY of 4 bytes on an idle stream", [of_length(PRIORITY, 4, 1)],
         stream_or_connection_error(1, FRAME_SIZE_ERROR)),
    # RST_STREAM (§6.4).
    Rule("6.4", "RST_STREAM on stream 0", [rst_stream(0)], connection_error(PROTOCOL_ERROR)),
    Rule("6.4", "RST_STREAM of an idle stream", [rst_stream(1)], connection_error(PROTOCOL_ERROR)),
    *(Rule("6.4", f"RST_STREAM of {length} bytes", [OPEN, of_length(RST_STREAM, length, 1)],
           connection_error(FRAME_SIZE_ERROR)) for length in (0, 3, 5)),
    Rule("6.4", "RST_STREAM twice", [OPEN, rst_stream(1), rst_stream(1), round_trip], ignored),
    # SETTINGS (§6.5).
    Rule("6.5", "SETTINGS on a stream", [settings(stream=1)], connection_error(PROTOCOL_ERROR)),
    Rule("6.5", "SETTINGS on an open stream", [OPEN, settings(stream=1)],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.5", "an acknowledgement with a payload", [frame(SETTINGS, ACK, 0, bytes(6))],
         connection_error(FRAME_SIZE_ERROR)),
    Rule("6.5", "an acknowledgement with one byte", [frame(SETTINGS, ACK, 0, b"\0")],
         connection_error(FRAME_SIZE_ERROR)),
    *(Rule("6.5", f"SETTINGS of {length} bytes", [of_length(SETTINGS, length, 0)],
           connection_error(FRAME_SIZE_ERROR)) for length in (1, 5, 7, 3_000 + 3)),
    Rule("6.5.2", "ENABLE_PUSH of 2", [settings((ENABLE_PUSH, 2))],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.5.2", "ENABLE_PUSH of 2**32 - 1", [settings((ENABLE_PUSH, 2**32 - 1))],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.5.2", "ENABLE_PUSH of 0 and 1", [settings((ENABLE_PUSH, 0), (ENABLE_PUSH, 1))],
         ignored),
    Rule("6.5.2", "INITIAL_WINDOW_SIZE of 2**31", [settings((INITIAL_WINDOW_SIZE, 2**31))],
         connection_error(FLOW_CONTROL_ERROR)),
    Rule("6.5.2", "INITIAL_WINDOW_SIZE of 2**31 - 1", [settings((INITIAL_WINDOW_SIZE, 2**31 - 1))],
         ignored),
    *(Rule("6.5.2", f"MAX_FRAME_SIZE of {size}", [settings((MAX_FRAME_SIZE, size))],
           connection_error(PROTOCOL_ERROR)) for size in (0, 16_383, 2**24, 2**32 - 1)),
    *(Rule("6.5.2", f"MAX_FRAME_SIZE of {size}",
           [settings((MAX_FRAME_SIZE, size)), headers(1, LARGE)], answered())
      for size in (16_384, 2**24 - 1)),
    Rule("6.5.2", "a setting that is wrong behind one that is right",
         [settings((MAX_FRAME_SIZE, 16_384), (ENABLE_PUSH, 2))], connection_error(PROTOCOL_ERROR)),
    *(Rule("6.5.2", f"HEADER_TABLE_SIZE of {size}",
           [settings((HEADER_TABLE_SIZE, size)), headers(1), headers(3)], answered(3))
      for size in (0, 1, 4_095, 4_096, 2**32 - 1)),
    Rule("6.5.2", "HEADER_TABLE_SIZE down and up again",
         [settings((HEADER_TABLE_SIZE, 0)) + settings((HEADER_TABLE_SIZE, 4_096)), headers(1)],
         answered()),
    Rule("6.5.2", "MAX_CONCURRENT_STREAMS of 0",
         [settings((MAX_CONCURRENT_STREAMS, 0)), headers(1)], answered()),
    Rule("6.5.2", "MAX_HEADER_LIST_SIZE of 2**32 - 1",
         [settings((MAX_HEADER_LIST_SIZE, 2**32 - 1)), headers(1)], answered()),
    Rule("6.5.3", "the last of equal settings counts",
         [settings((INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 99)),
          headers(1)], answered(body=b"GET / ")),
    # PUSH_PROMISE (§6.6, §8.4).
    Rule("6.6", "PUSH_PROMISE of a client",
         [frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + GET_BLOCK)],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.6", "PUSH_PROMISE of a client on an open stream",
         [OPEN, frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + GET_BLOCK)],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.6", "PUSH_PROMISE on stream 0",
         [frame(PUSH_PROMISE, END_HEADERS, 0, b"\0\0\0\2" + GET_BLOCK)],
         connection_error(PROTOCOL_ERROR)),
    # PING (§6.7).
    Rule("6.7", "PING on a stream", [OPEN, frame(PING, 0, 1, bytes(8))],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.7", "an acknowledgement of no PING", [ping(b"imagined", ACK)], ignored),
    *(Rule("6.7", f"PING of {length} bytes", [of_length(PING, length, 0)],
           connection_error(FRAME_SIZE_ERROR)) for length in (0, 6, 7, 9)),
    Rule("6.7", "an acknowledgement of 7 bytes", [ping(b"1234567", ACK)],
         connection_error(FRAME_SIZE_ERROR)),
    # GOAWAY (§6.8).
    Rule("6.8", "GOAWAY on a stream", [OPEN, frame(GOAWAY, 0, 1, bytes(8))],
         connection_error(PROTOCOL_ERROR)),
    *(Rule("6.8", f"GOAWAY of {length} bytes", [of_length(GOAWAY, length, 0)],
           connection_error(FRAME_SIZE_ERROR)) for length in (0, 4, 7)),
    # WINDOW_UPDATE (§6.9).
    Rule("6.9", "an increment of 0 on the connection", [window_update(0, 0)],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.9", "an increment of 0 on the connection, with the reserved bit",
         [frame(WINDOW_UPDATE, 0, 0, b"\x80\0\0\0")], connection_error(PROTOCOL_ERROR)),
    Rule("6.9", "an increment of 0 on a stream", [OPEN, window_update(1, 0)],
         stream_error(1, PROTOCOL_ERROR)),
    Rule("6.9", "an increment with the reserved bit",
         [OPEN, window_update(0, 1 << 31 | 1), window_update(1, 1 << 31 | 1)], ignored),
    *(Rule("6.9", f"WINDOW_UPDATE of {length} bytes on the connection",
           [of_length(WINDOW_UPDATE, length, 0)], connection_error(FRAME_SIZE_ERROR))
      for length in (0, 3, 5)),
    *(Rule("6.9", f"WINDOW_UPDATE of {length} bytes on a stream",
           [OPEN, of_length(WINDOW_UPDATE, length, 1)], connection_error(FRAME_SIZE_ERROR))
      for length in (3, 5)),
    Rule("6.9.1", "a window of the connection beyond 2**31 - 1",
         [window_update(0, LARGEST_WINDOW)], connection_error(FLOW_CONTROL_ERROR)),
    Rule("6.9.1", "a window of the connection beyond 2**31 - 1 in two steps",
         [window_update(0, 2**30), window_update(0, 2**30)],
         connection_error(FLOW_CONTROL_ERROR)),
    Rule("6.9.1", "a window of the connection of 2**31 - 1",
         [window_update(0, LARGEST_WINDOW - 65_535)],
         lambda client: client.round_trip()),
    Rule("6.9.1", "a window of a stream beyond 2**31 - 1",
         [OPEN, window_update(1, LARGEST_WINDOW)], stream_error(1, FLOW_CONTROL_ERROR)),
    Rule("6.9.1", "a window of a stream beyond 2**31 - 1 in two steps",
         [OPEN, window_update(1, 2**30), window_update(1, 2**30)],
         stream_error(1, FLOW_CONTROL_ERROR)),
    Rule("6.9.1", "a window of a stream of 2**31 - 1",
         [OPEN, window_update(1, LARGEST_WINDOW - 65_535), data(1, b"x")],
         answered(body=b"POST / x")),
    Rule("6.9.2", "INITIAL_WINDOW_SIZE that pushes a window beyond 2**31 - 1",
         [OPEN, window_update(1, 100), settings((INITIAL_WINDOW_SIZE, LARGEST_WINDOW))],
         connection_error(FLOW_CONTROL_ERROR)),
    # CONTINUATION (§6.10).
    Rule("6.10", "several",
         [headers(1, GET_BLOCK[:5], flags=0), continuation(1, GET_BLOCK[5:9], 0),
          continuation(1, GET_BLOCK[9:12], 0), continuation(1, GET_BLOCK[12:])], answered()),
    Rule("6.10", "empty ones", [headers(1, b"", flags=0), continuation(1, GET_BLOCK, 0),
                                continuation(1, b"")], answered()),
    Rule("6.10", "of trailers",
         [OPEN, data(1, b"x", False), headers(1, b"\x00\x01", flags=0),
          continuation(1, b"a", 0), continuation(1, b"\x01b")], answered(body=b"POST / x")),
    Rule("6.10", "on stream 0", [headers(1, GET_BLOCK, flags=0), continuation(0, b"")],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.10", "behind END_HEADERS", [OPEN, continuation(1, GET_BLOCK)],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.10", "behind a CONTINUATION with END_HEADERS",
         [headers(1, GET_BLOCK[:5], False, 0), continuation(1, GET_BLOCK[5:]),
          continuation(1, GET_BLOCK)], connection_error(PROTOCOL_ERROR)),
    Rule("6.10", "behind DATA", [OPEN, data(1, b"x", False), continuation(1, GET_BLOCK)],
         connection_error(PROTOCOL_ERROR)),
    Rule("6.10", "more of them than any client sends",
         [headers(1, GET_BLOCK, flags=0), b"".join(continuation(1, b"", 0) for _ in range(20_000))],
         connection_error(ENHANCE_YOUR_CALM, PROTOCOL_ERROR)),
    # PRIORITY_UPDATE (RFC 9218 §7.1).
    Rule("RFC 9218 7.1", "PRIORITY_UPDATE of an open stream",
         [OPEN, frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=0, i"), data(1, b"x")], answered()),
    Rule("RFC 9218 7.1", "PRIORITY_UPDATE of an idle stream",
         [frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=7"), headers(1)], answered()),
    Rule("RFC 9218 7.1", "PRIORITY_UPDATE with a value that is no structured field",
         [OPEN, frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=,,;;\xff"), data(1, b"x")], answered()),
    Rule("RFC 9218 7.1", "PRIORITY_UPDATE on a stream",
         [OPEN, frame(PRIORITY_UPDATE, 0, 1, b"\0\0\0\1u=0")], connection_error(PROTOCOL_ERROR)),
    Rule("RFC 9218 7.1", "PRIORITY_UPDATE of stream 0",
         [frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\0u=0")], connection_error(PROTOCOL_ERROR)),
    Rule("RFC 9218 7.1", "PRIORITY_UPDATE of 3 bytes",
         [frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0")], connection_error(FRAME_SIZE_ERROR)),
    Rule("RFC 9218 2.1", "NO_RFC7540_PRIORITIES of 2", [settings((9, 2))],
         connection_error(PROTOCOL_ERROR)),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rule(server, rule):
    rule.check(server.address)


def test_6_1_padding_counts_against_the_window_and_is_given_back(server):
    with Http2(server.address) as client:
        client.settled()
        client.send(OPEN)
        sent = 0
        while sent < 300_000:
            room = client.settings.get(INITIAL_WINDOW_SIZE, 65_535) - sent
            room += sum(size for stream, size in client.window_updates if stream == 1)
            of_connection = 65_535 - sent
            of_connection += sum(size for stream, size in client.window_updates if stream == 0)
            if min(room, of_connection) < 257:
                client.frame()
                continue
            client.send(padded(DATA, 0, 1, b"x", bytes(255)))
            sent += 257
        client.send(data(1))
        assert client.response(1).body == b"POST / " + b"x" * (sent // 257)


def test_6_5_3_each_settings_frame_is_acknowledged(server):
    with Http2(server.address) as client:
        client.settled()
        client.send(*(settings((INITIAL_WINDOW_SIZE, 65_535 + number)) for number in range(20)))
        client.wait(lambda: client.acknowledged == 21, "21 acknowledgements")


def test_6_7_ping_comes_back_with_its_payload_in_order(server):
    with Http2(server.address) as client:
        payloads = [struct.pack(">Q", number * 0x0123456789ABCDEF % 2**64) for number in range(20)]
        client.send(*(ping(payload) for payload in payloads))
        client.wait(lambda: len(client.pings) == 20, "20 acknowledgements")
        assert client.pings == payloads


def test_6_7_ping_comes_back_while_a_response_waits_for_its_window(server):
    with Http2(server.address, window_of(0)) as client:
        client.send(headers(1, LARGE))
        client.round_trip()


def test_6_8_a_client_that_goes_away_gets_its_responses_and_then_the_end(server):
    with Http2(server.address) as client:
        client.send(headers(1, LARGE), goaway())
        assert len(client.response(1).body) == 1 << 20
        client.until_closed()


@pytest.mark.parametrize("size", [1, 3, 5])
def test_6_9_1_a_response_fills_the_window_and_no_more(server, size):
    with Http2(server.address, window_of(size), window_updates=False) as client:
        client.settled()
        client.send(headers(1))
        client.wait(lambda: client.streams[1].body, "DATA")
        assert client.streams[1].body == b"GET / "[:size]
        client.round_trip()
        assert client.streams[1].body == b"GET / "[:size]
        client.send(window_update(1, 6 - size))
        assert client.response(1).body == b"GET / "


def test_6_9_1_a_response_waits_for_the_window_of_the_connection(server):
    with Http2(server.address, window_of(1 << 20), window_updates=False) as client:
        client.settled()
        client.send(headers(1, LARGE))
        client.wait(lambda: len(client.streams[1].body) == 65_535, "65,535 bytes")
        client.round_trip()
        assert len(client.streams[1].body) == 65_535
        client.send(window_update(0, 1 << 20))
        assert len(client.response(1).body) == 1 << 20


def test_6_9_2_a_new_initial_window_changes_open_streams(server):
    with Http2(server.address, window_of(0), window_updates=False) as client:
        client.settled()
        client.send(headers(1))
        client.round_trip()
        assert client.streams[1].body == b""
        client.send(window_of(1))
        client.wait(lambda: client.streams[1].body, "DATA")
        assert client.streams[1].body == b"G"
        client.send(window_of(6))
        assert client.response(1).body == b"GET / "


def test_6_9_2_a_window_may_be_negative(server):
    with Http2(server.address, window_of(3), window_updates=False) as client:
        client.settled()
        client.send(headers(1))
        client.wait(lambda: len(client.streams[1].body) == 3, "3 bytes")
        # 3 - 3 sent - 3: the window is -3.
        client.send(window_of(0), window_update(1, 3))
        client.round_trip()
        assert client.streams[1].body == b"GET"
        client.send(window_update(1, 2))
        client.wait(lambda: len(client.streams[1].body) == 5, "2 bytes more")
        client.send(window_update(1, 1))
        assert client.response(1).body == b"GET / "


def test_6_9_2_the_initial_window_is_not_that_of_the_connection(server):
    with Http2(server.address, window_of(1 << 20), window_updates=False) as client:
        client.settled()
        client.send(window_of(0), window_of(1 << 20), headers(1, LARGE))
        client.wait(lambda: len(client.streams[1].body) == 65_535, "65,535 bytes")
        client.round_trip()
        client.send(window_update(0, 1 << 20))
        client.response(1)
        goes_on(client)


def test_6_9_an_empty_end_needs_no_window(server):
    """A response without a body ends although the window is 0."""
    with Http2(server.address, window_of(0), window_updates=False) as client:
        client.send(headers(1, get(b"/status?code=200")))
        assert client.response(1).body == b""


def test_a_large_body_in_both_directions_is_intact(server):
    body = bytes(range(256)) * 4_096
    with Http2(server.address) as client:
        client.settled()
        client.send(headers(1, POST, False))
        window = client.settings.get(INITIAL_WINDOW_SIZE, 65_535)
        sent = 0
        while sent < len(body):
            given = {0: 65_535, 1: window}
            for stream, size in client.window_updates:
                given[stream] += size
            room = min(given.values()) - sent
            if room <= 0:
                client.frame()
                continue
            piece = body[sent : sent + min(room, 16_384)]
            sent += len(piece)
            client.send(data(1, piece, sent == len(body)))
        assert client.response(1).body == b"POST / " + body
