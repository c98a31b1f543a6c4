"""The evaluation process: `SOURCE DESCRIPTOR [ARGUMENT...]` (`command` starts it).

Executes a configuration and writes what it has set as one JSON object to the descriptor:

    {"names": [{"name": "workers", "line": 3, "value": 4},
               {"name": "post_fork", "line": 9, "function": ["server", "worker"]},
               {"name": "logger_class", "line": 2, "object": "<class ...>", "path": "m.Logger"}],
     "text": "import os...", "error": null}

`text` is what the file contains, for processes that execute it later. If the configuration raises
an exception, `error` is its traceback. If it ends the process, the descriptor is closed without an
object.
"""

import ast
import json
import os
import select
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from lockgate._lockgate import die_with_parent
from lockgate.gunicorn import SERVER, conf

#: A value that is nested more deeply is described instead of copied.
MOST_NESTED = 32
#: So is one whose JSON has more characters. The server limits the result as a whole to 16 MiB.
LONGEST = 1 << 20
#: Descriptions of other objects are cut to this many characters.
MOST_DESCRIBED = 200


def main(arguments: list[str]) -> None:
    source, number, *server = arguments
    output_end = take(int(number))
    become_session(output_end)
    # The configuration sees the server's command line, as in gunicorn.
    sys.argv[:] = server or sys.argv[:1]
    answer = json.dumps(evaluate(source)).encode()
    with open(output_end, "wb") as stream:
        stream.write(answer)
    for output in (sys.stdout, sys.stderr):
        try:
            output.flush()
        except Exception:
            # The configuration may have replaced it, by None for example.
            pass
    # Neither exit functions nor threads of the configuration belong to this process.
    os._exit(0)


def take(number: int) -> int:
    """The descriptor, which programs that the configuration starts do not inherit. Instead of it
    standard input is open on /dev/null.
    """
    own = os.dup(number)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    if number != 0:
        os.close(number)
    return own


def become_session(output_end: int) -> None:
    """Separates the process from the terminal, and ends it with the server."""
    os.setsid()
    die_with_parent()
    poll = select.poll()
    poll.register(output_end, 0)
    if poll.poll(0):
        # The server has exited before: nothing reads the pipe.
        os._exit(1)


def evaluate(source: str) -> dict[str, Any]:
    try:
        namespace = conf.execute(source)
    except (Exception, KeyboardInterrupt) as error:
        return {"names": [], "error": conf.describe(error)}
    lines = binding_lines(namespace.get("__file__"))
    try:
        names = [
            {"name": name, "line": lines.get(name), **entry(name, value)}
            for name, value in list(namespace.items())
            if not name.startswith("_") and not isinstance(value, ModuleType)
        ]
    except Exception as error:
        return {"names": [], "error": conf.describe(error)}
    changed = getattr(sys.modules.get("gunicorn"), "SERVER", SERVER)
    if isinstance(changed, str) and changed != SERVER and "server_header" not in namespace:
        # `gunicorn.SERVER = "..."` in a configuration replaces the response header `Server`.
        names.append({"name": "server_header", "line": None, **entry("server_header", changed)})
    text = conf.text_of(namespace)
    if text is not None and len(text) > LONGEST:
        text = None
    return {"names": names, "text": text, "error": None}


def entry(name: str, value: object) -> dict[str, Any]:
    """One value: plain data, a function, or another object."""
    if name in conf.HOOKS and isinstance(value, str):
        value = conf.hook({name: value}, name)
    try:
        found = plain(value, 0)
        if len(json.dumps(found)) <= LONGEST:
            return {"value": found}
    except NotPlain:
        pass
    if callable(value) and not isinstance(value, type):
        try:
            return {"function": parameters(name, value)}
        except (TypeError, ValueError):
            # A function of C code without a signature.
            return {"function": ["*args"]}
    described = {"object": described_as(value)}
    path = path_of(value)
    return described if path is None else {**described, "path": path}


def parameters(name: str, function: conf.Hook) -> list[str]:
    """Of a hook that takes any number of arguments: as many as gunicorn passes."""
    names = conf.positional(function)
    if name in conf.HOOKS and names and names[-1].startswith("*"):
        rest = names.pop()
        names += [rest] * (max(conf.HOOKS[name]) - len(names))
    return names


class NotPlain(Exception):
    """The value is not made of JSON's types."""


def plain(value: object, depth: int) -> Any:
    """The value in JSON's types: tuples and sets become lists."""
    if depth > MOST_NESTED:
        raise NotPlain
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return int(value)
    if isinstance(value, float) and value - value == 0:
        return float(value)
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        items = [plain(item, depth + 1) for item in value]
        return sorted(items, key=lambda item: (type(item).__name__, str(item)))
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {plain_text(key): plain(item, depth + 1) for key, item in value.items()}
    raise NotPlain


def plain_text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotPlain from None
    return str.__str__(value)


def described_as(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr() raises {type(error).__name__}>"
    return text.encode(errors="backslashreplace").decode()[:MOST_DESCRIBED]


def path_of(value: object) -> str | None:
    """`module.qualname`, if the object has one."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str):
        return f"{module}.{name}"
    return None


def binding_lines(path: object) -> dict[str, int]:
    """For each name that the file binds at its top level, the line of the last binding."""
    try:
        with open(str(path), "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, ValueError, SyntaxError, RecursionError):
        return {}
    lines: dict[str, int] = {}
    for name, line in sorted(bindings(tree), key=lambda binding: binding[1]):
        lines[name] = line
    return lines


def bindings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The names that statements outside functions and classes bind, with their lines."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield (alias.asname or alias.name).partition(".")[0], node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        yield from bindings(node)
