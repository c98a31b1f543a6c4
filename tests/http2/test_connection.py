"""RFC 9113 §3.4, §4, §5.4, §5.5, §7: the preface, frames, errors and extensions."""

import struct

import pytest
from harness.http2 import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE_ERROR,
    GET,
    GOAWAY,
    HEADERS,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    UNKNOWN,
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
    goes_on,
    ignored,
    round_trip,
    stream_or_connection_error,
)

LARGEST_FRAME = 16_384
ALL_FLAGS = 0xFF
RESERVED = 1 << 31
GET_BLOCK = block(GET)


def test_3_4_the_server_begins_with_settings_and_acknowledges_those_of_the_client(server):
    with Http2(server.address) as client:
        client.settled()
        assert client.frames[0].kind == SETTINGS
        assert client.acknowledged == 1
        assert client.request(1).body == b"GET / "


def test_3_4_a_client_need_not_wait_for_the_settings_of_the_server(server):
    with Http2(server.address, None) as client:
        client.send(PREFACE, settings(), headers(1))
        assert client.response(1).status == 200


def test_3_4_the_preface_may_come_in_pieces(server):
    with Http2(server.address, None) as client:
        client.trickle(PREFACE, settings((4, 70_000)), headers(1))
        assert client.response(1).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"INVALID CONNECTION PREFACE\r\n\r\n",
        PREFACE.replace(b"SM", b"SN"),
        PREFACE.replace(b"2.0", b"2.1"),
        PREFACE[:-1] + b"\r",
        b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_3_4_an_invalid_preface_ends_the_connection(server, sent):
    with server.connect(timeout=5) as wire:
        wire.send_while_open(sent + settings())
        wire.rest()


@pytest.mark.parametrize(
    "first",
    [headers(1), ping(), window_update(0, 1), settings(flags=ACK), goaway(), data(1), priority(1),
     frame(UNKNOWN, 0, 0), rst_stream(1)],
    ids="headers ping window_update ack goaway data priority unknown rst_stream".split(),
)  # fmt: skip
def test_3_4_the_first_frame_is_settings(server, first):
    with Http2(server.address, None) as client:
        client.send(PREFACE, first)
        client.until_closed()
        assert client.goaways and client.goaways[-1][1] == PROTOCOL_ERROR


