"""Another service decides: what it is asked, what its answers mean, and what its failures do."""

import concurrent.futures
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import httpx
import pytest
from harness import APPS, eventually, request
from harness.auth_service import AuthService, RawService, answering, basic, read_head

COPY = '["Remote-User", "Remote-Groups"]'


def settings(url, more="", timeout="5s"):
    return f'''
        threads = 2
        http2 = true
        [[route]]
        path = "/private"
        forward_auth = {{ url = "{url}", copy = {COPY}, timeout = "{timeout}" }}
        {more}
    '''


@pytest.fixture
def server(start_with, service):
    return start_with("guarded:app", settings(service.url))


def environ(response):
    assert response.status == 200, response
    return json.loads(response.body)


def test_a_user_passes_with_the_fields_of_the_service(server):
    seen = environ(server.get("/private", "Cookie: user=bob"))
    assert seen["HTTP_REMOTE_USER"] == "bob"
    assert "HTTP_REMOTE_GROUPS" not in seen and "HTTP_X_OTHER" not in seen
    seen = environ(server.get("/private", "Cookie: user=admin"))
    assert (seen["HTTP_REMOTE_USER"], seen["HTTP_REMOTE_GROUPS"]) == ("admin", "staff, root")
    assert "REMOTE_USER" not in seen, "which is for users that the server has verified itself"


def test_another_answer_goes_to_the_client(server):
    for get in (server.get, lambda *of: server.get(*of, method="HEAD")):
        response = get("/private")
        assert response.status == 401
        assert response.header("WWW-Authenticate") == 'Bearer realm="login"'
        assert response.all("Set-Cookie") == ["state=1", "seen=2"]
        assert response.header("Content-Type") == "text/html"
    assert server.get("/private").body == b"<a href=/login>log in</a>"
    assert server.get("/").status == 200


def test_the_service_sees_what_the_application_would(server, service):
    body = b"x" * 200_000
    response = server.post(
        "/private/a%2Fb?c=d",
        body,
        "Cookie: user=bob",
        "X-Own: 1",
        basic("bob", "secret"),
        "If-None-Match: *",
        "Range: bytes=0-1",
        "X-Forwarded-Uri: /evil",
        "X-Original-URL: /evil",
        "Remote-User: eve",
    )
    assert environ(response)["body"] == len(body)
    asked = service.last()
    port = service.server.server_port
    expected = {
        ":target": "/verify",
        "host": f"127.0.0.1:{port}",
        "x-forwarded-method": "POST",
        "x-forwarded-host": "lockgate.test",
        "x-forwarded-uri": "/private/a%2Fb?c=d",
        "x-forwarded-proto": "http",
        "x-forwarded-for": "127.0.0.1",
        "cookie": "user=bob",
        "x-own": "1",
        "authorization": basic("bob", "secret").partition(": ")[2],
    }
    assert asked == expected


def test_http_2(server, service):
    with httpx.Client(http2=True, http1=False, base_url=server.url) as client:
        assert client.get("/private").status_code == 401
        response = client.post(
            "/private", content=b"x" * 70_000, headers=[("cookie", "a=1"), ("cookie", "user=bob")]
        )
        assert response.json()["HTTP_REMOTE_USER"] == "bob"
        assert service.last()["cookie"] == "a=1; user=bob"


def test_connections_to_the_service_are_kept(server, service):
    before = service.connections
    for _ in range(20):
        environ(server.get("/private", "Cookie: user=bob"))
    # One, and another if the service has closed it or a second thread has asked.
    assert service.connections - before <= 3


