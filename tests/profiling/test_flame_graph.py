"""The flame graph in a browser: zoom, search, keys, and what a reader without scripts sees."""

import json
from pathlib import Path

import pytest
from harness.chromium import Chromium

#: The file that the tests of lockgate-profile compare with what is drawn.
GOLDEN = Path(__file__).parents[2] / "crates/lockgate-profile/src/render/flame_graph/shop.svg"

SHOWN = """[...document.querySelectorAll(
        `svg.graph.${document.documentElement.dataset.measure} svg.f:not(.hidden)`
    )].map((element) => element.frame.label.replace(/ \\(.*/, ''))"""
AT = "document.querySelector('.panel .details').textContent"
STATUS = "document.querySelector('.panel [role=status]').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = Chromium(tmp_path_factory.mktemp("chromium"), GOLDEN.as_uri())
    yield chromium
    chromium.end()


@pytest.fixture
def page(browser):
    browser.open("about:blank")
    browser.open(GOLDEN.as_uri())
    browser.resize(1200, 700)
    return browser


def press(page, *keys):
    for key in keys:
        page.evaluate(
            "(document.activeElement ?? document).dispatchEvent(new KeyboardEvent('keydown', "
            f"{{key: {json.dumps(key)}, bubbles: true, cancelable: true}}))"
        )


def search(page, text):
    page.evaluate(
        f"{{const input = document.querySelector('input'); input.value = {json.dumps(text)};"
        "input.dispatchEvent(new Event('input'))}"
    )


def test_a_frame_is_zoomed_by_a_click_and_left_by_escape(page):
    everything = page.evaluate(SHOWN)
    assert everything[:4] == ["all", "GET /cart/*", "wsgi_app", "dispatch_request"]
    page.evaluate(
        "[...document.querySelectorAll('svg.wall svg.f')]"
        ".find((element) => element.frame.label.startsWith('total'))"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    below = ["total", "waits for the GIL", "round_up"]
    above = ["all", "GET /cart/*", "wsgi_app", "dispatch_request", "cart"]
    assert page.evaluate(SHOWN) == [*above, *below]
    widths = page.evaluate(
        "[...document.querySelectorAll('svg.wall svg.f:not(.hidden)')]"
        ".map((element) => element.getAttribute('width'))"
    )
    assert [round(float(width.rstrip("%"))) for width in widths[:6]] == [100] * 6
    press(page, "Escape")
    assert page.evaluate(SHOWN) == everything


def test_the_keys_reach_every_frame(page):
    press(page, "ArrowDown", "ArrowDown", "ArrowDown")
    assert page.evaluate(AT).startswith("wsgi_app (flask/app.py:7): 65.3 %: 1.54 s")
    press(page, "ArrowUp", "ArrowRight")
    assert page.evaluate(AT).startswith("GET /items/*: 27.1 %")
    press(page, "ArrowLeft", "ArrowLeft")
    assert page.evaluate(AT).startswith("GET /cart/*: 65.3 %")
    press(page, "ArrowRight", "Enter")
    assert "GET /cart/*" not in page.evaluate(SHOWN)
    press(page, "Escape", "c")
    assert page.evaluate("document.documentElement.dataset.measure") == "cpu"
    assert "waits for a lock" not in page.evaluate(SHOWN)
    press(page, "c", "t")
    assert page.evaluate("document.documentElement.dataset.theme") in ("dark", "light")
    press(page, "/")
    assert page.evaluate("document.activeElement.localName") == "input"


def test_a_search_marks_frames_and_says_their_part(page):
    for text, status in [
        ("psycopg", "40.3 % in 1 frame"),
        ("FLASK", "98.3 % in 6 frames"),
        ("waits for", "63.1 % in 4 frames"),
        ("nothing of this name", "not found"),
        ("", ""),
    ]:
        search(page, text)
        assert page.evaluate(STATUS) == status, text
    assert page.evaluate("document.querySelectorAll('.hit').length") == 0


@pytest.mark.parametrize("width", [360, 1600])
def test_texts_stay_inside_their_frames(page, width):
    page.resize(width, 700)
    page.evaluate("dispatchEvent(new Event('resize'))")
    overflowing = page.evaluate(
        """[...document.querySelectorAll('svg.wall svg.f:not(.hidden)')].filter((e) => {
            const text = e.querySelector('text');
            return text?.textContent && text.getComputedTextLength() + 4
                > e.querySelector('rect').getBoundingClientRect().width + 1;
        }).map((e) => e.textContent)"""
    )
    assert overflowing == []


def test_the_file_is_readable_without_its_script(page, tmp_path):
    text = GOLDEN.read_text()
    start, end = text.index("<script>"), text.index("</script>")
    silent = tmp_path / "silent.svg"
    silent.write_text(text[:start] + text[end + len("</script>") :])
    page.open(silent.as_uri())
    assert page.evaluate("document.querySelectorAll('button, input').length") == 0
    seen = page.evaluate(
        "[...document.querySelectorAll('svg.wall svg.f text')].map((text) => text.textContent)"
    )
    assert "execute (psycopg/cursor.py:7)" in seen and "waits for 10.0.0.5:5432" in seen
    title = page.evaluate(
        "document.querySelector('svg.wall svg.f:nth-of-type(2) title').textContent"
    )
    assert title == "GET /cart/*\n65.3 %: 1.54 s\nCPU time: 0.46 s"
