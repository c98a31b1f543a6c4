"""Sessions in Redis, which several hosts share: a hash for each, with a field for each key."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lockgate.sessions.record import Changes, Record, StoreUnavailable, dumps
from lockgate.sessions.stores.redis_client import RedisClient, RedisError

# Fields of the hash that are not data; those of data begin with "d:".
CREATED, USED, PERSISTENT = b"created", b"used", b"persistent"
DATA = "d:"

# KEYS: the key, the new key. ARGV: milliseconds until the expiry, number of removed fields, these,
# then fields and values. One step for Redis: what another request does comes before or after it.
UPDATE = """\
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if KEYS[1] ~= KEYS[2] then redis.call('RENAME', KEYS[1], KEYS[2]) end
local last = 2 + tonumber(ARGV[2])
for i = 3, last do redis.call('HDEL', KEYS[2], ARGV[i]) end
for i = last + 1, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return 1
"""
CREATE = """\
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""


class RedisStore:
    """The database at `redis://[USER:PASSWORD@]HOST:PORT/DATABASE`, `rediss://…` over TLS, or
    `redis+unix:///PATH?db=N`."""

    def __init__(self, url: str, prefix: str = "lockgate:session:") -> None:
        self._client = RedisClient(url)
        self._prefix = prefix

    def load(self, key: str, timeout: float) -> Record | None:
        answer = self._call(timeout, "HGETALL", self._prefix + key)
        if not isinstance(answer, list):
            return None
        fields = dict(zip(answer[::2], answer[1::2], strict=True))
        try:
            data = {
                name.decode().removeprefix(DATA): json.loads(value)
                for name, value in fields.items()
                if name.startswith(DATA.encode())
            }
            is_persistent = fields[PERSISTENT] == b"1"
            return Record(int(fields[CREATED]), int(fields[USED]), is_persistent, data)
        except (KeyError, ValueError):
            return None

    def create(self, key: str, record: Record, ttl: int, timeout: float) -> None:
        assigned = {name: dumps(value) for name, value in record.data.items()}
        arguments = [str(ttl * 1000), *_fields(record, assigned)]
        self._call(timeout, "EVAL", CREATE, "1", self._prefix + key, *arguments)

    def update(
        self, key: str, new_key: str, times: Record, changes: Changes, ttl: int, timeout: float
    ) -> bool:
        removed = [DATA + name for name in changes.removed]
        arguments = [str(ttl * 1000), str(len(removed)), *removed]
        arguments += _fields(times, dict(changes.assigned))
        keys = (self._prefix + key, self._prefix + new_key)
        return self._call(timeout, "EVAL", UPDATE, "2", *keys, *arguments) == 1

    def delete(self, key: str, timeout: float) -> None:
        self._call(timeout, "DEL", self._prefix + key)

    def _call(self, timeout: float, *words: str) -> object:
        try:
            return self._client.call(words, timeout)
        except (OSError, RedisError) as error:
            raise StoreUnavailable(f"{self._client.address}: {error}") from None


def _fields(record: Record, assigned: dict[str, str]) -> Iterator[str]:
    yield from (CREATED.decode(), str(record.created), USED.decode(), str(record.used))
    yield from (PERSISTENT.decode(), "1" if record.is_persistent else "0")
    for name, text in assigned.items():
        yield from (DATA + name, text)
