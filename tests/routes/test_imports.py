"""Imports of several applications: `lockgate.mounting` and `lockgate.module_names`."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
from harness.requirements import require_module
from lockgate.module_names import AmbiguousModule, Applications, module_file
from lockgate.mounting import rearranged


def write(directory, **files):
    """Python files by their names without the suffix; `__` is a slash."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = directory / f"{name.replace('__', '/', 1)}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return directory


def python(code, *arguments, cwd, **variables):
    """What a program prints as JSON."""
    outcome = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return json.loads(outcome.stdout)


@pytest.mark.parametrize(
    ("before", "now", "own", "expected"),
    [
        (["/lib"], ["/own", "/lib"], {"/own"}, ["/lib", "/own"]),
        (["/site", "/lib"], ["/pp", "/site", "/lib"], {"/own"}, ["/pp", "/site", "/lib"]),
        (["/site", "/lib"], ["/own", "/site", "/lib"], {"/own"}, ["/site", "/lib", "/own"]),
        # The import has inserted `/vendor` and appended `/more`.
        (
            ["/pp", "/site"],
            ["/vendor", "/pp", "/own", "/site", "/more"],
            {"/own"},
            ["/vendor", "/pp", "/site", "/more", "/own"],
        ),
        # The directory was there, and the import has removed `/old`.
        (["/a", "/old", "/b"], ["/b", "/a"], {"/b"}, ["/a", "/b"]),
    ],
)
def test_the_directories_of_a_mount_are_last_afterwards(before, now, own, expected):
    assert rearranged(before, now, own) == expected


SCOPE = """
    import json, os, sys
    from lockgate.mounting import ImportScope

    os.environ["KEPT"] = os.environ["CHANGED"] = "before"
    scope = ImportScope(sys.argv[1], {"CHANGED": "mine", "ADDED": "", "KEPT": "mine"}, "sub/app.py")
    sys.path.insert(0, os.getcwd())
    scope.enter()
    sys.path.insert(0, os.getcwd())
    sys.path.insert(0, os.path.abspath("sub"))
    inside = [os.getcwd(), os.environ["CHANGED"], os.environ["ADDED"]]
    os.environ["OTHER"] = "of the import"
    scope.leave()
    names = ["KEPT", "CHANGED", "ADDED", "OTHER"]
    after = [os.getcwd(), *map(os.environ.get, names)]
    print(json.dumps([inside, after, sys.path[:1], sys.path[-2:]]))
"""


def test_directory_and_variables_are_those_of_the_mount_during_its_import_only(tmp_path):
    own, server = tmp_path / "own", tmp_path / "server"
    (own / "sub").mkdir(parents=True)
    server.mkdir()
    inside, after, first, last = python(SCOPE, own, cwd=server)
    assert inside == [str(own), "mine", ""]
    assert after == [str(server), "before", "before", None, "of the import"]
    assert first == [str(server)]
    assert last == [str(own / "sub"), str(own)]


MISSING = """
    import json, os, sys
    from lockgate.loading import AppImportError
    from lockgate.mounting import ImportScope

    try:
        ImportScope(sys.argv[1], {}, None).enter()
    except AppImportError as error:
        print(json.dumps([str(error), os.getcwd()]))
"""


def test_a_directory_that_is_not_there_is_an_error_with_its_name(tmp_path):
    missing = tmp_path / "missing"
    text, directory = python(MISSING, missing, cwd=tmp_path)
    assert text == f"chdir = {missing}: No such file or directory"
    assert directory == str(tmp_path)


@pytest.fixture
def two(tmp_path):
    """Directories of two applications that have `app`, `tools` and `plugins` both."""
    write(tmp_path / "shop", app="", prices="", tools____init__="", plugins__a="")
    write(tmp_path / "admin", app="", users="", tools="", plugins__b="")
    return tmp_path


def ambiguous(applications, *names):
    return [name for name in names if applications.is_ambiguous(name)]


NAMES = ("app", "prices", "users", "tools", "plugins", "json")


def test_a_name_is_ambiguous_if_two_applications_have_it_in_different_files(two):
    shop, admin = str(two / "shop"), str(two / "admin")
    both = Applications([("one", [shop]), ("two", [admin])])
    assert ambiguous(both, *NAMES) == ["app", "tools", "plugins"]
    # What all find in the same place is the same for all.
    write(two / "common", tools="")
    common = Applications([("one", [shop]), ("two", [admin])], [str(two / "common")])
    assert ambiguous(common, *NAMES) == ["app", "plugins"]
    (two / "link").symlink_to(shop)
    same = Applications([("one", [shop]), ("two", [str(two / "link")])])
    assert ambiguous(same, *NAMES) == []
    # One application may have two directories.
    one = Applications([("one", [shop, admin]), ("two", [shop])])
    assert ambiguous(one, *NAMES) == []


