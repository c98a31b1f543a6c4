"""Pages load themselves again in Chromium when another version serves."""

import json
from contextlib import contextmanager

from harness import eventually
from harness.chromium import Chromium
from harness.dev_site import Site, page
from lockgate.dev.options import Options

WITHIN = 20


def views(version, *, headers=None):
    return f"""
VERSION = {version!r}
HEADERS = {headers or {}!r}

@flask.get("/")
def home():
    return Response({page(version)!r}, headers=HEADERS, mimetype="text/html")

@flask.route("/form", methods=["GET", "POST"])
def form():
    form = "<form method=post><input name=a></form>"
    return f"<!doctype html><h1>{{VERSION}}</h1>{{form}}{{request.method}}"
"""


@contextmanager
def chromium(directory, url):
    browser = Chromium(directory, url)
    try:
        yield browser
    finally:
        browser.end()


def title(browser, selector="h1"):
    return browser.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent")


def test_a_page_shows_the_new_version_at_its_place(start, tmp_path):
    site = Site(start, tmp_path, views("one"), Options(refresh=True))
    with chromium(tmp_path, f"{site.server.url}/") as browser:
        assert title(browser) == "Version one"
        browser.evaluate("window.scrollTo(0, 1200)")
        for version in ("two", "three"):
            site.reload(views(version))
            wanted = f"Version {version}"
            eventually(lambda: title(browser) == wanted, within=WITHIN, what=wanted)  # noqa: B023
            eventually(
                lambda: browser.evaluate("window.scrollY") == 1200, within=5, what="its place"
            )
    # Requests of the script are not in the log.
    assert "/.lockgate/" not in site.server.output
    assert site.server.errors.count("Traceback") == 0


def test_a_form_is_not_sent_again_without_a_question(start, tmp_path):
    site = Site(start, tmp_path, views("one"), Options(refresh=True))
    with chromium(tmp_path, f"{site.server.url}/form") as browser:
        browser.submit("form", a="1")
        assert browser.evaluate("document.body.textContent").endswith("POST")
        site.reload(views("two"))
        eventually(lambda: title(browser, "button"), within=WITHIN, what="the question")
        assert title(browser) == "one"
        browser.screenshot(tmp_path / "form.png")
    assert site.server.output.count("POST") == 1


def test_a_policy_with_a_nonce_lets_the_script_run(start, tmp_path):
    policy = "default-src 'none'; script-src 'nonce-a1b2' 'strict-dynamic'; connect-src 'self'"
    headers = {"Content-Security-Policy": policy}
    site = Site(start, tmp_path, views("one", headers=headers), Options(refresh=True))
    with chromium(tmp_path, f"{site.server.url}/") as browser:
        site.reload(views("two", headers=headers))
        eventually(lambda: title(browser) == "Version two", within=WITHIN, what="version two")


def test_a_policy_that_forbids_the_script_is_named_once(start, tmp_path):
    headers = {"Content-Security-Policy": "default-src 'self'; script-src 'none'"}
    site = Site(start, tmp_path, views("one", headers=headers), Options(refresh=True))
    for _ in range(2):
        assert b"<script" not in site.server.get("/", "Accept: text/html").body
    assert site.server.errors.count("Content-Security-Policy has `script-src 'none'`") == 1
