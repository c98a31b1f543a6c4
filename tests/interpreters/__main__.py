"""Runs the tests with an interpreter of a Debian release, in a root directory of its own.

python -m interpreters python3.15 [--cache DIRECTORY] [arguments of pytest …]

Lockgate is built there as well, with Debian's cargo and without optimisation. A DeprecationWarning
is an error, in the tests and in the servers that they start. The pages of docs/ are left out, which
another interpreter does not change. The last line is a row for docs/platforms.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import sys
import time
from pathlib import Path

from interpreters import enter, results, root
from interpreters.filters import FILTERS

TREE = Path(__file__).resolve().parents[2]
STAMPS = ("build-tools", "development", "applications", "gunicorn", "examples", "installed-dev")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m interpreters", description=__doc__)
    parser.add_argument("python", choices=root.SUITES)
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockgate"
    parser.add_argument("--cache", type=Path, default=default, help=f"default: {default}")
    options, pytest = parser.parse_known_args()
    if problem := missing():
        print(f"interpreters: {problem}", file=sys.stderr)
        return 2
    directory = root.obtain(root.SUITES[options.python], options.cache)
    if code := build(directory, options.python):
        return code
    file = TREE / "target" / f"{options.python}.xml"
    file.unlink(missing_ok=True)
    code = test(directory, options.python, file, pytest)
    if not file.exists():
        return code or 1
    found = results.read(file)
    print(found.text())
    interpreter, libc = versions(directory, options.python)
    system = f"Debian {root.SUITES[options.python]} ({libc}), {platform.machine()}"
    what = "all tests but those of `docs`"
    if pytest:
        what = f"`pytest {shlex.join(pytest)}`"
    date = f"{time.localtime().tm_mday} {time.strftime('%B %Y')}"
    print(found.row(interpreter, system, f"{what}, with `DeprecationWarning` as an error", date))
    return code


def versions(directory: Path, python: str) -> tuple[str, str]:
    """Of the interpreter and of the C library, as the row has them."""
    file = TREE / "target" / f"{python}.versions"
    code = (
        "import platform, sys; open(sys.argv[1], 'w').write("
        "f'CPython {platform.python_version()}|glibc {platform.libc_ver()[1]}')"
    )
    enter.run(directory, TREE, [f"{virtualenv(python)}/bin/python", "-c", code, str(file)])
    interpreter, libc = file.read_text().split("|")
    return interpreter, libc


def missing() -> str | None:
    """What this system has not."""
    if os.geteuid() != 0:
        return "a root directory is made and entered by root only: run it as root"
    for program in ("mmdebstrap", "unshare"):
        if shutil.which(program) is None:
            return f"{program} is missing: apt install mmdebstrap util-linux"
    return None


def virtualenv(python: str) -> str:
    """Beside those of this system: its interpreter is another one."""
    return f".venvs/debian-{python}"


def build(directory: Path, python: str) -> int:
    """Makes the virtualenv and installs Lockgate into it."""
    venv = virtualenv(python)
    targets = [f"{venv}/.{stamp}" for stamp in STAMPS]
    make = ["make", f"PYTHON={python}", f"VENV={venv}", "BUILD=dev", *targets]
    certificates = str(enter.CERTIFICATES)
    environment = {
        # Programs that this system has built need not run there, nor those of the root here.
        "CARGO_TARGET_DIR": str(TREE / "target" / "debian" / root.SUITES[python]),
        "CARGO_HTTP_CAINFO": certificates,
        "PIP_CERT": certificates,
    }
    return enter.run(directory, TREE, make, environment)


def test(directory: Path, python: str, file: Path, arguments: list[str]) -> int:
    command = [f"{virtualenv(python)}/bin/python", "-m", "pytest", f"--junit-xml={file}"]
    if not any(argument.startswith("tests/") for argument in arguments):
        command += ["--ignore=tests/docs"]
    command += arguments or ["--numprocesses=4", "--dist=worksteal"]
    return enter.run(directory, TREE, command, {"PYTHONWARNINGS": ",".join(FILTERS)})


if __name__ == "__main__":
    sys.exit(main())
