"""The four formats of uWSGI's configuration files, each read into keys and values with their lines.

They are read as uWSGI reads them, and not as their standards say: a value has no comment behind it,
YAML is a list of lines, and XML is a list of elements.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.parsers import expat

from lockgate.convert.source import ConversionError
from lockgate.convert.uwsgi.magic import Magic


class NoSection(ConversionError):
    """The file has nothing for uWSGI."""


@dataclass(frozen=True)
class Item:
    """One key of a file."""

    line: int
    key: str
    value: str | None
    #: Set if uWSGI does not read it: the reason.
    ignored: str = ""


#: Reads a text for a section; the caller has set the variables about the file.
Format = Callable[[str, str | None, Magic, str], Iterator[Item]]

BLANK = " \t\r"
#: Of JSON objects and lists inside each other.
MOST_LEVELS = 100


def read_ini(text: str, section: str | None, magic: Magic, name: str) -> Iterator[Item]:
    asked = section or "uwsgi"
    current: str | None = None
    other: dict[str, tuple[int, int]] = {}
    found = False
    for number, raw in magic.lines(text):
        line = raw.strip(BLANK)
        if not line or line[0] in ";#":
            continue
        if line[0] == "[":
            # uWSGI drops the last character of the line, whatever it is.
            current = line[1:-1]
            if current == asked:
                found = True
            else:
                other.setdefault(current, (number, 0))
            continue
        key, _, value = line.partition("=")
        if current == asked:
            yield Item(number, key.rstrip(BLANK), value.strip(BLANK))
        elif current is None:
            reason = "it stands before the first section, where uWSGI reads nothing"
            yield Item(number, key.rstrip(BLANK), value.strip(BLANK), reason)
        else:
            first, count = other[current]
            other[current] = (first, count + 1)
    for title, (number, count) in other.items():
        yield Item(
            number,
            f"[{title}]",
            None,
            f"uWSGI reads the section [{asked}] only; this one has {counted(count)}, and "
            f"lockgate convert {name}:{title} converts it",
        )
    if not found:
        raise NoSection(f"{name}: has no section [{asked}]")


def read_yaml(text: str, section: str | None, magic: Magic, name: str) -> Iterator[Item]:
    asked = section or "uwsgi"
    depth: int | None = None
    inside = found = False
    list_key: str | None = None
    for number, raw in magic.lines(text):
        line = strip_yaml_comment(raw).rstrip()
        content = line.lstrip()
        if not content or content in ("---", "..."):
            continue
        indent = len(line) - len(content)
        if indent == 0 and not content.startswith("-"):
            inside = content.rstrip() == f"{asked}:"
            found = found or inside
            depth = list_key = None
            if not inside:
                key, _, value = content.partition(":")
                reason = f"uWSGI reads the mapping {asked} only"
                yield Item(number, key.strip(), value.strip() or None, reason)
            continue
        if not inside:
            continue
        if content.startswith("- ") and list_key is not None:
            yield Item(number, list_key, unquote(content[2:].strip()))
            continue
        if depth is None:
            depth = indent
        match = re.match(r"""("[^"]*"|'[^']*'|[^\s:#'"\[\]{}][^:]*?)\s*:(?:\s+(.*))?$""", content)
        if indent != depth or match is None:
            raise ConversionError(
                f"{name} line {number}: uWSGI's YAML is one mapping of keys to values or lists; "
                "this line is something else"
            )
        key, value = unquote(match[1]), (match[2] or "").strip()
        list_key = None
        if value.startswith("[") and value.endswith("]"):
            for part in value[1:-1].split(","):
                if part.strip():
                    yield Item(number, key, unquote(part.strip()))
        elif value[:1] in ("|", ">", "&", "*", "{", "["):
            raise ConversionError(
                f"{name} line {number}: {value[:1]} begins something that uWSGI's YAML does not "
                "have; write the value on one line"
            )
        elif value:
            yield Item(number, key, unquote(value))
        else:
            list_key = key
    if not found:
        raise NoSection(f"{name}: has no mapping {asked}:")


def strip_yaml_comment(line: str) -> str:
    """The line without a comment, which begins with `#` at its start or after white space."""
    quote = ""
    for position, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and line[:position].rstrip()[-1:] in (":", "-", "[", ",", ""):
            quote = character
        elif character == "#" and (position == 0 or line[position - 1] in " \t"):
            return line[:position]
    return line


def unquote(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def read_json(text: str, section: str | None, magic: Magic, name: str) -> Iterator[Item]:
    asked = section or "uwsgi"
    text = magic.replace(text)
    try:
        document = json.loads(text, object_pairs_hook=Pairs)
    except json.JSONDecodeError as problem:
        raise ConversionError(f"{name} line {problem.lineno}: is not JSON: {problem.msg}") from None
    except (ValueError, RecursionError):
        raise ConversionError(f"{name}: is not JSON that can be read") from None
    pairs = document if isinstance(document, Pairs) else Pairs()
    lines = iter(json_key_lines(text))
    found = False
    for top, content in pairs:
        number = next(lines)
        if not isinstance(content, Pairs):
            yield Item(number, top, None, f"uWSGI reads the object {asked} only")
            continue
        if top != asked:
            reason = f"uWSGI reads the object {asked} only; this one has {counted(len(content))}"
            yield Item(number, top, None, reason)
        for key, value in content:
            line = next(lines)
            if top == asked:
                found = True
                yield from json_items(line, key, value)
        found = found or top == asked
    if not found:
        raise NoSection(f'{name}: has no object "{asked}"')


def counted(keys: int) -> str:
    return f"{keys} key{'s' * (keys != 1)}"


class Pairs(list[tuple[str, object]]):
    """A JSON object that keeps repeated keys."""


def json_items(line: int, key: str, value: object) -> Iterator[Item]:
    if isinstance(value, Pairs):
        yield Item(line, key, json_text(key, value), "uWSGI ignores objects as values")
    elif isinstance(value, list):
        for part in value:
            if isinstance(part, list):
                yield Item(line, key, json_text(key, part), "uWSGI ignores lists in lists")
            else:
                yield from json_items(line, key, part)
    elif value is None or isinstance(value, bool):
        yield Item(line, key, "1" if value else "0")
    else:
        yield Item(line, key, str(value))


def json_text(key: str, value: object) -> str:
    # Python's own limit depends on its version: 3.12 writes more levels than others.
    level, parts = 0, [value]
    while parts:
        level += 1
        if level > MOST_LEVELS:
            raise ConversionError(f"{key}: has too many objects inside each other")
        parts = [part for one in parts for part in parts_of(one)]
    return json.dumps(value)


def parts_of(value: object) -> list[object]:
    if isinstance(value, Pairs):
        return [part for _, part in value]
    return list(value) if isinstance(value, list) else []


def json_key_lines(text: str) -> Iterator[int]:
    """The lines of the keys in the outermost object and in the objects directly in it, in order."""
    depth = 0
    line = 1
    held: tuple[int, int] | None = None
    stack: list[str] = []
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]|\n', text):
        token = match[0]
        if token == "\n":
            line += 1
        elif token in "{[":
            depth += 1
            stack.append(token)
            held = None
        elif token in "}]":
            depth -= 1
            stack.pop()
            held = None
        elif token == ":":
            if held is not None and held[1] <= 2 and "[" not in stack:
                yield held[0]
            held = None
        else:
            held = (line, depth)


def read_xml(text: str, section: str | None, magic: Magic, name: str) -> Iterator[Item]:
    reader = XmlReader(section, name)
    return iter(reader.read(magic.replace(text)))


class XmlReader:
    """Reads `<uwsgi><key>value</key></uwsgi>`. Entities are refused, so that none can grow."""

    def __init__(self, section: str | None, name: str) -> None:
        self.section = section
        self.name = name
        self.items: list[Item] = []
        self.path: list[str] = []
        self.root_depth: int | None = None
        self.is_skipped = self.is_done = False
        self.key: tuple[int, str, dict[str, str]] | None = None
        self.text: list[str] = []
        # The text is passed in this encoding, whatever the file declares.
        self.parser = expat.ParserCreate("utf-8")

    def read(self, text: str) -> list[Item]:
        parser = self.parser
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.text.append
        parser.EntityDeclHandler = self.refuse_entity
        try:
            parser.Parse(text.encode("utf-8", "surrogateescape"), True)
        except expat.ExpatError as problem:
            detail = expat.ErrorString(problem.code)
            raise ConversionError(
                f"{self.name} line {problem.lineno}: is not XML: {detail}"
            ) from None
        if self.root_depth is None:
            raise ConversionError(f"{self.name}: has no element <uwsgi>")
        return self.items

    def refuse_entity(self, *_: object) -> None:
        line = self.parser.CurrentLineNumber
        raise ConversionError(
            f"{self.name} line {line}: declares an entity; write its text instead"
        )

    def start(self, element: str, attributes: dict[str, str]) -> None:
        self.path.append(element)
        depth = len(self.path)
        if depth > 100:
            raise ConversionError(f"{self.name}: has more than 100 elements inside each other")
        if self.root_depth is None or depth == self.root_depth:
            if element == "uwsgi" and depth <= 2:
                self.root_depth = depth
                identifier = attributes.get("id")
                differs = self.section and identifier and identifier != self.section
                self.is_skipped = self.is_done or bool(depth == 2 and differs)
            return
        if depth == self.root_depth + 1:
            self.key = (self.parser.CurrentLineNumber, element, attributes)
        self.text.clear()

    def end(self, element: str) -> None:
        self.path.pop()
        if len(self.path) + 1 == self.root_depth and not self.is_skipped:
            self.is_done = True
        if self.key is None or self.root_depth is None or len(self.path) != self.root_depth:
            return
        line, key, attributes = self.key
        self.key = None
        value = "".join(self.text).strip()
        self.text.clear()
        identifier = attributes.get("id")
        if self.is_skipped:
            self.items.append(Item(line, key, value, "uWSGI reads one <uwsgi> element only"))
        elif self.section and identifier and identifier != self.section:
            self.items.append(Item(line, key, value, f"its id is {identifier}"))
        elif key == "app" and value:
            mount = attributes.get("mountpoint", "")
            domain = attributes.get("domain", "")
            target = f"{mount}={value}" if mount else f"{domain}|={value}" if domain else value
            self.items.append(Item(line, "mount", target))
        else:
            self.items.append(Item(line, key, value or "1"))


#: By the end of a file's name.
FORMATS: dict[str, Format] = {
    ".ini": read_ini,
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".json": read_json,
    ".js": read_json,
    ".xml": read_xml,
}

#: By the option that names a file of this format.
OPTIONS: dict[str, Format] = {
    "ini": read_ini,
    "yaml": read_yaml,
    "yml": read_yaml,
    "json": read_json,
    "js": read_json,
    "xml": read_xml,
    "xmlconfig": read_xml,
}
