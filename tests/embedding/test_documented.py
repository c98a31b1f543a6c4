"""The code of docs/embedding.md, as it stands there, with Django's live server tests, pytest and
Flask, and as a script.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness.process import clean_environment

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "embedding.md"


def snippet(name):
    """The block of the page that begins with a comment of this name."""
    blocks = re.findall(r"```python(?: title=\S+)?\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    found = [block for block in blocks if block.startswith(f"# {name}\n")]
    assert len(found) == 1, f"{name} in {PAGE}"
    return found[0]


def run(*command, cwd, within=60):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True, text=True, timeout=within, cwd=cwd, env=clean_environment(),
    )  # fmt: skip


def test_django_live_servers(tmp_path):
    pytest.importorskip("django")
    project = tmp_path / "project"
    shutil.copytree(HERE / "django_project", project)
    (project / "lockgate_live_server.py").write_text(snippet("lockgate_live_server.py"))
    done = run("-m", "django", "test", "--settings=project_settings", "--pythonpath=.", cwd=project)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Ran 15 tests in .*\n\nOK\n", done.stderr), done.stderr


def test_a_pytest_fixture_for_flask(tmp_path):
    pytest.importorskip("flask")
    (tmp_path / "conftest.py").write_text(snippet("conftest.py"))
    (tmp_path / "shop.py").write_text(
        "from flask import Flask\n"
        "def create_app():\n"
        "    app = Flask(__name__)\n"
        "    app.get('/')(lambda: 'hello')\n"
        "    return app\n"
    )
    (tmp_path / "test_shop.py").write_text(
        "from urllib.request import urlopen\n"
        "def test_page(live_server):\n"
        "    assert urlopen(live_server.url).read() == b'hello'\n"
        "def test_page_again(live_server):\n"
        "    assert urlopen(live_server.url).read() == b'hello'\n"
    )
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path, cwd=tmp_path)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "lockgate" not in os.listdir(tmp_path)
