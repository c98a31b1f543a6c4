"""Runs a command in a root directory, with the tree at its own path.

Mounts are in a namespace of the command, so that they end with it, and so do its processes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Packages come over the network of this system, which may have certificates of its own.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
SHARED_FILES = (CERTIFICATES, Path("/etc/resolv.conf"))
#: What tells clients of registries how to reach them, and cargo how to build.
PASSED = (
    "PIP_",
    "CARGO_BUILD_",
    "CARGO_HTTP_",
    "CARGO_INCREMENTAL",
    "CARGO_NET_",
    "CARGO_PROFILE_",
)

#: Arguments: the root, the tree, the number of shared paths, these, and the command.
SCRIPT = """
set -eu
root=$1 tree=$2 count=$3
shift 3
# The root of a system is a mount point; otherwise no program there can make a mount namespace.
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/run/lock" "$root$tree"
mount --bind "$tree" "$root$tree"
while [ "$count" -gt 0 ]; do
    mkdir -p "$(dirname "$root$1")"
    if [ -d "$1" ]; then mkdir -p "$root$1"; else : >> "$root$1"; fi
    mount --bind "$1" "$root$1"
    shift
    count=$((count - 1))
done
# Not only chroot: a program that enters a mount namespace of a test has the root of that namespace.
cd "$root"
pivot_root . mnt
# The shell has the number 1 and reaps what has lost its parent, as init does; no test does that.
exec chroot / sh -c 'umount -l /mnt && cd "$1" && shift && "$@"; exit $?' - "$tree" "$@"
"""


def run(
    root: Path, tree: Path, command: list[str], environment: Mapping[str, str] | None = None
) -> int:
    """The exit code of the command."""
    cargo = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo") / "registry"
    cargo.mkdir(parents=True, exist_ok=True)
    shared = [str(path) for path in (*SHARED_FILES, cargo) if path.exists()]
    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED)}
    complete = {
        "CARGO_HOME": str(cargo.parent),
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PATH": PATH,
        **passed,
        **(environment or {}),
    }
    namespaces = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork"]
    namespaces += ["--kill-child", "sh", "-c", SCRIPT, "-"]
    arguments = [str(root), str(tree), str(len(shared)), *shared, *command]
    return subprocess.run([*namespaces, *arguments], env=complete).returncode
