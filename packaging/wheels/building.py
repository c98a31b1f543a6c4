"""The build of one wheel: maturin's command, and flags that make it the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wheels.targets import Target
from wheels.toolchain import Toolchain, search_path

# Decided by the target here, and not by the shell that runs the program.
FOREIGN_VARIABLES = (
    "CFLAGS",
    "CXXFLAGS",
    "LDFLAGS",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "PYO3_PYTHON",
    "PYO3_CONFIG_FILE",
    "PYO3_BUILD_EXTENSION_MODULE",
    "MATURIN_STRIP",
)


@dataclass(frozen=True)
class Job:
    """One wheel to build, of the sources in `tree`."""

    target: Target
    tree: Path
    out: Path
    profile: str
    # Seconds since 1970: the time of all files in the wheel.
    epoch: int
    # Where cargo builds; several targets share it.
    cargo_target: Path


def remapped_paths(job: Job, toolchain: Toolchain) -> list[tuple[str, str]]:
    """Folders of this machine, and what stands for them in the binary; the last match wins."""
    cargo_home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    return [
        (str(job.tree), "/lockgate"),
        (str(cargo_home), "/cargo"),
        (str(toolchain.sysroot), "/rust"),
        (str(job.cargo_target), "/target"),
    ]


def environment(job: Job, toolchain: Toolchain) -> dict[str, str]:
    """The variables of the build."""
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    pairs = remapped_paths(job, toolchain)
    rust_flags = [f"--remap-path-prefix={path}={name}" for path, name in pairs]
    c_flags = [f"-ffile-prefix-map={path}={name}" for path, name in pairs]
    if job.target.libc == "musllinux":
        # CPython loads the module into a process whose libc is a shared library.
        rust_flags.append("-Ctarget-feature=-crt-static")
    suffix = job.target.triple.replace("-", "_")
    return {
        **variables,
        **toolchain.environment,
        "PATH": search_path(toolchain),
        "SOURCE_DATE_EPOCH": str(job.epoch),
        "CARGO_TARGET_DIR": str(job.cargo_target),
        "CARGO_INCREMENTAL": "0",
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(rust_flags),
        f"CFLAGS_{suffix}": " ".join(c_flags),
    }


def command(job: Job, toolchain: Toolchain, out: Path) -> list[str]:
    """maturin's command; the wheel goes to `out`."""
    words = [sys.executable, "-m", "maturin", "build", "--locked", "--quiet", "--zig", "--strip"]
    words += ["--profile", job.profile, "--target", job.target.triple]
    words += ["--compatibility", job.target.policy, "--auditwheel", "check"]
    words += ["--interpreter", f"python{job.target.version}", "--out", str(out)]
    if toolchain.builds_std:
        words += ["-Z", "build-std=std,panic_unwind"]
    return words


def build(job: Job, toolchain: Toolchain) -> Path:
    """Builds the wheel as maturin has it, and returns its path in `job.out`."""
    job.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=job.out) as folder:
        subprocess.run(
            command(job, toolchain, Path(folder)),
            cwd=job.tree,
            env=environment(job, toolchain),
            check=True,
        )
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.replace(job.out / wheel.name)
