"""Application loading: from a name such as `module:attribute` to the callable.

The two errors have the exit code of the server and a complete text for the operator. Tracebacks in
it have no frames of the server and of the import machinery.
"""

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import tempfile  # noqa: F401 (before the application's directories are first in sys.path)
import threading  # noqa: F401 (as well)
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from lockgate import hints, module_names, urlconf, warming

Application = Callable[..., Any]

#: Modules of files that were imported by their paths: two mounts may name one file.
_files: dict[Path, ModuleType] = {}

#: Tried in this order when a module is given without an attribute.
USUAL_NAMES = ("application", "app")
USUAL_FACTORIES = ("create_app", "make_app")


class AppImportError(Exception):
    """The import of the application raised an exception."""

    exit_code: ClassVar[int] = 3


class AppNotFound(Exception):
    """The module has no such attribute, or the attribute is not an application."""

    exit_code: ClassVar[int] = 4


def load(
    *,
    module: str | None = None,
    file: os.PathLike[str] | str | None = None,
    attribute: str | None = None,
    arguments: str | None = None,
    pythonpath: Iterable[os.PathLike[str] | str] = (),
) -> Application:
    """Returns `attribute` of `module` or `file`, or with `arguments` what a call of it returns."""
    own = [*(os.fspath(directory) for directory in pythonpath), os.getcwd()]
    hints.OWN_PLACES[:] = map(os.path.abspath, own)
    prepend(own)
    if file is not None:
        name = os.fspath(file)
        loaded = import_file(Path(file))
    elif module is not None:
        name = module
        loaded = import_module(module)
    else:
        raise TypeError("load() needs a module or a file")
    if attribute is None:
        return usual(loaded, name)
    found = look_up(loaded, attribute, name)
    spec = f"{name}:{attribute}"
    if arguments is not None:
        return call_factory(found, arguments, spec)
    return checked(found, spec)


def provided(
    provide: Callable[[], object], name: str, pythonpath: Iterable[os.PathLike[str] | str] = ()
) -> Application:
    """Returns the application that `provide` returns; `name` is for messages."""
    prepend([os.fspath(directory) for directory in pythonpath])
    try:
        application = provide()
    except BaseException as error:
        raise AppImportError(f"{name} cannot be loaded\n{trimmed(error)}") from None
    return checked(application, name)


def prepend(directories: Sequence[str]) -> None:
    """Moves directories to the front of `sys.path`, in this order."""
    absolute = list(dict.fromkeys(os.path.abspath(directory) for directory in directories))
    sys.path[:] = absolute + [entry for entry in sys.path if entry not in absolute]
    warming.forget_shadowed()


