"""X-Request-Start: the time before arrival counts into the queue time."""

import time

import pytest
from harness.admin import Admin


def queue_time(admin):
    return admin.samples()["lockgate_queue_duration_seconds_sum"]


@pytest.mark.parametrize("unit", [1, 1000, 1_000_000])
def test_the_time_since_a_proxy_has_the_request_counts(start, tmp_path, unit):
    log = tmp_path / "access.log"
    files = ("--access-logfile", str(log), "--access-logformat", "%(Q)s", "--request-start")
    admin = Admin(start, tmp_path, "hello:app", *files)
    before = queue_time(admin)
    received = time.time() - 30
    value = f"{received:.3f}" if unit == 1 else str(int(received * unit))
    admin.server.get("/", f"X-Request-Start: t={value}")
    for header in ("X-Request-Start: t=99999999999", "X-Queue-Start: t=1", "X-Other: 1"):
        admin.server.get("/", header)
    assert 29 < queue_time(admin) - before < 60
    admin.server.stop()
    first, *others = log.read_text().splitlines()
    assert 29 < float(first) < 60
    assert others == ["-"] * 3


def test_a_client_that_is_not_trusted_cannot_add_time(start, tmp_path):
    admin = Admin(
        start, tmp_path, "hello:app", "--request-start", "--forwarded-allow-ips", "192.0.2.1"
    )
    admin.server.get("/", f"X-Request-Start: t={time.time() - 30:.3f}")
    assert queue_time(admin) < 10


def test_without_the_setting_no_field_adds_time(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app")
    admin.server.get("/", f"X-Request-Start: t={time.time() - 30:.3f}")
    assert queue_time(admin) < 10
