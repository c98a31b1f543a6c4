"""Runs every fuzz target for a share of the time and prints a line for each. Builds nothing.

    python fuzz/run.py [--seconds 60] [--binaries DIRECTORY] [TARGET …]

Seeds are made from corpus/ each time; what a run adds to them stays in fuzz/corpus/TARGET.
Ends with 1 when something was found; the input is then a file in fuzz/artifacts/TARGET.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
ROOT = FUZZ.parent
sys.path.insert(0, str(ROOT / "tests"))

from harness.packets import read_packets  # noqa: E402
from harness.samples import read_frames, read_samples  # noqa: E402

# Long enough for several requests, short enough for many runs: the targets have small limits.
LONGEST_INPUT = 2048
SLOWEST_RUN = 10
MEGABYTES = 1024
SEEDS_OF_THEIR_OWN = {
    "cache",
    "config",
    "forwarded",
    "proxy_protocol",
    "websocket",
    "websocket_events",
}
# Other targets have that of HTTP/1.
DICTIONARIES = {
    "hpack": None,
    "http2": "http2.dict",
    "http2_differential": "http2.dict",
    "websocket": None,
    "websocket_events": "websocket_events.dict",
}


@dataclass
class Outcome:
    target: str
    executions: int
    coverage: int
    seconds: float
    finding: Path | None
    text: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=float, default=60, help="in all, on all processors")
    parser.add_argument("--binaries", type=Path, default=built_by_cargo_fuzz())
    options = parser.parse_args()
    manifest = (FUZZ / "Cargo.toml").read_text("utf-8")
    targets = options.targets or sorted(re.findall(r'\[\[bin\]\]\nname = "(\w+)"', manifest))
    if missing := [name for name in targets if not (options.binaries / name).is_file()]:
        print(f"fuzz: not built: {', '.join(missing)}: run make fuzz", file=sys.stderr)
        return 2
    at_once = min(len(os.sched_getaffinity(0)), len(targets))
    rounds = -(-len(targets) // at_once)
    each = max(1, int(options.seconds / rounds))
    seeds = {name: write_seeds(name, options.binaries.parent / "seeds") for name in targets}
    print(f"fuzz: {len(targets)} targets, {each} s each, {at_once} at once", flush=True)
    with ThreadPoolExecutor(at_once) as pool:
        runs = [
            pool.submit(run, name, options.binaries / name, seeds[name], each) for name in targets
        ]
        outcomes = []
        for done in runs:
            outcomes.append(outcome := done.result())
            found = f"FOUND {outcome.finding}" if outcome.finding else "nothing found"
            print(
                f"fuzz: {outcome.target:15} {outcome.executions:>10} executions "
                f"{outcome.coverage:>6} edges  {found}",
                flush=True,
            )
    if idle := [o.target for o in outcomes if not o.executions and not o.finding]:
        print(f"fuzz: nothing was executed: {', '.join(idle)}", file=sys.stderr)
        return 2
    findings = [outcome for outcome in outcomes if outcome.finding]
    for outcome in findings:
        print(f"\n--- {outcome.target}: {outcome.finding}\n{outcome.text}", file=sys.stderr)
        binary = os.path.relpath(options.binaries / outcome.target)
        print(f"to see it again: {binary} {outcome.finding}", file=sys.stderr)
    return 1 if findings else 0


def built_by_cargo_fuzz() -> Path:
    """Where `cargo fuzz build --target-dir target/fuzz` leaves the targets."""
    found = sorted((ROOT / "target/fuzz").glob("*-*-*/release"))
    return found[0] if found else ROOT / "target/fuzz/release"


def write_seeds(target: str, directory: Path) -> Path:
    """One file of raw bytes for each sample that the target can use."""
    directory /= target
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    if target in SEEDS_OF_THEIR_OWN:
        for path in sorted((FUZZ / "seeds" / target).iterdir()):
            shutil.copy(path, directory / path.name)
        return directory
    if target == "hpack":
        for path in sorted((ROOT / "corpus/http2/hpack").glob("*/*.hpack")):
            (directory / path.stem).write_bytes(blocks_with_lengths(path))
        return directory
    if target.startswith("http2"):
        # The target `http2` begins with the length of the parts.
        part = b"\x06" if target == "http2" else b""
        for path in sorted((ROOT / "corpus/http2/frames").glob("*.frames")):
            if len(data := part + read_frames(path)) <= LONGEST_INPUT:
                (directory / path.stem).write_bytes(data)
        return directory
    if target == "uwsgi":
        for packet in read_packets():
            if len(packet.data) <= LONGEST_INPUT:
                (directory / packet.path.stem).write_bytes(packet.data)
        return directory
    for folder in ("http1/valid", "http1/invalid"):
        for sample in read_samples(folder):
            data = sample.data
            if target == "chunked":
                head, _, data = data.partition(b"\r\n\r\n")
                if b"chunked" not in head:
                    continue
            if len(data) <= LONGEST_INPUT:
                (directory / sample.path.stem).write_bytes(data)
    return directory


def blocks_with_lengths(path: Path) -> bytes:
    """The header blocks of a file, each behind its length in one byte."""
    _, _, lines = path.read_text("ascii").partition("---\n")
    blocks = [bytes.fromhex(line) for line in lines.splitlines()]
    return b"".join(bytes([len(block)]) + block for block in blocks)


def write_names_of_settings(path: Path) -> Path:
    """A dictionary of the names, flags and variables in the reference page."""
    page = (ROOT / "docs/reference/settings.md").read_text("utf-8")
    words = set(re.findall(r"^### `(\w+)`$", page, re.MULTILINE))
    words |= set(re.findall(r"`(--?[a-z][a-z_-]*|LOCKGATE_[A-Z_]+)`", page))
    words |= {
        " = ",
        "=",
        '"',
        "[",
        "]",
        "\\n",
        "true",
        "false",
        "auto",
        "unix:",
        "fd://",
        "1s",
        "1M",
    }
    escaped = (word.replace('"', '\\"').replace("\\n", "\\x0a") for word in sorted(words))
    path.write_text("".join(f'"{word}"\n' for word in escaped), "utf-8")
    return path


def run(target: str, binary: Path, seeds: Path, seconds: int) -> Outcome:
    grown, artifacts = FUZZ / "corpus" / target, FUZZ / "artifacts" / target
    for directory in (grown, artifacts):
        directory.mkdir(parents=True, exist_ok=True)
    before = set(artifacts.iterdir())
    command = [
        str(binary),
        str(grown),
        str(seeds),
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST_INPUT}",
        f"-timeout={SLOWEST_RUN}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-artifact_prefix={artifacts}/",
        "-print_final_stats=1",
    ]
    if target == "config":
        command.append(f"-dict={write_names_of_settings(seeds.with_suffix('.dict'))}")
    elif dictionary := DICTIONARIES.get(target, "http1.dict"):
        command.append(f"-dict={FUZZ / 'dictionaries' / dictionary}")
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    executed = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    covered = re.findall(r"\bcov: (\d+)", done.stderr)
    finding = None
    if done.returncode != 0:
        new = sorted(set(artifacts.iterdir()) - before)
        # Without a file the target could not even start: its own words say why.
        finding = new[0] if new else artifacts / "no-file"
    return Outcome(
        target,
        int(executed[1]) if executed else 0,
        int(covered[-1]) if covered else 0,
        seconds,
        finding,
        "\n".join(done.stderr.splitlines()[-40:]),
    )


if __name__ == "__main__":
    sys.exit(main())
