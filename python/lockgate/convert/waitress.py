"""waitress as a source: the command line of waitress-serve, and calls of `serve` in Python."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from lockgate.convert import tables
from lockgate.convert.conversion import Conversion
from lockgate.convert.option import Option
from lockgate.convert.report import Outcome, Report
from lockgate.convert.settings import Settings
from lockgate.convert.source import ConversionError, Machine, Place
from lockgate.convert.values import is_on

DEFAULT_THREADS = 4
DEFAULT_PORT = "8080"


def convert_arguments(arguments: Sequence[str], machine: Machine) -> tuple[Settings, Report]:
    """`waitress-serve OPTIONS MODULE:OBJECT`."""
    known = tables.table("waitress")
    options, others = tables.read_flags(
        arguments, known.flags, lambda name: name if name in known.rows else None
    )
    options += [Option(Place("the command line"), "APP", text) for text in others]
    return convert(options, machine)


def convert_call(call: ast.Call, file: str, machine: Machine) -> tuple[Settings, Report]:
    """`serve(app, host="0.0.0.0", port=8080)`."""
    options = []
    if call.args:
        text = ast.unparse(call.args[0])
        option = Option(Place(file, call.lineno), "APP", text)
        option.ignored = f"set app to the module that has it: {text} of {file}"
        options.append(option)
    for keyword in call.keywords:
        place = Place(file, keyword.value.lineno)
        key = "**" if keyword.arg is None else keyword.arg.replace("_", "-")
        try:
            value = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            text = ast.unparse(keyword.value)
            reason = "it is computed when the program runs: set it by hand"
            options.append(Option(place, key, text, missing=(text,), ignored=reason))
            continue
        options.append(Option(place, key, text_of(value)))
    return convert(options, machine)


def text_of(value: object) -> str:
    if isinstance(value, (list, tuple, set)):
        return " ".join(str(part) for part in value)
    return str(value)


def find_call(text: str, file: str) -> ast.Call | None:
    """The call of waitress.serve in a program; None: there is none."""
    try:
        tree = ast.parse(text)
    except SyntaxError as problem:
        place = Place(file, problem.lineno)
        raise ConversionError(f"{place}: is not Python: {problem.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise ConversionError(f"{file}: is not Python that can be read") from None
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "waitress":
            names |= {name.asname or name.name for name in node.names if name.name == "serve"}
        elif isinstance(node, ast.Import):
            names |= {
                f"{name.asname or name.name}.serve"
                for name in node.names
                if name.name == "waitress"
            }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
            return node
    return None


def convert(options: list[Option], machine: Machine) -> tuple[Settings, Report]:
    computed = [option for option in options if option.ignored]
    for option in computed:
        option.ignored, option.did = "", option.ignored
    conversion = Conversion(machine, options, set())
    for option in computed:
        conversion.pending.remove(option)
        conversion.not_supported(option, option.did)
    application(conversion)
    sockets(conversion)
    proxies(conversion)
    prefix = conversion.take("url-prefix")
    if prefix is not None:
        path = "/" + prefix.text.strip("/") if prefix.text.strip("/") else ""
        conversion.mapped(prefix, "root_path", path)
    ident = conversion.take("ident")
    if ident is not None:
        text = "" if ident.text == "None" else ident.text
        conversion.mapped(ident, "server_header", text)
    tables.apply(conversion, tables.table("waitress"))
    conversion.default("workers", 1, "waitress is one process; auto is one for each CPU")
    conversion.default("threads", DEFAULT_THREADS, "waitress's default")
    return conversion.settings, conversion.finish()


def application(conversion: Conversion) -> None:
    call = conversion.take_flag("call")
    named = conversion.take_all("APP")
    for option in named[:1]:
        target = option.text + ("()" if call is not None else "")
        conversion.mapped(option, "app", target)
        if call is not None:
            conversion.put(call, Outcome.MAPPED, "app", target, "")
            call = None
    for option in named[1:]:
        conversion.unknown(option, "one application is expected")
    if call is not None:
        conversion.not_needed(call, "no application is given")
    if not named:
        conversion.report.notes.append("no application is named: set app")


def sockets(conversion: Conversion) -> None:
    listen = conversion.take_all("listen")
    path = conversion.take("unix-socket")
    host, port = conversion.take("host"), conversion.take("port")
    for option in conversion.take_all("ipv4", "ipv6"):
        conversion.not_needed(option, "the addresses say which; [::] is every interface of both")
    for option in conversion.take_all("sockets"):
        conversion.not_supported(option, "set bind, or let systemd pass the sockets")
    if path is not None:
        conversion.add(path, "bind", f"unix:{path.text}")
    for option in listen:
        for text in option.text.split():
            conversion.settings.add("bind", address(text))
        if option.text.split():
            conversion.add(option, "bind", address(option.text.split()[-1]))
        else:
            conversion.not_needed(option, "it is empty")
    if listen or path is not None:
        for given in (host, port):
            if given is not None:
                conversion.not_needed(given, "waitress uses listen or unix_socket alone")
        return
    name = host.text if host is not None else "0.0.0.0"
    where = address(f"{name}:{port.text if port is not None else DEFAULT_PORT}")
    for given in (host, port):
        if given is not None:
            conversion.put(given, Outcome.MAPPED, "bind", [where], "")
    conversion.default("bind", [where], "waitress's default")


def address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host:
        host, port = text.rpartition(":")[2], DEFAULT_PORT
    if host in ("*", "0.0.0.0", ""):
        return f":{port}"
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{host}:{port}"


def proxies(conversion: Conversion) -> None:
    trusted = conversion.take("trusted-proxy")
    if trusted is not None:
        conversion.put(trusted, Outcome.MAPPED, "forwarded_allow_ips", trusted.text.split(","), "")
    headers = conversion.take("trusted-proxy-headers")
    if headers is not None:
        names = {name.strip().lower() for name in headers.text.replace(",", " ").split()}
        chosen = "forwarded" if "forwarded" in names else "x-forwarded"
        comments = conversion.comments(headers, Outcome.CHANGED, "")
        settings = ["forwarded_headers"]
        conversion.settings.put("forwarded_headers", chosen, *comments)
        if "x-forwarded-host" in names:
            conversion.settings.put("forwarded_host", True, *comments)
            settings.append("forwarded_host")
        conversion.record(
            headers,
            Outcome.CHANGED,
            tuple(settings),
            "the headers of one family are used together",
        )
    elif trusted is not None and is_on(trusted.value):
        conversion.report.notes.append(
            "waitress uses no headers of the proxy unless trusted_proxy_headers names them; "
            "Lockgate does"
        )
