"""What `lockgate doctor` makes of two samples: a row for each symptom, and the figures."""

import copy
import math

import pytest
from lockgate.symptoms import CHECKS, Disk, Pair, Process, Sample, examine, parsed, quantile

GIB = 1 << 30
WORKER = {
    "slot": 0,
    "pid": 11,
    "state": "serving",
    "threads": 8,
    "threads_busy": 1,
    "requests_waiting": 0,
    "running": [],
}
STATUS = {
    "version": "1",
    "pid": 10,
    "uptime": 7200.0,
    "maintenance": "auto",
    "workers": [WORKER],
    "reload": {"state": "done", "why": ""},
    "certificates": [],
    "renewals": [],
}
METRICS = {
    'lockgate_threads_limit{worker="0"}': 8.0,
    'lockgate_worker_memory_bytes{worker="0"}': 100e6,
    'lockgate_responses_total{class="2xx"}': 1000.0,
    'lockgate_responses_total{class="5xx"}': 0.0,
    'lockgate_queue_duration_seconds_bucket{le="0.001"}': 1000.0,
    'lockgate_queue_duration_seconds_bucket{le="0.25"}': 1000.0,
    'lockgate_queue_duration_seconds_bucket{le="2.5"}': 1000.0,
    'lockgate_queue_duration_seconds_bucket{le="+Inf"}': 1000.0,
}
EXPIRING = {"names": ["shop.example"], "source": "/etc/shop.pem", "expires_in_days": 5}


def pair(worker=(), status=(), growth=(), **after):
    """A well server, with these differences."""
    now = copy.deepcopy(STATUS)
    now["workers"][0].update(worker)
    now.update(status)
    metrics = dict(METRICS)
    for name, amount in dict(growth).items():
        metrics[name] = metrics.get(name, 0.0) + amount
    return Pair(Sample(0.0, STATUS, METRICS), Sample(10.0, now, metrics, **after))


def running(age, websocket=False):
    return {"age": age, "method": "GET", "target": "/a\x1b[2J", "websocket": websocket}


def lost(reason):
    return {f'lockgate_requests_lost_total{{reason="{reason}"}}': 1}


def ended(cause, number):
    return {f'lockgate_worker_exits_total{{cause="{cause}"}}': number}


def waits(*counts):
    names = [name for name in METRICS if "queue_duration" in name]
    return dict(zip(names, counts, strict=True))


