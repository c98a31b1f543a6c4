"""Fragments of a page that are not run: each is checked by the program that would read it."""

from __future__ import annotations

import ast
import builtins
import configparser
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness.pages.session import Failed

NGINX_WHOLE = {"events", "http", "stream"}
NGINX_IN_HTTP = {
    "geo",
    "limit_req_zone",
    "log_format",
    "map",
    "proxy_cache_path",
    "server",
    "upstream",
}


def settings(text: str) -> None:
    """Settings in TOML: names and values are right, as `--print-config` judges them."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "lockgate.toml"
        path.write_text(text, "utf-8")
        names_one = re.search(r"^(app|paste)\s*=", text, re.MULTILINE)
        app = [] if names_one else ["shop.wsgi"]
        _run(["lockgate", "-c", str(path), "--print-config", *app])


def nginx(text: str) -> None:
    """A part of nginx's configuration, or a whole one: `nginx -t` accepts it."""
    words = {line.split()[0].rstrip("{;") for line in text.splitlines() if re.match(r"\w", line)}
    whole = text
    if not words & NGINX_WHOLE:
        inside = text if words & NGINX_IN_HTTP else f"server {{ listen 8080;\n{text}\n}}"
        whole = f"events {{}}\nhttp {{\n{inside}\n}}\n"
    # Relative names in `include` are relative to the file.
    path = Path("/etc/nginx/page.conf")
    path.write_text(whole, "utf-8")
    _run(["nginx", "-t", "-q", "-c", str(path)])


def python(text: str, given: str) -> None:
    """Python code that compiles, with imports and attributes of modules that exist.

    A name that the code neither binds nor imports must be among the `given`.
    """
    tree = ast.parse(text)
    bound = set(dir(builtins)) | set(re.split(r"[,\s]+", given)) | {"__file__"}
    used: dict[str, int] = {}
    imports: list[str] = []
    modules: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.setdefault(name, node.lineno)
            case ast.Name(id=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.Import(names=names):
                for alias in names:
                    imports.append(f"import {alias.name}")
                    bound.add(alias.asname or alias.name.partition(".")[0])
                    modules.add(alias.asname or alias.name)
            case ast.ImportFrom(module=module, names=names):
                for alias in names:
                    imports.append(f"from {module} import {alias.name}")
                    bound.add(alias.asname or alias.name)
    unknown = {name: line for name, line in used.items() if name not in bound}
    if unknown:
        raise Failed(
            f"names that nothing binds: {unknown}; list them: <!-- test: python NAME … -->"
        )
    code = text.splitlines()
    imports += [line.strip() for line in _aliased_imports(tree, code)]
    attributes = sorted(_dotted(tree, modules))
    _run([sys.executable, "-c", "\n".join([*imports, *attributes])])


def _aliased_imports(tree: ast.AST, code: list[str]) -> list[str]:
    return [
        code[node.lineno - 1]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import) and any(alias.asname for alias in node.names)
    ]


def _dotted(tree: ast.AST, modules: set[str]) -> set[str]:
    """Attributes of imported modules, as `os.path.join`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if re.fullmatch(r"[\w.]+", text) and text.partition(".")[0] in modules:
                found.add(text)
    return found


def ini(text: str) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    parser.read_string(text if text.lstrip().startswith("[") else "[top]\n" + text)


def yaml(text: str) -> None:
    import yaml as library

    list(library.safe_load_all(text))


DOCKERFILE = re.compile(
    r"^(#.*|\s.*|(FROM|RUN|COPY|ADD|CMD|ENTRYPOINT|ENV|ARG|EXPOSE|USER|WORKDIR|VOLUME|LABEL|"
    r"HEALTHCHECK|STOPSIGNAL|SHELL|ONBUILD) .+|)$"
)
# The name of the package, also with extras or a version, and not a path with it.
FROM_PYPI = re.compile(r"\bpip3? install\b[^&|;]*?[ \"']lockgate(?=$|[\s\"'\[=<>~!])")


def dockerfile(text: str) -> None:
    for line in text.splitlines():
        if not DOCKERFILE.match(line):
            raise Failed(f"no instruction of a Dockerfile: {line}")
        if FROM_PYPI.search(line):
            raise Failed(f"Lockgate is not on PyPI yet: {line}")


def caddyfile(text: str) -> None:
    path = Path(tempfile.mkdtemp()) / "Caddyfile"
    path.write_text(text, "utf-8")
    _run(["caddy", "adapt", "--config", str(path)])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failed(done.stderr.strip() or done.stdout.strip())


# By the language of a fence. A title writes the file, too.
CHECKS: dict[str, Callable[[str], None]] = {
    "caddyfile": caddyfile,
    "dockerfile": dockerfile,
    "ini": ini,
    "json": lambda text: json.loads(text),
    "nginx": nginx,
    "toml": settings,
    "yaml": yaml,
}
# Shown to readers; there is nothing to run in them.
SHOWN = {"text", "html", "diff", "http"}
