"""Interactive shells on a terminal, in which a test presses Tab."""

import os
import pty
import select
import signal
import time
from pathlib import Path

#: Each shell prints its line between these when Ctrl-X is pressed, so a test knows when to read.
START, END = "LINE<", ">LINE"

BASH = f"""\
bind 'set show-all-if-ambiguous on'
bind 'set bell-style none'
bind 'set page-completions off'
bind 'set completion-query-items 0'
bind 'set enable-bracketed-paste off'
bind -x '"\\C-x": printf "%s%s%s" "{START}" "$READLINE_LINE" "{END}"'
PS1=; PS2=
"""

ZSH = f"""\
show() {{ print -rn -- "{START}$BUFFER{END}" }}; zle -N show; bindkey '^X' show
setopt no_beep; unsetopt auto_menu; LISTMAX=1000; PS1=
"""


class Shell:
    """An interactive bash or zsh."""

    def __init__(self, program: str, directory: Path, setup: str, **environment: str) -> None:
        arguments = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[program]
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            variables = {**os.environ, "TERM": "dumb", "COLUMNS": "200", **environment}
            os.execvpe(program, [program, *arguments], variables)
        self.seen = ""
        own = {"bash": BASH, "zsh": ZSH}[program]
        for line in f"{setup}\n{own}".splitlines():
            os.write(self.terminal, f"{line}\n".encode())
        # A key binding works only once the shell has read all of this.
        os.write(self.terminal, b"echo READ''Y\n")
        self.read_until("READY")

    def read_until(self, mark: str, within: float = 30.0) -> str:
        """What the shell has written, up to and with the mark."""
        ends = time.monotonic() + within
        while mark not in self.seen:
            left = ends - time.monotonic()
            assert left > 0, f"no {mark} within {within} s in: {self.seen}"
            if select.select([self.terminal], [], [], left)[0]:
                self.seen += os.read(self.terminal, 65536).decode(errors="replace")
        text, self.seen = self.seen.split(mark, 1)
        return text

    def complete(self, line: str) -> tuple[str, set[str]]:
        """The line after Tab, and the words that the shell has listed, without descriptions."""
        os.write(self.terminal, f"{line}\t\x18".encode())
        listed = self.read_until(START).splitlines()
        completed = self.read_until(END)
        os.write(self.terminal, b"\x15")  # Ctrl-U empties the line.
        return completed, {word for text in listed for word in text.split(" -- ")[0].split()}

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)
