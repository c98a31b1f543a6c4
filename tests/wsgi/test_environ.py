"""What the application sees of a request."""

import json

import pytest
from harness import chunked, request


@pytest.fixture(scope="module")
def server(shared):
    return shared("protocol:app", "--threads", "2")


def environ_of(server, data):
    return json.loads(server.exchange(data).body)


def test_every_key_of_pep_3333_is_there_with_its_type(server):
    with server.connect() as wire:
        client = wire.socket.getsockname()
        wire.send(request("GET", "/environ?a=1&b=%20", "Connection: close"))
        environ = json.loads(wire.response().body)
    assert environ["type(environ)"] == "dict"
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ",
        "QUERY_STRING": "a=1&b=%20",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_PORT": str(server.port),
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": str(client[1]),
        "HTTP_HOST": "lockgate.test",
        "RAW_URI": "/environ?a=1&b=%20",
        "REQUEST_URI": "/environ?a=1&b=%20",
        "wsgi.version": [1, 0],
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert isinstance(environ["SERVER_NAME"], str) and environ["SERVER_NAME"]
    assert environ["SERVER_SOFTWARE"].lower().startswith("lockgate")
    for key in ("wsgi.input", "wsgi.errors", "wsgi.file_wrapper"):
        assert environ[key].startswith("<"), key


def test_a_request_without_a_body_has_no_length_and_no_type(server):
    environ = json.loads(server.get("/environ").body)
    assert environ.get("CONTENT_LENGTH", "") in ("", "0")
    assert environ.get("CONTENT_TYPE", "") == ""


def test_content_type_and_length_are_not_http_keys(server):
    head = request("POST", "/environ", "Content-Type: text/x", "Connection: close", body=b"abc")
    environ = environ_of(server, head)
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/x", "3")
    assert "HTTP_CONTENT_TYPE" not in environ and "HTTP_CONTENT_LENGTH" not in environ


def test_a_chunked_body_arrives_with_its_length_and_without_its_coding(server):
    head = request(
        "POST", "/environ", "Transfer-Encoding: chunked", "Trailer: X-T", "Connection: close"
    )
    environ = environ_of(server, head + chunked([b"abc", b"defg"], "X-T: late"))
    assert environ["CONTENT_LENGTH"] == "7"
    assert "HTTP_TRANSFER_ENCODING" not in environ and "HTTP_X_T" not in environ


@pytest.mark.parametrize(
    ("path", "decoded"),
    [
        ("/caf%C3%A9", "/caf\xc3\xa9"),
        ("/%FF%fe", "/\xff\xfe"),
        ("/a%2Fb%20c", "/a/b c"),
        ("/a+b", "/a+b"),
        ("//double//slash/", "//double//slash/"),
        ("/a/../b/./c", "/a/../b/./c"),
        ("/semi;colon=1", "/semi;colon=1"),
        ("/%25zz", "/%zz"),
    ],
)
def test_path_info_is_the_decoded_path_in_latin_1(start_environ, path, decoded):
    environ = json.loads(start_environ.get(path + "?q=%41").body)
    assert environ["PATH_INFO"] == decoded
    assert environ["QUERY_STRING"] == "q=%41"
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == path + "?q=%41"


def test_an_absolute_target_decides_path_and_host(start_environ):
    data = request("GET", "http://example.test:8000/x?y", "Connection: close", host="other.test")
    environ = environ_of(start_environ, data)
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/x", "y")
    assert environ["HTTP_HOST"] == "example.test:8000"


@pytest.mark.parametrize(
    ("host", "name"), [("a:", "a"), ("[::1]:", "[::1]"), ("a:0080", "a:0080"), ("a:81", "a:81")]
)
def test_an_empty_port_of_a_host_is_left_out(start_environ, host, name):
    data = request("GET", "/", "Connection: close", host=host)
    environ = environ_of(start_environ, data)
    assert environ["HTTP_HOST"] == name
    assert environ["SERVER_PORT"] == str(start_environ.port)


@pytest.mark.parametrize(
    ("host", "version", "headers", "name", "port"),
    [
        (None, "1.0", [], "localhost", "80"),
        ("", "1.0", [], "localhost", "80"),
        (None, "1.0", ["X-Forwarded-Proto: https"], "localhost", "443"),
        ("a.test", "1.1", [], "a.test", "80"),
        ("a.test:", "1.1", [], "a.test", "80"),
        ("a.test:8443", "1.1", ["X-Forwarded-Proto: https"], "a.test", "8443"),
    ],
)
def test_a_unix_socket_has_a_server_name_and_a_port(
    unix_environ, host, version, headers, name, port
):
    data = request("GET", "/", *headers, "Connection: close", host=host, version=version)
    environ = environ_of(unix_environ, data)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)


