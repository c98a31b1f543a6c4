"""`[[mount]]`: several applications in one worker, each with its path, directory and variables."""

import json
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest
from harness import APPS, eventually, free_port, run
from harness.hosts import get_of
from harness.process import clean_environment

PRELOAD = pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["import", "preload"])


def settle(directory, settings):
    (directory / "lockgate.toml").write_text(textwrap.dedent(settings))


@pytest.fixture
def mounted(tmp_path):
    """A directory with `mounted.py`, in which a server finds its settings."""
    shutil.copy(APPS / "mounted.py", tmp_path)
    return tmp_path


def seen(server, target, *headers, host="a"):
    response = get_of(server, host, target, *headers)
    assert response.status == 200, (target, response.status, response.body)
    return json.loads(response.body)


def place(server, target, *headers, host="a"):
    environ = seen(server, target, *headers, host=host)["seen"]
    return environ.get("NAME"), environ["SCRIPT_NAME"], environ["PATH_INFO"]


MOUNTS = """
    [[mount]]
    path = "/admin"
    app = "mounted:app"
    env = { NAME = "admin" }

    [[mount]]
    path = "/admin/deep/er"
    app = "mounted:app"
    env = { NAME = "deep" }

    [[mount]]
    path = "/käse"
    app = "mounted:app"
    env = { NAME = "cheese" }

    [[mount]]
    host = "blog.example"
    app = "mounted:app"
    env = { NAME = "blog" }

    [[mount]]
    host = "*.shop.example"
    path = "/admin"
    app = "mounted:app"
    env = { NAME = "shops" }
"""

LATIN = "/käse".encode().decode("latin-1")

PLACES = [
    ("/", "", None, "", "/"),
    ("/admin", "", "admin", "/admin", ""),
    ("/admin/", "", "admin", "/admin", "/"),
    ("/admin/users?a=/b", "", "admin", "/admin", "/users"),
    ("/admin/a%20b%2Fc", "", "admin", "/admin", "/a b/c"),
    ("/admin//users/", "", "admin", "/admin", "//users/"),
    ("/admin/x/./y", "", "admin", "/admin", "/x/./y"),
    ("/%61dmin/x", "", "admin", "/admin", "/x"),
    ("/admin%2Fx", "", "admin", "/admin", "/x"),
    ("/administrator", "", None, "", "/administrator"),
    ("/Admin/x", "", None, "", "/Admin/x"),
    ("/x/admin", "", None, "", "/x/admin"),
    ("/admin;a/x", "", None, "", "/admin;a/x"),
    ("/%2561dmin/x", "", None, "", "/%61dmin/x"),
    ("/admin%5C..%5Cx", "", None, "", "/admin\\..\\x"),
    ("/admin/%5C..%5Cx", "", "admin", "/admin", "/\\..\\x"),
    ("/admin/deep", "", "admin", "/admin", "/deep"),
    ("/admin/deep/er/x", "", "deep", "/admin/deep/er", "/x"),
    ("/admin/deep/era", "", "admin", "/admin", "/deep/era"),
    ("/k%C3%A4se/x", "", "cheese", LATIN, "/x"),
    ("/x", "blog.example", "blog", "", "/x"),
    ("/x", "BLOG.example.:80", "blog", "", "/x"),
    ("/x", "blog.example.org", None, "", "/x"),
    # A host with an application of its own has nothing of every host.
    ("/admin/x", "blog.example", "blog", "", "/admin/x"),
    ("/admin/x", "a.shop.example", "shops", "/admin", "/x"),
    ("/admin/x", "shop.example", "admin", "/admin", "/x"),
    ("/x", "a.shop.example", None, "", "/x"),
    ("http://blog.example/x", "other", "blog", "", "/x"),
]

ESCAPES = (
    "//admin/users",
    "/%2Fadmin/users",
    "/./admin",
    "/x/../admin",
    "/x/%2e%2e/admin",
    "/admin/..",
    "/admin/../x",
    "/admin/%2E%2e%2fx",
    "/admin/deep/er/../x",
    "/admin/deep//er",
)


@pytest.fixture(scope="module", params=[(), ("--preload",)], ids=["import", "preload"])
def site(request, shared, tmp_path_factory):
    directory = tmp_path_factory.mktemp("mounts")
    shutil.copy(APPS / "mounted.py", directory)
    settle(directory, MOUNTS)
    return shared("mounted:app", *request.param, chdir=directory)


