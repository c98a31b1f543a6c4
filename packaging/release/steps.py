"""The steps of a release, in their order.

Invariant: nothing leaves this machine. A step that has succeeded for a commit is not repeated for
it, so a release continues after a failure where it stopped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from release import layouts, statement
from release.repository import CommandFailed, Repository
from release.version import Version, WrongVersion, notes, of_cargo, with_version

#: Builds and publishes a tag.
WORKFLOW = ".github/workflows/release.yml"
#: What a release consists of at least; `make wheels` says all.
LEAST_FILES = {".whl": 1, ".tar.gz": 1}
TOOLS = {"rustc": ("rustc", "--version"), "cargo": ("cargo", "--version")}


class CannotRelease(RuntimeError):
    """A condition of a release is not met, and what to do."""


@dataclass
class Release:
    """A release that is being prepared."""

    repository: Repository
    version: Version
    #: The wheel of the release before; None when there is none.
    previous: Path | None
    #: Which wheels are built; all when it is empty.
    wheels: str = ""
    #: Layouts of memory whose changed sources the maintainer has read.
    same_layouts: frozenset[str] = frozenset()

    @property
    def folder(self) -> Path:
        """Stamps, sums and notes of this release."""
        return self.repository.root / "target/release-of" / self.version.text

    @property
    def subject(self) -> str:
        """The subject of the commit of the release."""
        return f"release: {self.version.text}"

    def is_committed(self) -> bool:
        return self.repository.ask("git", "log", "-1", "--format=%s") == self.subject

    def base(self) -> str:
        """The commit that is released, without the commit of the version."""
        return self.repository.ask("git", "rev-parse", "HEAD^" if self.is_committed() else "HEAD")

    def head(self) -> str:
        return self.repository.ask("git", "rev-parse", "HEAD")

    def changes(self) -> list[Path]:
        return sorted((self.repository.root / "changes").glob("*.md"))

    def files(self) -> list[Path]:
        folder = self.repository.root / "dist"
        return sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])


@dataclass(frozen=True)
class Step:
    name: str
    #: What is true afterwards.
    text: str
    run: Callable[[Release], None]
    #: The commit for which it has succeeded: a step is repeated for another one.
    key: Callable[[Release], str]
    #: A rehearsal in a copy skips it, because it takes hours or needs the network.
    is_long: bool = False


def check_tree(release: Release) -> None:
    repository = release.repository
    if repository.ask("git", "status", "--porcelain", "--untracked-files=no"):
        raise CannotRelease("the tree has changes: commit or stash them")
    branch = repository.ask("git", "rev-parse", "--abbrev-ref", "HEAD")
    if branch != "main":
        raise CannotRelease(f"this is branch {branch}: a release is made from main")
    if repository.succeeds("git", "rev-parse", "--verify", "@{upstream}"):
        repository.run("git", "fetch", "--quiet", "--tags")
        if repository.ask("git", "rev-list", "HEAD..@{upstream}"):
            raise CannotRelease("main is behind its upstream: git pull --ff-only")
    tag = release.version.tag
    if repository.succeeds("git", "rev-parse", "--verify", f"refs/tags/{tag}"):
        tagged = repository.ask("git", "rev-parse", f"{tag}^{{commit}}")
        if tagged != release.head():
            raise CannotRelease(f"tag {tag} names another commit: choose another VERSION")
    present = of_cargo(repository.read("Cargo.toml"))
    if not release.is_committed() and not is_next(release, present):
        raise CannotRelease(
            f"VERSION={release.version.text} is not after {present.text}, the version in Cargo.toml"
        )
    check_changes(release)


def check_changes(release: Release) -> None:
    """Sentences that are left in changes/ would be announced as those of the next release."""
    text = release.version.text
    left = [path for path in release.changes() if path.name != "README.md"]
    if left and notes(release.repository.read("CHANGELOG.md"), release.version):
        raise CannotRelease(
            f"CHANGELOG.md has a section ## {text}, and changes/ has {len(left)} sentences, such "
            f"as {left[0].name}: bring into the section what belongs there, and remove the files"
        )


def is_next(release: Release, present: Version) -> bool:
    """Whether the version follows the present one; the first release has the present version."""
    is_first = not release.repository.ask("git", "tag", "--list", "v*")
    return release.version.is_after(present) or (is_first and release.version == present)


def check_layouts(release: Release) -> None:
    """Memory that the next version would misread must have another version."""
    repository = release.repository
    if not repository.succeeds("git", "describe", "--abbrev=0", "--match", "v*", "HEAD^"):
        return
    before = repository.ask("git", "describe", "--abbrev=0", "--match", "v*", "HEAD^")
    found = layouts.unraised(repository, before)
    lines = [
        f"  {name}: {', '.join(changed)}"
        for name, changed in found.items()
        if name not in release.same_layouts
    ]
    if lines:
        raise CannotRelease(
            f"these layouts of shared memory have the version that they had in {before}, and their "
            "sources have changed:\n" + "\n".join(lines) + f"\nRead the changes. If the words or "
            f"records mean something else, raise the version in {layouts.DECLARED}; otherwise name "
            "the layout: RELEASE='--same-layout NAME'"
        )


def run_checks(release: Release) -> None:
    release.repository.run("bash", ".ci/run")


def set_version(release: Release) -> None:
    repository, version = release.repository, release.version
    if release.is_committed():
        return
    repository.write("Cargo.toml", with_version(repository.read("Cargo.toml"), version))
    # The lock files have the version of each crate of the workspace, and nothing else changes.
    repository.run("cargo", "update", "--quiet", "--workspace", "--offline")
    repository.run(
        "cargo", "update", "--quiet", "--workspace", "--offline",
        "--manifest-path", "fuzz/Cargo.toml",
    )  # fmt: skip
    if not notes(repository.read("CHANGELOG.md"), version):
        repository.run("cargo", "run", "--quiet", "-p", "xtask", "--", "changelog", version.text)
    # Man pages have the version.
    repository.run("cargo", "run", "--quiet", "-p", "xtask", "--", "docs")
    repository.run("git", "add", "--all", *changed_places(repository))
    # The first release has the present version, and its section of the changelog is there.
    repository.run("git", "commit", "--quiet", "--allow-empty", "--message", release.subject)
    if repository.ask("git", "status", "--porcelain", "--untracked-files=no"):
        raise CannotRelease("the commit of the version has left changes: git status")


def changed_places(repository: Repository) -> Iterator[str]:
    for place in (
        "Cargo.toml", "Cargo.lock", "fuzz/Cargo.lock", "CHANGELOG.md", "changes", "docs/reference",
        "python/lockgate/manual",
    ):  # fmt: skip
        if (repository.root / place).exists():
            yield place


def check_rust(release: Release) -> None:
    """The workflow builds the same bytes only with the same Rust."""
    wanted = re.search(r'(?m)^  RUST: "(.+)"$', release.repository.read(WORKFLOW))
    if wanted is None:
        raise CannotRelease(f"{WORKFLOW} has no line RUST")
    present = release.repository.ask("rustc", "--version")
    if present.split()[1] != wanted[1]:
        raise CannotRelease(
            f"{present} is on PATH, and {WORKFLOW} builds with {wanted[1]}: "
            f"rustup default {wanted[1]}"
        )
    # Where it has no standard library for a wheel, `make wheels` takes another Rust.
    listed = release.repository.ask("make", "--silent", "wheels-list", f"WHEELS={release.wheels}")
    others = [line for line in listed.splitlines() if f"rustc {wanted[1]} on PATH" not in line]
    if others:
        raise CannotRelease(
            f"{len(others)} wheels would not be built by the Rust of {WORKFLOW}, so their bytes "
            f"would not be the same: rustup target add the missing ones:\n" + "\n".join(others)
        )


def build(release: Release) -> None:
    check_rust(release)
    for file in release.files():
        file.unlink()
    release.repository.run("make", "wheels", f"WHEELS={release.wheels}")
    release.repository.run("make", "sdist")
    check_files(release)


def check_files(release: Release) -> None:
    files = release.files()
    for suffix, least in LEAST_FILES.items():
        found = [file for file in files if file.name.endswith(suffix)]
        if len(found) < least:
            raise CannotRelease(f"dist/ has no file *{suffix}")
    for file in files:
        if file.name.split("-")[1].removesuffix(".tar.gz") != release.version.text:
            raise CannotRelease(f"dist/{file.name} has another version than {release.version.text}")


def try_upgrade(release: Release) -> None:
    if release.previous is None:
        print("release: there is no release before this one, so no upgrade is tried")
        return
    if not release.previous.is_file():
        raise CannotRelease(f"PREVIOUS={release.previous}: there is no such wheel")
    release.repository.run("make", "test-upgrade", f"PREVIOUS={release.previous}")


def write_sums(release: Release) -> None:
    check_files(release)
    sums = statement.sums(release.files())
    tools = {}
    for name, command in TOOLS.items():
        try:
            tools[name] = release.repository.ask(*command)
        except OSError as error:
            raise CannotRelease(f"{name} is missing: {error}") from None
    provenance = statement.provenance(sums, release.head(), release.version.text, tools)
    release.folder.mkdir(parents=True, exist_ok=True)
    (release.folder / "SHA256SUMS").write_text(statement.as_sha256sums(sums), "utf-8")
    text = json.dumps(provenance, indent=2) + "\n"
    (release.folder / "provenance-unsigned.json").write_text(text, "utf-8")


def tag(release: Release) -> None:
    """Tags the commit. The sums in the tag let the workflow compare its build with this one."""
    repository, name = release.repository, release.version.tag
    if repository.succeeds("git", "rev-parse", "--verify", f"refs/tags/{name}"):
        return
    text = notes(repository.read("CHANGELOG.md"), release.version)
    if not text:
        raise CannotRelease(f"CHANGELOG.md has no section ## {release.version.text}")
    sums = release.folder / "SHA256SUMS"
    parts = [f"Lockgate {release.version.text}", text]
    parts += [f"SHA256SUMS:\n{sums.read_text('utf-8').rstrip()}"] if sums.exists() else []
    message = release.folder / "tag.txt"
    release.folder.mkdir(parents=True, exist_ok=True)
    message.write_text("\n\n".join(parts) + "\n", "utf-8")
    is_signed = repository.succeeds("git", "config", "user.signingkey")
    if not is_signed:
        print("release: git has no user.signingkey, so the tag is annotated and not signed")
    # Headings of the changelog are no comments.
    repository.run(
        "git", "tag", "--sign" if is_signed else "--annotate", "--cleanup=whitespace",
        "--file", str(message), name,
    )  # fmt: skip


STEPS = [
    Step("tree", "the tree is clean, main, up to date, and the version is new", check_tree,
         Release.head),
    Step("layouts", "memory of another layout has another version", check_layouts, Release.head),
    Step("ci", "the checks and tests of CI pass", run_checks, Release.base, is_long=True),
    Step("version", "the version and the changelog are committed", set_version, Release.head),
    Step("build", "dist/ has the wheels and the source archive", build, Release.head,
         is_long=True),
    Step("upgrade", "the release before upgrades to this one, and back", try_upgrade,
         Release.head, is_long=True),
    Step("sums", "SHA256SUMS and the unsigned provenance are written", write_sums, Release.head,
         is_long=True),
    Step("tag", "the commit is tagged", tag, Release.head),
]  # fmt: skip


def perform(release: Release, *, is_rehearsal: bool) -> None:
    """Takes all steps that have not succeeded yet."""
    for number, step in enumerate(STEPS, 1):
        title = f"release: {number}/{len(STEPS)} {step.name}: {step.text}"
        if is_rehearsal and step.is_long:
            print(f"{title} (not in a rehearsal)", flush=True)
            continue
        stamp = release.folder / f"{step.name}.done"
        # Cheap, and what they look at may have changed.
        is_repeated = step.run in (check_tree, check_layouts, write_sums, tag)
        if not is_repeated and stamp.exists() and stamp.read_text() == step.key(release):
            print(f"{title} (done before)", flush=True)
            continue
        print(title, flush=True)
        try:
            step.run(release)
        except (CannotRelease, CommandFailed, WrongVersion, OSError) as error:
            raise CannotRelease(f"{step.name}: {error}") from None
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(step.key(release))
