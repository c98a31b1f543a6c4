"""The settings of `lockgate dev`, beside those of lockgate.toml that concern the application."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lockgate.dev.discovery import DJANGO_VARIABLE, settings_of_manage_py

#: Settings of production: their values in lockgate.toml and LOCKGATE_… do not count.
OF_PRODUCTION = (
    # Addresses and what is in front of them.
    "protocol", "uwsgi_allow_ips", "admin_bind", "backlog", "reuse_port", "proxy_protocol",
    "proxy_allow_ips", "statsd_host", "uwsgi_stats", "master_fifo",
    # HTTPS.
    "certfile", "keyfile", "certificates", "keyfile_password_file", "ca_certs", "cert_reqs",
    "client_certificate_user", "ssl_variables", "ciphers", "https_redirect", "hsts", "domain",
    "acme_email", "acme_directory", "acme_fallback_directory", "acme_eab_key_id",
    "acme_eab_hmac_key_file", "acme_dir", "acme_ca_certs", "client_certificate",
    # Processes.
    "workers", "event_loops", "thread_idle_timeout", "worker_connections", "warmup", "boot_timeout",
    "preload", "canary_period", "canary_max_error_increase", "max_requests",
    "max_requests_jitter", "max_worker_age", "max_worker_memory", "max_worker_memory_hard",
    "user", "group", "umask", "pid", "name", "gc",
    # Time and load.
    "request_timeout", "slow_request", "timeout", "graceful_timeout", "drain_delay",
    "readiness_path", "queue_size", "queue_timeout", "limit_connections_per_address",
    "rate_limit", "rate_limit_redis", "cache", "cache_redis", "push_redis",
    # Logs.
    "access_logfile", "access_logformat", "error_logfile", "log_level", "error_logformat",
    "log_style", "log_timezone", "capture_output", "otlp",
)  # fmt: skip

#: The supervisor ends the worker of an older version after this time, in seconds. The worker ends
#: itself long before, if no debugger has a prompt in it (`serving.leave_when_replaced`).
GRACEFUL_TIMEOUT = 3600


def keywords(
    app: str,
    bind: list[str],
    own: dict[str, object],
) -> str:
    """The settings as JSON, where null is the default. `own` are those that this command sets."""
    settings: dict[str, object] = dict.fromkeys(OF_PRODUCTION)
    settings |= {
        "workers": 1,
        "timeout": 0,
        "graceful_timeout": GRACEFUL_TIMEOUT,
        "error_logfile": "-",
        "log_level": "warning",
        # Beside the errors; standard output has only what the application prints.
        "access_logfile": "/dev/stderr",
        "log_timezone": "local",
    }
    settings |= own
    settings |= {"app": app, "bind": bind}
    return json.dumps(settings)


def variables(
    env: Mapping[str, str], directory: Path, environment: Mapping[str, str]
) -> dict[str, str]:
    """The setting `env` for development. Its DJANGO_SETTINGS_MODULE is that of production where
    the environment of this process or manage.py names other settings."""
    kept = dict(env)
    if environment.get(DJANGO_VARIABLE) or settings_of_manage_py(directory):
        kept.pop(DJANGO_VARIABLE, None)
    return kept
