"""A real server with a real incident: the page alone answers an operator's five questions."""

import pytest
from harness.chromium import Chromium
from harness.other_user import open_to_others
from harness.patience import eventually
from harness.requirements import require_module

from window.incident import Incident

COUNTER = """
window.clicks = 0;
for (const kind of ['click', 'keydown'])
    addEventListener(kind, event => { clicks += event.isTrusted ? 1 : 0 }, true);
"""


@pytest.fixture
def incident(start, tmp_path):
    require_module("flask")
    directory = tmp_path / "site"
    directory.mkdir()
    # Over TCP the listener shows lines of files that every user may read.
    open_to_others(directory)
    begun = Incident(start, directory)
    yield begun
    begun.end()


@pytest.fixture
def browser(incident, tmp_path):
    browser = Chromium(tmp_path, incident.url)
    browser.at_each_document(COUNTER)
    browser.open(incident.url + "?")
    browser.resize(1600, 1000)
    yield browser
    browser.end()


@pytest.mark.slow
def test_what_since_when_where_after_what_and_is_it_us_take_no_click(incident, browser):
    def holds(condition, within=60):
        return eventually(lambda: browser.evaluate(condition), within=within, what=condition)

    holds("!!usual(state.long)")
    holds("document.title.startsWith('Nothing stands out')")
    began = incident.begin()
    holds("document.title.includes('(usually') && !!(held.result && held.result.change)")
    what, since, code, changed, us = browser.evaluate(
        "[...document.querySelectorAll('#facts dd')].map(dd => dd.innerText)"
    )
    assert "Slow responses" in what and "GET /orders/*" in what
    assert abs(browser.evaluate("held.result.since") - began) < 10, since
    assert "find_order" in code and "shop.py:12" in code and "# the slow line" in code
    assert "eload" in changed
    assert us.startswith(f"Not this server: {incident.peer.address} (PostgreSQL)")
    assert (
        browser.evaluate("document.getElementById('facts').getBoundingClientRect().bottom") < 1000
    )
    assert browser.evaluate("clicks") == 0
    # One more for the whole stack of a request that was slow, after it has ended.
    holds("!!state.history.slow.some(one => !one.is_running && one.samples.length)")
    holds("!!document.querySelector('#slow summary')")
    browser.click("#slow summary")
    holds("!!document.querySelector('#slow .stack')")
    stack = browser.evaluate("document.querySelector('#slow .stack').innerText")
    assert "find_order" in stack and "# the slow line" in stack
    assert browser.evaluate("clicks") == 1
