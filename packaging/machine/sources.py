"""Sources that Debian packages, without Debian's changes: a tarball in a folder, or one of apt."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .roots import Unavailable


@dataclass(frozen=True)
class Source:
    # The source package, such as python3.13.
    package: str
    # The release of Debian that has it, for apt.
    suite: str
    # Instead of Debian's.
    tarball: Path | None = None

    @property
    def origin(self) -> str:
        return self.tarball.name if self.tarball else self.suite

    def collect(self, directory: Path, debian: Path) -> None:
        """Puts the tarball into `directory`; apt uses the mirror of the root `debian`."""
        if self.tarball:
            shutil.copy(self.tarball, directory)
        else:
            _download(self.package, self.suite, directory, debian)


def find(package: str, suite: str | None, directory: Path | None) -> Source:
    """The newest tarball in `directory`, of Debian or of upstream, or else that of `suite`."""
    upstream = package.replace("python", "Python-")
    found = [
        path
        for pattern in (f"{package}_*.orig.tar.*", f"{upstream}[-.]*.tar.*")
        for path in (directory.glob(pattern) if directory else ())
        # A signature lies beside some.
        if path.suffix != ".asc"
    ]
    if not found and suite is None:
        raise Unavailable(f"no release of Debian has the sources of {package}{_advice(package)}")
    newest = max(found, key=_version, default=None)
    return Source(package, suite or "", newest)


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


def _advice(package: str) -> str:
    upstream = package.replace("python", "Python-")
    return f": --sources names a folder with {upstream}.x.tar.xz or {package}_x.orig.tar.xz"


def _download(package: str, suite: str, directory: Path, debian: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="apt-") as scratch:
        # The first line is that of the archive itself, with options such as trusted=yes.
        words = (debian / "etc/apt/sources.list").read_text("utf-8").splitlines()[0].split()
        words[0] = "deb-src"
        words[-2] = suite
        (Path(scratch) / "sources.list").write_text(" ".join(words) + "\n", "utf-8")
        for name in ("lists", "cache/archives"):
            (Path(scratch) / name / "partial").mkdir(parents=True)
        apt = ["apt-get", "--quiet", "--quiet"]
        for option in (
            f"Dir::Etc::SourceList={scratch}/sources.list",
            "Dir::Etc::SourceParts=-",
            f"Dir::State::Lists={scratch}/lists",
            f"Dir::Cache={scratch}/cache",
            # The mirror of a frozen archive has release files that have expired.
            "Acquire::Check-Valid-Until=false",
            # Its user cannot write here.
            "APT::Sandbox::User=root",
        ):
            apt += ["-o", option]
        for command in (["update"], ["source", "--download-only", "--tar-only", package]):
            done = subprocess.run(
                [*apt, *command], cwd=directory, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                last = "\n".join(done.stderr.strip().splitlines()[-2:])
                raise Unavailable(
                    f"apt has no sources of {package} in {suite}: {last}{_advice(package)}"
                )
