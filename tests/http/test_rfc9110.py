"""RFC 9110, paragraph by paragraph: what the meaning of a request demands of a server."""

import json
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import pytest
from harness import chunked, request


def seen_by(response):
    assert response.status == 200, response
    return json.loads(response.body)


@pytest.mark.parametrize("version", ["1.2", "1.9"])
def test_2_5_a_higher_minor_version_is_read_as_1_1(echoing, version):
    with echoing.connect() as wire:
        wire.send(request("POST", "/1", "Expect: 100-continue", "Content-Length: 3",
                          version=version))  # fmt: skip
        assert wire.response().status == 100
        wire.send(b"abc")
        response = wire.response()
        assert (response.version, seen_by(response)["body"]) == ("1.1", "abc")
        wire.send(request("POST", "/2", "Transfer-Encoding: chunked", version=version))
        wire.send(chunked([b"defg"]))
        assert seen_by(wire.response())["body"] == "defg"


def test_4_2_4_user_information_in_a_target_is_an_error(server):
    assert server.exchange(request("GET", "http://user:word@lockgate.test/")).status == 400


def test_5_1_field_names_are_case_insensitive(echoing):
    data = request("POST", "/", "cOnTeNt-LeNgTh: 3", "x: y", "CONNECTION: CLOSE") + b"abc"
    seen = seen_by(echoing.exchange(data))
    assert (seen["body"], seen["x"]) == ("abc", "y")


def test_5_3_lines_of_one_name_are_joined_in_order(echoing):
    data = request("GET", "/", "X: a", "Y: -", "x: b", "X: c", "Connection: close")
    assert seen_by(echoing.exchange(data))["x"].replace(" ", "") == "a,b,c"


def test_5_5_bytes_above_ascii_in_a_value_are_passed_and_controls_are_not(echoing):
    data = request("GET", "/", "X: \xe9\xff\x80", "Connection: close")
    assert seen_by(echoing.exchange(data))["x"] == "\xe9\xff\x80"
    for control in [*range(9), 10, 11, 12, 13, *range(14, 32), 127]:
        assert echoing.exchange(request("GET", "/", f"X: a{chr(control)}b")).status == 400, control


def test_6_5_1_a_trailer_that_frames_routes_or_authenticates_is_refused(server):
    forbidden = (
        "Authorization", "Cache-Control", "Connection", "Content-Encoding", "Content-Length",
        "Content-Range", "Cookie", "Expect", "Forwarded", "Host", "Keep-Alive", "Max-Forwards",
        "Proxy-Authorization", "Proxy-Connection", "Range", "TE", "Trailer", "Transfer-Encoding",
        "Upgrade", "Via",
    )  # fmt: skip
    for name in forbidden:
        data = request("POST", "/", "Transfer-Encoding: chunked") + chunked([b"a"], f"{name}: 1")
        assert server.exchange(data).status == 400, name


