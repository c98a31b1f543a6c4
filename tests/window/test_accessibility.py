"""WCAG 2.2 AA by axe-core, in every situation, narrow and wide, light and dark; and by keyboard."""

import json

import pytest

from window.situations import SITUATIONS

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def violations(window):
    found = window.browser.evaluate(
        f"axe.run(document, {{runOnly: {json.dumps(RULES)}, resultTypes: ['violations']}})"
        ".then(result => result.violations.map(one =>"
        "    [one.id, one.nodes.map(node => node.html.slice(0, 200) + ' ' + node.failureSummary)]))"
    )
    return [(name, nodes[:3]) for name, nodes in found]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_axe_finds_no_violation_and_nothing_is_wider_than_the_page(window, axe, situation):
    window.open(situation)
    window.browser.evaluate(axe)
    for width in (1600, 360):
        window.browser.resize(width, 1000)
        for scheme in ("light", "dark"):
            window.browser.prefer(scheme)
            assert violations(window) == [], (width, scheme)
        assert window.browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
    assert window.problems() == []


def test_axe_finds_no_violation_in_opened_parts(window, axe):
    window.open("database", width=768, scheme="dark")
    window.browser.evaluate(axe)
    window.browser.evaluate("startProfile()")
    window.browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    window.wait_for("document.querySelectorAll('#slow .stack').length")
    window.wait_for("document.querySelectorAll('#errors .stack').length")
    assert violations(window) == []
    window.browser.press("?")
    window.wait_for("document.getElementById('help-dialog').open")
    assert violations(window) == []
    window.browser.press("Escape")
    window.wait_for("!document.getElementById('help-dialog').open")
    assert window.problems() == []


def test_a_page_without_a_server_has_no_violation(window, axe):
    window.open("quiet", width=360)
    window.browser.evaluate(axe)
    window.browser.evaluate(
        "state.down = state.now.now; state.failure = 'refused'; state.isPaused = true; render()"
    )
    assert "No answer from the admin listener" in window.text("#headline")
    for scheme in ("light", "dark"):
        window.browser.prefer(scheme)
        assert violations(window) == []


def focused(window):
    return window.browser.evaluate("document.activeElement.id || document.activeElement.tagName")


def test_the_time_line_is_operated_by_keys(window):
    window.open("database")
    window.browser.press("p")
    window.browser.press("t")
    assert focused(window) == "chart"
    slider = "document.getElementById('chart')"
    window.browser.press("Home")
    assert window.browser.evaluate(f"{slider}.getAttribute('aria-valuenow')") == "0"
    window.browser.press("]")
    assert "event: reload 4" in window.browser.evaluate(f"{slider}.getAttribute('aria-valuetext')")
    for _ in range(4):
        window.browser.press("ArrowRight", shift=True)
    assert window.browser.evaluate("state.selection.to - state.selection.from") == 25
    window.wait_for("state.history.to === state.selection.to")
    assert "25 s selected" in window.text("#selection").replace("\xa0", " ")
    window.browser.press("ArrowLeft", shift=True)
    assert window.browser.evaluate("state.selection.to - state.selection.from") == 20
    window.browser.press("Escape")
    assert window.browser.evaluate("state.selection") is None
    assert window.problems() == []


def test_keys_search_pause_and_choose_the_range(window):
    window.open("overload")
    window.browser.press("/")
    assert focused(window) == "search"
    for letter in "total":
        window.browser.press(letter)
    assert "5 found" in window.text("#running-note")
    window.browser.press("Escape")
    assert "found" not in window.text("#running-note")
    window.browser.press("p")
    assert window.browser.evaluate("state.isPaused")
    window.browser.press("p")
    window.browser.press("1")
    window.wait_for("state.data.step === 2")
    window.browser.press("u")
    assert "UTC" in window.text("#link-text")
    window.browser.press("f")
    window.wait_for("flame.profile")
    assert window.problems() == []


def test_an_open_entry_keeps_the_focus_while_lists_change(window):
    window.open("overload")
    window.browser.evaluate("document.querySelector('#running summary').focus()")
    window.browser.press("Enter")
    window.wait_for("document.querySelector('#running details').open")
    window.browser.evaluate("window.entry = document.activeElement")
    window.wait_for("document.querySelector('#running .stack')")
    before = window.browser.evaluate("state.now.now")
    window.wait_for(f"state.now.now > {before} + 1")
    assert window.browser.evaluate("document.activeElement === entry && entry.parentElement.open")
