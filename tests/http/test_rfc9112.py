"""RFC 9112, paragraph by paragraph: what a server must do on the wire. One fact a requirement."""

import json
import re

import pytest
from harness import chunked, request


def seen_by(response):
    assert response.status == 200, response
    return json.loads(response.body)


def refused(server, data, status=400):
    """It is answered with the status, says that it closes, closes, and nothing comes behind it."""
    with server.connect() as wire:
        wire.send_while_open(data)
        response = wire.response()
        assert response.status == status, (data, response)
        assert response.wants_close()
        wire.expect_close()
    return response


def test_2_1_a_message_may_have_no_field_lines_but_host(server):
    assert server.exchange(b"GET / HTTP/1.0\r\n\r\n").status == 200


@pytest.mark.parametrize("data", [b"\xff\xfe", b"G\xc9T / HTTP/1.1\r\n", b"\x16\x03\x01\x00\xa5"])
def test_2_2_a_message_is_octets_and_not_text(server, data):
    refused(server, data + b"\r\n\r\n")


def test_2_2_a_bare_cr_is_invalid_or_a_space(server):
    refused(server, request("GET", "/", "X: a\rb"))
    refused(server, b"GET /\r HTTP/1.1\r\nHost: h\r\n\r\n")


def test_2_2_an_empty_line_before_the_request_line_is_ignored(server):
    with server.connect() as wire:
        wire.send(request("POST", "/1", body=b"a") + b"\r\n" + request("GET", "/2"))
        assert wire.response().body == b"POST /1 a"
        assert wire.response().body == b"GET /2 "
        wire.send(b"\r\n")
        wire.send(request("GET", "/3", "Connection: close"))
        assert wire.response().body == b"GET /3 "
        wire.expect_close()


def test_2_2_white_space_before_the_first_field_is_refused(server):
    refused(server, b"GET / HTTP/1.1\r\n Host: h\r\n\r\n")
    refused(server, b"GET / HTTP/1.1\r\n\tX: y\r\nHost: h\r\n\r\n")


@pytest.mark.parametrize("version", ["2.0", "3.0", "0.9"])
def test_2_3_another_major_version_is_refused(server, version):
    status = 505 if version != "0.9" else None
    with server.connect() as wire:
        wire.send(f"GET / HTTP/{version}\r\nHost: h\r\n\r\n".encode())
        response = wire.response()
        assert response.status == (status or response.status) and response.status in (400, 505)
        wire.expect_close()


@pytest.mark.parametrize("version", ["http/1.1", "HTTP/01.1", "HTTP/1.10", "HTTP/1,1", "HTTP/1."])
def test_2_3_the_version_is_case_sensitive_and_two_digits(server, version):
    refused(server, f"GET / {version}\r\nHost: h\r\n\r\n".encode())


def test_2_3_responses_are_of_the_servers_own_version(server):
    for version in ("1.0", "1.1"):
        response = server.exchange(request("GET", "/", "Connection: close", version=version))
        assert response.version == "1.1"


@pytest.mark.parametrize(
    "line",
    [b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b"GET\t/ HTTP/1.1", b"GET /  HTTP/1.1",
     b" GET / HTTP/1.1", b"GET /a b HTTP/1.1", b"GET/ HTTP/1.1", b"GET / HTTP/1.1\x0b",
     b"GET /\x0cx HTTP/1.1"],
)  # fmt: skip
def test_3_an_invalid_request_line_is_refused_and_not_repaired(server, line):
    refused(server, line + b"\r\nHost: h\r\n\r\n")


def test_3_request_lines_of_8000_octets_are_supported(server):
    target = "/" + "a" * (8000 - len("GET / HTTP/1.1"))
    assert server.get(target).status == 200


def test_3_a_longer_target_is_414(server):
    refused(server, request("GET", "/" + "a" * 9000), 414)


@pytest.mark.parametrize("length", [33, 100, 8_000, 100_000])
def test_3_a_longer_method_than_any_that_is_known_is_501(server, length):
    refused(server, request("A" * length, "/"), 501)


