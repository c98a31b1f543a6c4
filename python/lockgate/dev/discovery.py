"""Discovery: which application the files and variables of a project name.

`discover` looks in the order of `flask run` and `manage.py runserver`, and then in packages and
`src/`. Files are parsed and never imported, so that nothing of the project runs.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lockgate.dev import env_files, source_names
from lockgate.dev.source_names import Module

DJANGO_VARIABLE = "DJANGO_SETTINGS_MODULE"
FLASK_VARIABLE = "FLASK_APP"
#: `django.core.servers.basehttp` has this as runserver's default.
DJANGO_DEFAULT = "django.core.wsgi:get_wsgi_application()"
#: Modules that may have the application, in this order; the first two are those of `flask run`.
USUAL_MODULES = ("wsgi", "app", "application", "main")
PASTE_FILES = ("development.ini", "production.ini")
#: Directories without the application of a project.
OTHER_DIRECTORIES = ("tests", "test", "docs", "doc", "examples", "node_modules", "build", "dist")


@dataclass(frozen=True)
class Found:
    """An application, and why it was chosen."""

    #: "flask", "django", "pyramid" or "wsgi".
    kind: str
    #: `module:attribute`, `module:factory()` or `module`; for Pyramid the path of a PasteDeploy
    #: file, which the setting `paste` takes.
    app: str
    #: What named it, for people: `wsgi.py has application`.
    reason: str
    settings_module: str | None = None
    #: Directories to prepend to `sys.path`; relative ones are below the directory of the search.
    pythonpath: list[str] = field(default_factory=list)

    @property
    def is_paste(self) -> bool:
        return self.app.partition("#")[0].endswith(".ini")


class NothingFound(Exception):
    """No application was found. The text says where it was looked for, and what to do."""


def discover(directory: Path, environment: Mapping[str, str]) -> Found:
    """The application of the project in `directory`, with these variables.

    Raises NothingFound.
    """
    files = env_files.read(directory, environment)
    environment = {**files.variables, **environment}
    named = environment.get(FLASK_VARIABLE, "").strip()
    if named:
        origin = files.origins.get(FLASK_VARIABLE)
        where = f"{FLASK_VARIABLE} in {origin.name}" if origin else FLASK_VARIABLE
        found = of_name(named, directory, environment)
        return replace(found, kind="flask", reason=f"{where} is {named}")
    for look in (of_manage_py, of_paste_file, of_usual_module, of_settings, of_packages):
        found_here = look(directory, environment)
        if found_here is not None:
            return found_here
    unread = " (python-dotenv is not installed, so they are not read)" if files.is_unread else ""
    raise NothingFound(
        f"no application was found in {directory}\n"
        f"  looked for: FLASK_APP in the environment, .flaskenv and .env{unread}; manage.py; "
        f"{', '.join(PASTE_FILES)}; {', '.join(f'{name}.py' for name in USUAL_MODULES)}; "
        "packages with an application, here and in src/\n"
        "  hint: name it, as in `lockgate dev module:attribute` or `lockgate dev path/to/file.py`"
    )


def of_name(
    name: str,
    directory: Path,
    environment: Mapping[str, str],
    reason: str = "named on the command line",
) -> Found:
    """The application of a name: `module`, `module:attribute`, `module:factory("dev")`, a file with
    or without an attribute, `manage.py`, or a PasteDeploy file."""
    place, colon, attribute = name.partition(":")
    if place.partition("#")[0].endswith(".ini"):
        return Found("pyramid", name, reason)
    path = directory / place
    if path.name == "manage.py" and path.is_file() and not colon:
        found = of_manage_py(path.parent, environment)
        if found is not None:
            return found if path.parent == directory else below(found, path.parent, directory)
    if place.endswith(".py") or "/" in place:
        return of_path(path, attribute, directory, reason)
    source = located(place, directory)
    if source is None:
        return Found("wsgi", name, reason)
    module, pythonpath = source_names.read(source), outside(source, place, directory)
    settings = django_settings(source, directory, environment)
    kind = "django" if settings and module.kind == "django" else module.kind
    spec = with_attribute(place, attribute, module)
    return Found(kind, spec, reason, settings if kind == "django" else None, pythonpath)


def of_path(path: Path, attribute: str, directory: Path, reason: str) -> Found:
    """The application of a file: a module below the outermost package that has the file."""
    source = path if path.name.endswith(".py") else path.with_name(f"{path.name}.py")
    if path.is_dir():
        source = path / "__init__.py"
    parts = [] if source.name == "__init__.py" else [source.stem]
    top = source.parent
    while (top / "__init__.py").is_file():
        parts.insert(0, top.name)
        top = top.parent
    module = source_names.read(source)
    spec = with_attribute(".".join(parts), attribute, module)
    return Found(module.kind, spec, reason, None, relative(top, directory))


def with_attribute(name: str, attribute: str, module: Module) -> str:
    if attribute:
        return f"{name}:{module.spelled(attribute) if attribute.isidentifier() else attribute}"
    usual = module.application()
    return f"{name}:{usual}" if usual else name


def of_manage_py(directory: Path, environment: Mapping[str, str]) -> Found | None:
    """The project of a manage.py: here, or in the only subdirectory that has one."""
    path = directory / "manage.py"
    if not path.is_file():
        others = sorted(directory.glob("*/manage.py"))
        found = of_manage_py(others[0].parent, environment) if len(others) == 1 else None
        return below(found, others[0].parent, directory) if found else None
    named = environment.get(DJANGO_VARIABLE)
    settings = named or source_names.environment_default(path, DJANGO_VARIABLE)
    if settings is None:
        return None
    where = DJANGO_VARIABLE if named else "manage.py"
    return of_django(settings, directory, f"{where} names the settings {settings}")


def settings_of_manage_py(directory: Path) -> str | None:
    """The settings that manage.py names: here, or in the only subdirectory that has one."""
    path = directory / "manage.py"
    others = [] if path.is_file() else sorted(directory.glob("*/manage.py"))
    return source_names.environment_default(
        others[0] if len(others) == 1 else path, DJANGO_VARIABLE
    )


def below(found: Found, place: Path, directory: Path) -> Found:
    own = place.relative_to(directory)
    inside = [str(own / entry) for entry in found.pythonpath]
    return replace(found, reason=f"{own}/{found.reason}", pythonpath=[str(own), *inside])


def of_settings(directory: Path, environment: Mapping[str, str]) -> Found | None:
    """The project of DJANGO_SETTINGS_MODULE."""
    settings = environment.get(DJANGO_VARIABLE)
    if not settings:
        return None
    return of_django(settings, directory, f"{DJANGO_VARIABLE} is {settings}")


def of_django(settings: str, directory: Path, reason: str) -> Found:
    """As runserver: what the setting WSGI_APPLICATION names, else Django's own application."""
    source = located(settings, directory)
    pythonpath = outside(source, settings, directory) if source else []
    application = source and source_names.string_assigned(source, "WSGI_APPLICATION")
    app = DJANGO_DEFAULT
    if application and "." in application:
        module, _, attribute = application.rpartition(".")
        app = f"{module}:{attribute}"
    return Found("django", app, reason, settings, pythonpath)


