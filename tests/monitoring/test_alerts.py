"""contrib/prometheus: each alert fires when it should and not otherwise, and leads to its text."""

import json
import subprocess

import pytest
from harness.requirements import require_program
from monitoring import promql
from monitoring.files import ROOT, RULES, alerts

BUCKETS = 'lockgate_request_duration_seconds_bucket{instance="a", job="lockgate", le="%s"}'
WAITS = 'lockgate_queue_duration_seconds_bucket{instance="a", job="lockgate", le="%s"}'
DAY = 86400

#: The alert, what makes it fire after half an hour, and what does not. `0+5x90` grows by 5 each
#: minute, 90 times; promtool calls the start of time 0, so a certificate expires at its lifetime.
CASES = {
    "LockgateDown": (
        {'up{job="lockgate", instance="a"}': "0x90"},
        {'up{job="lockgate", instance="a"}': "1x90", 'up{job="other"}': "0x90"},
    ),
    "LockgateNotServing": (
        {'lockgate_workers{state="serving"}': "0x90", 'lockgate_workers{state="draining"}': "1x90"},
        {'lockgate_workers{state="serving"}': "1x90", 'lockgate_workers{state="draining"}': "0x90"},
    ),
    "LockgateErrors": (
        {
            'lockgate_responses_total{class="5xx"}': "0+60x90",
            'lockgate_responses_total{class="2xx"}': "0+600x90",
        },
        {
            'lockgate_responses_total{class="5xx"}': "0+60x90",
            'lockgate_responses_total{class="2xx"}': "0+6000x90",
        },
    ),
    "LockgateSlow": (
        {
            BUCKETS % "1": "0+90x90",
            BUCKETS % "2.5": "0+100x90",
            BUCKETS % "+Inf": "0+100x90",
            'lockgate_request_duration_seconds_count{instance="a", job="lockgate"}': "0+100x90",
        },
        {
            BUCKETS % "1": "0+99x90",
            BUCKETS % "2.5": "0+100x90",
            BUCKETS % "+Inf": "0+100x90",
            'lockgate_request_duration_seconds_count{instance="a", job="lockgate"}': "0+100x90",
        },
    ),
    "LockgateRefusesRequests": (
        {'lockgate_requests_lost_total{reason="queue_timeout"}': "0+1x90"},
        {
            'lockgate_requests_lost_total{reason="queue_full"}': "7x90",
            'lockgate_requests_lost_total{reason="client_gone"}': "0+50x90",
        },
    ),
    "LockgateQueueing": (
        {WAITS % "0.5": "0+90x90", WAITS % "1": "0+100x90", WAITS % "+Inf": "0+100x90"},
        {WAITS % "0.5": "0+99x90", WAITS % "1": "0+100x90", WAITS % "+Inf": "0+100x90"},
    ),
    "LockgateSaturated": (
        {"lockgate_busy_ratio": "0.95x90"},
        {"lockgate_busy_ratio": "0.89x90"},
    ),
    "LockgateRequestTimeouts": (
        {'lockgate_requests_lost_total{reason="request_timeout"}': "0+1x90"},
        {'lockgate_requests_lost_total{reason="request_timeout"}': "3x90"},
    ),
    "LockgateRequestStuck": (
        {"lockgate_longest_request_seconds": "0+60x90"},
        {"lockgate_longest_request_seconds": "100x90"},
    ),
    "LockgateWorkersDie": (
        {'lockgate_worker_exits_total{cause="signal"}': "0x25 1x65"},
        {
            'lockgate_worker_exits_total{cause="signal"}': "1x90",
            'lockgate_worker_exits_total{cause="asked"}': "0+1x90",
        },
    ),
    "LockgateWorkersKeepDying": (
        {'lockgate_worker_exits_total{cause="boot_failed"}': "0+1x90"},
        {'lockgate_worker_exits_total{cause="signal"}': "0x25 1x65"},
    ),
    "LockgateReloadFailed": (
        {'lockgate_reloads_total{result="failed"}': "2x15 3x75"},
        {
            'lockgate_reloads_total{result="failed"}': "2x90",
            'lockgate_reloads_total{result="done"}': "0+1x90",
        },
    ),
    # Half an hour is 1800 s, and the alert waits for an hour.
    "LockgateCertificateExpires": (
        {'lockgate_certificate_expiry_timestamp_seconds{name="x"}': f"{6 * DAY}x90"},
        {'lockgate_certificate_expiry_timestamp_seconds{name="x"}': f"{9 * DAY}x90"},
    ),
    "LockgateCertificateLastDay": (
        {'lockgate_certificate_expiry_timestamp_seconds{name="x"}': f"{DAY}x90"},
        {'lockgate_certificate_expiry_timestamp_seconds{name="x"}': f"{3 * DAY}x90"},
    ),
    "LockgateAcmeFails": (
        {'lockgate_acme_failures{name="x"}': "3x90"},
        {'lockgate_acme_failures{name="x"}': "2x90"},
    ),
    "LockgateLogLinesLost": (
        {'lockgate_log_lines_lost_total{log="access"}': "0x80 7x10"},
        {'lockgate_log_lines_lost_total{log="error"}': "7x90"},
    ),
    "LockgateRateLimitsAlone": (
        {"lockgate_rate_limit_redis_up": "0x90"},
        {"lockgate_rate_limit_redis_up": "1x90"},
    ),
    "LockgateCacheCorrupt": (
        {"lockgate_cache_corrupt_total": "0x80 1x10"},
        {"lockgate_cache_corrupt_total": "1x90"},
    ),
}
#: When the result is read, for alerts whose cause is over after a time.
MINUTE = {"LockgateWorkersDie": 30, "LockgateWorkersKeepDying": 40, "LockgateReloadFailed": 30}