@pytest.mark.parametrize(("target", "host", "name", "script_name", "path_info"), PLACES)
def test_a_request_goes_to_the_nearest_mount(site, target, host, name, script_name, path_info):
    assert place(site, target, host=host or "a") == (name, script_name, path_info)


@pytest.mark.parametrize("target", ESCAPES)
def test_a_path_that_leads_out_of_a_mount_or_into_one_is_refused(site, target):
    assert site.get(target).status == 400


def test_no_client_sets_a_variable_of_a_mount(site):
    environ = seen(site, "/admin/x", "Name: evil")["seen"]
    assert (environ["NAME"], environ["HTTP_NAME"]) == ("admin", "evil")


def test_one_module_for_several_mounts_is_one_application(site):
    assert seen(site, "/admin")["app"] == seen(site, "/")["app"]


PREFIXES = [
    ("/shop/admin/x", (), "/shop/admin", "/x"),
    ("/admin/x", (), "/shop/admin", "/x"),
    ("/shop/admin", (), "/shop/admin", ""),
    ("/shop/x", (), "/shop", "/x"),
    ("/admin/x", ("X-Forwarded-Prefix: /outer",), "/outer/admin", "/x"),
    ("/outer/admin/x", ("X-Forwarded-Prefix: /outer",), "/outer/admin", "/x"),
]


@pytest.fixture(scope="module")
def prefixed(shared, tmp_path_factory):
    directory = tmp_path_factory.mktemp("prefixed")
    shutil.copy(APPS / "mounted.py", directory)
    settle(directory, 'root_path = "/shop"\nforwarded_prefix = true\n' + textwrap.dedent(MOUNTS))
    return shared("mounted:app", chdir=directory)


@pytest.mark.parametrize(("target", "headers", "script_name", "path_info"), PREFIXES)
def test_a_mount_follows_the_prefix_of_a_proxy(prefixed, target, headers, script_name, path_info):
    assert place(prefixed, target, *headers)[1:] == (script_name, path_info)


@PRELOAD
def test_each_application_has_its_directory_and_variables_at_its_import(mounted, start, preload):
    other = mounted / "other"
    other.mkdir()
    (other / "module_of_mount.py").write_text((mounted / "mounted.py").read_text())
    settle(
        mounted,
        """
        env = { NAME = "server" }

        [[mount]]
        path = "/other"
        app = "module_of_mount:app"
        chdir = "other"
        env = { NAME = "other", PRECISION = "50" }
        """,
    )
    server = start("mounted:app", *preload, chdir=mounted)
    own, foreign = seen(server, "/"), seen(server, "/other")
    directory = str(mounted)
    at_import = {"cwd": directory, "name": "server", "first": directory}
    assert own["import"] == at_import
    assert own["now"] == {**at_import, "precision": 28}
    assert foreign["import"] == {"cwd": str(other), "name": "other", "first": str(other)}
    assert foreign["now"] == {**at_import, "precision": 50}
    assert foreign["seen"]["NAME"] == "other"


def test_a_factory_is_called_for_each_mount(mounted, start):
    settle(
        mounted,
        """
        [[mount]]
        path = "/a"
        app = "mounted:create_app('a')"

        [[mount]]
        path = "/b"
        app = "mounted:create_app()"
        env = { NAME = "b" }
        """,
    )
    server = start("mounted:app", chdir=mounted)
    assert [seen(server, path)["made"]["name"] for path in ("/a", "/b", "/")] == ["a", "b", None]


FACTORY = """
def create_app():
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "0")])
        return []
    return app
"""


def test_a_file_and_a_factory_with_a_usual_name_can_be_mounted(mounted, start):
    (mounted / "more").mkdir()
    (mounted / "more" / "only_factory.py").write_text(FACTORY)
    settle(
        mounted,
        """
        [[mount]]
        path = "/file"
        app = "more/only_factory.py"

        [[mount]]
        path = "/relative"
        app = "only_factory.py"
        chdir = "more"
        """,
    )
    server = start("mounted:app", chdir=mounted)
    assert [server.get(path).status for path in ("/file", "/relative")] == [200, 200]


