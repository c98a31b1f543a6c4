"""What /profile answers: the tree of a few stacks, in the form of lockgate-profile's JSON."""

import json
import time

from window.scenarios import DATABASE, QUERY, RENDER, TOTAL

PARTS = (
    ("GET /orders/*", QUERY, DATABASE, 9.0),
    ("GET /", RENDER, "running", 2.4),
    ("POST /cart", TOTAL, "GIL", 1.2),
    ("POST /cart", TOTAL, "running", 0.8),
)


def profile(query):
    """Status, type and body; after a part of the time that was asked for."""
    time.sleep(min(float(query.get("seconds", 10)), 10) / 50)
    if query.get("format") != "json":
        return 400, "text/plain", "format must be json here\n"
    total = sum(seconds for *_, seconds in PARTS)
    nodes = [{"parent": 0, "name": "", "kind": "all", "seconds": 0.0, "self": 0.0, "cpu": 0.0}]
    known, lines = {}, {}
    for label, stack, activity, seconds in PARTS:
        cpu = seconds if activity == "running" else 0.0
        steps = [{"name": label, "kind": "request"}]
        for frame in reversed(stack):
            short = "/".join(frame["file"].split("/")[-2:])
            kind = "package" if "site-packages" in frame["file"] else "own"
            name = f"{frame['function']} ({short}:{frame['line']})"
            steps.append({"name": name, "kind": kind, "file": frame["file"], "line": frame["line"]})
            key = (frame["file"], frame["line"])
            empty = {"self": 0.0, "total": 0.0, "self_cpu": 0.0, "total_cpu": 0.0}
            place = {"function": frame["function"], "file": key[0], "short": short, "line": key[1]}
            line = lines.setdefault(key, {**place, "origin": kind, **empty})
            line["total"] += seconds
            line["total_cpu"] += cpu
        line["self"] += seconds
        line["self_cpu"] += cpu
        if activity != "running":
            kind = "network" if activity.startswith("network") else activity.lower()
            steps.append({"name": f"waits for {activity.removeprefix('network ')}", "kind": kind})
        nodes[0]["seconds"] += seconds
        nodes[0]["cpu"] += cpu
        at, path = 0, ()
        for step in steps:
            path += (step["name"],)
            if path not in known:
                known[path] = len(nodes)
                nodes.append({"parent": at, **step, "seconds": 0.0, "self": 0.0, "cpu": 0.0})
            at = known[path]
            nodes[at]["seconds"] += seconds
            nodes[at]["cpu"] += cpu
        nodes[at]["self"] += seconds
    head = {"heading": "Profile of 4 workers", "interval": 0.01, "duration": 10.0, "rounds": 1000}
    sums = {"missed": 0, "failed": 0, "seconds": total, "cpu": nodes[0]["cpu"]}
    found = {**head, **sums, "activities": [], "paths": [], "requests": []}
    return (
        200,
        "application/json",
        json.dumps({**found, "lines": [*lines.values()], "nodes": nodes}),
    )