def django_settings(source: Path, directory: Path, environment: Mapping[str, str]) -> str | None:
    """The settings of Django: those of the environment, of manage.py, or of this file. A wsgi.py
    may name those of production."""
    return (
        environment.get(DJANGO_VARIABLE)
        or settings_of_manage_py(directory)
        or source_names.environment_default(source, DJANGO_VARIABLE)
    )


def of_paste_file(directory: Path, environment: Mapping[str, str]) -> Found | None:
    for name in PASTE_FILES:
        path = directory / name
        if path.is_file() and re.search(
            r"^\[(app|composite|pipeline|filter-app):main\]", text_of(path), re.MULTILINE
        ):
            return Found("pyramid", name, f"{name} has the application main")
    return None


def of_usual_module(directory: Path, environment: Mapping[str, str]) -> Found | None:
    for place in (directory, directory / "src"):
        for name in USUAL_MODULES:
            source = place / f"{name}.py"
            found = of_module(name, source, directory, environment) if source.is_file() else None
            if found is not None:
                return found
            # `flask run` stops here, and reports what is wrong with the file.
            if source.is_file() and source_names.parsed(source) is None:
                reason = f"{source.relative_to(directory)} is here"
                return Found("wsgi", name, reason, None, relative(place, directory))
    return None


def of_module(
    name: str, source: Path, directory: Path, environment: Mapping[str, str]
) -> Found | None:
    module = source_names.read(source)
    spec = module.application()
    if spec is None:
        return None
    settings = None
    if module.kind == "django":
        settings = django_settings(source, directory, environment)
    reason = f"{source.relative_to(directory)} has {spec}"
    return Found(module.kind, f"{name}:{spec}", reason, settings, outside(source, name, directory))


def of_packages(directory: Path, environment: Mapping[str, str]) -> Found | None:
    """The only package with an application, or the one that pyproject.toml names."""
    found: dict[str, Found] = {}
    for package in packages(directory):
        for module in ("", *USUAL_MODULES):
            name = f"{package.name}.{module}" if module else package.name
            source = package / f"{module or '__init__'}.py"
            here = of_module(name, source, directory, environment) if source.is_file() else None
            if here is not None:
                found[package.name] = here
                break
    project = project_name(directory)
    if project in found:
        return found[project]
    if len(found) > 1:
        listed = "\n".join(f"  lockgate dev {one.app}" for one in found.values())
        raise NothingFound(f"{directory} has several applications; name one of them:\n{listed}")
    return next(iter(found.values()), None)


def packages(directory: Path) -> Iterator[Path]:
    for place in (directory, directory / "src"):
        for entry in sorted(place.iterdir()) if place.is_dir() else []:
            is_own = entry.name.isidentifier() and entry.name not in OTHER_DIRECTORIES
            if is_own and (entry / "__init__.py").is_file():
                yield entry


def project_name(directory: Path) -> str | None:
    """The name in pyproject.toml as that of a package. Python 3.10 has no parser for TOML."""
    section = re.search(
        r"^\[project\]\s*$(.*?)(?=^\[|\Z)",
        text_of(directory / "pyproject.toml"),
        re.MULTILINE | re.DOTALL,
    )
    name = section and re.search(r"""^name\s*=\s*["']([^"']+)["']""", section[1], re.MULTILINE)
    return re.sub(r"[-.]+", "_", name[1]).lower() if name else None


def text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def located(name: str, directory: Path) -> Path | None:
    """The source file of a module, without importing its package."""
    parts = name.split(".")
    for place in (directory, directory / "src", *map(Path, filter(None, sys.path))):
        path = place.joinpath(*parts)
        for source in (path / "__init__.py", path.parent / f"{path.name}.py"):
            if source.is_file():
                return source
    return None


def outside(source: Path, name: str, directory: Path) -> list[str]:
    """The directory that `sys.path` lacks for the module in this file."""
    depth = len(name.split(".")) + (source.name == "__init__.py")
    place = source.parents[depth - 1]
    return relative(place, directory) if place.is_relative_to(directory) else []


def relative(place: Path, directory: Path) -> list[str]:
    if place == directory:
        return []
    inside = place.is_relative_to(directory)
    return [str(place.relative_to(directory)) if inside else str(place)]