def import_module(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except BaseException as error:
        raise AppImportError(failed_import(error, module)) from None


def import_file(path: Path) -> ModuleType:
    path = Path(os.path.abspath(path))
    if not os.path.isfile(path):
        lines = [f"cannot import {path}: there is no such file"]
        near = hints.near_names(path.name, [other.name for other in path.parent.glob("*.py")])
        cures = near or hints.closed_places()
        raise AppImportError("\n".join([*lines, *hints.lines(cures), *hints.places()]))
    prepend([str(path.parent)])
    if path in _files:
        return _files[path]
    name = module_name(path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AppImportError(f"cannot import {path}: it is not Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise AppImportError(failed_import(error, name)) from None
    _files[path] = module
    return module


def module_name(stem: str) -> str:
    """The name of a file's module: its own, so that other modules can import it, unless that name
    is taken, or is that of a module of another application."""
    if stem not in sys.modules and not module_names.is_ambiguous(stem):
        return stem
    name, number = f"lockgate_application_{stem}", 1
    while name in sys.modules:
        number += 1
        name = f"lockgate_application_{stem}_{number}"
    return name


def failed_import(error: BaseException, module: str) -> str:
    """The error message for an import that failed."""
    trace = trimmed(error)
    lines = [f"cannot import {module}", trace, *hints.for_import(error, module, trace)]
    if isinstance(error, ModuleNotFoundError):
        lines += hints.places()
    return "\n".join(lines)


def trimmed(error: BaseException) -> str:
    """The traceback as Python prints it, without frames of the server and the import machinery."""
    report = report_of(error)
    seen: set[int] = set()
    chain: list[traceback.TracebackException | None] = [report]
    while chain:
        link = chain.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        link.stack[:] = [frame for frame in link.stack if not is_machinery(frame.filename)]
        chain += [link.__cause__, link.__context__]
    has_chain = report.__cause__ is not None or (
        report.__context__ is not None and not report.__suppress_context__
    )
    lines = report.format() if report.stack or has_chain else report.format_exception_only()
    return "".join(lines).rstrip()


def report_of(error: BaseException) -> traceback.TracebackException:
    try:
        return traceback.TracebackException.from_exception(error)
    except OSError:
        # Python 3.15 looks for other builds of a missing module, and fails where a directory of
        # `sys.path` is closed to the user.
        missing = {link: link.name for link in chained(error) if isinstance(link, ImportError)}
        for link in missing:
            link.name = None
        try:
            return traceback.TracebackException.from_exception(error)
        finally:
            for link, name in missing.items():
                link.name = name


def chained(error: BaseException) -> list[BaseException]:
    """An exception, and those that it was raised from or after."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is not None and link not in found:
            found.append(link)
            waiting += [link.__cause__, link.__context__]
    return found


def is_machinery(filename: str) -> bool:
    own = (hints, module_names, urlconf, importlib)
    machinery = (__file__, *(module.__file__ for module in own))
    return filename in machinery or filename.startswith("<frozen importlib")


def look_up(module: ModuleType, path: str, name: str) -> Any:
    found: Any = module
    where = name
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            text = f"there is no {part!r} in {where}"
            if not hints.replaced(module.__name__):
                text += alternatives(part, found)
            raise AppNotFound("\n".join([text, *hints.for_module(module)])) from None
        where = f"{where}:{part}" if where == name else f"{where}.{part}"
    return found


def alternatives(wanted: str, where: Any) -> str:
    """Names that the operator may have meant."""
    known = hints.callables(where)
    usual_ones = [name for name in (*USUAL_NAMES, *USUAL_FACTORIES) if name in known]
    near = difflib.get_close_matches(wanted, known) or usual_ones
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; callables there: {listed(known)}"


def listed(names: Sequence[str]) -> str:
    most = 8
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest if names else "nothing"


def usual(module: ModuleType, name: str) -> Application:
    """The application or factory under one of its usual names."""
    for candidate in USUAL_NAMES:
        found = getattr(module, candidate, None)
        if callable(found):
            return checked(found, f"{name}:{candidate}")
    for candidate in USUAL_FACTORIES:
        found = getattr(module, candidate, None)
        if callable(found):
            return call_factory(found, "", f"{name}:{candidate}")
    looked_for = [*USUAL_NAMES, *(f"{factory}()" for factory in USUAL_FACTORIES)]
    text = (
        f"{name} has none of {', '.join(looked_for)}; write {name}:NAME; "
        f"callables there: {listed(hints.callables(module))}"
    )
    raise AppNotFound("\n".join([text, *hints.for_module(module)]))


def call_factory(factory: Any, arguments: str, spec: str) -> Application:
    positional, keywords = literals(arguments, spec)
    spec = f"{spec}({arguments})"
    if not callable(factory):
        raise AppNotFound(f"{spec}: {what_it_is(factory)} is not a factory: it is not callable")
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        signature = None
    if signature is not None:
        try:
            signature.bind(*positional, **keywords)
        except TypeError as error:
            raise AppNotFound(
                f"{spec} does not fit {factory.__name__}{signature}: {error}"
            ) from None
    try:
        application = factory(*positional, **keywords)
    except BaseException as error:
        raise AppImportError(f"{spec} failed\n{trimmed(error)}") from None
    if application is None:
        raise AppNotFound(f"{spec} returned None; the factory must return the application")
    return checked(application, spec)


def literals(arguments: str, spec: str) -> tuple[list[Any], dict[str, Any]]:
    """Parses the arguments of a factory; only literals, because nothing is evaluated."""
    try:
        call = ast.parse(f"factory({arguments})", mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError(arguments)
        positional = [ast.literal_eval(argument) for argument in call.args]
        keywords = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                raise ValueError(arguments)
            keywords[keyword.arg] = ast.literal_eval(keyword.value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise AppNotFound(f"{spec}({arguments}): arguments must be Python literals") from None
    return positional, keywords


def checked(application: Any, spec: str) -> Application:
    if isinstance(application, ModuleType):
        raise AppNotFound(f"{spec} is a module; write lockgate {application.__name__}")
    if not callable(application):
        raise AppNotFound(
            f"{spec} is {what_it_is(application)}, which is not callable; name a WSGI "
            "application, such as a Flask object or a function of (environ, start_response)"
        )
    call = getattr(application, "__call__", None)  # noqa: B004 (the method itself is inspected)
    if inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(call):
        raise AppNotFound(
            f"{spec} is asynchronous, as ASGI applications are; Lockgate serves WSGI applications"
        )
    if inspect.isfunction(application):
        signature = inspect.signature(application, follow_wrapped=False)
        if not takes_a_request(signature):
            raise AppNotFound(
                f"{spec} takes {signature} and not (environ, start_response); "
                f"if it is a factory, write {spec}() in quotes"
            )
    load_urlconf(application, spec)
    return application  # type: ignore[no-any-return]


def load_urlconf(application: Application, spec: str) -> None:
    """Imports the URLconf of a Django application."""
    name = urlconf.name_of(application)
    if name is None:
        return
    try:
        urlconf.load()
    except BaseException as error:
        text = f"cannot import {name}, the URLconf of {spec}\n{trimmed(error)}"
        raise AppImportError(text) from None


def takes_a_request(signature: inspect.Signature) -> bool:
    """Whether a function can be called as `function(environ, start_response)`.

    A default for the first parameter means a factory, as in `create_app(config=None, debug=False)`:
    PEP 3333 passes both arguments in every call.
    """
    try:
        signature.bind({}, None)
    except TypeError:
        return False
    first = next(iter(signature.parameters.values()))
    return first.default is inspect.Parameter.empty


def what_it_is(value: Any) -> str:
    """Such as `an int` or `a Config`."""
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
