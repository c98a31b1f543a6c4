"""Runs one page inside its sandbox: blocks in their order, each with a line about what it did."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.pages import fragments, output, shell
from harness.pages.blocks import PREPARE, BadPage, Block, blocks
from harness.pages.session import Failed, RunningServer, Session

SHELLS = {"sh", "bash", "shell"}
LOG_SECONDS = 30.0
# What zsh has after `compinit` in ~/.zshrc; -D writes no file.
ZSH = "setopt err_exit; autoload -Uz compinit; compinit -D"
TERMINAL = str(Path(__file__).with_name("terminal.py"))


@dataclass(frozen=True)
class Outcome:
    """What became of a block: `ran`, `shown` (nothing to run), `skipped` or `failed`."""

    line: int
    name: str
    result: str
    message: str = ""
    seconds: float = 0.0


class Page:
    """A page that runs in the present directory."""

    def __init__(self, text: str, directory: Path, environment: dict[str, str]) -> None:
        self._text = text
        self._directory = directory
        (directory / "output").mkdir()
        self._work = self._fresh_directory()
        self._session = Session(self._work, directory / "output", environment)

    def run(self) -> list[Outcome]:
        """Stops at the first failure, since the blocks below depend on it."""
        try:
            todo = blocks(self._text)
        except BadPage as error:
            return [Outcome(0, "page", "failed", str(error))]
        outcomes = []
        for block in todo:
            started = time.monotonic()
            try:
                result, message = self._run(block)
                self._session.check_servers()
            except (Failed, ValueError, SyntaxError, OSError) as error:
                result, message = "failed", f"{error}\n--- the block:\n{block.text}"
            seconds = round(time.monotonic() - started, 2)
            outcomes.append(Outcome(block.line, block.name, result, message, seconds))
            if result == "failed":
                break
        return outcomes

    def _run(self, block: Block) -> tuple[str, str]:
        properties = block.properties
        if "skip" in properties:
            if not properties["skip"]:
                raise Failed("a skipped block has a reason: <!-- test: skip REASON -->")
            return "skipped", properties["skip"]
        if "fresh" in properties:
            self._session.end_servers()
            self._work = self._fresh_directory()
            self._session.change_directory(self._work)
        for needed in properties.get("needs", "").split():
            self._provide(needed)
        if "log" in properties:
            self._expect_log(block.text)
        elif block.language == PREPARE:
            for command in shell.commands(block.text):
                self._execute(command, block)
        elif block.language in SHELLS:
            for command in shell.commands(block.text):
                self._execute(command, block)
        elif block.language == "console":
            for command in shell.dialogue(block.text):
                self._execute(command, block)
        elif block.title:
            self._write(block)
            if "nginx" in properties:
                fragments.nginx(block.text)
        elif "config" in properties or "nginx" in properties:
            fragments.CHECKS["toml" if "config" in properties else "nginx"](block.text)
        elif block.language == "python":
            if "python" not in properties:
                raise Failed('give it a title="FILE", or <!-- test: python NAMES -->')
            fragments.python(block.text, properties["python"])
        elif check := fragments.CHECKS.get(block.language):
            check(block.text)
        elif block.language in fragments.SHOWN:
            return "shown", ""
        else:
            raise Failed(f"a block of {block.language or 'no language'}: nothing says what it is")
        return "ran", ""

    def _write(self, block: Block) -> None:
        """Writes a file; a path with `/` at its front is one of this sandbox."""
        path = self._session.directory / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if "append" in block.properties else "w") as file:
            file.write(block.text)
        if path.suffix == ".py":
            compile(path.read_text(), block.title, "exec")
            # A module that is written again within a second has the same time stamp.
            shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
        elif path.suffix == ".toml" and "not-settings" not in block.properties:
            fragments.settings(path.read_text())
        elif path.name == "Dockerfile":
            fragments.dockerfile(path.read_text())
        elif block.language in ("json", "yaml", "ini"):
            fragments.CHECKS[block.language](path.read_text())

    def _execute(self, command: shell.Command, block: Block) -> None:
        expects_failure = "expect-failure" in block.properties
        if expects_failure and not any(line.strip(" …") for line in command.expected):
            raise Failed(
                f"a failure is shown with its output, in a block of console: {command.text}"
            )
        is_server = shell.serves(command.text) or "serves" in block.properties
        if is_server and not expects_failure:
            server = self._session.serve(command.text)
            self._expect_lines(server, command.expected)
            return
        if is_server:
            # It fails for what the page says, not for its address.
            self._session.end_servers()
        text = command.text
        if "input" in block.properties:
            words = [sys.executable, TERMINAL, *block.properties["input"].split(), "--", text]
            text = shlex.join(words)
        elif "zsh" in block.properties:
            text = shlex.join(["zsh", "-fc", f"{ZSH}\n{text}"])
        code, written = self._session.run(text)
        if expects_failure != (code != 0):
            raise Failed(f"exit code {code}: {command.text}\n{written}{self._logs()}")
        if problem := output.difference(command.expected, written):
            raise Failed(f"{command.text}: {problem}{self._logs()}")

    def _expect_log(self, text: str) -> None:
        if not self._session.servers:
            raise Failed("no server has been started that could write this log")
        self._expect_lines(self._session.servers[-1], text.splitlines())

    def _expect_lines(self, server: RunningServer, expected: list[str]) -> None:
        deadline = time.monotonic() + LOG_SECONDS
        while line := output.missing(expected, server.output):
            if time.monotonic() > deadline:
                raise Failed(f"not in the output of the server: {line}\n{server.output}")
            time.sleep(0.02)

    def _provide(self, needed: str) -> None:
        match needed:
            case "redis":
                self._session.serve(f"redis-server --save '' --dir {self._directory}")
            case "postgres":
                self._start_postgres()
            case program:
                if shutil.which(program) is None:
                    raise Failed(f"the program {program} is not installed")

    def _start_postgres(self) -> None:
        """PostgreSQL on 127.0.0.1:5432, with a database `shop` of the user `shop`."""
        from harness.postgres import DIRECTORIES

        os.environ["PATH"] += os.pathsep + os.pathsep.join(DIRECTORIES)
        data = "/var/tmp/page-postgres"
        initialise = f"initdb -D {data} -U shop --auth=trust --no-sync -E UTF8 >/dev/null"
        serve = f"exec postgres -D {data} -k /var/tmp -F"
        Path(data).mkdir()
        shutil.chown(data, "postgres", "postgres")
        own_path = f"PATH={os.environ['PATH']}"
        for command in (initialise,):
            self._as_postgres(own_path, command)
        self._session.serve(f"su postgres -s /bin/sh -c '{own_path}; {serve}'")
        self._as_postgres(own_path, "createdb -h 127.0.0.1 -U shop shop")

    def _as_postgres(self, path: str, command: str) -> None:
        code, written = self._session.run(f"su postgres -s /bin/sh -c '{path}; {command}'")
        if code != 0:
            raise Failed(f"{command}\n{written}")

    def _logs(self) -> str:
        return "".join(
            f"\n--- {server.command}\n{server.output[-4000:]}" for server in self._session.servers
        )

    def _fresh_directory(self) -> Path:
        count = 0
        while (path := self._directory / f"work{count or ''}").exists():
            count += 1
        path.mkdir()
        return path


def main() -> int:
    """`run.py PAGE DIRECTORY`: writes the outcomes to `DIRECTORY/outcomes.json`."""
    page, directory = Path(sys.argv[1]), Path(sys.argv[2])
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    os.chdir(directory)
    outcomes = Page(page.read_text("utf-8"), directory, environment).run()
    text = json.dumps([asdict(outcome) for outcome in outcomes])
    (directory / "outcomes.json").write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
