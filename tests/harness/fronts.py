"""Proxies of Debian in front of a server, with the configurations of contrib/."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from harness.other_user import open_to_others
from harness.patience import eventually
from harness.process import TESTS, free_port
from harness.requirements import require_program
from harness.wire import Wire

CONTRIB = TESTS.parent / "contrib"
#: What the configurations name, marked with (*).
SOCKET = "/run/lockgate/lockgate.sock"

NGINX = """
daemon off;
worker_processes 1;
{user}
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    {temporary}
    include {directory}/site.conf;
}}
"""
APACHE = """
ServerRoot {directory}
ServerName localhost
PidFile {directory}/pid
ErrorLog {directory}/error.log
Mutex file:{directory} default
Listen 127.0.0.1:{port}
{user}
{modules}
Include {directory}/site.conf
"""
APACHE_MODULES = ("mpm_event", "authz_core", "headers", "proxy", "proxy_http", "proxy_uwsgi")
APACHE_FOLDER = "/usr/lib/apache2/modules"
HAPROXY = "global\n    maxconn 256\n    {user}\n\n"


class Front:
    """One proxy that listens at `address`. `end` stops it."""

    def __init__(self, directory: Path, command: list[str], port: int) -> None:
        self.address = ("127.0.0.1", port)
        self.log_path = directory / "output.log"
        environment = {**os.environ, "HOME": str(directory), "XDG_DATA_HOME": str(directory)}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        eventually(self._listens, within=20, what=f"{command[0]} listens")

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log_path.read_text()
        try:
            Wire(self.address).close()
        except OSError:
            return False
        return True

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(20)


def start_front(
    directory: Path,
    configuration: str,
    server: str,
    *,
    changes: Mapping[str, str] | None = None,
) -> Front:
    """Starts the program of `contrib/{configuration}` in front of `server`, a socket or HOST:PORT.

    `changes` are further replacements in the configuration; each must be found in it.
    """
    directory.mkdir()
    port = free_port()
    text = (CONTRIB / configuration).read_text()
    old_server = SOCKET if "/" in server else "127.0.0.1:8000"
    for old, new in {old_server: server, **(changes or {})}.items():
        assert old in text, f"{configuration} has no {old!r}"
        text = text.replace(old, new)
    return _STARTERS[configuration.partition("/")[0]](directory, text, port)


def _nginx(directory: Path, text: str, port: int) -> Front:
    program = require_program("nginx", package="nginx-light", directories=("/usr/sbin",))
    folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{port};")
    text = text.replace("include uwsgi_params;", "include /etc/nginx/uwsgi_params;")
    (directory / "site.conf").write_text(text)
    main = NGINX.format(
        directory=directory,
        user=_user("user www-data;"),
        temporary="\n".join(f"{name}_temp_path {directory}/{name};" for name in folders),
    )
    (directory / "nginx.conf").write_text(main)
    _give_to_www_data(directory)
    command = [program, "-p", str(directory), "-c", "nginx.conf", "-e", "error.log"]
    return Front(directory, command, port)


def _haproxy(directory: Path, text: str, port: int) -> Front:
    program = require_program("haproxy", package="haproxy", directories=("/usr/sbin",))
    text = text.replace("bind :80 ", f"bind 127.0.0.1:{port} ")
    path = directory / "haproxy.cfg"
    path.write_text(HAPROXY.format(user=_user("user www-data")) + text)
    _give_to_www_data(directory)
    return Front(directory, [program, "-db", "-f", str(path)], port)


def _apache(directory: Path, text: str, port: int) -> Front:
    program = require_program("apache2", package="apache2", directories=("/usr/sbin",))
    (directory / "site.conf").write_text(text)
    modules = [f"LoadModule {name}_module {APACHE_FOLDER}/mod_{name}.so" for name in APACHE_MODULES]
    main = APACHE.format(
        directory=directory,
        port=port,
        user=_user("User www-data\nGroup www-data"),
        modules="\n".join(modules),
    )
    path = directory / "apache2.conf"
    path.write_text(main)
    _give_to_www_data(directory)
    return Front(directory, [program, "-f", str(path), "-DFOREGROUND"], port)


def _caddy(directory: Path, text: str, port: int) -> Front:
    program = require_program("caddy", package="caddy")
    text = text.replace(":80 {", f"http://:{port} {{\n\tbind 127.0.0.1")
    path = directory / "Caddyfile"
    path.write_text("{\n\tadmin off\n}\n" + text)
    return Front(directory, [program, "run", "--config", str(path)], port)


def _user(line: str) -> str:
    """A proxy that is started by root changes its user, as a system's does."""
    return line if os.geteuid() == 0 else ""


def _give_to_www_data(directory: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(directory, "www-data")
        open_to_others(directory)


_STARTERS = {"nginx": _nginx, "haproxy": _haproxy, "apache": _apache, "caddy": _caddy}
