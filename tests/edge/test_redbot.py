"""REDbot, which lints resources by HTTP's documents, has no complaint about files and responses."""

import gzip
import json
import subprocess
import sys
from urllib.parse import quote

import pytest
from harness.requirements import require_module

LASTING = "max-age=3600"
HTML = quote("text/html; charset=utf-8")
STYLE = b"".join(b".rule-%d { color: #%06x }\n" % (number, number * 997) for number in range(400))
RESOURCES = {
    "a file": "/static/small.css",
    "a file that is compressed": "/static/large.css",
    "a file with a sidecar": "/static/beside.css",
    "a file that never changes": "/static/site.0123abcd.js",
    "a picture": "/static/picture.png",
    "an empty file": "/static/empty.txt",
    "a stored response": f"/answer?cc={LASTING}&etag=%22a%22",
    "a stored page that is compressed": f"/answer?cc={LASTING}&size=20000&type={HTML}",
    "a page that is compressed": f"/answer?cc=no-store&size=20000&type={HTML}",
}
#: Notes about what the resource is, not about how it was served.
EXPECTED: dict[str, set[str]] = {}


@pytest.fixture(scope="module")
def server(shared, shared_site):
    require_module("redbot")
    files = {
        "small.css": STYLE[:200],
        "large.css": STYLE,
        "beside.css": STYLE,
        "beside.css.gz": gzip.compress(STYLE, mtime=0),
        "site.0123abcd.js": b"const lock = 1;\n" * 200,
        "picture.png": bytes.fromhex(
            "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
            "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
        )
        + bytes(5000),
        "empty.txt": b"",
    }
    for name, content in files.items():
        (shared_site.root / name).write_bytes(content)
    table = (
        f'static = [{{ path = "/static", dir = "{shared_site.root}", '
        'immutable = "*.????????.*", max_age = "1h" }]\ncompress = true\ncache = "4MiB"\n'
    )
    (shared_site.directory / "lockgate.toml").write_text(table)
    return shared(
        "edge_site:app",
        "--config",
        str(shared_site.directory / "lockgate.toml"),
        environment=shared_site.environment,
    )


@pytest.mark.parametrize("name", RESOURCES)
def test_redbot_has_no_complaint(server, name):
    # The second look finds what the first has stored.
    for _ in range(2):
        notes = notes_of(server.url + RESOURCES[name])
        complaints = {
            f"{note['level']}: {note['summary']}"
            for note in notes
            if note["level"] in ("BAD", "WARN") and note["summary"] not in EXPECTED.get(name, set())
        }
        assert complaints == set(), notes


def notes_of(url):
    done = subprocess.run(
        [sys.executable, "-m", "redbot.cli", "-o", "har", url],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    entries = json.loads(done.stdout)["log"]["entries"]
    assert entries, done.stderr
    return [note for entry in entries for note in entry["_red_messages"]]
