"""Which root `make try-install` takes for an artefact, by its name."""

import subprocess
from pathlib import Path

import pytest
from machine import musl
from machine.musl import MuslRecipe
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
    found = interpreter(read(Path("lockgate-1.0-cp313-cp313-musllinux_1_2_x86_64.whl")))
    assert isinstance(found.recipe, MuslRecipe)
    assert (found.recipe.suite, found.recipe.packages) == ("trixie", ("python3.13",))
    assert found.program == "/usr/bin/python3.13"


def test_a_root_for_musl_is_made_again_when_its_script_changes(monkeypatch, tmp_path):
    recipe = MuslRecipe("trixie", ("python3.13",))
    before = recipe.name
    script = tmp_path / "script.sh"
    script.write_text("make\n")
    monkeypatch.setattr(musl, "SCRIPT", script)
    assert recipe.name != before


def test_a_root_for_musl_is_not_made_for_another_processor(tmp_path):
    with pytest.raises(Unavailable, match="not built here"):
        MuslRecipe("trixie", ("python3.13",), "riscv64").make(tmp_path / "root")


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
