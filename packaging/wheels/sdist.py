"""The source distribution with the crates of other projects: it builds without a network."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from wheels.licences import cargo

# Where the sources may be built. Other crates are only named, since Cargo wants each of Cargo.lock.
PLATFORMS = (
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-musl",
    "aarch64-apple-darwin",
    "x86_64-apple-darwin",
    "x86_64-unknown-freebsd",
)
TREE_OPTIONS = (
    "--package=lockgate-python",
    "--edges=normal,build",
    "--prefix=none",
    "--format={p}",
    *(f"--target={platform}" for platform in PLATFORMS),
)
CONFIGURATION = """\
# The crates are in vendor/: nothing is fetched.
[source.crates-io]
replace-with = "vendor"

[source.vendor]
directory = "vendor"
"""


def build(tree: Path, out: Path, epoch: int) -> Path:
    """Packs the sources in `tree` with their crates; returns the archive's path in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        command = [sys.executable, "-m", "maturin", "sdist", "--out", folder]
        subprocess.run(command, cwd=tree, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tar.gz")
        vendor(archive, epoch)
        return archive.replace(out / archive.name)


def vendor(archive: Path, epoch: int) -> None:
    """Adds the crates to a source distribution, whose files all get the time `epoch`."""
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        (tree,) = Path(scratch).iterdir()
        # Cargo.lock also has what only members of the workspace need that maturin left out.
        command = ["cargo", "metadata", "--format-version=1"]
        subprocess.run(command, cwd=tree, check=True, stdout=subprocess.DEVNULL)
        cargo(tree, "vendor", "--versioned-dirs", "--quiet", "vendor")
        used = built_crates(cargo(tree, "tree", *TREE_OPTIONS))
        for crate in sorted((tree / "vendor").iterdir()):
            if crate.name not in used:
                empty(crate)
        (tree / ".cargo").mkdir(exist_ok=True)
        (tree / ".cargo/config.toml").write_text(CONFIGURATION)
        write(tree, archive, epoch)


def built_crates(listed: str) -> set[str]:
    """The folders in vendor/ of the crates in the output of `cargo tree`: rustls-0.23.46."""
    lines = (line.split() for line in listed.splitlines())
    return {f"{words[0]}-{words[1].removeprefix('v')}" for words in lines if len(words) > 1}


def faults(archive: Path) -> list[str]:
    """What keeps a source distribution from being built without a network."""
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        (tree,) = (path for path in Path(scratch).iterdir() if path.is_dir())
        # Cargo finds nothing in this home, and may not ask a registry.
        variables = {**os.environ, "CARGO_HOME": f"{scratch}/home"}
        command = ["cargo", "tree", "--offline", "--locked", *TREE_OPTIONS]
        run = subprocess.run(command, cwd=tree, env=variables, capture_output=True, text=True)
        if run.returncode:
            return [f"cargo: {run.stderr.strip()}"]
        built = built_crates(run.stdout)
        empty_ones = {path.name for path in (tree / "vendor").iterdir() if is_empty(path)}
        return [f"vendor/{name} has no sources" for name in sorted(built & empty_ones)]


def empty(crate: Path) -> None:
    """Leaves of a vendored crate what Cargo needs to name it: no platform builds it."""
    manifest = (crate / "Cargo.toml").read_bytes()
    package = json.loads((crate / ".cargo-checksum.json").read_text())["package"]
    shutil.rmtree(crate)
    (crate / "src").mkdir(parents=True)
    (crate / "src/lib.rs").touch()
    (crate / "Cargo.toml").write_bytes(manifest)
    (crate / ".cargo-checksum.json").write_text(json.dumps({"files": {}, "package": package}))


def is_empty(crate: Path) -> bool:
    return not json.loads((crate / ".cargo-checksum.json").read_text())["files"]


def write(tree: Path, archive: Path, epoch: int) -> None:
    """Packs `tree`, by name, with one time, owner and kind of permissions."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    with archive.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=epoch) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in files:
                content = path.read_bytes()
                entry = tarfile.TarInfo(path.relative_to(tree.parent).as_posix())
                entry.size = len(content)
                entry.mtime = epoch
                entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
                tar.addfile(entry, io.BytesIO(content))
