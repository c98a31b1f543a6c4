"""Pages that attack the admin listener of their viewer, and the tunnel that they come through."""

import contextlib
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REQUEST = re.compile(rb"^([A-Z]+) (\S+) HTTP/1\.1\r\n(.*?)\r\n\r\n", re.MULTILINE | re.DOTALL)
STATUS = re.compile(rb"^HTTP/1\.1 (\d{3}) ", re.MULTILINE)

#: Each way of a page to a URL, as a function in JavaScript. The value is what the page gets of it.
WAYS = {
    "fetch": "async url => (await fetch(url)).text()",
    "a fetch that cannot read": "async url => (await fetch(url, {mode: 'no-cors'})).type",
    "a fetch with the header": "async url => (await fetch(url, {headers: ACTION})).text()",
    "a POST": "async url => (await fetch(url, {method: 'POST', mode: 'no-cors'})).type",
    "a POST with the header": "async url => (await fetch(url, {method: 'POST', headers: ACTION}))"
    ".text()",
    "a POST of a sandboxed frame": "url => framed(url)",
    "an event stream": "url => loaded(new EventSource(url), 'open')",
    "a WebSocket": "url => loaded(new WebSocket(url.replace('http', 'ws')), 'open')",
    "an image": "url => loaded(element('img', {src: url}))",
    "a script": "url => loaded(element('script', {src: url}))",
    "a style sheet": "url => loaded(element('link', {rel: 'stylesheet', href: url}))",
    "a font": "url => new FontFace('stolen', `url(${url})`).load().then(() => 'loaded')",
    "a worker": "url => loaded(new Worker(url), 'message')",
    "a beacon": "url => { navigator.sendBeacon(url, 'x'); return 'nothing' }",
}

#: Loads `url` in a frame, which fires `load` even if the browser shows nothing of the answer.
FRAME = "url => shown(element('iframe', {src: url}))"
FORM = "url => sent(url)"

SCRIPT = """
const ACTION = {"Lockgate-Action": "page"}
function element(name, attributes) {
  const made = Object.assign(document.createElement(name), attributes)
  document.body.append(made)
  return made
}
function loaded(target, event = "load") {
  return new Promise((resolve, reject) => {
    target.addEventListener(event, () => resolve("loaded"))
    target.addEventListener("error", () => reject(new Error("refused")))
  })
}
async function shown(frame) {
  await loaded(frame)
  try { return frame.contentDocument.body.innerText } catch { return "nothing" }
}
function framed(url) {
  const text = `<script>fetch(${JSON.stringify(url)}, {method: "POST", mode: "no-cors"})
    .finally(() => parent.postMessage("done", "*"))<\\/script>`
  return new Promise(resolve => {
    addEventListener("message", () => resolve("nothing"), {once: true})
    element("iframe", {sandbox: "allow-scripts", srcdoc: text})
  })
}
async function sent(url) {
  const frame = element("iframe", {name: "target" + Math.random()})
  const form = element("form", {method: "post", action: url, target: frame.name})
  const answer = loaded(frame)
  form.submit()
  await answer
  try { return frame.contentDocument.body.innerText || "nothing" } catch { return "nothing" }
}
async function attack(ways, urls) {
  const found = {}
  const within = promise => Promise.race([
    promise, new Promise((_, reject) => setTimeout(() => reject(new Error("silence")), 4000))])
  await Promise.all(ways.flatMap(([name, way]) => urls.map(async url => {
    try { found[name + " of " + url] = await within(Promise.resolve().then(() => way(url))) }
    catch (error) { found[name + " of " + url] = "nothing" }
  })))
  return found
}
"""


def attack(ways, urls):
    """An expression whose value is what a page gets by these ways from these URLs."""
    pairs = ", ".join(f"[{name!r}, {way}]" for name, way in ways.items())
    return f"attack([{pairs}], {list(urls)!r})"


class HostileSite:
    """A site of an attacker, on a port of this machine."""

    def __init__(self):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = f"<!doctype html><title>x</title><body><script>{SCRIPT}</script>".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Tunnel:
    """A port that leads to a unix socket, as `ssh -L 9000:/run/admin.sock` makes it.

    It remembers the requests that have passed, with the statuses of their answers.
    """

    def __init__(self, path):
        self.path = str(path)
        self.connections = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def forget(self):
        self.connections.clear()

    def passed(self):
        """The method, target, head and status of each request that has been answered."""
        found = []
        for asked, answered in list(self.connections):
            statuses = [int(status) for status in STATUS.findall(bytes(answered))]
            requests = REQUEST.findall(bytes(asked))
            for (method, target, head), status in zip(requests, statuses, strict=False):
                found.append((method.decode(), target.decode(), head.decode(), status))
        return found

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.path)
                record = (bytearray(), bytearray())
                self.connections.append(record)
                for source, target, copy in (
                    (client, server, record[0]),
                    (server, client, record[1]),
                ):
                    arguments = (source, target, copy)
                    threading.Thread(target=self._pass, args=arguments, daemon=True).start()

    def _pass(self, source, target, copy):
        with contextlib.suppress(OSError):
            while received := source.recv(65536):
                copy += received
                target.sendall(received)
            target.shutdown(socket.SHUT_WR)
