"""`lockgate dev --no-reload`: application and server in this process, for debuggers.

An editor that starts the command debugs the process that it has started, as with
`flask run --no-reload`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from lockgate import _lockgate
from lockgate.dev import settings
from lockgate.dev.serving import Loader, Project
from lockgate.embedding import Server

#: Settings of other processes, or of the whole process, which this command applies itself.
_OTHERS = (
    "chdir", "pythonpath", "env", "mount", "paste_global", "uwsgi_module", "uwsgi_opt",
    "uwsgi_cache", "uwsgi_locks", "worker_memory_measure", "logger_class", "log_config",
    "log_config_json", "switch_interval",
)  # fmt: skip


def serve(
    project: Project,
    bind: list[str],
    own: dict[str, object],
    config: str | None,
    environment: dict[str, str],
) -> int:
    """Serves until Ctrl-C, SIGTERM or SIGHUP; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup has SIGHUP ignored.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    os.environ.update(environment)
    others = dict.fromkeys(_OTHERS)
    keywords = settings.keywords("application", bind, {**own, **others, "timeout": None})
    given = _lockgate.EmbeddedSettings.of_development(keywords, config)
    server = Server.with_settings(Loader(project)(), given)
    server.start()
    try:
        server.wait()
    except KeyboardInterrupt:
        server.stop(timeout=0)
    return 0


def leave(code: int) -> None:
    """Ends the process at once if a request still runs, such as one at a debugger's prompt:
    Python's own exit would wait for it, or abort."""
    if any(thread.name.startswith("lockgate") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
