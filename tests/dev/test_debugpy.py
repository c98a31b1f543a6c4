"""`lockgate dev --debugpy`: an editor attaches, and breakpoints stop requests."""

import itertools
import json
import socket
import threading

import pytest
from harness import free_port
from harness.dev import DevServer, project
from harness.patience import eventually
from harness.requirements import require_module

APP = """def application(environ, start_response):
    answer = "first"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.encode()]
"""


class Editor:
    """A client of the Debug Adapter Protocol."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.file = self.socket.makefile("rb")
        self.numbers = itertools.count(1)
        self.events = []

    def send(self, command, **arguments):
        number = next(self.numbers)
        message = {"seq": number, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self.socket.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        return number

    def receive(self):
        length = 0
        while (line := self.file.readline().strip()) or not length:
            assert line, "the debugger has closed the connection"
            length = int(line.partition(b":")[2])
        return json.loads(self.file.read(length))

    def until(self, **wanted):
        while True:
            message = self.receive()
            if wanted.items() <= message.items():
                return message

    def ask(self, command, **arguments):
        number = self.send(command, **arguments)
        answer = self.until(type="response", request_seq=number)
        assert answer["success"], answer
        return answer.get("body", {})

    def attach(self, path, line):
        """Attaches with a breakpoint."""
        self.ask("initialize", adapterID="test", pathFormat="path")
        self.send("attach", name="test")
        self.until(type="event", event="initialized")
        found = self.ask("setBreakpoints", source={"path": str(path)}, breakpoints=[{"line": line}])
        assert found["breakpoints"][0]["verified"]
        self.ask("configurationDone")

    def close(self):
        self.file.close()
        self.socket.close()


@pytest.fixture
def develop(tmp_path):
    started = []

    def start(*arguments):
        require_module("debugpy")
        server = DevServer(project(tmp_path, {"app.py": APP}), *arguments)
        started.append(server)
        return server

    yield start
    for server in started:
        server.end()


def stop_once(server, port, expected):
    """Stops a request of the version that answers `expected`, and changes what it answers."""
    editor = Editor(port)
    try:
        editor.attach(server.directory / "app.py", 3)
        answers = []
        request = threading.Thread(target=lambda: answers.append(server.get().text), daemon=True)
        request.start()
        thread = editor.until(type="event", event="stopped")["body"]["threadId"]
        frame = editor.ask("stackTrace", threadId=thread)["stackFrames"][0]
        value = editor.ask("evaluate", expression="answer", frameId=frame["id"], context="repl")
        assert value["result"] == repr(expected)
        editor.ask("evaluate", expression="answer = 'changed'", frameId=frame["id"], context="repl")
        editor.ask("continue", threadId=thread)
        request.join(60)
        assert answers == ["changed"]
    finally:
        editor.close()


@pytest.mark.parametrize("mode", ["--reload", "--no-reload"])
def test_a_breakpoint_of_an_editor_stops_a_request(develop, mode):
    port = free_port()
    server = develop("--debugpy", str(port), mode)
    server.wait_for(rf"debugpy listens at 127.0.0.1:{port}")
    stop_once(server, port, "first")
    assert server.interrupt() == 0


def test_after_a_reload_the_new_version_listens(develop):
    port = free_port()
    server = develop("--debugpy", str(port))
    listens = f"debugpy listens at 127.0.0.1:{port}"
    server.wait_for(listens)
    assert server.get().text == "first"
    server.save("app.py", APP.replace("first", "second"))
    server.eventually("/", "second")
    eventually(lambda: server.errors.count(listens) == 2, within=60, what="debugpy listens again")
    stop_once(server, port, "second")
