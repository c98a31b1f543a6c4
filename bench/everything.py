"""Everything that README's figures come from, in one run of some twenty minutes: `everything.py`.

Each part is one of the other programs. All have their servers in turns, so a part does not depend
on what ran before it. Run `bench/run.py --setup-only` first, and leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import machine
import peers
from process import BENCH

# Beside each other where a page is made by Python; a server that is not installed is left out.
PEERS = "bjoern,fastwsgi,fastpysgi,granian,peregrine,weft,gunicorn-gthread"
TUNED = "granian,granian-t32,peregrine-t32,weft-t32,gunicorn-gthread-t32"
HELD_STREAMS = 1_000


@dataclass(frozen=True)
class Part:
    name: str
    program: str
    arguments: str
    # What it took on two cores; a run with `--minutes` leaves out what does not fit.
    seconds: int


PARTS = (
    Part(
        "short-calls",
        "run.py",
        f"-s hello,hello_browser,flask_hello,flask_json -S lockgate,lockgate-full,nginx,{PEERS}"
        " -r 3 -d 2",
        460,
    ),
    Part("waiting-calls", "run.py", f"-s sleep10,mixed -S lockgate,{TUNED} -r 3 -d 2", 130),
    Part(
        "tls",
        "https.py",
        "-s hello_tls,hello_h2,flask_h2,big_tls,handshake"
        " -S lockgate,nginx,granian,peregrine,weft -r 2 -d 2",
        200,
    ),
    Part("files", "edge.py", "-r 3 -d 1", 200),
    Part(
        "bodies",
        "run.py",
        "-s post,big,stream -S lockgate,bjoern,fastpysgi,granian,peregrine,weft,uwsgi -r 2 -d 2",
        150,
    ),
    Part(
        "two-workers",
        "run.py",
        "-s workers2_hello,workers2_flask -S lockgate,bjoern,granian,peregrine,weft -r 2 -d 2",
        70,
    ),
    Part(
        "cold-start",
        "situations.py",
        "cold -S lockgate,bjoern,granian,peregrine,weft,gunicorn-gthread -r 5",
        40,
    ),
    Part("idle-connections", "situations.py", "idle -r 1", 30),
    Part("shared-memory", "sharing.py", "", 60),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run all parts, one after the other.")
    parser.add_argument("-p", "--parts", help="names (default: all)")
    parser.add_argument("-m", "--minutes", type=float, default=25, help="at most (default: 25)")
    parser.add_argument("--list", action="store_true", help="the parts and their seconds")
    options = parser.parse_args()
    wanted = options.parts.split(",") if options.parts else [part.name for part in PARTS]
    if unknown := set(wanted) - {part.name for part in PARTS}:
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    chosen = [part for part in PARTS if part.name in wanted]
    if options.list:
        print("\n".join(f"{part.name:18}{part.seconds:5} s" for part in chosen))
        return 0
    deadline = time.monotonic() + options.minutes * 60
    description = machine.description(machine.notes(str(peers.PYTHON)))
    folder = BENCH / "runs"
    prefix = f"{time.strftime('%Y-%m-%d')}-{description}"
    failed = []
    for part in chosen:
        left = deadline - time.monotonic()
        if part.seconds > left:
            print(f"bench: left out {part.name}: {part.seconds} s do not fit into {left:.0f} s")
            failed.append(part.name)
        elif not run(part, folder / f"{prefix}-{part.name}"):
            failed.append(part.name)
    if failed:
        print(f"bench: incomplete: {', '.join(failed)}")
    return int(bool(failed))


def run(part: Part, folder: Path) -> bool:
    """Runs a part; its output goes to the terminal, and into its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(BENCH / part.program), *part.arguments.split()]
    if part.program == "run.py":
        command += ["--output", str(folder)]
    print(f"bench: {part.name}: {part.program} {part.arguments}", flush=True)
    begun = time.monotonic()
    output = folder / "output.txt"
    with output.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=BENCH, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in process.stdout or ():
            stream.write(line)
            stream.flush()
            print(line, end="", flush=True)
        status = process.wait()
    print(f"bench: {part.name} took {time.monotonic() - begun:.0f} s", flush=True)
    return status == 0


if __name__ == "__main__":
    sys.exit(main())
