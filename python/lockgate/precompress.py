"""The command `lockgate precompress`: compressed copies beside static files (sidecars)."""

from __future__ import annotations

import argparse
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lockgate._lockgate import compress
from lockgate.arguments import Parser, whole_number
from lockgate.progress import Bar

DESCRIPTION = """\
Writes compressed copies of the files in DIR beside them, for the static files of Lockgate, nginx
(gzip_static), Caddy (precompressed) and others: app.js.br, app.js.zst and app.js.gz. Each is
compressed as well as its format allows. A copy has the modification time and the permissions of its
file; one that is up to date stays as it is, and one that has no use any more is removed. Run it
when the files have changed, such as after collectstatic."""

#: Suffixes and names of the codings, in the order of the summary.
CODINGS = {".br": "br", ".zst": "zstd", ".gz": "gzip"}

#: Formats that are compressed already. Others are tried, and kept if they become smaller.
COMPRESSED = frozenset(
    """
    3gp 3gpp 7z aac apk asf avi avif br bz2 cab crx deb dmg docx epub flac flv gif gz heic jar jpeg
    jpg jxl lz4 lzma m4a m4v mkv mov mp3 mp4 mpeg mpg odp ods odt oga ogg ogv opus pdf png pptx rar
    rpm swf tbz tgz txz vsix weba webm webp wheel whl wma wmv woff woff2 xapk xlsx xpi xz zip zst
    """.split()
)

#: A copy that saves less is not worth its place, as in WhiteNoise.
LARGEST_PART = 0.95

TEMPORARY = ".lockgate-precompress-"


@dataclass(frozen=True)
class Source:
    """A file as it was found."""

    path: Path
    status: os.stat_result

    def sidecar(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)


@dataclass
class Totals:
    """What was done, for the summary."""

    files: int = 0
    size: int = 0
    written: int = 0
    current: int = 0
    removed: int = 0
    #: By suffix: bytes of the copies, and of the files that have one.
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome) -> None:
        self.written += outcome.kind == "written"
        self.current += outcome.kind == "current"
        self.removed += outcome.kind == "removed"
        if outcome.size:
            size, of = self.sizes.get(outcome.suffix, (0, 0))
            self.sizes[outcome.suffix] = (size + outcome.size, of + outcome.of)

    def summary(self, seconds: float) -> str:
        noun = "file" if self.files == 1 else "files"
        parts = [f"{self.files} {noun} with {readable(self.size)}"]
        for suffix in CODINGS:
            size, of = self.sizes.get(suffix, (0, 0))
            if size:
                parts.append(f"{CODINGS[suffix]} {readable(size)} ({100 * size / of:.0f} %)")
        done = f"{self.written} copies written, {self.current} up to date, {self.removed} removed"
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"{', '.join(parts)}: {done}{failed}, in {seconds:.1f} s"


@dataclass(frozen=True)
class Outcome:
    """What became of one copy."""

    kind: str  # written, current, removed, or useless: there was none and there is none
    suffix: str
    #: Bytes of the copy, if there is one, and of its file.
    size: int = 0
    of: int = 0


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    began = time.monotonic()
    totals = Totals()
    work = []
    for source in find(options.directories, options.min_size, totals):
        totals.files += 1
        totals.size += source.status.st_size
        work += [(source, suffix) for suffix in options.formats]
    # Large files first: otherwise one of them could be left at the end, on one core.
    work.sort(key=lambda pair: -pair[0].status.st_size)
    with ThreadPoolExecutor(max_workers=options.jobs or cores()) as pool:
        futures = {
            pool.submit(precompress, source, suffix, options.force): source
            for source, suffix in work
        }
        try:
            collect(futures, totals, Bar(len(work), options.quiet))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            print("lockgate: interrupted; complete copies stay", file=sys.stderr)
            return 130
    for failure in totals.failures:
        print(f"lockgate: {failure}", file=sys.stderr)
    if not options.quiet:
        print(totals.summary(time.monotonic() - began))
    return 1 if totals.failures else 0


