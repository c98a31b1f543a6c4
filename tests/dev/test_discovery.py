"""Which application is found in a project, and why: as flask run and runserver find it."""

import importlib.util
from dataclasses import dataclass, field

import pytest
from lockgate.dev.discovery import Found, NothingFound, discover, of_name

FLASK = "from flask import Flask\napp = Flask(__name__)\n"
FACTORY = "from flask import Flask\ndef create_app(config=None):\n    return Flask(__name__)\n"
PLAIN = "def application(environ, start_response):\n    return []\n"
MANAGE = (
    "import os\ndef main():\n"
    "    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')\n"
)
WSGI = (
    "import os\nfrom django.core.wsgi import get_wsgi_application\n"
    "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')\n"
    "application = get_wsgi_application()\n"
)
SETTINGS = "DEBUG = True\nWSGI_APPLICATION = 'mysite.wsgi.application'\n"
PASTE = "[app:main]\nuse = egg:notes\n[server:main]\nuse = egg:waitress#main\n"


@dataclass
class Case:
    name: str
    files: dict[str, str]
    app: str
    kind: str
    reason: str
    environment: dict[str, str] = field(default_factory=dict)
    settings: str | None = None
    pythonpath: list[str] = field(default_factory=list)


CASES = [
    Case("app.py", {"app.py": FLASK}, "app:app", "flask", "app.py has app"),
    Case(
        "wsgi.py before app.py",
        {"app.py": FLASK, "wsgi.py": PLAIN},
        "wsgi:application",
        "wsgi",
        "wsgi.py has application",
    ),
    Case("factory", {"app.py": FACTORY}, "app:create_app()", "flask", "app.py has create_app()"),
    Case(
        "a Flask object of another name",
        {"app.py": "import flask\nsite = flask.Flask(__name__)\n"},
        "app:site",
        "flask",
        "app.py has site",
    ),
    Case(
        "an application below if and try",
        {"app.py": "try:\n    import x\nexcept ImportError:\n    app = make()\n"},
        "app:app",
        "wsgi",
        "app.py has app",
    ),
    Case(
        "a script without an application is passed over",
        {"app.py": "print('x')\n", "main.py": FLASK},
        "main:app",
        "flask",
        "main.py has app",
    ),
    Case(
        "a file with a syntax error is the application",
        {"app.py": "def (:\n", "main.py": FLASK},
        "app",
        "wsgi",
        "app.py is here",
    ),
    Case(
        "FLASK_APP, a module",
        {"hello.py": FLASK, "app.py": PLAIN},
        "hello:app",
        "flask",
        "FLASK_APP is hello",
        {"FLASK_APP": "hello"},
    ),
    Case(
        "FLASK_APP, a factory with arguments",
        {"hello.py": FACTORY},
        "hello:create_app('dev')",
        "flask",
        "FLASK_APP is hello:create_app('dev')",
        {"FLASK_APP": "hello:create_app('dev')"},
    ),
    Case(
        "FLASK_APP, a factory without parentheses",
        {"hello.py": FACTORY},
        "hello:create_app()",
        "flask",
        "FLASK_APP is hello:create_app",
        {"FLASK_APP": "hello:create_app"},
    ),
    Case(
        "FLASK_APP, a path",
        {"web/hello.py": FLASK},
        "hello:app",
        "flask",
        "FLASK_APP is web/hello.py",
        {"FLASK_APP": "web/hello.py"},
        None,
        ["web"],
    ),
    Case(
        "FLASK_APP, a path into a package",
        {"web/shop/__init__.py": "", "web/shop/site.py": FLASK},
        "shop.site:app",
        "flask",
        "FLASK_APP is web/shop/site",
        {"FLASK_APP": "web/shop/site"},
        None,
        ["web"],
    ),
    Case(
        "FLASK_APP, a package",
        {"flaskr/__init__.py": FACTORY},
        "flaskr:create_app()",
        "flask",
        "FLASK_APP is flaskr",
        {"FLASK_APP": "flaskr"},
    ),
    Case(
        "manage.py",
        {"manage.py": MANAGE, "mysite/settings.py": SETTINGS, "mysite/wsgi.py": WSGI},
        "mysite.wsgi:application",
        "django",
        "manage.py names the settings mysite.settings",
        {},
        "mysite.settings",
    ),
    Case(
        "DJANGO_SETTINGS_MODULE wins over manage.py, and settings import others",
        {
            "manage.py": MANAGE,
            "mysite/settings/__init__.py": "",
            "mysite/settings/base.py": SETTINGS,
            "mysite/settings/dev.py": "from .base import *\nDEBUG = True\n",
        },
        "mysite.wsgi:application",
        "django",
        "DJANGO_SETTINGS_MODULE names the settings mysite.settings.dev",
        {"DJANGO_SETTINGS_MODULE": "mysite.settings.dev"},
        "mysite.settings.dev",
    ),
    Case(
        "settings without WSGI_APPLICATION",
        {"manage.py": MANAGE, "mysite/settings.py": "DEBUG = True\n"},
        "django.core.wsgi:get_wsgi_application()",
        "django",
        "manage.py names the settings mysite.settings",
        {},
        "mysite.settings",
    ),
    Case(
        "manage.py in a subdirectory",
        {"backend/manage.py": MANAGE, "backend/mysite/settings.py": SETTINGS},
        "mysite.wsgi:application",
        "django",
        "backend/manage.py names the settings mysite.settings",
        {},
        "mysite.settings",
        ["backend"],
    ),
    Case(
        "Django without manage.py",
        {"mysite/settings.py": SETTINGS},
        "mysite.wsgi:application",
        "django",
        "DJANGO_SETTINGS_MODULE is mysite.settings",
        {"DJANGO_SETTINGS_MODULE": "mysite.settings"},
        "mysite.settings",
    ),
    Case(
        "Pyramid",
        {"development.ini": PASTE, "production.ini": PASTE},
        "development.ini",
        "pyramid",
        "development.ini has the application main",
    ),
    Case(
        "an ini file of something else",
        {"development.ini": "[tool]\nx = 1\n", "app.py": FLASK},
        "app:app",
        "flask",
        "app.py has app",
    ),
    Case(
        "src layout",
        {"src/shop/__init__.py": FACTORY, "tests/__init__.py": FLASK},
        "shop:create_app()",
        "flask",
        "src/shop/__init__.py has create_app()",
        {},
        None,
        ["src"],
    ),
    Case(
        "pyproject.toml chooses among packages",
        {
            "one/__init__.py": FLASK,
            "my_shop/wsgi.py": PLAIN,
            "my_shop/__init__.py": "",
            "pyproject.toml": "[build-system]\nname = 'one'\n[project]\nname = 'My-Shop'\n",
        },
        "my_shop.wsgi:application",
        "wsgi",
        "my_shop/wsgi.py has application",
    ),
]


