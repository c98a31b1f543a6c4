"""The convention of pages: blocks, commands, servers, and the output that a page shows."""

import pytest
from harness.pages.blocks import BadPage, blocks
from harness.pages.output import difference, missing
from harness.pages.page import run_page
from harness.pages.sandbox import available, environment
from harness.pages.shell import commands, dialogue, serves
from harness.pages.summary import summary
from harness.requirements import missing as missing_here


def test_blocks_have_language_title_and_properties():
    page = (
        "# A\n<!-- test: skip no cluster here -->\n```sh\nkubectl get pods\n```\n\n"
        '<!-- test: prepare\ntouch a\n-->\n=== "Flask"\n\n'
        '    ```python title="app.py"\n    def a():\n        pass\n    ```\n'
    )
    first, prepared, file = blocks(page)
    assert (first.language, first.properties) == ("sh", {"skip": "no cluster here"})
    assert (prepared.language, prepared.text.strip()) == ("prepare", "touch a")
    assert (file.line, file.title, file.text) == (12, "app.py", "def a():\n    pass\n")


@pytest.mark.parametrize(
    "page",
    [
        "<!-- test: skpi typo -->\n```sh\n```\n",
        "<!-- test: skip far from its block -->\ntext\n```sh\n```\n",
        "```sh\nno end\n",
        "<!-- test: prepare\nno end\n",
    ],
)
def test_a_page_against_the_convention_is_refused(page):
    with pytest.raises(BadPage):
        blocks(page)


def test_a_command_ends_where_bash_would_run_it():
    text = "# a comment\na \\\n  b\n\ncat <<END >f\nx 'y\nEND\nfor i in 1; do\n  c\ndone # d\n"
    assert [command.text for command in commands(text)] == [
        "a \\\n  b",
        "cat <<END >f\nx 'y\nEND",
        "for i in 1; do\n  c\ndone # d",
    ]
    one, two = dialogue("$ curl \\\n>   a\nhello\n\n$ b\n")
    assert (one.text, one.expected) == ("curl \\\n  a", ["hello", ""])
    assert (two.text, two.expected) == ("b", [])


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("lockgate app:app", True),
        ("A=1 /srv/venv/bin/lockgate app:app -w 4   # a comment", True),
        ("lockgate dev", True),
        ("lockgate app:app &", True),
        ("python3 -m lockgate app:app", True),
        ("lockgate --check-config app:app", False),
        ("lockgate ctl status", False),
        ("lockgate app:app | head", False),
        ("flask --app shop run --port 5001", True),
        ("flask shell", False),
        ("python manage.py runserver", True),
        ("python manage.py migrate", False),
        ("gunicorn app:app", True),
        ("gunicorn --version", False),
        ("ddtrace-run lockgate app:app", True),
        ("curl http://127.0.0.1:8000/", False),
    ],
)
def test_a_command_that_serves_is_known_by_its_words(command, expected):
    assert serves(command) is expected


@pytest.mark.parametrize(
    ("shown", "output", "is_right"),
    [
        ("a\nb", "a\nb\n", True),
        ("a", "a\nb\n", False),
        ("a\nb", "a\n", False),
        ("a…d", "abcd\n", True),
        ("a\n…\nd", "a\nb\nc\nd\n", True),
        ("…\nd", "a\nd\ne\n", False),
        ("…\nd\n…", "a\nd\ne\n", True),
        ("a.c", "abc\n", False),
        ("pid 12 at [2026-11-28 15:00:00 +0000]", "pid 7 at [2030-01-02 03:04:05 +0100]\n", True),
        ("took 0.31 s", "took 1.2 s\n", True),
        ("took 3 workers", "took 4 workers\n", False),
    ],
)
def test_shown_output_is_compared_whole(shown, output, is_right):
    assert (difference(shown.splitlines(), output) is None) is is_right


def test_lines_of_a_log_are_looked_for_in_their_order():
    log = "first 1\nsecond\nthird\n"
    assert missing(["first …", "third"], log) is None
    assert missing(["third", "first 1"], log) == "first 1"


