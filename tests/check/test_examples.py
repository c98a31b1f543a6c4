"""`lockgate check` finds nothing in the examples of Flask, Django and Pyramid, as their documents
deploy them, and nothing in those of this repository.

Flask's and Pyramid's are in their source archives; polls/ has what Django's tutorial builds.
"""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from harness import EXAMPLES, run
from harness.process import clean_environment
from harness.pypi import unpack_source
from harness.requirements import require_module

HERE = Path(__file__).resolve().parent
KEY = "k2J9vP0qL7wXz4RmT8sB1nY6"


def nothing_is_found(directory, *arguments, environment=None):
    # On a busy machine a first response may take seconds.
    flags = ("--no-host", "--strict", "--json", "--wait", "20")
    done = run("check", *arguments, *flags, chdir=directory, environment=environment, within=100)
    report = json.loads(done.stdout)
    assert report["findings"] == [] and done.returncode == 0, done.stdout + done.stderr
    assert report["requests"] > 30, done.stdout + done.stderr
    return report


def python(directory, code, **variables):
    environment = clean_environment({"PYTHONPATH": str(directory), **variables})
    subprocess.run(
        [sys.executable, "-c", code], cwd=directory, env=environment, check=True, timeout=60
    )


@pytest.fixture(scope="module")
def flask_examples(tmp_path_factory):
    source = unpack_source(f"flask=={version('flask')}", tmp_path_factory.mktemp("flask"))
    return source / "examples"


@pytest.fixture(scope="module")
def pyramid_docs(tmp_path_factory):
    for module in (
        "pyramid_jinja2",
        "pyramid_chameleon",
        "pyramid_tm",
        "pyramid_retry",
        "docutils",
        "zope.sqlalchemy",
        "deform",
    ):
        require_module(module)
    source = unpack_source(f"pyramid=={version('pyramid')}", tmp_path_factory.mktemp("pyramid"))
    return source / "docs"


def test_flaskr(flask_examples):
    tutorial = flask_examples / "tutorial"
    instance = tutorial / "instance"
    instance.mkdir()
    # As "Deploy to Production" of the tutorial does.
    (instance / "config.py").write_text(f"SECRET_KEY = {KEY!r}\n")
    python(
        tutorial,
        "from flaskr import create_app, db\nwith create_app().app_context(): db.init_db()",
    )
    report = nothing_is_found(tutorial, "flaskr:create_app()")
    assert report["paths"] >= 6


def test_the_javascript_example_of_flask(flask_examples):
    nothing_is_found(flask_examples / "javascript", "js_example")


def test_polls_with_the_admin(tmp_path):
    python(
        tmp_path,
        "from django.core.management import call_command;"
        "call_command('startproject', 'mysite', '.')",
    )
    shutil.copytree(HERE / "polls", tmp_path / "polls")
    settings = tmp_path / "mysite" / "settings.py"
    text = re.sub("SECRET_KEY = .*", 'SECRET_KEY = os.environ["SECRET_KEY"]', settings.read_text())
    text = text.replace("DEBUG = True", "DEBUG = False")
    text = text.replace("ALLOWED_HOSTS = []", 'ALLOWED_HOSTS = ["polls.example"]')
    text = text.replace("INSTALLED_APPS = [", "INSTALLED_APPS = [\n    'polls.apps.PollsConfig',")
    settings.write_text(f"import os\n{text}")
    urls = tmp_path / "mysite" / "urls.py"
    text = urls.read_text().replace("import path", "import include, path")
    urls.write_text(text.replace("= [", "= [\n    path('polls/', include('polls.urls')),"))
    variables = {"SECRET_KEY": KEY, "DJANGO_SETTINGS_MODULE": "mysite.settings"}
    python(
        tmp_path,
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('makemigrations', 'polls', verbosity=0)\n"
        "call_command('migrate', verbosity=0)\n"
        "from django.utils import timezone\n"
        "from polls.models import Question\n"
        "one = Question.objects.create(question_text='What is new?', pub_date=timezone.now())\n"
        "one.choice_set.create(choice_text='Not much')\n",
        **variables,
    )
    report = nothing_is_found(
        tmp_path,
        "mysite.wsgi",
        *("--path", "/polls/1/", "--path", "/polls/1/results/", "--path", "/admin/polls/question/"),
        environment=variables,
    )
    assert report["paths"] >= 10


def prepared(directory, package="tutorial"):
    """Installs a package of the documents without pip, and its `.ini` as for production."""
    metadata = directory / f"{package}-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text(f"[paste.app_factory]\nmain = {package}:main\n")
    ini = directory / "production.ini"
    if not ini.exists():
        text = (directory / "development.ini").read_text()
        kept = [
            line
            for line in text.splitlines()
            if not re.search("pyramid_debugtoolbar|reload_templates", line)
        ]
        ini.write_text("\n".join(kept).replace("pyramid.includes =\n\n", "\n"))
    return directory


@pytest.mark.parametrize(
    "name",
    ["authorization", "forms", "json", "sessions"],
)
def test_the_quick_tutorial_of_pyramid(pyramid_docs, name):
    nothing_is_found(prepared(pyramid_docs / "quick_tutorial" / name), "production.ini")


def test_the_wiki_of_pyramid_with_sqlalchemy(pyramid_docs):
    wiki = prepared(pyramid_docs / "tutorials" / "wiki2" / "src" / "authorization")
    python(
        wiki,
        "from pyramid.paster import get_appsettings\n"
        "from tutorial import models\n"
        "engine = models.get_engine(get_appsettings('production.ini'))\n"
        "models.meta.Base.metadata.create_all(engine)\n"
        "import sys; sys.argv = ['initialize_db', 'production.ini']\n"
        "from tutorial.scripts.initialize_db import main; main()\n",
    )
    report = nothing_is_found(wiki, "production.ini", "--path", "/FrontPage")
    assert report["paths"] >= 4


@pytest.mark.parametrize(
    ("name", "prepare"),
    [
        ("flask_notes", None),
        (
            "django_site",
            "import django; django.setup()\n"
            "from django.core.management import call_command\n"
            "call_command('migrate', verbosity=0)\n"
            "call_command('collectstatic', interactive=False, verbosity=0)\n",
        ),
    ],
)
def test_the_examples_of_this_repository(tmp_path, name, prepare):
    copied = tmp_path / name
    shutil.copytree(EXAMPLES / name, copied)
    if prepare:
        python(copied, prepare, DJANGO_SETTINGS_MODULE="website.settings")
    nothing_is_found(copied)
