"""`static = "auto"`: the static files that Django, Flask and WhiteNoise have declared are found."""

import json
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from harness.requirements import require_module

HASH = "*." + "[0-9a-f]" * 12 + ".*"

DJANGO = """
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    settings.configure(
        SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.staticfiles"], {settings}
    )
    urlpatterns = []
    app = get_wsgi_application()
"""

MANIFEST = """STORAGES={"staticfiles": {"BACKEND":
    "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}},"""


def write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def found(directory: Path, app: str, root_path: str = "") -> tuple[dict, list[str]]:
    """What is found in the application, by path, with directories relative to that of the test."""
    write(directory, {"app.py": app})
    code = (
        "import json, sys; from app import app; from lockgate.static_auto import find; "
        "print(json.dumps(find(app, sys.argv[1])))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, root_path]
    outcome = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    rows, notes = json.loads(outcome.stdout)
    mounts = {}
    for path, dirs, index, immutable, max_age, headers, origin in rows:
        assert path not in mounts
        # WhiteNoise adds this, and the frameworks do not.
        assert headers == ([["Access-Control-Allow-Origin", "*"]] if "WhiteNoise" in app else [])
        places = [str(Path(one).relative_to(directory)) for one in dirs]
        mounts[path] = (places, index, immutable, max_age, origin)
    return mounts, notes


@pytest.mark.parametrize(
    ("app", "root_path", "expected"),
    [
        (
            "from flask import Flask\napp = Flask(__name__)",
            "",
            {"/static": (["static"], None, [], None, "Flask's static folder")},
        ),
        (
            """
            from flask import Flask
            app = Flask(__name__, static_folder="assets", static_url_path="/a/b")
            app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 60
            """,
            "/shop",
            {"/shop/a/b": (["assets"], None, [], 60, "Flask's static folder")},
        ),
        ("from flask import Flask\napp = Flask(__name__, static_folder=None)", "", {}),
        ("from flask import Flask\napp = Flask(__name__, static_folder='absent')", "", {}),
        (
            """
            from flask import Blueprint, Flask
            app = Flask(__name__, static_folder=None)
            inner = Blueprint("inner", __name__, static_folder="inner")
            outer = Blueprint("outer", __name__, static_folder="assets")
            outer.register_blueprint(inner, url_prefix="/inner")
            app.register_blueprint(outer, url_prefix="/outer")
            """,
            "",
            {
                "/outer/assets": (
                    ["assets"], None, [], None, "the static folder of Flask's blueprint outer",
                ),
                "/outer/inner/inner": (
                    ["inner"], None, [], None, "the static folder of Flask's blueprint outer.inner",
                ),
            },
        ),
        (
            """
            from flask import Flask
            from werkzeug.middleware.dispatcher import DispatcherMiddleware
            from werkzeug.middleware.proxy_fix import ProxyFix
            one, two = Flask("one", root_path="."), Flask(__name__, static_folder="assets")
            two.wsgi_app = ProxyFix(two.wsgi_app)
            app = DispatcherMiddleware(None, {"/one": one, "/two": ProxyFix(two)})
            """,
            "",
            {
                "/one/static": (["static"], None, [], None, "Flask's static folder"),
                "/two/assets": (["assets"], None, [], None, "Flask's static folder"),
            },
        ),
        ("def app(environ, start_response):\n    pass", "", {}),
    ],
)  # fmt: skip
def test_flask(tmp_path, app, root_path, expected):
    require_module("flask")
    write(tmp_path, {"static/a.css": "", "assets/b.css": "", "inner/c.css": ""})
    assert found(tmp_path, app, root_path) == (expected, [])


def test_a_folder_of_flask_whose_path_is_no_text_is_left_to_the_application(tmp_path):
    require_module("flask")
    write(tmp_path, {"assets/a.css": ""})
    mounts, notes = found(
        tmp_path,
        """
        from flask import Blueprint, Flask
        app = Flask(__name__, static_folder=None)
        part = Blueprint("part", __name__, static_folder="assets")
        app.register_blueprint(part, url_prefix="/<language>")
        """,
    )
    assert mounts == {}
    assert notes == [
        "the static folder of Flask's blueprint part is left to the application: its path is "
        "/<language>/assets/<path:filename>"
    ]


@pytest.mark.parametrize(
    ("settings", "root_path", "path"),
    [
        ("STATIC_ROOT='collected', STATIC_URL='static/'", "", "/static"),
        ("STATIC_ROOT='collected', STATIC_URL='/files/'", "", "/files"),
        ("STATIC_ROOT='collected', STATIC_URL='static/'", "/shop", "/shop/static"),
        ("STATIC_ROOT='collected', STATIC_URL='/shop/static/'", "/shop", "/shop/static"),
        ("STATIC_ROOT='collected', STATIC_URL='https://cdn.example/a%20b/'", "", "/a b"),
        (
            "STATIC_ROOT='collected', STATIC_URL='static/', FORCE_SCRIPT_NAME='/shop'",
            "/shop",
            "/shop/static",
        ),
    ],
)
def test_djangos_static_root_is_at_its_static_url(tmp_path, settings, root_path, path):
    require_module("django")
    write(tmp_path, {"collected/a.css": ""})
    mounts, notes = found(tmp_path, DJANGO.replace("{settings}", settings), root_path)
    assert mounts == {path: (["collected"], None, [], None, "Django's STATIC_ROOT")}
    assert notes == []


def test_djangos_settings_are_not_changed_by_the_search(tmp_path):
    """Django adds SCRIPT_NAME to STATIC_URL at the first request, and keeps the result."""
    require_module("django")
    write(tmp_path, {"collected/a.css": ""})
    app = DJANGO.replace("{settings}", "STATIC_ROOT='collected', STATIC_URL='static/'")
    check = """
        def later(find):
            from django.templatetags.static import static
            from django.urls import set_script_prefix
            find(app, "")
            set_script_prefix("/shop/")
            return static("a.css")
    """
    write(tmp_path, {"app.py": textwrap.dedent(app) + textwrap.dedent(check)})
    code = "from app import later; from lockgate.static_auto import find; print(later(find))"
    command = [sys.executable, "-c", code]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert outcome.stdout == "/shop/static/a.css\n"


def test_files_in_djangos_manifest_are_immutable(tmp_path):
    require_module("django")
    paths = {"a.css": "a.0123456789ab.css", "b/c.js": "b/c.ba9876543210.js", "d": "d"}
    manifest = json.dumps({"version": "1.1", "paths": paths, "hash": ""})
    write(tmp_path, {"collected/staticfiles.json": manifest})
    settings = f"STATIC_ROOT='collected', STATIC_URL='static/', {MANIFEST}"
    mounts, notes = found(tmp_path, DJANGO.replace("{settings}", settings))
    assert mounts == {"/static": (["collected"], None, [HASH], None, "Django's STATIC_ROOT")}
    assert notes == []


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ("STATIC_URL='static/'", "Django's STATIC_ROOT is not set"),
        ("STATIC_URL='static/', STATIC_ROOT='absent'", "absent does not exist: set it, run"),
        (
            "STATIC_URL='static/', STORAGES={'staticfiles': {'BACKEND': "
            "'django.core.files.storage.memory.InMemoryStorage'}}",
            "keeps its static files elsewhere",
        ),
        (
            "STATIC_URL='static/', STORAGES={'staticfiles': {'BACKEND': 'absent.Storage'}}",
            "the static files of Django cannot be examined: ModuleNotFoundError",
        ),
    ],
)
def test_why_django_has_no_files_is_said(tmp_path, settings, note):
    require_module("django")
    mounts, notes = found(tmp_path, DJANGO.replace("{settings}", settings))
    assert mounts == {}
    assert len(notes) == 1 and note in notes[0]


