"""Servers of version control, which call write() while their bodies are iterated over."""

import io
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from harness.requirements import require_module, require_program


def run(*command, at, **environment):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=at,
        env={
            **os.environ,
            "HOME": str(at),
            "HGRCPATH": "",
            "GIT_TERMINAL_PROMPT": "0",
            **environment,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout.strip()


@pytest.mark.parametrize("post_buffer", ["65536", "104857600"], ids=["chunked", "one body"])
def test_git_pushes_and_clones_over_dulwich(start, tmp_path, post_buffer):
    require_module("dulwich")
    program = require_program("git", package="git")
    settings = {
        "user.name": "t",
        "user.email": "t@example.test",
        "init.defaultBranch": "main",
        "http.postBuffer": post_buffer,
    }

    def git(*arguments, at):
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        return run(program, *options, *arguments, at=at)

    root, work = tmp_path / "root", tmp_path / "work"
    root.mkdir()
    work.mkdir()
    git("init", "-q", "--bare", "served.git", at=root)
    server = start("dulwich_app:app", "--threads", "4", environment={"ROOT": str(root)})
    url = f"{server.url}/served.git"
    git("init", "-q", at=work)
    for number in range(50):
        (work / f"file-{number}").write_text(f"{number}\n")
    (work / "large").write_bytes(random.Random(1).randbytes(3_000_000))
    git("add", ".", at=work)
    git("commit", "-qm", "one", at=work)
    git("push", "-q", url, "main", at=work)
    assert git("ls-remote", url, "refs/heads/main", at=work).split()[0] == git(
        "rev-parse", "HEAD", at=work
    )
    git("clone", "-q", "--branch", "main", url, tmp_path / "clone", at=tmp_path)
    git("fsck", "--full", at=tmp_path / "clone")
    assert (tmp_path / "clone" / "large").read_bytes() == (work / "large").read_bytes()
    (work / "file-0").write_text("changed\n")
    git("commit", "-qam", "two", at=work)
    git("push", "-q", url, "main", at=work)
    git("pull", "-q", url, "main", at=tmp_path / "clone")
    assert (tmp_path / "clone" / "file-0").read_text() == "changed\n"
    assert "Traceback" not in server.errors


def test_mercurial_archives_and_clones_over_hgweb(start, tmp_path):
    require_module("mercurial")
    hg = Path(sys.executable).with_name("hg")
    served = tmp_path / "served"
    run(sys.executable, hg, "init", served, at=tmp_path)
    (served / "small").write_text("small\n")
    (served / "large").write_bytes(random.Random(2).randbytes(2_000_000))
    run(sys.executable, hg, "commit", "-A", "-q", "-u", "t", "-m", "one", at=served)
    configuration = "[web]\nallow-archive = gz, zip, bz2\npush_ssl = false\nallow-push = *\n"
    (served / ".hg" / "hgrc").write_text(configuration)
    environment = {"ROOT": str(served), "HGRCPATH": ""}
    server = start("hgweb_app:app", "--threads", "4", environment=environment)
    for kind in ("tar.gz", "tar.bz2"):
        response = server.get(f"/archive/tip.{kind}")
        assert response.status == 200
        with tarfile.open(fileobj=io.BytesIO(response.body)) as archive:
            contents = {
                Path(member.name).name: archive.extractfile(member).read() for member in archive
            }
        assert contents["small"] == b"small\n"
        assert contents["large"] == (served / "large").read_bytes()
    with zipfile.ZipFile(io.BytesIO(server.get("/archive/tip.zip").body)) as archive:
        assert archive.testzip() is None
        assert any(name.endswith("/large") for name in archive.namelist())
    clone = tmp_path / "clone"
    run(sys.executable, hg, "clone", "-q", server.url, clone, at=tmp_path)
    (clone / "small").write_text("changed\n")
    run(sys.executable, hg, "commit", "-q", "-u", "t", "-m", "two", at=clone)
    run(sys.executable, hg, "push", "-q", server.url, at=clone)
    assert run(sys.executable, hg, "log", "-r", "tip", "-T", "{desc}", at=served) == "two"
    assert "Traceback" not in server.errors
