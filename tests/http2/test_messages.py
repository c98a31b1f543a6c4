"""RFC 9113 §8: requests and responses."""

import json

import pytest
from harness import request as http1_request
from harness.http2 import (
    CONTINUATION,
    GET,
    MAX_FRAME_SIZE,
    NO_ERROR,
    POST,
    PREFACE,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    Http2,
    data,
    headers,
    settings,
)
from harness.http2_rules import (
    Rule,
    answered,
    get,
    goes_on,
    refused,
    stream_error,
    stream_or_connection_error,
    with_fields,
)

METHOD, SCHEME, PATH, AUTHORITY = GET
MALFORMED = stream_error(1, PROTOCOL_ERROR)


def malformed(section, fact, fields):
    """A stream error PROTOCOL_ERROR (§8.1.1), with and without a body behind it."""
    return [
        Rule(section, fact, [headers(1, fields)], MALFORMED),
        Rule(section, fact + ", and a body", [headers(1, fields, False), data(1, b"x")], MALFORMED),
    ]


def malformed_trailers(section, fact, *fields):
    steps = [headers(1, POST, False), data(1, b"body", False), headers(1, fields)]
    return Rule(section, fact + " in trailers", steps, MALFORMED)


RULES = [
    # Messages (§8.1).
    Rule("8.1", "trailers", [headers(1, POST, False), data(1, b"x", False),
                             headers(1, ((b"x-sum", b"1"),))], answered(body=b"POST / x")),
    Rule("8.1", "trailers without a body", [headers(1, POST, False), headers(1, ((b"x", b"y"),))],
         answered(body=b"POST / ")),
    Rule("8.1", "empty trailers", [headers(1, POST, False), headers(1, ())],
         answered(body=b"POST / ")),
    Rule("8.1", "HEADERS that end nothing",
         [headers(1, POST, False), headers(1, ((b"x", b"y"),), False)], MALFORMED),
    Rule("8.1", "HEADERS that end nothing, behind DATA",
         [headers(1, POST, False), data(1, b"x", False), headers(1, ((b"x", b"y"),), False)],
         MALFORMED),
    Rule("8.1", "a second request on a stream", [headers(1, POST, False), headers(1, POST, False)],
         MALFORMED),
    Rule("8.1", "DATA behind trailers",
         [headers(1, POST, False), headers(1, ((b"x", b"y"),)), data(1, b"x")],
         stream_or_connection_error(1, STREAM_CLOSED)),
    Rule("8.1", "a body of a GET", [headers(1, GET, False), data(1, b"x")],
         answered(body=b"GET / x")),
    # Content-Length (§8.1.1).
    Rule("8.1.1", "Content-Length above the body",
         [headers(1, with_fields((b"content-length", b"5"), base=POST), False), data(1, b"body")],
         MALFORMED),
    Rule("8.1.1", "Content-Length below the body",
         [headers(1, with_fields((b"content-length", b"3"), base=POST), False), data(1, b"body")],
         MALFORMED),
    Rule("8.1.1", "Content-Length below the body, which has not ended",
         [headers(1, with_fields((b"content-length", b"3"), base=POST), False),
          data(1, b"body", False)], MALFORMED),
    Rule("8.1.1", "Content-Length above the sum of two DATA frames",
         [headers(1, with_fields((b"content-length", b"9"), base=POST), False),
          data(1, b"body", False), data(1, b"body")], MALFORMED),
    Rule("8.1.1", "Content-Length below the sum of two DATA frames",
         [headers(1, with_fields((b"content-length", b"7"), base=POST), False),
          data(1, b"body", False), data(1, b"body")], MALFORMED),
    Rule("8.1.1", "Content-Length above a body that ends with trailers",
         [headers(1, with_fields((b"content-length", b"9"), base=POST), False),
          data(1, b"body", False), headers(1, ((b"x", b"y"),))], MALFORMED),
    Rule("8.1.1", "Content-Length and END_STREAM",
         [headers(1, with_fields((b"content-length", b"1"), base=POST))], MALFORMED),
    Rule("8.1.1", "Content-Length and an empty DATA frame",
         [headers(1, with_fields((b"content-length", b"1"), base=POST), False), data(1)],
         MALFORMED),
    Rule("8.1.1", "Content-Length that is the sum, which padding does not count to",
         [headers(1, with_fields((b"content-length", b"8"), base=POST), False),
          data(1, b"body", False), b"\0\0\x0e\0\x09\0\0\0\1\x09body" + bytes(9)],
         answered(body=b"POST / bodybody")),
    Rule("8.1.1", "Content-Length of 0 and END_STREAM",
         [headers(1, with_fields((b"content-length", b"0"), base=POST))], answered()),
    Rule("8.1.1", "Content-Length of 0 and an empty DATA frame",
         [headers(1, with_fields((b"content-length", b"0"), base=POST), False), data(1)],
         answered()),
    *(Rule("8.1.1", f"Content-Length {values!r}",
           [headers(1, with_fields(*((b"content-length", value) for value in values), base=POST),
                    False), data(1, b"body")], refused())
      for values in ([b"abc"], [b"-4"], [b"+4"], [b"4 "], [b""], [b"0x4"], [b"4", b"5"],
                     [b"99999999999999999999999"])),
    # Fields (§8.2.1).
    *malformed("8.2", "a field name in upper case", with_fields((b"X-Test", b"ok"))),
    *malformed("8.2", "a field name with one letter in upper case", with_fields((b"tesT", b"ok"))),
    *(rule for byte in (b"\0", b"\t", b" ", b"\n", b"\r", b":", b"\x7f", b"\x80", b"\xff", b'"',
                        b"(", b"/", b"@", b"[", b"{")
      for rule in malformed("8.2.1", f"a field name with {byte!r}",
                            with_fields((b"x" + byte + b"y", b"ok")))),
    *malformed("8.2.1", "an empty field name", with_fields((b"", b"ok"))),
    *(rule for byte in (b"\0", b"\n", b"\r")
      for rule in malformed("8.2.1", f"a field value with {byte!r}",
                            with_fields((b"x", b"a" + byte + b"b")))),
    *(rule for value in (b" a", b"a ", b"\ta", b"a\t", b" ", b"\t")
      for rule in malformed("8.2.1", f"the field value {value!r}", with_fields((b"x", value)))),
    Rule("8.2.1", "an empty field value", [headers(1, with_fields((b"x", b"")))], answered()),
    Rule("8.2.1", "a field value of all other bytes",
         [headers(1, with_fields((b"x", b"a" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
                                  + b"\tb")))], answered()),
    Rule("8.2.1", "a field name of all bytes of a token",
         [headers(1, with_fields((b"!#$%&'*+-.^`|~0123456789abcdefghijklmnopqrstuvwxyz", b"ok")))],
         answered()),
    # Fields of the connection (§8.2.2).
    *(rule for name, value in (
        (b"connection", b"keep-alive"), (b"connection", b"close"), (b"connection", b""),
        (b"proxy-connection", b"keep-alive"), (b"keep-alive", b"timeout=5"),
        (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"identity"),
        (b"upgrade", b"h2c"), (b"te", b"trailers, deflate;q=0.5"), (b"te", b"gzip"), (b"te", b""))
      for rule in malformed("8.2.2", f"{name.decode()}: {value.decode()}",
                            with_fields((name, value)))),
    Rule("8.2.2", "te: trailers", [headers(1, with_fields((b"te", b"trailers")))], answered()),
    # Pseudo-header fields (§8.3).
    *malformed("8.3", "an unknown one", with_fields((b":test", b"ok"))),
    *malformed("8.3", "an unknown one before the others", ((b":test", b"ok"), *GET)),
    *malformed("8.3", "an empty name behind the colon", ((b":", b"ok"), *GET)),
    *malformed("8.3", "one in upper case", ((b":Method", b"GET"), SCHEME, PATH, AUTHORITY)),
    *malformed("8.3", "one of responses", ((b":status", b"200"), *GET)),
    *malformed("8.3", "behind a field", (METHOD, SCHEME, (b"x", b"y"), PATH, AUTHORITY)),
    *malformed("8.3", "the last one behind a field", (METHOD, SCHEME, PATH, (b"x", b"y"),
                                                      AUTHORITY)),
    Rule("8.3", "in another order", [headers(1, (AUTHORITY, PATH, SCHEME, METHOD))], answered()),
    *(rule for missing, fact in ((METHOD, ":method"), (SCHEME, ":scheme"), (PATH, ":path"))
      for rule in malformed("8.3.1", f"{fact} is missing",
                            tuple(field for field in GET if field != missing))),
    *(rule for twice in (METHOD, SCHEME, PATH, AUTHORITY)
      for rule in malformed("8.3.1", f"{twice[0].decode()} twice", (*GET, twice))),
    *malformed("8.3.1", ":method twice, and different", (METHOD, (b":method", b"POST"), *GET[1:])),
    *malformed("8.3.1", "an empty :path", (METHOD, SCHEME, (b":path", b""), AUTHORITY)),
    *malformed("8.3.1", "no field at all", ()),
    *(Rule("8.3.1", f":path {path!r}", [headers(1, get(path))], refused())
      for path in (b"foo", b"*", b"http://h/", b"/a b", b"/a\0", b"/a\r\nx: y", b" /", b"/ ",
                   b"/a#b", b"//h\t/")),
    *(Rule("8.3.1", f":method {method!r}",
           [headers(1, ((b":method", method), SCHEME, PATH, AUTHORITY))], refused())
      for method in (b"", b"G T", b"G\0T", b"GET\r\n", b"GET ", b"(GET)")),
    *(Rule("8.3.1", f":scheme {scheme!r}",
           [headers(1, (METHOD, (b":scheme", scheme), PATH, AUTHORITY))], refused())
      for scheme in (b"", b"ht tp", b"1http", b"http:", b"http\0")),
    *(Rule("8.3.1", f":authority {authority!r}",
           [headers(1, (METHOD, SCHEME, PATH, (b":authority", authority)))], refused())
      for authority in (b"user@h", b"user:password@h", b"h/", b"h:port", b"h h", b"h\0", b"h:1:2",
                        b"a,b", b"h#", b"h?")),
    *(Rule("8.3.1", f":authority and Host {host!r}",
           [headers(1, with_fields((b"host", host)))], refused())
      for host in (b"other", b"h:81", b"")),
    Rule("8.3.1", "Host twice", [headers(1, (METHOD, SCHEME, PATH, (b"host", b"h"),
                                             (b"host", b"h")))], refused()),
    Rule("8.3.1", "neither :authority nor Host", [headers(1, (METHOD, SCHEME, PATH))], refused()),
    Rule("8.3.1", ":authority and the same Host", [headers(1, with_fields((b"host", b"h")))],
         answered()),
    Rule("8.3.1", "Host without :authority", [headers(1, (METHOD, SCHEME, PATH, (b"host", b"h")))],
         answered()),
    Rule("8.3.1", "OPTIONS of *",
         [headers(1, ((b":method", b"OPTIONS"), SCHEME, (b":path", b"*"), AUTHORITY))],
         lambda client: goes_on(client) if client.response(1).status < 300 else refused()(client)),
    # Trailers.
    malformed_trailers("8.1", "a pseudo-header field", (b":method", b"POST")),
    malformed_trailers("8.1", "a pseudo-header field of responses", (b":status", b"200")),
    malformed_trailers("8.1", "an unknown pseudo-header field", (b":x", b"y")),
    malformed_trailers("8.2", "a field name in upper case", (b"X-Sum", b"y")),
    malformed_trailers("8.2.1", "a field name with a space", (b"x y", b"y")),
    malformed_trailers("8.2.1", "an empty field name", (b"", b"y")),
    malformed_trailers("8.2.1", "a field value with a line end", (b"x", b"a\nb")),
    malformed_trailers("8.2.1", "a field value with a space at its end", (b"x", b"a ")),
    malformed_trailers("8.2.2", "a field of the connection", (b"connection", b"close")),
    malformed_trailers("8.2.2", "Transfer-Encoding", (b"transfer-encoding", b"chunked")),
    # CONNECT (§8.5).
    Rule("8.5", "CONNECT", [headers(1, ((b":method", b"CONNECT"), (b":authority", b"h:443")))],
         refused()),
    *malformed("8.5", "CONNECT with :scheme and :path", ((b":method", b"CONNECT"), *GET[1:])),
    *malformed("8.5", "CONNECT with :path", ((b":method", b"CONNECT"), PATH, AUTHORITY)),
    *malformed("8.5", "CONNECT without :authority", ((b":method", b"CONNECT"),)),
    *malformed("RFC 8441 4", ":protocol, which the server has not enabled",
               ((b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:])),
    *malformed("RFC 8441 4", ":protocol of a GET", ((b":protocol", b"websocket"), *GET)),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rule(server, rule):
    rule.check(server.address)


def test_8_1_the_head_of_a_response_has_no_body(server):
    with Http2(server.address) as client:
        head = ((b":method", b"HEAD"), *get(b"/head-with-length")[1:])
        response = client.request(1, head)
        assert (response.status, response.field("content-length")) == (200, "12345")
        goes_on(client)


@pytest.mark.parametrize("code", [204, 304])
def test_8_1_these_responses_have_no_body(server, code):
    with Http2(server.address) as client:
        response = client.request(1, get(b"/status?code=%d" % code))
        assert (response.status, response.body) == (code, b"")
        goes_on(client)


def test_8_1_an_expectation_is_answered_before_the_response(server):
    fields = with_fields((b"expect", b"100-continue"), (b"content-length", b"4"), base=POST)
    with Http2(server.address) as client:
        client.send(headers(1, fields, False))
        client.wait(lambda: client.streams[1].interim, "100")
        assert client.streams[1].interim[0][0] == (":status", "100")
        client.send(data(1, b"body"))
        assert client.response(1).body == b"POST / body"


def test_8_1_a_response_of_pieces_without_a_length_is_intact(server):
    with Http2(server.address) as client:
        response = client.request(1, get(b"/stream?pieces=50"))
        assert response.field("transfer-encoding") is None
        assert response.body == b"".join(b"piece %d;" % number for number in range(50))


def test_8_2_3_cookies_are_joined(echoing):
    cookies = ((b"cookie", b"a=1"), (b"cookie", b"b=2; c=3"), (b"cookie", b"d=4"))
    with Http2(echoing.address) as client:
        seen = json.loads(client.request(1, with_fields(*cookies)).body)
        assert seen["headers"]["HTTP_COOKIE"] == "a=1; b=2; c=3; d=4"


def test_8_3_1_a_request_reaches_the_application_as_over_http1(echoing):
    fields = (*get(b"/a%20b//c/?q=1&r"), (b"x", b"1"), (b"x", b"2"), (b"content-type", b"a/b"))
    with Http2(echoing.address) as client:
        seen = json.loads(client.request(1, ((b":method", b"PUT"), *fields[1:]), b"body").body)
    assert (seen["method"], seen["path"], seen["query"]) == ("PUT", "/a b//c/", "q=1&r")
    assert seen["protocol"] == "HTTP/2.0"
    assert seen["headers"]["HTTP_HOST"] == "h"
    assert seen["headers"]["HTTP_X"] in ("1,2", "1, 2")
    assert seen["headers"]["CONTENT_TYPE"] == "a/b"
    assert seen["body"] == "body"


def test_8_3_1_fields_with_an_underscore_do_not_reach_the_application(echoing):
    fields = with_fields((b"x_forwarded_for", b"spoof"), (b"x-forwarded_for", b"spoof"))
    with Http2(echoing.address) as client:
        assert json.loads(client.request(1, fields).body)["merged"] == []


def test_10_5_a_head_beyond_the_limit_is_refused_and_the_connection_goes_on(server):
    with Http2(server.address) as client:
        fields = with_fields(*((b"x-%d" % number, b"v" * 900) for number in range(15)))
        client.send(headers(1, fields))
        large = with_fields(*((b"x-%d" % number, b"v" * 9_000) for number in range(1)))
        client.send(headers(3, large))
        refused(3)(client)


def test_10_5_too_many_fields_are_refused_and_the_connection_goes_on(server):
    with Http2(server.address) as client:
        client.send(headers(1, with_fields(*((b"x-%d" % n, b"v") for n in range(500)))))
        refused(1)(client)


def test_own_fields_of_the_application_arrive_in_lower_case(server):
    with Http2(server.address) as client:
        response = client.request(1, get(b"/cookies"))
        cookies = [value for name, value in response.fields if name == "set-cookie"]
        assert cookies == ["a=1", "b=2"]
        assert response.field("x-reply") == "r\xe9"


@pytest.mark.parametrize("size", [16_384, 20_000])
def test_6_10_a_large_head_is_sent_in_frames_of_the_clients_size(server, size):
    with Http2(server.address, settings((MAX_FRAME_SIZE, size))) as client:
        client.settled()
        response = client.request(1, get(b"/large-headers"))
        assert response.field("x-large-39") == "9" * 1_000
        assert [frame.kind for frame in client.frames].count(CONTINUATION) == 2
        goes_on(client)


def test_a_body_beyond_the_limit_is_refused_and_the_connection_goes_on(start):
    server = start("wire_app:app", "--http2", "--limit-request-body", "10")
    fields = with_fields((b"content-length", b"11"), base=POST)
    with Http2(server.address) as client:
        client.send(headers(1, fields, False), headers(3, POST, False), data(3, b"x" * 11, False))
        for stream in (1, 3):
            client.wait(lambda s=stream: client.streams[s].reset is not None, "RST_STREAM")
            assert (client.streams[stream].status, client.streams[stream].reset) == (413, NO_ERROR)
        # What was under way is dropped.
        client.send(data(1, b"x" * 11))
        goes_on(client)


def test_a_request_over_http1_is_answered_on_the_same_port(server):
    assert server.get("/").body == b"GET / "
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ")
    assert server.get("/", *upgrade).body == b"GET / "


def test_3_4_a_preface_behind_a_request_of_http1_is_refused(server):
    with server.connect() as wire:
        wire.send(http1_request() + PREFACE + settings())
        assert wire.response().status == 200
        assert wire.response().status in (400, 505)
        wire.expect_close()


def test_3_4_a_server_without_http2_refuses_the_preface(start):
    server = start("wire_app:app", "--no-http2")
    with server.connect() as wire:
        wire.send(PREFACE + settings())
        assert wire.response().status in (400, 505)
        wire.expect_close()
