"""Rules about the host, the settings that `--print-config` shows, secrets, paths: tables."""

import sys

import pytest
from harness import run
from lockgate.check import host
from lockgate.check.host import Host
from lockgate.check.rules import on_host
from lockgate.check.rules.secrets import weakness
from lockgate.check.settings import Named, named, parsed

MIB = 1 << 20
SETTINGS = parsed(run("--print-config", "hello:app", "-w", "4", "--threads", "16").stdout)


@pytest.mark.parametrize(
    ("facts", "rules"),
    [
        ({}, []),
        ({"descriptors": 1 << 20, "somaxconn": 4096, "overcommit": 0}, []),
        ({"descriptors": 1024}, ["host-descriptors"]),
        ({"descriptors": 10_000}, ["host-descriptors"]),
        ({"descriptors": 10_100}, []),
        ({"somaxconn": 128}, ["host-somaxconn"]),
        ({"somaxconn": 2048}, []),
        ({"overcommit": 1}, []),
        ({"overcommit": 2}, ["host-overcommit"]),
        ({"memory": 512 * MIB, "own_memory": 128 * MIB}, []),
        ({"memory": 512 * MIB, "own_memory": 129 * MIB}, ["host-memory"]),
        ({"memory": 512 * MIB}, []),
        ({"pids": 96}, []),
        ({"pids": 95}, ["host-pids"]),
        ({"is_clock_right": True}, []),
        ({"is_clock_right": False}, ["host-clock"]),
    ],
)
def test_a_host_has_these_findings(facts, rules):
    assert [finding.rule.id for finding in on_host.check(Host(**facts), SETTINGS)] == rules


def test_the_facts_of_this_host_can_be_read():
    facts = host.read()
    assert facts.own_memory > MIB
    assert facts.memory > facts.own_memory
    assert facts.somaxconn > 0
    assert facts.is_clock_right in (True, False, None)


def test_a_python_without_ctypes_does_not_know_whether_the_clock_is_right(monkeypatch):
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert host.read().is_clock_right is None


def test_settings_are_those_of_the_server():
    assert (SETTINGS.workers, SETTINGS.threads) == (4, 16)
    assert SETTINGS["app"] == "hello:app" and SETTINGS.origins["threads"] == "--threads"
    assert SETTINGS["bind"] == ["127.0.0.1:8000"] and not SETTINGS.is_https
    assert SETTINGS["session"] is False and SETTINGS["mount"] == []


def test_automatic_numbers_are_those_of_this_host():
    auto = parsed('workers = "auto"  # default; workers = 6 (auto: 6 CPUs)\nthreads = "auto"\n')
    assert (auto.workers, auto.threads) == (6, 10)
    many = parsed('workers = 40\nthreads = "auto"  # default\n')
    assert (many.workers, many.threads) == (40, 4)


@pytest.mark.parametrize(
    ("app", "parts"),
    [
        ("shop", {"module": "shop"}),
        ("shop.wsgi:app", {"module": "shop.wsgi", "attribute": "app"}),
        (
            "shop:made('a', b=2)",
            {"module": "shop", "attribute": "made", "arguments": "'a', b=2"},
        ),
        ("shop:made()", {"module": "shop", "attribute": "made", "arguments": ""}),
        ("/srv/shop.py:app", {"file": "/srv/shop.py", "attribute": "app"}),
        ("production.ini", {"paste": "production.ini"}),
        ("config:shop.ini#admin", {"paste": "shop.ini", "paste_name": "admin"}),
    ],
)
def test_the_parts_of_a_name(app, parts):
    assert named(app) == Named(**parts)


@pytest.mark.parametrize(
    ("secret", "is_weak"),
    [
        ("dev", True),
        (b"changeme-please-change-me", True),
        ("django-insecure-4f8g2h1j5k6l7z9x0c", True),
        ("short", True),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", True),
        ("k2J9vP0qL7wXz4Rm", False),
        (bytes(range(16)), False),
    ],
)
def test_a_weak_secret(secret, is_weak):
    wrong = weakness(secret)
    assert (wrong is not None) == is_weak
    text = secret.decode("latin-1") if isinstance(secret, bytes) else secret
    assert wrong is None or len(text) < 8 or text not in wrong
