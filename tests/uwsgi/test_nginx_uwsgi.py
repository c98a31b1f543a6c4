"""nginx in front, with uwsgi_pass and Debian's uwsgi_params."""

import hashlib
import json
import os
import shutil

import pytest
from harness import Wire, eventually, free_port, request
from harness.fronts import NGINX, Front
from harness.other_user import open_to_others
from harness.requirements import require_module, require_program

SITE = """
client_max_body_size 64m;
server {{
    listen 127.0.0.1:{port};
    server_name example.com;
    include /etc/nginx/uwsgi_params;
    uwsgi_param FOO bar;
    location / {{ uwsgi_pass {server}; }}
    location /unbuffered/ {{
        rewrite ^/unbuffered(/.*)$ $1 break;
        uwsgi_request_buffering off;
        uwsgi_buffering off;
        uwsgi_pass {server};
    }}
    location /app {{
        include /etc/nginx/uwsgi_params;
        uwsgi_param SCRIPT_NAME /app;
        {modifier}
        uwsgi_pass {server};
    }}
    location /secure/ {{
        include /etc/nginx/uwsgi_params;
        uwsgi_param HTTPS on;
        uwsgi_param HTTP_HOST shop.example;
        uwsgi_param REMOTE_USER anna;
        rewrite ^/secure(/.*)$ $1 break;
        uwsgi_pass {server};
    }}
    location /files/ {{ internal; alias {directory}/files/; }}
    location /perl {{ include /etc/nginx/uwsgi_params; uwsgi_modifier1 5; uwsgi_pass {server}; }}
}}
"""
BODY = bytes(range(256)) * 80_000  # 20 MB


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """Starts nginx before a server of the uwsgi protocol; gives the address at which it listens."""
    started = []

    def start(server, modifier=""):
        program = require_program("nginx", package="nginx-light", directories=("/usr/sbin",))
        directory = tmp_path_factory.mktemp("nginx")
        (directory / "files").mkdir()
        (directory / "files" / "hidden").write_bytes(b"from nginx")
        port = free_port()
        site = SITE.format(port=port, server=server, directory=directory, modifier=modifier)
        (directory / "site.conf").write_text(site)
        folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        main = NGINX.format(
            directory=directory,
            user="",
            temporary="\n".join(f"{name}_temp_path {directory}/{name};" for name in folders),
        )
        if os.geteuid() == 0:
            shutil.chown(directory, "www-data")
            open_to_others(directory)
            main = f"user www-data;\n{main}"
        (directory / "nginx.conf").write_text(main)
        command = [program, "-p", str(directory), "-c", "nginx.conf", "-e", "error.log"]
        started.append(Front(directory, command, port))
        return started[-1].address

    yield start
    for front in started:
        front.end()


@pytest.fixture(scope="module", params=["tcp", "unix"])
def site(request, shared, nginx, tmp_path_factory):
    """Starts an application behind nginx: site("module:app", "--flag")."""
    kept = {}

    def begin(app, *arguments):
        key = (app, *arguments)
        if key in kept:
            return kept[key]
        port, path = free_port(), tmp_path_factory.mktemp("socket") / "app.sock"
        open_to_others(path.parent)
        address = f"127.0.0.1:{port}" if request.param == "tcp" else f"unix:{path}"
        shared(app, *arguments, "--umask", "0", bind=[f"uwsgi://{address}"])
        kept[key] = nginx(address)
        return kept[key]

    return begin


def ask(address, target="/", *headers, method="GET", body=b""):
    with Wire(address) as wire:
        wire.send(request(method, target, *headers, "Connection: close", body=body))
        return wire.response(method)


def environ_of(address, target, *headers):
    response = ask(address, target, *headers)
    assert response.status == 200, response
    return json.loads(response.body)


def test_environ_is_that_of_the_client_of_nginx(site):
    address = site("protocol:app")
    target = "/%65nviron?a=%20b"
    environ = environ_of(address, target, "X-A: 1", "X-A: 2", "Cookie: a=1", "Proxy: evil")
    host, port = address
    expected = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/environ",
        "QUERY_STRING": "a=%20b",
        "REQUEST_URI": target,
        "RAW_URI": target,
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "example.com",
        "SERVER_PORT": str(port),
        "REMOTE_ADDR": host,
        "HTTP_X_A": "1,2",
        "HTTP_COOKIE": "a=1",
        "FOO": "bar",
        "REQUEST_SCHEME": "http",
        "wsgi.url_scheme": "http",
    }
    found = {key: environ.get(key, "") for key in expected}
    # nginx 1.30 has a space after the comma.
    assert {**found, "HTTP_X_A": found["HTTP_X_A"].replace(" ", "")} == expected
    assert "HTTP_PROXY" not in environ and environ["HTTP_HOST"]
    assert environ["REMOTE_PORT"].isdigit()


def test_parameters_of_the_operator_override_the_included_ones(site):
    environ = environ_of(site("protocol:app"), "/secure/environ?a")
    found = [environ[key] for key in ("wsgi.url_scheme", "HTTPS", "HTTP_HOST", "REMOTE_USER")]
    assert found == ["https", "on", "shop.example", "anna"]
    # PATH_INFO is the rewritten path, and REQUEST_URI the one that the client has sent.
    assert (environ["PATH_INFO"], environ["REQUEST_URI"]) == ("/environ", "/secure/environ?a")


@pytest.mark.parametrize("modifier", ["", "uwsgi_modifier1 30;"])
def test_an_application_below_a_prefix_has_its_script_name(uwsgi, nginx, modifier):
    server = uwsgi("protocol:app")
    address = nginx(f"127.0.0.1:{server.port}", modifier)
    environ = environ_of(address, "/app/environ")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/app", "/environ")


