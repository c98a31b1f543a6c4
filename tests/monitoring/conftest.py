"""A server with everything on that has metrics."""

import contextlib
import json
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from harness import eventually, free_port
from harness.admin import parse
from harness.requirements import require_program
from monitoring.files import RULES

SETTINGS = """
cache = true
push = true
rate_limit = [
    { name = "all", rate = "100000/min" },
    { name = "trial", rate = "100000/min", dry_run = true },
]
rate_limit_redis = "redis://127.0.0.1:1"
domain = ["shop.example"]
acme_directory = "https://127.0.0.1:1/directory"
"""
#: An attempt of an earlier server has failed.
ACME = {
    "directory": "https://127.0.0.1:1/directory",
    "failures": 1,
    "last_error": "refused",
    "last_attempt": int(time.time()),
    "next_attempt": int(time.time()) + 3600,
}


class Site:
    def __init__(self, start, directory, certificate):
        self.admin_port = free_port()
        settings = directory / "lockgate.toml"
        settings.write_text(SETTINGS)
        state = directory / "acme/state/shop.example.json"
        state.parent.mkdir(parents=True)
        state.write_text(json.dumps(ACME))
        http, https = free_port(), free_port()
        self.server = start(
            "hello:app",
            *("--config", str(settings), "--acme-dir", str(directory / "acme")),
            *("--admin-bind", f"127.0.0.1:{self.admin_port}", *certificate),
            workers=2,
            bind=[f"http://127.0.0.1:{http}", f"https://127.0.0.1:{https}"],
        )
        # Plain HTTP is redirected, since the site has a domain.
        unverified = ssl._create_unverified_context()
        for _ in range(3):
            urllib.request.urlopen(f"https://127.0.0.1:{https}/", context=unverified).read()

    def samples(self):
        """By name and labels. Failed attempts of ACME appear with the first one."""
        url = f"http://127.0.0.1:{self.admin_port}/metrics"

        def scrape():
            with urllib.request.urlopen(url, timeout=20) as answer:
                found = parse(answer.read().decode())
            return found if any("lockgate_acme" in name for name in found) else None

        return eventually(scrape, within=20, what="metrics of ACME")


class Prometheus:
    """The real one, which scrapes a site each second."""

    def __init__(self, directory, site):
        self.port = free_port()
        program = require_program("prometheus", package="prometheus")
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "lockgate",
                    "static_configs": [{"targets": [f"127.0.0.1:{site.admin_port}"]}],
                }
            ],
        }
        file = directory / "prometheus.yml"
        # JSON is YAML.
        file.write_text(json.dumps(configuration))
        self.log = (directory / "prometheus.log").open("w+")
        self.process = subprocess.Popen(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self.log,
            stderr=self.log,
        )

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # while it starts
                raise
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression):
        return self.ask("query", query=expression)["result"]

    def wait_until_scraped(self, times):
        def is_scraped():
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                [found] = self.query("count_over_time(lockgate_uptime_seconds[1m])") or [None]
                return found and int(found["value"][1]) >= times
            return False

        eventually(is_scraped, within=40, what=f"{times} scrapes")

    def end(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def site(shared, tmp_path_factory, certificate):
    return Site(shared, tmp_path_factory.mktemp("site"), certificate)


@pytest.fixture(scope="module")
def prometheus(site, tmp_path_factory):
    one = Prometheus(tmp_path_factory.mktemp("prometheus"), site)
    yield one
    one.end()
