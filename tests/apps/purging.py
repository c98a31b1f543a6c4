"""Each response differs, may be stored, and has the tags that its query names."""

import json
import os
import time
import uuid
from urllib.parse import parse_qs

import lockgate


def app(environ, start_response):
    query = parse_qs(environ["QUERY_STRING"])
    if environ["PATH_INFO"] == "/purge":
        return purge(query, start_response)
    if "slow" in query:
        # The client's file appears when it has purged.
        deadline = time.monotonic() + 10
        open(query["slow"][0] + ".begun", "w").close()
        while not os.path.exists(query["slow"][0]) and time.monotonic() < deadline:
            time.sleep(0.005)
    headers = [("Content-Type", "text/plain"), ("Cache-Control", "s-maxage=600")]
    headers += [("Cache-Tag", tag) for tag in query.get("tag", [])]
    headers += [("Vary", name) for name in query.get("vary", [])]
    start_response("200 OK", headers)
    return [f"{uuid.uuid4()} of {os.getpid()}".encode()]


def purge(query, start_response):
    try:
        found = lockgate.cache.purge(**json.loads(query["arguments"][0]))
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Cache-Control", "no-store")])
    return [str(found).encode()]
