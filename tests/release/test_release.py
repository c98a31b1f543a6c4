"""`make release`, in a small repository with the commands that it calls."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / "packaging"

MANIFEST = """[workspace]
members = []

[workspace.package]
version = "0.1.0"
edition = "2024"

[workspace.dependencies]
other = { version = "0.1.0" }
"""
CHANGELOG = "# Changelog\n\nText.\n\n## 0.1.0\n\n- The first.\n"
MAKEFILE = """
VERSION := $(shell sed -n 's/^version = "\\(.*\\)"/\\1/p' Cargo.toml | sed 's/-rc\\./rc/')
wheels:
\tmkdir -p dist
\techo "$(WHEELS)" > dist/lockgate-$(VERSION)-cp313-cp313-manylinux_2_17_x86_64.whl
wheels-list:
\techo "cp313-manylinux-x86_64      rustc $(or $(OTHER_RUST),1.2.3) on PATH"
sdist:
\techo sources > dist/lockgate-$(VERSION).tar.gz
test-upgrade:
\tbasename "$(PREVIOUS)" >> calls
"""
CARGO = r"""#!/bin/sh -e
echo "cargo $*" >> calls
case "$*" in
--version) echo "cargo 1.2.3" ;;
*changelog*)
    for last; do :; done
    { sed '/^## /,$d' CHANGELOG.md; printf '## %s\n\n### Fixed\n\n' "$last"
      sed 's/^/- /' changes/*.md; printf '\n'; sed -n '/^## /,$p' CHANGELOG.md; } > new
    mv new CHANGELOG.md
    rm changes/*.md ;;
esac
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A clean clone of a repository, which is its upstream."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("cargo", CARGO), ("rustc", "#!/bin/sh\necho 'rustc 1.2.3'\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for key in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(key, raising=False)
    # The settings of the user, such as signed tags, do not count.
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (tmp_path / "gitconfig").write_text("[user]\nname = A\nemail = a@example.org\n")
    origin = tmp_path / "origin"
    for name, text in {
        "Cargo.toml": MANIFEST,
        "Cargo.lock": "",
        "fuzz/Cargo.lock": "",
        "CHANGELOG.md": CHANGELOG,
        "Makefile": MAKEFILE,
        ".ci/run": "echo ci >> calls\ntest ! -e broken\n",
        ".gitignore": "/target\n/dist\n/calls\n/broken\n",
        ".github/workflows/release.yml": 'env:\n  RUST: "1.2.3"\n',
        "changes/1-b.fixed.md": "# B works.\n",
    }.items():
        path = origin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(origin, "init", "--quiet", "--initial-branch=main")
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", "first")
    git(origin, "tag", "--annotate", "--message", "0.1.0", "v0.1.0")
    git(tmp_path, "clone", "--quiet", "origin", "clone")
    return tmp_path / "clone"


def git(directory, *arguments):
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=directory, check=True, capture_output=True, text=True
    ).stdout.strip()


def release(repository, *arguments):
    command = [sys.executable, "-m", "release", "--repository", str(repository), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def calls(repository):
    path = repository / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_a_release_is_committed_built_and_tagged_and_nothing_leaves_the_machine(
    repository, tmp_path
):
    previous = tmp_path / "lockgate-0.1.0-cp313-cp313-linux_x86_64.whl"
    previous.touch()
    done = release(repository, "0.2.0", "--previous", str(previous), "--wheels", "cp313-*")
    assert done.returncode == 0, done.stderr
    assert 'version = "0.2.0"\nedition' in (repository / "Cargo.toml").read_text()
    assert 'other = { version = "0.1.0" }' in (repository / "Cargo.toml").read_text()
    assert git(repository, "log", "-1", "--format=%s") == "release: 0.2.0"
    assert git(repository, "status", "--porcelain") == ""
    assert not list((repository / "changes").glob("*.md"))
    assert {"ci", previous.name} <= set(calls(repository))
    folder = repository / "target/release-of/0.2.0"
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", str(folder / "SHA256SUMS")],
        cwd=repository / "dist",
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0 and checked.stdout.count(": OK") == 2, checked
    statement = json.loads((folder / "provenance-unsigned.json").read_text())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    sums = (folder / "SHA256SUMS").read_text()
    assert all(f"{digest}  {name}\n" in sums for name, digest in subjects.items())
    definition = statement["predicate"]["buildDefinition"]
    head = git(repository, "rev-parse", "HEAD")
    assert definition["resolvedDependencies"][0]["digest"] == {"gitCommit": head}
    assert "unsigned" in statement["predicate"]["runDetails"]["builder"]["id"]
    tag = git(
        repository, "for-each-ref", "--format=%(objecttype)%0a%(contents)", "refs/tags/v0.2.0"
    )
    assert tag.startswith("tag\nLockgate 0.2.0\n\n### Fixed\n\n- # B works.\n\nSHA256SUMS:\n")
    assert tag.endswith(sums.rstrip())
    origin = repository.parent / "origin"
    assert git(origin, "tag") == "v0.1.0" and git(origin, "rev-list", "--count", "main") == "1"
    assert "git push origin main v0.2.0" in done.stdout


def test_the_first_release_has_the_version_and_the_changelog_that_are_there(repository):
    git(repository, "remote", "remove", "origin")
    git(repository, "tag", "--delete", "v0.1.0")
    done = release(repository, "0.1.0", "--wheels", "cp313-*")
    assert done.returncode == 1 and "changes/ has 1 sentences, such as 1-b.fixed.md" in done.stderr
    assert "ci" not in calls(repository)
    git(repository, "rm", "--quiet", "changes/1-b.fixed.md")
    git(repository, "commit", "--quiet", "--message", "changes: none before the first release")
    done = release(repository, "0.1.0", "--wheels", "cp313-*")
    assert done.returncode == 0, done.stderr
    assert git(repository, "log", "-1", "--format=%s") == "release: 0.1.0"
    assert git(repository, "rev-parse", "v0.1.0^{commit}") == git(repository, "rev-parse", "HEAD")
    assert "- The first." in git(repository, "tag", "--list", "--format=%(contents)", "v0.1.0")


def test_a_release_continues_where_it_has_stopped(repository):
    (repository / "broken").touch()
    failed = release(repository, "0.2.0")
    assert failed.returncode == 1 and "ci: bash .ci/run" in failed.stderr
    assert git(repository, "log", "-1", "--format=%s") == "first"
    (repository / "broken").unlink()
    assert release(repository, "0.2.0").returncode == 0
    assert calls(repository).count("ci") == 2
    git(repository, "tag", "--delete", "v0.2.0")
    (repository / "dist/lockgate-0.2.0.tar.gz").write_text("others\n")
    again = release(repository, "0.2.0")
    assert again.returncode == 0, again.stderr
    assert calls(repository).count("ci") == 2 and "(done before)" in again.stdout
    assert git(repository, "tag", "--list", "v0.2.0") == "v0.2.0"


def change(repository):
    (repository / "Makefile").write_text("")


def branch(repository):
    git(repository, "checkout", "--quiet", "-b", "topic")


def fall_behind(repository):
    git(repository.parent / "origin", "commit", "--quiet", "--allow-empty", "--message", "second")


def tag_another(repository):
    git(repository, "tag", "v0.2.0", "HEAD")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "second")


def choose_rust(repository):
    workflow = repository / ".github/workflows/release.yml"
    workflow.write_text('env:\n  RUST: "1.2.4"\n')
    git(repository, "commit", "--quiet", "--all", "--message", "second")


LAYOUTS = 'static LAYOUTS: &str = "\\\nscoreboard 1\nrates 1";\n'
DECLARED = "crates/lockgate-supervisor/src/handover/memories.rs"
RATES = "crates/lockgate-shm/src/rates.rs"


@pytest.mark.parametrize(
    "changed, declared, arguments, problem",
    [
        (RATES, LAYOUTS, [], f"rates: {RATES}\n"),
        (RATES, LAYOUTS.replace("scoreboard 1", "scoreboard 2"), [], f"rates: {RATES}\n"),
        (RATES, LAYOUTS.replace("rates 1", "rates 2"), [], None),
        (RATES, LAYOUTS, ["--same-layout", "rates"], None),
        ("crates/lockgate-shm/src/rates/tests.rs", LAYOUTS, [], None),
        ("README.md", LAYOUTS, [], None),
    ],
)
def test_a_layout_of_memory_that_has_changed_needs_another_version(
    repository, changed, declared, arguments, problem
):
    for name, text in ((DECLARED, LAYOUTS), (RATES, "1\n")):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "second")
    git(repository, "tag", "--annotate", "--message", "0.1.1", "v0.1.1")
    (repository / DECLARED).write_text(declared)
    (repository / changed).parent.mkdir(parents=True, exist_ok=True)
    (repository / changed).write_text("2\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "third")
    done = release(repository, "0.2.0", *arguments)
    if problem is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 1 and problem in done.stderr, done.stderr
        assert "ci" not in calls(repository)


def test_every_layout_has_sources_that_exist():
    declared = re.search(r'LAYOUTS: &str = "\\\n([^"]+)"', (REPOSITORY / DECLARED).read_text())
    table = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json, release.layouts; print(json.dumps(release.layouts.SOURCES))",
        ],
        env={**os.environ, "PYTHONPATH": str(PROGRAM)},
        capture_output=True,
        text=True,
        check=True,
    )
    sources = json.loads(table.stdout)
    assert list(sources) == [line.split(" ")[0] for line in declared[1].splitlines()]
    for place in {place for places in sources.values() for place in places}:
        assert (REPOSITORY / "crates" / place).exists(), place


def nothing(repository):
    """As it is."""


@pytest.mark.parametrize(
    "prepare, arguments, problem",
    [
        (change, ["0.2.0"], "tree: the tree has changes"),
        (branch, ["0.2.0"], "this is branch topic"),
        (fall_behind, ["0.2.0"], "main is behind its upstream"),
        (tag_another, ["0.2.0"], "tag v0.2.0 names another commit"),
        (choose_rust, ["0.2.0"], "builds with 1.2.4: rustup default 1.2.4"),
        (nothing, ["0.1.0"], "VERSION=0.1.0 is not after 0.1.0, the version in Cargo.toml"),
        (nothing, ["0.1.0rc1"], "VERSION=0.1.0rc1 is not after 0.1.0"),
        (nothing, ["0.2"], "VERSION=0.2: a version looks like 1.2.3 or 1.2.3rc1"),
        (nothing, ["0.2.0", "--previous", "none.whl"], "there is no such wheel"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:20],
)
def test_a_release_that_cannot_be_is_refused_with_the_reason(
    repository, prepare, arguments, problem
):
    prepare(repository)
    refused = release(repository, *arguments)
    assert refused.returncode == 1
    assert problem in refused.stderr
    assert git(repository.parent / "origin", "tag") == "v0.1.0"


def test_a_wheel_of_another_rust_is_refused(repository, monkeypatch):
    monkeypatch.setenv("OTHER_RUST", "1.2.4")
    refused = release(repository, "0.2.0")
    assert refused.returncode == 1
    assert "1 wheels would not be built by the Rust of .github/workflows" in refused.stderr
    assert not (repository / "dist").exists()


def test_a_release_candidate_has_the_form_of_cargo_and_of_pypi(repository):
    assert release(repository, "0.2.0rc1").returncode == 0
    assert 'version = "0.2.0-rc.1"' in (repository / "Cargo.toml").read_text()
    assert (repository / "dist/lockgate-0.2.0rc1.tar.gz").exists()
    (repository / "changes").mkdir(exist_ok=True)
    (repository / "changes/2-c.fixed.md").write_text("C works.\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "second")
    assert release(repository, "0.2.0").returncode == 0
    assert git(repository, "tag", "--list").split() == ["v0.1.0", "v0.2.0", "v0.2.0rc1"]


def test_a_rehearsal_shows_the_release_and_changes_nothing(repository):
    head = git(repository, "rev-parse", "HEAD")
    shown = release(repository, "0.2.0", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "- # B works." in shown.stdout and "release: 0.2.0" in shown.stdout
    assert "ci" not in calls(repository)
    assert git(repository, "rev-parse", "HEAD") == head
    assert git(repository, "status", "--porcelain") == "" and git(repository, "tag") == "v0.1.0"
