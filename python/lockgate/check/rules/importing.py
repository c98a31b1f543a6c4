"""Rules for what the import of an application does to its process: it runs in each worker."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from typing import Any

from lockgate.check import handlers, paragraphs, places
from lockgate.check.finding import ERROR, WARNING, Finding, Rule
from lockgate.check.importing import State, Watch

THREAD = Rule(
    "import-thread",
    WARNING,
    paragraphs.checking("threads-sockets-and-processes-at-import"),
    "No thread is started at import: each worker has its own, and with `preload` none has it.",
)
SOCKET = Rule(
    "import-socket",
    WARNING,
    paragraphs.checking("threads-sockets-and-processes-at-import"),
    "No connection is opened at import: with `preload` all workers share it.",
)
LISTEN = Rule(
    "import-listen",
    ERROR,
    paragraphs.checking("threads-sockets-and-processes-at-import"),
    "No port is bound at import: the second worker cannot bind it.",
)
CHILD = Rule(
    "import-child",
    WARNING,
    paragraphs.checking("threads-sockets-and-processes-at-import"),
    "No process that goes on is started at import: each worker and each reload starts one more.",
)
SQLITE = Rule(
    "import-sqlite",
    WARNING,
    paragraphs.page("docs/threads.md", "from-sync-workers"),
    "No SQLite connection is kept from the import: requests run on other threads.",
)
SIGNAL = Rule(
    "import-signal",
    WARNING,
    paragraphs.page("docs/deploying.md", "signals-and-handlers-of-the-application"),
    "A handler for a signal of the server calls the one that it has found.",
)
SIGPIPE = Rule(
    "import-sigpipe",
    ERROR,
    paragraphs.checking("signals"),
    "SIGPIPE stays ignored: else a connection that breaks ends the worker.",
)
SIGCHLD = Rule(
    "import-sigchld",
    WARNING,
    paragraphs.checking("signals"),
    "SIGCHLD is not ignored: `subprocess` would not learn how its programs end.",
)
CHDIR = Rule(
    "import-chdir",
    WARNING,
    paragraphs.page("docs/reference/settings.md", "chdir"),
    "The working directory is set by `chdir`, and not at import.",
)
UMASK = Rule(
    "import-umask",
    WARNING,
    paragraphs.page("docs/reference/settings.md", "umask"),
    "The umask is set by `umask`, and not at import.",
)
DEBUG_LOG = Rule(
    "import-debug-log",
    WARNING,
    paragraphs.page("docs/logging.md"),
    "The root logger is not at the level DEBUG: libraries then log each query and header.",
)
SERVES = Rule(
    "import-serves",
    ERROR,
    paragraphs.checking("an-application-that-serves-itself"),
    'A server that the module starts itself is behind `if __name__ == "__main__"`.',
)

RULES = (
    THREAD,
    SOCKET,
    LISTEN,
    CHILD,
    SQLITE,
    SIGNAL,
    SIGPIPE,
    SIGCHLD,
    CHDIR,
    UMASK,
    DEBUG_LOG,
    SERVES,
)

#: The server's own signals; SIGCHLD and SIGPIPE have rules of their own.
SIGNALS = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip


def threads(before: State, after: State, watch: Watch) -> list[Finding]:
    return [
        Finding(
            THREAD,
            f"the import starts a thread, {name!r}: each worker has one",
            watch.threads.get(ident),
        )
        for ident, name in after.threads.items()
        if ident not in before.threads
    ]


def sockets(before: State, after: State, watch: Watch) -> list[Finding]:
    found = []
    for inode, one in after.sockets.items():
        if inode in before.sockets:
            continue
        rule, does = (LISTEN, "listens on") if one.is_listening else (SOCKET, "keeps a socket to")
        found.append(Finding(rule, f"the import {does} {one.peer}", watch.place("socket")))
    return found


def children(before: State, after: State, watch: Watch) -> list[Finding]:
    return [
        Finding(CHILD, f"the import starts a process that goes on, {name!r}", watch.place("child"))
        for pid, name in after.children.items()
        if pid not in before.children
    ]


def sqlite(before: State, after: State, watch: Watch) -> list[Finding]:
    if not any(event.kind == "sqlite" for event in watch.events):
        return []
    module = sys.modules.get("sqlite3")
    kind = getattr(module, "Connection", None)
    kept = [one for one in gc.get_objects() if kind is not None and isinstance(one, kind)]
    if "sqlalchemy" in sys.modules:
        # A pool of SQLAlchemy passes its connections between threads.
        kept = [one for one in kept if is_bound_to_thread(one)]
    if not kept:
        return []
    return [
        Finding(SQLITE, "the import keeps an SQLite connection for requests", watch.place("sqlite"))
    ]


def is_bound_to_thread(connection: Any) -> bool:
    """Whether an SQLite connection refuses other threads, as one of them finds out."""
    refusals: list[Exception] = []

    def use() -> None:
        try:
            sys.modules["sqlite3"].Connection.cursor(connection)
        except Exception as error:
            refusals.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    return any("same thread" in str(error) for error in refusals)


def signals(before: State, after: State, watch: Watch) -> list[Finding]:
    found = []
    for number in SIGNALS:
        handler = after.handlers[number]
        if handler != before.handlers[number] and not handlers.calls_found(handler, number):
            name = signal.Signals(number).name
            text = f"the handler that the import installs for {name} does not call the one before"
            found.append(Finding(SIGNAL, text, watch.handlers.get(number)))
    if after.handlers[signal.SIGPIPE] == signal.SIG_DFL != before.handlers[signal.SIGPIPE]:
        text = "the import makes SIGPIPE end the process"
        found.append(Finding(SIGPIPE, text, watch.handlers.get(signal.SIGPIPE)))
    if after.handlers[signal.SIGCHLD] == signal.SIG_IGN != before.handlers[signal.SIGCHLD]:
        text = "the import ignores SIGCHLD"
        found.append(Finding(SIGCHLD, text, watch.handlers.get(signal.SIGCHLD)))
    return found


def directory(before: State, after: State, watch: Watch) -> list[Finding]:
    if after.directory == before.directory:
        return []
    text = f"the import changes the working directory to {after.directory}"
    return [Finding(CHDIR, text, watch.place("chdir"))]


def umask(before: State, after: State, watch: Watch) -> list[Finding]:
    if after.umask == before.umask:
        return []
    place = places.called(places.own_files(), "umask")
    return [Finding(UMASK, f"the import sets the umask to {after.umask:#o}", place)]


def debug_log(before: State, after: State, watch: Watch) -> list[Finding]:
    root = logging.getLogger()
    if not root.handlers or not 0 < root.level <= logging.DEBUG:
        return []
    calls = ("basicConfig", "setLevel", "dictConfig", "fileConfig")
    found = (places.called(places.own_files(), name) for name in calls)
    place = next((place for place in found if place), None)
    return [Finding(DEBUG_LOG, "the root logger is at the level DEBUG", place)]


#: What `lockgate check` calls after the import.
CHECKS = (threads, sockets, children, sqlite, signals, directory, umask, debug_log)
