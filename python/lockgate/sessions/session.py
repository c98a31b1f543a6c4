"""The mapping that an application sees: loaded at its first use, with a record of its changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from lockgate.sessions.guard import WaitBudget
from lockgate.sessions.record import Changes, Record, dumps


@dataclass(frozen=True)
class Loaded:
    """What the client's cookie has led to."""

    record: Record | None
    # The key in the store; None without one, and with sessions in cookies.
    key: str | None = None
    has_cookie: bool = False
    # Sealed with a secret that is no longer the first.
    has_old_secret: bool = False
    is_available: bool = True


class Session(MutableMapping[str, Any]):
    """A session. Keys are strings, and values are what JSON can express.

    A change inside of a list or a dict that the session holds counts as a change."""

    def __init__(self, load: Callable[[], Loaded], is_persistent: bool = False) -> None:
        self._load = load
        self._loaded: Loaded | None = None
        self._data: dict[str, Any] = {}
        # The JSON of containers as they were when the application first got them.
        self._lent: dict[str, str] = {}
        self._assigned: set[str] = set()
        self._removed: set[str] = set()
        self._is_cleared = False
        self._is_renewed = False
        self._is_closed = False
        self._default_persistence = is_persistent
        self._chosen_persistence: bool | None = None
        self.budget = WaitBudget(0)

    # The state of the session.

    @property
    def is_new(self) -> bool:
        """Whether the request came without a valid session, or `clear` has ended it."""
        return self.loaded.record is None or self._is_cleared

    @property
    def is_available(self) -> bool:
        """False if the store did not answer: the session is empty, and changes will be lost."""
        return self.loaded.is_available

    @property
    def is_accessed(self) -> bool:
        """Whether the session was used in this request."""
        return self._loaded is not None

    @property
    def is_modified(self) -> bool:
        """Whether there is something to save."""
        if self._is_cleared or self._is_renewed or self.is_persistence_set:
            return True
        changes = self.changes()
        return bool(changes.assigned or changes.removed)

    @property
    def is_renewed(self) -> bool:
        """Whether `renew` was called."""
        return self._is_renewed

    @property
    def is_cleared(self) -> bool:
        """Whether `clear` was called."""
        return self._is_cleared

    @property
    def is_persistence_set(self) -> bool:
        """Whether `persistent` was changed."""
        return self._chosen_persistence is not None

    @property
    def created(self) -> int | None:
        """When the session began or was last renewed, in Unix seconds; None if it is new."""
        record = self.loaded.record
        return None if record is None or self._is_cleared else record.created

    @property
    def persistent(self) -> bool:
        """Whether the cookie outlives the browser ("remember me")."""
        record = self.loaded.record
        if self._chosen_persistence is not None:
            return self._chosen_persistence
        if record is None or self._is_cleared:
            return self._default_persistence
        return record.is_persistent

    @persistent.setter
    def persistent(self, value: bool) -> None:
        if bool(value) != self.persistent:
            self._check_open()
            self._chosen_persistence = bool(value)

    # What the application does with it.

    def renew(self) -> None:
        """Gives the session another key, and starts its lifetimes again.

        For the moment of a login, and whenever the rights of the user change: what was known of
        the session before (session fixation) is worth nothing afterwards."""
        self._check_open()
        self._load_once()
        self._is_renewed = True

    def clear(self) -> None:
        """Ends the session, as a logout does. What is assigned afterwards begins another one."""
        self._check_open()
        self._load_once()
        self._data = {}
        self._lent.clear()
        self._assigned.clear()
        self._removed.clear()
        self._chosen_persistence = None
        self._is_cleared = True

    def __getitem__(self, name: str) -> Any:
        data = self._load_once()
        value = data[name]
        if isinstance(value, (dict, list)) and name not in self._assigned:
            self._lent.setdefault(name, dumps(self.to_json(value)))
        return value

    def __setitem__(self, name: str, value: Any) -> None:
        self._check_open()
        if not isinstance(name, str):
            raise TypeError(f"a key of a session is a string, not {name!r}")
        try:
            dumps([name, self.to_json(value)])
        except (TypeError, ValueError) as error:
            raise TypeError(f"session[{name!r}] cannot be stored as JSON: {error}") from None
        self._load_once()[name] = value
        self._assigned.add(name)
        self._removed.discard(name)

    def __delitem__(self, name: str) -> None:
        self._check_open()
        del self._load_once()[name]
        self._assigned.discard(name)
        self._removed.add(name)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._load_once()))

    def __len__(self) -> int:
        return len(self._load_once())

    def __contains__(self, name: object) -> bool:
        return name in self._load_once()

    def __repr__(self) -> str:
        # Neither loads the session nor shows it in logs and error pages.
        return f"<{type(self).__name__} of {len(self._data)} keys>"

    # What a framework may replace.

    def to_json(self, value: Any) -> Any:
        """A value as JSON expresses it."""
        return value

    def from_json(self, value: Any) -> Any:
        """The value that JSON has expressed."""
        return value

    # What the manager does with it.

    @property
    def loaded(self) -> Loaded:
        """What the cookie has led to."""
        self._load_once()
        assert self._loaded is not None
        return self._loaded

    @property
    def data(self) -> dict[str, Any]:
        """The content as it is now, as JSON has it."""
        return {name: self.to_json(value) for name, value in self._load_once().items()}

    def changes(self) -> Changes:
        """What this request has changed, with changes inside of containers."""
        if self._loaded is None:
            return Changes({}, ())
        names = set(self._data) if self._is_cleared else set(self._assigned)
        assigned = {name: dumps(self.to_json(self._data[name])) for name in names}
        for name, before in self._lent.items():
            if name in self._data and name not in assigned:
                after = dumps(self.to_json(self._data[name]))
                if after != before:
                    assigned[name] = after
        return Changes(assigned, sorted(self._removed))

    def close(self) -> None:
        """The response has begun; from now on changes are errors."""
        self._is_closed = True

    def _load_once(self) -> dict[str, Any]:
        if self._loaded is None:
            self._loaded = self._load()
            if self._loaded.record is not None:
                data = self._loaded.record.data
                self._data = {name: self.from_json(value) for name, value in data.items()}
        return self._data

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError(
                "the session is saved when the response begins: change it before the first piece "
                "of the body"
            )