def promtool(*arguments):
    program = require_program("promtool", package="prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_rules():
    assert f"{len(CASES)} rules found" in promtool("check", "rules", str(RULES))


def test_every_alert_fires_when_it_should_and_only_then(tmp_path):
    tests = []
    for alert, (firing, quiet) in CASES.items():
        for series, expected in ((firing, True), (quiet, False)):
            query = f'count by (alertname) (ALERTS{{alertstate="firing", alertname="{alert}"}})'
            sample = {"labels": f'{{alertname="{alert}"}}', "value": 1}
            tests.append(
                {
                    "name": f"{alert} {'fires' if expected else 'is quiet'}",
                    "interval": "1m",
                    "input_series": [{"series": s, "values": v} for s, v in series.items()],
                    "promql_expr_test": [
                        {
                            "expr": query,
                            "eval_time": f"{MINUTE.get(alert, 85)}m",
                            "exp_samples": [sample] if expected else [],
                        }
                    ],
                }
            )
    file = tmp_path / "tests.yml"
    # JSON is YAML.
    file.write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests})
    )
    promtool("test", "rules", str(file))


def test_every_alert_has_a_case_and_a_section_of_the_documents():
    page = (ROOT / "docs/alerts.md").read_text()
    assert [alert["alert"] for alert in alerts()] == list(CASES)
    headings = [line[3:] for line in page.splitlines() if line.startswith("## Lockgate")]
    assert sorted(headings) == sorted(CASES)
    for alert in alerts():
        name, notes = alert["alert"], alert["annotations"]
        assert alert["labels"]["severity"] in ("critical", "warning"), name
        assert notes["summary"] and notes["description"].endswith("."), name
        assert notes["runbook_url"].endswith(f"/docs/alerts.md#{name.lower()}"), name


@pytest.mark.parametrize("alert", CASES)
def test_the_cases_of_an_alert_name_what_it_reads(alert):
    [expression] = [rule["expr"] for rule in alerts() if rule["alert"] == alert]
    names = {series.partition("{")[0] for case in CASES[alert] for series in case}
    read = {name for name, _ in promql.selectors(expression)} or {"up"}
    assert names == read
