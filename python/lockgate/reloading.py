"""Reports of a worker to the watcher (`reload`): the files that its application consists of.

They go through a pipe that exists only with `reload`, in chunks of whole lines of at most 4 KiB,
which a pipe takes whole (POSIX, PIPE_BUF). A line is a letter and its argument:

- `P` and a process id: the chunk is from this process. It is the first line of each chunk.
- `B` and a time: a process begins to load the application. `E` ends that well, `X` badly.
- `M`, a time, a space and a path: the import of a module of the application begins, and has found
  that its file was written at this time (seconds since 1970).
- `F` and a path: a file of the application. `f` and a path: one of the interpreter or of an
  installed package.
- `D` and a path: a directory in which the application's modules are looked for.
"""

import importlib.machinery
import os
import select
import site
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[..., Any]

#: Longest write that a pipe takes whole (PIPE_BUF on Linux; 512 elsewhere is less than a path).
ATOMIC = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 512
#: Longest record beside the first line of a chunk.
LONGEST = ATOMIC - 32
#: Milliseconds to wait for a watcher that does not read. What is left is reported next time.
PATIENCE = 1000

#: Seconds for which a source that was just written has no bytecode. See `leave_out_fresh_bytecode`.
FRESH = 2

_lock = threading.Lock()
_pipe: int | None = None
_reported: set[str] = set()
#: When the files of modules were written that have been imported and not reported yet.
_imported: dict[str, float] = {}
_modules_seen = 0
_is_replaced = False


def start(pipe: int) -> None:
    """Reports go to this descriptor from now on. In each process that loads or serves."""
    global _pipe
    _pipe = pipe


def stop() -> None:
    """Nothing is reported any more: a process that the application has forked closes the pipe."""
    global _pipe
    _pipe = None


os.register_at_fork(after_in_child=stop)


def is_on() -> bool:
    """Whether this process reports anything."""
    return _pipe is not None


def begin_loading() -> None:
    """The application is about to be loaded."""
    leave_out_fresh_bytecode()
    report_imports()
    with _lock:
        _send([f"B{time.time()}".encode()])


def finish_loading() -> None:
    """The application has been loaded: reports its modules, and where others would be found."""
    _report_directories(sys.path)
    report_new_modules()
    with _lock:
        _send([b"X" if _is_replaced else b"E"])


def replace_application(files: Iterable[os.PathLike[str] | str]) -> None:
    """The application could not be loaded, and a page that says so takes its place; the next save
    of these files, or of any module of the application, may help. While it is loaded."""
    global _is_replaced
    _is_replaced = True
    report_files(files)


def fail_loading(error: BaseException) -> None:
    """The application could not be loaded: reports also the files that the error is about."""
    _report_directories(sys.path)
    report_new_modules()
    report_files(files_of(error))
    with _lock:
        _send([b"X"])


def leave_out_fresh_bytecode() -> None:
    """From now on no `.pyc` is written for a source that was written within the last two seconds.

    It has the time of its source in whole seconds, and the size (PEP 552). After a second save in
    the same second that changes no more than a digit, Python would load the bytecode of the first.
    """
    loader: Any = importlib.machinery.SourceFileLoader
    write = loader.set_data
    if hasattr(write, "leaves_out_fresh_bytecode"):
        return

    def set_data(self: object, path: str, data: bytes, **options: Any) -> None:
        is_timed = path.endswith(".pyc") and not any(data[4:8])
        if is_timed and time.time() - int.from_bytes(data[8:12], "little") < FRESH:
            return
        write(self, path, data, **options)

    set_data.leaves_out_fresh_bytecode = True  # type: ignore[attr-defined]
    loader.set_data = set_data


def report_imports() -> None:
    """From now on each import of a module of the application is reported when it begins.

    So a save while a module is executed is noticed, also if that never ends.
    """
    loader: Any = importlib.machinery.SourceFileLoader
    stats = loader.path_stats
    if hasattr(stats, "reports_imports"):
        return

    def path_stats(self: object, path: str) -> Any:
        found = stats(self, path)
        _report_import(path, found["mtime"])
        return found

    path_stats.reports_imports = True  # type: ignore[attr-defined]
    loader.path_stats = path_stats


def _report_import(path: str, written: float) -> None:
    if _pipe is None or not _is_own(path := os.path.abspath(path)):
        return
    _imported[path] = written
    # Not awaited: a signal handler may import while this thread holds the lock. What is left is
    # reported with other new modules.
    if not _lock.acquire(blocking=False):
        return
    try:
        if _send([_record(path)], patience=0):
            _reported.add(path)
            _imported.pop(path, None)
    finally:
        _lock.release()


def report_new_modules() -> None:
    """Reports the files of modules that have been imported since the last call."""
    global _modules_seen
    count = len(sys.modules)
    if count == _modules_seen or _pipe is None:
        return
    _modules_seen = count
    modules = sys.modules.copy().values()
    paths = [path for module in modules if (path := _file_of(module))]
    directories = [path for module in modules for path in _directories_of(module)]
    if not (_report_directories(directories) and report_files(paths)):
        _modules_seen = 0


