"""uWSGI's log formats (`%(addr) %(method)`), translated into access_logformat."""

from __future__ import annotations

import re

#: uWSGI's variables that Lockgate has, as text of its format.
ATOMS = {
    "addr": "%(h)s",
    "user": "%(u)s",
    "method": "%(m)s",
    "uri": "%({RAW_URI}e)s",
    "proto": "%(H)s",
    "status": "%(s)s",
    "size": "%(B)s",
    "rsize": "%(B)s",
    "referer": "%(f)s",
    "uagent": "%(a)s",
    "host": "%({host}i)s",
    "pid": "%(p)s",
    "secs": "%(T)s",
    "msecs": "%(M)s",
    "micros": "%(D)s",
    "ltime": "%(t)s",
    "ctime": "%(t)s",
    "ftime": "%(t)s",
    "time": "%(t)s",
    "cl": "%({content-length}i)s",
}

#: uWSGI's variables that Lockgate does not have.
MISSING = frozenset(
    "core epoch headers hsize ioerr modifier1 modifier2 pktsize rerr rss rssM switches tmicros "
    "tmsecs vars vsz vszM werr wid".split()
)

VARIABLE = re.compile(r"%\(([^)]*)\)|%")


def translate(text: str) -> tuple[str, list[str]]:
    """The format, and the variables without a counterpart; empty: it has no variable left."""
    missing: list[str] = []
    found = 0

    def atom(match: re.Match[str]) -> str:
        nonlocal found
        name = match[1]
        if name is None:
            return "%%"
        translated = ATOMS.get(name) or environ(name) or log_variable(name)
        if translated is None:
            if name not in missing:
                missing.append(name)
            return "-"
        found += 1
        return translated

    translated = VARIABLE.sub(atom, text)
    # Lockgate's time has brackets of its own.
    translated = translated.replace("[%(t)s]", "%(t)s")
    translated = re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", " ", translated)
    # The request line has an atom of its own.
    for line in ("%(m)s %({RAW_URI}e)s %(H)s",):
        translated = translated.replace(line, "%(r)s")
    return (translated if found else ""), missing


def environ(name: str) -> str | None:
    """`%(var.NAME)`: a variable of the request."""
    if not name.startswith("var."):
        return None
    variable = name.removeprefix("var.")
    if not re.fullmatch(r"[A-Za-z0-9_]+", variable):
        return None
    if variable.startswith("HTTP_"):
        return f"%({{{variable[5:].lower().replace('_', '-')}}}i)s"
    return f"%({{{variable}}}e)s"


def log_variable(name: str) -> str | None:
    """`%(NAME)`, which the application sets by `uwsgi.set_logvar`."""
    if name in MISSING or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
        return None
    return f"%({{uwsgi.logvar.{name}}}e)s"
