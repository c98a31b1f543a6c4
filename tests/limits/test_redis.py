"""Hosts that share what they count: no request waits for Redis, or fails for want of it."""

import contextlib
import itertools
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from harness import eventually
from harness.admin import Admin
from harness.process import children
from harness.redis import Redis
from harness.slow_link import SlowLink

SHARED = "rate limits are shared through"
CANNOT = "cannot share rate limits through"
AGAIN = " again, after "

#: Seconds that an outage lasts, and that a request may take on a machine that does something else.
OUTAGE = 5
LATE = 1.0

#: Clients of their own for each test.
NAMES = itertools.count()


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path)
    yield server
    with contextlib.suppress(ProcessLookupError):
        server.process.send_signal(signal.SIGCONT)
    server.kill()


@pytest.fixture
def launch(start, tmp_path):
    """Starts a host with a limit of `rate` by client, and waits until it shares what it counts."""

    def launch(url, *arguments, rate="100/h", shares=True, key="header:X-Client"):
        directory = tmp_path / f"host{next(NAMES)}"
        directory.mkdir()
        settings = directory / "lockgate.toml"
        settings.write_text(
            f'rate_limit = [{{ rate = "{rate}", key = "{key}" }}]\nrate_limit_redis = "{url}"\n'
        )
        host = Admin(start, directory, "hello:app", "--config", str(settings), *arguments)
        if shares:
            host.server.wait_for_log(SHARED)
        return host

    return launch


def client():
    return f"client-{next(NAMES)}"


def ask(host, name):
    """The status: 200, or 429 beyond the limit."""
    status = host.server.get("/", f"X-Client: {name}").status
    assert status in (200, 429)
    return status


def use_up(host, name):
    """How many requests the host allows."""
    return sum(1 for _ in iter(lambda: ask(host, name), 429))


def is_refused(host, name):
    return lambda: ask(host, name) == 429


def relay_pid(host):
    [pid] = [pid for pid in children(host.server.pid) if "relay" in comm(pid)] or [None]
    return pid


def comm(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text()
    return ""


def assert_shares(first, second):
    """What the first host counts counts on the second, before that has allowed as much itself."""
    name = client()
    assert use_up(first, name) == 100
    allowed = 0
    until = time.monotonic() + 20
    while ask(second, name) == 200:
        allowed += 1
        assert time.monotonic() < until
        # Longer than an exchange: the next request knows of this one.
        threading.Event().wait(0.3)
    assert allowed < 50


def test_what_one_host_counts_counts_on_all(redis, launch):
    hosts = [launch(redis.url, "--workers", "2"), launch(redis.url), launch(redis.url)]
    for first, second in itertools.permutations(hosts, 2):
        assert_shares(first, second)


def test_redis_gets_no_address_and_keeps_no_key_for_ever(redis, launch):
    host = launch(redis.url, key="address")
    seed = b"lockgate:{rate}:seed"
    assert host.server.get("/").status == 200

    def names():
        answer = redis.command("KEYS", "*")
        return [line for line in answer.split(b"\r\n") if line.startswith(b"lockgate:{rate}:")]

    eventually(lambda: len(names()) == 2, what="the key of the client")
    assert redis.command("DBSIZE") == b":2\r\n"
    [key] = [name for name in names() if name != seed]
    assert len(key) == len(b"lockgate:{rate}:") + 32
    assert 0 < int(redis.command("TTL", key.decode())[1:]) <= 3600
    assert redis.command("GET", seed.decode()) not in (
        b"$-1\r\n",
        redis.command("GET", key.decode()),
    )


class Outage:
    """A fault of Redis, and its end."""

    def __init__(self, kind, server):
        self.kind = kind
        self.server = server
        self.link = SlowLink(server.port, 0.4)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.link.port if self.kind == 'slow' else self.server.port}"

    def begin(self):
        if self.kind == "slow":
            self.link.is_slow = True
        elif self.kind == "frozen":
            self.server.process.send_signal(signal.SIGSTOP)
        elif self.kind == "full":
            assert self.server.command("CONFIG", "SET", "maxmemory", "1") == b"+OK\r\n"
        elif self.kind == "other password":
            assert self.server.command("CONFIG", "SET", "requirepass", "x") == b"+OK\r\n"
            self.server.command("CLIENT", "KILL", "TYPE", "normal", password="x")
        else:
            self.server.kill()

    def end(self):
        if self.kind == "slow":
            self.link.is_slow = False
        elif self.kind == "frozen":
            self.server.process.send_signal(signal.SIGCONT)
        elif self.kind == "full":
            assert self.server.command("CONFIG", "SET", "maxmemory", "0") == b"+OK\r\n"
        elif self.kind == "other password":
            self.server.command("CONFIG", "SET", "requirepass", '""', password="x")
        else:
            # Without its data.
            self.server.start()


