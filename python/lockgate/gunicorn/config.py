"""The object `cfg`: every setting of gunicorn by its name, with the value that is in effect."""

import ipaddress
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from lockgate.gunicorn.conf import HOOKS

_IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_COMMON = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s'
_COMBINED = f'{_COMMON} "%(f)s" "%(a)s"'


class Setting:
    """One setting."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self.value = self.default = value

    def get(self) -> Any:
        return self.value

    def set(self, value: Any) -> None:
        self.value = value


def _no_hook(*arguments: Any) -> None:
    """The default of each hook."""


class Config:
    """Settings as attributes. As in gunicorn they are changed by `set`, and an unknown one raises
    AttributeError."""

    settings: dict[str, Setting]
    env_orig: dict[str, str]

    def __init__(self, usage: str | None = None, prog: str | None = None) -> None:
        vars(self)["settings"] = {}
        vars(self)["env_orig"] = dict(os.environ)
        self.usage = usage
        self.prog = prog or os.path.basename(sys.argv[0])
        for name in HOOKS:
            self.settings[name] = Setting(name, _no_hook)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Config":
        """The configuration with these values."""
        config = cls()
        for name, value in values.items():
            if name == "access_log_format":
                value = _in_atoms(value)
            if name not in HOOKS:
                config.settings[name] = Setting(name, value)
        return config

    def __getattr__(self, name: str) -> Any:
        setting = vars(self).get("settings", {}).get(name)
        if setting is None:
            raise AttributeError(f"No configuration setting for: {name}")
        return setting.get()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.settings:
            raise AttributeError("Invalid access!")
        super().__setattr__(name, value)

    def set(self, name: str, value: Any) -> None:
        if name not in self.settings:
            raise AttributeError(f"No configuration setting for: {name}")
        self.settings[name].set(value)

    def __str__(self) -> str:
        width = max(map(len, self.settings), default=0)
        lines = []
        for name, setting in sorted(self.settings.items()):
            value = setting.value
            shown = f"<{value.__qualname__}()>" if callable(value) else value
            lines.append(f"{name:{width}} = {shown}")
        return "\n".join(lines)

    def _value(self, name: str) -> Any:
        return self.settings[name].get() if name in self.settings else None

    @property
    def address(self) -> list[tuple[str, int] | str]:
        """The addresses of `bind`: a pair of host and port, or the path of a unix socket."""
        return [address_of(bind) for bind in self._value("bind") or []]

    @property
    def uid(self) -> int:
        return _number(self._value("user"), "pwd", os.geteuid())

    @property
    def gid(self) -> int:
        return _number(self._value("group"), "grp", os.getegid())

    @property
    def proc_name(self) -> Any:
        return self._value("proc_name") or self._value("default_proc_name")

    @property
    def worker_class_str(self) -> str:
        worker_class = self._value("worker_class")
        name = worker_class if isinstance(worker_class, str) else worker_class.__name__
        if (name == "sync" or name.endswith("SyncWorker")) and (self._value("threads") or 1) > 1:
            return "gthread"
        return str(name)

    @property
    def is_ssl(self) -> bool:
        return bool(self._value("certfile") or self._value("keyfile"))

    @property
    def env(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self._value("raw_env") or [])

    def forwarded_allow_networks(self) -> list[_IpNetwork]:
        return _networks(self._value("forwarded_allow_ips"))

    def proxy_allow_networks(self) -> list[_IpNetwork]:
        return _networks(self._value("proxy_allow_ips"))


def _in_atoms(access_log_format: Any) -> Any:
    """The format in the place of its name, which only the server knows: a `logger_class` writes
    with `%` what it finds in `cfg`. Formats that are not made of atoms are `combined` there."""
    if not isinstance(access_log_format, str) or "%(" in access_log_format:
        return access_log_format
    return _COMMON if access_log_format == "common" else _COMBINED


def address_of(bind: str) -> tuple[str, int] | str:
    """The address of one entry of `bind`."""
    scheme, separator, rest = bind.partition("://")
    if separator:
        bind = rest
    if scheme == "fd" and separator:
        return bind
    if bind.startswith("unix:"):
        return bind.removeprefix("unix:")
    host, colon, port = bind.rpartition(":")
    if not colon or bind.endswith("]"):
        host, port = bind, "8000"
    return host.strip("[]").lower() or "0.0.0.0", int(port)


def _number(user: Any, database: str, otherwise: int) -> int:
    """The number of a user or a group, which may be given as a name."""
    if user is None:
        return otherwise
    if isinstance(user, int) or str(user).isdigit():
        return int(user)
    if database == "pwd":
        import pwd

        return pwd.getpwnam(user).pw_uid
    import grp

    return grp.getgrnam(user).gr_gid


def _networks(addresses: Any) -> list[_IpNetwork]:
    listed = addresses.split(",") if isinstance(addresses, str) else addresses or []
    return [ipaddress.ip_network(address.strip()) for address in listed if address.strip() != "*"]


Hook = Callable[..., Any]