def test_many_at_once(server):
    def ask(number):
        user = f"user{number}"
        return user, environ(server.get("/private", f"Cookie: user={user}"))["HTTP_REMOTE_USER"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for user, seen in pool.map(ask, range(100)):
            assert user == seen


def test_a_unix_socket(start_with, tmp_path):
    path = str(tmp_path / "auth.socket")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(path)
        listener.listen()
        server = start_with("guarded:app", settings(f"unix:{path}:/verify?x=y"))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            response = pool.submit(server.get, "/private")
            connection, _ = listener.accept()
            with closing(connection):
                head = read_head(connection)
                assert head.startswith(b"GET /verify?x=y HTTP/1.1\r\nHost: localhost\r\n")
                connection.sendall(b"HTTP/1.1 204 No Content\r\nREMOTE-USER: bob\r\n\r\n")
            assert environ(response.result(20))["HTTP_REMOTE_USER"] == "bob"


OK = b"HTTP/1.1 200 OK\r\nRemote-User: eve\r\n"
FAILURES = {
    "closes at once": lambda connection: connection.close(),
    "closes after the request": answering(b""),
    "half a status line": answering(b"HTTP/1.1 20"),
    "half a head": answering(OK),
    "half a body": answering(OK + b"Content-Length: 5\r\n\r\nab"),
    "half a chunk": answering(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"),
    "no last chunk": answering(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
    "another protocol": answering(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "HTTP/2": answering(b"\0\0\x12\x04\0\0\0\0\0" + b"\0" * 18),
    "a status of three letters": answering(b"HTTP/1.1 OK2 \r\nContent-Length: 0\r\n\r\n"),
    "status 2000": answering(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    "101": answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "interim responses without an end": answering(b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "two lengths": answering(OK + b"Content-Length: 0\r\nContent-Length: 1\r\n\r\nx"),
    "length and chunks": answering(
        OK + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a bare line feed": answering(b"HTTP/1.1 200 OK\r\nX: a\nRemote-User: eve\r\n\r\n"),
    "a folded line": answering(b"HTTP/1.1 200 OK\r\nX: a\r\n Remote-User: eve\r\n\r\n"),
    "an endless head": answering(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000),
    "a large body": answering(OK + b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_service_that_fails_lets_nothing_pass(start_with, failure):
    with closing_service(FAILURES[failure]) as service:
        server = start_with("guarded:app", settings(service.url))
        response = server.get("/private", "Cookie: user=bob")
        assert response.status == 502, response
        server.wait_for_log("no answer from http://127.0.0.1:.* requests get 502")
        assert environ(server.get("/"))["call"] == 1, "the application was not called before"


def closing_service(speak):
    service = RawService(speak)
    service.close = service.end
    return closing(service)


def test_a_dead_service_is_502(start_with):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    server = start_with("guarded:app", settings(f"http://127.0.0.1:{port}/"))
    assert server.get("/private").status == 502
    server.wait_for_log("cannot connect: Connection refused")


def drip(connection):
    read_head(connection)
    for byte in OK * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


SLOW = {
    "says nothing": lambda connection: connection.recv(1),
    "drips": drip,
    "stops in its body": answering(OK + b"Content-Length: 5\r\n\r\nab", closes=False),
}


@pytest.mark.parametrize("how", SLOW)
def test_a_slow_service_is_504_and_the_event_loop_goes_on(start_with, how):
    with closing_service(SLOW[how]) as service:
        server = start_with("guarded:app", settings(service.url, timeout="1s"))
        wires = [server.connect() for _ in range(10)]
        for wire in wires:
            wire.send(request("GET", "/private"))
        # Others are answered meanwhile.
        assert server.get("/").status == 200
        for wire in wires:
            assert wire.response().status == 504
            wire.close()
        server.wait_for_log("did not answer within its timeout")


def test_beyond_the_bound_requests_get_503(start_with):
    with closing_service(lambda connection: connection.recv(1)) as service:
        server = start_with("guarded:app", settings(service.url, timeout="20s"))
        wires = [server.connect() for _ in range(640)]
        for wire in wires:
            wire.send(request("GET", "/private"))
        refused = [wire for wire in wires if is_readable(wire)]
        assert refused, "some do not wait"
        response = refused[0].response()
        assert (response.status, response.header("Retry-After")) == (503, "1")
        for wire in wires:
            wire.close()
        assert server.get("/").status == 200


def is_readable(wire):
    wire.socket.settimeout(0.005)
    try:
        return wire.has_begun()
    except TimeoutError:
        return False
    finally:
        wire.socket.settimeout(15)


def test_a_service_that_restarts_is_found_again(start_with):
    service = AuthService()
    server = start_with("guarded:app", settings(service.url))
    environ(server.get("/private", "Cookie: user=bob"))
    port = service.server.server_port
    service.end()
    eventually(lambda: server.get("/private", "Cookie: user=bob").status == 502)
    code = (
        "import socket; listener = socket.create_server(('127.0.0.1', %d))\n"
        "while True:\n"
        "    connection, _ = listener.accept()\n"
        "    connection.recv(9999)\n"
        "    connection.sendall(b'HTTP/1.1 204 OK\\r\\nConnection: close\\r\\n\\r\\n')\n"
        "    connection.close()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code % port])
    try:
        eventually(lambda: server.get("/private", "Cookie: user=bob").status == 200)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_files_and_stored_responses_are_behind_the_service(start_with, service):
    more = f'''
        [[static]]
        path = "/private/files"
        dir = "{APPS}"
    '''
    server = start_with("guarded:app", 'cache = "4MiB"\n' + settings(service.url, more))
    assert server.get("/private/files/hello.py").status == 401
    assert server.get("/private/files/hello.py", "Cookie: user=bob").status == 200
    # Stored for all, and yet only for users who may see it.
    target = "/private/page?cc=public,+max-age=60"
    first = environ(server.get(target, "Cookie: user=bob"))
    assert environ(server.get(target, "Cookie: user=bob"))["call"] == first["call"]
    assert server.get(target).status == 401
    # Not stored, because the response is one user's.
    target = "/private/own?cc=max-age=60"
    for user in ("bob", "admin"):
        assert environ(server.get(target, f"Cookie: user={user}"))["HTTP_REMOTE_USER"] == user


def test_basic_auth_comes_first(start_with, service, tmp_path):
    users = tmp_path / "users"
    line = subprocess.run(
        [sys.executable, "-m", "lockgate", "hash-password", "--user", "bob"],
        input=b"secret",
        capture_output=True,
        check=True,
    ).stdout
    users.write_bytes(line)
    more = f'basic_auth = "{users}"'
    server = start_with("guarded:app", settings(service.url, more))
    asked = len(service.asked)
    assert server.get("/private", "Cookie: user=bob").header("WWW-Authenticate")[:5] == "Basic"
    assert len(service.asked) == asked
    seen = environ(server.get("/private", "Cookie: user=admin", basic("bob", "secret")))
    assert (seen["REMOTE_USER"], seen["HTTP_REMOTE_USER"]) == ("bob", "admin")
