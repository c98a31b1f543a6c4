"""What `make race` would run, without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from races.__main__ import OPTIONS, TESTS, TREE, settings


@pytest.mark.parametrize(("is_complete", "linker"), [(True, False), (False, True)])
def test_the_runtime_is_that_of_clang_where_rustc_has_none(is_complete: bool, linker: bool) -> None:
    flags = settings(is_complete)["RUSTFLAGS"]
    assert "-Zsanitizer=thread" in flags
    assert ("clang" in flags) == linker


def test_every_test_and_the_suppressions_exist() -> None:
    folder = TREE / "crates" / "lockgate-worker" / "tests"
    assert all((folder / f"{test}.rs").exists() for test in TESTS)
    suppressions = OPTIONS.partition("suppressions=")[2].partition(":")[0]
    assert Path(suppressions).read_text().startswith("#")
