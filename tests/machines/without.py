"""What each line of a recipe prevents: the same drill with it and without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HAPROXY, NGINX = "haproxy/cluster.cfg", "nginx/cluster.conf"


@dataclass(frozen=True)
class Case:
    """One line that is left out, or given another value, in one drill."""

    line: str
    recipe: str
    drill: str
    #: Replacements in the recipe.
    changes: Mapping[str, str] = field(default_factory=dict)
    #: Settings of the hosts; None leaves one out.
    settings: Mapping[str, str | None] = field(default_factory=dict)


HTTPCHK = {
    "    option httpchk\n": "",
    "    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host health.invalid\n": "",
    "    http-check expect ! status 503 error-status L7OKC\n": "",
    "    http-check expect status 200\n": "",
}
READINESS = "    http-check expect ! status 503 error-status L7OKC\n"
RETRY = "    retry-on conn-failure empty-response response-timeout\n"
ONLY_GET = "    http-request disable-l7-retry unless METH_GET\n"
REDISPATCH = {"    option redispatch 1\n": "", "    retries 3\n": "    retries 0\n"}
SHUTDOWN = " on-marked-down shutdown-sessions"
CHECK = "default-server check inter"
ONCE = "    default lockgate_once;"
NEXT = "proxy_next_upstream error timeout;"

CASES = [
    Case("`option httpchk` (a plain `check`)", HAPROXY, "roll", HTTPCHK),
    Case("`error-status L7OKC` for 503", HAPROXY, "roll", {READINESS: ""}),
    Case("`drain_delay`", HAPROXY, "roll", settings={"drain-delay": "0s"}),
    Case("`retries`, `option redispatch`", HAPROXY, "kill", REDISPATCH),
    Case("`check`", HAPROXY, "kill", {CHECK: "default-server inter"}),
    Case("`check`", HAPROXY, "freeze", {CHECK: "default-server inter"}),
    Case("`retry-on … empty-response`", HAPROXY, "kill", {RETRY: ""}),
    Case("`disable-l7-retry unless METH_GET`", HAPROXY, "freeze", {
        ONLY_GET: "", "timeout server 60s": "timeout server 2s",
    }),
    Case("`on-marked-down shutdown-sessions`", HAPROXY, "freeze", {SHUTDOWN: ""}),
    Case("`timeout connect 1s` (5 s)", HAPROXY, "unplug", {
        "timeout connect 1s": "timeout connect 5s",
    }),
    Case("`balance leastconn`", HAPROXY, "slow", {"leastconn": "roundrobin"}),
    Case("`lockgate_once` (POST on kept connections)", NGINX, "roll", {
        ONCE: "    default lockgate;",
    }),
    Case("`proxy_next_upstream` (off)", NGINX, "roll", {NEXT: "proxy_next_upstream off;"}),
    Case("no `non_idempotent` (with it)", NGINX, "freeze", {
        NEXT: "proxy_next_upstream error timeout non_idempotent;",
    }),
    Case("`max_fails=1` (0)", NGINX, "unplug", {"max_fails=1": "max_fails=0"}),
    Case("`proxy_connect_timeout 1s` (60 s)", NGINX, "unplug", {
        "proxy_connect_timeout 1s": "proxy_connect_timeout 60s",
    }),
    Case("`proxy_read_timeout 10s` (60 s)", NGINX, "freeze", {
        "proxy_read_timeout 10s": "proxy_read_timeout 60s",
    }),
    Case("`least_conn`", NGINX, "slow", {"    least_conn;\n": ""}),
]  # fmt: skip
