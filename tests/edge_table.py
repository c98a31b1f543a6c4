"""Prints what Lockgate and nginx do under attacks on files and a cache: a row for each attack.

    python tests/edge_table.py

The cases are in harness/edge_attacks.py. nginx's application is a Lockgate that trusts it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harness.cache_suite import Nginx
from harness.edge_attacks import NO_TRUST, Target, cases, make_root, outcome
from harness.process import APPS, Server

NGINX = """
daemon off;
worker_processes 1;
{user}
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    types {{ text/css css; text/plain txt; }}
    gzip_static on;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    proxy_cache_path {directory}/cache levels=1:2 keys_zone=store:1m max_size=4m;
    server {{
        listen 127.0.0.1:{port};
        location /static/ {{ alias ROOT/; }}
        location / {{
            proxy_pass http://127.0.0.1:{origin};
            proxy_set_header Host $http_host;
            proxy_cache store;
            proxy_cache_key $scheme$http_host$request_uri;
            proxy_cache_lock on;
            proxy_cache_revalidate on;
        }}
    }}
}}
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        root = directory / "static"
        root.mkdir()
        make_root(root)
        environment = {"CALLS": str(directory / "calls")}
        servers: list[Server] = []
        nginx = None
        try:
            static = (*NO_TRUST, "--static", f"/static={root}", "--cache", "4MiB")
            for number, flags in enumerate([(), static]):
                place = directory / str(number)
                place.mkdir()
                server = Server(
                    place,
                    "edge_site:app",
                    "--threads",
                    "8",
                    *flags,
                    chdir=APPS,
                    environment=environment,
                )
                servers.append(server)
            nginx = Nginx(directory, servers[0].port, NGINX.replace("ROOT", str(root)))
            targets = [Target(("127.0.0.1", port)) for port in (servers[1].port, nginx.port)]
            print("| | attack | Lockgate | nginx |\n|---|---|---|---|")
            for area, title, attack in cases():
                shown = [outcome(attack, target).text for target in targets]
                print(f"| {area} | {title} | {' | '.join(shown)} |", flush=True)
        finally:
            if nginx:
                nginx.end()
            for server in servers:
                server.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
