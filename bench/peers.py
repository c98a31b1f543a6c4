"""Sets up what is measured: the virtualenv of the peers, Lockgate's wheel, the Rust-only server.

What cannot be had is remembered with its reason, and never stops the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from catalogue import Server
from process import BENCH, BUILD

ROOT = BENCH.parent
VENV = BENCH / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = BENCH / "requirements.txt"
STAMP = VENV / "setup.json"
STEP_SECONDS = 900
VERSIONS = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
)


class CannotSetUp(Exception):
    """Something is missing; the text says what to do."""


@dataclass
class Installed:
    versions: dict[str, str]
    # Why a package or program is not there.
    missing: dict[str, str] = field(default_factory=dict)

    def why_not(self, server: Server) -> str | None:
        """None: this server can be started."""
        if sys.version_info[:2] < server.python:
            return f"needs Python {'.'.join(map(str, server.python))} or newer"
        needed = server.package or server.program or ""
        if needed in self.missing:
            return self.missing[needed]
        if server.package and server.package not in self.versions:
            return f"{server.package} is not installed"
        return None


def set_up(again: bool = False) -> Installed:
    """Brings everything up to date. `again` retries what failed the last time."""
    BUILD.mkdir(exist_ok=True)
    for program, package in (("wrk", "wrk"), ("taskset", "util-linux")):
        if not shutil.which(program):
            raise CannotSetUp(f"{program} is missing: apt install {package}")
    stamp = _make_virtualenv()
    missing = dict(stamp.get("missing", {}))
    digest = _digest(REQUIREMENTS)
    if stamp.get("requirements") != digest or (again and missing):
        missing = _install_peers()
        stamp = {**stamp, "requirements": digest, "missing": dict(missing)}
        STAMP.write_text(json.dumps(stamp, indent=1))
    _install_lockgate(stamp, missing)
    _build_constant(missing)
    if not shutil.which("nginx"):
        missing["nginx"] = "nginx is missing: apt install nginx-light"
    versions = json.loads(_run([str(PYTHON), "-c", VERSIONS]).stdout)
    versions["wrk"] = _first_line(["wrk", "-v"]).split("[")[0].removeprefix("wrk ").strip()
    if shutil.which("nginx"):
        versions["nginx"] = _first_line(["nginx", "-v"]).rpartition("/")[2]
    return Installed(versions, missing)


def _make_virtualenv() -> dict:
    """The virtualenv belongs to the Python that runs this; another Python gets a new one."""
    stamp = json.loads(STAMP.read_text()) if STAMP.exists() else {}
    version = sys.version.split()[0]
    if stamp.get("python") != version or not PYTHON.exists():
        print(f"bench: making a virtualenv for Python {version}", flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        stamp = {"python": version}
        STAMP.write_text(json.dumps(stamp))
    return stamp


def _install_peers() -> dict[str, str]:
    """Reasons of the packages that could not be installed."""
    print("bench: installing the peers", flush=True)
    lines = [line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines()]
    install = [str(PYTHON), "-m", "pip", "install", "--quiet", "--constraint", str(REQUIREMENTS)]
    if _run([*install, "--requirement", str(REQUIREMENTS)]).returncode == 0:
        return {}
    missing = {}
    for requirement in filter(None, lines):
        done = _run([*install, requirement])
        if done.returncode:
            name = requirement.partition("==")[0].lower()
            missing[name] = f"pip could not install {requirement}: {_reason(done.stderr)}"
            print(f"bench: {missing[name]}", flush=True)
    return missing


def _install_lockgate(stamp: dict, missing: dict[str, str]) -> None:
    wheel = _newest_wheel()
    if wheel is None:
        missing["lockgate"] = "no wheel of lockgate in this tree: run `make bench`"
        return
    digest = _digest(wheel)
    if stamp.get("wheel") == digest:
        return
    print(f"bench: installing {wheel.name}", flush=True)
    install = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall"]
    done = _run([*install, str(wheel)])
    if done.returncode:
        missing["lockgate"] = f"pip could not install {wheel.name}: {_reason(done.stderr)}"
        return
    STAMP.write_text(json.dumps({**stamp, "wheel": digest}, indent=1))


def _newest_wheel() -> Path | None:
    """The wheel that the virtualenv of `make` was given; without one, the newest in the tree."""
    for folders in ([Path(sys.prefix)], [ROOT / ".venv", *ROOT.glob(".venvs/*"), ROOT / "target"]):
        wheels = [wheel for folder in folders for wheel in folder.glob("wheels/lockgate-*.whl")]
        if wheels:
            return max(wheels, key=lambda wheel: wheel.stat().st_mtime)
    return None


def _build_constant(missing: dict[str, str]) -> None:
    """The copy in build/ is what runs, so that a command line is the same on every machine."""
    if not shutil.which("cargo"):
        missing["build/constant"] = "cargo is missing: see https://rustup.rs"
        return
    build = ["cargo", "build", "--locked", "--release", "--package", "lockgate-worker"]
    build += ["--example", "constant", "--message-format", "json"]
    print("bench: building the Rust-only server", flush=True)
    done = _run(build, cwd=ROOT)
    made = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    programs = [message["executable"] for message in made if message.get("executable")]
    if done.returncode or not programs:
        missing["build/constant"] = "the Rust-only server does not build: " + _reason(done.stderr)
        (BUILD / "constant").unlink(missing_ok=True)
        return
    # By way of a rename: a program that runs cannot be written to.
    copy = BUILD / f"constant-{os.getpid()}"
    shutil.copy2(programs[-1], copy)
    copy.replace(BUILD / "constant")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _reason(text: str) -> str:
    """The line of the output that has the reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if "fatal error" in line]
    reported = [line for line in lines if "error" in line.lower()]
    return (fatal or reported or lines or ["no reason given"])[0].replace(str(ROOT), ".")[:160]


def _first_line(command: list[str]) -> str:
    done = _run(command)
    return (done.stdout + done.stderr).splitlines()[0]


def _run(command: list[str], cwd: Path = BENCH, check: bool = False) -> subprocess.CompletedProcess:
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            check=check,
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"error: over {STEP_SECONDS} s")
