"""The error page: what it shows, that it is safe, and that it can be read."""

import re

import pytest
from harness.chromium import Chromium
from harness.dev import DevServer, project
from lockgate.dev import error_page, failure

HOSTILE = "<script>alert('x')</script>&amp;\x00\ud800"


def fails():
    value = None
    return value + 1


def chained():
    try:
        fails()
    except TypeError as error:
        raise RuntimeError(HOSTILE) from error


def caught(call):
    try:
        call()
    except Exception as error:
        return failure.of_exception(error, f"title {HOSTILE}")
    raise AssertionError("it has not failed")


def compiled(source):
    return caught(lambda: compile(source, "broken.py", "exec"))


def test_everything_that_is_shown_is_escaped():
    page = error_page.render(caught(chained), HOSTILE)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    page.encode("utf-8", "backslashreplace")


def test_nothing_is_loaded_from_elsewhere():
    page = error_page.render(caught(chained), "")
    assert not re.findall(r"<(?:link|script|img|iframe)|url\(|@import|src=", page)


def test_the_part_that_failed_is_marked():
    frame = caught(fails).links[-1].frames[-1]
    assert frame.function == "fails"
    marked = next(line.text for line in frame.source if line.is_marked)
    assert marked == "    return value + 1"
    if frame.span is not None:  # Python 3.10 does not have it
        assert marked[slice(*frame.span)] == "value + 1"


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        ("  a = b", (6, 7), "  a = <mark>b</mark>"),
        ("  a = b", None, "  <mark>a = b</mark>"),
        ("def f(", (6, 7), "def f(<mark> </mark>"),
        ("<b> = 1", (0, 3), "<mark>&lt;b&gt;</mark> = 1"),
        ("", (0, 1), "<mark> </mark>"),
    ],
)
def test_marks_have_their_place(text, span, expected):
    assert error_page.marked(text, span).rstrip(" ") == expected.rstrip(" ")


def test_a_syntax_error_has_its_line_and_its_message():
    failed = compiled("x = 1\ny = = 2\n")
    assert failed.summary == "SyntaxError: invalid syntax"
    assert (failed.place.path, failed.place.line) == ("broken.py", 2)


def test_offsets_count_characters_and_not_bytes():
    assert failure.characters("é = b", 5) == 4


def test_a_chain_has_the_first_exception_first():
    failed = caught(chained)
    assert [link.name for link in failed.links] == ["TypeError", "RuntimeError"]
    assert "direct cause" in failed.links[1].relation


def test_a_message_of_several_lines_is_whole():
    def several():
        raise ValueError("first: line\nsecond line")

    failed = caught(several)
    assert failed.links[-1].message == "first: line\nsecond line"
    assert failed.summary == "ValueError: first: line"


def test_a_recursion_is_shortened():
    def deeper():
        deeper()

    failed = caught(deeper)
    assert len(failed.links[-1].frames) == failure.MOST_FRAMES
    assert len(error_page.render(failed, "")) < 300_000


@pytest.mark.parametrize(
    ("accept", "is_html"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("TEXT/HTML;q=0.9", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
    ],
)
def test_browsers_get_html_and_programs_text(accept, is_html):
    assert error_page.wants_html(accept) is is_html


def luminance(colour):
    """WCAG 2.2, relative luminance."""
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(scheme):
    colours = [
        dict(re.findall(r"--(\w+): (#\w+)", part)) for part in error_page.STYLE.split("@media")
    ]
    scheme = colours[scheme]
    for text, back in [
        *[(text, back) for text in ("text", "dim", "strong") for back in ("back", "card")],
        ("text", "mark"),
    ]:
        assert contrast(scheme[text], scheme[back]) >= 4.5, (text, back)
    assert contrast(scheme["strong"], scheme["mark"]) >= 3, "the underline of what failed"


def test_a_browser_shows_it_narrow_and_wide(tmp_path):
    directory = tmp_path / "project"
    directory.mkdir()
    long_line = "x = [" + "1234567890, " * 30 + "\n"
    server = DevServer(project(directory, {"app.py": long_line}))
    try:
        browser = Chromium(tmp_path, server.url + "/")
        try:
            for width in (360, 1600):
                browser.resize(width, 800)
                assert browser.evaluate("document.documentElement.scrollWidth") == width
                assert "SyntaxError" in browser.evaluate("document.querySelector('h1').innerText")
            backs = []
            for scheme in ("light", "dark"):
                browser.prefer(scheme)
                backs.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert backs == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]
        finally:
            browser.end()
    finally:
        server.end()
