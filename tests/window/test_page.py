"""The page in a browser: what it says, that it is inert, and that it lasts."""

import dataclasses

import pytest
from harness.patience import eventually

from window.fake_admin import FakeAdmin
from window.scenarios import HOSTILE
from window.situations import SITUATIONS


def test_hostile_texts_are_shown_and_do_nothing(window):
    window.open("hostile")
    window.browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    window.browser.evaluate("view.grouping = 'request'; render()")
    window.browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    window.wait_for("document.querySelector('#slow .stack')")
    assert window.browser.evaluate("document.querySelectorAll('img, main script').length") == 0
    assert window.browser.evaluate("document.title").startswith("■ p95 ")
    for part in (
        "#headline",
        "#running",
        "#slow",
        "#errors",
        "#paths",
        "#events",
        "#reload",
        "#rest",
    ):
        shown = window.browser.evaluate(f"document.querySelector('{part}').textContent")
        assert HOSTILE in shown, part
    assert window.problems() == []


def test_a_script_cannot_turn_text_into_markup(window):
    window.open("quiet")
    refused = window.browser.evaluate(
        "(() => { try { document.body.innerHTML = '<img src=x>'; return '' }"
        " catch (error) { return error.name } })()"
    )
    assert refused == "TypeError", "Trusted Types forbid it"


def test_the_page_says_that_the_server_has_gone_and_recovers(window):
    admin = FakeAdmin("quiet")
    window.open("quiet", url=admin.url)
    admin.close()
    window.wait_for("document.title.includes('No answer from the admin listener')")
    assert "no answer since" in window.text("#link-text")
    assert window.browser.evaluate("document.querySelectorAll('#workers tbody tr').length") == 4
    again = FakeAdmin("dead_worker", admin.port)
    try:
        window.wait_for("document.title.includes('Worker 2 was killed')")
        assert window.browser.evaluate("document.getElementById('link').dataset.state") == "live"
    finally:
        again.close()
    window.wait_for("state.down")


#: What the page announces from now on.
ANNOUNCED = """
window.heard = [];
new MutationObserver(() => heard.push(byId('announce').textContent))
    .observe(byId('announce'), {childList: true, characterData: true, subtree: true});
"""
HIDE = "Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})"


def test_a_hidden_page_says_that_the_server_has_gone_and_nothing_else(window):
    admin = FakeAdmin("quiet")
    window.open("quiet", url=admin.url)
    window.browser.evaluate(ANNOUNCED + HIDE)
    admin.close()
    window.browser.evaluate("pollHistory()")
    window.wait_for("state.down")
    down = window.browser.evaluate("pollNow().then(pollNow).then(() => state.down)")
    assert down and window.browser.evaluate("heard") == []
    again = FakeAdmin("quiet", admin.port)
    try:
        window.wait_for("heard.includes('The server answers again') && !state.down")
    finally:
        again.close()


@pytest.mark.parametrize("path", ["/history", "/events", "/now"])
def test_the_server_is_not_fine_while_one_of_its_answers_fails(window, path):
    window.open("quiet")
    window.admin.failing.add(path)
    try:
        window.browser.evaluate("pollHistory()")
        window.wait_for("state.down")
        began = window.browser.evaluate("state.down")
        again = "Promise.all([pollNow(), pollLong()]).then(() => state.down)"
        assert window.browser.evaluate(again) == began
        assert "500 it fails" in window.text("#headline")
    finally:
        window.admin.failing.clear()
    window.wait_for("!state.down")


def test_an_hour_of_polls_leaves_the_document_as_large_as_it_was(window):
    events = [(second * 7 - 600, "log", "warning", None, f"line {second}") for second in range(700)]
    window.open(dataclasses.replace(SITUATIONS["overload"], events=events))
    sizes = []
    for _ in range(30):
        window.admin.shift += 120
        window.browser.evaluate("Promise.all([pollNow(), pollHistory()]).then(render)")
        sizes.append(window.browser.evaluate("document.querySelectorAll('*').length"))
    window.admin.shift = 0
    assert max(sizes[15:]) <= max(sizes[:15]) * 1.1, sizes
    assert max(sizes) < 4000
    assert window.browser.evaluate("state.events.length") <= 1000
    assert window.problems() == []


def test_no_range_is_longer_than_the_history(window):
    window.open("quiet")
    assert window.text("#ranges").split("\n") == ["5 min", "15 min", "1 h"]


