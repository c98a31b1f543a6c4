"""A server starts from the file that a conversion makes, and answers as the source says."""

import os
import socket
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import cases as library  # noqa: E402

SERVED = [case for kind in library.KINDS for case in library.cases(kind) if case.serves]


@pytest.mark.parametrize("case", SERVED, ids=[case.name for case in SERVED])
def test_a_server_starts_from_the_file_and_answers(case, tmp_path, start):
    source = library.place(case, Path(os.path.realpath(tmp_path)))
    made = library.convert(case, source, "-o", "lockgate.toml")
    assert made.returncode == 0, made.stderr
    unix = case.serves.get("socket")
    # The port of the source may be taken here; its unix socket may not.
    options = {"bind": []} if unix else {}
    server = start(
        "lockgate.toml",
        *("--error-logfile", "-", "--log-level", "info"),
        program=(sys.executable, library.SAFE_PATH, "-m", "lockgate", "-c"),
        workers=None,
        chdir=source,
        environment=case.environment,
        **options,
    )
    path, status = case.serves["path"], case.serves["status"]
    if unix:
        head, body = ask_as_nginx(source / unix, path)
        assert head.split()[1] == str(status)
    else:
        answer = server.get(path)
        assert answer.status == status
        body = answer.body.decode()
    assert case.serves["body"] in body
    assert server.stop() == 0


def ask_as_nginx(path, target):
    """One request of the uwsgi protocol, as uwsgi_pass sends it."""
    variables = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": target,
        "PATH_INFO": target,
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
    }
    content = b"".join(
        len(part).to_bytes(2, "little") + part
        for pair in variables.items()
        for part in (pair[0].encode(), pair[1].encode())
    )
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(b"\0" + len(content).to_bytes(2, "little") + b"\0" + content)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = received.decode().partition("\r\n\r\n")
    return head, body