def test_in_development_djangos_finders_are_used(tmp_path):
    require_module("django")
    write(
        tmp_path,
        {"assets/a.css": "", "more/b.css": "", "part/__init__.py": "", "part/static/c.css": ""},
    )
    settings = """
        STATIC_URL='static/', DEBUG=True, STATICFILES_DIRS=['assets', ('more', 'more')]
    """
    app = DJANGO.replace("{settings}", settings).replace(
        '["django.contrib.staticfiles"]', '["django.contrib.staticfiles", "part"]'
    )
    mounts, notes = found(tmp_path, app)
    assert mounts == {
        "/static": (["assets", "part/static"], None, [], None, "Django's finders"),
        "/static/more": (["more"], None, [], None, "Django's finders"),
    }
    assert notes == []


def test_whitenoise_in_django_has_settings_of_its_own(tmp_path):
    require_module("whitenoise")
    write(tmp_path, {"collected/a.css": "", "root/robots.txt": ""})
    common = """
        STATIC_ROOT='collected', STATIC_URL='static/', WHITENOISE_ROOT='root',
        MIDDLEWARE=["whitenoise.middleware.WhiteNoiseMiddleware"], WHITENOISE_INDEX_FILE=True,
    """
    mounts, notes = found(tmp_path, DJANGO.replace("{settings}", common))
    assert notes == []
    assert mounts == {
        "/static": (["collected"], "index.html", [], 60, "Django's STATIC_ROOT"),
        "": (["root"], "index.html", [], 60, "WHITENOISE_ROOT"),
    }
    settings = common + "WHITENOISE_ADD_HEADERS_FUNCTION=lambda *_: None"
    mounts, [note] = found(tmp_path, DJANGO.replace("{settings}", settings))
    assert mounts == {} and "are left to WhiteNoise" in note


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("root='static', prefix='static'", {"/static": (["static"], None, [], 60)}),
        ("root='static'", {"": (["static"], None, [], 60)}),
        (
            "root='static', index_file=True, max_age=None",
            {"": (["static"], "index.html", [], None)},
        ),
        (
            "root='static', prefix='/a/b/', immutable_file_test=r'^.+[.][0-9a-f]{12}[.].+$'",
            {"/a/b": (["static"], None, [HASH], 60)},
        ),
        (
            "root='static', prefix='/a/', autorefresh=True",
            {"/a": (["static"], None, [], 60)},
        ),
    ],
)
def test_whitenoise_around_an_application(tmp_path, arguments, expected):
    require_module("whitenoise")
    files = ["a.css", "a.css.gz", "b.0123456789ab.css", "docs/index.html", "docs/static/c.js"]
    write(tmp_path, {f"static/{name}": "" for name in files})
    write(tmp_path, {"secret.txt": ""})
    app = f"from whitenoise import WhiteNoise\napp = WhiteNoise(lambda *_: [], {arguments})"
    mounts, notes = found(tmp_path, app)
    assert {path: mount[:4] for path, mount in mounts.items()} == expected
    assert notes == []


