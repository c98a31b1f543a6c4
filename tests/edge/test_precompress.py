"""`lockgate precompress`: which files get copies, and what becomes of old copies."""

import os
import pty
import subprocess
import sys

import pytest
from harness.codings import DECODE

SUFFIXES = {".gz": "gzip", ".br": "br", ".zst": "zstd"}
TEXT = b"".join(b".class-%d { color: red }\n" % number for number in range(500))


def precompress(*arguments, code=0):
    command = [sys.executable, "-m", "lockgate", "precompress", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done
    return done


def names(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*.*"))


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "static"
    (directory / "deep" / "er").mkdir(parents=True)
    (directory / "deep" / "er" / "app.css").write_bytes(TEXT)
    return directory


def test_copies_are_what_the_reference_tools_decode(directory):
    source = directory / "deep" / "er" / "app.css"
    source.chmod(0o640)
    os.utime(source, ns=(1_700_000_000_123_456_789, 1_700_000_000_987_654_321))
    done = precompress(directory)
    assert "1 file with" in done.stdout and "3 copies written, 0 up to date" in done.stdout
    assert done.stderr == ""
    for suffix, coding in SUFFIXES.items():
        sidecar = source.with_name(f"app.css{suffix}")
        assert DECODE[coding](sidecar.read_bytes()) == TEXT
        status = sidecar.stat()
        assert status.st_mtime_ns == source.stat().st_mtime_ns
        assert status.st_mode & 0o7777 == 0o640
    assert len(names(directory)) == 4


def test_only_what_has_changed_is_compressed_again(directory):
    source = directory / "deep" / "er" / "app.css"
    precompress(directory)
    assert "0 copies written, 3 up to date" in precompress(directory).stdout
    assert "3 copies written" in precompress("--force", directory).stdout
    source.write_bytes(TEXT[::-1])
    os.utime(source, ns=(0, source.stat().st_mtime_ns - 10**12))
    assert "3 copies written, 0 up to date" in precompress(directory).stdout
    assert DECODE["br"](source.with_name("app.css.br").read_bytes()) == TEXT[::-1]


def test_copies_without_use_are_removed(directory):
    source = directory / "deep" / "er" / "app.css"
    for content in [b"small", os.urandom(5000)]:
        source.write_bytes(TEXT)
        precompress(directory)
        source.write_bytes(content)
        assert "3 removed" in precompress(directory).stdout
        assert names(directory) == ["deep/er/app.css"]


def test_other_files_are_left_alone(directory, tmp_path):
    for name in ["photo.JPEG", "font.woff2", "data.tar.gz", ".hidden.css", "archive.zip"]:
        (directory / name).write_bytes(TEXT)
    (directory / ".git").mkdir()
    (directory / ".git" / "config.txt").write_bytes(TEXT)
    (tmp_path / "secret.txt").write_bytes(TEXT)
    (directory / "outside.txt").symlink_to(tmp_path / "secret.txt")
    (directory / "inside.css").symlink_to(directory / "deep" / "er" / "app.css")
    os.mkfifo(directory / "fifo.css")
    before = set(names(directory))
    precompress("--formats", "br", directory)
    assert set(names(directory)) - before == {"deep/er/app.css.br", "inside.css.br"}


def test_mistakes_and_failures_are_reported(directory, tmp_path):
    for arguments in [
        [],
        [directory / "none"],
        ["--formats", "lz4", directory],
        ["-j0", directory],
    ]:
        stderr = precompress(*arguments, code=2).stderr
        assert stderr.startswith("lockgate: precompress: ") and "lockgate precompress -h" in stderr
    (directory / "deep" / "er" / "app.css.br").mkdir()
    done = precompress(directory, code=1)
    assert "cannot compress" in done.stderr and "app.css" in done.stderr
    assert "2 copies written" in done.stdout and "1 failed" in done.stdout
    assert not any("lockgate-precompress" in name for name in names(directory))


def test_a_terminal_has_a_progress_bar(directory):
    for number in range(60):
        (directory / f"{number}.js").write_bytes(TEXT * 20)
    own, given = pty.openpty()
    command = [sys.executable, "-m", "lockgate", "precompress", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=given)
    os.close(given)
    shown = b""
    while True:
        try:
            shown += os.read(own, 4096)
        except OSError:
            break
    os.close(own)
    summary = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert b"of 183" in shown and b"#" in shown and shown.endswith(b"\r\x1b[K")
    assert b"183 copies written" in summary
