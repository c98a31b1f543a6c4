"""Static files, and what their responses have."""

from __future__ import annotations

import os
import re

from lockgate.convert.conversion import Conversion
from lockgate.convert.option import Option
from lockgate.convert.report import Outcome
from lockgate.convert.settings import Table
from lockgate.convert.static_mounts import A_YEAR, add_mount, mounts
from lockgate.convert.uwsgi.mapping.process import from_start

MAPS = ("static-map", "static-map2")
CHECKS = ("check-static", "static-check")
#: Regular expressions that every file has, in the usual spellings.
EVERY_FILE = re.compile(r"\^?/?(\.?\*|\.\+)?\$?")
EXPIRES = ("static-expires", "static-expires-uri", "static-expires-path-info")


def convert(conversion: Conversion) -> None:
    options = conversion.take_all(*MAPS, *CHECKS)
    indexes = conversion.take_all("static-index")
    index = indexes[0].text.strip() if indexes else ""
    for option in options:
        add(conversion, option, index)
    has_mounts = "static" in conversion.settings
    for option in indexes:
        if not has_mounts:
            conversion.not_needed(option, "there are no static files")
        elif option is indexes[0]:
            conversion.record(option, Outcome.MAPPED, ("static",), "the key index")
        else:
            conversion.not_supported(option, "a path has one index: that of the first static-index")
    expires(conversion)
    compression(conversion)


def add(conversion: Conversion, option: Option, index: str) -> None:
    mount, equal, directory = option.text.partition("=")
    if option.key in CHECKS:
        mount, equal, directory = "/", "=", option.text
    mount, directory = mount.strip(), directory.strip()
    if not equal or not directory:
        conversion.not_supported(option, "uWSGI refuses it: it must be PATH=DIRECTORY")
        return
    path = "/" + mount.strip("/")
    if re.search(r"[?#%\\]|//|/\.{1,2}(/|$)", path):
        conversion.not_supported(
            option, "a path has no query, %XX, backslash, /. or /..: set static"
        )
        return
    directory = from_start(conversion, option, directory)
    name = path.rpartition("/")[2]
    whole = os.path.join(conversion.machine.directory, directory)
    if os.path.isfile(whole) or (name and "." in name and os.path.basename(directory) == name):
        conversion.not_supported(
            option,
            "it is one file: put it into a directory of such files, and serve that with "
            'path = "/" in static',
        )
        return
    if option.key == "static-map2":
        directory = os.path.join(directory, path.strip("/"))
    table: Table = {"path": path, "dir": directory}
    if not index:
        # uWSGI serves no file for a directory without static-index.
        table["index"] = ""
    elif index != "index.html":
        table["index"] = index
    add_mount(
        conversion,
        option,
        table,
        "a file that does not exist goes on to the application, as in uWSGI",
    )


def expires(conversion: Conversion) -> None:
    """Ages by regular expressions; one for every file becomes the age of all paths."""
    tables = mounts(conversion)
    for option in conversion.take_all(*EXPIRES):
        pattern, _, seconds = option.text.strip().replace("=", " ", 1).rpartition(" ")
        if not tables:
            conversion.not_needed(option, "there are no static files")
        elif not EVERY_FILE.fullmatch(pattern.strip()) or not seconds.isdecimal():
            conversion.not_supported(
                option,
                "a path in static has the keys immutable, for patterns of the names of files that "
                "never change, and max_age, for the others",
            )
        else:
            for table in tables:
                table["max_age"] = min(int(seconds), A_YEAR)
            detail = "the key max_age: Cache-Control in place of Expires"
            conversion.put(option, Outcome.CHANGED, "static", tables, detail)


def compression(conversion: Conversion) -> None:
    option = conversion.take_flag("http-auto-gzip")
    if option is not None:
        conversion.changed(
            option,
            "compress",
            True,
            "uWSGI compresses responses with the header uWSGI-Encoding: gzip; Lockgate compresses "
            "all that compress well, with zstd, br or gzip",
        )