def test_3_1_the_method_is_case_sensitive(echoing):
    for method in ("get", "Get", "POSTS", "M-SEARCH", "PROPFIND", "!#$%&'*+-.^_`|~09"):
        data = request(method, "/", "Connection: close")
        assert seen_by(echoing.exchange(data))["method"] == method


def test_3_2_1_an_empty_path_is_no_origin_form(server):
    refused(server, b"GET ?a=b HTTP/1.1\r\nHost: h\r\n\r\n")


def test_3_2_the_query_arrives_as_sent(echoing):
    seen = seen_by(echoing.get("/a%2Fb?c=%20d?e/f&g=+"))
    assert seen["raw"] == "/a%2Fb?c=%20d?e/f&g=+"
    assert (seen["path"], seen["query"]) == ("/a/b", "c=%20d?e/f&g=+")


def test_3_2_host_is_required_in_1_1_once_and_valid(server):
    refused(server, request("GET", "/", host=None))
    refused(server, request("GET", "/", "Host: other"))
    refused(server, request("GET", "/", host="a b"))
    refused(server, request("GET", "/", host="a,b"))
    refused(server, request("GET", "/", host="a/b"))
    refused(server, request("GET", "http://a/", host=None))


def test_3_2_2_the_authority_of_an_absolute_target_overrides_host(echoing):
    response = echoing.exchange(request("GET", "http://other.test:81/a?b", "Connection: close"))
    seen = seen_by(response)
    assert seen["headers"]["HTTP_HOST"] == "other.test:81"
    assert (seen["path"], seen["query"]) == ("/a", "b")


def test_3_2_2_an_absolute_target_without_a_path_is_the_root(echoing):
    seen = seen_by(echoing.exchange(request("GET", "HTTP://other.test", "Connection: close")))
    assert seen["path"] == "/"


def test_3_2_3_the_authority_form_is_for_connect_only(server):
    refused(server, request("GET", "lockgate.test:80"))
    refused(server, request("CONNECT", "lockgate.test:80"), 501)


def test_3_2_4_the_asterisk_form_is_for_options_only(echoing):
    assert echoing.get("*", method="OPTIONS").status == 200
    for method in ("GET", "POST", "options"):
        refused(echoing, request(method, "*"))


def test_4_the_status_line_has_three_digits_and_a_space(server):
    with server.connect() as wire:
        wire.send(request("GET", "/", "Connection: close"))
        line = wire.rest().split(b"\r\n")[0]
    assert re.fullmatch(rb"HTTP/1\.1 [0-9]{3} [ -~]*", line)


@pytest.mark.parametrize("name", ["X ", "X\t", " X", "X Y", "", "X(", "X/Y", "X@", "X\x7f", "\xe9"])
def test_5_1_a_field_name_is_a_token_without_white_space(server, name):
    data = request("GET", "/", f"{name}: y")
    refused(server, data)


def test_5_1_white_space_around_a_value_is_no_part_of_it(echoing):
    data = request("GET", "/", "X: \t a \t b\t ", "Connection: close")
    assert seen_by(echoing.exchange(data))["x"] == "a \t b"


def test_5_2_folded_lines_are_refused(server):
    refused(server, request("GET", "/", "X: a\r\n b"))
    refused(server, request("GET", "/", "X: a\r\n\tb"))
    refused(server, request("GET", "/", "X: a\r\n ", "Y: b"))


def test_6_a_body_is_recognised_by_its_framing_and_not_by_the_method(echoing):
    for method in ("GET", "DELETE", "OPTIONS", "HEAD", "SURPRISE"):
        with echoing.connect() as wire:
            wire.send(request(method, "/", body=b"abc") + request("GET", "/2", "Connection: close"))
            wire.response(method)
            assert seen_by(wire.response())["path"] == "/2"
            wire.expect_close()


def test_6_without_framing_there_is_no_body(echoing):
    with echoing.connect() as wire:
        wire.send(request("POST", "/1") + request("GET", "/2", "Connection: close"))
        assert seen_by(wire.response())["body"] == ""
        assert seen_by(wire.response())["path"] == "/2"


def test_6_1_chunked_is_applied_once_and_last(server):
    for codings in ("chunked, chunked", "chunked, gzip", "chunked;q=1", "chunked, identity"):
        refused(server, request("POST", "/", f"Transfer-Encoding: {codings}") + chunked([b"a"]))


