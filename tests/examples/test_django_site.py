"""examples/django_site, brought up as its README says: migrate, log in, add a book."""

import re
import subprocess
import sys

import pytest
from harness import EXAMPLES, Browser
from harness.process import clean_environment

pytest.importorskip("django", reason="django is not installed")
FOLDER = EXAMPLES / "django_site"


@pytest.fixture(scope="module")
def server(shared, tmp_path_factory):
    environment = {
        "DJANGO_SITE_INSTANCE": str(tmp_path_factory.mktemp("instance")),
        "DJANGO_SUPERUSER_PASSWORD": "only for tests",
    }
    superuser = ["createsuperuser", "--noinput", "--username", "ann", "--email", "ann@ann.test"]
    collected = ["collectstatic", "--noinput", "--verbosity", "0"]
    for command in (["migrate", "--verbosity", "0"], superuser, collected):
        subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=FOLDER,
            env=clean_environment(environment),
            check=True,
            capture_output=True,
        )
    return shared(
        "website.wsgi",
        "--chdir",
        str(FOLDER),
        "--static",
        "auto",
        "--threads",
        "4",
        workers=2,
        environment=environment,
    )


def token_of(page):
    return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]


def test_the_migrations_are_complete(tmp_path):
    checked = subprocess.run(
        [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"],
        cwd=FOLDER,
        env=clean_environment({"DJANGO_SITE_INSTANCE": str(tmp_path)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_the_admin_asks_for_a_password(server):
    page = Browser(server.url).open("/admin/")
    assert "/admin/login/" in page.url and page.status == 200


def test_a_wrong_password_is_refused(server):
    browser = Browser(server.url)
    page = browser.open("/admin/login/")
    refused = browser.submit(
        "/admin/login/", csrfmiddlewaretoken=token_of(page), username="ann", password="wrong"
    )
    assert "enter the correct username and password" in refused.text


def test_a_form_without_its_token_is_refused(server):
    assert Browser(server.url).submit("/admin/login/", username="ann").status == 403


def test_a_book_is_added_in_the_admin_and_shown_to_all(server):
    browser = Browser(server.url)
    page = browser.open("/admin/")
    page = browser.submit(
        page.url,
        csrfmiddlewaretoken=token_of(page),
        username="ann",
        password="only for tests",
    )
    assert page.url == server.url + "/admin/" and "Books" in page.text
    page = browser.open("/admin/books/book/add/")
    page = browser.submit(
        page.url,
        csrfmiddlewaretoken=token_of(page),
        title="Locks & Gates",
        author="A. Keeper",
        published="1925-04-01",
        notes="",
    )
    assert "was added successfully" in page.text and "Locks &amp; Gates" in page.text
    assert "Locks &amp; Gates" in Browser(server.url).open("/").text


def test_the_style_of_the_admin_is_served(server):
    login = Browser(server.url).open("/admin/login/")
    path = re.search(r'href="(/static/admin/css/base\.[0-9a-f]{12}\.css)"', login.text)[1]
    page = Browser(server.url).open(path)
    assert page.status == 200 and page.headers["Content-Type"].startswith("text/css")
    assert page.headers["Cache-Control"] == "max-age=31536000, immutable"
    assert len(page.body) > 1000
    assert Browser(server.url).open("/static/admin/css/none.css").status == 404
