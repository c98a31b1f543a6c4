"""`lockgate init`: the file that it writes is accepted by the server, and replaces no other."""

import re
import subprocess
import sys

import pytest
from harness import run
from harness.requirements import require_module

FLASK = "from flask import Flask\napp = Flask(__name__)\n"
FACTORY = "from flask import Flask\ndef create_app():\n    return Flask(__name__)\n"
PLAIN = (
    "def application(environ, start_response):\n    start_response('200 OK', [])\n    return []\n"
)
PASTE = "[app:main]\npaste.app_factory = notes:make\n"
PASTE_APP = "def make(settings):\n    return lambda environ, start: (start('200 OK', []), [])[1]\n"

# The files of a project, a package that it needs, and lines that lockgate.toml must have.
PROJECTS = {
    "Flask": (
        {"app.py": FLASK, "static/style.css": ""},
        "flask",
        ["# The application: app.py has app.", 'app = "app:app"', 'static = ["auto"]'],
    ),
    "Flask without static files": ({"app.py": FLASK}, "flask", ['# static = ["auto"]']),
    "a factory in src": (
        {"src/shop/__init__.py": FACTORY},
        "flask",
        ['app = "shop:create_app()"', 'pythonpath = ["src"]'],
    ),
    "plain WSGI": ({"wsgi.py": PLAIN}, None, ['app = "wsgi:application"']),
    "PasteDeploy": (
        {"development.ini": PASTE, "notes.py": PASTE_APP},
        "paste.deploy",
        ['app = "development.ini"', '# app = "production.ini"'],
    ),
}


def lay_out(directory, files):
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def check(directory):
    """Whether the server accepts the file, loads the application, and accepts each proposal."""
    checked = run("--check-config", chdir=directory)
    assert checked.returncode == 0, checked
    lines = (directory / "lockgate.toml").read_text().splitlines()
    proposals = [line[2:] for line in lines if re.match(r"# [a-z_]+ = ", line)]
    assert len(proposals) >= 7
    for proposal in proposals:
        name = proposal.partition(" ")[0]
        others = [line for line in lines if not re.match(rf"{name}\b", line)]
        (directory / "proposal.toml").write_text("\n".join([*others, proposal]))
        shown = run("-c", "proposal.toml", "--print-config", chdir=directory)
        assert shown.returncode == 0, (proposal, shown.stderr)


@pytest.mark.parametrize("name", PROJECTS)
def test_the_file_for_a_project_is_accepted(tmp_path, name):
    files, package, wanted = PROJECTS[name]
    if package:
        require_module(package)
    lay_out(tmp_path, files)
    said = run("init", chdir=tmp_path)
    assert (said.returncode, said.stderr) == (0, ""), said
    assert "lockgate --check-config" in said.stdout and "lockgate dev" in said.stdout
    lines = (tmp_path / "lockgate.toml").read_text().splitlines()
    for line in wanted:
        assert line in lines
    assert max(map(len, lines)) <= 100
    check(tmp_path)


def test_the_file_for_a_django_project_is_accepted(tmp_path):
    require_module("django")
    start = [sys.executable, "-m", "django", "startproject", "mysite", str(tmp_path)]
    subprocess.run(start, check=True, timeout=60, capture_output=True)
    said = run("init", chdir=tmp_path)
    assert said.returncode == 0, said
    lines = (tmp_path / "lockgate.toml").read_text().splitlines()
    assert 'app = "mysite.wsgi:application"' in lines
    assert '# env = { DJANGO_SETTINGS_MODULE = "mysite.settings" }' in lines
    check(tmp_path)
    # Without a module for WSGI, Django's own application needs the variable.
    (tmp_path / "mysite" / "wsgi.py").unlink()
    settings = tmp_path / "mysite" / "settings.py"
    settings.write_text(re.sub("WSGI_APPLICATION = .*", "", settings.read_text()))
    assert run("init", "--force", chdir=tmp_path).returncode == 0
    lines = (tmp_path / "lockgate.toml").read_text().splitlines()
    assert 'env = { DJANGO_SETTINGS_MODULE = "mysite.settings" }' in lines
    assert run("--check-config", chdir=tmp_path).returncode == 0