def test_6_1_an_unknown_coding_is_501(server):
    for codings in ("gzip, chunked", "deflate, chunked", "x", "gzip"):
        data = request("POST", "/", f"Transfer-Encoding: {codings}") + chunked([b"a"])
        refused(server, data, 501)


def test_6_1_codings_are_case_insensitive(echoing):
    data = request("POST", "/", "Transfer-Encoding: CHUNKED", "Connection: close")
    assert seen_by(echoing.exchange(data + chunked([b"abc"])))["body"] == "abc"


def test_6_1_chunked_in_http_1_0_is_faulty_framing(server):
    refused(server, request("POST", "/", "Transfer-Encoding: chunked", version="1.0") + chunked([]))


def test_6_1_no_transfer_coding_to_a_client_of_http_1_0(server):
    for connection in ("close", "keep-alive"):
        data = request("GET", "/stream", f"Connection: {connection}", version="1.0")
        response = server.exchange(data)
        assert response.framing == "close" and not response.all("Transfer-Encoding")


@pytest.mark.parametrize("code", ["204", "304", "205", "200"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_6_1_6_3_a_response_that_has_no_body_has_no_bytes_behind_its_head(server, code, method):
    with server.connect() as wire:
        wire.send(request(method, f"/status?code={code}"))
        response = wire.response(method)
        assert response.status == int(code) and response.body == b""
        if code in ("204", "304"):
            assert not response.all("Transfer-Encoding")
        wire.send(request("GET", "/after", "Connection: close"))
        assert wire.response().body == b"GET /after "
        wire.expect_close()


def test_6_3_both_framings_are_refused(server):
    both = ["Content-Length: 3", "Transfer-Encoding: chunked"]
    for headers in (both, both[::-1]):
        refused(server, request("POST", "/", *headers) + chunked([b"abc"]) + request("GET", "/2"))


@pytest.mark.parametrize(
    "lines",
    [["3", "4"], ["3", "3"], ["3, 3"], ["3, 4"], [""], ["+3"], ["-3"], ["0x3"], ["3.0"], ["3 3"],
     ["3;"], ["\xb3"], ["1e1"], ["3,"], [",3"], ["18446744073709551616"], ["9" * 40]],
    ids=str,
)  # fmt: skip
def test_6_3_an_invalid_or_repeated_length_is_refused(server, lines):
    data = request("POST", "/", *[f"Content-Length: {line}" for line in lines]) + b"abc"
    with server.connect() as wire:
        wire.send_while_open(data)
        assert wire.response().status == 400
        wire.expect_close()


@pytest.mark.parametrize("space", ["", " ", "\t", " \t \t"])
def test_5_1_white_space_around_a_value_is_sp_and_htab_alike(echoing, space):
    length = f"Content-Length:{space}3{space}"
    coding = f"Transfer-Encoding:{space}chunked{space}"
    host = f"Host:{space}lockgate.test{space}"
    for framing, body in [(length, b"abc"), (coding, chunked([b"abc"]))]:
        data = request("POST", "/", host, framing, "Connection: close", host=None) + body
        assert seen_by(echoing.exchange(data))["body"] == "abc"


def test_6_3_an_incomplete_body_is_never_passed_on(echoing):
    cut = [
        request("POST", "/", "Content-Length: 4") + b"abc",
        request("POST", "/", "Transfer-Encoding: chunked") + b"4\r\nabc",
        request("POST", "/", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n",
    ]
    for data in cut:
        with echoing.connect() as wire:
            wire.send(data)
            wire.finish_sending()
            rest = wire.rest()
            assert rest == b"" or rest.startswith(b"HTTP/1.1 400 "), rest


def test_7_1_chunk_sizes_are_hexadecimal_in_any_case_with_leading_zeros(echoing):
    body = b"A\r\n0123456789\r\n0a\r\n0123456789\r\n0000\r\n\r\n"
    data = request("POST", "/", "Transfer-Encoding: chunked", "Connection: close")
    assert seen_by(echoing.exchange(data + body))["body"] == "0123456789" * 2


def test_7_1_1_unknown_chunk_extensions_are_ignored(echoing):
    body = b'3;a\r\nabc\r\n1;b=c;d="e;\\"f"\r\nd\r\n1 ; g = h\r\ne\r\n0;i\r\n\r\n'
    data = request("POST", "/", "Transfer-Encoding: chunked", "Connection: close")
    assert seen_by(echoing.exchange(data + body))["body"] == "abcde"


def test_7_1_1_extensions_have_a_limit(server):
    data = request("POST", "/", "Transfer-Encoding: chunked")
    refused(server, data + b"1;" + b"a" * 10_000 + b"\r\n")
    refused(server, data + b"1;a=bcdefghijklmnopqrstuvwxyz0123456789\r\na\r\n" * 2000)


def test_7_1_2_trailers_are_not_merged_into_the_fields(echoing):
    data = request("POST", "/", "Transfer-Encoding: chunked", "Connection: close")
    response = echoing.exchange(data + chunked([b"abc"], "X: late", "X-Spoof: late"))
    seen = seen_by(response)
    assert seen["x"] is None and "HTTP_X_SPOOF" not in seen["headers"]
    assert seen["length"] == "3" and "HTTP_TRANSFER_ENCODING" not in seen["headers"]


def test_9_2_a_client_that_half_closes_gets_every_answer_in_order(server):
    with server.connect() as wire:
        wire.send(b"".join(request("GET", f"/{number}") for number in range(5)))
        wire.finish_sending()
        assert [wire.response().body for _ in range(5)] == [b"GET /%d " % n for n in range(5)]
        wire.expect_close()


def test_9_3_http_1_1_persists_unless_close_is_said_in_any_case_and_list(server):
    for connection in ("CLOSE", "x, close", "keep-alive,  Close", "\tclose ,x", ",close,"):
        with server.connect() as wire:
            wire.send(request("GET", "/", f"Connection: {connection}"))
            assert wire.response().wants_close(), connection
            wire.expect_close()
    with server.connect() as wire:
        for connection in ("keep-alive", "x", "closed", "not-close", ""):
            wire.send(request("GET", "/", f"Connection: {connection}"))
            assert not wire.response().wants_close(), connection


def test_9_3_http_1_0_persists_only_on_request_and_with_keep_alive_in_the_response(server):
    with server.connect() as wire:
        wire.send(request("GET", "/", "Connection: x, Keep-Alive", version="1.0"))
        assert wire.response().header("Connection").lower() == "keep-alive"
        wire.send(request("GET", "/", version="1.0"))
        wire.response()
        wire.expect_close()


def test_9_3_the_whole_body_is_read_before_the_next_request(server):
    with server.connect() as wire:
        wire.send(request("POST", "/status?code=200", body=b"GET /smuggled HTTP/1.1\r\n\r\n"))
        wire.send(request("GET", "/next", "Connection: close"))
        assert wire.response().status == 200
        assert wire.response().body == b"GET /next "
        wire.expect_close()


def test_9_3_2_pipelined_answers_keep_their_order_also_of_unsafe_methods(server):
    with server.connect() as wire:
        wire.send(b"".join(request("POST", f"/{n}", body=b"b") for n in range(20)))
        assert [wire.response().body for _ in range(20)] == [b"POST /%d b" % n for n in range(20)]


def test_9_6_nothing_behind_a_close_is_answered(server):
    with server.connect() as wire:
        wire.send(request("POST", "/", "Connection: close", body=b"a") + request("GET", "/2"))
        assert wire.response().body == b"POST / a"
        wire.expect_close()


def test_9_6_an_answer_is_not_lost_to_a_reset_when_more_was_sent(server):
    for _ in range(20):
        with server.connect() as wire:
            wire.send_while_open(request("GET", "/1", "Connection: close") + b"x" * 50_000)
            assert wire.response().body == b"GET /1 "
            wire.expect_close()
            assert not wire.was_reset


def test_9_7_9_8_an_answer_without_a_known_length_ends_with_a_last_chunk(server):
    with server.connect() as wire:
        wire.send(request("GET", "/stream"))
        response = wire.response()
        assert response.framing == "chunked" and not response.all("Content-Length")
        wire.send(request("GET", "/next", "Connection: close"))
        assert wire.response().body == b"GET /next "
        wire.expect_close()
