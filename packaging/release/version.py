"""Version numbers, and the texts in which they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass

FORM = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:rc(\d+))?")
#: The version of the workspace, which all crates and the package have.
CARGO = re.compile(r'(?m)^(\[workspace\.package\]\nversion = ")([^"]+)(")$')


class WrongVersion(ValueError):
    """The version cannot be released, and why."""


@dataclass(frozen=True)
class Version:
    """A version as PyPI has it: 1.2.3, or 1.2.3rc1 for a release candidate."""

    text: str
    release: tuple[int, int, int]
    #: The number of the release candidate.
    candidate: int | None

    @classmethod
    def parse(cls, text: str) -> Version:
        found = FORM.fullmatch(text)
        if found is None:
            raise WrongVersion(f"VERSION={text}: a version looks like 1.2.3 or 1.2.3rc1")
        major, minor, patch, candidate = found.groups()
        number = None if candidate is None else int(candidate)
        return cls(text, (int(major), int(minor), int(patch)), number)

    @property
    def for_cargo(self) -> str:
        """The same version as Cargo has it: 1.2.3-rc.1."""
        major, minor, patch = self.release
        plain = f"{major}.{minor}.{patch}"
        return plain if self.candidate is None else f"{plain}-rc.{self.candidate}"

    @property
    def tag(self) -> str:
        return f"v{self.text}"

    def is_after(self, other: Version) -> bool:
        def rank(version: Version) -> tuple[tuple[int, int, int], float]:
            # A candidate comes before its release.
            candidate = version.candidate
            return version.release, float("inf") if candidate is None else candidate

        return rank(self) > rank(other)


def of_cargo(manifest: str) -> Version:
    """The version of the workspace in the text of Cargo.toml."""
    found = CARGO.search(manifest)
    if found is None:
        raise WrongVersion('Cargo.toml: no line `version = "…"` follows [workspace.package]')
    return Version.parse(found[2].replace("-rc.", "rc"))


def with_version(manifest: str, version: Version) -> str:
    """The text of Cargo.toml with this version of the workspace."""
    of_cargo(manifest)
    return CARGO.sub(rf"\g<1>{version.for_cargo}\g<3>", manifest)


def notes(changelog: str, version: Version) -> str:
    """What the changelog says of a version, without its heading; empty if it says nothing."""
    heading = re.escape(f"## {version.text}")
    found = re.search(rf"(?ms)^{heading}$\n(.*?)(?=^## |\Z)", changelog)
    return found[1].strip() if found else ""
