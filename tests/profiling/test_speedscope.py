"""The file for speedscope: by its published schema, and in speedscope itself."""

import base64
import json
from pathlib import Path

import pytest
from harness import eventually
from harness.chromium import Chromium
from harness.npm import unpack_package
from harness.requirements import require_module

#: The file that the tests of lockgate-profile compare with what is written.
GOLDEN = Path(__file__).parents[2] / "crates/lockgate-profile/src/render/speedscope/shop.json"
RELEASE = "dist/release"


@pytest.fixture(scope="module")
def speedscope(tmp_path_factory):
    return unpack_package("speedscope@1.25.0", tmp_path_factory.mktemp("npm")) / RELEASE


def test_the_file_is_valid_by_the_schema(speedscope):
    require_module("jsonschema")
    import jsonschema

    schema = json.loads((speedscope / "file-format-schema.json").read_text())
    jsonschema.validate(json.loads(GOLDEN.read_text()), schema)


def test_speedscope_opens_it(speedscope, tmp_path):
    source = base64.b64encode(GOLDEN.read_bytes()).decode()
    script = tmp_path / "profile.js"
    script.write_text(f'speedscope.loadFileFromBase64("shop.json", "{source}")')
    page = Chromium(tmp_path, f"{(speedscope / 'index.html').as_uri()}#localProfilePath={script}")
    try:
        title = eventually(
            lambda: page.evaluate("document.title.includes('Profile') && document.title"),
            what="speedscope has opened the file",
        )
        text = page.evaluate("document.body.innerText")
    finally:
        page.end()
    assert "Profile of 2 workers" in title, title
    assert "wall time" in text, text
