"""The settings that a conversion makes, and lockgate.toml as their text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lockgate.convert.report import printable
from lockgate.convert.source import ConversionError

Table = dict[str, Any]
#: What a setting may be: text, a number, a switch, or a list of texts or of tables of such values.
Value = str | int | bool | Sequence[str] | Sequence[Table]

WIDTH = 96

#: The headings of the file; settings stand in this order.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Application": (
        "app",
        "root_path",
        "chdir",
        "pythonpath",
        "env",
        "uwsgi_module",
        "uwsgi_opt",
        "uwsgi_cache",
        "uwsgi_locks",
    ),
    "Sockets": (
        "bind",
        "protocol",
        "uwsgi_allow_ips",
        "admin_bind",
        "uwsgi_stats",
        "backlog",
        "reuse_port",
        "proxy_protocol",
        "proxy_allow_ips",
        "forwarded_allow_ips",
        "forwarded_headers",
        "forwarded_host",
        "strip_untrusted_headers",
        "secure_scheme_headers",
        "forwarder_headers",
        "header_map",
        "server_header",
    ),
    "HTTPS and HTTP/2": (
        "certfile",
        "keyfile",
        "keyfile_password_file",
        "ca_certs",
        "cert_reqs",
        "ciphers",
        "tls_min_version",
        "https_redirect",
        "http2",
        "http2_max_concurrent_streams",
    ),
    "Workers and threads": (
        "workers",
        "threads",
        "thread_idle_timeout",
        "worker_connections",
        "queue_size",
        "preload",
        "max_requests",
        "max_requests_jitter",
        "max_worker_age",
        "max_worker_memory",
        "max_worker_memory_hard",
        "worker_memory_measure",
    ),
    "Deadlines": (
        "request_timeout",
        "timeout",
        "slow_request",
        "graceful_timeout",
        "keep_alive",
        "head_timeout",
        "body_timeout",
        "write_timeout",
    ),
    "Limits": (
        "limit_request_line",
        "limit_request_fields",
        "limit_request_field_size",
        "limit_request_head",
        "limit_request_body",
        "body_memory",
        "spool_dir",
        "sendfile",
    ),
    "Files, compression and the cache": (
        "static_open_files",
        "static_memory",
        "static_valid",
        "compress",
        "cache",
    ),
    "Logging": (
        "log_style",
        "access_logfile",
        "access_logformat",
        "error_logfile",
        "error_logformat",
        "log_level",
        "log_timezone",
        "capture_output",
        "logger_class",
        "log_config",
        "log_config_json",
        "statsd_host",
        "statsd_prefix",
        "enable_backlog_metric",
        "dogstatsd_tags",
    ),
    "Process": ("user", "group", "umask", "pid", "name", "master_fifo"),
}

#: Settings of which the file has a list of tables, at its end.
TABLES = ("static", "certificates")


class SourceLine(str):
    """A comment that quotes a line of the source. It is not wrapped."""

    __slots__ = ()


@dataclass
class Setting:
    """A setting with the lines of the source that it comes from."""

    value: Value
    comments: list[str] = field(default_factory=list)


class Settings(dict[str, Setting]):
    """All settings by name."""

    def put(self, name: str, value: Value, *comments: str) -> None:
        """Sets a setting; comments of an earlier value stay."""
        setting = self.setdefault(name, Setting(value))
        setting.value = value
        setting.comments += [text for text in comments if text not in setting.comments]

    def add(self, name: str, value: str | Table, *comments: str) -> None:
        """Adds an item to a list."""
        setting = self.setdefault(name, Setting([]))
        items = setting.value
        assert isinstance(items, list)
        if value not in items:
            items.append(value)
        setting.comments += [text for text in comments if text not in setting.comments]

    def value(self, name: str) -> Value | None:
        return self[name].value if name in self else None

    def toml(self, header: Sequence[str], footer: Sequence[str]) -> str:
        lines = [comment for text in header for comment in commented(text)]
        known = {name for names in SECTIONS.values() for name in names}
        sections = {**SECTIONS, "Others": tuple(sorted(set(self) - known - set(TABLES)))}
        for title, names in sections.items():
            present = [name for name in names if name in self]
            if present:
                lines += ["", f"# --- {title} ---"]
            for name in present:
                setting = self[name]
                lines += ["", *(line for text in setting.comments for line in commented(text))]
                lines += assignment(name, setting.value)
        for name in TABLES:
            if name in self:
                lines += ["", *(line for text in self[name].comments for line in commented(text))]
                lines += table_lines(name, self[name].value)
        if footer:
            lines += ["", *(comment for text in footer for comment in commented(text))]
        return "\n".join(lines) + "\n"


def commented(text: str) -> list[str]:
    """The text as lines of comments."""
    if isinstance(text, SourceLine):
        return [f"# {printable(text, 300)}"]
    lines = textwrap.wrap(
        printable(text, 2000),
        WIDTH,
        break_long_words=False,
        break_on_hyphens=False,
        subsequent_indent="  ",
    )
    return [f"# {line}" for line in lines] or ["#"]


def assignment(name: str, value: Value) -> list[str]:
    if isinstance(value, (str, int)):
        return [f"{name} = {literal(value)}"]
    items = [literal(item) for item in value if isinstance(item, str)]
    line = f"{name} = [{', '.join(items)}]"
    if len(line) <= WIDTH:
        return [line]
    return [f"{name} = [", *(f"    {item}," for item in items), "]"]


def table_lines(name: str, value: Value) -> list[str]:
    lines = []
    assert not isinstance(value, (str, int))
    for table in value:
        assert isinstance(table, Mapping)
        lines += [
            f"[[{name}]]",
            *(line for key, one in table.items() for line in assignment(key, one)),
            "",
        ]
    return lines[:-1]


def literal(value: str | int) -> str:
    """A value of TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConversionError(
            f"{printable(value)}: is not UTF-8, as lockgate.toml must be"
        ) from None
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    text = "".join(
        escapes.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 32 or c == "\x7f" else c) for c in value
    )
    return f'"{text}"'
