"""`python -m harness.pages PAGE…`: runs pages and prints what each block did."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harness.pages.page import run_page


def main(pages: list[str]) -> int:
    """Exits with 1 if a block has failed."""
    code = 0
    for page in pages:
        with tempfile.TemporaryDirectory(prefix="page-") as directory:
            outcomes = run_page(Path(page), Path(directory))
        for outcome in outcomes:
            print(
                f"{page}:{outcome.line}: {outcome.result} {outcome.name}"
                f" ({outcome.seconds} s) {outcome.message}"
            )
        code |= any(outcome.result == "failed" for outcome in outcomes)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
