"""One run of `lockgate check`: import, look, drive, look again."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from lockgate import patching
from lockgate.arguments import USAGE_ERROR
from lockgate.check import host, importing, loading, requests
from lockgate.check.driving import MOST_SECONDS, Driver, Outcome
from lockgate.check.finding import Finding, Once
from lockgate.check.importing import State, Watch
from lockgate.check.report import Result
from lockgate.check.requests import MISSING_PATH, Request, Site
from lockgate.check.rules import (
    databases,
    of_django,
    of_flask,
    of_pyramid,
    of_sqlalchemy,
    on_host,
    responses,
)
from lockgate.check.rules import (
    importing as import_rules,
)
from lockgate.check.rules import (
    requests as request_rules,
)
from lockgate.check.settings import Settings
from lockgate.check.supervising import Sender, Step
from lockgate.loading import AppImportError, AppNotFound

Application = Callable[..., Any]

#: More would take long, and find the same.
MOST_PATHS = 100
#: Paths that are asked again and again.
REPEATED_PATHS = 5
WARM_UPS = 3
REPETITIONS = 8
#: After this number of paths without an answer no more are asked.
MOST_LATE = 5
#: For the import, and for all that a look at the configuration needs.
IMPORT_SECONDS = 60.0
#: For this process to notice that a request is late.
FROZEN_SECONDS = 3.0


@dataclass(frozen=True)
class Options:
    """What the command line asks of a run."""

    paths: tuple[str, ...] = ()
    ignored: frozenset[str] = frozenset()
    #: Only methods without effects.
    is_read_only: bool = False
    has_host_rules: bool = True
    host: str | None = None
    #: Seconds for an answer.
    wait: float = 10.0
    #: Whether the application is asked at all.
    has_requests: bool = True


@dataclass
class Run:
    settings: Settings
    options: Options
    result: Result
    sender: Sender
    watch: Watch = field(default_factory=Watch)
    #: Paths without an answer in time, and those whose responses do not end. Each of them keeps a
    #: thread.
    late: set[str] = field(default_factory=set)
    endless: set[str] = field(default_factory=set)
    #: Paths that were not asked any more, in their order.
    unasked: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.report = Once(self._keep)

    def _keep(self, finding: Finding) -> None:
        if finding.rule.id not in self.options.ignored:
            self.sender.finding(finding)

    def keep(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.report(finding)


def run(settings: Settings, options: Options, sender: Sender) -> None:
    """Checks the application in this process, which should end soon after that."""
    one = Run(settings, options, Result(settings["app"]), sender)
    sender.step(Step("it was imported", IMPORT_SECONDS))
    application = imported(one)
    if application is not None and settings.get("preload") is True:
        # Requests run in a process that is forked after the import.
        fork(sender)
    if application is not None:
        paths = known_paths(options.paths) if options.has_requests else []
        sender.imported(len(paths))
        sender.step(Step("its configuration was read", IMPORT_SECONDS))
        look(one)
        if options.has_requests:
            drive(application, one, paths)
        one.result.paths = len(paths)
        one.result.skipped = skipped(one)
    sender.result(one.result)


def fork(sender: Sender) -> None:
    """Continues in a child process; this one ends as the child does."""
    child = os.fork()
    if child == 0:
        sender.follow()
        return
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        faulthandler.disable()
        os.kill(os.getpid(), -code)
    os._exit(code)


def look(one: Run) -> None:
    """What is known without a request."""
    for check in (of_flask.check, of_django.check, of_pyramid.check, of_sqlalchemy.check):
        one.keep(check(one.settings))
    if one.options.has_host_rules:
        # Before requests add to the memory of this process.
        one.keep(on_host.check(host.read(), one.settings))
        one.keep(databases.check(one.settings, one.options.wait))


def imported(one: Run) -> Application | None:
    """The application, or None with the reason in the result."""
    before: State | None = None
    application = None
    try:
        loading.prepare(one.settings)
        before = importing.state()
        with one.watch:
            application = loading.load(one.settings)
    except LookupError as error:
        one.result.problem_code = USAGE_ERROR
        one.result.problem = str(error)
    except (AppImportError, AppNotFound, patching.PatchedThreads) as error:
        one.result.problem_code = error.exit_code
        one.result.problem = str(error)
    if one.watch.serves:
        one.result.problem = None
        text = "the module starts a server, so its import would not return"
        one.report(Finding(import_rules.SERVES, text, one.watch.serves_at))
    if before is not None:
        after = importing.state()
        for check in import_rules.CHECKS:
            one.keep(check(before, after, one.watch))
    return application


def drive(application: Application, one: Run, paths: list[str]) -> None:
    if one.settings.get("session") not in (None, False, "false"):
        application = with_session(application)
    site = site_of(one)
    driver = Driver(application, site, one.report, one.options.wait)
    one.watch.events.clear()
    directory = importing.directory()
    with one.watch:
        ordinary(driver, one, site, paths)
        others = chain(
            *(requests.unusual(path) for path in ("/", *one.options.paths, MISSING_PATH)),
            *(
                requests.with_bodies(path)
                for path in ("/", MISSING_PATH)
                if not one.options.is_read_only
            ),
        )
        for request in others:
            perform(driver, one, site, request, is_usual=False)
    one.keep(left_behind(one, directory))


def ordinary(driver: Driver, one: Run, site: Site, paths: list[str]) -> None:
    repeated = 0
    for path in paths:
        get = perform(driver, one, site, Request("GET", path))
        head = perform(driver, one, site, Request("HEAD", path))
        if get is not None and head is not None:
            one.keep(responses.head(get, head))
        if get is not None and get.code == 200 and repeated < REPEATED_PATHS:
            repeated += 1
            again(driver, one, site, get)


def again(driver: Driver, one: Run, site: Site, first: Outcome) -> None:
    """The same request a few times: what is used up, and what is left behind."""
    outcomes = [first]
    before: set[int] = set()
    for number in range(WARM_UPS + REPETITIONS):
        if number == WARM_UPS:
            before = set(importing.descriptors())
        outcome = perform(driver, one, site, first.request)
        if outcome is None:
            return
        outcomes.append(outcome)
    one.keep(request_rules.used_up(outcomes))
    left = set(importing.descriptors()) - before
    if len(left) >= REPETITIONS:
        kinds = ("open", "socket")
        at = [event.place for event in one.watch.events if event.kind in kinds and event.place]
        text = f"{REPETITIONS} requests have left {len(left)} descriptors open"
        place = at[-1] if at else first.place
        one.report(Finding(request_rules.DESCRIPTORS, text, place, str(first.request)))


def perform(
    driver: Driver, one: Run, site: Site, request: Request, is_usual: bool = True
) -> Outcome | None:
    """None: no answer in time, or one that does not end."""
    if request.path in one.late or request.path in one.endless:
        return None
    if len(one.late) >= MOST_LATE:
        one.unasked.setdefault(request.path)
        return None
    seconds = one.options.wait + MOST_SECONDS + FROZEN_SECONDS
    one.sender.step(Step(f"it was asked {request}", seconds, str(request)))
    outcome = driver.run(request)
    one.result.requests += 1
    if outcome.is_late:
        one.late.add(request.path)
    if is_usual or not request_rules.is_of_framework(outcome):
        one.keep(request_rules.answer(outcome, one.options.wait))
    one.keep(responses.response(outcome, site.is_https))
    if outcome.is_open:
        one.endless.add(request.path)
    return None if outcome.is_late or outcome.is_open else outcome


def skipped(one: Run) -> list[str]:
    """What was not asked because of late answers."""
    late = [f"{path} again, after no answer" for path in sorted(one.late)]
    rest = [f"{path}, after {MOST_LATE} paths without an answer" for path in one.unasked]
    return [*late, *rest]


def left_behind(one: Run, directory: str) -> Iterator[Finding]:
    """What requests have changed in the process."""
    if importing.directory() != directory:
        text = f"a request changes the working directory to {importing.directory()}"
        yield Finding(request_rules.CHDIR, text, one.watch.place("chdir"))
    for event in one.watch.events:
        if event.kind == "putenv" and event.place is not None:
            name = os.fsdecode(event.arguments[0])
            yield Finding(request_rules.VARIABLES, f"a request changes {name}", event.place)


def site_of(one: Run) -> Site:
    django = of_django.configured()
    is_https = one.settings.is_https or bool(django and django.SECURE_SSL_REDIRECT)
    added: tuple[tuple[str, str], ...] = ()
    if django and django.SECURE_PROXY_SSL_HEADER and is_https:
        name, value = django.SECURE_PROXY_SSL_HEADER
        added = ((name, value.split(",")[0]),)
    timeout = one.settings.get("request_timeout")
    return Site(
        host=one.options.host or of_django.host() or of_flask.host() or "localhost",
        is_https=is_https,
        root_path=one.settings["root_path"],
        has_threads=one.settings.threads > 1,
        has_workers=one.settings.workers > 1,
        added=added,
        request_timeout=timeout if isinstance(timeout, (int, float)) else 0.0,
    )


def known_paths(given: Iterable[str]) -> list[str]:
    """The root, those of the command line, and those that a framework knows."""
    found = chain(["/"], given, of_flask.paths(), of_django.paths(), of_pyramid.paths())
    return list(islice(dict.fromkeys(found), MOST_PATHS))


def with_session(application: Application) -> Application:
    """As the setting `session` does, with a secret of this run."""
    from lockgate.sessions import SessionMiddleware

    return SessionMiddleware(application, secret=os.urandom(32).hex())