TROUBLES = {
    "missing module": ('app = "missing.module:app"', 3, "cannot import missing.module"),
    "missing attribute": ('app = "mounted:nothing"', 4, "there is no 'nothing' in mounted"),
    "raises": ('app = "raising:app"', 3, "RuntimeError: not today"),
    "missing directory": ('app = "mounted:app"\nchdir = "gone"', 3, "No such file or directory"),
    "no application": ('app = "mounted:SHOWN"', 4, "is not callable"),
    "asynchronous": ('app = "asynchronous:app"', 4, "serves WSGI applications"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_application_that_cannot_be_loaded_is_named_by_its_mount(mounted, trouble):
    keys, code, text = TROUBLES[trouble]
    (mounted / "raising.py").write_text("raise RuntimeError('not today')")
    (mounted / "asynchronous.py").write_text("async def app(scope, receive, send): ...")
    settle(mounted, f'[[mount]]\nhost = "a.example"\npath = "/broken"\n{keys}\n')
    for arguments in (
        ["--check-config"],
        ["-b", "127.0.0.1:0"],
        ["-b", "127.0.0.1:0", "--preload"],
    ):
        outcome = run("mounted:app", *arguments, chdir=mounted)
        assert outcome.returncode == code, (arguments, outcome.stderr)
        assert "mount a.example/broken: " in outcome.stderr, arguments
        assert text in outcome.stderr, arguments


def test_a_variable_cannot_take_the_place_of_a_key_of_requests(mounted):
    settle(mounted, '[[mount]]\npath = "/a"\napp = "mounted:app"\nenv = { SCRIPT_NAME = "/b" }\n')
    outcome = run("mounted:app", "-b", "127.0.0.1:0", chdir=mounted)
    assert outcome.returncode == 2
    assert "SCRIPT_NAME is a key that each request sets" in outcome.stderr


def test_the_check_of_a_configuration_loads_the_mounts(mounted):
    settle(mounted, MOUNTS)
    outcome = run("mounted:app", "--check-config", chdir=mounted)
    assert outcome.returncode == 0, outcome.stderr


APP = """
{preamble}

def app(environ, start_response):
    body = {text!r}.encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def write(path, text, preamble=""):
    path.parent.mkdir(exist_ok=True)
    path.write_text(APP.format(text=text, preamble=preamble))


SAME_NAMES = """
    [[mount]]
    path = "/admin"
    app = "{app}"
    chdir = "admin"
"""


@PRELOAD
@pytest.mark.parametrize("name", ["app", "models"])
def test_applications_that_share_the_name_of_a_module_do_not_start(tmp_path, name, preload):
    write(tmp_path / f"{name}.py", "shop")
    write(tmp_path / "admin" / f"{name}.py", "admin")
    main = "app"
    if name == "models":
        write(tmp_path / "shop.py", "shop", "import models")
        write(tmp_path / "admin" / "users.py", "admin", "import models")
        main = "shop"
    mount = "app:app" if main == "app" else "users:app"
    settle(tmp_path, SAME_NAMES.format(app=mount))
    outcome = run(f"{main}:app", "-b", "127.0.0.1:0", *preload, chdir=tmp_path)
    assert outcome.returncode == 3, outcome.stderr
    for part in (
        f"more than one application has a module {name}",
        f"{tmp_path}/{name}.py (the server's application)",
        f"{tmp_path}/admin/{name}.py (mount /admin)",
    ):
        assert part in outcome.stderr


@PRELOAD
def test_files_with_one_name_are_served_beside_each_other(tmp_path, start, preload):
    write(tmp_path / "app.py", "shop")
    write(tmp_path / "admin" / "app.py", "admin")
    settle(tmp_path, SAME_NAMES.format(app="app.py"))
    server = start("app.py", *preload, chdir=tmp_path)
    assert [server.get(path).body for path in ("/", "/admin")] == [b"shop", b"admin"]


@PRELOAD
def test_an_import_in_a_request_gets_no_module_of_another_application(tmp_path, start, preload):
    late = "import importlib\nimportlib.import_module('reports')"
    write(tmp_path / "shop.py", "shop")
    write(tmp_path / "reports.py", "reports of the shop")
    write(tmp_path / "admin" / "users.py", "admin")
    write(tmp_path / "admin" / "reports.py", "reports of admin")
    text = (tmp_path / "admin" / "users.py").read_text()
    (tmp_path / "admin" / "users.py").write_text(
        text.replace("    body", textwrap.indent(late, "    ") + "\n    body")
    )
    settle(tmp_path, SAME_NAMES.format(app="users:app"))
    server = start("shop:app", *preload, chdir=tmp_path)
    assert server.get("/").body == b"shop"
    assert server.get("/admin").status == 500
    server.wait_for_log("AmbiguousModule: more than one application has a module reports")


@PRELOAD
def test_a_reload_with_a_broken_mount_keeps_the_old_workers(tmp_path, start, preload):
    write(tmp_path / "shop.py", "shop 1")
    write(tmp_path / "admin" / "users.py", "admin 1")
    settle(tmp_path, SAME_NAMES.format(app="users:app"))
    server = start("shop:app", *preload, chdir=tmp_path, workers=2)

    def versions():
        return [server.get(path).body.decode() for path in ("/", "/admin")]

    assert versions() == ["shop 1", "admin 1"]
    write(tmp_path / "shop.py", "shop, the second")
    write(tmp_path / "admin" / "users.py", "admin", "raise RuntimeError('half written')")
    server.signal(signal.SIGHUP)
    server.wait_for_log("mount /admin: cannot import users")
    server.wait_for_log("reload failed: .*mount /admin")
    assert versions() == ["shop 1", "admin 1"]
    write(tmp_path / "admin" / "users.py", "admin, the second")
    before = len(server.errors)
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"reload: done in", within=20, since=before)
    # An old worker still answers what its socket has queued.
    new = ["shop, the second", "admin, the second"]
    eventually(lambda: versions() == new, what="all requests get the new versions")


def test_a_reload_brings_mounts_and_takes_them_away(mounted, start):
    settle(mounted, MOUNTS)
    server = start("mounted:app", chdir=mounted)
    assert place(server, "/admin")[0] == "admin"
    settle(mounted, '[[mount]]\npath = "/new"\napp = "mounted:app"\nenv = { NAME = "new" }\n')
    before = len(server.errors)
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"reload: done in", within=20, since=before)
    moved = ("new", "/new", "/x")
    eventually(lambda: place(server, "/new/x") == moved, what="the new mount answers")
    assert place(server, "/admin/x") == (None, "", "/admin/x")


PROGRAM = """
import mounted
import lockgate

if __name__ == "__main__":
    lockgate.serve(mounted.create_app("program"), config="lockgate.toml", bind="127.0.0.1:{port}")
"""


def test_a_program_serves_its_application_with_the_mounts_of_its_file(mounted, start):
    settle(mounted, MOUNTS)
    (mounted / "program.py").write_text(
        PROGRAM.replace("{port}", '" + __import__("sys").argv[1] + "')
    )
    port = free_port()
    server = start(
        "program.py", str(port), chdir=mounted, program=(sys.executable,), bind=[], workers=None
    )
    server.address = ("127.0.0.1", port)
    assert seen(server, "/")["made"]["name"] == "program"
    assert place(server, "/admin/x") == ("admin", "/admin", "/x")


EMBEDDED = """
import lockgate, mounted
try:
    lockgate.Server(mounted.app, mount=[{"path": "/admin", "app": "mounted:app"}])
except ValueError as error:
    print(error)
"""


def test_a_server_inside_of_a_program_refuses_mounts(mounted):
    outcome = subprocess.run(
        [sys.executable, "-c", EMBEDDED],
        cwd=mounted,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "mount" in outcome.stdout, outcome.stdout


DJANGO_SETTINGS = "SECRET_KEY = 'x'\nROOT_URLCONF = '{name}_settings'\nurlpatterns = []\n"
DJANGO_WSGI = """
    import os
    from django.core.wsgi import get_wsgi_application
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{name}_settings")
    application = get_wsgi_application()
"""


@PRELOAD
def test_a_second_project_of_django_stops_the_start(start, tmp_path, preload):
    pytest.importorskip("django", reason="django is not installed")
    for name in ("shop", "blog"):
        (tmp_path / f"{name}_settings.py").write_text(DJANGO_SETTINGS.format(name=name))
        (tmp_path / f"{name}_wsgi.py").write_text(textwrap.dedent(DJANGO_WSGI.format(name=name)))
    settle(tmp_path, '[[mount]]\npath = "/blog"\napp = "blog_wsgi"\n')
    server = start("shop_wsgi", *preload, chdir=tmp_path, wait=False)
    assert server.wait() == 3
    assert "mount /blog: " in server.errors
    assert "Django has the settings shop_settings in this process" in server.errors
