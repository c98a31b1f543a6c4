"""What a worker of `lockgate dev` serves: the application, or the page that says why it does not
load.

A worker calls `Loader` once. It never fails: with an exception the worker could not serve, and the
browser would show nothing of it.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lockgate import loading, paste, reloading
from lockgate.dev import (
    ahead,
    debuggers,
    discovery,
    django_project,
    env_files,
    failure,
    middleware,
    terminal,
)
from lockgate.dev import options as dev_options
from lockgate.dev.discovery import Found
from lockgate.dev.error_page import ErrorPage
from lockgate.dev.failure import Failure
from lockgate.dev.middleware.failing import GuardedBody, Head, is_complete
from lockgate.dev.middleware.pin_attempts import PinAttempts
from lockgate.dev.options import Options

Application = Callable[..., Any]

#: How long an older version may finish its requests when another one has loaded, in seconds.
GRACE = 10.0
#: How often a worker looks whether it is replaced, in seconds.
POLL = 1.0

SAVE = "The next save of a file loads the application again."
IN_DEBUG_MODE = "Clients see this page because this is lockgate dev; in production they get 500."
RESTART = "Start lockgate dev again when it is repaired."


@dataclass(frozen=True)
class Project:
    """What to load, as the command was asked."""

    directory: Path
    #: The application that the command line or the settings name.
    named: str | None
    #: What names it, for people.
    reason: str
    options: Options
    #: Directories of the settings, in front of `sys.path`.
    pythonpath: list[str] = field(default_factory=list)
    #: Whether a saved file loads the application again.
    reloads: bool = True
    #: Where debugpy listens: host and port.
    debugpy: tuple[str, int] | None = None

    def find(self, environment: Mapping[str, str]) -> Found:
        """The application, which each worker looks for again: a file may have come. Raises
        NothingFound."""
        if self.named is not None:
            return discovery.of_name(self.named, self.directory, environment, self.reason)
        return discovery.discover(self.directory, environment)


class Memory:
    """What workers that follow each other share: bytes that the command maps before they exist."""

    _NOTICE = slice(8, 40)
    _LOADED = slice(40, 48)

    def __init__(self) -> None:
        self._bytes = mmap.mmap(-1, mmap.PAGESIZE)

    def count(self) -> int:
        """How many workers have loaded before this one."""
        before = int.from_bytes(self._bytes[:8], "little")
        self._bytes[:8] = (before + 1).to_bytes(8, "little")
        return before

    def set_loaded(self, number: int) -> None:
        """The worker with this number, counted from zero, is about to serve."""
        self._bytes[self._LOADED] = max(number, self.loaded()).to_bytes(8, "little")

    def loaded(self) -> int:
        """The number of the newest worker that has loaded."""
        return int.from_bytes(self._bytes[self._LOADED], "little")

    def is_news(self, notice: str) -> bool:
        """Whether the last worker had another notice."""
        digest = hashlib.sha256(notice.encode()).digest()
        is_known = self._bytes[self._NOTICE] == digest
        self._bytes[self._NOTICE] = digest
        return not is_known


class Loader:
    """Loads the application of a project, once in each worker."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._memory = Memory()
        self._pin_attempts = PinAttempts()

    def __call__(self) -> Application:
        started = time.monotonic()
        number = self._memory.count()
        try:
            return self._serve(started, is_first=number == 0)
        finally:
            self._memory.set_loaded(number)
            if self.project.reloads:
                threading.Thread(
                    target=leave_when_replaced,
                    args=(self._memory, number),
                    name="lockgate-dev-replaced",
                    daemon=True,
                ).start()

    def _serve(self, started: float, *, is_first: bool) -> Application:
        prepare_process(self.project)
        _loaders.append(self)
        try:
            found, application = load(self.project)
        except django_project.ChecksFailed as error:
            title = "Django's system checks have found errors"
            return self.page(failure.of_message(title, str(error)))
        except discovery.NothingFound as error:
            title, _, text = str(error).partition("\n")
            return self.page(failure.of_message(title, text))
        except BaseException as error:
            return self.page(failure.of_exception(error, "the application cannot be loaded"))
        if not is_first:
            terminal.say(f"reloaded {found.app} in {time.monotonic() - started:.2f} s")
        if found.kind == "django":
            threading.Thread(
                target=self._report_migrations, name="lockgate-dev-migrations", daemon=True
            ).start()
        return self.wrapped(application)

    def wrapped(self, application: Application) -> Application:
        options = self.project.options
        return Guarded(middleware.wrap(application, options, self._pin_attempts), options)

    def page(self, failed: Failure) -> Application:
        """Reports a failure on the terminal; returns the application that answers with its page."""
        after = SAVE if self.project.reloads else RESTART
        terminal.say(terminal.block(failed, self.project.options.colour, after))
        replace_application(failed.files())
        page = ErrorPage(failed, after)
        return middleware.wrap_error_page(page, self.project.options)

    def _report_migrations(self) -> None:
        try:
            notices = django_project.unapplied_migrations()
        except Exception as error:
            notices = [f"migrations cannot be checked: {type(error).__name__}: {error}"]
        text = "\n".join(notices)
        if self._memory.is_news(text) and text:
            terminal.say(text)


