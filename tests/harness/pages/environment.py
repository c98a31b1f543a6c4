"""Makes the virtualenv of the pages: the packages of the present one, and those of pages.txt.

`python -m harness.pages.environment REQUIREMENTS`, with the virtualenv that has Lockgate. What
only pages need, such as gunicorn, must not be where Lockgate is tested.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from harness.pages.sandbox import TESTS, environment

# A page installs nothing (`harness.pages.pip`).
PIP = f"""import sys
sys.path.insert(0, {str(TESTS)!r})
from harness.pages.pip import main
sys.exit(main(sys.argv[1:]))
""".encode()
PYTHON_SCRIPT = re.compile(rb"^#!.*python.*\n")


def main(requirements: str) -> None:
    """Makes it again from the start, which takes a few seconds without downloads."""
    directory = environment()
    venv.EnvBuilder(with_pip=False, clear=True, symlinks=True).create(directory)
    python = directory / "bin" / "python"
    paths = sysconfig.get_paths(vars={"base": str(directory), "platbase": str(directory)})
    Path(paths["purelib"], "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # pip sees the packages beside as installed, and adds what is missing.
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--requirement", requirements], check=True)
    for name in ("pip", "pip3"):
        write_script(directory / "bin" / name, python, PIP)
    copy_scripts(Path(sysconfig.get_path("scripts")), directory / "bin", python)


def copy_scripts(source: Path, target: Path, python: Path) -> None:
    """Console scripts such as `lockgate` and `flask`, for the Python of the pages."""
    for script in source.iterdir():
        if script.is_symlink() or not script.is_file() or (target / script.name).exists():
            continue
        text = script.read_bytes()
        if PYTHON_SCRIPT.match(text):
            write_script(target / script.name, python, PYTHON_SCRIPT.sub(b"", text, count=1))


def write_script(path: Path, python: Path, text: bytes) -> None:
    path.write_bytes(b"#!" + str(python).encode() + b"\n" + text)
    path.chmod(0o755)


if __name__ == "__main__":
    main(sys.argv[1])