CASES = [
    ([], {}),
    ([], {"growth": {'lockgate_responses_total{class="2xx"}': 500}}),
    (["no-worker!"], {"status": {"workers": []}}),
    (["no-worker!"], {"worker": {"state": "draining"}}),
    (["maintenance"], {"status": {"maintenance": "on"}}),
    ([], {"worker": {"threads_busy": 8}}),
    (["threads-saturated!"], {"worker": {"threads_busy": 8, "requests_waiting": 3}}),
    ([], {"growth": waits(96, 100, 100, 100)}),
    (["queue-time"], {"growth": waits(90, 100, 100, 100)}),
    (["queue-time!"], {"growth": waits(0, 0, 0, 100)}),
    (["failures"], {"growth": {'lockgate_responses_total{class="5xx"}': 5,
                               'lockgate_responses_total{class="2xx"}': 95}}),
    (["failures!"], {"growth": {'lockgate_responses_total{class="5xx"}': 5}}),
    (["lost-requests!"], {"growth": lost("queue_full")}),
    (["lost-requests!"], {"growth": lost("queue_timeout")}),
    (["lost-requests!"], {"growth": lost("request_timeout")}),
    (["lost-requests!"], {"growth": lost("aborted")}),
    ([], {"growth": lost("client_gone")}),
    ([], {"worker": {"running": [running(9)]}}),
    ([], {"worker": {"running": [running(900, websocket=True)]}}),
    (["slow-requests"], {"worker": {"running": [running(11), running(40)]}}),
    (["worker-ends!"], {"growth": ended("signal", 1)}),
    ([], {"growth": ended("asked", 4)}),
    (["reload-failed"], {"status": {"reload": {"state": "failed", "why": "no shop\nKeyError"}}}),
    (["reload-failed"], {"status": {"reload": {"state": "failed", "why": ""}}}),
    (["certificate"], {"status": {"certificates": [EXPIRING]}}),
    (["certificate!"], {"status": {"certificates": [{**EXPIRING, "expires_in_days": -3}]}}),
    ([], {"status": {"certificates": [{**EXPIRING, "expires_in_days": 30}]}}),
    (["renewal"], {"status": {"renewals": [{"name": "a", "failures": 2, "last_error": "no"}]}}),
    ([], {"status": {"renewals": [{"name": "a", "failures": 0, "last_error": None}]}}),
    ([], {"memory_limit": GIB}),
    (["memory!"], {"memory_limit": 110_000_000}),
    ([], {"processes": (Process(11, "worker 0", 500, 1024), Process(12, "worker 1"))}),
    (["descriptors!"], {"processes": (Process(11, "worker 0", 1000, 1024),)}),
    ([], {"disks": (Disk("/var/log/a", GIB, 10 * GIB),)}),
    (["log-disk"], {"disks": (Disk("/var/log/a", GIB // 100, 10 * GIB),)}),
    (["log-disk!"], {"disks": (Disk("/var/log/a", 0, 10 * GIB),)}),
    ([], {"growth": {"lockgate_rate_limit_redis_up": 1}}),
    (["rate-limit-redis"], {"growth": {"lockgate_rate_limit_redis_up": 0}}),
    (["rate-limit-memory"], {"growth": {"lockgate_rate_limit_evicted_keys_total": 2}}),
    (["push-memory"], {"growth": {'lockgate_held_requests_ended_total{reason="overrun"}': 1}}),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "differences"), CASES)
def test_a_server_has_these_symptoms(wanted, differences):
    """An exclamation mark: critical."""
    found = examine(pair(**differences))
    assert [one.id + "!" * (one.level == "critical") for one in found] == wanted
    for symptom in found:
        assert symptom.text and symptom.remedy and symptom.page.startswith("docs/")
        assert symptom.text.isprintable()


def test_each_check_has_a_row():
    covered = {
        check for _, differences in CASES for check in CHECKS if list(check(pair(**differences)))
    }
    assert covered == set(CHECKS)


def test_critical_symptoms_come_first():
    found = examine(pair(status={"maintenance": "on"}, growth=lost("aborted")))
    assert [one.id for one in found] == ["lost-requests", "maintenance"]


def test_earlier_ends_of_workers_are_a_warning_until_they_are_frequent():
    def level(total):
        metrics = {**METRICS, **ended("killed", total)}
        samples = (Sample(0, STATUS, metrics), Sample(10, STATUS, metrics))
        return [one.level for one in examine(Pair(*samples))]

    # The server runs for two hours.
    assert (level(0), level(2), level(3)) == ([], ["warning"], ["critical"])


@pytest.mark.parametrize(
    ("counts", "share", "bound"),
    [
        ((0, 0, 0, 0), 0.5, None),
        ((1, 1, 1, 1), 0.95, 0.001),
        ((90, 96, 100, 100), 0.95, 0.25),
        ((0, 0, 0, 3), 0.5, math.inf),
    ],
)
def test_a_quantile_is_of_what_came_between_the_samples(counts, share, bound):
    one = pair(growth=waits(*counts))
    assert quantile(one, "lockgate_queue_duration_seconds", share) == bound


def test_metrics_are_read_in_the_format_of_prometheus():
    text = '# HELP a b\n# TYPE a counter\na_total{b="c"} 1.5e3\nup 0\nnot a sample\n'
    assert parsed(text) == {'a_total{b="c"}': 1500.0, "up": 0.0}
