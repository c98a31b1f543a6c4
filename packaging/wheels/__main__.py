"""Builds and checks wheels: `make wheels` runs `python -m wheels build`."""

from __future__ import annotations

import argparse
import functools
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from wheels import building, checks, licences, reproducing, sbom, sdist, targets, toolchain
from wheels.archive import Wheel, with_bills, with_licence, write

TREE = Path(__file__).resolve().parents[2]
SCRATCH = TREE / "target/wheels"
# A release build has 6.9 million, one without optimisation up to 12.1.
MAX_BYTES = 13_000_000


def main() -> int:
    options = arguments()
    try:
        return options.run(options)
    except (targets.UnknownTarget, toolchain.ToolchainMissing, FileNotFoundError) as error:
        print(f"wheels: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"wheels: failed: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        print(error.stderr or "", end="", file=sys.stderr)
        return 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="wheels", description=__doc__)
    parser.add_argument(
        "--rust-root",
        type=Path,
        default=SCRATCH / "debian",
        help="folder with Debian's Rust, for targets whose standard library is not installed",
    )
    commands = parser.add_subparsers(required=True)
    for name, run, text in (
        ("build", build, "build wheels and check them"),
        ("list", list_targets, "say with which Rust each wheel would be built"),
        (
            "reproduce",
            reproduce,
            "build wheels twice, in different folders, and compare them",
        ),
        ("sdist", build_sdist, "pack the sources with the crates they need, and check them"),
        ("check", check, "check wheels that are already built"),
        ("toolchain", make_toolchain, "put Debian's Rust into --rust-root"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        if name in ("build", "list", "reproduce"):
            command.add_argument("names", nargs="*", help="cp313-manylinux-x86_64; `*` for each")
        if name in ("build", "reproduce"):
            command.add_argument("--profile", default="release", help="profile of cargo")
        if name in ("build", "reproduce", "sdist"):
            command.add_argument("--out", type=Path, default=TREE / "dist")
        if name == "check":
            command.add_argument("files", nargs="+", type=Path)
    return parser.parse_args()


def build(options: argparse.Namespace) -> int:
    chosen = targets.named(" ".join(options.names))
    # All that is missing is said before the first build.
    rusts = {target: rust_for(target, options) for target in chosen}
    faulty = 0
    for target in chosen:
        began = time.monotonic()
        wheel = build_one(job_of(target, options), rusts[target])
        found = inspect(wheel)
        seconds = time.monotonic() - began
        print(f"wheels: {wheel.name}: {wheel.stat().st_size} bytes, {seconds:.0f} s", flush=True)
        faulty += report(wheel, found)
    return 1 if faulty else 0


def build_one(job: building.Job, rust: toolchain.Toolchain) -> Path:
    """Builds a wheel, adds its licences, and writes it in its final order."""
    path = building.build(job, rust)
    crates = licences.linked_crates(job.tree, job.target.triple)
    text = licences.document(crates, rust.rust_version)
    wheel = with_licence(Wheel.read(path), checks.THIRD_PARTY, text)
    normalise = functools.partial(sbom.normalised, crates=crates, tree=job.tree, epoch=job.epoch)
    write(with_bills(wheel, normalise), job.epoch)
    return path


def job_of(target: targets.Target, options: argparse.Namespace) -> building.Job:
    return building.Job(
        target=target,
        tree=TREE,
        out=options.out.resolve(),
        profile=options.profile,
        epoch=epoch_of(TREE),
        cargo_target=TREE / "target",
    )


def build_sdist(options: argparse.Namespace) -> int:
    archive = sdist.build(TREE, options.out.resolve(), epoch_of(TREE))
    print(f"wheels: {archive.name}: {archive.stat().st_size} bytes", flush=True)
    return report(archive, [*sdist.faults(archive), *metadata_faults(archive)])


def list_targets(options: argparse.Namespace) -> int:
    for target in targets.named(" ".join(options.names)):
        try:
            description = rust_for(target, options).description
        except toolchain.ToolchainMissing as missing:
            description = str(missing)
        print(f"{target.name:27} {description}")
    return 0


def check(options: argparse.Namespace) -> int:
    return 1 if sum(report(file, inspect(file)) for file in options.files) else 0


def make_toolchain(options: argparse.Namespace) -> int:
    toolchain.make_debian_root(options.rust_root.resolve())
    return 0


def reproduce(options: argparse.Namespace) -> int:
    """Ends with 1 if a wheel depends on the folder that it was built in."""
    differing = 0
    for target in targets.named(" ".join(options.names)):
        rust = rust_for(target, options)
        differences = reproducing.differences(job_of(target, options), rust, build_one)
        for line in differences:
            print(f"wheels: {target.name}: {line}", file=sys.stderr)
        if not differences:
            print(f"wheels: {target.name}: two builds have the same bytes", flush=True)
        differing += bool(differences)
    return 1 if differing else 0


def rust_for(target: targets.Target, options: argparse.Namespace) -> toolchain.Toolchain:
    return toolchain.choose(target.triple, options.rust_root.resolve(), SCRATCH)


def inspect(wheel: Path) -> list[str]:
    """All faults of a wheel, by the checks here, auditwheel and twine."""
    target = targets.of_wheel(wheel.name)
    if target is None:
        return ["its name is that of no target"]
    expected = checks.Expectation(
        target=target,
        version=version_of(TREE),
        data_files=checks.data_files(TREE),
        crates=tuple(licences.linked_crates(TREE, target.triple)),
        private_paths=(f"{TREE}/", f"{Path.home()}/", "/.cargo/"),
        max_bytes=MAX_BYTES,
    )
    return [
        *checks.faults(Wheel.read(wheel), expected),
        *audit(wheel, target),
        *metadata_faults(wheel),
    ]


def audit(wheel: Path, target: targets.Target) -> list[str]:
    """What auditwheel says if the wheel does not have the platform of its name.

    It knows musl's C library by the name that Alpine gives it. zig links to musl's own, libc.so,
    for which musl's loader takes itself, whatever the file is called (`load_library` in musl's
    ldso/dynlink.c). So `checks` alone judges the libraries of wheels for musl.
    """
    if target.libc == "musllinux":
        return []
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    run = subprocess.run(command, capture_output=True, text=True)
    wanted = target.platform_tag.split(".")
    found = re.search(r'following platform tag: "(\S+)"', " ".join(run.stdout.split()))
    if run.returncode or not found:
        return [f"auditwheel: {(run.stderr or run.stdout).strip()}"]
    return [] if found[1] in wanted else [f"auditwheel: its platform is {found[1]}, not {wanted}"]


def metadata_faults(wheel: Path) -> list[str]:
    """What twine finds in the metadata and the description."""
    command = [sys.executable, "-m", "twine", "--no-color", "check", "--strict", str(wheel)]
    run = subprocess.run(command, capture_output=True, text=True)
    return [] if run.returncode == 0 else [f"twine: {run.stdout.strip()}"]


def report(wheel: Path, found: list[str]) -> int:
    """Prints the faults of a wheel; 1 if it has any."""
    for fault in found:
        print(f"wheels: {wheel.name}: {fault}", file=sys.stderr, flush=True)
    return 1 if found else 0


def version_of(tree: Path) -> str:
    """The version in Cargo.toml, which maturin takes for the package."""
    found = re.search(r'^version = "(.+)"', (tree / "Cargo.toml").read_text(), re.MULTILINE)
    if not found:
        raise FileNotFoundError(f"{tree / 'Cargo.toml'} has no version")
    return found[1]


def epoch_of(tree: Path) -> int:
    """SOURCE_DATE_EPOCH if it is set; otherwise the time of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    command = ["git", "-C", str(tree), "log", "-1", "--format=%ct"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
