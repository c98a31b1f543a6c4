"""A program with a `lockgate.Server`: its own state, its children, and its end."""

import subprocess
import sys
import textwrap
import time

import pytest

#: The beginning of each program.
PREAMBLE = """
import lockgate, os, signal, socket, sys, threading, time
from urllib.request import urlopen

def hello(environ, start_response):
    if environ["PATH_INFO"] == "/sleep":
        time.sleep(600)
    while environ["PATH_INFO"] == "/spin":
        pass
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]

def begin(path):
    # A request that does not end; returns when it runs.
    client = socket.create_connection(("127.0.0.1", server.port))
    client.sendall(b"GET %s HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n" % path.encode())
    while not [t for t in threading.enumerate() if t.name == "lockgate-worker"]:
        time.sleep(0.01)
    time.sleep(0.2)
    return client

server = lockgate.Server(hello, port=0)
"""


def run(program, within=30):
    code = PREAMBLE + textwrap.dedent(program)
    # From 3.12 on Python warns of each fork in a process with threads.
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=within)


def output(program, within=30):
    done = run(program, within)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def test_nothing_of_the_process_changes():
    output(
        """
        import faulthandler, gc, locale, logging, resource

        def state():
            return {
                "signals": [signal.getsignal(number) for number in signal.valid_signals()],
                "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
                # Not SigQ, which counts the queued signals of all processes of the user.
                "dispositions": [
                    line for line in open("/proc/self/status")
                    if line.startswith(("SigBlk", "SigCgt", "SigIgn", "SigPnd", "Umask"))
                ],
                "wakeup": signal.set_wakeup_fd(-1),
                "path": list(sys.path),
                "environment": dict(os.environ),
                "directory": os.getcwd(),
                "interval": sys.getswitchinterval(),
                "gc": (gc.isenabled(), gc.get_freeze_count(), gc.get_threshold(), gc.callbacks[:]),
                "loggers": sorted(logging.root.manager.loggerDict),
                "handlers": (logging.root.handlers[:], logging.root.level),
                "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
                "streams": (sys.stdin, sys.stdout, sys.stderr),
                "faulthandler": faulthandler.is_enabled(),
                "limits": [resource.getrlimit(number) for number in range(16)],
                "name": open("/proc/self/comm").read(),
                "arguments": open("/proc/self/cmdline").read(),
                "ids": (os.getuid(), os.getgid(), os.getpgid(0), os.getsid(0)),
                "blocking": [os.get_blocking(number) for number in range(3)],
                "context": list(__import__("contextvars").copy_context().items()),
                "trace": (sys.gettrace(), sys.getprofile()),
            }

        # The C library catches a signal of its own from the first thread on.
        first = threading.Thread(target=time.time)
        first.start()
        first.join()
        before = state()
        with server:
            assert urlopen(server.url).read() == b"hello"
            during = state()
        after = state()
        for found in (during, after):
            changed = [key for key in before if found[key] != before[key]]
            assert not changed, [(key, before[key], found[key]) for key in changed]
        """
    )


@pytest.mark.parametrize(
    "last",
    [
        "",
        "urlopen(server.url).read()",
        "client = begin('/'); print('kept alive')",
        "client = begin('/sleep')",
        "client = begin('/spin')",
        "clients = [begin('/spin') for _ in range(3)]",
        "threading.Thread(target=lambda: time.sleep(0.3)).start()",
        "threading.Thread(target=server.wait, daemon=True).start()",
        "sys.exit(0)",
        "client = begin('/sleep'); os.kill(os.getpid(), signal.SIGINT)",
    ],
)
def test_a_program_ends_although_its_server_runs(last):
    began = time.monotonic()
    done = run(f"server.start()\ntry:\n    {last or 'pass'}\nexcept KeyboardInterrupt:\n    pass")
    assert done.returncode == 0, done
    assert done.stderr == ""
    assert time.monotonic() - began < 15


def test_exit_functions_and_threads_of_the_program_still_reach_the_server():
    text = output(
        """
        import atexit
        server.start()
        url = server.url
        # A thread of the program keeps it alive, and exit functions run in reverse order.
        atexit.register(lambda: print("at exit:", urlopen(url).read()))
        def later():
            time.sleep(0.3)
            print("thread:", urlopen(url).read())
        threading.Thread(target=later).start()
        """
    )
    assert text == "thread: b'hello'\nat exit: b'hello'\n"


def test_an_interrupt_ends_a_wait():
    text = output(
        """
        server.start()
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            server.wait()
        except KeyboardInterrupt:
            print("interrupted")
        assert urlopen(server.url).read() == b"hello"
        server.stop()
        """
    )
    assert text == "interrupted\n"


def test_a_forked_child_has_neither_server_nor_sockets():
    text = output(
        """
        server.start()
        client = begin("/")
        port = server.port
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < 0.05
            try:
                server.port
            except RuntimeError:
                print("not running in the child", flush=True)
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            # Lives until the parent has stopped its server.
            os.read(reading, 1)
            os._exit(0)
        os.close(reading)
        assert urlopen(server.url).read() == b"hello"
        server.stop()
        # The child keeps neither the listener nor the connection open.
        assert client.recv(1) == b""
        try:
            socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            print("refused", flush=True)
        os.close(writing)
        assert os.waitpid(child, 0)[1] == 0
        """
    )
    assert text == "not running in the child\nrefused\n"


def test_a_forked_child_starts_a_server_of_its_own():
    text = output(
        """
        import multiprocessing
        server.start()
        def serve(queue):
            with lockgate.Server(hello, port=0) as own:
                for _ in range(3):
                    assert urlopen(own.url).read() == b"hello"
                server.start()
                assert urlopen(server.url).read() == b"hello"
                queue.put(own.port != server.port)
            server.stop()
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        children = [context.Process(target=serve, args=(queue,)) for _ in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join(20)
            print(child.exitcode, queue.get())
        assert urlopen(server.url).read() == b"hello"
        server.stop()
        """
    )
    assert text == "0 True\n" * 3


def test_programs_that_it_starts_do_not_inherit_its_sockets():
    text = output(
        """
        import subprocess
        server.start()
        client = begin("/")
        listed = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True)
        print(listed.stdout.count(b"socket:"))
        server.stop()
        """
    )
    assert text == "0\n"


def test_a_child_that_a_request_forks_ends_with_its_call():
    text = output(
        """
        def forking(environ, start_response):
            child = os.fork()
            if child:
                os.waitpid(child, 0)
            start_response("200 OK", [])
            return [b"%d" % (child == 0)]
        with lockgate.Server(forking, port=0, log_level="error") as server:
            print(urlopen(server.url).read())
        """
    )
    assert text == "b'0'\n"


@pytest.mark.parametrize("package", ["gevent", "eventlet"])
def test_patched_threads_are_refused(package):
    pytest.importorskip(package)
    patch = {
        "gevent": "import gevent.monkey; gevent.monkey.patch_all()",
        "eventlet": "import eventlet; eventlet.monkey_patch()",
    }[package]
    start = "try:\n    server.start()\nexcept Exception as error:\n    print(error)"
    code = f"{patch}\n{PREAMBLE}\n{start}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert f"{package} has replaced Python's threads and locks" in done.stdout, done
