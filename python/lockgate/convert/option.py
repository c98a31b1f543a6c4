"""One key of a source, as a conversion decides about it."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.convert.source import Place

#: Stands in values for uWSGI's `%k`, the number of CPUs, which is better left to Lockgate.
CPUS = "\ue00a"


@dataclass
class Option:
    """One key with its value, after conditions and loops."""

    place: Place
    key: str
    #: None: a flag of the command line.
    value: str | None
    #: The value with `%k` still marked.
    template: str = ""
    #: Variables of the environment that were put into the value, and those that are not set.
    variables: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    #: Files whose content was put into the value.
    files: tuple[str, ...] = ()
    #: The option with a role in the reading itself: what it did.
    did: str = ""
    #: Defined by `set` or `set-placeholder`.
    is_own: bool = False
    #: uWSGI does not read it: the reason.
    ignored: str = ""
    #: Read at once: placeholders in it are not replaced.
    is_immediate: bool = False

    def __post_init__(self) -> None:
        self.template = self.template or self.text

    @property
    def text(self) -> str:
        return self.value or ""

    @property
    def shown(self) -> str | None:
        """The value as reports show it: with %k instead of a number."""
        return None if self.value is None else self.template.replace(CPUS, "%k")