def leave_when_replaced(memory: Memory, number: int) -> None:
    """Ends this worker when another one has loaded and its own requests have had their time: a
    stream that never ends must not keep it. A debugger's prompt does."""
    while memory.loaded() <= number:
        time.sleep(POLL)
    time.sleep(GRACE)
    while debuggers.has_prompt():
        time.sleep(POLL)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


#: That of this process, for its mounts.
_loaders: list[Loader] = []


def mounted(application: Application) -> Application:
    """The application of a mount, with what is around that of the server."""
    return _loaders[-1].wrapped(application)


def failed_mount(route: str, error: BaseException) -> Application:
    """What answers below a mount whose application does not load."""
    failed = failure.of_exception(error, "the application cannot be loaded")
    return _loaders[-1].page(replace(failed, title=f"mount {route}: {failed.title}"))


def prepare_process(project: Project) -> None:
    """Makes this process one of a terminal: output appears when it is written, and a job in the
    background that reads from the terminal is stopped, as its shell expects."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTTIN, signal.SIG_DFL)
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.environ[dev_options.VARIABLE] = project.options.to_json()
    debuggers.use_terminal()
    if project.debugpy is not None:
        debuggers.listen(*project.debugpy)


def load(project: Project) -> tuple[Found, Application]:
    """The application, without what is around it. Raises what its import raises."""
    os.chdir(project.directory)
    ahead.drop_changed()
    files = env_files.read(project.directory, os.environ)
    os.environ.update(files.variables)
    report_files(map(str, files.paths))
    found = project.find(os.environ)
    if found.kind != "django":
        os.environ.setdefault("FLASK_DEBUG", "1")
    pythonpath = [str(project.directory / entry) for entry in found.pythonpath]
    pythonpath += project.pythonpath
    if found.kind == "django":
        django_project.prepare(found.settings_module)
    application = imported(found, pythonpath)
    if found.kind == "django":
        for warning in django_project.check():
            terminal.say(warning)
        application = django_project.served(application)
    return found, application


def imported(found: Found, pythonpath: list[str]) -> Application:
    if found.is_paste:
        file, _, name = found.app.partition("#")
        return paste.load(file, name or None, [], pythonpath)
    place, colon, attribute = found.app.partition(":")
    arguments = None
    if attribute.endswith(")"):
        attribute, _, arguments = attribute[:-1].partition("(")
    return loading.load(
        module=place,
        attribute=attribute if colon else None,
        arguments=arguments,
        pythonpath=pythonpath,
    )


def replace_application(files: Iterable[str]) -> None:
    """Has these files and all modules of the application watched: it could not be loaded."""
    reloading.replace_application(list(files))


def report_files(paths: Iterable[str]) -> None:
    """Has these files watched; without `reload` there is no watcher."""
    reloading.report_files(list(paths))


class Guarded:
    """An application whose exceptions become pages. Applications in debug mode pass them on."""

    def __init__(self, application: Application, options: Options) -> None:
        self.application = application
        self.options = options

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        head = Head(start_response)

        def page(error: Exception) -> Any:
            return self._page(error, environ, start_response, head)

        try:
            body = self.application(environ, head.start)
        except Exception as error:
            return page(error)
        return body if is_complete(body, environ) else GuardedBody(body, head, page)

    def _page(
        self,
        error: Exception,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
        head: Head,
    ) -> Any:
        if head.is_sent:
            # The server aborts the response and logs the exception.
            raise error
        failed = failure.of_request(error, environ)
        terminal.say(terminal.block(failed, self.options.colour))
        page = ErrorPage(failed, IN_DEBUG_MODE)
        exc_info = (type(error), error, error.__traceback__)
        answer = middleware.wrap_error_page(
            lambda environ, start: page(environ, start, exc_info), self.options
        )
        return answer(environ, start_response)


def first_line(found: Found, version: str) -> str:
    """What was found, and why."""
    kind = {"flask": "Flask", "django": "Django", "pyramid": "Pyramid", "wsgi": "WSGI"}[found.kind]
    return f"Lockgate {version} (development): {kind} application {found.app} ({found.reason})"
