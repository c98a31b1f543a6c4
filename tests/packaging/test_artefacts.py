"""Which root `make try-install` takes for an artefact, by its name."""

import dataclasses
import subprocess
from pathlib import Path

import pytest
from machine import musl, sources
from machine.roots import Unavailable, configure
from try_install import visit
from try_install.artefact import interpreter, read

PLATFORM = "manylinux2014_x86_64.manylinux_2_17_x86_64"


@pytest.mark.parametrize(
    ("name", "suite", "architecture", "program"),
    [
        (f"cp311-cp311-{PLATFORM}.whl", "bookworm", "amd64", "/usr/bin/python3.11"),
        (f"cp313-cp313-{PLATFORM}.whl", "trixie", "amd64", "/usr/bin/python3.13"),
        ("cp315-cp315-manylinux_2_17_aarch64.whl", "sid", "arm64", "/usr/bin/python3.15"),
    ],
)
def test_a_wheel_is_tried_in_the_release_that_has_its_interpreter(
    name, suite, architecture, program
):
    found = interpreter(read(Path(f"lockgate-1.0-{name}")))
    assert (found.recipe.suite, found.recipe.architecture) == (suite, architecture)
    assert found.program == program


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "lockgate-1.0-cp312-cp312-musllinux_1_2_x86_64.whl",
            "no release of Debian has",
        ),
        (f"lockgate-1.0-cp314-cp314t-{PLATFORM}.whl", "no release of Debian has python3.14t"),
        ("lockgate-1.0-cp313-cp313-win_amd64.whl", "no root"),
        ("lockgate-1.0-py3-none-any.whl", "not for CPython 3"),
        ("lockgate.whl", "not the name of a wheel"),
    ],
)
def test_a_wheel_without_a_root_says_why(name, reason):
    with pytest.raises(Unavailable, match=reason):
        interpreter(read(Path(name)))


def test_a_wheel_for_musl_is_tried_in_a_root_without_glibc():
    found = interpreter(read(Path("lockgate-1.0-cp311-cp311-musllinux_1_2_aarch64.whl")))
    assert isinstance(found.recipe, musl.MuslRecipe)
    assert (found.recipe.packages, found.recipe.architecture) == (("python3.11",), "arm64")
    assert [(source.package, source.suite) for source in found.recipe.sources] == [
        ("python3.11", "bookworm"),
        ("zlib", "trixie"),
    ]
    assert found.program == "/usr/bin/python3.11"


@pytest.mark.parametrize(
    ("wheel", "tarball"),
    [
        ("cp312-cp312", "Python-3.12.11.tar.xz"),
        ("cp314-cp314t", "python3.14_3.14.7.orig.tar.xz"),
        ("cp315-cp315", "python3.15_3.15.0~rc2.orig.tar.xz"),
    ],
)
def test_an_interpreter_for_musl_is_compiled_from_the_newest_tarball(tmp_path, wheel, tarball):
    for name in (
        *("Python-3.1.1.tar.xz", "Python-3.12.9.tar.xz", "Python-3.12.11.tar.xz"),
        *("python3.14_3.14.7.orig.tar.xz", "python3.14_3.14.7.orig.tar.xz.asc"),
        "python3.15_3.15.0~rc2.orig.tar.xz",
    ):
        (tmp_path / name).touch()
    wheel = read(Path(f"lockgate-1.0-{wheel}-musllinux_1_2_x86_64.whl"))
    recipe = interpreter(wheel, tarballs=tmp_path).recipe
    assert recipe.sources[0].tarball == tmp_path / tarball
    # zlib is not there, and Debian has it.
    assert recipe.sources[1].tarball is None


def test_a_tarball_is_taken_as_it_is(tmp_path):
    tarball = tmp_path / "zlib-1.3.1.tar.gz"
    tarball.write_text("packed")
    (tmp_path / "scratch").mkdir()
    sources.find("zlib", "trixie", tmp_path).collect(tmp_path / "scratch", tmp_path)
    assert (tmp_path / "scratch" / tarball.name).read_text() == "packed"


def test_without_a_tarball_apt_asks_the_mirror_of_the_root_for_sources(monkeypatch, tmp_path):
    listed = tmp_path / "etc/apt/sources.list"
    listed.parent.mkdir(parents=True)
    archive = "[trusted=yes] http://mirror.example/debian"
    listed.write_text(f"deb {archive} trixie main\ndeb {archive} trixie-updates main\n")
    commands = []

    def run(command, **_options):
        (option,) = (word for word in command if word.startswith("Dir::Etc::SourceList="))
        commands.append((Path(option.partition("=")[2]).read_text(), command[-1]))
        return subprocess.CompletedProcess(
            command, 100 if command[-1] == "python3.11" else 0, "", "E: no"
        )

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(Unavailable, match="no sources of python3.11 in bookworm: E: no: --sources"):
        sources.find("python3.11", "bookworm", None).collect(tmp_path, tmp_path)
    expected = f"deb-src {archive} bookworm main\n"
    assert commands == [(expected, "update"), (expected, "python3.11")]


