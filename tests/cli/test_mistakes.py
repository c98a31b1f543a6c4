# ruff: noqa: E501 (messages stand as they are read)
"""What a person reads who has written something wrong: the message, word for word."""

import re
import shutil
import sys
from pathlib import Path

import lockgate
import pytest
from harness import run
from harness.other_user import open_to_others, reachable_python

APP = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return []\n"

# As flask.request: outside of a request even its attributes raise an exception.
PROXY = """\
class Proxy:
    def __getattr__(self, name):
        raise RuntimeError("outside of a request")
    __module__ = property(lambda self: self.__getattr__("__module__"))
    def __call__(self):
        return None
request = Proxy()
del Proxy
"""

# Files, arguments, variables, exit code, what stands on standard error; DIR is the working directory.
CASES = {
    "flags, file and variables at once": (
        {"lockgate.toml": "bind = 127.0.0.1:1\nwrokers = 2\nthreads = 0\npreload = 3\n"},
        ["my-app:app", "--treads", "2", "-w", "many"],
        {"LOCKGATE_TIMEOUT": "soon", "LOCKGATE_COLOUR": "red", "LOCKGATE_BACKLOG": ""},
        2,
        """\
lockgate: --treads: unknown flag; did you mean --threads?
lockgate: LOCKGATE_COLOUR (from the environment): unknown setting; unset it; names that begin with LOCKGATE_ are reserved for the server
lockgate: lockgate.toml line 1: 127.0.0.1:1 is not a TOML value: text must be quoted; write bind = "127.0.0.1:1"
lockgate: wrokers (from lockgate.toml line 2): unknown setting; did you mean workers?
lockgate: timeout = "soon" (from LOCKGATE_TIMEOUT): must be a time, such as 30, 1.5, 500ms, 30s, 2m, 1h or 7d
lockgate: threads = 0 (from lockgate.toml line 3): must be at least 1, or "auto"
lockgate: preload = 3 (from lockgate.toml line 4): must be true or false
lockgate: app = "my-app:app" (from the command line): my-app is not a module name: Python names have no hyphen; did you mean my_app?
lockgate: workers = "many" (from --workers): must be a whole number, or "auto"
""",
    ),
    "several event loops where there is a GIL": (
        {"lockgate.toml": "event_loops = 4\n"},
        ["app:app"],
        {},
        2,
        "lockgate: event_loops = 4 (from lockgate.toml line 1): must be 1, because this Python has a GIL; more need "
        "a free-threaded Python whose GIL is disabled, and workers uses several CPUs with any Python\n",
    ),
    "spaces around the colon": (
        {},
        ["app", ":", "app"],
        {},
        2,
        "lockgate: app : app: an application has no spaces; write app:app\n",
    ),
    "a command of another server": (
        {},
        ["run", "app:app"],
        {},
        2,
        "lockgate: run: unknown command; to serve, write lockgate app:app; "
        "lockgate -h lists the commands\n",
    ),
    "a port as pid file": (
        {"app.py": APP},
        ["app:app", "-p", "8000"],
        {},
        2,
        "lockgate: pid = 8000 (from --pid): must be the path of a file: for a port, write "
        "--bind 127.0.0.1:8000; for a file with this name, ./8000\n",
    ),
    "no application": (
        {},
        [],
        {},
        2,
        "lockgate: no application is given; write lockgate module:attribute, "
        'or app = "module:attribute" in lockgate.toml, which lockgate init writes for the application '
        "that it finds\n",
    ),
    "a name that is not in the module": (
        {"shop.py": "import json\nfrom datetime import date\n" + APP.replace("app", "serve_shop")},
        ["shop:app"],
        {},
        4,
        "there is no 'app' in shop; callables there: serve_shop\n",
    ),
    "a module whose name resembles one of Python": (
        {"shop.py": APP},
        ["nope:app"],
        {},
        3,
        "cannot import nope\n"
        "ModuleNotFoundError: No module named 'nope'\n"
        "  working directory: DIR\n"
        "  sys.path begins with: DIR, PATH\n",
    ),
    "a name that is not in a module with proxies": (
        {"shop.py": PROXY + APP.replace("app", "serve_shop")},
        ["shop:app"],
        {},
        4,
        "there is no 'app' in shop; callables there: serve_shop\n",
    ),
    "no usual name in a module with proxies": (
        {"shop.py": PROXY + APP.replace("app", "serve_shop")},
        ["shop"],
        {},
        4,
        "shop has none of application, app, create_app(), make_app(); write "
        "shop:NAME; callables there: serve_shop\n",
    ),
    "a name that is nearly in the module": (
        {"shop.py": APP},
        ["shop:ap"],
        {},
        4,
        "there is no 'ap' in shop; did you mean 'app'?\n",
    ),
    "no usual name in the module": (
        {"shop.py": "def main(environ, start_response): pass\nrate = 3\n"},
        ["shop"],
        {},
        4,
        "shop has none of application, app, create_app(), make_app(); write "
        "shop:NAME; callables there: main\n",
    ),
    "not an application": (
        {"shop.py": "app = 42\n"},
        ["shop:app"],
        {},
        4,
        "shop:app is an int, which is not callable; name a WSGI application, such as a Flask "
        "object or a function of (environ, start_response)\n",
    ),
    "a factory without parentheses": (
        {"shop.py": "def create_app(config=None): pass\n"},
        ["shop:create_app"],
        {},
        4,
        "shop:create_app takes (config=None) and not (environ, start_response); "
        "if it is a factory, write shop:create_app() in quotes\n",
    ),
    "a factory with a default for each argument": (
        {"shop.py": "def create_app(config=None, debug=False): pass\n"},
        ["shop:create_app"],
        {},
        4,
        "shop:create_app takes (config=None, debug=False) and not (environ, start_response); "
        "if it is a factory, write shop:create_app() in quotes\n",
    ),
    "no factory": (
        {"shop.py": "app = 42\n"},
        ["shop:app()"],
        {},
        4,
        "shop:app(): an int is not a factory: it is not callable\n",
    ),
    "a module in place of an application": (
        {"shop/__init__.py": "from shop import wsgi\n", "shop/wsgi.py": APP},
        ["shop:wsgi"],
        {},
        4,
        "shop:wsgi is a module; write lockgate shop.wsgi\n",
    ),
    "a Django project without .wsgi": (
        {"shop/__init__.py": "", "shop/wsgi.py": APP, "manage.py": ""},
        ["shop"],
        {},
        4,
        "shop has none of application, app, create_app(), make_app(); write "
        "shop:NAME; callables there: nothing\n"
        "  hint: the application of a Django project is in its wsgi module: shop.wsgi\n",
    ),
    "a Django project without .wsgi, with a name": (
        {"shop/__init__.py": "", "shop/wsgi.py": APP, "manage.py": ""},
        ["shop:application"],
        {},
        4,
        "there is no 'application' in shop; callables there: nothing\n"
        "  hint: the application of a Django project is in its wsgi module: shop.wsgi\n",
    ),
    "started inside the package": (
        {"shop/__init__.py": "", "shop/wsgi.py": APP, "lockgate.toml": 'chdir = "shop"\n'},
        ["shop.wsgi"],
        {},
        3,
        "cannot import shop.wsgi\n"
        "ModuleNotFoundError: No module named 'shop'\n"
        "  hint: the working directory is inside shop: start above it, with --chdir ..\n"
        "  working directory: DIR/shop\n"
        "  sys.path begins with: DIR/shop, PATH\n",
    ),
    "a module of a package by itself": (
        {"shop/__init__.py": "", "shop/wsgi.py": "from . import urls\n"},
        ["wsgi", "--chdir", "shop"],
        {},
        3,
        "cannot import wsgi\n"
        "Traceback (most recent call last):\n"
        '  File "DIR/shop/wsgi.py", line 1, in <module>\n'
        "    from . import urls\n"
        "ImportError: attempted relative import with no known parent package\n"
        "  hint: wsgi belongs to the package shop: write shop.wsgi, with --chdir DIR\n",
    ),
    "one directory too high": (
        {"backend/shop.py": APP},
        ["shop:app"],
        {},
        3,
        "cannot import shop\n"
        "ModuleNotFoundError: No module named 'shop'\n"
        "  hint: there is backend/shop.py; try --chdir backend\n"
        "  working directory: DIR\n"
        "  sys.path begins with: DIR, PATH\n",
    ),
    "above a Django project": (
        {"shop/manage.py": "", "shop/shop/__init__.py": "", "shop/shop/wsgi.py": APP},
        ["shop.wsgi"],
        {},
        3,
        "cannot import shop.wsgi\n"
        "ModuleNotFoundError: No module named 'shop.wsgi'\n"
        "  hint: there is shop/shop/__init__.py; try --chdir shop\n"
        "  working directory: DIR\n"
        "  sys.path begins with: DIR, PATH\n",
    ),
    "a module that is spelt almost so": (
        {"shop.py": APP},
        ["shpo:app"],
        {},
        3,
        "cannot import shpo\n"
        "ModuleNotFoundError: No module named 'shpo'\n"
        "  hint: did you mean shop?\n"
        "  working directory: DIR\n"
        "  sys.path begins with: DIR, PATH\n",
    ),
    "an order for a running server": (
        {},
        ["status"],
        {},
        3,
        "cannot import status\n"
        "ModuleNotFoundError: No module named 'status'\n"
        "  hint: status is not a command: lockgate ctl status asks a running server\n"
        "  working directory: DIR\n"
        "  sys.path begins with: DIR, PATH\n",
    ),
    "a package that is not installed": (
        {"shop.py": "import a_package_of_theirs\n"},
        ["shop:app"],
        {},
        3,
        "cannot import shop\n"
        "Traceback (most recent call last):\n"
        '  File "DIR/shop.py", line 1, in <module>\n'
        "    import a_package_of_theirs\n"
        "ModuleNotFoundError: No module named 'a_package_of_theirs'\n"
        "  hint: is it installed for EXECUTABLE?\n"
        "  working directory: DIR\n"
        "  sys.path begins with: DIR, PATH\n",
    ),
    "another virtualenv is active": (
        {"shop.py": "import a_package_of_theirs\n"},
        ["shop:app"],
        {"VIRTUAL_ENV": "/srv/shop/venv"},
        3,
        "cannot import shop\n"
        "Traceback (most recent call last):\n"
        '  File "DIR/shop.py", line 1, in <module>\n'
        "    import a_package_of_theirs\n"
        "ModuleNotFoundError: No module named 'a_package_of_theirs'\n"
        "  hint: the virtualenv /srv/shop/venv is active, and this Lockgate is installed in PREFIX: "
        "install Lockgate in the active one, and start it with /srv/shop/venv/bin/lockgate\n"
        "  working directory: DIR\n"
        "  sys.path begins with: DIR, PATH\n",
    ),
    "a file with the name of a module of Python": (
        {"site.py": APP},
        ["site:app"],
        {},
        4,
        "there is no 'app' in site\n"
        "  hint: the module site is already imported, from SITE, "
        "so DIR/site.py cannot be: rename it\n",
    ),
    "a package with the name of a module of Python": (
        {"site/__init__.py": "", "site/wsgi.py": APP},
        ["site.wsgi"],
        {},
        3,
        "cannot import site.wsgi\n"
        "ModuleNotFoundError: No module named 'site.wsgi'; 'site' is not a package\n"
        "  hint: the module site is already imported, from SITE, "
        "so DIR/site cannot be: rename it\n"
        "  working directory: DIR\n"
        "  sys.path begins with: DIR, PATH\n",
    ),
    "a file that hides a module of Python": (
        {"shop.py": "from queue import Queue\n" + APP, "queue.py": "jobs = []\n"},
        ["shop:app"],
        {},
        3,
        "cannot import shop\n"
        "Traceback (most recent call last):\n"
        '  File "DIR/shop.py", line 1, in <module>\n'
        "    from queue import Queue\n"
        "ImportError: cannot import name 'Queue' from 'queue' (DIR/queue.py)\n"
        "  hint: DIR/queue.py is imported instead of Python's own module queue: rename it\n",
    ),
}


