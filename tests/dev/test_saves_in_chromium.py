"""What a developer sees in Chromium and in the terminal while files are saved, with
`lockgate dev --refresh --debugger`."""

import pytest
from harness import eventually
from harness.chromium import Chromium
from harness.dev import DevServer, project

APP = """
from flask import Flask

app = Flask(__name__)
LINES = "<p>A line</p>" * 200

@app.get("/")
def index():
    return f"<!doctype html><title>t</title><body><h1>{version}</h1>{{LINES}}</body>"

@app.get("/fails")
def fails():
    answer = {version}
    raise ValueError(answer)
"""


@pytest.fixture
def server(tmp_path):
    directory = tmp_path / "project"
    directory.mkdir()
    project(directory, {"app.py": APP.format(version=1)})
    server = DevServer(directory, "--refresh", "--debugger", "--slow", "30")
    yield server
    server.end()


def test_a_page_follows_saves_through_an_error(server, tmp_path):
    server.eventually("/", "<h1>1</h1>")
    browser = Chromium(tmp_path, f"{server.url}/")

    def shows(selector, text):
        find = f"document.querySelector('{selector}')?.textContent"
        eventually(
            lambda: text in (browser.evaluate(find) or ""), within=30, what=f"{text} in {selector}"
        )

    try:
        shows("h1", "1")
        browser.evaluate("window.scrollTo(0, 1500)")
        server.save("app.py", APP.format(version=2))
        shows("h1", "2")
        server.save("app.py", "def broken(:\n")
        shows("body", "def broken(:")
        browser.screenshot(tmp_path / "broken.png")
        server.save("app.py", APP.format(version=3))
        shows("h1", "3")
        eventually(lambda: browser.evaluate("window.scrollY") == 1500, within=5, what="its place")
        browser.open(f"{server.url}/fails")
        shows(".errormsg", "ValueError: 3")
        # The page of the debugger follows, too.
        server.save("app.py", APP.format(version=4))
        shows(".errormsg", "ValueError: 4")
    finally:
        browser.end()
    # The requests of pages have lines, those of the script have none.
    server.wait_for(r"^\d\d:\d\d:\d\d GET     / +200 ")
    assert "/.lockgate/" not in server.errors
    assert server.output == ""