def project(directory, files):
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_application_of_a_project_is_found(case, tmp_path):
    found = discover(project(tmp_path, case.files), case.environment)
    assert found == Found(case.kind, case.app, case.reason, case.settings, case.pythonpath)


NAMES = [
    ("a file", "hello.py", {"hello.py": FLASK}, "hello:app", "flask", []),
    (
        "a file with a name",
        "web/hello.py:app",
        {"web/hello.py": FLASK},
        "hello:app",
        "flask",
        ["web"],
    ),
    ("a module", "hello:app", {"hello.py": FLASK}, "hello:app", "flask", []),
    ("a module in src", "shop:app", {"src/shop.py": FLASK}, "shop:app", "flask", ["src"]),
    ("a module elsewhere", "not_here:app", {}, "not_here:app", "wsgi", []),
    ("an application", "hello", {"hello.py": PLAIN}, "hello:application", "wsgi", []),
    ("a package by its directory", "web/", {"web/__init__.py": FLASK}, "web:app", "flask", []),
    ("an ini file", "site.ini#admin", {"site.ini": PASTE}, "site.ini#admin", "pyramid", []),
    (
        "manage.py",
        "backend/manage.py",
        {"backend/manage.py": MANAGE, "backend/mysite/settings.py": SETTINGS},
        "mysite.wsgi:application",
        "django",
        ["backend"],
    ),
]


@pytest.mark.parametrize("case", NAMES, ids=lambda case: case[0])
def test_a_named_application_is_found(case, tmp_path):
    _, name, files, app, kind, pythonpath = case
    found = of_name(name, project(tmp_path, files), {})
    assert (found.app, found.kind, found.pythonpath) == (app, kind, pythonpath)


def test_a_named_django_module_has_the_settings_of_its_file(tmp_path):
    project(tmp_path, {"mysite/wsgi.py": WSGI, "mysite/settings.py": SETTINGS})
    found = of_name("mysite.wsgi:application", tmp_path, {})
    assert (found.kind, found.settings_module) == ("django", "mysite.settings")


def test_nothing_says_where_it_was_looked_for(tmp_path):
    (tmp_path / "README").write_text("")
    with pytest.raises(NothingFound) as raised:
        discover(tmp_path, {})
    text = str(raised.value)
    for part in (
        str(tmp_path),
        "FLASK_APP",
        "manage.py",
        "app.py",
        "lockgate dev module:attribute",
    ):
        assert part in text


def test_several_packages_are_listed(tmp_path):
    project(tmp_path, {"one/__init__.py": FLASK, "two/__init__.py": FACTORY})
    with pytest.raises(NothingFound) as raised:
        discover(tmp_path, {})
    assert "lockgate dev one:app\n" in str(raised.value)
    assert "lockgate dev two:create_app()" in str(raised.value)


def test_nothing_of_the_project_is_executed(tmp_path):
    trap = "from pathlib import Path\nPath('executed').touch()\n"
    for name in ("app.py", "manage.py", "pkg/__init__.py", "conftest.py", "setup.py"):
        project(tmp_path, {name: trap + FLASK})
    assert discover(tmp_path, {}).app == "app:app"
    assert not (tmp_path / "executed").exists()


@pytest.mark.skipif(not importlib.util.find_spec("dotenv"), reason="python-dotenv is not installed")
@pytest.mark.parametrize(
    ("files", "environment", "app", "reason"),
    [
        ({".flaskenv": "FLASK_APP=one\n"}, {}, "one:app", "FLASK_APP in .flaskenv is one"),
        (
            {".flaskenv": "FLASK_APP=one\n", ".env": "FLASK_APP=two\n"},
            {},
            "two:app",
            "FLASK_APP in .env is two",
        ),
        ({".env": "FLASK_APP=one\n"}, {"FLASK_APP": "two"}, "two:app", "FLASK_APP is two"),
        (
            {".env": "FLASK_APP=one\n", "app.py": FLASK},
            {"FLASK_SKIP_DOTENV": "1"},
            "app:app",
            "app.py has app",
        ),
    ],
)
def test_env_files_name_the_application(files, environment, app, reason, tmp_path):
    project(tmp_path, {"one.py": FLASK, "two.py": FLASK, **files})
    found = discover(tmp_path, environment)
    assert (found.app, found.reason) == (app, reason)
