"""A command on a terminal of its own, with answers to what it asks.

`terminal.py ANSWER … -- COMMAND`: gives the next answer each time the command waits behind a
prompt, and prints what the terminal shows.
"""

from __future__ import annotations

import os
import pty
import select
import sys

QUIET_SECONDS = 0.2
PROMPTS = (b":", b"?", b">", b")", b"]")


def main(arguments: list[str]) -> int:
    """Returns the exit code of the command."""
    split = arguments.index("--")
    answers, command = arguments[:split], arguments[split + 1 :]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("bash", ["bash", "-c", *command])
    shown = b""
    while True:
        waits = not select.select([terminal], [], [], QUIET_SECONDS)[0]
        if waits:
            if answers and shown.rstrip(b" ").endswith(PROMPTS):
                os.write(terminal, answers.pop(0).encode() + b"\n")
                shown = b""
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
        sys.stdout.buffer.write(piece.replace(b"\r\n", b"\n"))
        sys.stdout.flush()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
