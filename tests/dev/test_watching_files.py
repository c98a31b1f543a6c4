"""`reload`: each way in which a file is saved leads to the new answer, and no client sees it.

LOCKGATE_TEST_SAVES says how many saves the burst has, ten a second.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness import Server, eventually
from harness.steady import SteadyLoad

SAVES = int(os.environ.get("LOCKGATE_TEST_SAVES", "30"))

APP = """
import os
import helper
import linked
try:
    import local_settings
except ImportError:
    local_settings = None
try:
    import package.part
except ImportError:
    package = None

TEMPLATE = os.path.join(os.path.dirname(__file__), "templates", "pages", "index.html")

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/helper":
        body = helper.text
    elif path == "/linked":
        body = linked.text
    elif path == "/local":
        body = local_settings.text if local_settings else ""
    elif path == "/package":
        body = package.part.text if package else ""
    elif path == "/lazy":
        import lazy
        body = lazy.text
    elif path == "/variable":
        body = os.environ.get("COLOUR", "")
    else:
        body = str(os.getpid())
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body.encode()]
"""

versions = itertools.count(1)


def module(version):
    """Always of one length: the time alone tells versions apart."""
    return f'text = "{version:06}"\n'


class Site:
    """A project on disk, its server, and saves whose effect is awaited."""

    def __init__(self, directory, *arguments, **options):
        self.directory = directory / "site"
        self.elsewhere = directory / "elsewhere"
        self.elsewhere.mkdir()
        self.elsewhere.joinpath("linked.py").write_text(module(0))
        (self.directory / "templates" / "pages").mkdir(parents=True)
        self.write("site_app.py", APP)
        self.write("helper.py", module(0))
        self.write("lazy.py", module(0))
        self.write("lockgate.toml", "# nothing\n")
        self.path("linked.py").symlink_to(self.elsewhere / "linked.py")
        self.server = Server(
            directory,
            "site_app:app",
            "--reload",
            *arguments,
            chdir=self.directory,
            # With bytecode, as developers have it.
            environment={"PYTHONDONTWRITEBYTECODE": ""},
            **options,
        )

    def path(self, name):
        return self.directory / name

    def write(self, name, text):
        self.path(name).write_text(text)

    def get(self, target):
        response = self.server.get(target)
        assert response.status == 200
        return response.body.decode()

    def expect(self, target, version, within=20):
        expected = f"{version:06}"
        eventually(
            lambda: self.get(target) == expected, within=within, what=f"{target} is {expected}"
        )

    def settle(self):
        """Ends a burst: what was saved before is reported, and no reload is in progress."""
        version = next(versions)
        before = len(self.server.errors)
        self.write("helper.py", module(version))
        self.expect("/helper", version)
        self.server.wait_for_log("reload: done", since=before)
        return self.server.errors[before:]

    def changed_files(self, since):
        return re.findall(r"reload: (.*) ha(?:s|ve) changed", self.server.errors[since:])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("watched"), "--reload-extra-files", "templates/**/*.html")
    yield made
    code = made.server.stop()
    errors = made.server.errors
    made.server.end()
    assert code == 0, errors
    assert "panicked" not in errors, errors


def in_place(site, name, text):
    site.write(name, text)


def in_several_writes(site, name, text):
    with site.path(name).open("w") as file:
        for character in text:
            file.write(character)
            file.flush()


def renamed_over(site, name, text):
    site.write(f".{name}.new", text)
    site.path(f".{name}.new").rename(site.path(name))


def as_vim_with_a_backup(site, name, text):
    site.write("4913", "")
    site.path("4913").unlink()
    site.path(name).rename(site.path(f"{name}~"))
    site.write(name, text)
    site.path(f"{name}~").unlink()


def by_vim(site, name, text):
    if shutil.which("vim") is None:
        pytest.skip("vim is not installed")
    line = text.strip()
    script = ["-c", f"call setline(1, '{line}')", "-c", "wq"]
    command = ["vim", "-u", "NONE", "-es", *script, str(site.path(name))]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=20)


def as_pycharm(site, name, text):
    site.write(f"{name}___jb_tmp___", text)
    site.path(name).rename(site.path(f"{name}___jb_old___"))
    site.path(f"{name}___jb_tmp___").rename(site.path(name))
    site.path(f"{name}___jb_old___").unlink()


def as_gedit(site, name, text):
    site.write(".goutputstream-ABCDEF", text)
    site.path(f"{name}~").unlink(missing_ok=True)
    os.link(site.path(name), site.path(f"{name}~"))
    site.path(".goutputstream-ABCDEF").rename(site.path(name))


def by_sed(site, name, text):
    command = ["sed", "-i", f"1s/.*/{text.strip()}/", str(site.path(name))]
    subprocess.run(command, check=True, timeout=20)


def by_copy_with_its_old_time(site, name, text):
    old = site.path(name).stat()
    source = site.path("copied.txt")
    source.write_text(text)
    os.utime(source, ns=(old.st_atime_ns, old.st_mtime_ns - 10**9))
    shutil.copy2(source, site.path(name))


def deleted_and_written(site, name, text):
    site.path(name).unlink()
    site.write(name, text)


WAYS = [
    in_place,
    in_several_writes,
    renamed_over,
    as_vim_with_a_backup,
    by_vim,
    as_pycharm,
    as_gedit,
    by_sed,
    by_copy_with_its_old_time,
    deleted_and_written,
]


@pytest.mark.parametrize("save", WAYS, ids=lambda save: save.__name__)
def test_each_way_to_save_a_module_leads_to_the_new_answer(site, save):
    version = next(versions)
    save(site, "helper.py", module(version))
    site.expect("/helper", version)


def test_a_touched_file_is_loaded_again(site):
    before = site.get("/pid")

    def is_loaded_again():
        # Again and again: at the end of a load, a file that says the same is taken for its work.
        os.utime(site.path("helper.py"))
        return site.get("/pid") != before

    eventually(is_loaded_again, within=20, what="another worker")


def test_the_target_of_a_linked_module_is_watched(site):
    version = next(versions)
    site.elsewhere.joinpath("linked.py").write_text(module(version))
    site.expect("/linked", version)


def test_a_link_that_leads_to_another_file_is_a_change(site):
    version = next(versions)
    site.elsewhere.joinpath("other.py").write_text(module(version))
    draft = site.path("linked.new")
    draft.symlink_to(site.elsewhere / "other.py")
    draft.rename(site.path("linked.py"))
    site.expect("/linked", version)


def test_a_new_module_is_found_although_no_file_that_was_loaded_has_changed(site):
    version = next(versions)
    site.write("local_settings.py", module(version))
    site.expect("/local", version)


def test_a_new_package_is_found_and_each_module_in_it(site):
    version = next(versions)
    site.path("package").mkdir()
    site.write("package/__init__.py", "")
    site.write("package/part.py", module(version))
    site.expect("/package", version)
    version = next(versions)
    site.write("package/part.py", module(version))
    site.expect("/package", version)


def test_a_package_that_is_replaced_by_another_directory_is_watched_on(site):
    version = next(versions)
    shutil.rmtree(site.path("package"), ignore_errors=True)
    site.path("draft").mkdir()
    site.write("draft/__init__.py", "")
    site.write("draft/part.py", module(version))
    site.path("draft").rename(site.path("package"))
    site.expect("/package", version)
    version = next(versions)
    site.write("package/part.py", module(version))
    site.expect("/package", version)


def test_a_module_that_a_request_has_imported_is_watched(site):
    site.get("/lazy")
    version = next(versions)
    site.write("lazy.py", module(version))
    site.expect("/lazy", version)


def test_a_template_is_watched_by_a_pattern_also_a_new_one(site):
    for name in ("templates/pages/index.html", "templates/new/page.html"):
        site.settle()
        before = site.get("/pid")
        site.path(name).parent.mkdir(exist_ok=True)
        site.write(name, "<p>one</p>")
        eventually(lambda before=before: site.get("/pid") != before, within=20, what=name)


def test_the_configuration_file_is_watched(site):
    for colour in ("red", "green"):
        site.write("lockgate.toml", f'env = {{ COLOUR = "{colour}" }}\n')
        eventually(lambda colour=colour: site.get("/variable") == colour, within=20, what=colour)


def test_what_editors_and_programs_leave_beside_modules_is_no_change(site):
    site.settle()
    before = len(site.server.errors)
    for name in (
        "helper.py~",
        ".helper.py.swp",
        "#helper.py#",
        "4913",
        "helper.pyc",
        "app.log",
        "db.sqlite3",
        "helper_flymake.py",
        "templates/pages/index.html~",
        "templates/pages/.index.html.swp",
    ):
        site.write(name, "1")
        site.write(name, "12")
        site.path(name).unlink()
    site.path("__pycache__").mkdir(exist_ok=True)
    site.write("__pycache__/helper.cpython-311.pyc", "1")
    shutil.rmtree(site.path("__pycache__"))
    site.settle()
    assert site.changed_files(before) == ["helper.py"]


def test_a_version_that_does_not_load_leaves_the_old_one_until_the_next_save(site):
    site.settle()
    good = site.get("/helper")
    for broken, report in [
        ("text = (", "SyntaxError"),
        ("import module_that_does_not_exist_yet", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
    ]:
        before = len(site.server.errors)
        site.write("helper.py", broken)
        site.server.wait_for_log(rf"(?s){report}.*reload failed", within=20, since=before)
        assert site.get("/helper") == good
    version = next(versions)
    site.write("helper.py", module(version))
    site.expect("/helper", version)


def test_a_missing_module_is_loaded_when_it_is_written(site):
    site.settle()
    before = len(site.server.errors)
    site.write("helper.py", "from missing_part import text\n")
    site.server.wait_for_log("reload failed", within=20, since=before)
    version = next(versions)
    # The module is there, but wrong; the next save of it is of a file that no process has loaded.
    site.write("missing_part.py", "text = ")
    site.server.wait_for_log(r"(?s)SyntaxError.*reload failed", within=20, since=before)
    site.write("missing_part.py", module(version))
    site.expect("/helper", version)


def test_a_checkout_of_many_files_is_one_change_or_two(site):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        command = ["git", "-C", str(site.directory), *identity, *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    package = site.path("many")
    package.mkdir()
    names = [f"part{number}" for number in range(200)]
    imports = "".join(f"from many import {name}\n" for name in names)
    total = 'text = "%06d" % sum(part.number for part in (' + ", ".join(names) + "))\n"
    site.write("helper.py", imports + total)
    git("init", "--quiet", "--initial-branch", "one")
    for branch, number in [("one", 1), ("two", 2)]:
        if branch != "one":
            git("checkout", "--quiet", "-b", branch)
        for name in names:
            package.joinpath(f"{name}.py").write_text(f"number = {number}\n")
        git("add", "many")
        git("commit", "--quiet", "--message", branch)
    site.expect("/helper", 400)
    site.server.wait_for_log("reload: done")
    eventually(lambda: site.server.errors.endswith("of service\n"), within=20)
    before = len(site.server.errors)
    git("checkout", "--quiet", "one")
    site.expect("/helper", 200)
    changes = site.changed_files(before)
    assert 1 <= len(changes) <= 2, changes
    site.settle()


def test_saves_all_the_time_are_seen_by_no_client(site):
    """Each save has the size of the one before, and many fall into one second."""
    site.settle()
    before = len(site.server.errors)
    version = 0
    with SteadyLoad(site.server.address, rate=100, clients=4) as load:
        due = time.monotonic()
        for _ in range(SAVES):
            version = next(versions)
            renamed_over(site, "helper.py", module(version))
            due += 0.1
            time.sleep(max(0.0, due - time.monotonic()))
        site.expect("/helper", version)
    assert load.failures == []
    assert load.ok > SAVES
    assert site.server.errors.count("reload: done", before) > 1


@pytest.fixture
def watched(tmp_path):
    """Starts sites that live as long as the test."""
    made = []

    def start(*arguments, **options):
        site = Site(tmp_path, *arguments, **options)
        made.append(site.server)
        return site

    yield start
    for server in made:
        server.end()


def watcher_of(server):
    """The process id of the watcher."""
    for pid in server.workers():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/comm").read_text().strip().endswith("-watch"):
                return pid
    return None


def test_a_watcher_that_dies_is_replaced_and_what_was_saved_meanwhile_is_loaded(watched):
    site = watched(workers=2)
    for _ in range(2):
        dead = eventually(lambda: watcher_of(site.server), within=20, what="a watcher")
        os.kill(dead, signal.SIGSTOP)
        version = next(versions)
        site.write("helper.py", module(version))
        os.kill(dead, signal.SIGKILL)
        site.expect("/helper", version)
        eventually(lambda dead=dead: watcher_of(site.server) not in (None, dead), within=20)
        site.settle()
    assert site.server.stop() == 0
    assert "panicked" not in site.server.errors


def test_files_are_looked_at_where_the_system_watches_no_more(watched):
    """In a namespace of its own: the limit is that of its users."""
    limit = 'echo 3 > /proc/sys/user/max_inotify_watches && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("needs unshare(1) and namespaces of users")
    site = watched(prefix=prefix)
    site.server.wait_for_log("max_user_watches is reached", within=20)
    for _ in range(2):
        version = next(versions)
        site.write("helper.py", module(version))
        site.expect("/helper", version)
    version = next(versions)
    site.write("local_settings.py", module(version))
    site.expect("/local", version)
    assert site.server.errors.count("max_user_watches is reached") == 1
    assert site.server.stop() == 0


def test_files_are_looked_at_where_the_system_does_not_notify(watched):
    limit = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("needs unshare(1) and namespaces of users")
    site = watched(prefix=prefix)
    site.server.wait_for_log("the system does not notify of changes", within=20)
    version = next(versions)
    site.write("helper.py", module(version))
    site.expect("/helper", version)
    assert site.server.stop() == 0


def test_a_preloaded_application_is_watched_by_what_its_fork_server_has_loaded(watched):
    site = watched("--preload", workers=2)
    for _ in range(2):
        version = next(versions)
        site.write("helper.py", module(version))
        site.expect("/helper", version)


def test_files_are_watched_after_an_upgrade(watched):
    site = watched()
    site.server.signal(signal.SIGUSR2)
    site.server.wait_for_log("upgrade: done|reload: done", within=40)
    version = next(versions)
    site.write("helper.py", module(version))
    site.expect("/helper", version)
    assert watcher_of(site.server)


def test_watching_begins_and_ends_with_the_setting(tmp_path):
    site = Site.__new__(Site)
    directory = tmp_path / "site"
    directory.mkdir()
    site.directory = directory
    for name, text in [("site_app.py", SIMPLE), ("helper.py", module(0)), ("lockgate.toml", "")]:
        site.write(name, text)
    site.server = Server(tmp_path, "site_app:app", chdir=directory)
    try:
        assert watcher_of(site.server) is None
        for setting, is_watching in [("reload = true", True), ("reload = false", False)]:
            before = len(site.server.errors)
            site.write("lockgate.toml", setting)
            if is_watching:
                site.server.signal(signal.SIGHUP)
            site.server.wait_for_log("reload: done", within=20, since=before)
            eventually(
                lambda wanted=is_watching: (watcher_of(site.server) is not None) == wanted,
                within=20,
                what=setting,
            )
            if is_watching:
                version = next(versions)
                site.write("helper.py", module(version))
                site.expect("/helper", version)
        assert site.server.stop() == 0
    finally:
        site.server.end()


SIMPLE = """
import helper

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(helper.text)))])
    return [helper.text.encode()]