@pytest.mark.parametrize("name", ["Proxy", "proxy", "PROXY", "pRoXy"])
def test_a_client_cannot_set_http_proxy(server, name):
    data = request("GET", "/environ", f"{name}: http://evil.test", f"{name}: again", "X-Proxy: 1",
                   "Proxy-Authorization: 2", "Connection: close")  # fmt: skip
    environ = environ_of(server, data)
    assert "HTTP_PROXY" not in environ
    assert (environ["HTTP_X_PROXY"], environ["HTTP_PROXY_AUTHORIZATION"]) == ("1", "2")


def test_joining_thousands_of_fields_of_one_name_takes_no_time_worth_mentioning(shared):
    """To copy at each field what came before would be 250 GB."""
    server = shared(
        "environment:app", "--limit-request-fields", "32768", "--limit-request-head", "16M"
    )
    values = [f"{number:0>490}" for number in range(32_000)]
    data = request("GET", "/", *[f"X-A: {value}" for value in values], "Connection: close")
    with server.connect(timeout=10) as wire:
        wire.send(data)
        environ = json.loads(wire.response().body)
    assert environ["HTTP_X_A"] == ",".join(values)


def test_repeated_headers_are_joined_with_a_comma_and_cookies_with_a_semicolon(server):
    data = request(
        "GET", "/environ", "X-A: 1", "Cookie: a=1", "x-a: 2", "COOKIE: b=2", "Accept: x",
        "X-B: only", "cookie: c=3", "X-A: ", "accept: y", "X-A: 4", "Connection: close",
    )  # fmt: skip
    environ = environ_of(server, data)
    assert environ["HTTP_X_A"] == "1,2,,4"
    assert environ["HTTP_COOKIE"] == "a=1; b=2; c=3"
    assert (environ["HTTP_ACCEPT"], environ["HTTP_X_B"]) == ("x,y", "only")


def test_values_are_trimmed_and_latin_1(server):
    data = request("GET", "/environ", "X-A: \t caf\xe9 au lait \t", "X-B:", "Connection: close")
    environ = environ_of(server, data)
    assert (environ["HTTP_X_A"], environ["HTTP_X_B"]) == ("caf\xe9 au lait", "")


def test_names_with_an_underscore_are_dropped(server):
    data = request(
        "GET", "/environ", "X_Real: spoof", "X-Real: true", "Remote_User: root",
        "Connection: close",
    )  # fmt: skip
    environ = environ_of(server, data)
    assert environ["HTTP_X_REAL"] == "true"
    assert "HTTP_REMOTE_USER" not in environ


def test_variables_of_the_process_stay_out_of_the_environ(server):
    environ = environ_of(server, request("GET", "/environ", "Connection: close"))
    assert "PATH" not in environ and "HOME" not in environ


def test_http_1_0_is_the_server_protocol_of_a_1_0_request(server):
    environ = environ_of(server, request("GET", "/environ", version="1.0", host=None))
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert "HTTP_HOST" not in environ


def test_nothing_of_one_request_is_left_in_the_next(server):
    with server.connect() as wire:
        wire.send(request("POST", "/environ?a", "X-Left: 1", "Content-Type: a/b", body=b"abc"))
        assert json.loads(wire.response().body)["HTTP_X_LEFT"] == "1"
        wire.send(request("GET", "/environ"))
        environ = json.loads(wire.response().body)
    assert "HTTP_X_LEFT" not in environ and environ["QUERY_STRING"] == ""
    assert environ.get("CONTENT_TYPE", "") == "" and environ.get("CONTENT_LENGTH", "") in ("", "0")


@pytest.fixture(scope="module")
def unix_environ(shared, tmp_path_factory):
    """The same on a unix socket, whose peers are trusted."""
    path = tmp_path_factory.mktemp("unix") / "lockgate.sock"
    server = shared("environment:app", bind=[f"unix:{path}"])
    server.address = str(path)
    return server


@pytest.fixture(scope="module")
def start_environ(shared):
    """A server whose application shows the environment on every path."""
    return shared("environment:app")