FAILURES = [
    ("```sh\ntrue\nfalse\n```\n", "exit code 1"),
    ("```console\n$ echo a\nb\n```\n", "the page shows"),
    ("```sh\nfalse; true\n```\n", "exit code 1"),
    ("```sh\nfor i in 1 2; do test $i = 2; done\n```\n", "exit code 1"),
    ("<!-- test: expect-failure -->\n```console\n$ echo a\na\n```\n", "exit code 0"),
    ("<!-- test: expect-failure -->\n```sh\nfalse\n```\n", "shown with its output"),
    ("<!-- test: expect-failure -->\n```console\n$ false\n…\n```\n", "shown with its output"),
    ("```sh\npip install ./no-such-directory\n```\n", "no such file"),
    ("```sh\npip install -r missing.txt\n```\n", "no such file"),
    ('```toml title="production.toml"\nwokers = 3\n```\n', "wokers"),
    ("```sh\nnohup lockgate absent:app &\n```\n", "absent"),
    ('```dockerfile title="Dockerfile"\nRUN pip install "lockgate[x]"\n```\n', "RUN pip"),
    (
        "```sh\npython -m http.server 8001\npkill -9 -f http.server\n"
        "while pgrep -f http.server; do sleep 0.02; done\n```\n",
        "was killed",
    ),
    ('```toml title="lockgate.toml"\nwokers = 2\n```\n', "workers"),
    ("```toml\ncache = 'much'\n```\n", "cache"),
    ("```python\nx = 1\n```\n", "title"),
    ("<!-- test: python -->\n```python\nprint(app)\n```\n", "app"),
    ("<!-- test: python -->\n```python\nimport os\nos.no_such_name()\n```\n", "no_such_name"),
    ('```python title="a.py"\nx =\n```\n', "invalid syntax"),
    ("```sh\npip install lockgate\n```\n", "not on PyPI"),
    ("```sh\nlockgate nowhere:app\n```\n", "nowhere"),
    ("<!-- test: zsh -->\n```sh\ncompdef\n```\n", "exit code 1"),
    ("```\nno language\n```\n", "nothing says what it is"),
    ("```sh\ntouch /usr/share/touched\n```\n", "Read-only"),
]


@pytest.mark.parametrize(("page", "reason"), FAILURES, ids=[reason for _, reason in FAILURES])
def test_a_page_that_is_not_true_fails(tmp_path, page, reason):
    outcomes = _outcomes(tmp_path, page)
    assert outcomes[-1].result == "failed"
    assert reason in outcomes[-1].message


def test_what_is_no_failure_passes(tmp_path):
    page = (
        "```sh\nif false; then true; fi; false || true; ! false\npip install .\n```\n"
        '<!-- test: not-settings -->\n```toml title="other.toml"\nwokers = 3\n```\n'
        "```sh\npython -m http.server 8001\npkill -TERM -f http.server\n```\n"
    )
    outcomes = _outcomes(tmp_path, page)
    assert [outcome.result for outcome in outcomes] == ["ran"] * 3, outcomes[-1].message


def test_a_page_has_a_network_and_files_of_its_own(tmp_path):
    page = (
        '```python title="app.py"\ndef app(environ, start_response):\n'
        '    start_response("200 OK", [])\n    return [b"one\\n"]\n```\n'
        "```sh\nmkdir /etc/shop /run/shop\nlockgate app:app -b 127.0.0.1:80 -w 1\n```\n"
        "```console\n$ curl http://127.0.0.1/\none\n```\n"
        "```sh\nsed -i s/one/two/ app.py\nlockgate app:app -b 127.0.0.1:80 -w 1\n```\n"
        "```console\n$ curl http://127.0.0.1/\ntwo\n```\n"
        "<!-- test: log -->\n```text\n[1] [INFO] listening at http://127.0.0.1:80 (pid 1)\n```\n"
    ).replace("[1]", "[2026-11-28 15:00:00 +0000] [1]")
    outcomes = _outcomes(tmp_path, page)
    assert [outcome.result for outcome in outcomes] == ["ran"] * 6, outcomes[-1].message


def test_the_summary_counts_and_lists_what_was_skipped():
    class Report:
        user_properties = [
            ("block", ("ran", "a.md:1", "")),
            ("block", ("skipped", "a.md:9", "no cluster")),
            ("other", 1),
        ]

    assert summary([Report(), Report()]) == [
        "1 pages: 1 blocks ran, 0 have nothing to run, 1 skipped, 0 failed",
        "  skipped a.md:9: no cluster",
    ]
    assert summary([]) == []


def _outcomes(directory, text):
    if reason := available():
        missing_here(reason)
    if not environment().exists():
        missing_here("the virtualenv of the pages has not been made: run `make pages`")
    page = directory / "page.md"
    page.write_text(text)
    run = directory / "run"
    run.mkdir()
    return run_page(page, run)