def report_files(paths: Iterable[os.PathLike[str] | str]) -> bool:
    """Has these files watched, such as templates; False if the watcher does not read."""
    if _pipe is None:
        return True
    absolute = {os.path.abspath(path) for path in paths}
    with _lock:
        new = sorted(absolute - _reported)
        sent = _send([_record(path) for path in new])
        _reported.update(new[:sent])
        for path in new[:sent]:
            _imported.pop(path, None)
    return sent == len(new)


def files_of(error: BaseException) -> list[str]:
    """The files in which an exception and its causes were raised, and those of syntax errors."""
    found: dict[str, None] = {}
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        link = chain.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        if isinstance(link, SyntaxError) and link.filename:
            found[link.filename] = None
        frame = link.__traceback__
        while frame is not None:
            found[frame.tb_frame.f_code.co_filename] = None
            frame = frame.tb_next
        chain += [link.__cause__, link.__context__]
    return [path for path in found if not path.startswith("<")]


def reporting(application: Application) -> Application:
    """The application, with a report of what a call has imported at its end."""

    def report_after(environ: Any, start_response: Any) -> Any:
        try:
            return application(environ, start_response)
        finally:
            report_new_modules()

    return report_after


def _file_of(module: object) -> str | None:
    # Not `module.__file__`: modules that are loaded lazily would be loaded by that.
    try:
        path = object.__getattribute__(module, "__dict__").get("__file__")
    except (AttributeError, TypeError):
        return None
    return path if isinstance(path, str) and path else None


def _directories_of(module: object) -> list[str]:
    """The directories of a namespace package, which has no file."""
    try:
        names = object.__getattribute__(module, "__dict__")
        # Those of a parent that has left `sys.modules` cannot be found out.
        return [] if names.get("__file__") else [*map(str, names.get("__path__", ()))]
    except (AttributeError, KeyError, TypeError):
        return []


def _report_directories(paths: Iterable[str]) -> bool:
    """Has new modules noticed in these directories; False if the watcher does not read."""
    if _pipe is None:
        return True
    own = {path for entry in paths if _is_own(path := os.path.abspath(entry))}
    with _lock:
        new = sorted(own - _reported)
        sent = _send([b"D" + os.fsencode(path) for path in new])
        _reported.update(new[:sent])
    return sent == len(new)


def _record(path: str) -> bytes:
    """The line that reports a file."""
    written = _imported.get(path)
    if written is not None:
        return b"M%b %b" % (repr(written).encode(), os.fsencode(path))
    return b"%c%b" % (b"fF"[_is_own(path)], os.fsencode(path))


def _environment() -> tuple[str, ...]:
    """The directories of the interpreter and of installed packages."""
    scheme = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    places = [scheme[name] for name in names if name in scheme]
    # Of the interpreter below a virtual environment, too.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    places += [os.path.join(sys.base_prefix, "lib", version), os.path.dirname(os.__file__)]
    places += site.getsitepackages() if hasattr(site, "getsitepackages") else []
    places.append(site.getusersitepackages() if hasattr(site, "getusersitepackages") else "")
    whole = {form for place in places if place for form in (place, os.path.realpath(place))}
    return tuple(os.path.join(place, "") for place in sorted(whole))


_ENVIRONMENT = _environment()
#: `/usr/lib/python311.zip`
_ZIPPED = os.path.join(
    sys.base_prefix, "lib", f"python{sys.version_info.major}{sys.version_info.minor}.zip"
)


def _is_own(path: str) -> bool:
    """Whether it belongs to the application, and not to the interpreter or an installed package."""
    return path != _ZIPPED and not os.path.join(path, "").startswith(_ENVIRONMENT)


def _send(records: list[bytes], patience: int = PATIENCE) -> int:
    """Writes records, as many as possible at a time; returns how many were dealt with. It waits for
    a watcher that does not read no longer than `patience` (in milliseconds)."""
    done = 0
    while done < len(records):
        chunk, count = b"P%d\n" % os.getpid(), 0
        for record in records[done:]:
            # A path that cannot be written is not watched.
            line = b"" if b"\n" in record or len(record) > LONGEST else record + b"\n"
            if len(chunk) + len(line) > ATOMIC:
                break
            chunk += line
            count += 1
        if not _write(chunk, patience):
            break
        done += count
    return done


def _write(chunk: bytes, patience: int) -> bool:
    """Writes a chunk, which the pipe takes whole or not at all."""
    pipe = _pipe
    if pipe is None:
        return True
    deadline = time.monotonic() + patience / 1000
    while True:
        try:
            os.write(pipe, chunk)
            return True
        except BlockingIOError:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll = select.poll()
            poll.register(pipe, select.POLLOUT)
            poll.poll(left * 1000)
        except OSError:
            # The server has gone.
            stop()
            return True
