"""`make release VERSION=0.2.0` runs `python -m release 0.2.0`."""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from release.repository import CommandFailed, Repository
from release.steps import CannotRelease, Release, perform
from release.version import Version, WrongVersion, notes

TREE = Path(__file__).resolve().parents[2]

PUBLISH = """
release: {tag} is ready, and nothing has left this machine. To publish it:

    git push origin main {tag}

The workflow `release` then tests and builds the tag, compares its files with the sums in the tag,
and waits for an approval before it uploads them (docs/releasing.md).
To drop it instead: git tag --delete {tag}, and git reset --keep HEAD^
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="release", description=__doc__)
    parser.add_argument("version", help="as PyPI has it: 1.2.3, or 1.2.3rc1")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="take the quick steps in a copy of the repository, and show what they change",
    )
    parser.add_argument("--previous", type=Path, help="a wheel of the release before, for this CPU")
    parser.add_argument("--wheels", default="", help="which wheels are built (make wheels-list)")
    parser.add_argument(
        "--same-layout",
        action="append",
        default=[],
        metavar="NAME",
        help="a layout of shared memory whose changed sources mean the same",
    )
    parser.add_argument("--repository", type=Path, default=TREE, help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        version = Version.parse(options.version)
        previous = options.previous.resolve() if options.previous else None
        release = Release(
            Repository(options.repository),
            version,
            previous,
            options.wheels,
            frozenset(options.same_layout),
        )
        if options.dry_run:
            return rehearse(release)
        perform(release, is_rehearsal=False)
    except (CannotRelease, CommandFailed, WrongVersion) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(PUBLISH.format(tag=version.tag))
    return 0


def rehearse(release: Release) -> int:
    """Takes the quick steps in a copy, which shares nothing with the repository."""
    original, version = release.repository, release.version
    copy = release.folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.parent.mkdir(parents=True, exist_ok=True)
    original.run("git", "clone", "--quiet", "--no-local", str(original.root), str(copy))
    # The copy is a release of the commit here, whatever its branch; its upstream is this clone.
    target = {"CARGO_TARGET_DIR": str(original.root / "target")}
    repository = Repository(copy, target)
    repository.run(
        "git", "checkout", "--quiet", "-B", "main", original.ask("git", "rev-parse", "HEAD")
    )
    repository.run("git", "remote", "remove", "origin")
    for name in ("user.name", "user.email"):
        if original.succeeds("git", "config", name):
            repository.run("git", "config", name, original.ask("git", "config", name))
    perform(replace(release, repository=repository), is_rehearsal=True)
    repository.run("git", "show", "--stat", "--format=%h %s", "HEAD")
    print(f"\n{notes(repository.read('CHANGELOG.md'), version)}\n")
    print(f"release: rehearsed in {copy}; this repository is unchanged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