@pytest.fixture(params=["killed", "frozen", "slow", "full", "other password"])
def outage(request, redis):
    made = Outage(request.param, redis)
    yield made
    made.link.close()


def test_no_request_waits_or_fails_without_redis(outage, launch):
    hosts = [launch(outage.url, "--threads", "4"), launch(outage.url)]
    limited = client()
    assert use_up(hosts[0], limited) == 100
    assert_shares(*hosts)
    times = []
    outage.begin()
    until = time.monotonic() + OUTAGE

    def load():
        name = client()
        while time.monotonic() < until or len(times) < 500:
            begun = time.monotonic()
            ask(hosts[0], name)
            times.append(time.monotonic() - begun)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) >= 500
    assert max(times) < LATE
    for host in hosts:
        host.server.wait_for_log(CANNOT)
        # Each limits alone.
        assert use_up(host, client()) == 100
        assert host.samples()["lockgate_rate_limit_redis_up"] == 0
    # What is known is not forgotten.
    assert ask(hosts[0], limited) == 429
    outage.end()
    for host in hosts:
        host.server.wait_for_log(AGAIN)
    assert ask(hosts[0], limited) == 429
    assert_shares(*hosts)
    # A line for each reason: the connection is lost, and the next one is refused.
    reasons = 2 if outage.kind == "other password" else 1
    for host in hosts:
        assert host.server.errors.count(CANNOT) == reasons
        assert host.server.errors.count(AGAIN) == 1
        assert host.samples()["lockgate_rate_limit_redis_up"] == 1


def test_hosts_start_without_redis(redis, launch):
    redis.kill()
    hosts = [launch(redis.url, shares=False) for _ in range(2)]
    for host in hosts:
        host.server.wait_for_log(CANNOT)
        assert use_up(host, client()) == 100
    redis.start()
    for host in hosts:
        host.server.wait_for_log(AGAIN)
        assert host.server.errors.count(CANNOT) == 1
    assert_shares(*hosts)


def test_a_relay_that_is_killed_is_replaced(redis, launch):
    hosts = [launch(redis.url) for _ in range(2)]
    limited = client()
    assert use_up(hosts[0], limited) == 100
    before = relay_pid(hosts[0])
    since = len(hosts[0].server.errors)
    os.kill(before, signal.SIGKILL)
    assert ask(hosts[0], limited) == 429
    hosts[0].server.wait_for_log(SHARED, since=since, within=30)
    assert relay_pid(hosts[0]) != before
    assert ask(hosts[0], limited) == 429
    assert_shares(*hosts)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2], ids=["reload", "upgrade"])
def test_limits_are_shared_after_a_reload_and_an_upgrade(redis, launch, number):
    hosts = [launch(redis.url) for _ in range(2)]
    limited = client()
    assert use_up(hosts[0], limited) == 100
    since = len(hosts[0].server.errors)
    hosts[0].server.signal(number)
    hosts[0].server.wait_for_log(SHARED, since=since, within=30)
    hosts[0].server.wait_for_log("reload: done", since=since, within=30)
    assert ask(hosts[0], limited) == 429
    assert_shares(*hosts)


def test_hosts_together_allow_one_rate_and_their_bursts(redis, launch):
    """The bound of docs/decisions/0060, for three hosts under attack."""
    hosts = [launch(redis.url, rate="20/s") for _ in range(3)]
    name = client()
    allowed = []
    begin = time.monotonic()
    until = begin + 5

    def attack(host):
        while time.monotonic() < until:
            if ask(host, name) == 200:
                allowed.append(time.monotonic())

    threads = [threading.Thread(target=attack, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begin
    # Alone they would allow 3 × (20 × 5 + 20) = 360. An exchange may be late on a busy machine.
    delay = 1.0
    assert len(allowed) <= 20 * seconds + 20 + 2 * (20 + 20 * delay)
    assert len(allowed) >= 100


def test_the_state_of_the_exchange_is_shown(redis, launch):
    host = launch(redis.url)
    before = host.samples()["lockgate_rate_limit_redis_exchanges_total"]
    assert ask(host, client()) == 200
    eventually(lambda: host.samples()["lockgate_rate_limit_redis_exchanges_total"] > before)
    shown = host.ctl("limits")
    assert shown.returncode == 0
    assert f"shared through redis://127.0.0.1:{redis.port}" in shown.stdout
    redis.kill()
    host.server.wait_for_log(CANNOT)
    assert "not shared" in host.ctl("limits").stdout
