"""What tiles, lines of code and names in flame graphs say: the page's own code in Node.js."""

import dataclasses
import json
import subprocess

import pytest
from harness.requirements import require_program

from window.page_source import script
from window.situations import SITUATIONS
from window.test_diagnosis import AT

SCRIPTS = ("format.js", "model.js", "diagnose.js", "panels.js", "flame.js")
TILES = """
const {now, history, long, selection} = JSON.parse(require('fs').readFileSync(0, 'utf8'));
clocks.isUtc = true;
const state = {now, selection, data: series(history), long: series(long)};
const {seconds} = recently(state.data);
console.log(JSON.stringify({seconds, tiles: figuresOf(state)}));
"""


def run(program, value):
    node = require_program("node", package="nodejs")
    ran = subprocess.run(
        [node, "-e", script(*SCRIPTS) + program],
        input=json.dumps(value),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return json.loads(ran.stdout)


def tiles(scenario, at=AT, **changes):
    scene = scenario.scene(AT)
    case = {
        "now": scene.now(at),
        "history": scene.history(at, at - 900, at, 5),
        "long": scene.history(at, at - 3600, at, 20),
    }
    found = run(TILES, {**case, **changes})
    plain = [[text.replace("\xa0", " ") for text in tile] for tile in found["tiles"]]
    return {tile[0]: tile[1:] for tile in plain}, found["seconds"]


@pytest.mark.parametrize(
    ("timeouts", "is_over", "detail"),
    [(0, False, "512 wait now"), (3, False, "15 timed out"), (40, True, "200 timed out")],
)
def test_requests_that_timed_out_in_the_queue_have_waited(timeouts, is_over, detail):
    scenario = dataclasses.replace(
        SITUATIONS["overload"], lost={"queue_timeout": lambda t: timeouts}, rate=lambda t: 100
    )
    found, _ = tiles(scenario)
    shown = found["Wait for a thread p95"]
    assert (shown[0] == "> queue_timeout", shown[1]) == (is_over, detail)


def test_more_timeouts_are_a_longer_wait():
    def wait(timeouts):
        scenario = dataclasses.replace(
            SITUATIONS["overload"], lost={"queue_timeout": lambda t: timeouts}
        )
        return tiles(scenario)[0]["Wait for a thread p95"][0]

    shown = [float(wait(timeouts).split()[0]) for timeouts in (0, 4, 8, 12)]
    assert shown == sorted(shown) and shown[0] < shown[-1], shown


def test_refused_requests_are_separate():
    found, _ = tiles(SITUATIONS["overload"])
    assert found["Requests"][1] == "120/s refused"
    found, _ = tiles(SITUATIONS["quiet"])
    assert found["Requests"][1].startswith("usually ")


def test_tiles_and_the_first_line_are_about_the_same_seconds():
    for rate, seconds in ((140, "5.0 s"), (1, "1 min")):
        found, recent = tiles(dataclasses.replace(SITUATIONS["quiet"], rate=lambda t, r=rate: r))
        assert recent == {"5.0 s": 5, "1 min": 60}[seconds]
        assert found["Duration p95"][3].startswith(f"Of {seconds} until 08:00:00")
    found, _ = tiles(SITUATIONS["quiet"], selection={"from": AT - 300, "to": AT - 200})
    assert found["Duration p95"][3] == "Of 1 min 40 s until 07:56:40"


PLACES = """
const frames = JSON.parse(require('fs').readFileSync(0, 'utf8'));
console.log(JSON.stringify(frames.map(placeOf)));
"""


def test_a_frame_without_a_line_has_no_number():
    frames = [{"file": "/srv/shop/app.py", "line": line, "function": "f"} for line in (0, 7)]
    assert run(PLACES, [*frames, None]) == ["shop/app.py", "shop/app.py:7", ""]


CUTS = """
const pen = {measureText: (text) => ({width: 6 * [...text].length})};
const cases = JSON.parse(require('fs').readFileSync(0, 'utf8'));
console.log(JSON.stringify(cases.map(([name, width]) => fitting(pen, name, width))));
"""


@pytest.mark.parametrize(
    ("name", "width", "shown"),
    [
        ("list_orders", 66, "list_orders"),
        ("list_orders", 65, "list_orde…"),
        ("list_orders", 12, "l…"),
        ("list_orders", 11, ""),
        ("𝔣𝔲𝔫𝔠", 18, "𝔣𝔲…"),
        ("", 0, ""),
    ],
)
def test_a_name_that_is_cut_ends_with_an_ellipsis(name, width, shown):
    assert run(CUTS, [[name, width]]) == [shown]