def parser() -> Parser:
    parser = Parser(
        "lockgate precompress",
        DESCRIPTION,
        examples={
            "lockgate precompress static": "all copies of the files in static and below",
            "lockgate precompress --formats br,gz -j 2 assets media": "without zstd, on two cores",
        },
        exit_codes={
            0: "done",
            1: "some files could not be compressed",
            2: "wrong use of this command",
        },
    )
    parser.add_argument(
        "directories", nargs="+", metavar="DIR", type=directory, help="searched with all below it"
    )
    parser.add_argument(
        "--formats",
        type=formats,
        default=list(CODINGS),
        metavar="LIST",
        help="which copies to write, by their suffixes (default: br,zst,gz)",
    )
    parser.add_argument(
        "--min-size",
        type=whole_number(0),
        default=1024,
        metavar="BYTES",
        help="smaller files have no copies",
    )
    parser.add_argument(
        "-j",
        "--jobs",
        type=whole_number(1),
        metavar="N",
        help="threads (default: all cores)",
    )
    parser.add_argument(
        "-f", "--force", action="store_true", help="write copies that are up to date, too"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    return parser


def directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a directory")
    return path


def formats(text: str) -> list[str]:
    suffixes = [f".{name.strip().lstrip('.')}" for name in text.split(",")]
    for suffix in suffixes:
        if suffix not in CODINGS:
            raise argparse.ArgumentTypeError(f"{suffix[1:]} is none of br, zst and gz")
    return suffixes


def cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def find(directories: Iterable[Path], min_size: int, totals: Totals) -> Iterator[Source]:
    """The files that may have copies. Copies of files that have become too small are removed."""
    for root in directories:
        real_root = os.path.realpath(root)
        for folder, names, files in os.walk(root, onerror=lambda e: note(totals, e)):
            # The server does not serve what begins with a dot.
            names[:] = sorted(name for name in names if not name.startswith("."))
            for name in sorted(files):
                path = Path(folder, name)
                if name.startswith(TEMPORARY):
                    remove_abandoned(path)
                if name.startswith(".") or is_compressed(name):
                    continue
                try:
                    status = path.stat()
                except OSError as error:
                    note(totals, error)
                    continue
                inside = not path.is_symlink() or is_inside(path, real_root)
                if not stat.S_ISREG(status.st_mode) or not inside:
                    continue
                source = Source(path, status)
                if status.st_size >= min_size:
                    yield source
                else:
                    for suffix in CODINGS:
                        totals.count(remove(source, suffix))


def is_compressed(name: str) -> bool:
    return name.rpartition(".")[2].lower() in COMPRESSED


def is_inside(path: Path, root: str) -> bool:
    return os.path.realpath(path).startswith(root + os.sep)


def remove_abandoned(path: Path) -> None:
    """Removes what an earlier run has left that was killed."""
    with suppress(OSError):
        if time.time() - path.lstat().st_mtime > 3600:
            path.unlink()


def note(totals: Totals, error: OSError) -> None:
    totals.failures.append(f"cannot read {error.filename}: {error.strerror}")


def precompress(source: Source, suffix: str, force: bool) -> Outcome:
    """Brings one copy of a file up to date."""
    sidecar, status = source.sidecar(suffix), source.status
    with suppress(OSError):
        found = sidecar.stat()
        if found.st_mtime_ns == status.st_mtime_ns and not force:
            return Outcome("current", suffix, found.st_size, status.st_size)
    content = source.path.read_bytes()
    compressed = compress(CODINGS[suffix], content)
    after = source.path.stat()
    if (after.st_mtime_ns, after.st_size) != (status.st_mtime_ns, len(content)):
        raise OSError(0, "it has changed meanwhile", str(source.path))
    if len(compressed) > LARGEST_PART * len(content):
        return remove(source, suffix)
    write(sidecar, compressed, status)
    return Outcome("written", suffix, len(compressed), len(content))


def remove(source: Source, suffix: str) -> Outcome:
    try:
        source.sidecar(suffix).unlink()
    except FileNotFoundError:
        return Outcome("useless", suffix)
    return Outcome("removed", suffix)


def write(sidecar: Path, content: bytes, status: os.stat_result) -> None:
    """Writes a copy, which appears at once and has the time, permissions and owner of its file."""
    temporary = sidecar.with_name(f"{TEMPORARY}{os.getpid()}-{sidecar.name}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            with suppress(OSError):
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode) & 0o777)
            os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        os.replace(temporary, sidecar)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def collect(futures: dict[Future[Outcome], Source], totals: Totals, progress: Bar) -> None:
    try:
        for future in as_completed(futures):
            try:
                totals.count(future.result())
            except OSError as error:
                path = futures[future].path
                totals.failures.append(f"cannot compress {path}: {error.strerror or error}")
            progress.advance()
    finally:
        progress.clear()


def readable(size: int) -> str:
    if size < 1 << 20:
        return f"{size / (1 << 10):.1f} KiB"
    return f"{size / (1 << 20):.1f} MiB"
