"""The module `uwsgi`: a namespace of functions with uWSGI's names, arguments and results."""

from __future__ import annotations

import json
import os
import socket
import time
import types
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from lockgate import process_title
from lockgate.uwsgi import requests
from lockgate.uwsgi.errors import NotSupportedError, refuse
from lockgate.uwsgi.names import ABSENT, REFUSED
from lockgate.uwsgi.services import Services

#: The version that applications compare with.
VERSION = (2, 0, 31, 0, b"")

Text = str | bytes


class UwsgiModule(types.ModuleType):
    """The module. A class, because some names are not the same for each request."""

    def __init__(self, services: Services, facts: dict[str, Any]) -> None:
        super().__init__("uwsgi", __doc__)
        self._services = services
        self._worker = 0
        self.post_fork_hook: Callable[[], object] | None = None
        self._supervisor: int = facts["supervisor"]
        self.NotSupportedError = NotSupportedError
        self.version = b"2.0.31"
        self.version_info = VERSION
        self.lockgate_version: str = facts["version"]
        self.hostname = socket.gethostname().encode()
        self.numproc: int = facts["workers"]
        self.cores: int = facts["threads"]
        self.has_threads = 1
        self.buffer_size: int = facts["buffer_size"]
        self.started_on = int(time.time())
        self.is_a_reload: bool = facts["generation"] > 0
        self.opt = options(facts["options"])
        self.applications = None
        self.loop = None
        self.unbit = None
        self.magic_table: dict[bytes, bytes] = {}
        self.sockets: list[int] = []
        self.SPOOL_OK, self.SPOOL_RETRY, self.SPOOL_IGNORE = -2, -1, 0
        for name, advice in REFUSED.items():
            setattr(self, name, _refusing(name, advice))

    def __getattr__(self, name: str) -> Any:
        if name == "env":
            return requests.environ()
        if name in ABSENT:
            refuse(f"uwsgi.{name}", ABSENT[name])
        message = f"module 'uwsgi' has no attribute {name!r}"
        raise AttributeError(message)

    def _become_worker(self, number: int) -> None:
        """This process is this worker from now on: after a fork, or after the import."""
        self._worker = number
        if self.post_fork_hook is not None:
            self.post_fork_hook()

    # Processes.

    def worker_id(self) -> int:
        return self._worker

    def mule_id(self) -> int:
        return 0

    def masterpid(self) -> int:
        return self._supervisor

    def mypid(self) -> int:
        return os.getpid()

    def workers(self) -> tuple[dict[str, Any], ...]:
        found = json.loads(self._services.stats())["workers"]
        for worker in found:
            worker["status"] = worker["status"].encode()
            worker["apps"] = tuple(worker["apps"])
        return tuple(found)

    def total_requests(self) -> int:
        return sum(worker["requests"] for worker in self.workers())

    def request_id(self) -> int:
        return requests.current.number

    def listen_queue(self, number: int = 0) -> int:
        if number != 0:
            message = f"unable to find socket {number}"
            raise ValueError(message)
        return int(json.loads(self._services.stats())["listen_queue"])

    def mem(self) -> tuple[int, int]:
        return self._services.memory()

    def ready(self) -> bool:
        return self._worker != 0

    def i_am_the_spooler(self) -> bool:
        return False

    def in_farm(self, name: str | None = None) -> None:
        del name

    def reload(self) -> bool:
        self._services.reload()
        return True

    def stop(self) -> bool:
        self._services.stop()
        return True

    def setprocname(self, name: str) -> None:
        process_title.show(name)

    def accepting(self, accepting: int = 1) -> None:
        """Nothing: the worker always accepts."""
        del accepting

    def suspend(self) -> bool:
        """As in uWSGI without an asynchronous mode."""
        return True

    green_schedule = suspend

    def micros(self) -> int:
        return time.time_ns() // 1000

    # The request and the log.

    def cl(self) -> int:
        return int(requests.environ().get("CONTENT_LENGTH") or 0)

    def add_var(self, key: Text, value: Text) -> bool:
        requests.environ()[_text(key)] = _text(value)
        return True

    def set_logvar(self, key: Text, value: Text) -> None:
        requests.environ()[requests.LOG_VARIABLE + _text(key)] = _text(value)

    def get_logvar(self, key: Text) -> bytes | None:
        value = requests.environ().get(requests.LOG_VARIABLE + _text(key))
        return None if value is None else value.encode("latin-1", "replace")

    def log(self, line: Text) -> bool:
        self._services.log(_text(line), False)
        return True

    def log_this_request(self) -> None:
        """Nothing: the access log has every request."""

    def logsize(self) -> int:
        return 0

    def set_warning_message(self, message: Text) -> None:
        self._services.log(_text(message), True)

    def alarm(self, name: str, message: Text) -> None:
        self._services.log(f"alarm {name}: {_text(message)}", True)

    def set_user_harakiri(self, seconds: int) -> None:
        """Extends the request's deadline. A deadline is never shortened, and 0 leaves it."""
        deadline = requests.environ().get("lockgate.deadline")
        if deadline is not None and seconds > 0:
            deadline.extend(seconds)

    # Locks.

    def lock(self, number: int = 0) -> None:
        self._services.lock(number)

    def unlock(self, number: int = 0) -> None:
        self._services.unlock(number)

    def is_locked(self, number: int = 0) -> bool:
        return self._services.is_locked(number)

    # Shared caches.

    def cache_get(self, key: Text, cache: str | None = None) -> bytes | None:
        return self._services.cache_get(_bytes(key), cache)

    def cache_set(
        self, key: Text, value: Text, expires: int = 0, cache: str | None = None
    ) -> bool | None:
        return self._services.cache_write(_bytes(key), _bytes(value), expires, cache, False) or None

    def cache_update(
        self, key: Text, value: Text, expires: int = 0, cache: str | None = None
    ) -> bool | None:
        return self._services.cache_write(_bytes(key), _bytes(value), expires, cache, True) or None

    def cache_del(self, key: Text, cache: str | None = None) -> bool | None:
        return self._services.cache_remove(_bytes(key), cache) or None

    def cache_exists(self, key: Text, cache: str | None = None) -> bool | None:
        return self._services.cache_contains(_bytes(key), cache) or None

    def cache_clear(self, cache: str | None = None) -> bool | None:
        return self._services.cache_clear(cache) or None

    def cache_keys(self, cache: str | None = None) -> list[bytes]:
        keys = self._services.cache_keys(cache)
        if keys is None:
            message = "no local uWSGI cache available"
            raise ValueError(message)
        return keys

    def cache_num(self, key: Text, cache: str | None = None) -> int:
        value = self._services.cache_get(_bytes(key), cache)
        if value is None or len(value) != 8:
            return 0
        return int.from_bytes(value, "little", signed=True)

    def cache_inc(
        self, key: Text, operand: int = 1, expires: int = 0, cache: str | None = None
    ) -> bool | None:
        return self._services.cache_calculate(_bytes(key), "+", operand, expires, cache) or None

    def cache_dec(
        self, key: Text, operand: int = 1, expires: int = 0, cache: str | None = None
    ) -> bool | None:
        return self._services.cache_calculate(_bytes(key), "-", operand, expires, cache) or None

    def cache_mul(
        self, key: Text, operand: int = 2, expires: int = 0, cache: str | None = None
    ) -> bool | None:
        return self._services.cache_calculate(_bytes(key), "*", operand, expires, cache) or None

    def cache_div(
        self, key: Text, operand: int = 2, expires: int = 0, cache: str | None = None
    ) -> bool | None:
        return self._services.cache_calculate(_bytes(key), "/", operand, expires, cache) or None


def options(pairs: Iterable[tuple[str, str | None]]) -> dict[str, Any]:
    """`uwsgi.opt`: bytes, or `True` for a switch, or a list of these for a repeated name."""
    found: dict[str, Any] = {}
    for name, text in pairs:
        value = True if text is None else text.encode()
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


def _refusing(name: str, advice: str) -> Callable[..., NoReturn]:
    def refused(*_: object, **__: object) -> NoReturn:
        refuse(f"uwsgi.{name}", advice)

    refused.__name__ = refused.__qualname__ = name
    refused.__doc__ = f"Not available under Lockgate: {advice}."
    return refused


def _bytes(text: Text) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


def _text(text: Text) -> str:
    return text if isinstance(text, str) else bytes(text).decode("utf-8", "backslashreplace")