def test_what_whitenoise_would_not_serve_is_not_served(tmp_path):
    require_module("whitenoise")
    write(tmp_path, {"public/a.css": "", "public/b/c.css": ""})
    mounts, [note] = found(
        tmp_path,
        """
        from pathlib import Path
        from whitenoise import WhiteNoise
        app = WhiteNoise(lambda *_: [], "public", "/x")
        Path("public/late.txt").write_text("not in WhiteNoise")
        """,
    )
    assert {path: mount[0] for path, mount in mounts.items()} == {"/x/b": ["public/b"]}
    assert note.startswith("1 files of WhiteNoise are left to it")


@pytest.mark.parametrize("preload", [False, True])
def test_what_was_found_is_served_without_the_application(tmp_path, start, preload):
    require_module("flask")
    app = """
        from flask import Flask
        app = Flask(__name__)
        app.after_request(lambda response: response.headers.update(Seen="yes") or response)
    """
    write(tmp_path, {"static/a.css": "a {}", "app.py": app})
    flags = ["--preload"] if preload else []
    server = start("app:app", "--static", "auto", *flags, chdir=tmp_path, workers=2)
    where = re.escape(str(tmp_path / "static"))
    server.wait_for_log(rf"static = auto serves /static from {where} \(Flask's static folder\)")
    found = server.get("/static/a.css")
    assert (found.body, found.header("Seen")) == (b"a {}", None)
    # What does not exist reaches the application.
    missing = server.get("/static/b.css")
    assert (missing.status, missing.header("Seen")) == (404, "yes")
    # One worker of each generation logs it, or the fork server's first worker.
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done")
    assert server.errors.count("static = auto serves") == 2


def test_hashed_names_of_django_are_immutable(tmp_path, start):
    require_module("django")
    names = ["a.css", "a.0123456789ab.css"]
    manifest = {"version": "1.1", "paths": {names[0]: names[1]}, "hash": ""}
    write(tmp_path, {f"collected/{name}": "a {}" for name in names})
    settings = f"STATIC_ROOT='collected', STATIC_URL='static/', {MANIFEST}"
    write(
        tmp_path,
        {
            "collected/staticfiles.json": json.dumps(manifest),
            "app.py": DJANGO.replace("{settings}", settings),
        },
    )
    server = start("app:app", "--static", "auto", chdir=tmp_path)
    server.wait_for_log(r"Django's STATIC_ROOT, files with hashed names are immutable")
    controls = [server.get(f"/static/{name}").header("Cache-Control") for name in names]
    assert controls[0] is None and "immutable" in controls[1]


def test_an_embedded_server_serves_what_was_found(tmp_path):
    require_module("flask")
    write(tmp_path, {"static/a.css": "a {}"})
    code = """
        import urllib.request, lockgate
        from flask import Flask
        app = Flask(__name__, root_path=".")
        with lockgate.Server(app, bind="127.0.0.1:0", static="auto") as server:
            with urllib.request.urlopen(f"{server.url}/static/a.css") as answer:
                fields = answer.headers
                print(answer.read(), fields["Server"], fields["Content-Disposition"])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    # Flask would add a Content-Disposition.
    assert outcome.stdout == "b'a {}' lockgate None\n", outcome.stderr
    assert "static = auto serves /static" in outcome.stderr


def test_the_log_says_that_nothing_was_found(tmp_path, start):
    write(tmp_path, {"app.py": "def app(environ, start_response):\n    raise KeyError\n"})
    server = start("app:app", "--static", "auto", chdir=tmp_path)
    server.wait_for_log(r"static = auto has found no static files in the application; to serve a")


def test_a_directory_that_cannot_be_read_is_a_warning(tmp_path, start):
    server = start("hello:app", f"--static=/static={tmp_path}/absent")
    server.wait_for_log(rf"the directory {tmp_path}/absent at /static cannot be read: No such file")
