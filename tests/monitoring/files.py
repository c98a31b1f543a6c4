"""The dashboard and the alerts of contrib/."""

import json

from harness.process import TESTS
from harness.requirements import require_module

ROOT = TESTS.parent
DASHBOARD = json.loads((ROOT / "contrib/grafana/lockgate.json").read_text())
RULES = ROOT / "contrib/prometheus/lockgate.rules.yml"


def panels():
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", [])


def expressions():
    """As Grafana sends them, with the choices of the variables."""
    found = [query["expr"] for panel in panels() for query in panel.get("targets", [])]
    found += [query["expr"] for query in DASHBOARD["annotations"]["list"] if "expr" in query]
    return [
        text.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")
        for text in found
    ]


def alerts():
    require_module("yaml")
    import yaml

    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]
