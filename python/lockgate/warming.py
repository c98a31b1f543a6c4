"""Modules that workers find imported when they are forked (`reload`), so that they start sooner.

The supervisor imports what each worker needs before it loads the application, and modules of the
standard library that Flask, Django and Pyramid import. It runs no code of an installed package:
that could start threads, and an upgrade of the package would go unnoticed.
"""

import contextlib
import importlib
import os
import sys
from importlib.machinery import all_suffixes

#: What the server itself imports in each worker.
SERVER = (
    "lockgate.children",
    "lockgate.gunicorn.alias",
    "lockgate.gunicorn.loggers",
    "lockgate.loading",
    "lockgate.patching",
    "lockgate.privileges",
    "lockgate.reloading",
    "lockgate.shutdown",
    "lockgate.signals",
    "faulthandler",
)
#: What frameworks import. None of these starts a thread or opens anything.
STANDARD = (
    "argparse",
    "asyncio",
    "calendar",
    "concurrent.futures",
    "contextvars",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "email.header",
    "email.message",
    "email.mime.text",
    "email.parser",
    "email.utils",
    "gettext",
    "gzip",
    "hashlib",
    "hmac",
    "html.parser",
    "http.client",
    "http.cookies",
    "http.server",
    "importlib.metadata",
    "json",
    "locale",
    "mimetypes",
    "multiprocessing",
    "numbers",
    "pickle",
    "platform",
    "pprint",
    "queue",
    "quopri",
    "secrets",
    "smtplib",
    "socketserver",
    "sqlite3",
    "ssl",
    "statistics",
    "subprocess",
    "typing",
    "unicodedata",
    "unittest",
    "urllib.request",
    "uuid",
    "wsgiref.handlers",
    "xml.sax",
    "zipfile",
    "zoneinfo",
)

#: The top-level modules that only `warm` has imported.
_warmed: set[str] = set()


def warm(standard: bool) -> None:
    """Imports these modules in the supervisor, before it forks the first worker.

    Without `standard` only its own: gevent and eventlet replace parts of the standard library.
    """
    for name in SERVER:
        importlib.import_module(name)
    if not standard:
        return
    before = set(sys.modules)
    for name in STANDARD:
        # A Python that was built without it, such as one without sqlite3.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    _warmed.update(name for name in set(sys.modules) - before if "." not in name)


def modules_in(directory: str) -> set[str]:
    """The modules and packages that an import finds in a directory. A directory without
    `__init__.py` is none: a module of the standard library, behind it in `sys.path`, wins."""
    found = set()
    for name in os.listdir(directory):
        ending = next((one for one in all_suffixes() if name.endswith(one)), None)
        if ending is not None:
            found.add(name.removesuffix(ending))
        elif any(
            os.path.isfile(os.path.join(directory, name, f"__init__{one}"))
            for one in all_suffixes()
        ):
            found.add(name)
    return found


def forget_shadowed() -> None:
    """Forgets the modules for which the application has its own: it comes first in `sys.path`."""
    if not _warmed:
        return
    standard = os.path.dirname(os.__file__)
    for directory in sys.path:
        if os.path.abspath(directory) == standard:
            return
        with contextlib.suppress(OSError):
            shadowed = _warmed.intersection(modules_in(directory))
            for name in list(sys.modules):
                if name.split(".")[0] in shadowed:
                    del sys.modules[name]
            _warmed.difference_update(shadowed)
