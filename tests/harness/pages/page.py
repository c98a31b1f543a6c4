"""A page and its outcome, as a test sees them from outside of the sandbox."""

from __future__ import annotations

import json
from pathlib import Path

from harness.pages import sandbox
from harness.pages.run import Outcome

SECONDS = 110.0


def documents() -> list[Path]:
    """The pages that run: README.md, those of docs/ without decisions, and those of examples/."""
    root = sandbox.ROOT
    pages = [root / "README.md"]
    for pattern in ("docs/*.md", "docs/*/*.md", "examples/*/*.md"):
        pages += sorted(root.glob(pattern))
    return [page for page in pages if page.parent.name != "decisions"]


def run_page(page: Path, directory: Path) -> list[Outcome]:
    """Runs a page in its sandbox, with `directory` for its files."""
    written = sandbox.run(page.resolve(), directory, sandbox.environment(), SECONDS)
    report = directory / "outcomes.json"
    if not report.exists():
        return [Outcome(0, "page", "failed", f"the runner has failed:\n{written}")]
    return [Outcome(**entry) for entry in json.loads(report.read_text("utf-8"))]
