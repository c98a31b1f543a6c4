"""The setting `static` under construction: a table for each path."""

from __future__ import annotations

from lockgate.convert.conversion import Conversion
from lockgate.convert.option import Option
from lockgate.convert.report import Outcome
from lockgate.convert.settings import Table

A_YEAR = 31_536_000


def add_mount(conversion: Conversion, option: Option, table: Table, detail: str) -> None:
    """Adds a path with its directory; a path that is there already gets a further directory."""
    tables = mounts(conversion)
    for other in tables:
        if other["path"] == table["path"]:
            other["dirs"] = [*other.pop("dirs", [other.pop("dir", "")]), table["dir"]]
            conversion.put(
                option, Outcome.MAPPED, "static", tables, "a further directory of its path"
            )
            return
    conversion.add(option, "static", table, detail)


def mounts(conversion: Conversion) -> list[Table]:
    tables = conversion.settings.value("static") or []
    assert isinstance(tables, list)
    return tables
