"""Options of `lockgate dev` that a worker needs, and how they reach it.

The command decides them. They travel in one environment variable, because the command, the
supervisor and the workers are processes that follow each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

#: The variable with the options as a JSON object. Only `lockgate dev` sets it.
VARIABLE = "LOCKGATE_DEV"


@dataclass(frozen=True)
class Options:
    #: Pages reload themselves when another version of the application serves.
    refresh: bool = False
    #: Werkzeug's debugger answers where the application raises an exception.
    debugger: bool = False
    #: The application is checked against PEP 3333 while it runs.
    validate: bool = True
    #: A request that takes longer stands out in the log; in seconds.
    slow: float = 0.5
    #: Lines in the terminal have colours.
    colour: bool = False
    #: Identifies the version that is loaded, for `refresh`. Each worker has one of its own: if it
    #: is empty, `lockgate.dev.middleware.wrap` makes one.
    generation: str = ""

    @property
    def access_logformat(self) -> str:
        """The value of the setting `access_logformat`."""
        return f"development slow={self.slow:g}{' colour' if self.colour else ''}"

    def to_json(self) -> str:
        """The value of the variable."""
        return json.dumps(asdict(self))


def from_environment(environment: Mapping[str, str]) -> Options | None:
    """The options that `lockgate dev` has set; None: this is no server of `lockgate dev`.

    Raises ValueError if the variable is not what `Options.to_json` writes."""
    text = environment.get(VARIABLE)
    if text is None:
        return None
    try:
        return Options(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{VARIABLE} = {text!r} (from the environment) is not from lockgate dev: {error}; "
            "unset it"
        ) from error


def wants_colour(environment: Mapping[str, str], is_terminal: bool) -> bool:
    """Whether to write colours to a stream: only to a terminal that shows them, unless
    ``NO_COLOR`` or ``FORCE_COLOR`` says otherwise (https://no-color.org, https://force-color.org).
    ``NO_COLOR`` counts more."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return is_terminal and environment.get("TERM") != "dumb"
