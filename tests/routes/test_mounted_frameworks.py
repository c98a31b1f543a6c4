"""The examples as one site: Flask's notes, and below /shop the Django project with its admin."""

import re
import shutil
import subprocess
import sys
import urllib.request

import pytest
from harness import EXAMPLES, Browser
from harness.hosts import get_of
from harness.process import clean_environment
from harness.requirements import require_module

SETTINGS = """
app = "app:app"
static = "auto"

[[mount]]
path = "/shop"
app = "website.wsgi"
chdir = "django_site"

[[mount]]
host = "notes.example"
app = "app:create_app('{directory}/other.sqlite3', '{directory}/uploads')"
"""


@pytest.fixture(scope="module", params=[(), ("--preload",)], ids=["import", "preload"])
def server(shared, request, tmp_path_factory):
    require_module("flask")
    require_module("django")
    directory = tmp_path_factory.mktemp("site")
    ignored = shutil.ignore_patterns("instance", "__pycache__", "lockgate.toml")
    shutil.copytree(EXAMPLES / "flask_notes", directory, ignore=ignored, dirs_exist_ok=True)
    project = directory / "django_site"
    shutil.copytree(EXAMPLES / "django_site", project, ignore=ignored)
    settings = project / "website" / "settings.py"
    relative = settings.read_text().replace('STATIC_URL = "/static/"', 'STATIC_URL = "static/"')
    settings.write_text(relative)
    environment = {"DJANGO_SUPERUSER_PASSWORD": "only for tests"}
    superuser = ["createsuperuser", "--noinput", "--username", "ann", "--email", "ann@ann.test"]
    collected = ["collectstatic", "--noinput", "--verbosity", "0"]
    for command in (["migrate", "--verbosity", "0"], superuser, collected):
        subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=project,
            env=clean_environment(environment),
            check=True,
            capture_output=True,
        )
    (directory / "lockgate.toml").write_text(SETTINGS.format(directory=directory))
    return shared(
        "app:app", "--threads", "4", *request.param, workers=2, chdir=directory,
        environment=environment,
    )  # fmt: skip


@pytest.fixture
def browser(server):
    return Browser(server.url)


def token_of(page):
    return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]


def log_in(browser):
    page = browser.open("/shop/admin/")
    return browser.submit(
        "/shop/admin/login/?next=/shop/admin/",
        csrfmiddlewaretoken=token_of(page),
        username="ann",
        password="only for tests",
    )


def test_redirects_and_links_of_django_stay_in_its_mount(browser):
    login = browser.open("/shop/admin/")
    assert login.url.endswith("/shop/admin/login/?next=/shop/admin/")
    page = log_in(browser)
    assert page.url.endswith("/shop/admin/") and page.status == 200
    links = re.findall(r'href="(/[^"]*)"', page.text)
    assert links and all(f"{link}/".startswith("/shop/") for link in links), links


def test_a_book_is_added_in_the_admin_and_shown_by_the_project(browser):
    log_in(browser)
    page = browser.open("/shop/admin/books/book/add/")
    saved = browser.submit(
        "/shop/admin/books/book/add/",
        csrfmiddlewaretoken=token_of(page),
        title="Emil",
        author="Erich Kastner",
        year="1973",
    )
    assert saved.status == 200 and "Emil" in saved.text
    assert "Emil" in Browser(browser.base).open("/shop/").text


def test_the_static_files_of_each_application_are_below_its_mount(server, browser):
    style = re.search(r'href="(/shop/static/[^"]+\.css)"', browser.open("/shop/admin/").text)[1]
    found = get_of(server, "127.0.0.1", style)
    assert found.status == 200 and found.header("Cache-Control").endswith("immutable")
    assert found.header("ETag")
    own = get_of(server, "127.0.0.1", "/static/notes.css")
    assert own.status == 200 and own.header("ETag")
    # Each file is at one place only.
    assert get_of(server, "127.0.0.1", style.removeprefix("/shop")).status == 404
    assert get_of(server, "127.0.0.1", "/shop/static/notes.css").status == 404
    assert get_of(server, "notes.example", "/static/notes.css").status == 200


def test_the_main_application_has_its_session_beside_that_of_the_project(browser):
    log_in(browser)
    assert browser.open("/").status == 200
    names = {cookie.name for cookie in browser.cookies}
    assert "sessionid" in names
    assert browser.open("/shop/admin/").url.endswith("/shop/admin/")


def test_a_path_without_its_slash_is_for_the_framework_to_decide(server):
    # Django takes an empty PATH_INFO for a slash.
    assert get_of(server, "127.0.0.1", "/shop").status == 200
    assert get_of(server, "127.0.0.1", "/shop/admin").header("Location") == "/shop/admin/"


def test_two_applications_of_one_factory_have_data_of_their_own(server):
    def post(host, title):
        address = f"{server.url}/api/notes"
        headers = {"Host": host, "Content-Type": "application/json"}
        body = f'{{"title": "{title}"}}'.encode()
        return urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=20)

    assert post("127.0.0.1", "of the shop").status == 201
    assert post("notes.example", "of the host").status == 201
    texts = {
        host: get_of(server, host, "/api/notes").body.decode()
        for host in ("127.0.0.1", "notes.example")
    }
    assert "of the shop" in texts["127.0.0.1"] and "of the host" not in texts["127.0.0.1"]
    assert "of the host" in texts["notes.example"] and "of the shop" not in texts["notes.example"]
