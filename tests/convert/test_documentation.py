"""The documentation of `lockgate convert` says what its data says.

`python tests/convert/test_documentation.py` writes the reference of uWSGI's options again.
"""

import json
import re
from importlib import resources
from pathlib import Path

from lockgate.convert.settings import SECTIONS, TABLES
from lockgate.convert.uwsgi import options

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDE = DOCS / "from-uwsgi.md"
PAGE = DOCS / "reference" / "uwsgi.md"


def page():
    """The reference of the options that no setting stands for."""
    data = json.loads(
        resources.files("lockgate.convert.uwsgi").joinpath("options.json").read_text()
    )
    lines = [
        "<!-- Generated from python/lockgate/convert/uwsgi/options.json. Do not edit. -->",
        "",
        "# Options of uWSGI without a setting",
        "",
        "What `lockgate convert` says about the options of uWSGI that become no setting.",
        "[Moving from uWSGI](../from-uwsgi.md#the-map) has the others.",
        f"They are the {data['source']}.",
    ]
    for outcome in ("not supported", "not needed"):
        lines += ["", f"## {outcome.capitalize()}", "", "| options | advice |", "| --- | --- |"]
        for group in sorted(data["groups"], key=lambda group: group["title"].lower()):
            if group["outcome"] == outcome:
                names = ", ".join(f"`{name}`" for name in group["options"].split())
                lines.append(f"| **{group['title']}**: {names} | {group['advice']} |")
    return "\n".join(lines) + "\n"


def rows():
    """First and second column of the map."""
    text = GUIDE.read_text().partition("## The map")[2].partition("\n## ")[0]
    for line in text.splitlines():
        if line.startswith("| `"):
            _, names, settings, *_ = re.split(r"\s*\|\s*", line)
            yield re.findall(r"`([^`]+)`", names), re.findall(r"`([^`]+)`", settings)


def test_the_map_has_every_option_that_becomes_a_setting():
    names = [name for options_of_row, _ in rows() for name in options_of_row]
    assert len(names) == len(set(names))
    assert set(names) == set(options.names().mapped)


def test_the_map_names_settings_that_exist():
    known = {name for names in SECTIONS.values() for name in names} | set(TABLES)
    reference = (DOCS / "reference" / "settings.md").read_text()
    for _, settings in rows():
        for name in settings:
            assert name in known
            assert f"### `{name}`" in reference


def test_every_setting_that_a_conversion_may_write_exists():
    reference = (DOCS / "reference" / "settings.md").read_text()
    names = [*TABLES, *(name for names in SECTIONS.values() for name in names)]
    assert [name for name in names if f"### `{name}`" not in reference] == []


def test_the_reference_of_options_is_up_to_date():
    assert PAGE.read_text() == page()


if __name__ == "__main__":
    PAGE.write_text(page())
