"""contrib/grafana: the dashboard has Grafana's schema, and every metric that it names exists."""

import json
import sys

import pytest
from harness.requirements import require_module
from monitoring import promql
from monitoring.files import DASHBOARD, panels

#: Fields that only the data source of Prometheus reads, or only the editor, are not in the schema.
BEYOND_THE_SCHEMA = {"step", "titleFormat", "textFormat", "useValueForTime", "definition"}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Grafana's types need Python 3.11")
def test_the_dashboard_has_the_schema_of_grafana():
    require_module("grafana_foundation_sdk")
    from grafana_foundation_sdk.cog import encoder, plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    # What the schema does not have is lost on the way.
    understood = json.loads(encoder.JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    lost = set(differences(DASHBOARD, understood, ""))
    assert {path for path in lost if path.rpartition("/")[2] not in BEYOND_THE_SCHEMA} == set()


def differences(ours, theirs, path):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from differences(value, theirs.get(key, "no such field"), f"{path}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{path}/{number}")
    elif ours != theirs:
        yield path


def test_panels_have_ids_of_their_own_explanations_and_places_that_do_not_overlap():
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids) > 30
    taken = set()
    for panel in panels():
        if panel["type"] == "row":
            continue
        assert panel["title"] and panel["description"].endswith("."), panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_query_goes_to_the_chosen_data_source_and_servers():
    for panel in panels():
        for query in panel.get("targets", []):
            assert query["datasource"]["uid"] == "${datasource}"
            for name, matchers in promql.selectors(query["expr"]):
                chosen = {(label, value) for label, _, value in matchers}
                assert {("job", "$job"), ("instance", "$instance")} <= chosen, name


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("lockgate_workers", []),
        ('sum by (state) (lockgate_workers{state="serving", job=~"a"})', []),
        ("lockgate_worker", ["no metric lockgate_worker"]),
        ('lockgate_workers{state="busy"}', ['no lockgate_workers{state="busy"}']),
        ('lockgate_workers{kind!="a"}', ['no lockgate_workers{kind="a"}']),
        ('lockgate_workers{state=~"serving|x"}', ['no lockgate_workers{state="x"}']),
        ("sum by (worker, instance) (lockgate_workers)", ["nothing has the label worker"]),
    ],
)
def test_a_wrong_name_is_found(expression, expected):
    assert promql.faults(expression, {"lockgate_workers": {"state": {"serving"}}}) == expected
