"""`lockgate dev` at a terminal: the debugger's prompt, Ctrl-C, Ctrl-Z, and a closed window."""

import sys
import threading
import urllib.request

import pytest
from harness.dev import environment_of, project
from harness.patience import eventually
from harness.terminal import Terminal

APP = """def application(environ, start_response):
    answer = 41
    if environ["PATH_INFO"] == "/stops":
        breakpoint()
    print("printed")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"answer {answer}".encode()]
"""
DEV = [sys.executable, "-m", "lockgate", "dev", "--port", "0"]
MODES = pytest.mark.parametrize("mode", ["--reload", "--no-reload"])


@pytest.fixture
def terminal(tmp_path):
    """Opens a terminal with a command in the project."""
    opened = []
    project(tmp_path, {"app.py": APP})

    def start(*command):
        one = Terminal(command, tmp_path, environment_of({}))
        opened.append(one)
        return one

    yield start
    for one in opened:
        one.end()


class Request(threading.Thread):
    """A request in the background; `answer` is its body, or the exception."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.answer = url, None
        self.start()

    def run(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.url, timeout=60) as response:
                self.answer = response.read().decode()
        except OSError as error:
            self.answer = repr(error)

    def wait(self):
        self.join(60)
        return self.answer


def url_in(terminal):
    return terminal.expect(r"^(http://\S+)")[1]


@MODES
def test_breakpoint_has_its_prompt_at_the_terminal(terminal, mode):
    window = terminal(*DEV, mode)
    request = Request(url_in(window) + "/stops")
    window.expect(r"\(Pdb\) ")
    window.type("p answer + 1\n")
    window.expect(r"^42$")
    window.type("answer = 7\n")
    window.expect(r"\(Pdb\) $")
    window.type("c\n")
    assert request.wait() == "answer 7"
    window.expect(r"^printed$")
    window.type("\x03")
    assert window.process.wait(30) == 0
    assert "Traceback" not in window.seen


def test_a_second_breakpoint_waits_for_the_prompt(terminal):
    window = terminal(*DEV)
    url = url_in(window) + "/stops"
    requests = [Request(url), Request(url)]
    for answers in (1, 2):
        window.expect(r"(?s)" + r"(\(Pdb\) .*)" * answers)
        shown = len(window.seen)
        window.type(f"answer = {answers}\nc\n")
        eventually(
            lambda answers=answers: len([one for one in requests if one.answer]) == answers,
            within=30,
            what="an answer",
        )
        assert "(Pdb)" in window.seen[:shown]
    assert sorted(one.wait() for one in requests) == ["answer 1", "answer 2"]


STEPS = """import pdb

def application(environ, start_response):
    name = environ["QUERY_STRING"]
    STOP
    a = 1
    b = 2
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [name.encode()]
"""


@pytest.mark.parametrize("stop", ["breakpoint()", "pdb.set_trace()"])
def test_a_step_stays_in_its_request(terminal, tmp_path, stop):
    project(tmp_path, {"app.py": STEPS.replace("STOP", stop)})
    window = terminal(*DEV)
    url = url_in(window)
    requests = [Request(f"{url}/?name1"), Request(f"{url}/?name2")]
    names = []
    begin = 0

    def type_and_expect(text, pattern):
        shown = len(window.seen)
        window.type(text)
        return window.expect(pattern, since=shown)

    for turn in (1, 2):
        window.expect(r"\(Pdb\) ", since=begin)
        line = ""
        # The first prompt is at the line of the call from Python 3.13 on, before that at the next.
        while "-> return" not in line:
            names.append(type_and_expect("p name\n", r"^'(name\d)'\n\(Pdb\) ")[1])
            line = type_and_expect("n\n", r"(?s)-> .*\(Pdb\) ")[0]
        type_and_expect("n\n", r"(?s)--Return--.*\(Pdb\) ")
        begin = len(window.seen)
        # This step leaves the call. The next request has the prompt then.
        window.type("n\n")
        eventually(
            lambda turn=turn: len([one for one in requests if one.answer]) == turn,
            within=30,
            what="an answer",
        )
    steps = len(names) // 2
    assert names in (["name1"] * steps + ["name2"] * steps, ["name2"] * steps + ["name1"] * steps)
    assert [one.wait() for one in requests] == ["name1", "name2"]


def test_saves_leave_a_prompt_open_and_end_other_requests_of_old_versions(terminal, tmp_path):
    def save(version):
        text = APP.replace("41", version)
        text = text.replace(
            "    print", '    if "slow" in environ["PATH_INFO"]: time.sleep(300)\n    print'
        )
        project(tmp_path, {"app.py": "import time\n" + text})

    save("1")
    window = terminal(*DEV)
    url = url_in(window)
    stopped = Request(url + "/stops")
    window.expect(r"\(Pdb\) ")
    save("20")
    eventually(lambda: Request(url).wait() == "answer 20", within=30, what="the next version")
    slow = Request(url + "/slow")
    save("300")
    eventually(lambda: Request(url).wait() == "answer 300", within=30, what="the last version")
    # The version between ends, later than the first one would have.
    assert slow.wait() is not None
    window.type("c\n")
    assert stopped.wait() == "answer 1"


@MODES
def test_ctrl_c_at_the_prompt_ends_it_and_the_terminal_echoes_again(terminal, mode):
    window = terminal(*DEV, mode)
    request = Request(url_in(window) + "/stops")
    window.expect(r"\(Pdb\) ")
    assert not window.echoes
    window.type("\x03")
    assert window.process.wait(30) == 0
    assert window.echoes
    assert window.members() == []
    assert "Remote end closed connection" in request.wait()
    assert "Traceback" not in window.seen


@pytest.mark.parametrize("path", ["/", "/stops"])
def test_a_closed_window_ends_it(terminal, path):
    window = terminal(*DEV)
    url = url_in(window)
    request = Request(url + path)
    if path == "/":
        assert request.wait() == "answer 41"
    else:
        window.expect(r"\(Pdb\) ")
    window.close()
    assert window.process.wait(30) == 0
    eventually(lambda: window.members() == [], within=30, what="no process is left")


def test_hup_of_another_terminal_reloads_it(terminal, tmp_path):
    window = terminal(*DEV)
    url = url_in(window)
    assert Request(url).wait() == "answer 41"
    project(tmp_path, {"app.py": APP.replace("41", "43")})
    window.process.send_signal(1)
    eventually(lambda: Request(url).wait() == "answer 43", within=30, what="the new version")


def test_it_can_be_suspended_and_resumed(terminal):
    window = terminal("bash", "--norc", "-i")
    window.type(" ".join(DEV) + "\n")
    url = url_in(window)
    assert Request(url).wait() == "answer 41"
    window.type("\x1a")
    window.expect("Stopped")
    request = Request(url)
    window.type("fg\n")
    assert request.wait() == "answer 41"
    window.type("\x03")
    eventually(lambda: len(window.members()) == 1, within=30, what="only the shell is left")
    window.type("echo code $?\n")
    window.expect(r"code 0\n")


def test_a_breakpoint_of_a_job_in_the_background_stops_the_job(terminal):
    """As any program that reads from the terminal; the same server goes on in the foreground."""
    window = terminal("bash", "--norc", "-i")
    window.type(" ".join(DEV) + " &\n")
    request = Request(url_in(window) + "/stops")

    def is_stopped():
        window.type("jobs\n")
        return "Stopped" in window.seen

    eventually(is_stopped, within=30, what="the job is stopped")
    window.type("fg\n")
    window.expect(r"\(Pdb\) ")
    window.type("c\n")
    assert request.wait() == "answer 41"
