"""The licence texts of the crates that a wheel contains, in one file."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

# Without what is only part of the compiler's run: build scripts and procedural macros.
TREE_OPTIONS = (
    "--package=lockgate-python",
    "--edges=normal,no-proc-macro",
    "--prefix=none",
    "--format={p}",
)
FILE_NAMES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")
SOURCES = (".rs", ".c", ".h", ".py", ".sh")


@dataclass(frozen=True, order=True)
class Crate:
    """A crate of another project: its licence as an SPDX expression, and its folder."""

    name: str
    version: str
    licence: str
    repository: str
    folder: Path

    @property
    def title(self) -> str:
        return f"{self.name} {self.version} ({self.licence})"


def linked_crates(tree: Path, triple: str) -> list[Crate]:
    """The crates of other projects that are in the extension module for `triple`."""
    # `metadata` knows licences and folders, but lists what no chosen feature needs.
    used = cargo(tree, "tree", *TREE_OPTIONS, f"--target={triple}")
    return crates_of(json.loads(cargo(tree, "metadata", "--format-version=1")), used)


def cargo(tree: Path, *words: str) -> str:
    """What a command of cargo prints about the sources in `tree`."""
    command = ["cargo", words[0], "--locked", *words[1:]]
    return subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout


def crates_of(metadata: dict, used: str) -> list[Crate]:
    """The crates of other projects in the output of `cargo tree`, described by `cargo metadata`."""
    lines = (line.split() for line in used.splitlines())
    # A third word is the folder of one of Lockgate's own crates.
    wanted = {(words[0], words[1].removeprefix("v")) for words in lines if len(words) == 2}
    return sorted(
        Crate(
            package["name"],
            package["version"],
            # An old form of "or".
            (package["license"] or "see its text").replace("/", " OR "),
            package["repository"] or "",
            Path(package["manifest_path"]).parent,
        )
        for package in metadata["packages"]
        if (package["name"], package["version"]) in wanted
    )


def texts_of(crate: Crate) -> list[str]:
    """The licence files of a crate, and of the C sources that it contains."""
    files = sorted(
        file
        for depth in ("*", "*/*")
        for file in crate.folder.glob(depth)
        if file.is_file() and names_a_licence(file.name)
    )
    return list(dict.fromkeys(file.read_text("utf-8", "replace").strip() for file in files))


def names_a_licence(file_name: str) -> bool:
    return file_name.upper().startswith(FILE_NAMES) and not file_name.endswith(SOURCES)


def document(crates: list[Crate], rust_version: str) -> str:
    """The text of the file: all crates, then each licence text once with those that have it."""
    users: dict[str, list[str]] = defaultdict(list)
    without: list[Crate] = []
    for crate in crates:
        texts = texts_of(crate)
        for text in texts:
            users[text].append(crate.title)
        if not texts:
            without.append(crate)
    lines = [
        "Lockgate's extension module contains the works below, each under its own licence.",
        "Where a licence leaves a choice that includes Apache-2.0, that is the one chosen.",
        "",
        f"The Rust standard library {rust_version} (MIT OR Apache-2.0), https://www.rust-lang.org",
        *(f"{crate.title} {crate.repository}".rstrip() for crate in crates),
    ]
    if without:
        lines += [
            "",
            "The packages of these have no licence file; their metadata names the licence:",
        ]
        lines += [crate.title for crate in without]
    for text, names in sorted(users.items(), key=lambda item: item[1]):
        lines += ["", "=" * 78, *names, "-" * 78, text]
    return "\n".join(lines) + "\n"
