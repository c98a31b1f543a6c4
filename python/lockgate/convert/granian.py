"""granian as a source: its command line and the variables that begin with GRANIAN_."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.convert import tables
from lockgate.convert.conversion import Conversion
from lockgate.convert.option import Option
from lockgate.convert.report import Outcome, Report
from lockgate.convert.settings import Settings, Table
from lockgate.convert.source import Machine, Place
from lockgate.convert.static_mounts import A_YEAR, add_mount
from lockgate.convert.values import is_on

#: Options that may be repeated.
LISTS = ("static-path-route", "static-path-mount", "env-files", "ssl-crl")

#: granian's atoms of the access log that Lockgate has, as text of its format.
ATOMS = {
    "addr": "%(h)s",
    "time": "%(t)s",
    "dt_ms": "%(M)s",
    "status": "%(s)s",
    "path": "%(U)s",
    "query_string": "%(q)s",
    "method": "%(m)s",
    "scheme": "%({wsgi.url_scheme}e)s",
    "protocol": "%(H)s",
}


def convert_arguments(arguments: Sequence[str], machine: Machine) -> tuple[Settings, Report]:
    known = tables.table("granian")
    given, others = tables.read_flags(
        arguments, known.flags, lambda name: name if name in known.rows else None
    )
    options = [*variables(machine, known), *given]
    application = [Option(Place("the command line"), "APP", text) for text in others[:1]]
    extra = [Option(Place("the command line"), text, None) for text in others[1:]]
    options += application + extra
    conversion = Conversion(machine, options, set())
    conversion.pending = [option for option in options if option not in application + extra]
    keep_last(conversion)
    for option in extra:
        conversion.unknown(option, "one application is expected")
    app(conversion, application)
    sockets(conversion)
    logs(conversion)
    security(conversion)
    protocol(conversion)
    static_files(conversion)
    tables.apply(conversion, known)
    conversion.default("workers", 1, "granian's default; auto is one for each CPU")
    return conversion.settings, conversion.finish()


def variables(machine: Machine, known: tables.Table) -> list[Option]:
    renamed: dict[str, str] = known.data["variables"]
    options = []
    for name, value in sorted(machine.environment.items()):
        if name.startswith("GRANIAN_"):
            key = renamed.get(name, name[len("GRANIAN_") :].lower().replace("_", "-"))
            for part in value.split(",") if key in LISTS else [value]:
                options.append(Option(Place(f"the variable {name}"), key, part))
    return options


def keep_last(conversion: Conversion) -> None:
    """The command line overrides variables, and a later flag an earlier one."""
    last = {option.key: option for option in conversion.pending}
    for option in list(conversion.pending):
        if option.key not in LISTS and last[option.key] is not option:
            conversion.pending.remove(option)
            conversion.not_needed(option, "it is set again")


def app(conversion: Conversion, application: list[Option]) -> None:
    factory = conversion.take_flag("factory")
    interface = conversion.take("interface")
    if interface is None or interface.text != "wsgi":
        conversion.report.notes.append(
            "Lockgate serves WSGI: for an ASGI or RSGI application it is no replacement"
        )
    if interface is not None:
        if interface.text == "wsgi":
            conversion.not_needed(interface, "Lockgate serves WSGI")
        else:
            conversion.not_supported(interface, "Lockgate serves WSGI only")
    for option in application:
        module, _, attribute = option.text.partition(":")
        attribute = attribute or ("create_app" if factory else "app")
        call = "()" if factory is not None else ""
        conversion.mapped(option, "app", f"{module}:{attribute}{call}")
        if factory is not None:
            conversion.put(factory, Outcome.MAPPED, "app", f"{module}:{attribute}()", "")
            factory = None
    if factory is not None:
        conversion.not_needed(factory, "no application is given")
    if not application:
        conversion.report.notes.append("no application is named: set app")


def sockets(conversion: Conversion) -> None:
    host, port, path = (conversion.take(name) for name in ("host", "port", "uds"))
    if path is not None:
        conversion.add(path, "bind", f"unix:{path.text}")
        for option in (host, port):
            if option is not None:
                conversion.not_needed(option, "granian listens on the unix socket only")
        return
    name = host.text if host is not None else "127.0.0.1"
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    address = f"{name}:{port.text if port is not None else '8000'}"
    for option in (host, port):
        if option is not None:
            conversion.put(option, Outcome.MAPPED, "bind", [address], "")


def logs(conversion: Conversion) -> None:
    log = conversion.take("log")
    if log is not None:
        if is_on(log.value):
            conversion.not_needed(log, "the server always logs")
        else:
            conversion.changed(log, "log_level", "critical", "the error log cannot be disabled")
    level = conversion.take("log-level")
    if level is not None:
        chosen = {"warn": "warning", "notset": "debug"}.get(level.text, level.text)
        conversion.mapped(level, "log_level", chosen)
    access = conversion.take_flag("access-log")
    if access is not None:
        conversion.mapped(access, "access_logfile", "-")
    layout = conversion.take("access-log-fmt")
    if layout is None:
        return
    text, missing = layout.text.replace("%%", "%"), []
    for part in text.split("%(")[1:]:
        atom = part.partition(")")[0]
        if atom not in ATOMS:
            missing.append(atom)
    for atom, translated in ATOMS.items():
        for letter in ("s", "d", ".3f"):
            text = text.replace(f"%({atom}){letter}", translated)
    if missing:
        conversion.not_supported(
            layout, f"without a counterpart: {', '.join(missing)}; set access_logformat"
        )
    else:
        conversion.mapped(layout, "access_logformat", text.replace("[%(t)s]", "%(t)s"))


def security(conversion: Conversion) -> None:
    verify = conversion.take_flag("ssl-client-verify")
    if verify is not None:
        conversion.mapped(verify, "cert_reqs", "required")
    oldest = conversion.take("ssl-protocol-min")
    if oldest is not None:
        conversion.mapped(oldest, "tls_min_version", oldest.text.removeprefix("tls"))
    elif any(option.key == "ssl-certificate" for option in conversion.pending):
        conversion.default("tls_min_version", "1.3", "granian's default")
    for option in conversion.take_all("ssl-keyfile-password"):
        option.template = "***"
        conversion.not_supported(
            option, "write the password into a file, and set keyfile_password_file"
        )


def protocol(conversion: Conversion) -> None:
    version = conversion.take("http")
    if version is not None:
        if version.text == "1":
            conversion.mapped(version, "http2", False)
        elif version.text == "2":
            conversion.change_only(version, "HTTP/1.1 is served too")
        else:
            conversion.not_needed(version, "HTTP/1.1 and HTTP/2 are served")
    keep = conversion.take("http1-keep-alive")
    if keep is not None:
        if is_on(keep.value):
            conversion.not_needed(keep, "connections are kept; keep_alive is 75 seconds")
        else:
            conversion.mapped(keep, "keep_alive", 0)
    head = conversion.take_number("http1-header-read-timeout")
    if head is not None:
        detail = "granian counts idle time too, for which Lockgate has keep_alive"
        conversion.changed(head[0], "head_timeout", f"{max(head[1], 1)}ms", detail)
    buffer = conversion.take_number("http1-buffer-size")
    if buffer is not None:
        size = min(max(buffer[1], 1024), 16 << 20)
        conversion.changed(
            buffer[0], "limit_request_head", size, "it limits the head of a request only"
        )
    memory = conversion.take_number("workers-max-rss")
    if memory is not None:
        conversion.mapped(memory[0], "max_worker_memory", f"{max(memory[1], 16)}MiB")
    for option in conversion.take_all("env-files"):
        conversion.not_supported(
            option, "use EnvironmentFile= of systemd or env_file of Docker, or write env"
        )
    metrics(conversion)


def metrics(conversion: Conversion) -> None:
    enabled = conversion.take_flag("metrics")
    host, port = conversion.take("metrics-address"), conversion.take("metrics-port")
    address = f"127.0.0.1:{port.text if port is not None else '9090'}"
    detail = "the names of the metrics differ; the address is a loopback one, or a unix socket"
    for option in (enabled, host, port):
        if option is None:
            continue
        if enabled is None:
            conversion.not_needed(option, "metrics are not enabled")
        else:
            conversion.put(option, Outcome.CHANGED, "admin_bind", address, detail)


def static_files(conversion: Conversion) -> None:
    routes = conversion.take_all("static-path-route")
    directories = conversion.take_all("static-path-mount")
    index = conversion.take("static-path-dir-to-file")
    expires = conversion.take("static-path-expires")
    seconds = tables.duration(expires.text) if expires is not None else 86400
    for position, option in enumerate(directories):
        route = routes[position].text if position < len(routes) else "/static"
        # A directory's file is served where there is an option for it.
        table: Table = {"path": "/" + route.strip("/"), "dir": option.text}
        table["index"] = index.text if index is not None else ""
        if isinstance(seconds, int) and seconds:
            table["max_age"] = min(seconds, A_YEAR)
        table["fallthrough"] = False
        add_mount(conversion, option, table, "granian answers 404 to a missing file")
    for other in (*routes, index, expires):
        if other is None:
            continue
        if directories:
            conversion.record(other, Outcome.MAPPED, ("static",), "see static-path-mount")
        else:
            conversion.not_needed(other, "there are no static files")
