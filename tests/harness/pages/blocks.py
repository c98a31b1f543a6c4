"""Fenced blocks of a Markdown page, with the properties that a comment gives them."""

from __future__ import annotations

import re
from dataclasses import dataclass

FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<info>[^`]*)$")
TITLE = re.compile(r'title="([^"]*)"')
COMMENT = re.compile(r"^ *<!-- test: (?P<text>.*?)(?P<end> *-->)?$")
PROPERTIES = {
    "append",
    "config",
    "expect-failure",
    "fresh",
    "input",
    "log",
    "needs",
    "nginx",
    "not-settings",
    "python",
    "root",
    "serves",
    "skip",
    "zsh",
}
PREPARE = "prepare"


class BadPage(Exception):
    """A page that does not follow the convention."""


@dataclass(frozen=True)
class Block:
    """One block. `line` is that of its fence; `properties` have their arguments as one text."""

    line: int
    language: str
    title: str
    text: str
    properties: dict[str, str]

    @property
    def name(self) -> str:
        return " ".join(filter(None, [self.language or "text", self.title]))


def blocks(text: str) -> list[Block]:
    """The blocks of a page in their order.

    A comment `<!-- test: prepare` holds commands that readers do not see, until `-->`.
    """
    found: list[Block] = []
    properties: dict[str, str] = {}
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if comment := COMMENT.match(line):
            name, _, argument = comment["text"].strip().partition(" ")
            if name == PREPARE:
                commands = [] if comment["end"] else _until(lines, lambda line: line == "-->")
                found.append(Block(number, PREPARE, "", "\n".join([argument, *commands]), {}))
            elif name in PROPERTIES and comment["end"]:
                properties[name] = argument.strip()
            else:
                raise BadPage(f"line {number}: no such property: {comment['text']!r}")
            continue
        fence = FENCE.match(line)
        if fence is None:
            if line.strip() and properties:
                raise BadPage(f"line {number}: a property stands above the fence of its block")
            continue
        found.append(_block(number, fence, lines, properties))
        properties = {}
    return found


def _block(number, fence, lines, properties) -> Block:
    marks, indent = fence["marks"], len(fence["indent"])
    info = fence["info"].strip()
    content = _until(lines, lambda line: line.strip() == marks)
    title = TITLE.search(info)
    for line in content:
        if line[:indent].strip():
            raise BadPage(f"line {number}: the block is indented less than its fence")
    return Block(
        number,
        info.split(" ")[0] if not info.startswith(("title=", "{")) else "",
        title[1] if title else "",
        "".join(line[indent:] + "\n" for line in content),
        properties,
    )


def _until(lines, is_end) -> list[str]:
    content = []
    for _, line in lines:
        if is_end(line):
            return content
        content.append(line)
    raise BadPage("a block or comment has no end")