@pytest.mark.parametrize("path", ["/", "/stream", "/status?code=404", "/status?code=204", "/pid"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_6_6_1_every_answer_has_one_date_of_now(server, path, method):
    with server.connect() as wire:
        wire.send(request(method, path, "Connection: close"))
        date = wire.response(method).header("Date")
    off = datetime.now(timezone.utc) - parsedate_to_datetime(date)
    assert abs(off) < timedelta(seconds=3)


def test_6_6_1_refusals_have_a_date_too(server):
    assert parsedate_to_datetime(server.exchange(b"BAD\r\n\r\n").header("Date"))


def test_7_2_host_reaches_the_application_as_sent(echoing):
    for host in ("a", "a.b:80", "[::1]:8000", "EXAMPLE.com", "xn--bcher-kva.example"):
        data = request("GET", "/", "Connection: close", host=host)
        assert seen_by(echoing.exchange(data))["headers"]["HTTP_HOST"] == host


def test_7_6_1_connection_options_of_the_request_are_not_echoed(server):
    response = server.exchange(request("GET", "/", "Connection: close, X-Option", "X-Option: 1"))
    assert [value.lower() for value in response.all("Connection")] == ["close"]


def test_7_8_an_upgrade_that_is_not_offered_is_ignored(echoing):
    for protocol in ("websocket", "h2c", "TLS/1.0", "HTTP/2.0"):
        with echoing.connect() as wire:
            wire.send(request("GET", "/1", "Connection: Upgrade", f"Upgrade: {protocol}"))
            assert seen_by(wire.response())["path"] == "/1"
            wire.send(request("GET", "/2", "Connection: close"))
            assert seen_by(wire.response())["path"] == "/2"
            wire.expect_close()


def test_8_6_no_length_beside_a_transfer_coding_and_none_in_1xx_and_204(server):
    # The reader of the tests refuses all of these; so it is enough to read.
    for path in ("/stream", "/status?code=204", "/large-stream?megabytes=1", "/file"):
        with server.connect() as wire:
            wire.send(request("GET", path, "Connection: close"))
            wire.response()
            wire.expect_close()


def test_8_6_a_length_that_the_application_gave_to_head_is_the_one_of_get(server):
    with server.connect() as wire:
        wire.send(request("HEAD", "/head-with-length", "Connection: close"))
        assert wire.response("HEAD").header("Content-Length") == "12345"
        wire.expect_close()


def test_9_1_an_unknown_method_reaches_the_application(echoing):
    data = request("BREW", "/", "Connection: close")
    assert seen_by(echoing.exchange(data))["method"] == "BREW"


@pytest.mark.parametrize("path", ["/", "/stream", "/large?megabytes=1", "/file", "/pid"])
def test_9_3_2_head_has_no_content_where_get_has_some(server, path):
    with server.connect() as wire:
        wire.send(request("HEAD", path) + request("GET", "/next", "Connection: close"))
        wire.response("HEAD")
        assert wire.response().body == b"GET /next "
        wire.expect_close()


def test_9_3_2_a_refused_head_request_has_no_content_either(server):
    """A client that keeps the rules takes what follows that head for another answer."""
    refused = [
        request("HEAD", "/", host=None),
        request("HEAD", "/", "Expect: a-miracle"),
        request("HEAD", "/", "Content-Length: x"),
        request("HEAD", "/", "X : y"),
        request("HEAD", "/", "Content-Length: 9999999999999"),
        request("HEAD", "/", *["X: y"] * 200),
    ]
    for data in refused:
        with server.connect() as wire:
            wire.send(data)
            assert wire.response("HEAD").status >= 400
            wire.expect_close()


def test_9_3_6_connect_is_refused_and_nothing_behind_it_is_read(server):
    with server.connect() as wire:
        wire.send(request("CONNECT", "lockgate.test:80") + request("GET", "/tunnelled"))
        assert wire.response().status == 501
        wire.expect_close()


@pytest.mark.parametrize(
    ("target", "version", "body"),
    [
        ("*", "1.1", None),
        ("*", "1.1", b"a body that is read to its end"),
        ("*", "1.0", None),
        ("http://lockgate.test", "1.1", None),
    ],
)
def test_9_3_7_options_of_the_server_itself_is_answered_by_the_server(
    server, target, version, body
):
    with server.connect() as wire:
        for _ in range(3):
            keep = ["Connection: keep-alive"] if version == "1.0" else []
            wire.send(request("OPTIONS", target, *keep, version=version, body=body))
            response = wire.response("OPTIONS")
            assert (response.status, response.header("Content-Length")) == (200, "0")
            assert response.header("Date")
        wire.send(request("OPTIONS", target, "Connection: close", version=version))
        assert wire.response("OPTIONS").wants_close()
        wire.expect_close()


def test_9_3_7_pipelined_options_are_answered_in_order(server):
    with server.connect() as wire:
        wire.send((request("OPTIONS", "*") + request("GET", "/first")) * 20)
        for _ in range(20):
            assert wire.response("OPTIONS").body == b""
            assert wire.response().body == b"GET /first "


def test_9_3_7_options_of_a_path_reaches_the_application(echoing):
    for target in ("/", "/*", "http://lockgate.test/", "http://lockgate.test?x"):
        data = request("OPTIONS", target, "Connection: close")
        assert seen_by(echoing.exchange(data))["method"] == "OPTIONS"


def test_9_3_8_trace_echoes_nothing(server):
    response = server.exchange(request("TRACE", "/", "Cookie: secret=1"))
    assert response.status in (405, 501) and b"secret" not in response.body


def test_10_1_1_the_expectation_is_case_insensitive_and_answered_before_the_body(echoing):
    with echoing.connect() as wire:
        wire.send(request("POST", "/", "Expect: 100-CONTINUE", "Content-Length: 3"))
        assert wire.response().status == 100
        wire.send(b"abc")
        assert seen_by(wire.response())["body"] == "abc"


def test_10_1_1_no_100_without_a_body_to_come(echoing):
    for headers in ([], ["Content-Length: 0"]):
        with echoing.connect() as wire:
            wire.send(request("POST", "/", "Expect: 100-continue", *headers))
            assert wire.response().status == 200


def test_10_1_1_no_100_to_http_1_0(echoing):
    with echoing.connect() as wire:
        wire.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 3", version="1.0"))
        wire.send(b"abc")
        assert seen_by(wire.response())["body"] == "abc"


def test_10_1_1_a_body_that_is_already_there_is_read_with_one_final_answer(echoing):
    with echoing.connect() as wire:
        for framing, body in [("Content-Length: 3", b"abc"),
                              ("Transfer-Encoding: chunked", chunked([b"abc"]))]:  # fmt: skip
            wire.send(request("POST", "/", "Expect: 100-continue", framing) + body)
            response = wire.response()
            if response.status == 100:
                response = wire.response()
            assert seen_by(response)["body"] == "abc"
        wire.send(request("GET", "/next", "Connection: close"))
        assert seen_by(wire.response())["path"] == "/next"
        wire.expect_close()


def test_10_1_1_an_early_final_answer_to_an_expectation_leaves_no_doubt_about_the_body(server):
    """Refused before 100: the client may send the body or not, so the connection must end."""
    with server.connect() as wire:
        wire.send(request("POST", "/", "Expect: 100-continue", f"Content-Length: {1 << 40}"))
        response = wire.response()
        assert response.status == 413 and response.wants_close()
        wire.expect_close()


def test_10_1_1_another_expectation_is_417(server):
    assert server.exchange(request("GET", "/", "Expect: x")).status == 417


def test_10_1_1_an_expectation_is_a_list_whose_empty_elements_do_not_count(echoing):
    for value in ("100-continue, 100-continue", "100-continue,", ",100-Continue ,"):
        with echoing.connect() as wire:
            wire.send(request("POST", "/", f"Expect: {value}", "Content-Length: 2"))
            assert wire.response().status == 100
            wire.send(b"ab")
            assert wire.response().status == 200
    assert echoing.get("/", "Expect: ,").status == 200
    assert echoing.get("/", "Expect: 100-continue, other").status == 417


def test_10_1_4_te_has_no_effect_on_an_answer_that_needs_no_trailers(server):
    for te in ("trailers", "gzip;q=1", "", "chunked"):
        response = server.exchange(request("GET", "/", f"TE: {te}", "Connection: close, TE"))
        assert response.status == 200 and response.framing == "length"


@pytest.mark.parametrize("status", [101, 199, 100])
def test_15_2_an_application_cannot_end_with_an_interim_status(server, status):
    assert server.get(f"/status?code={status}").status == 500


def test_15_3_5_204_and_15_4_5_304_end_with_their_heads(server):
    with server.connect() as wire:
        for code in (204, 304, 204):
            wire.send(request("GET", f"/status?code={code}"))
            assert wire.response().status == code
        wire.send(request("GET", "/next", "Connection: close"))
        assert wire.response().body == b"GET /next "
        wire.expect_close()


def test_15_3_6_205_has_no_content_even_if_the_application_returns_some(server):
    with server.connect() as wire:
        for method in ("GET", "HEAD"):
            wire.send(request(method, "/status?code=205&body=content"))
            response = wire.response(method)
            assert (response.status, response.header("Content-Length")) == (205, "0")
            assert response.body == b""
        wire.send(request("GET", "/next"))
        assert wire.response().body == b"GET /next "


def test_15_5_14_too_large_a_body_is_413_before_it_is_sent(server):
    with server.connect() as wire:
        wire.send(request("POST", "/", f"Content-Length: {1 << 50}"))
        assert wire.response().status == 413
        wire.expect_close()