RULES = [
    # Flags without a meaning are ignored.
    Rule("4.1", "undefined flags of PING", [frame(PING, 0xFE, 0, b"12345678")], ignored),
    Rule("4.1", "undefined flags of SETTINGS", [frame(SETTINGS, 0xFE, 0)], ignored),
    Rule("4.1", "undefined flags of HEADERS", [headers(1, flags=END_HEADERS | 0xD2)],
         answered()),
    Rule("4.1", "undefined flags of DATA",
         [headers(1, POST, False), frame(DATA, 0xF6 | END_STREAM, 1, b"body")],
         answered(body=b"POST / body")),
    Rule("4.1", "undefined flags of PRIORITY", [frame(PRIORITY, ALL_FLAGS, 3, bytes(5))], ignored),
    Rule("4.1", "undefined flags of WINDOW_UPDATE",
         [frame(WINDOW_UPDATE, ALL_FLAGS, 0, b"\0\0\0\1")], ignored),
    Rule("4.1", "undefined flags of RST_STREAM",
         [headers(1, POST, False), frame(RST_STREAM, ALL_FLAGS, 1, b"\0\0\0\x08")], ignored),
    Rule("4.1", "undefined flags of CONTINUATION",
         [headers(1, GET_BLOCK[:9], flags=0), continuation(1, GET_BLOCK[9:], ALL_FLAGS)],
         answered()),
    # The reserved bit of the stream identifier is ignored.
    Rule("4.1", "reserved bit of PING", [frame(PING, 0, RESERVED, b"12345678")], ignored),
    Rule("4.1", "reserved bit of SETTINGS", [frame(SETTINGS, 0, RESERVED)], ignored),
    Rule("4.1", "reserved bit of HEADERS",
         [frame(HEADERS, END_HEADERS | END_STREAM, RESERVED | 1, GET_BLOCK),
          lambda client: client.streams.update({1: client.streams.pop(RESERVED | 1)})],
         answered()),
    Rule("4.1", "reserved bit of DATA",
         [headers(1, POST, False), frame(DATA, END_STREAM, RESERVED | 1, b"body")],
         answered(body=b"POST / body")),
    # Types without a meaning are ignored.
    Rule("4.1", "unknown type on the connection", [frame(UNKNOWN, 0, 0, bytes(8))], ignored),
    Rule("4.1", "unknown type on an idle stream", [frame(UNKNOWN, 0, 1, bytes(8))], ignored),
    Rule("4.1", "unknown type with all flags", [frame(UNKNOWN, ALL_FLAGS, 0)], ignored),
    Rule("4.1", "unknown type within a request",
         [headers(1, POST, False), frame(UNKNOWN, ALL_FLAGS, 1, b"x" * 100), data(1, b"body")],
         answered(body=b"POST / body")),
    Rule("4.1", "unknown types of each number",
         [b"".join(frame(kind, ALL_FLAGS, 0, b"?") for kind in range(17, 256))], ignored),
    # Size (§4.2).
    Rule("4.2", "DATA of the largest size",
         [headers(1, POST, False), data(1, b"x" * LARGEST_FRAME)],
         answered(body=b"POST / " + b"x" * LARGEST_FRAME)),
    Rule("4.2", "an unknown type of the largest size",
         [frame(UNKNOWN, 0, 0, bytes(LARGEST_FRAME))], ignored),
    Rule("4.2", "DATA that is too large",
         [headers(1, POST, False), data(1, bytes(LARGEST_FRAME + 1))],
         stream_or_connection_error(1, FRAME_SIZE_ERROR)),
    Rule("4.2", "HEADERS that are too large", [headers(1, bytes(LARGEST_FRAME + 1))],
         connection_error(FRAME_SIZE_ERROR)),
    Rule("4.2", "CONTINUATION that is too large",
         [headers(1, GET_BLOCK, flags=0), continuation(1, bytes(LARGEST_FRAME + 1))],
         connection_error(FRAME_SIZE_ERROR)),
    Rule("4.2", "SETTINGS that are too large", [frame(SETTINGS, 0, 0, bytes(6 * 3_000))],
         connection_error(FRAME_SIZE_ERROR)),
    Rule("4.2", "PING that is too large", [ping(bytes(LARGEST_FRAME + 1))],
         connection_error(FRAME_SIZE_ERROR)),
    Rule("4.2", "GOAWAY that is too large", [goaway(debug=bytes(LARGEST_FRAME))],
         connection_error(FRAME_SIZE_ERROR)),
    Rule("4.2", "an unknown type that is too large",
         [frame(UNKNOWN, 0, 0, bytes(LARGEST_FRAME + 1))], connection_error(FRAME_SIZE_ERROR)),
    Rule("4.2", "a head is enough to see that a frame is too large",
         [frame(HEADERS, END_HEADERS, 1, length=2**24 - 1)], connection_error(FRAME_SIZE_ERROR)),
    # Header blocks (§4.3).
    Rule("4.3", "a block that cannot be decoded", [headers(1, b"\xff\xff\xff\xff\xff\xff\xff")],
         connection_error(COMPRESSION_ERROR)),
    Rule("4.3", "a block that ends within a field", [headers(1, GET_BLOCK[:-1])],
         connection_error(COMPRESSION_ERROR)),
    Rule("4.3", "trailers that cannot be decoded",
         [headers(1, POST, False), headers(1, b"\x80")], connection_error(COMPRESSION_ERROR)),
    Rule("4.3", "a block of a stream that was reset cannot be decoded",
         [headers(1, POST, False), rst_stream(1), headers(3, b"\x80")],
         connection_error(COMPRESSION_ERROR)),
    # Errors of the connection (§5.4.1).
    Rule("5.4.1", "an invalid frame of the connection", [frame(PING, 0, 0, b"1234567")],
         connection_error(FRAME_SIZE_ERROR)),
    # Extensions (§5.5).
    Rule("5.5", "an unknown type within a block",
         [headers(1, GET_BLOCK[:9], flags=0), frame(UNKNOWN, 0, 0, bytes(8)),
          continuation(1, GET_BLOCK[9:])],
         connection_error(PROTOCOL_ERROR)),
    Rule("5.5", "an unknown type of that stream within a block",
         [headers(1, GET_BLOCK[:9], flags=0), frame(UNKNOWN, 0, 1, bytes(8)),
          continuation(1, GET_BLOCK[9:])],
         connection_error(PROTOCOL_ERROR)),
    Rule("5.5", "an unknown setting", [settings((0xFF, 1), (0xF0F0, 2**32 - 1))], ignored),
    # Unknown error codes (§7).
    Rule("7", "an unknown error code of RST_STREAM",
         [headers(1, POST, False), rst_stream(1, 0xFF), round_trip], ignored),
    Rule("7", "an error code of 32 bits", [headers(1, POST, False), rst_stream(1, 2**32 - 1)],
         ignored),
]  # fmt: skip

