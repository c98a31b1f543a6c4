"""The examples in Chromium with `static`, `compress` and `cache`: what it shows and transfers.

EDGE_SCREENSHOTS names a directory for pictures of the pages.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import EXAMPLES, Browser
from harness.chromium import Chromium
from harness.process import clean_environment

#: What the page and each of its resources took: bytes on the wire, of the body, and decoded.
TRANSFERS = """
JSON.stringify([...performance.getEntriesByType('navigation'),
                ...performance.getEntriesByType('resource')].map(entry => ({
    path: new URL(entry.name).pathname,
    transferred: entry.transferSize,
    encoded: entry.encodedBodySize,
    decoded: entry.decodedBodySize})))
"""
EDGE = ("--compress", "--cache", "16MiB")


@pytest.fixture
def browse(tmp_path):
    opened = []

    def open_page(url, directory=tmp_path):
        opened.append(Chromium(directory, url))
        return opened[-1]

    yield open_page
    for page in opened:
        page.end()


def transfers(page, name):
    found = json.loads(page.evaluate(TRANSFERS))
    if directory := os.environ.get("EDGE_SCREENSHOTS"):
        page.screenshot(Path(directory) / f"{name}.png")
        total = sum(entry["transferred"] for entry in found)
        lines = [f"{name}: {total} bytes transferred", *map(json.dumps, found)]
        (Path(directory) / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return {entry["path"]: entry for entry in found if not entry["path"].startswith(",")}


def total(found):
    return sum(entry["transferred"] for entry in found.values())


def django_site(shared_or_start, directory, *flags):
    environment = {
        "DJANGO_SITE_INSTANCE": str(directory / "instance"),
        "DJANGO_SUPERUSER_PASSWORD": "only for tests",
    }
    for command in (
        ["migrate", "--verbosity", "0"],
        ["createsuperuser", "--noinput", "--username", "ann", "--email", "ann@ann.test"],
        ["collectstatic", "--noinput", "--verbosity", "0"],
    ):
        subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=EXAMPLES / "django_site",
            env=clean_environment(environment),
            check=True,
            capture_output=True,
        )
    return shared_or_start(
        "website.wsgi",
        *("--chdir", str(EXAMPLES / "django_site"), "--threads", "4", "--static", "auto", *flags),
        environment=environment,
    )


def test_the_admin_is_styled_and_comes_from_the_browser_the_second_time(start, browse, tmp_path):
    pytest.importorskip("django", reason="django is not installed")
    server = django_site(start, tmp_path, *EDGE)
    page = browse(f"{server.url}/admin/login/")
    cold = transfers(page, "django-login-cold")
    styles = {path: entry for path, entry in cold.items() if path.endswith(".css")}
    assert len(styles) >= 4
    for path, entry in styles.items():
        assert re.search(r"\.[0-9a-f]{12}\.css$", path), path
        assert entry["encoded"] < entry["decoded"] / 2 or entry["decoded"] < 1024, (path, entry)
    # The header of the admin has its colour: the style sheets are in force.
    assert page.evaluate("getComputedStyle(document.querySelector('#header')).backgroundColor") in (
        "rgb(65, 118, 144)",
        "rgb(38, 75, 93)",
    )
    page.open(f"{server.url}/admin/login/?next=/admin/")
    warm = transfers(page, "django-login-warm")
    again = {path: entry for path, entry in warm.items() if path.startswith("/static/")}
    assert again.keys() == {path for path in cold if path.startswith("/static/")}
    assert all(entry["transferred"] == 0 for entry in again.values()), again
    assert total(warm) < total(cold) / 5
    # Logged in, with the larger pages.
    page.submit("form", username="ann", password="only for tests")
    assert page.evaluate("location.pathname") == "/admin/"
    page.open(f"{server.url}/admin/books/book/add/")
    assert "Add book" in page.evaluate("document.body.innerText")
    transfers(page, "django-add-cold")
    page.open(f"{server.url}/admin/books/book/")
    transfers(page, "django-books")
    # The admin's pages are for one user, and nothing of them is in the cache.
    other = Browser(server.url).open("/admin/")
    assert "/admin/login/" in other.url


def test_compression_halves_what_is_transferred(start, browse, tmp_path):
    pytest.importorskip("django", reason="django is not installed")
    totals = []
    for name, flags in (("plain", ()), ("compressed", EDGE)):
        directory = tmp_path / name
        directory.mkdir()
        page = browse(f"{django_site(start, directory, *flags).url}/admin/login/", directory)
        found = transfers(page, f"django-login-{name}")
        totals.append(total(found))
        if not flags:
            assert all(entry["encoded"] == entry["decoded"] for entry in found.values())
    assert totals[1] < totals[0] / 2, totals


def test_the_notes_are_styled(start, browse, tmp_path):
    pytest.importorskip("flask", reason="flask is not installed")
    folder = tmp_path / "flask_notes"
    ignored = shutil.ignore_patterns("instance", "__pycache__", "lockgate.toml")
    shutil.copytree(EXAMPLES / "flask_notes", folder, ignore=ignored)
    server = start(
        "app:app",
        *("--chdir", str(folder), "--threads", "4", "--static", "auto", *EDGE),
        workers=2,
    )
    browser = Browser(server.url)
    for number in range(30):
        sent = {"title": f"Note {number}", "author": "ann", "body": "water in the lock " * 20}
        assert browser.send_json("/api/notes", sent).status == 201
    page = browse(f"{server.url}/")
    cold = transfers(page, "flask-cold")
    [style] = [entry for path, entry in cold.items() if path == "/static/notes.css"]
    assert style["encoded"] < style["decoded"] / 2
    assert cold["/"]["encoded"] < cold["/"]["decoded"] / 3
    assert page.evaluate("getComputedStyle(document.querySelector('.card')).borderRadius") == "12px"
    page.open(f"{server.url}/?again")
    warm = transfers(page, "flask-warm")
    # 304 without a body, or nothing at all.
    assert warm["/static/notes.css"]["transferred"] < 500
    assert total(warm) < total(cold)


def test_the_public_page_comes_from_the_cache(start, tmp_path):
    pytest.importorskip("django", reason="django is not installed")
    server = django_site(start, tmp_path, *EDGE)
    first, second = (Browser(server.url).open("/") for _ in range(2))
    assert "fwd" in first.headers["Cache-Status"] and "hit" in second.headers["Cache-Status"]
    assert first.body == second.body
