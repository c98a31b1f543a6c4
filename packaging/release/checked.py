"""Checks a tag against the sources: `python -m release.checked v0.2.0`, in the workflow."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from release.version import Version, WrongVersion, notes, of_cargo

TREE = Path(__file__).resolve().parents[2]


def check(tag: str, manifest: str, changelog: str) -> Version:
    """The version of a tag; WrongVersion says what does not agree with it."""
    version = Version.parse(tag.removeprefix("v"))
    if tag != version.tag:
        raise WrongVersion(f"tag {tag}: the tag of a release looks like v1.2.3 or v1.2.3rc1")
    present = of_cargo(manifest)
    if version != present:
        raise WrongVersion(f"tag {tag}: Cargo.toml has version {present.text}")
    if not notes(changelog, version):
        raise WrongVersion(f"tag {tag}: CHANGELOG.md has no section ## {version.text}")
    return version


def main() -> int:
    parser = argparse.ArgumentParser(prog="release.checked", description=__doc__)
    parser.add_argument("tag")
    parser.add_argument("--notes", action="store_true", help="print the section of the changelog")
    options = parser.parse_args()
    changelog = (TREE / "CHANGELOG.md").read_text("utf-8")
    try:
        version = check(options.tag, (TREE / "Cargo.toml").read_text("utf-8"), changelog)
    except WrongVersion as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    if options.notes:
        print(notes(changelog, version))
    else:
        print(f"version={version.text}")
        print(f"prerelease={'false' if version.candidate is None else 'true'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
