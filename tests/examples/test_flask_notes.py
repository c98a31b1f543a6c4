"""examples/flask_notes, started as its README says, with several workers and threads."""

import csv
import hashlib
import io
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import EXAMPLES, Browser, eventually

pytest.importorskip("flask", reason="flask is not installed")


@pytest.fixture(scope="module")
def server(shared, tmp_path_factory):
    """On a copy, so that a developer's own notes stay as they are."""
    folder = tmp_path_factory.mktemp("examples") / "flask_notes"
    ignored = shutil.ignore_patterns("instance", "__pycache__")
    shutil.copytree(EXAMPLES / "flask_notes", folder, ignore=ignored)
    return shared(
        "app:app", "--chdir", "flask_notes", "--threads", "4", workers=2, chdir=folder.parent
    )


@pytest.fixture
def browser(server):
    """A user who has chosen a nickname."""
    browser = Browser(server.url)
    page = browser.submit("/login", nickname="ann")
    assert "Welcome, ann!" in page.text
    return browser


def test_the_first_page_needs_no_nickname(server):
    page = Browser(server.url).open("/")
    assert page.status == 200 and "New note" in page.text
    assert "lockgate" in page.text.lower()


def test_a_visitor_without_a_nickname_is_asked_for_one_and_redirected_back(server):
    browser = Browser(server.url)
    page = browser.open("/notes/new")
    assert "/login?next=" in page.url and "choose a nickname first" in page.text
    assert browser.submit(page.url, nickname="bob").url.endswith("/notes/new")
    assert browser.submit("/login?next=//evil.test/", nickname="bob").url == server.url + "/"


def test_a_note_is_made_changed_and_deleted(browser):
    page = browser.submit("/notes/new", title="Milk & <honey>", body="two\nlines")
    assert "The note is saved." in page.text and "Milk &amp; &lt;honey&gt;" in page.text
    assert "The note is saved." not in browser.open(page.url).text, "a flash shows once"
    assert "Milk &amp;" in browser.open("/").text

    changed = browser.submit(page.url + "/edit", title="Bread", body="")
    assert changed.url == page.url and "Bread" in changed.text

    gone = browser.submit(page.url + "/delete")
    assert "The note is deleted." in gone.text
    assert browser.open(page.url).status == 404


def test_a_note_needs_a_title(browser):
    page = browser.submit("/notes/new", title=" ", body="kept")
    assert page.status == 400 and "kept" in page.text


def test_only_its_author_may_change_a_note(server, browser):
    page = browser.submit("/notes/new", title="Mine", body="")
    other = Browser(server.url)
    other.submit("/login", nickname="mallory")
    assert other.submit(page.url + "/edit", title="Yours", body="").status == 403
    assert other.submit(page.url + "/delete").status == 403
    assert "Mine" in browser.open(page.url).text


@pytest.mark.parametrize("size", [0, 1000, 5_000_000])
def test_an_attachment_comes_back_as_it_was(browser, size):
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    note = browser.submit("/notes/new", title="With a file", body="")
    page = browser.upload(note.url + "/attachments", "../dätä.bin", data)
    digest = hashlib.sha256(data).hexdigest()
    assert page.status == 200 and digest in page.text
    path = re.search(r"/attachments/\d+", page.text)[0]
    answer = browser.open(path)
    assert answer.body == data
    assert "attachment" in answer.headers["Content-Disposition"]
    assert answer.headers["Content-Length"] == str(size)
    part = browser.open(path, headers={"Range": "bytes=100-199"})
    if size:
        assert (part.status, part.body) == (206, data[100:200])
    unchanged = browser.open(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (unchanged.status, unchanged.body) == (304, b"")


def test_leaving_ends_the_session(browser):
    browser.submit("/logout")
    assert "/login" in browser.open("/notes/new").url


def test_the_json_api(server):
    browser = Browser(server.url)
    made = browser.send_json("/api/notes", {"title": "By API", "body": "é", "author": "robot"})
    assert made.status == 201
    note = made.json()
    assert (note["title"], note["body"], note["author"]) == ("By API", "é", "robot")
    location = made.headers["Location"]
    assert browser.open(location).json()["attachments"] == []
    assert note["id"] in [other["id"] for other in browser.open("/api/notes").json()]
    assert browser.open(location, method="DELETE").status == 204
    assert browser.open(location, method="DELETE").status == 404
    assert browser.open(location).json() == {"error": "There is no such note."}
    for bad in ([], {"title": ""}, {"title": 1}, "text"):
        assert browser.send_json("/api/notes", bad).status == 400


def test_the_export_is_a_whole_csv_file_sent_in_pieces(server):
    browser = Browser(server.url)
    made = browser.send_json("/api/notes", {"title": 'a "quoted", title', "body": "1\n2"}).json()
    page = browser.open("/notes.csv")
    assert page.headers["Content-Type"].startswith("text/csv")
    assert page.headers["Transfer-Encoding"] == "chunked"
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(page.text))}
    assert rows[str(made["id"])]["title"] == 'a "quoted", title'
    assert rows[str(made["id"])]["body"] == "1\n2"


def test_many_writers_at_once_lose_nothing(server):
    def write(number):
        sent = {"title": f"at once {number}", "author": "crowd"}
        return Browser(server.url).send_json("/api/notes", sent).status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(80))) == [201] * 80
    listed = Browser(server.url).open("/api/notes").json()
    assert len([note for note in listed if note["author"] == "crowd"]) == 80


def test_the_factory_accepts_other_paths(shared, tmp_path):
    database, uploads = tmp_path / "data" / "n.sqlite3", tmp_path / "files"
    copy = tmp_path / "flask_notes"
    ignored = shutil.ignore_patterns("instance", "__pycache__")
    shutil.copytree(EXAMPLES / "flask_notes", copy, ignore=ignored)
    server = shared(f'app:create_app("{database}", uploads="{uploads}")', chdir=copy)
    assert Browser(server.url).send_json("/api/notes", {"title": "elsewhere"}).status == 201
    eventually(database.exists, what="the database is there")