def test_a_file_that_exists_is_replaced_only_with_force(tmp_path):
    lay_out(tmp_path, {"app.py": PLAIN, "lockgate.toml": "workers = 3\n"})
    said = run("init", chdir=tmp_path)
    assert said.returncode == 1
    assert said.stderr == (
        "lockgate: init: lockgate.toml: exists; --force replaces it, -o - prints the new one\n"
    )
    assert (tmp_path / "lockgate.toml").read_text() == "workers = 3\n"
    assert 'app = "app:application"' in run("init", "-o", "-", chdir=tmp_path).stdout
    assert run("init", "-o", "other.toml", chdir=tmp_path).returncode == 0
    assert (tmp_path / "lockgate.toml").read_text() == "workers = 3\n"
    assert run("init", "--force", chdir=tmp_path).returncode == 0
    assert 'app = "app:application"' in (tmp_path / "lockgate.toml").read_text()


def test_a_configuration_of_another_server_is_converted_first(tmp_path):
    lay_out(tmp_path, {"app.py": PLAIN, "gunicorn.conf.py": "workers = 3\n"})
    said = run("init", chdir=tmp_path)
    assert (
        said.returncode == 1 and "lockgate convert gunicorn.conf.py -o lockgate.toml" in said.stderr
    )
    assert not (tmp_path / "lockgate.toml").exists()


@pytest.mark.parametrize(
    ("files", "arguments", "code", "message"),
    [
        ({"notes.txt": ""}, [], 4, "no application was found in "),
        ({"notes.txt": ""}, [], 4, "  hint: name it, as in lockgate init --app module:attribute\n"),
        (
            {"shop/__init__.py": FLASK, "blog/__init__.py": FLASK},
            [],
            4,
            "  lockgate init --app blog:app\n  lockgate init --app shop:app\n",
        ),
        ({}, ["nowhere"], 2, "lockgate: init: nowhere: is not a directory; see lockgate init -h\n"),
        ({"app.py": PLAIN}, ["-o", "no/x.toml"], 1, "no/x.toml: cannot be written: No such file"),
    ],
)
def test_a_mistake_says_what_to_do(tmp_path, files, arguments, code, message):
    lay_out(tmp_path, files)
    said = run("init", *arguments, chdir=tmp_path)
    assert said.returncode == code and message in said.stderr, said
    assert "lockgate dev" not in said.stderr
    assert not (tmp_path / "lockgate.toml").exists()


def test_the_application_can_be_named_and_the_project_be_elsewhere(tmp_path):
    lay_out(tmp_path, {"my shop/shop.py": "def create(**options):\n    pass\n"})
    said = run("init", "my shop", "--app", 'shop:create(name="a\\b")', chdir=tmp_path)
    assert said.returncode == 0 and "cd 'my shop' && lockgate --check-config" in said.stdout
    text = (tmp_path / "my shop" / "lockgate.toml").read_text()
    assert 'app = "shop:create(name=\\"a\\\\b\\")"' in text
    assert '# bind = ["unix:/run/my-shop/http.sock"]' in text
    shown = run("--print-config", chdir=tmp_path / "my shop")
    assert shown.returncode == 0, shown.stderr


def test_nothing_of_the_project_is_imported(tmp_path):
    lay_out(tmp_path, {"app.py": f"{PLAIN}open('imported', 'w')\n"})
    assert run("init", chdir=tmp_path).returncode == 0
    assert not (tmp_path / "imported").exists()


def test_hooks_run_from_their_own_file(tmp_path):
    conf = "workers = 3\ndef post_fork(server, worker):\n    pass\n"
    lay_out(tmp_path, {"app.py": PLAIN, "gunicorn.conf.py": conf})
    said = run("init", chdir=tmp_path).stderr
    assert "has hooks (post_fork): lockgate -c gunicorn.conf.py runs it" in said
    assert "but no hooks" in said
