"""Sockets: addresses, protocols, certificates, and who may connect."""

from __future__ import annotations

import re

from lockgate.convert.conversion import Conversion
from lockgate.convert.option import Option
from lockgate.convert.report import Outcome
from lockgate.convert.uwsgi.mapping import tls
from lockgate.convert.uwsgi.mapping.addresses import (
    BadAddress,
    address,
    is_open_to_others,
    without_scheme,
)

#: The protocols of `socket` and `protocol` that Lockgate speaks, with its scheme.
PROTOCOLS = {"uwsgi": "uwsgi", "http": "http", "http11": "http"}

UWSGI_SAID = (
    "this socket speaks the uwsgi protocol, for uwsgi_pass of nginx; a browser or proxy_pass "
    "needs an address without uwsgi://"
)


def convert(conversion: Conversion) -> None:
    shared = shared_sockets(conversion)
    tls.convert(conversion, shared)
    default = protocol(conversion)
    for option in conversion.take_all("socket", "uwsgi-socket"):
        scheme = default if option.key == "socket" else "uwsgi"
        if scheme is None:
            conversion.not_supported(option, "its protocol is not spoken; see protocol")
        else:
            bind(conversion, option, scheme, shared)
    for option in conversion.take_all("http-socket", "http11-socket", "http", "httprouter"):
        bind(conversion, option, "http", shared)
    http_to(conversion, shared)
    backlog(conversion)
    permissions(conversion)
    proxy_protocol(conversion)
    statistics(conversion, shared)
    reuse = conversion.take_flag("reuse-port")
    if reuse is not None:
        conversion.mapped(reuse, "reuse_port", True)
    if "bind" not in conversion.settings:
        conversion.report.notes.append(
            "no address is named: Lockgate listens on 127.0.0.1:8000 then; set bind"
        )


def shared_sockets(conversion: Conversion) -> list[str]:
    """Sockets that other options name as =0, =1 and so on."""
    found = []
    for option in conversion.take_all("shared-socket", "undeferred-shared-socket"):
        found.append(option.text)
        conversion.not_needed(
            option,
            "sockets are always bound before the change of user; see the option with "
            f"={len(found) - 1}",
        )
    return found


def protocol(conversion: Conversion) -> str | None:
    """The scheme of `socket`; None: a protocol that Lockgate does not speak."""
    option = conversion.take("protocol", "socket-protocol")
    if option is None:
        return "uwsgi"
    scheme = PROTOCOLS.get(option.text)
    if scheme is None:
        known = ", ".join(PROTOCOLS)
        conversion.not_supported(option, f"Lockgate speaks {known}; change what the proxy speaks")
    else:
        conversion.not_needed(option, f"it is part of the address of each socket: {scheme}")
    return scheme


def bind(conversion: Conversion, option: Option, scheme: str, shared: list[str]) -> None:
    try:
        found, remark = address(option.text, shared)
    except BadAddress as problem:
        conversion.not_supported(option, str(problem))
        return
    if scheme == "uwsgi":
        remarks = [UWSGI_SAID]
        if is_open_to_others(found):
            remarks.append(
                "only this host may connect unless uwsgi_allow_ips names the address of the proxy; "
                "uWSGI lets everyone connect"
            )
        found = f"uwsgi://{found}"
    else:
        remarks = []
        if option.key in ("http", "httprouter"):
            remarks.append("the workers listen there themselves; there is no router process")
        if "certfile" in conversion.settings and ":" in found and not found.startswith("unix:"):
            found = f"http://{found}"
    if remark:
        remarks.insert(0, remark)
    bound = conversion.settings.value("bind")
    if isinstance(bound, list) and found not in bound:
        plain = without_scheme(found)
        if any(without_scheme(item) == plain for item in bound):
            conversion.not_supported(option, f"{plain} is bound already, for another protocol")
            return
    outcome = Outcome.CHANGED if scheme == "uwsgi" or remark else Outcome.MAPPED
    conversion.add(option, "bind", found, "; ".join(remarks), outcome)


def http_to(conversion: Conversion, shared: list[str]) -> None:
    """Where the HTTP router sends requests: usually to this server's own socket."""
    own = conversion.settings.value("bind")
    bound = [without_scheme(item) for item in own] if isinstance(own, list) else []
    for option in conversion.take_all("http-to"):
        try:
            target, _ = address(option.text, shared)
        except BadAddress:
            target = ""
        if target in bound:
            conversion.not_needed(
                option,
                "requests need no second socket; remove it from bind if only the router used it",
            )
        else:
            conversion.not_supported(option, "Lockgate is no proxy: use nginx or HAProxy for this")


def backlog(conversion: Conversion) -> None:
    found = conversion.take_number("listen")
    if found is None:
        return
    option, number = found
    if not number:
        conversion.not_needed(option, "0 means the default, which is 2048 in Lockgate")
    elif number > 65535:
        conversion.changed(option, "backlog", 65535, "65535 is the most")
    else:
        conversion.mapped(option, "backlog", number, "the kernel reduces it to net.core.somaxconn")


