"""The settings of static files, compression and the cache, as operators write them."""

import re
import subprocess
import sys

import pytest
from harness.other_user import open_to_others, reachable_python
from harness.process import APPS, clean_environment


def run(directory, *arguments, file=None, environment=None, check="--print-config"):
    if file is not None:
        (directory / "lockgate.toml").write_text(file)
    command = [sys.executable, "-m", "lockgate", "hello:app", check, *arguments]
    variables = {"PYTHONPATH": str(APPS)} | (environment or {})
    return subprocess.run(
        command, cwd=directory, env=clean_environment(variables), capture_output=True, text=True
    )


def printed(directory, *arguments, **options):
    """The values that are printed, without their origins."""
    outcome = run(directory, *arguments, **options)
    assert outcome.returncode == 0, outcome.stderr
    lines = re.findall(r"^(\w+) = (.*?) +# ", outcome.stdout, re.MULTILINE)
    return dict(lines)


def test_everything_is_off_by_default(tmp_path):
    found = printed(tmp_path)
    assert (found["static"], found["compress"], found["cache"]) == ("[]", "false", "0")


def test_one_file_has_all_three(tmp_path):
    file = """
        compress = true
        cache = "64MiB"
        static = [{ path = "/static", dir = "static", immutable = "*.????????.*" }]
    """
    found = printed(tmp_path, file=file)
    assert (found["compress"], found["cache"]) == ("true", '"64MiB"')
    mount = '[{ path = "/static", dir = "static", immutable = "*.????????.*" }]'
    assert found["static"] == mount


@pytest.mark.parametrize(
    ("arguments", "environment", "static"),
    [
        (["--static", "/a=b"], {}, '[{ path = "/a", dir = "b" }]'),
        (["--static=/a=b", "--static=/a=c"], {}, '[{ path = "/a", dirs = ["b", "c"] }]'),
        (["--static", "auto"], {}, '"auto"'),
        ([], {"LOCKGATE_STATIC": "/a=b,/=c"},
         '[{ path = "/a", dir = "b" }, { path = "/", dir = "c" }]'),
        (["--static", "/a=b"], {"LOCKGATE_STATIC": "auto"}, '[{ path = "/a", dir = "b" }]'),
    ],
)  # fmt: skip
def test_flags_and_variables(tmp_path, arguments, environment, static):
    assert printed(tmp_path, *arguments, environment=environment)["static"] == static


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "static = '/srv/static'",
            'static = "/srv/static" (from lockgate.toml line 1): must be /PATH=DIR, such as '
            "/static=assets, or auto",
        ),
        (
            "[[static]]\npath = '/a'\ndir = 'x'\n[[static]]\npath = '/b'\nroot = 'y'",
            'static = root = "y" (from lockgate.toml line 6): is an unknown key of a static path',
        ),
        (
            "static = [{ path = '/a', dir = 'x', max_age = 'forever' }]",
            'static = max_age = "forever" (from lockgate.toml line 1): must be a time',
        ),
        ("cache = '64'", "cache = 64 (from lockgate.toml line 1): must be at least 4MiB"),
        (
            "cache = '8MiB'\ncache_entry_limit = '4MiB'",
            'cache_entry_limit = "4MiB" (from lockgate.toml line 2): must be at most 2MiB, a '
            'quarter of cache = 8MiB',
        ),
        (
            "cache_locktimeout = 5",
            "cache_locktimeout (from lockgate.toml line 1): unknown setting; did you mean "
            "cache_lock_timeout?",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_key_value_and_line(tmp_path, file, message):
    outcome = run(tmp_path, file=file)
    assert outcome.returncode == 2
    assert message in outcome.stderr


def test_a_relative_directory_is_relative_to_chdir(tmp_path, start):
    (tmp_path / "site" / "files").mkdir(parents=True)
    (tmp_path / "site" / "files" / "a.txt").write_text("here")
    (tmp_path / "site" / "app.py").write_text((APPS / "hello.py").read_text())
    server = start("app:app", "--static=/f=files", "--chdir", "site", chdir=tmp_path)
    assert server.get("/f/a.txt").body == b"here"
    assert "cannot be read" not in server.errors


def test_further_fields_of_a_path(tmp_path, start):
    (tmp_path / "a.txt").write_text("0123456789")
    file = f"""
        [[static]]
        path = "/f"
        dir = "{tmp_path}"
        max_age = "1h"
        headers = {{ "Access-Control-Allow-Origin" = "*", "X-Robots-Tag" = "noindex" }}
    """
    (tmp_path / "lockgate.toml").write_text(file)
    server = start("hello:app", "--config", str(tmp_path / "lockgate.toml"))
    for fields in ([], ["Range: bytes=1-2"]):
        found = server.get("/f/a.txt", *fields)
        assert found.status == (206 if fields else 200)
        assert found.header("Access-Control-Allow-Origin") == "*"
        assert found.header("X-Robots-Tag") == "noindex"
        assert found.header("Cache-Control") == "max-age=3600"
    assert server.get("/").header("X-Robots-Tag") is None


def test_a_directory_that_is_made_later_is_served(tmp_path, start):
    late = tmp_path / "late"
    server = start("hello:app", f"--static=/f={late}")
    server.wait_for_log(f"the directory {late} at /f cannot be read: No such file or directory")
    late.mkdir()
    (late / "a.txt").write_text("late")
    assert server.get("/f/a.txt").body == b"late"


def test_a_directory_that_the_workers_may_not_read_is_a_warning(tmp_path, start):
    (tmp_path / "prefix").mkdir()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    open_to_others(tmp_path)
    server = start(
        "hello:app", f"--static=/f={closed}", "--user", "12345", "--group", "12345",
        prefix=reachable_python(tmp_path / "prefix"),
    )  # fmt: skip
    server.wait_for_log(f"the directory {closed} at /f cannot be read: Permission denied")
