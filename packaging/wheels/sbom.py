"""The bill of materials that maturin writes, without what depends on the machine and the moment."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection
from pathlib import Path

from wheels.licences import Crate


def normalised(text: str, crates: Collection[Crate], tree: Path, epoch: int) -> str:
    """A CycloneDX bill of what is linked: `crates` and Lockgate's own, of the sources in `tree`.

    maturin lists the crates of all platforms, gives each bill a random serial number and the time
    of the build, and names the folder of the sources.
    """
    bill = json.loads(text.replace(f"file://{tree}/", "file:///lockgate/"))
    linked = {(crate.name, crate.version) for crate in crates}
    bill["components"] = [
        part
        for part in bill["components"]
        if is_own(part) or (part["name"], part["version"]) in linked
    ]
    known = {part["bom-ref"] for part in bill["components"]}
    known.add(bill["metadata"]["component"]["bom-ref"])
    bill["dependencies"] = [
        {**row, "dependsOn": [name for name in row["dependsOn"] if name in known]}
        if "dependsOn" in row
        else row
        for row in bill["dependencies"]
        if row["ref"] in known
    ]
    bill["metadata"].pop("properties", None)
    bill["metadata"]["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    bill.pop("serialNumber", None)
    content = json.dumps(bill, indent=2)
    # RFC 9562: a name in a name space; the same content has the same number.
    bill["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, content).urn
    return json.dumps(bill, indent=2) + "\n"


def is_own(part: dict) -> bool:
    return part["bom-ref"].startswith("path+file:")
