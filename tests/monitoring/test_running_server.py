"""What the dashboard and the alerts of contrib/ find in a running server, for Prometheus itself."""

from harness import eventually
from harness.admin import Admin
from monitoring import promql
from monitoring.files import alerts, expressions


def test_every_metric_and_label_of_the_dashboard_exists(site):
    scraped = promql.known(site.samples())
    faults = {text: found for text in expressions() if (found := promql.faults(text, scraped))}
    assert not faults


def test_every_metric_and_label_of_the_alerts_exists(site):
    scraped = promql.known(site.samples())
    faults = {
        alert["alert"]: found
        for alert in alerts()
        if (found := promql.faults(alert["expr"], scraped))
    }
    assert not faults


def test_prometheus_answers_every_query_of_the_dashboard(prometheus):
    prometheus.wait_until_scraped(3)
    empty = [text for text in expressions() if not prometheus.query(text)]
    # The annotations: no reload, and no dead worker.
    assert [text for text in empty if not text.endswith("> 0")] == []


def test_prometheus_evaluates_every_alert_of_a_running_server(prometheus):
    prometheus.wait_until_scraped(3)
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {alert["alert"] for alert in alerts()}
    assert [rule["lastError"] for rule in rules if rule["health"] == "err"] == []
    firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
    assert firing == []


def test_lines_that_a_full_disk_does_not_take_are_counted(start, tmp_path):
    full = ("--error-logfile", "/dev/full")
    admin = Admin(start, tmp_path, "hello:app", *full, wait=False)
    eventually(admin.path.exists, within=20, what="the admin listener")
    name = 'lockgate_log_lines_lost_total{log="error"}'
    eventually(lambda: admin.samples()[name] > 0, within=20, what="a lost line")
    assert admin.samples()['lockgate_log_lines_lost_total{log="access"}'] == 0
