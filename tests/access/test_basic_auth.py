"""HTTP Basic with the files of other programs, over both protocols."""

import concurrent.futures
import json
import os
import signal
import subprocess

import argon2
import bcrypt
import httpx
import pytest
from harness import eventually, request, run
from harness.auth_service import basic
from harness.requirements import require_program

PASSWORDS = {"alice": "secret", "bob": "päss:word", "carol": "", "dave": "x" * 72, "erik": "quick"}


@pytest.fixture(scope="module")
def lines():
    """A line of each program for each user."""
    htpasswd = require_program("htpasswd", package="apache2-utils")
    quick = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=2)
    made = subprocess.run(
        [htpasswd, "-nbB", "alice", PASSWORDS["alice"]], capture_output=True, text=True, check=True
    )
    return {
        "alice": made.stdout.strip(),
        "bob": f"bob:{quick.hash(PASSWORDS['bob'])}",
        "carol": f"carol:{bcrypt.hashpw(b'', bcrypt.gensalt(4)).decode()}",
        "dave": f"dave:{bcrypt.hashpw(b'x' * 72, bcrypt.gensalt(4, b'2a')).decode()}",
        "erik": f"erik:{quick.hash('quick')}",
    }


@pytest.fixture
def users(tmp_path, lines):
    path = tmp_path / "users"
    path.write_text("# users\n\n" + "\n".join(lines.values()) + "\n")
    return path


@pytest.fixture
def server(start_with, users):
    settings = f'''
        http2 = true
        threads = 4
        access_logfile = "-"
        [[route]]
        path = "/private"
        basic_auth = {{ users = "{users}", realm = "The shop" }}
        [[route]]
        path = "/private/open"
        basic_auth = false
    '''
    return start_with("environment:app", settings)


def environ(response):
    return json.loads(response.body)


def test_each_user_comes_in_with_the_own_password(server):
    for user, password in PASSWORDS.items():
        response = server.get("/private", basic(user, password))
        assert response.status == 200, user
        seen = environ(response)
        assert (seen["REMOTE_USER"], seen["AUTH_TYPE"]) == (user, "Basic")
        # The application may look at the password itself.
        assert "HTTP_AUTHORIZATION" in seen
    server.stop()
    assert " alice [" in server.output and "secret" not in server.output + server.errors


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [basic("alice", "Secret")],
        [basic("alice", "secret ")],
        [basic("alice", "")],
        [basic("Alice", "secret")],
        [basic("nobody", "secret")],
        [basic("# users", "")],
        [basic("", "")],
        [basic("alice", "secret\0")],
        [basic("dave", "x" * 71)],
        ["Authorization: Basic"],
        ["Authorization: Basic !!!!"],
        ["Authorization: Bearer " + basic("alice", "secret").split()[-1]],
        [basic("alice", "secret"), basic("alice", "secret")],
        [basic("alice", "secret"), "Authorization: Bearer x"],
        ["Authorization_: " + basic("alice", "secret").split(" ", 1)[1]],
        ["Proxy-" + basic("alice", "secret")],
    ],
)
def test_others_are_asked_for_a_password(server, fields):
    response = server.get("/private/x", *fields)
    assert response.status == 401
    assert response.header("WWW-Authenticate") == 'Basic realm="The shop", charset="UTF-8"'


@pytest.mark.parametrize(
    "target, is_open",
    [
        ("/", True),
        ("/privately", True),
        ("/private/open", True),
        ("/private", False),
        ("/private/", False),
        ("/private/x", False),
        ("/%70rivate/x", False),
        ("//private/x", False),
        ("/x/../private/x", False),
        ("/./private", False),
        ("/PRIVATE/x", False),
        ("/private/open/../x", False),
        ("/private/opened", False),
    ],
)
def test_a_path_in_another_form_is_the_same_path(server, target, is_open):
    assert server.get(target).status == (200 if is_open else 401)