@pytest.mark.parametrize("prefix", ["", "/unbuffered"])
@pytest.mark.parametrize("streams", [False, True], ids=["spooled", "streamed"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_uploads_arrive_whole(site, prefix, streams, framing):
    address = site("bodies:app", *(["--stream-request-body", "/"] if streams else []))
    for size in (0, 1, 65_536, len(BODY)):
        body = BODY[:size]
        if framing == "length":
            response = ask(address, f"{prefix}/digest", method="POST", body=body)
        else:
            with Wire(address) as wire:
                wire.send(
                    request(
                        "POST",
                        f"{prefix}/digest",
                        "Transfer-Encoding: chunked",
                        "Connection: close",
                    ),
                    *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(body)),
                    b"0\r\n\r\n",
                )
                response = wire.response()
        total, digest, _ = json.loads(response.body)["seen"]
        assert (total, digest) == (size, hashlib.sha256(body).hexdigest())


def pieces(body):
    return [body[at : at + 1_000_000] for at in range(0, len(body), 1_000_000)]


def test_a_client_keeps_its_connection_to_nginx(site):
    with Wire(site("wire_app:app")) as wire:
        for number in range(5):
            wire.send(request("GET", f"/{number}"))
            response = wire.response()
            assert response.body == b"GET /%d " % number
            assert not response.wants_close()


def test_streams_downloads_and_responses_without_a_body(site):
    address = site("wire_app:app")
    assert ask(address, "/stream?pieces=4").body == b"piece 0;piece 1;piece 2;piece 3;"
    assert len(ask(address, "/large?megabytes=20").body) == 20 << 20
    assert len(ask(address, "/unbuffered/large-stream?megabytes=5").body) == 5 << 20
    assert len(ask(address, "/file?size=3000000").body) == 3_000_000
    for status in (204, 304):
        response = ask(address, f"/status?code={status}")
        assert (response.status, response.body) == (status, b"")
    response = ask(address, "/head-with-length", method="HEAD")
    assert (response.header("Content-Length"), response.body) == ("12345", b"")
    assert ask(address, "/stream", method="HEAD").body == b""
    cookies = ask(address, "/cookies").all("Set-Cookie")
    assert cookies == ["a=1", "b=2"]


def test_a_stream_is_passed_on_piece_by_piece(site):
    address = site("protocol:app", "--threads", "2")
    with Wire(address) as wire:
        wire.send(request("GET", "/unbuffered/streamed-through-a-gate?nginx"))
        wire.head()
        assert wire.chunk() == b"before"
        ask(address, "/open?nginx")
        assert wire.chunk() == b"after"


@pytest.mark.parametrize("prefix", ["", "/unbuffered"])
def test_a_stream_that_fails_is_no_complete_response_for_the_client(site, prefix):
    with Wire(site("protocol:app", "--threads", "2")) as wire:
        wire.send(request("GET", f"{prefix}/closing-raise"))
        if wire.head().status == 200:
            with pytest.raises(AssertionError):
                while wire.chunk():
                    pass


def test_a_client_that_leaves_ends_its_request(start, nginx, tmp_path):
    log, port = tmp_path / "access.log", free_port()
    start(
        "protocol:app",
        "--access-logfile",
        str(log),
        bind=[f"uwsgi://127.0.0.1:{port}"],
    )
    address = nginx(f"127.0.0.1:{port}")
    with Wire(address) as wire:
        wire.send(request("GET", "/unbuffered/closing-endless"))
        wire.head()
        wire.chunk()

    def logged():
        return "GET /unbuffered/closing-endless" in log.read_text()

    eventually(logged, what="the request is in the access log")
    assert json.loads(ask(address, "/closed").body) == ["endless"]


def test_the_applications_headers_for_nginx_work(start, nginx, tmp_path):
    (tmp_path / "sending.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('X-Accel-Redirect', '/files/hidden')])\n"
        "    return [b'hidden by nginx']\n"
    )
    port = free_port()
    start("sending:app", bind=[f"uwsgi://127.0.0.1:{port}"], chdir=tmp_path)
    assert ask(nginx(f"127.0.0.1:{port}")).body == b"from nginx"


def test_a_packet_of_another_kind_is_refused_and_logged(uwsgi, nginx):
    server = uwsgi("wire_app:app")
    assert ask(nginx(f"127.0.0.1:{server.port}"), "/perl").status == 501
    server.wait_for_log(r"modifier1 5: a PSGI request")


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_a_framework_works_behind_it(site, framework):
    require_module(framework)
    address = site(f"{framework}_app:app")
    assert ask(address, "/").body == b"hello"
    form = ask(
        address,
        "/form",
        "Content-Type: application/x-www-form-urlencoded",
        method="POST",
        body=b"a=1&b=%C3%A9",
    )
    assert json.loads(form.body) == {"a": "1", "b": "\xe9"}
    boundary = b"--b\r\nContent-Disposition: form-data; name=file; filename=f\r\n\r\n"
    upload = ask(
        address,
        "/upload",
        "Content-Type: multipart/form-data; boundary=b",
        method="POST",
        body=boundary + BODY[:5_000_000] + b"\r\n--b--\r\n",
    )
    assert json.loads(upload.body)["sha256"] == hashlib.sha256(BODY[:5_000_000]).hexdigest()
    assert ask(address, "/stream").body.endswith(b"line 99\n")
    assert len(ask(address, "/download?megabytes=3").body) == 3 << 20
    first = ask(address, "/session")
    cookie = first.header("Set-Cookie").split(";")[0]
    assert ask(address, "/session", f"Cookie: {cookie}").body == b"2"
    assert ask(address, "/error").status == 500
    where = json.loads(ask(address, "/app/where").body)
    assert (where["script_name"], where["link"]) == ("/app", "/app/where")
