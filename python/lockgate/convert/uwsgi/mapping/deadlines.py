"""Deadlines and limits of requests."""

from __future__ import annotations

from lockgate.convert.conversion import Conversion
from lockgate.convert.report import Outcome
from lockgate.convert.values import is_on, strtol

#: The longest time that Lockgate accepts, in seconds, where it does not accept 0 for none.
LONGEST = 365 * 86400

#: Seconds between the interruption of a call and the replacement of its worker, with a margin.
GRACE = 10

#: Lockgate's default sizes.
LINE = FIELD = 8190
BODY_MEMORY = 512 * 1024
MOST_BODY = 1 << 50


def convert(conversion: Conversion) -> None:
    harakiri(conversion)
    graceful(conversion)
    transfers(conversion)
    keep_alive(conversion)
    sizes(conversion)


def harakiri(conversion: Conversion) -> None:
    found = conversion.take_number("harakiri")
    one_thread = conversion.settings.value("threads") == 1
    if found is not None and found[1]:
        option, number = found
        number = min(number, LONGEST - GRACE)
        conversion.changed(
            option,
            "request_timeout",
            number,
            "at the deadline the client gets 504 and lockgate.RequestTimeout is raised in the "
            "request, while other requests of the worker go on; uWSGI kills the whole worker",
        )
        if one_thread:
            conversion.settings.put(
                "timeout",
                number + GRACE,
                "longer than request_timeout: a request is interrupted before its worker is killed",
            )
        return
    if found is not None:
        conversion.not_needed(found[0], "0 switches it off")
    if one_thread:
        conversion.default(
            "timeout",
            0,
            "uWSGI never kills a worker for a long request unless harakiri is set; Lockgate does "
            "after 30 s if threads = 1",
        )


def graceful(conversion: Conversion) -> None:
    worker = conversion.take_number("worker-reload-mercy")
    whole = conversion.take_number("reload-mercy")
    for found in (worker, whole):
        if found is None:
            continue
        option, number = found
        if found is whole and worker is not None:
            conversion.not_needed(option, f"{worker[0].place} says it for workers")
        else:
            conversion.mapped(option, "graceful_timeout", min(number, LONGEST))


def transfers(conversion: Conversion) -> None:
    """Timeouts of reading and writing; the router's come before those of the workers."""
    headers = conversion.take_number("http-headers-timeout")
    if headers is not None:
        option, number = headers
        if number:
            conversion.mapped(option, "head_timeout", min(number, LONGEST))
        else:
            conversion.not_needed(option, "0 means the default")
    router = conversion.take_number("http-timeout")
    worker = conversion.take_number("socket-timeout")
    detail = (
        "it limits how long a client may send or read nothing; uWSGI also ends responses that the "
        "application begins later than that: use request_timeout for this"
    )
    for found in (router, worker):
        if found is None:
            continue
        option, number = found
        if not number:
            conversion.not_needed(option, "0 means the default")
        elif "body_timeout" in conversion.settings:
            conversion.not_needed(option, "http-timeout is the one that clients see")
        else:
            number = min(number, LONGEST)
            comments = conversion.comments(option, Outcome.CHANGED, "")
            conversion.settings.put("body_timeout", number, *comments)
            conversion.settings.put("write_timeout", number, *comments)
            conversion.record(option, Outcome.CHANGED, ("body_timeout", "write_timeout"), detail)
    for option in conversion.take_all(
        "socket-send-timeout", "so-write-timeout", "socket-write-timeout"
    ):
        number = strtol(option.text)
        if number < 1:
            conversion.not_needed(option, "0 means the default")
        else:
            conversion.mapped(option, "write_timeout", min(number, LONGEST))


def keep_alive(conversion: Conversion) -> None:
    option = conversion.take("http-keepalive")
    if option is not None:
        number = strtol(option.text)
        if not is_on(option.value):
            conversion.mapped(option, "keep_alive", 0, "a connection ends with its response")
        elif number > 1:
            conversion.changed(
                option,
                "keep_alive",
                min(number, LONGEST),
                "uWSGI reads it as a switch; Lockgate keeps idle connections that many seconds",
            )
        else:
            conversion.not_needed(option, "connections are kept; keep_alive is 75 seconds")
    for option in conversion.take_all("add-header"):
        name, _, value = option.text.partition(":")
        if name.strip().lower() == "connection" and value.strip().lower() in (
            "keep-alive",
            "close",
        ):
            conversion.not_needed(
                option,
                "the server manages connections itself: this header was needed for uWSGI's "
                "HTTP only",
            )
        else:
            conversion.not_supported(
                option,
                "set the header in the proxy (add_header of nginx) or in the application "
                "(a middleware)",
            )


def sizes(conversion: Conversion) -> None:
    head(conversion)
    found = conversion.take_number("limit-post")
    if found is not None:
        option, number = found
        detail = "0 means no limit" if number == 0 else ""
        conversion.mapped(option, "limit_request_body", min(number, MOST_BODY), detail)
    found = conversion.take_number("post-buffering")
    if found is not None:
        option, number = found
        if number <= BODY_MEMORY:
            conversion.not_needed(
                option,
                "bodies are always received before the application is called: up to 512 KiB in "
                "memory, then on disk (body_memory)",
            )
        else:
            conversion.mapped(option, "body_memory", min(number, 1 << 30))
    sendfile = conversion.take_flag("disable-sendfile")
    if sendfile is not None:
        conversion.mapped(sendfile, "sendfile", False)


def head(conversion: Conversion) -> None:
    """`buffer-size` holds the whole head; uWSGI has no limit for one field of it."""
    found = conversion.take_number("buffer-size")
    if found is not None:
        option, number = found
        read = "" if option.text.strip().isdecimal() else f"uWSGI reads {number}; "
        number = min(number, 65535)
        if number <= FIELD:
            conversion.not_needed(
                option,
                f"{read}the head of a request may have 64 KiB, one field and the request "
                "line 8190 bytes",
            )
        else:
            comments = conversion.comments(option, Outcome.MAPPED, "")
            conversion.settings.put("limit_request_line", number, *comments)
            conversion.settings.put("limit_request_field_size", number, *comments)
            conversion.record(
                option,
                Outcome.MAPPED,
                ("limit_request_line", "limit_request_field_size"),
                f"{read}the whole head may have 64 KiB, which is the most that uWSGI accepts",
            )
    found = conversion.take_number("max-vars")
    if found is not None:
        option, number = found
        if number <= 100:
            conversion.not_needed(option, "100 header fields are allowed")
        else:
            conversion.changed(
                option,
                "limit_request_fields",
                min(number, 32768),
                "it counts header fields, and not all variables of a request",
            )