def test_nothing_moves_while_figures_change(window):
    window.open("database")
    before = window.browser.evaluate("state.now.now")
    window.wait_for(f"state.now.now > {before} + 2")
    assert window.browser.evaluate("shifted") < 0.05


def test_a_server_that_was_started_again_has_no_figures_of_the_one_before(window):
    window.open("database")
    window.wait_for("state.long && state.long.from < state.now.now - 3000")
    window.admin.show("nothing")
    found = "state.long ? state.now.started - state.long.from : 0"
    assert window.browser.evaluate(f"pollNow().then(() => {found})") < 60


@pytest.mark.parametrize("situation", ["quiet", "failing_reload", "database"])
def test_the_tiles_follow_the_answers_on_a_narrow_page(window, situation):
    window.open(situation, width=360)
    gap = window.browser.evaluate(
        "byId('figures').getBoundingClientRect().top"
        " - Math.max(...['facts', 'also'].map(id => byId(id).getBoundingClientRect().bottom))"
    )
    assert gap < 30
    assert window.browser.evaluate("shifted") < 0.05


@pytest.mark.parametrize("situation", ["overload", "failing_reload", "dead_worker", "hostile"])
def test_the_first_line_and_the_title_are_short(window, situation):
    window.open(situation, width=1400)
    assert window.browser.evaluate("byId('headline').getBoundingClientRect().height") < 2.5 * 28.4
    assert len(window.browser.evaluate("document.title")) <= 80


def test_a_hidden_page_does_not_ask_what_threads_run(window):
    window.open("quiet")
    window.browser.evaluate(HIDE)
    eventually(lambda: not window.browser.evaluate("state.asking"), within=5, what="is quiet")
    window.browser.evaluate("pollNow()")
    window.admin.requests.clear()
    window.browser.evaluate("Promise.all([pollNow(), pollNow(), pollHistory()])")
    assert not [target for _, target in window.admin.requests if target == "/now"]


@pytest.mark.parametrize("missing", ["/history", "/events", "/now"])
def test_a_part_that_the_server_does_not_have_is_left_out(window, missing):
    window.admin.without.add(missing)
    try:
        window.admin.show("quiet")
        window.browser.open(f"{window.admin.url}?without={missing}")
        window.wait_for("state.isAsked")
        expected = {
            "/history": "Not recorded.",
            "/events": "None in the last",
            "/now": "Not known yet.",
        }
        window.wait_for(f"document.body.innerText.includes('{expected[missing]}')")
        assert window.problems() == []
    finally:
        window.admin.without.clear()


def test_a_selected_range_filters_the_lists(window):
    window.open("database")
    assert window.text("#slow-note").startswith("24")
    window.browser.drag("#chart", 0.2, 0.4)
    window.wait_for("state.selection && state.history.to === state.selection.to")
    window.wait_for("document.getElementById('slow').innerText.includes('None in the selected')")
    # The share before the incident.
    window.wait_for("document.querySelector('#paths td:nth-child(2)').innerText.startsWith('42')")
    window.browser.click("#clear")
    window.wait_for("document.getElementById('slow-note').innerText.startsWith('24')")


def test_a_profile_is_a_flame_graph_that_zooms(window):
    window.open("database")
    window.browser.click("#profile-start")
    window.wait_for("flame.profile && document.getElementById('flame')")
    assert "wait_c psycopg/waiting.py:228" in window.text("#profile table")
    window.browser.evaluate("document.getElementById('flame').focus()")
    window.browser.press("ArrowDown")
    window.browser.press("Enter")
    assert window.text("#flame-trail").startswith("GET /orders/*: 67")
    assert window.browser.evaluate("flame.focus.name") == "GET /orders/*"
    window.browser.press("Escape")
    assert window.browser.evaluate("flame.focus === flame.root")
    saved = window.browser.evaluate("speedscope(flame.profile)")
    assert [one["endValue"] for one in saved["profiles"]] == pytest.approx([13.4, 3.2])
    assert window.problems() == []


def test_actions_are_offered_only_if_they_are_allowed_and_ask_first(window):
    window.open("quiet")
    assert window.browser.evaluate("document.getElementById('actions').hidden")
    window.open("overload")
    window.admin.requests.clear()
    window.browser.click("#actions button")
    assert not [method for method, _ in window.admin.requests if method == "POST"]
    window.browser.click("#confirm-dialog button.main")
    window.wait_for("!document.getElementById('confirm-dialog').open")
    assert ("POST", "/actions/reload") in window.admin.requests
