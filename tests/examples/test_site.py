"""examples/flask_notes/site.toml: one file for three applications, served and looked at.

EDGE_SCREENSHOTS names a directory for pictures of the pages.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from harness import EXAMPLES, Server, free_port
from harness.chromium import Chromium
from harness.process import clean_environment
from harness.requirements import require_program

pytest.importorskip("flask", reason="flask is not installed")
pytest.importorskip("django", reason="django is not installed")

README = EXAMPLES.parent / "README.md"
SITE = EXAMPLES / "flask_notes" / "site.toml"
WITH_NGINX = EXAMPLES / "flask_notes" / "with_nginx"


def lines_of(text):
    """Those that are neither empty nor a comment."""
    return [line for line in text.splitlines() if not re.match(r"\s*(#|$)", line)]


class Site:
    """The file as it is, with other ports, on a copy of the examples."""

    def __init__(self, directory, authority):
        ignored = shutil.ignore_patterns("instance", "__pycache__")
        shutil.copytree(EXAMPLES, directory / "examples", ignore=ignored)
        self.folder = directory / "examples" / "flask_notes"
        self.django = directory / "examples" / "django_site"
        self.port, plain = free_port(), free_port()
        text = SITE.read_text().replace(":8443", f":{self.port}").replace(":8080", f":{plain}")
        (self.folder / "site.toml").write_text(text)
        self.plain = f"http://localhost:{plain}"
        self.url = f"https://localhost:{self.port}"
        self.prepare()
        certfile, keyfile = authority.issue("site", "DNS:localhost", "IP:127.0.0.1")
        self.server = Server(
            directory,
            "--config=site.toml",
            *("--certfile", str(certfile), "--keyfile", str(keyfile)),
            *("--acme-dir", str(directory / "acme")),
            workers=2,
            bind=[],
            chdir=self.folder,
        )

    def prepare(self):
        environment = clean_environment({"DJANGO_SUPERUSER_PASSWORD": "only for tests"})
        for command in (
            ["migrate", "--verbosity", "0"],
            ["createsuperuser", "--noinput", "--username", "ann", "--email", "ann@ann.test"],
            ["collectstatic", "--noinput", "--verbosity", "0"],
        ):
            subprocess.run(
                [sys.executable, "manage.py", *command],
                cwd=self.django,
                env=environment,
                check=True,
                capture_output=True,
            )
        hashed = subprocess.run(
            [sys.executable, "-m", "lockgate", "hash-password", "--user", "ann"],
            input="only for tests\n",
            text=True,
            check=True,
            capture_output=True,
        )
        (self.folder / "users").write_text(hashed.stdout)


@pytest.fixture(scope="module")
def site(tmp_path_factory, authority):
    site = Site(tmp_path_factory.mktemp("site"), authority)
    yield site
    site.server.end()


@pytest.fixture
def client(site):
    with httpx.Client(base_url=site.url, verify=False, http2=True) as client:
        yield client


def test_the_readme_shows_the_file_and_counts_both():
    text = README.read_text()
    shown = re.search(r"```toml\n(app = \"app:app\".*?)```", text, re.DOTALL)[1]
    assert lines_of(shown) == lines_of(SITE.read_text())
    assert len(lines_of(shown)) < 25
    files = [path for path in WITH_NGINX.iterdir() if path.suffix != ".md"]
    lines = sum(len(lines_of(path.read_text())) for path in files)
    assert f"| Lockgate | 1 | {len(lines_of(shown))} |" in text
    assert re.search(rf"\| nginx, .* \| {len(files)} \| {lines} \|", text)


def test_nginx_accepts_the_other_configuration(tmp_path, authority):
    nginx = require_program("nginx", package="nginx-light", directories=("/usr/sbin",))
    certfile, keyfile = authority.issue("notes", "DNS:notes.example")
    text = (WITH_NGINX / "nginx.conf").read_text()
    text = text.replace("/etc/letsencrypt/live/notes.example/fullchain.pem", str(certfile))
    text = text.replace("/etc/letsencrypt/live/notes.example/privkey.pem", str(keyfile))
    text = text.replace("/var/cache/nginx", str(tmp_path)).replace("/etc/nginx", str(tmp_path))
    (tmp_path / "users").write_text("")
    path = tmp_path / "nginx.conf"
    path.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {text} }}"
    )
    checked = subprocess.run([nginx, "-t", "-c", str(path)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_every_line_of_the_file_has_its_effect(site, client):
    home = client.get("/", headers={"Accept-Encoding": "zstd"})
    assert (home.status_code, home.http_version) == (200, "HTTP/2")
    assert re.fullmatch(r"[0-9a-zA-Z-]{16,}", home.headers["X-Request-Id"])
    css = client.get("/static/notes.css")
    assert css.status_code == 200 and "ETag" in css.headers
    styled = client.get("/books/static/admin/css/base.css", headers={"Accept-Encoding": "br"})
    assert styled.headers["Content-Encoding"] == "br"
    export = [client.get("/notes.csv").headers.get("Cache-Status", "") for _ in range(2)]
    assert "hit" in export[1], export
    moved = httpx.get(f"{site.plain}/x?y")
    assert (moved.status_code, moved.headers["Location"]) == (308, f"{site.url}/x?y")


def test_three_applications_share_the_site(site, client):
    assert "New note" in client.get("/").text
    login = client.get("/books/admin/", follow_redirects=True)
    assert login.url.path == "/books/admin/login/" and "Django administration" in login.text
    assert client.get("/reports/").status_code == 401
    assert client.get("/reports/", auth=("ann", "wrong")).status_code == 401
    report = client.get("/reports/", auth=("ann", "only for tests"))
    assert report.status_code == 200 and "For ann." in report.text


def test_sessions_are_the_servers(site, client):
    answer = client.post("/login", data={"nickname": "ann"})
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=") and "Secure" in cookie
    assert "Welcome, ann!" in client.get("/").text
    assert (site.folder / "instance" / "sessions.sqlite3").exists()


def test_a_login_is_limited_over_both_workers(site, client):
    statuses = [client.post("/login", data={"nickname": ""}).status_code for _ in range(12)]
    assert statuses[-1] == 429, statuses
    assert client.get("/login").status_code == 200


def test_the_pages_in_a_browser(site, tmp_path):
    page = Chromium(tmp_path, site.url + "/")
    try:
        for name, path, text in [
            ("notes", "/", "New note"),
            ("books", "/books/admin/login/", "Django administration"),
        ]:
            page.open(site.url + path)
            assert text in page.evaluate("document.body.innerText"), name
            if directory := os.environ.get("EDGE_SCREENSHOTS"):
                page.screenshot(Path(directory) / f"site-{name}.png")
        # The style sheets of the mounted Django site are in force.
        colour = "getComputedStyle(document.querySelector('#header')).backgroundColor"
        assert page.evaluate(colour) in ("rgb(65, 118, 144)", "rgb(38, 75, 93)")
    finally:
        page.end()