# Nothing may come between HEADERS without END_HEADERS and its CONTINUATION (§4.3, §6.10).
WITHIN_A_BLOCK = {
    "DATA": data(1),
    "HEADERS": headers(3),
    "HEADERS of the same stream": headers(1),
    "PRIORITY": priority(1),
    "PRIORITY of another stream": priority(5),
    "RST_STREAM": rst_stream(1),
    "SETTINGS": settings(),
    "SETTINGS acknowledgement": settings(flags=ACK),
    "PUSH_PROMISE": frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + GET_BLOCK),
    "PING": ping(),
    "GOAWAY": goaway(),
    "WINDOW_UPDATE": window_update(0, 1),
    "CONTINUATION of another stream": continuation(3, b""),
    "CONTINUATION of no stream": continuation(0, b""),
}
RULES += [
    Rule(
        "4.3",
        f"{what} within a block",
        [headers(1, GET_BLOCK[:9], flags=0), between, continuation(1, GET_BLOCK[9:])],
        connection_error(PROTOCOL_ERROR),
    )
    for what, between in WITHIN_A_BLOCK.items()
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rule(server, rule):
    rule.check(server.address)


def test_5_4_1_the_last_stream_of_goaway_is_one_that_was_processed(server):
    with Http2(server.address) as client:
        client.request(1)
        client.request(5)
        client.send(ping(b"short"))
        client.until_closed()
        assert client.goaways == [(5, FRAME_SIZE_ERROR, client.goaways[0][2])]


def test_5_4_1_responses_before_an_error_arrive(server):
    with Http2(server.address) as client:
        client.request(1)
        client.send(headers(3, GET_BLOCK), frame(CONTINUATION, 0, 3, b""))
        client.until_closed()
        assert client.streams[1].is_ended and client.goaways[-1][1] == PROTOCOL_ERROR


def test_7_an_unknown_error_code_of_goaway_is_like_any_other(server):
    with Http2(server.address) as client:
        client.send(headers(1, POST, False), goaway(0xFF), data(1, b"body"))
        assert client.response(1).body == b"POST / body"


def test_6_8_goaway_of_the_client_lets_its_requests_end(server):
    with Http2(server.address) as client:
        client.send(headers(1, POST, False), frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)))
        client.send(data(1, b"body"))
        assert client.response(1).body == b"POST / body"


def test_a_connection_goes_on_after_everything_that_is_ignored(server):
    with Http2(server.address) as client:
        client.send(frame(UNKNOWN, 0, 0), priority(1), settings(), ping(), window_update(0, 1))
        goes_on(client)
