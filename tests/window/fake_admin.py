"""A stand-in for the admin listener: the page, and the answers of one scenario.

`python -m window.fake_admin database 9000`, in `tests/`, serves a scenario to a browser.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from window.page_source import assembled
from window.profiles import profile
from window.situations import SITUATIONS


class FakeAdmin:
    """Serves `scenario` until `close`. `shift` seconds are added to its clock."""

    def __init__(self, scenario, port=0):
        self.shift = 0.0
        self.is_closed = False
        self.requests = []
        #: Paths that are answered with 404.
        self.without = set()
        #: Paths that are answered with 500.
        self.failing = set()
        self.show(scenario)
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def show(self, scenario):
        """Another scenario from now on, or the situation of that name."""
        self.scene = (SITUATIONS[scenario] if isinstance(scenario, str) else scenario).scene(
            self.clock()
        )

    def clock(self):
        return time.time() + self.shift

    def close(self):
        """Ends connections, too: a request of one gets no answer any more."""
        self.is_closed = True
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method, target, headers):
        """Status, type and body."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        now = self.clock()
        if parts.path in self.without:
            return 404, "text/plain", "not found\n"
        if parts.path in self.failing:
            return 500, "text/plain", "it fails\n"
        if method == "POST" and parts.path.startswith("/actions/"):
            if "Lockgate-Action" not in headers:
                return 403, "text/plain", "the header Lockgate-Action is missing\n"
            return 202, "application/json", json.dumps({"action": parts.path[9:]})
        if parts.path == "/":
            return 200, "text/html; charset=utf-8", assembled()[0]
        if parts.path == "/now":
            return 200, "application/json", json.dumps(self.scene.now(now))
        if parts.path == "/history":
            end = float(query.get("to", now))
            found = self.scene.history(now, float(query["from"]), end, float(query["step"]))
            return 200, "application/json", json.dumps(found)
        if parts.path == "/events":
            events = self.scene.events(int(query.get("after", 0)))
            last = max(event["id"] for event in self.scene.events(0))
            return 200, "application/json", json.dumps({"events": events, "last": last})
        if parts.path == "/profile":
            if "Lockgate-Action" not in headers:
                return 403, "text/plain", "the header Lockgate-Action is missing\n"
            return profile(query)
        return 404, "text/plain", "not found\n"

    def _handler(admin):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if admin.is_closed:
                    self.close_connection = True
                    return
                admin.requests.append((self.command, self.path))
                status, kind, body = admin.answer(self.command, self.path, self.headers)
                data = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Cache-Control", "no-store")
                if kind.startswith("text/html"):
                    self.send_header("Content-Security-Policy", assembled()[1])
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        return Handler


if __name__ == "__main__":
    admin = FakeAdmin(sys.argv[1], int(sys.argv[2]))
    print(admin.url, flush=True)
    threading.Event().wait()
