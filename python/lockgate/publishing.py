"""``lockgate.publish``: publishes a message to the held connections of a channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lockgate._lockgate import Publisher

#: The formats of GRIP, and what an item of GRIP has beside them.
FORMATS = ("http-stream", "http-response", "ws-message")
OF_ITEM = ("id", "prev-id", "meta", "formats")


class Exportable(Protocol):
    """An ``Item`` or a ``Format`` of gripcontrol and pubcontrol."""

    def export(self) -> Any: ...


_publisher: Publisher | None = None
_problem = (
    "lockgate.publish works in the processes of a server: in workers, in processes that they fork, "
    "and in a program with a running lockgate.Server. Elsewhere, send the message to "
    "the admin listener (POST /publish/, or lockgate ctl publish)"
)


def install(publisher: Publisher | None, problem: str) -> None:
    """Called by the server before the application is imported."""
    global _publisher, _problem
    _publisher, _problem = publisher, problem


def publish(
    channel: str,
    content: str | bytes | None = None,
    *,
    id: str | None = None,
    event: str | None = None,
    prev_id: str | None = None,
    formats: Mapping[str, Any] | Exportable | Sequence[Exportable] | None = None,
) -> None:
    """Publishes a message to all connections that are held with this channel.

    ``content`` is what each of them gets: an event in an event stream, with ``id`` and ``event``,
    and otherwise the text or the bytes as they are. ``formats`` has what one kind of
    connection gets instead, in the form of GRIP:
    ``{"http-stream": {...}, "http-response": {...}, "ws-message": {...}}``, or an ``Item`` of
    gripcontrol. The call does not wait for any client, and no one may be subscribed.

    Raises ValueError or TypeError for a message that cannot be published, and RuntimeError outside
    a server or without ``push = true``.
    """
    if _publisher is None:
        raise RuntimeError(_problem)
    if content is None and formats is None:
        raise ValueError(
            f"nothing to publish to the channel {channel!r}: give content, formats or both"
        )
    item = None if formats is None else item_text(channel, formats)
    _publisher.publish(channel, content, (id, event, prev_id), item)


def item_text(channel: str, formats: Any) -> str:
    """The formats as an item of GRIP, in JSON."""
    import json

    item = item_of(formats) | {"channel": channel}
    try:
        return json.dumps(item, default=unencodable)
    except (RecursionError, ValueError):
        raise ValueError("formats: they are nested too deeply, or contain themselves") from None


def item_of(formats: Any) -> dict[str, Any]:
    if not isinstance(formats, (Mapping, str, bytes)):
        parts = formats if isinstance(formats, Sequence) else [formats]
        formats = exported(parts)
    if not isinstance(formats, Mapping):
        raise TypeError(
            f"formats must be a dict such as {{'http-stream': {{'content': 'text'}}}}, not "
            f"{type(formats).__name__}"
        )
    item: dict[str, Any] = {}
    for name, value in formats.items():
        if name not in FORMATS and name not in OF_ITEM:
            raise ValueError(f"formats has the key {name!r}; there are {', '.join(FORMATS)}")
        item[name] = with_encoded_bytes(value) if isinstance(value, Mapping) else value
    inner = item.pop("formats", None)
    return item if inner is None else item | item_of(inner)


def exported(parts: Sequence[Any]) -> Any:
    """What an ``Item``, or several ``Format`` have to publish."""
    item: dict[str, Any] = {}
    for part in parts:
        if not hasattr(part, "export"):
            return part
        named = hasattr(part, "name")
        item |= {part.name(): part.export()} if named else part.export()
    return item


def with_encoded_bytes(format: Mapping[str, Any]) -> dict[str, Any]:
    """GRIP has bytes in base64, under names of their own."""
    import base64

    encoded: dict[str, Any] = {}
    for name, value in format.items():
        if name in ("content", "body") and isinstance(value, bytes):
            encoded[f"{name}-bin"] = base64.b64encode(value).decode()
        else:
            encoded[name] = value
    return encoded


def unencodable(value: object) -> None:
    raise TypeError(
        f"formats has a value of the type {type(value).__name__}; text, numbers, lists and dicts "
        "are possible, and bytes as content and body"
    )
