"""README.md and every page of docs/ run: files, commands, output, configurations, code."""

import pytest
from harness.pages.blocks import blocks
from harness.pages.page import documents, run_page
from harness.pages.sandbox import ROOT, available, environment
from harness.requirements import missing

PAGES = documents()
# Each skipped block is one that a reader meets untested: with another one this number changes.
SKIPPED = 21


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_runs(page, tmp_path, record_property):
    if not blocks(page.read_text("utf-8")):
        return
    if reason := available():
        missing(reason)
    if not environment().exists():
        missing("the virtualenv of the pages has not been made: run `make test` or `make pages`")
    outcomes = run_page(page, tmp_path)
    for outcome in outcomes:
        place = f"{name_of(page)}:{outcome.line}"
        record_property("block", (outcome.result, place, outcome.message))
    failed = [outcome for outcome in outcomes if outcome.result == "failed"]
    if failed:
        place = f"{name_of(page)}:{failed[0].line}"
        pytest.fail(f"{place}: {failed[0].name}\n{failed[0].message}", pytrace=False)


def test_as_many_blocks_are_skipped_as_are_known():
    skipped = [
        f"{name_of(page)}:{block.line}: {block.properties['skip']}"
        for page in PAGES
        for block in blocks(page.read_text("utf-8"))
        if "skip" in block.properties
    ]
    assert len(skipped) == SKIPPED, "\n".join(skipped)