def test_a_root_for_musl_is_made_again_when_its_script_or_its_sources_change(monkeypatch, tmp_path):
    source = sources.Source("python3.13", "trixie")
    recipe = musl.MuslRecipe("trixie", ("python3.13",), sources=(source,))
    newer = dataclasses.replace(source, tarball=tmp_path / "Python-3.13.6.tar.xz")
    names = {recipe.name, dataclasses.replace(recipe, sources=(newer,)).name}
    script = tmp_path / "script.sh"
    script.write_text("make\n")
    monkeypatch.setattr(musl, "SCRIPT", script)
    assert len({*names, recipe.name}) == 3


def test_a_root_for_musl_needs_zig(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install --requirement requirements/wheels.txt"):
        musl.MuslRecipe("trixie", ("python3.13",)).make(tmp_path / "root")


def test_an_interpreter_of_pyenv_is_seen_at_its_own_path(monkeypatch, tmp_path):
    version = tmp_path / "versions" / "3.12.1"
    version.mkdir(parents=True)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    found = interpreter(read(Path(f"lockgate-1.0-cp312-cp312-{PLATFORM}.whl")), "trixie")
    assert found.recipe.suite == "trixie"
    assert found.program == str(version / "bin" / "python3.12")
    assert found.volumes == {str(version): version}


def test_a_free_threaded_interpreter_is_another_one(tmp_path):
    for name in ("3.14.7", "3.14.7t"):
        (tmp_path / name).mkdir()
    wheel = read(Path(f"lockgate-1.0-cp314-cp314t-{PLATFORM}.whl"))
    assert interpreter(wheel, None, tmp_path).program == f"{tmp_path}/3.14.7t/bin/python3.14t"
    wheel = read(Path(f"lockgate-1.0-cp314-cp314-{PLATFORM}.whl"))
    assert interpreter(wheel, "trixie", tmp_path).program == f"{tmp_path}/3.14.7/bin/python3.14"


def test_an_interpreter_of_another_processor_is_taken_from_its_folder(monkeypatch, tmp_path):
    wheel = read(Path("lockgate-1.0-cp310-cp310-manylinux_2_17_aarch64.whl"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(Unavailable, match="--interpreters"):
        interpreter(wheel, None, tmp_path)
    version = tmp_path / "3.10.13"
    version.mkdir()
    found = interpreter(wheel, None, tmp_path)
    assert (found.recipe.suite, found.recipe.architecture) == ("bookworm", "arm64")
    assert found.program == str(version / "bin" / "python3.10")
    assert found.volumes == {str(version): version}


@pytest.mark.parametrize(("machine", "variant"), [("x86_64", "extract"), ("aarch64", "minbase")])
def test_no_script_of_a_package_runs_under_an_emulator(monkeypatch, machine, variant):
    monkeypatch.setattr("platform.machine", lambda: machine)
    recipe = interpreter(read(Path("lockgate-1.0-cp311-cp311-manylinux_2_17_aarch64.whl"))).recipe
    assert recipe.variant == variant
    assert ("dash" in recipe.packages) == (variant == "extract")


def test_a_root_whose_packages_are_only_unpacked_has_the_users_of_debian(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text("its own")
    masters = tmp_path / "usr/share/base-passwd"
    masters.mkdir(parents=True)
    for name in ("passwd", "group"):
        (masters / f"{name}.master").write_text("of Debian")
    configure(tmp_path)
    assert (tmp_path / "etc/passwd").read_text() == "of Debian"
    assert (tmp_path / "etc/group").read_text() == "its own"


def test_a_root_whose_packages_are_only_unpacked_has_one_file_of_all_authorities(tmp_path):
    authorities = tmp_path / "usr/share/ca-certificates/mozilla"
    authorities.mkdir(parents=True)
    for name in ("b", "a"):
        (authorities / f"{name}.crt").write_text(f"{name}\n")
    configure(tmp_path)
    assert (tmp_path / "etc/ssl/certs/ca-certificates.crt").read_text() == "a\nb\n"


def test_sources_are_built_where_rust_is():
    found = interpreter(read(Path("lockgate-1.0.tar.gz")))
    assert "cargo" in found.recipe.packages


def test_a_step_that_does_not_end_is_a_failure_of_its_wheel():
    with pytest.raises(visit.Failed, match="python -m venv /srv/venv has not ended within 1200 s"):
        visit.install(Stuck(), "python", "/wheels/lockgate.whl")


class Stuck:
    """A container in which no command ends."""

    def execute(self, command, *, seconds):
        raise subprocess.TimeoutExpired(command, seconds)
