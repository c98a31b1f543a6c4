"""Starts servers that have no command line: `launch.py SERVER MODULE:NAME PORT WORKERS`."""

import importlib
import os
import sys

HOST = "127.0.0.1"


def main() -> None:
    server, target, port, workers = sys.argv[1:]
    module, _, name = target.partition(":")
    app = getattr(importlib.import_module(module), name)
    LAUNCHERS[server](app, int(port), int(workers))


def bjoern(app, port: int, workers: int) -> None:
    import bjoern

    bjoern.listen(app, HOST, port)
    # This process is the first worker.
    for _ in range(workers - 1):
        if os.fork() == 0:
            break
    bjoern.run()


def fastpysgi(app, port: int, workers: int) -> None:
    import fastpysgi

    fastpysgi.run(app, HOST, port, workers=workers)


def fastwsgi(app, port: int, workers: int) -> None:
    import fastwsgi

    fastwsgi.run(app, HOST, port, workers=workers)


LAUNCHERS = {"bjoern": bjoern, "fastpysgi": fastpysgi, "fastwsgi": fastwsgi}

if __name__ == "__main__":
    main()
