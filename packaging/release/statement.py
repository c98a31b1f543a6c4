"""The provenance of files, as an in-toto statement with the predicate of SLSA.

The statement of a build on a developer's machine is not signed, and says so: it helps to compare
two builds. What users verify is made by the workflow of the forge, with its identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
REPOSITORY = "https://github.com/lockgate/lockgate"
BUILD_TYPE = f"{REPOSITORY}/blob/main/docs/releasing.md"


def sums(files: list[Path]) -> dict[str, str]:
    """The SHA-256 of files by their names, in the order of the names."""
    named = sorted(files, key=lambda file: file.name)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in named}


def as_sha256sums(sums: Mapping[str, str]) -> str:
    """The lines of a file SHA256SUMS, as sha256sum(1) reads them."""
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def provenance(
    sums: Mapping[str, str], commit: str, version: str, tools: Mapping[str, str]
) -> dict[str, Any]:
    """The statement. `tools` has the version of each tool that decides on the bytes."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sums.items()],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"command": f"make release VERSION={version}"},
                "internalParameters": {"tools": dict(tools)},
                "resolvedDependencies": [
                    {"uri": f"git+{REPOSITORY}", "digest": {"gitCommit": commit}}
                ],
            },
            "runDetails": {
                "builder": {"id": f"{REPOSITORY}#a-developers-machine-unsigned"},
            },
        },
    }
