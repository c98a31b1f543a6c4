"""COPY: runs in a mount namespace in which the layers are merged, as

python -m images.copying ROOT SOURCE OWNER MODE DESTINATION PATH …
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path, PurePosixPath

from .ignored import Ignored


def main() -> None:
    root, source, owner, mode, destination, *paths = sys.argv[1:]
    copy(Path(root), Path(source), paths, destination, owner, mode)


def copy(
    root: Path, source: Path, paths: list[str], destination: str, owner: str, mode: str
) -> None:
    """Paths below `source` to `destination`, a path below `root`."""
    ignored = Ignored.of(source)
    uid, _, gid = (owner or "0:0").partition(":")
    target = resolve(root, destination)
    is_directory = destination.endswith("/") or len(paths) > 1 or target.is_dir()
    for path in paths:
        origin = resolve(source, path)
        if not origin.exists():
            sys.exit(f"COPY: {path} does not exist")
        if origin.is_dir():
            _copy_tree(source, origin, target, ignored)
            made = target
        else:
            made = target / origin.name if is_directory else target
            made.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin, made)
        _give(made, int(uid), int(gid or uid), int(mode, 8) if mode else None)


def _copy_tree(source: Path, origin: Path, target: Path, ignored: Ignored) -> None:
    def leave_out(directory: str, names: list[str]) -> set[str]:
        below = Path(directory).relative_to(source)
        return {name for name in names if str(below / name) in ignored}

    shutil.copytree(origin, target, symlinks=True, dirs_exist_ok=True, ignore=leave_out)


def _give(path: Path, uid: int, gid: int, mode: int | None) -> None:
    found = [path, *path.rglob("*")] if path.is_dir() else [path]
    for entry in found:
        os.chown(entry, uid, gid, follow_symlinks=False)
        if mode is not None and not stat.S_ISLNK(entry.lstat().st_mode):
            entry.chmod(mode)


def resolve(root: Path, path: str) -> Path:
    """`path` below `root`, whose absolute symbolic links are relative to `root`."""
    place = root
    waiting = list(PurePosixPath(path.lstrip("/")).parts)
    links = 0
    while waiting:
        part = waiting.pop(0)
        if part == "..":
            place = place if place == root else place.parent
            continue
        entry = place / part
        if entry.is_symlink():
            links += 1
            if links > 40:
                raise OSError(f"too many symbolic links: {path}")
            link = PurePosixPath(os.readlink(entry))
            waiting = [*(part for part in link.parts if part != "/"), *waiting]
            place = root if link.is_absolute() else place
        else:
            place = entry
    return place


if __name__ == "__main__":
    main()