def permissions(conversion: Conversion) -> None:
    """Unix sockets belong to `user` and `group` and have mode 660; only `umask` changes that."""
    bound = conversion.settings.value("bind")
    if not any("unix:" in str(item) for item in (bound if isinstance(bound, list) else [])):
        for unused in conversion.take_all("chmod-socket", "chmod", "chown-socket"):
            conversion.not_needed(unused, "there is no unix socket")
        return
    option = conversion.take("chmod-socket", "chmod")
    mode = option.text.strip() if option is not None else ""
    user = conversion.settings.value("user")
    group = conversion.settings.value("group")
    if option is not None:
        if mode in ("", "1"):
            mode = "666"
        if not re.fullmatch("[0-7]{3}", mode):
            conversion.not_supported(option, "uWSGI refuses it: a mode has three octal digits")
        elif int(mode[2]) & 2:
            conversion.change_only(
                option,
                "unix sockets have mode 660, so that other users cannot connect: add the user of "
                "the proxy to the group of the socket (usermod -a -G GROUP www-data), or let it "
                "connect to 127.0.0.1",
            )
        elif int(mode[1]) & 2:
            conversion.not_needed(option, "unix sockets have mode 660")
        else:
            conversion.change_only(
                option,
                'unix sockets have mode 660: the group may connect too; umask = "0177" '
                "prevents it, but applies to all files",
            )
    option = conversion.take("chown-socket")
    if option is None:
        return
    owner, _, owner_group = option.text.partition(":")
    if (not owner or owner == user) and (not owner_group or owner_group == group):
        conversion.not_needed(option, "unix sockets belong to user and group")
    elif owner_group and group is None and (not owner or owner == user):
        conversion.changed(
            option,
            "group",
            owner_group,
            "unix sockets belong to user and group; the workers run with this group too",
        )
    else:
        conversion.not_supported(
            option,
            "unix sockets belong to user and group: set these, or add the user of the proxy to "
            "the group",
        )


def proxy_protocol(conversion: Conversion) -> None:
    for name in ("http-enable-proxy-protocol", "enable-proxy-protocol"):
        option = conversion.take_flag(name)
        if option is not None:
            conversion.changed(
                option,
                "proxy_protocol",
                "auto",
                "every connection must begin with a PROXY header, and only this host may send it: "
                "name the proxies in proxy_allow_ips (uWSGI believes everyone)",
            )


def statistics(conversion: Conversion, shared: list[str]) -> None:
    is_http = conversion.take_flag("stats-http")
    option = conversion.take("stats", "stats-server")
    if option is not None:
        statistics_address(conversion, option, is_http is not None, shared)
    if is_http is not None:
        conversion.not_needed(is_http, "it decides between admin_bind and uwsgi_stats")
    for push in conversion.take_all("stats-push"):
        kind, _, target = push.text.partition(":")
        if kind != "statsd":
            conversion.not_supported(
                push, "read the metrics from admin_bind (/metrics, for Prometheus, or /uwsgi)"
            )
            continue
        statsd(conversion, push, target)


def statsd(conversion: Conversion, option: Option, target: str) -> None:
    """`HOST:PORT,PREFIX`."""
    host, _, prefix = target.partition(",")
    if not host.strip():
        conversion.not_supported(option, "uWSGI refuses it: it needs statsd:HOST:PORT")
        return
    names = ["statsd_host"]
    comments = conversion.comments(option, Outcome.CHANGED, "")
    conversion.settings.put("statsd_host", host.strip(), *comments)
    if prefix.strip():
        names.append("statsd_prefix")
        conversion.settings.put("statsd_prefix", prefix.strip(), *comments)
    detail = "the metrics have gunicorn's names (gunicorn.requests and so on), once a second"
    conversion.record(option, Outcome.CHANGED, tuple(names), detail)


def statistics_address(
    conversion: Conversion, option: Option, is_http: bool, shared: list[str]
) -> None:
    try:
        found, _ = address(option.text, shared)
    except BadAddress as problem:
        conversion.not_supported(option, str(problem))
        return
    if found.startswith("fd://"):
        conversion.not_supported(option, "set uwsgi_stats to unix:PATH or 127.0.0.1:PORT")
        return
    name = "admin_bind" if is_http else "uwsgi_stats"
    details = []
    if is_http:
        details.append("the document is at /uwsgi of this address, beside /metrics and others")
    if is_open_to_others(found):
        found = f"127.0.0.1:{found.rpartition(':')[2]}"
        details.append("on the loopback address only, because it shows requests")
    outcome = Outcome.CHANGED if details else Outcome.MAPPED
    detail = "; ".join(details) or "one document for each connection, as uwsgitop reads it"
    conversion.put(option, outcome, name, found, detail)