def test_a_body_is_not_received_without_credentials(server):
    with server.connect() as wire:
        wire.send(
            b"POST /private HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert wire.response().status == 401
    response = server.post("/private", b"body", basic("alice", "secret"))
    assert response.status == 200


def test_a_connection_stays_and_its_requests_are_apart(server):
    with server.connect() as wire:
        for fields, status in [
            ([basic("alice", "secret")], 200),
            ([], 401),
            ([basic("alice", "wrong")], 401),
            ([basic("alice", "secret")], 200),
        ]:
            wire.send(request("GET", "/private", *fields))
            assert wire.response().status == status
        wire.send(request("GET", "/"))
        assert "REMOTE_USER" not in environ(wire.response())


def test_http_2_and_real_clients(server):
    with httpx.Client(http2=True, http1=False, base_url=server.url) as client:
        assert client.get("/private").status_code == 401
        response = client.get("/private", auth=("bob", PASSWORDS["bob"]))
        assert (response.status_code, response.http_version) == (200, "HTTP/2")
        assert response.json()["REMOTE_USER"] == "bob"
        assert client.post("/private", content=b"x" * 100_000).status_code == 401
    curl = require_program("curl", package="curl")
    command = [curl, "-sS", "-u", "alice:secret", f"{server.url}/private"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout)["REMOTE_USER"] == "alice"


def test_many_requests_of_one_user_at_once(server):
    def ask(number):
        user = "alice" if number % 3 else "nobody"
        return user, server.get("/private", basic(user, "secret")).status

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for user, status in pool.map(ask, range(60)):
            assert status == (200 if user == "alice" else 401)


def test_a_change_of_the_file_counts_within_seconds(server, users, lines):
    assert server.get("/private", basic("erik", "quick")).status == 200
    fresh = users.with_name("fresh")
    fresh.write_text("\n".join(line for name, line in lines.items() if name != "erik"))
    fresh.rename(users)
    eventually(
        lambda: server.get("/private", basic("erik", "quick")).status == 401,
        what="a removed user, who was verified before, is refused",
    )
    assert server.get("/private", basic("alice", "secret")).status == 200
    users.write_text("alice:secret\n")
    server.wait_for_log('line 1: what follows the colon of "alice" is not a hash')
    assert server.get("/private", basic("alice", "secret")).status == 200


def test_a_reload_with_a_faulty_file_keeps_the_old_workers(server, users):
    users.write_text("alice:$apr1$DhfDeVr6$BRejQaXJC5NJgk0fx4eMr1\n")
    before = server.workers()
    server.signal(signal.SIGHUP)
    server.wait_for_log("basic_auth: .*line 1: .*MD5")
    eventually(lambda: server.get("/private", basic("alice", "secret")).status == 200)
    assert set(before) & set(server.workers())


@pytest.mark.parametrize(
    "content, problem",
    [
        ("alice:secret\n", 'line 1: what follows the colon of "alice" is not a hash'),
        ("\nalice\n", "line 2: is not `name:hash`"),
        ("alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n", "SHA-1"),
        (None, "No such file"),
    ],
)
def test_a_faulty_file_stops_the_start(start_with, users, content, problem):
    if content is None:
        users.unlink()
    else:
        users.write_text(content)
    server = start_with("environment:app", f'basic_auth = "{users}"', wait=False)
    assert server.wait() != 0
    assert problem in server.errors and str(users) in server.errors


def test_check_config_reads_the_files_that_routes_name(tmp_path):
    (tmp_path / "app.py").write_text("def app(environ, start_response): pass\n")
    (tmp_path / "lockgate.toml").write_text(
        'app = "app:app"\nbasic_auth = "users"\nerror_pages = { 404 = "404.html" }\n'
        '[[route]]\npath = "/admin"\nallow = ["10.0.0.0/8"]\n'
    )
    found = run("--check-config", chdir=tmp_path)
    users, page = tmp_path / "users", tmp_path / "404.html"
    assert found.returncode == 2
    assert found.stderr == (
        f"lockgate: basic_auth: {users}: No such file or directory (os error 2); "
        f"make it with: lockgate hash-password --user NAME >> {users}\n"
        f"lockgate: error_pages: the page of 404, {page}: No such file or directory (os error 2)\n"
    )
    users.touch()
    page.touch()
    assert run("--check-config", chdir=tmp_path).returncode == 0


def test_a_client_that_guesses_leaves_room_for_others(start_with, tmp_path):
    """One client has few checks at a time, and gets 429 beyond."""
    slow = argon2.PasswordHasher(time_cost=4, memory_cost=65536, parallelism=1)
    path = tmp_path / "slow"
    path.write_text(f"alice:{slow.hash('secret')}\n")
    server = start_with("environment:app", f'basic_auth = "{path}"')
    wires = [server.connect() for _ in range(12)]
    for number, wire in enumerate(wires):
        wire.send(request("GET", "/", basic("alice", f"guess {number}")))
    statuses = [wire.response().status for wire in wires]
    for wire in wires:
        wire.close()
    assert set(statuses) == {401, 429}, statuses
    assert statuses.count(401) >= 4
    eventually(lambda: server.get("/", basic("alice", "secret")).status == 200)


def test_a_verified_user_costs_no_hash(start_with, tmp_path):
    """2,000 requests with a hash of 100 ms each would take minutes on any machine."""
    slow = argon2.PasswordHasher(time_cost=8, memory_cost=65536, parallelism=1)
    path = tmp_path / "slow"
    path.write_text(f"alice:{slow.hash('secret')}\n")
    server = start_with("environment:app", f'basic_auth = "{path}"')

    def ticks():
        (worker,) = server.workers()
        with open(f"/proc/{worker}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return int(fields[11]) / os.sysconf("SC_CLK_TCK")

    assert server.get("/", basic("alice", "secret")).status == 200
    before = ticks()
    assert server.get("/", basic("alice", "wrong")).status == 401
    of_hash = ticks() - before
    before = ticks()
    with server.connect() as wire:
        for _ in range(2000):
            wire.send(request("GET", "/", basic("alice", "secret")))
            assert wire.response().status == 200
    # User time of the worker: no measurement of speed, a factor of hundreds.
    assert ticks() - before < 200 * max(of_hash, 0.01)
