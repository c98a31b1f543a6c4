"""A server with an admin listener, asked as operators and Prometheus do."""

import json
import re
from urllib.parse import urlencode

from harness.patience import eventually
from harness.process import run
from harness.wire import Wire, request


class Admin:
    """A server that answers operators on a unix socket."""

    def __init__(self, start, directory, app, *arguments, wait=True, **options):
        self.path = directory / "admin.sock"
        self.address = f"unix:{self.path}"
        self.server = start(app, "--admin-bind", self.address, *arguments, wait=wait, **options)
        if wait:
            # Workers that are ready may not have written their first status yet.
            count = options.get("workers") or 1
            eventually(lambda: len(self.workers()) >= count, what=f"{count} workers in /status")

    def ask(self, target, method="GET"):
        with Wire(str(self.path)) as wire:
            wire.send(request(method, target, "Connection: close", host="localhost"))
            response = wire.response(method)
            wire.expect_close()
        return response

    def status(self):
        response = self.ask("/status")
        assert response.status == 200
        return json.loads(response.body)

    def samples(self):
        """Every sample by its name and labels, in the text format 0.0.4."""
        response = self.ask("/metrics")
        assert response.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        return parse(response.body.decode())

    def ctl(self, *arguments):
        return run("ctl", "--admin", self.address, *arguments)

    def workers(self):
        return [worker["pid"] for worker in self.status()["workers"]]

    def stacks(self):
        response = self.ask("/stacks")
        assert response.status == 200, response
        return json.loads(response.body)["workers"]

    def profile(self, **query):
        """The text of a profile."""
        response = self.ask_for_profile(**query)
        assert response.status == 200, response
        return response.body.decode()

    def ask_for_profile(self, **query):
        target = f"/profile?{urlencode(query)}"
        with Wire(str(self.path), timeout=query["seconds"] + 20) as wire:
            headers = ["Connection: close", "Lockgate-Action: test"]
            wire.send(request("GET", target, *headers, host="localhost"))
            response = wire.response()
            wire.expect_close()
        return response


LABEL = r'[a-z_]+="[^"\\\n]*"'
SAMPLE = re.compile(rf"([a-z_]+)((?:{{{LABEL}(?:,{LABEL})*}})?) ([0-9.]+)")


def parse(text):
    found, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("#"):
            word, name, rest = line[2:].split(" ", 2)
            assert word in ("HELP", "TYPE") and rest, line
            if word == "TYPE":
                assert name not in kinds, line
                kinds[name] = rest
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        name, labels, value = sample.groups()
        family = re.sub("_(bucket|sum|count)$", "", name)
        assert name in kinds or kinds[family] == "histogram", line
        assert name + labels not in found, line
        found[name + labels] = float(value)
    return found
