"""The text of a first lockgate.toml: what serves the application, and comments on the rest.

A pure function of what was found, so that its result can be compared word for word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from lockgate.dev.discovery import DJANGO_DEFAULT, Found

FRAMEWORKS = {"flask": "Flask", "django": "Django", "pyramid": "Pyramid", "wsgi": "WSGI"}


def text(found: Found, name: str, has_static: bool) -> str:
    """The whole file. `name` stands for the project in paths that are proposed; `has_static` is
    whether the project has a directory of static files."""
    return "\n\n".join("\n".join(part) for part in parts(found, name, has_static)) + "\n"


def parts(found: Found, name: str, has_static: bool) -> Iterator[list[str]]:
    yield [
        f"# Settings of Lockgate for this {FRAMEWORKS[found.kind]} application.",
        "# Check them with: lockgate --check-config",
        "# What a setting means: lockgate help NAME. All of them: lockgate man lockgate.toml",
        "# Lines that begin with # are proposals; without them the defaults apply.",
    ]
    yield application(found)
    yield [
        "# Where it listens. Behind a web server on this machine a unix socket is best; in a",
        "# container 0.0.0.0:8000.",
        'bind = ["127.0.0.1:8000"]',
        f'# bind = ["unix:/run/{name}/http.sock"]',
    ]
    yield [
        "# HTTPS without a web server in front: the certificate is obtained and renewed by itself,",
        "# and the addresses are ports 443 and 80. Remove bind then.",
        f'# domain = ["{name}.example"]',
    ]
    yield [
        "# Proxies on other machines whose X-Forwarded-For and X-Forwarded-Proto count.",
        '# forwarded_allow_ips = ["10.0.0.0/8"]',
    ]
    yield concurrency(found)
    yield [
        "# A call that takes longer gets 504, and its client an answer. 0: no limit.",
        "# request_timeout = 60",
        "# A worker that is stopped or replaced has this long to finish its requests.",
        "# graceful_timeout = 30",
    ]
    yield static_files(found, name, has_static)
    yield [
        "# Logs. - is a standard stream, which systemd and containers collect.",
        'access_logfile = "-"',
        f'# error_logfile = "/var/log/{name}/error.log"',
        '# log_level = "info"',
    ]
    yield [
        "# For lockgate ctl, lockgate top, metrics and health checks.",
        f'# admin_bind = "unix:/run/{name}/admin.sock"',
    ]


def application(found: Found) -> list[str]:
    lines = [f"# The application: {found.reason}.", f"app = {quoted(found.app)}"]
    if found.is_paste and "development" in found.app:
        lines.append("# In production, the file for production:")
        lines.append(f"# app = {quoted(found.app.replace('development', 'production'))}")
    if found.pythonpath:
        lines.append("# Where its modules are, beside this directory.")
        lines.append(f"pythonpath = [{', '.join(map(quoted, found.pythonpath))}]")
    if found.kind == "django" and found.settings_module:
        variable = f"env = {{ DJANGO_SETTINGS_MODULE = {quoted(found.settings_module)} }}"
        # A wsgi.py sets the variable if the environment has none, and a value here would be
        # stronger than the environment.
        lines.append(variable if found.app == DJANGO_DEFAULT else f"# {variable}")
    elif found.kind == "flask":
        lines.append('# env = { SECRET_KEY = "…" }')
    return lines


def concurrency(found: Found) -> list[str]:
    lines = [
        "# Processes and threads. auto: one process for each CPU, and 64 threads for all of them."
    ]
    if found.kind == "django":
        lines.append("# Each thread may hold a connection to the database: PostgreSQL allows 100.")
    return [*lines, 'workers = "auto"', 'threads = "auto"']


def static_files(found: Found, name: str, has_static: bool) -> list[str]:
    if found.kind == "django":
        return [
            "# Static files of STATIC_ROOT, after manage.py collectstatic. Remove this line if a",
            "# web server serves them.",
            'static = ["auto"]',
        ]
    if found.kind == "flask":
        return [
            "# Files of Flask's static folders, without a call of the application.",
            'static = ["auto"]' if has_static else '# static = ["auto"]',
        ]
    return [
        "# Static files, without a call of the application.",
        f'# static = ["/static=/srv/{name}/static"]',
    ]


def quoted(text: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)