"""

GENERATING = """
import pathlib
place = pathlib.Path(__file__).with_name("generated.py")
place.write_text("text = 'always the same'\\n")
import generated
import helper

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(helper.text)))])
    return [helper.text.encode()]
"""


def test_a_module_that_the_application_writes_at_its_import_does_not_reload_for_ever(watched):
    site = watched()
    before = len(site.server.errors)
    site.write("site_app.py", GENERATING)
    site.server.wait_for_log("reload: done", within=20, since=before)
    site.settle()
    site.settle()
    # Once it is new; after that it is what it was.
    names = site.changed_files(before)
    assert sum("generated.py" in name for name in names) <= 1, names


SHADOWING = """
import calendar
import json.decoder
import zoneinfo

def app(environ, start_response):
    body = f"{calendar.text} {json.decoder.text} {zoneinfo.ZoneInfo.__name__}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_modules_of_the_application_come_before_those_that_the_server_keeps_ready(watched):
    site = watched()
    before = len(site.server.errors)
    site.path("json").mkdir()
    site.write("json/__init__.py", "")
    site.write("json/decoder.py", module(8))
    site.write("calendar.py", module(7))
    site.write("site_app.py", SHADOWING)
    site.server.wait_for_log("reload: done", within=20, since=before)
    eventually(lambda: site.server.get("/").body == b"000007 000008 ZoneInfo", within=20)
