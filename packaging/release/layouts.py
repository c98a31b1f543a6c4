"""The layouts of shared memory, whose versions must rise when what the words mean changes.

An upgrade in place takes over memory whose layout has the same version (docs/decisions/0079). So a
release stops when the sources of a layout have changed since the release before, and its version
has not. The maintainer reads the changes, and raises the version or names the layout.
"""

from __future__ import annotations

import re

from release.repository import Repository

#: Declares the versions.
DECLARED = "crates/lockgate-supervisor/src/handover/memories.rs"
LOG = ["lockgate-shm/src/log", "lockgate-shm/src/log.rs", "lockgate-shm/src/hash.rs"]
HISTORY = [f"lockgate-history/src/{name}.rs" for name in ("record", "bytes", "frames")]
#: What decides on the words of each, below crates/.
SOURCES = {
    "scoreboard": ["lockgate-observe/src/scoreboard", "lockgate-observe/src/scoreboard.rs"],
    "certificates": [
        "lockgate-tls/src/board.rs",
        "lockgate-tls/src/material.rs",
        "lockgate-tls/src/ticket_keys.rs",
    ],
    "store": [
        "lockgate-shm/src/store.rs",
        "lockgate-shm/src/table",
        "lockgate-shm/src/table.rs",
        "lockgate-shm/src/lock.rs",
        "lockgate-shm/src/hash.rs",
    ],
    "broadcast-log": [*LOG, "lockgate-push/src/message", "lockgate-push/src/message.rs"],
    "responses": [
        "lockgate-shm/src/responses",
        "lockgate-shm/src/responses.rs",
        "lockgate-cache/src/meta.rs",
        "lockgate-cache/src/key.rs",
    ],
    "purge-log": [*LOG, "lockgate-cache/src/purge.rs"],
    "rates": ["lockgate-shm/src/rates", "lockgate-shm/src/rates.rs"],
    "span-log": [*LOG, "lockgate-observe/src/spans", "lockgate-observe/src/spans.rs"],
    "line-log": [*LOG, "lockgate-observe/src/log_line.rs"],
    "history": [
        *LOG,
        *HISTORY,
        *(f"lockgate-history/src/{name}.rs" for name in ("point", "paths", "slow")),
    ],
    "events": [*LOG, *HISTORY, "lockgate-history/src/event.rs"],
    "failures": [*LOG, *HISTORY, "lockgate-history/src/failure.rs"],
}


def versions(source: str) -> dict[str, str]:
    """The version of each layout in the text of `DECLARED`; empty if it declares none."""
    declared = re.search(r'static LAYOUTS: &str = "\\\n([^"]+)"', source)
    lines = declared[1].splitlines() if declared else []
    return dict(line.split(" ") for line in lines)


def unraised(repository: Repository, before: str) -> dict[str, list[str]]:
    """The layouts with the version that they had at `before`, and their sources that changed."""
    if not repository.succeeds("git", "cat-file", "-e", f"{before}:{DECLARED}"):
        return {}
    earlier = versions(repository.ask("git", "show", f"{before}:{DECLARED}"))
    found = {}
    for name, version in versions(repository.read(DECLARED)).items():
        if earlier.get(name) != version:
            continue
        places = [f"crates/{place}" for place in SOURCES.get(name, [])]
        names = ["git", "diff", "--name-only", before, "HEAD", "--", *places]
        changed = repository.ask(*names).splitlines()
        changed = [path for path in changed if not path.endswith(("/tests.rs", "/loom_model.rs"))]
        if changed:
            found[name] = changed
    return found