def test_the_error_names_both_files_and_what_to_do(two):
    shop, admin = str(two / "shop"), str(two / "admin")
    both = Applications([("the server's application", [shop]), ("mount /admin", [admin])])
    with pytest.raises(AmbiguousModule) as raised:
        both.check("app")
    text = str(raised.value)
    for part in (
        f"{shop}/app.py (the server's application)",
        f"{admin}/app.py (mount /admin)",
        "rename one",
    ):
        assert part in text
    both.check("prices")


def test_the_file_of_a_module_is_found_as_python_finds_it(two):
    shop = two / "shop"
    (shop / "empty").mkdir()
    for name, expected in [
        ("app", "app.py"),
        ("tools", "tools/__init__.py"),
        ("plugins", "plugins"),
        ("empty", None),
        ("other", None),
    ]:
        assert module_file(str(shop), name) == (expected and str(shop / expected)), name


GUARD = """
    import importlib, json, sys
    from lockgate import module_names

    if len(sys.argv) > 4:
        sys.path.insert(0, sys.argv[1])
        importlib.import_module(sys.argv[4])
    problems = []
    def attempt(call, *arguments):
        try:
            return call(*arguments)
        except module_names.AmbiguousModule as error:
            problems.append(str(error).partition(":")[0])
    applications = [("one", sys.argv[1], None), ("two", sys.argv[2], sys.argv[3] or None)]
    attempt(module_names.guard, applications, [], False)
    sys.path[:0] = sys.argv[1:3]
    for name in ("app", "prices", "users", "tools"):
        attempt(importlib.import_module, name)
    print(json.dumps(problems))
"""

PROBLEM = "more than one application has a module "


@pytest.mark.parametrize(
    ("file", "imported", "expected"),
    [
        ("", [], ["app", "tools"]),
        # Imported before, by the program.
        ("", ["app"], ["app"]),
        ("", ["prices"], ["app", "tools"]),
        ("users.py", [], ["app", "tools"]),
    ],
)
def test_an_import_of_an_ambiguous_module_is_refused(two, file, imported, expected):
    found = python(GUARD, two / "shop", two / "admin", file, *imported, cwd=two)
    assert found == [PROBLEM + name for name in expected]


FILES = """
    import json, sys
    from lockgate import loading, module_names

    one, two = sys.argv[1:]
    module_names.guard([("one", one, "app.py"), ("two", two, "app.py")], [], False)
    modules = [loading.load(file=f"{place}/app.py").__module__ for place in (one, two, two)]
    print(json.dumps([*modules, len({id(sys.modules[name]) for name in modules})]))
"""


def test_files_of_one_name_are_modules_of_their_own_and_one_file_is_one_module(tmp_path):
    app = "def app(environ, start_response): ..."
    one, two = write(tmp_path / "one", app=app), write(tmp_path / "two", app=app)
    name = "lockgate_application_app"
    assert python(FILES, one, two, cwd=tmp_path) == [name, f"{name}_2", f"{name}_2", 2]


DJANGO = """
    import json, os, sys
    from lockgate import loading
    from lockgate.mounting import ImportScope

    outcomes = []
    for project, variables in json.loads(sys.argv[1]):
        scope = ImportScope(None, variables, None)
        scope.enter()
        loading.load(module=f"{project}.wsgi")
        try:
            scope.leave()
            outcomes.append(None)
        except loading.AppImportError as error:
            outcomes.append(str(error).partition(":")[0])
    print(json.dumps([outcomes, os.environ.get("DJANGO_SETTINGS_MODULE")]))
"""

WSGI = """
    import os
    from django.core.wsgi import get_wsgi_application
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{name}.settings")
    application = get_wsgi_application()
"""


def test_a_second_project_of_django_is_refused_and_does_not_get_the_settings_of_the_first(tmp_path):
    require_module("django")
    for name in ("shop", "blog"):
        wsgi = WSGI.format(name=name)
        files = {f"{name}__wsgi": wsgi, f"{name}__settings": "SECRET_KEY = 'x'"}
        write(tmp_path, **files)
    conflict = (
        "Django has the settings shop.settings in this process, and this application needs "
        "blog.settings"
    )
    chosen = {"DJANGO_SETTINGS_MODULE": "blog.settings"}
    for applications, expected in [
        ([["shop", {}], ["blog", {}]], [None, conflict]),
        ([["shop", {}], ["shop", {}]], [None, None]),
        ([["shop", {}], ["blog", chosen]], [None, conflict]),
        ([["blog", {"DJANGO_SETTINGS_MODULE": "shop.settings"}], ["shop", {}]], [None, None]),
    ]:
        outcomes, _ = python(DJANGO, json.dumps(applications), cwd=tmp_path)
        assert outcomes == expected, applications