@pytest.mark.parametrize("mistake", CASES)
def test_a_mistake_is_reported_with_its_cure(tmp_path, mistake):
    files, arguments, variables, code, expected = CASES[mistake]
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    environment = {"VIRTUAL_ENV": sys.prefix, **variables}
    refused = run(*arguments, "--check-config", chdir=tmp_path, environment=environment)
    reported = [
        line.partition(", ")[0] + ", PATH" if "sys.path begins" in line else line
        for line in refused.stderr.splitlines()
    ]
    for word, value in {
        "DIR": tmp_path,
        "EXECUTABLE": sys.executable,
        "PREFIX": sys.prefix,
        "SITE": sys.modules["site"].__file__,
    }.items():
        expected = expected.replace(word, str(value))
    # What belongs to newer Pythons alone: the marks below a line, and advice of their own.
    reported = [line for line in reported if not set(line.strip()) <= set("^~")]
    reported = [re.sub(r"\(consider renaming '([^']*)'.*\)", r"(\1)", line) for line in reported]
    reported = [
        re.sub(r"(ModuleNotFoundError: .*)\. Did you mean: .*", r"\1", line) for line in reported
    ]
    assert reported == expected.splitlines()
    assert refused.returncode == code
    assert refused.stdout == ""


@pytest.mark.parametrize("name", ["json", "threading", "signal", "inspect", "ast", "traceback"])
def test_the_server_itself_finds_no_file_of_the_application(start, tmp_path, name):
    """The server imports modules of Python under these names, and a project may have them too."""
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('this is the project itself')\n")
    (tmp_path / "shop.py").write_text(APP)
    server = start("shop:app", "--admin-bind", f"unix:{tmp_path / 'admin'}", chdir=tmp_path)
    assert server.get("/").status == 200
    asked = run("ctl", "--admin", f"unix:{tmp_path / 'admin'}", "stacks", chdir=tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert server.stop() == 0
    assert "this is the project itself" not in server.errors


def test_the_directory_of_the_console_script_is_not_on_the_path(start, tmp_path):
    (tmp_path / "shop.py").write_text(
        "import os, sys\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return ['\\n'.join(sys.path).encode()]\n"
    )
    script = f"{sys.prefix}/bin/lockgate"
    server = start("shop:app", chdir=tmp_path, program=[sys.executable, script])
    places = server.get("/").body.decode().split("\n")
    assert places[0] == str(tmp_path)
    assert f"{sys.prefix}/bin" not in places


@pytest.fixture
def closed(tmp_path):
    """An application, and Lockgate in a directory that is root's alone."""
    site, closed = tmp_path / "site", tmp_path / "closed"
    shutil.copytree(Path(lockgate.__file__).parent, closed / "lib" / "lockgate")
    site.mkdir()
    (site / "shop.py").write_text(APP)
    open_to_others(site)
    closed.chmod(0o700)
    return closed


def test_a_user_that_cannot_read_lockgate_is_named_with_the_closed_directory(
    start, tmp_path, closed
):
    server = start(
        "shop:app", "-u", "nobody", chdir=tmp_path / "site", prefix=reachable_python(tmp_path),
        environment={"PYTHONPATH": str(closed / "lib")}, wait=False,
    )  # fmt: skip
    assert server.wait() == 1
    assert (
        f"user nobody cannot read {closed}/lib/lockgate: {closed} has mode 0700; install Python "
        "and Lockgate where that user can read them, or choose another user (setting: user)"
    ) in server.errors


def test_a_user_that_cannot_read_the_application_is_named_with_the_closed_directory(
    start, tmp_path, closed
):
    (closed / "shop.py").write_text(APP)
    server = start(
        "shop:app", "-u", "nobody", chdir=closed, prefix=reachable_python(tmp_path), wait=False
    )
    assert server.wait() == 3
    assert f"  hint: user nobody cannot read {closed}: {closed} has mode 0700\n" in server.errors
