"""Rules for what requests do: exceptions, missing answers, changes to the process."""

from __future__ import annotations

import re

from lockgate.check import paragraphs
from lockgate.check.driving import Outcome
from lockgate.check.finding import ERROR, WARNING, Breach, Finding, Rule

EXCEPTION = Rule(
    "exception",
    ERROR,
    paragraphs.ERRORS,
    "No request raises an exception that the application does not handle.",
)
ENVIRON_KEY = Rule(
    "environ-key",
    ERROR,
    paragraphs.ENVIRON,
    "A variable of the environ that a request may lack is read with `get`.",
)
THREAD_BOUND = Rule(
    "thread-bound",
    ERROR,
    paragraphs.page("docs/threads.md", "from-sync-workers"),
    "An object that belongs to a thread, such as an SQLite connection, is made in the request.",
)
MAIN_THREAD = Rule(
    "main-thread",
    ERROR,
    paragraphs.page("docs/threads.md", "from-sync-workers"),
    "Views install no signal handlers: requests do not run on the main thread.",
)
EVENT_LOOP = Rule(
    "event-loop",
    ERROR,
    paragraphs.page("docs/threads.md", "from-sync-workers"),
    "Views use `asyncio.run`, and no event loop of their thread: it has none.",
)
EXIT = Rule(
    "exit", ERROR, paragraphs.ERRORS, "Views do not call `sys.exit()`: the client gets 500."
)
PROCESS_END = Rule(
    "process-end",
    ERROR,
    paragraphs.checking("processes-that-end-or-freeze"),
    "No request ends the process: all other requests of the worker end with it.",
)
FROZEN = Rule(
    "process-frozen",
    ERROR,
    paragraphs.checking("processes-that-end-or-freeze"),
    "No call keeps Python's lock (the GIL) for seconds: no other request of the worker runs then.",
)
STATUS_5XX = Rule(
    "status-5xx",
    WARNING,
    paragraphs.rfc9110("15.6"),
    "Requests that are complete and correct are answered without a status of 5xx.",
)
LATE = Rule(
    "late",
    WARNING,
    paragraphs.page("docs/reference/settings.md", "request_timeout"),
    "The first byte of an answer comes in time.",
)
USED_UP = Rule(
    "body-used-up",
    ERROR,
    paragraphs.DETAILS,
    "Each request gets a body of its own, and no iterator that an earlier one has used up.",
)
CHDIR = Rule(
    "request-chdir",
    WARNING,
    paragraphs.THREADS,
    "Requests do not change the working directory, which all threads share.",
)
VARIABLES = Rule(
    "request-environ",
    WARNING,
    paragraphs.THREADS,
    "Requests do not change `os.environ`, which all threads share.",
)
DESCRIPTORS = Rule(
    "request-descriptors",
    WARNING,
    paragraphs.checking("what-requests-leave-behind"),
    "Requests close the files and sockets that they open.",
)

RULES = (
    EXCEPTION,
    ENVIRON_KEY,
    THREAD_BOUND,
    MAIN_THREAD,
    EVENT_LOOP,
    EXIT,
    PROCESS_END,
    FROZEN,
    STATUS_5XX,
    LATE,
    USED_UP,
    CHDIR,
    VARIABLES,
    DESCRIPTORS,
)

#: Variables of an environ, and none of the process's own, which raise KeyError as well.
KEY = re.compile(
    r"(HTTP|CONTENT|SERVER|REMOTE|REQUEST|SSL)_[A-Z0-9_]+|QUERY_STRING|PATH_INFO|SCRIPT_NAME|RAW_URI"
    r"|(wsgi|lockgate)\.\w+"
)


def of_exception(error: BaseException) -> Breach:
    """The rule that an exception is about."""
    name = type(error).__name__
    text = f"{name}: {error}" if str(error) else name
    if isinstance(error, KeyError) and KEY.fullmatch(str(error.args[:1] and error.args[0])):
        return Breach(ENVIRON_KEY, f"the environ of this request has no {error.args[0]}")
    if isinstance(error, SystemExit):
        return Breach(EXIT, f"the request calls sys.exit({error.code!r})")
    if "can only be used in that same thread" in text:
        return Breach(THREAD_BOUND, text)
    if "signal only works in main thread" in text:
        return Breach(MAIN_THREAD, text)
    if "no current event loop" in text:
        return Breach(EVENT_LOOP, text)
    return Breach(EXCEPTION, text)


def answer(outcome: Outcome, waited: float) -> list[Finding]:
    """A request without an answer, or with one that says that the server has failed."""
    request = str(outcome.request)
    if outcome.is_late:
        text = f"no answer after {waited:g} s"
        return [Finding(LATE, text, outcome.place, request)]
    is_failure = outcome.code is not None and outcome.code >= 500
    caught = outcome.raised.error if outcome.raised and is_failure else None
    error = outcome.error or caught
    if error is None and is_failure:
        text = f"the status is {outcome.status}"
        return [Finding(STATUS_5XX, text, outcome.place, request)]
    if error is None:
        return []
    breach = of_exception(error)
    place = outcome.raised.place if outcome.raised else outcome.last
    return [Finding(breach.rule, breach.text, place, request)]


#: Their own answer to bytes that are not text is an exception.
FRAMEWORKS = ("webob", "pyramid", "werkzeug", "flask", "django", "bottle", "falcon")


def is_of_framework(outcome: Outcome) -> bool:
    """Whether a framework itself has failed at a request that is wrong."""
    if outcome.raised is None:
        return True
    error = outcome.raised.error
    return isinstance(error, UnicodeError) and raised_by(error) in FRAMEWORKS


def raised_by(error: BaseException) -> str:
    """The package of the innermost frame."""
    trace, name = error.__traceback__, ""
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__"))
        trace = trace.tb_next
    return name.partition(".")[0]


def used_up(outcomes: list[Outcome]) -> list[Finding]:
    """Outcomes of the same request, the first one first."""
    first, *rest = outcomes
    for later in rest:
        if first.code == later.code == 200 and first.length and not later.length:
            text = f"the body of a first request has {first.length} bytes, and that of the next 0"
            return [Finding(USED_UP, text, later.last, str(later.request))]
    return []
