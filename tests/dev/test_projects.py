"""`lockgate dev` in projects of Django, Pyramid and Flask, and with files of variables."""

import pytest
from harness.dev import DevServer, project
from harness.requirements import require_module

MANAGE = """import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
"""
SETTINGS = """from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "not-secret"
DEBUG = True
ALLOWED_HOSTS = []
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth",
                  "django.contrib.staticfiles", "polls"]
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
DJANGO = {
    "manage.py": MANAGE,
    "mysite/__init__.py": "",
    "mysite/settings.py": SETTINGS,
    "mysite/urls.py": "from django.urls import path\nfrom polls.views import index, fails\n"
    "urlpatterns = [path('', index), path('fails', fails)]\n",
    "mysite/wsgi.py": "import os\nfrom django.core.wsgi import get_wsgi_application\n"
    "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')\n"
    "application = get_wsgi_application()\n",
    "polls/__init__.py": "",
    "polls/views.py": "from django.http import HttpResponse\n"
    "def index(request):\n    return HttpResponse('polls')\n"
    "def fails(request):\n    return 1 / 0\n",
    "polls/models.py": "",
    "polls/static/polls/style.css": "body { color: teal }\n",
}
PYRAMID = """from pyramid.config import Configurator
from pyramid.response import Response

def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.add_route("home", "/")
        config.add_view(lambda request: Response(settings["greeting"]), route_name="home")
        return config.make_wsgi_app()
"""


@pytest.fixture
def develop(tmp_path):
    started = []

    def start(files, *arguments, **options):
        directory = tmp_path / "project"
        directory.mkdir()
        server = DevServer(project(directory, files), *arguments, **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.end()


def test_a_django_project_is_served_as_by_runserver(develop):
    require_module("django")
    server = develop(DJANGO)
    assert server.get().text == "polls"
    assert "Django application mysite.wsgi:application" in server.errors
    assert server.get("/static/polls/style.css").text == "body { color: teal }\n"
    server.wait_for(r"You have \d+ unapplied migration")
    page = server.page("/fails")
    assert page.status == 500
    assert "<code>DEBUG = True</code>" in page.text, "Django's own page is untouched"


PRODUCTION = """import os
from mysite.settings import *
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
SECRET_KEY = os.environ["SECRET_KEY"]
"""
FOR_PRODUCTION = """app = "mysite.wsgi"
static = "auto"
env = { DJANGO_SETTINGS_MODULE = "mysite.production", GREETING = "of the file" }
"""
SHOWS_SETTINGS = """import os
from django.conf import settings
from django.http import HttpResponse
def index(request):
    return HttpResponse(f"{settings.SETTINGS_MODULE} {os.environ.get('GREETING')}")
def fails(request):
    return 1 / 0
"""


@pytest.mark.parametrize("reloads", ["--reload", "--no-reload"])
@pytest.mark.parametrize(
    ("changed", "environment", "settings"),
    [
        ({}, {}, "mysite.settings"),
        (
            {"mysite/wsgi.py": DJANGO["mysite/wsgi.py"].replace("mysite.settings", "production")},
            {},
            "mysite.settings",
        ),
        (
            {},
            {"DJANGO_SETTINGS_MODULE": "mysite.production", "SECRET_KEY": "x"},
            "mysite.production",
        ),
        ({"manage.py": ""}, {"SECRET_KEY": "x"}, "mysite.production"),
    ],
    ids=["manage.py", "wsgi.py names others", "shell", "no manage.py"],
)
def test_settings_of_production_do_not_count(develop, reloads, changed, environment, settings):
    require_module("django")
    files = {
        "mysite/production.py": PRODUCTION,
        "lockgate.toml": FOR_PRODUCTION,
        "polls/views.py": SHOWS_SETTINGS,
    }
    server = develop(DJANGO | files | changed, reloads, environment=environment)
    assert server.get().text == f"{settings} of the file"
    assert "(app in lockgate.toml)" in server.errors
    if settings == "mysite.settings":
        assert server.get("/static/polls/style.css").status == 200
        assert "static = auto" not in server.errors


def test_a_failed_system_check_is_a_page_with_its_text(develop):
    require_module("django")
    broken = "from django.db import models\nclass Poll(models.Model):\n" + (
        "    choice = models.CharField(choices=5, max_length=9)\n"
    )
    server = develop(DJANGO | {"polls/models.py": broken})
    page = server.page()
    assert page.status == 500
    assert "fields.E004" in page.text
    assert "fields.E004" in server.errors
    server.save("polls/models.py", "")
    server.eventually("/", "polls")


def test_a_warning_of_the_system_checks_appears_and_the_project_is_served(develop):
    require_module("django")
    settings = SETTINGS + "STATICFILES_DIRS = [BASE_DIR / 'missing']\n"
    server = develop(DJANGO | {"mysite/settings.py": settings})
    assert server.get().text == "polls"
    server.wait_for("staticfiles.W004")


def test_a_pyramid_file_is_served(develop):
    require_module("pyramid")
    require_module("paste.deploy")
    ini = "[app:main]\nuse = call:notes:main\ngreeting = hello from the file\n"
    server = develop({"development.ini": ini, "notes.py": PYRAMID})
    assert server.get().text == "hello from the file"
    assert "Pyramid application development.ini" in server.errors


FACTORY = """import os
from flask import Flask

def create_app(name="none"):
    app = Flask(__name__)
    app.get("/")(lambda: f"{name} {os.environ.get('FROM_ENV')} {app.debug}")
    return app
"""


@pytest.mark.parametrize(
    ("files", "arguments", "environment", "text"),
    [
        ({"shop.py": FACTORY}, ["shop.py"], {}, "none None True"),
        ({"shop.py": FACTORY}, ["shop:create_app('dev')"], {}, "dev None True"),
        ({"src/shop/__init__.py": FACTORY}, [], {}, "none None True"),
        ({"shop.py": FACTORY}, [], {"FLASK_APP": "shop:create_app('x')"}, "x None True"),
        ({"app.py": FACTORY}, [], {"FLASK_DEBUG": "0"}, "none None False"),
    ],
)
def test_flask_factories_are_served(develop, files, arguments, environment, text):
    require_module("flask")
    assert develop(files, *arguments, environment=environment).get().text == text


def test_env_files_are_read_again_by_each_version(develop):
    require_module("flask")
    require_module("dotenv")
    env = {".flaskenv": "FLASK_APP=shop:create_app\n", ".env": "FROM_ENV=one\n"}
    server = develop({"shop.py": FACTORY, **env})
    assert server.get().text == "none one True"
    assert "(FLASK_APP in .flaskenv is shop:create_app)" in server.errors
    server.save(".env", "FROM_ENV=two\n")
    server.eventually("/", "none two True")


def test_the_address_of_flask_run_counts_unless_a_flag_says_otherwise(develop):
    require_module("flask")
    variables = {"FLASK_RUN_PORT": "0", "FLASK_RUN_HOST": "127.0.0.2"}
    server = develop({"app.py": FACTORY}, environment=variables, port=False)
    assert server.url.startswith("http://127.0.0.2:")
    assert server.get().text == "none None True"


@pytest.mark.parametrize(
    ("flag", "advice"),
    [("--workers=2", "lockgate APP --workers N"), ("--debug", "--debugger is Werkzeug's debugger")],
)
def test_flags_of_other_commands_get_advice(develop, flag, advice):
    server = develop({"app.py": ""}, flag)
    assert server.process.wait(30) == 2
    assert advice in server.errors
