"""The sandbox of a page: namespaces of its own for the network, the files and the processes.

So every page may use port 8000 and `/etc/shop` as it says, pages run at the same time, nothing
outside is changed, and all processes end with the page (decision 0066).
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
ROOT = TESTS.parent
# Read-only are all other files; changes of these are in memory.
CHANGED_IN_MEMORY = ("/etc", "/var", "/root")
EMPTY = ("/run", "/srv", "/home", "/opt")
# The directory of the page, as its commands see it. Other users can enter it, unlike pytest's.
PLACE = Path("/opt/page")


def available() -> str | None:
    """Why this machine has no sandbox for pages; `None` if it has one."""
    return _available()


@cache
def _available() -> str | None:
    with tempfile.TemporaryDirectory() as directory:
        command = [*_unshare(), "sh", "-c", _mounts(Path(directory))]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return f"no namespaces (root or user namespaces are needed): {done.stderr.strip()[-200:]}"


def run(page: Path, directory: Path, environment: Path, seconds: float) -> str:
    """Runs a page in `directory`; returns what the runner itself has written.

    `environment` is the virtualenv of the pages.
    """
    command = f"{_mounts(directory)}\nexec {shlex.quote(str(environment / 'bin' / 'python'))} "
    command += f"-m harness.pages.run {shlex.quote(str(page))} {PLACE}"
    variables = {
        "PATH": f"{environment}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(PLACE / "home"),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(TESTS),
        "REPOSITORY": str(ROOT),
        "TERM": "dumb",
        "TMPDIR": "/var/tmp",
        "USER": "root",
        "VIRTUAL_ENV": str(environment),
    }
    (directory / "home").mkdir()
    # The pages' name for a clone.
    (directory / "home" / "src").mkdir()
    (directory / "home" / "src" / "lockgate").symlink_to(ROOT)
    # On a terminal curl shows no progress.
    (directory / "home" / ".curlrc").write_text("silent\nshow-error\n", "utf-8")
    done = subprocess.run(
        [*_unshare(), "sh", "-c", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=variables,
        timeout=seconds,
    )
    return done.stdout + done.stderr


def _unshare() -> list[str]:
    mapped = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    namespaces = ["--net", "--mount", "--pid", "--uts", "--ipc"]
    return ["unshare", *mapped, *namespaces, "--fork", "--mount-proc", "--kill-child"]


def _mounts(directory: Path) -> str:
    """Commands that lay out the file system; only `directory` can be changed from inside."""
    lines = [
        "set -e",
        "ip link set lo up",
        # The overlays' own directories, out of sight below the next mount.
        "mount -t tmpfs tmpfs /mnt",
    ]
    for path in CHANGED_IN_MEMORY:
        name = path.strip("/")
        lines.append(f"mkdir -p /mnt/{name}/upper /mnt/{name}/work")
        options = f"lowerdir={path},upperdir=/mnt/{name}/upper,workdir=/mnt/{name}/work"
        lines.append(f"mount -t overlay overlay -o {options} {path}")
    lines += [f"test ! -d {path} || mount -t tmpfs tmpfs {path}" for path in EMPTY]
    lines += [f"mkdir {PLACE}", f"mount --bind {shlex.quote(str(directory))} {PLACE}"]
    repository = shlex.quote(str(ROOT))
    lines += [
        *_opened(ROOT),
        "mount -o remount,bind,ro /",
        f"mount --bind {repository} {repository}",
        f"mount -o remount,bind,ro {repository}",
        "mount -t tmpfs -o mode=1777 tmpfs /var/tmp",
        f"chmod o+rx {PLACE}",
        # Python may be below /root; users that a page makes run it, too.
        *(["chmod o+rx /root"] if os.geteuid() == 0 else []),
        "mkdir -p /var/log/nginx /run/lock",
    ]
    return "\n".join(lines)


def _opened(repository: Path) -> list[str]:
    """Commands after which users that a page makes reach the repository, as below `mktemp -d`."""
    # What `chmod` opens in memory is left.
    parents = [parent for parent in repository.parents if parent not in (Path("/"), Path("/root"))]
    closed = [parent for parent in parents if not parent.stat().st_mode & stat.S_IXOTH]
    if not closed or os.geteuid() != 0:
        return []
    place = shlex.quote(str(repository))
    return [
        "mkdir /mnt/repository",
        f"mount --bind {place} /mnt/repository",
        f"mount -t tmpfs -o mode=0755 tmpfs {shlex.quote(str(closed[-1]))}",
        f"mkdir -p {place}",
        f"mount --bind /mnt/repository {place}",
    ]


def environment() -> Path:
    """The virtualenv of the pages, which `make` has made beside the packages of this one."""
    return Path(sys.prefix) / "pages"
