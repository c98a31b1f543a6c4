"""Workers that are killed while they use a cache block no other worker and leave no torn entry."""

import os
import random
import signal
import threading
import time

#: Updates with values that are one byte repeated. Then: whether there are keys, and what the values
#: are like. Other workers go on with their updates, and may have evicted all of these keys when
#: their values are read: there is room for seven of the longest values, and there are twenty keys.
STEP = (
    "[uwsgi.cache_update(b'%d' % (n % 20), bytes([n % 256]) * (100 + 37 * n % 4000), 0)"
    " for n in range({0}, {0} + 400)]"
    " and [(keys != [], {{(len(set(v)), len(v) > 99) for v in map(uwsgi.cache_get, keys) if v}})"
    " for keys in [uwsgi.cache_keys()]]"
)
WHOLE = "[(True, {(1, True)})]"
EVICTED = "[(True, set())]"


def test_workers_killed_within_updates_leave_a_whole_cache(uwsgi):
    ask = uwsgi(
        "--uwsgi-cache", "name=c,items=16,blocks=64,blocksize=512,bitmap=1,lru=1", workers=3
    )
    until = time.monotonic() + 6
    seen, kills = [], 0
    wrong = []

    def use(seed):
        chosen = random.Random(seed)
        while time.monotonic() < until:
            try:
                result = ask(STEP.format(chosen.randrange(10_000)))
            except (OSError, AssertionError):
                continue  # its worker was killed
            seen.append(result)
            if result not in (WHOLE, EVICTED):
                wrong.append(result)

    users = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for user in users:
        user.start()
    chosen = random.Random(1)
    while time.monotonic() < until:
        time.sleep(chosen.uniform(0.05, 0.3))
        workers = ask.server.workers()
        if workers:
            try:
                os.kill(chosen.choice(workers), signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills += 1
    for user in users:
        user.join()
    assert wrong == []
    assert kills > 5
    assert seen.count(WHOLE) > 5
    ask.server.wait_for_log("workers? (is|are) ready")
    assert ask("uwsgi.cache_update('last', 'x')") == "True"
