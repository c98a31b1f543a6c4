"""Certificates that change under a stream of new handshakes: none may fail.

python -m soak.rotation [--seconds 60] [--rate 500] [--every 3]

The certificate and its key are replaced one after the other, each by a rename, as certbot and its
hooks do: in between they do not belong together. Each client makes one handshake and one request.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.queues import Queue
from pathlib import Path

from harness import APPS, Server

PROCESSES = 2
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
# The server looks at its files every two seconds, and waits for both to change.
SEEN_WITHIN = 10.0


def make(directory: Path, name: str) -> tuple[Path, Path]:
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += f" -subj /CN={name} -addext subjectAltName=DNS:localhost"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return certificate, key


def shake_hands(port: int, trusted: str, rate: float, seconds: float, results: Queue) -> None:
    """At most `rate` handshakes a second; puts the counts of what happened."""
    context = ssl.create_default_context(cafile=trusted)
    counts: Counter[str] = Counter()
    begin = time.monotonic()
    number = 0
    while time.monotonic() < begin + seconds:
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        number += 1
        try:
            counts[one(context, port)] += 1
        except OSError as error:
            counts[f"failed: {error!r}"] += 1
    results.put(counts)


def one(context: ssl.SSLContext, port: int) -> str:
    """The name in the certificate that the server has shown."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wire,
    ):
        certificate = wire.getpeercert()
        wire.sendall(REQUEST)
        answer = b""
        while piece := wire.recv(65536):
            answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        raise OSError(f"answer {answer[:40]!r}")
    assert certificate is not None
    subject = certificate["subject"]
    return str(subject[0][0][1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak.rotation", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=500, help="handshakes a second, in all")
    parser.add_argument("--every", type=float, default=3, help="seconds from change to change")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="lockgate-soak-") as scratch:
        directory = Path(scratch)
        names = [f"c{number}" for number in range(int(options.seconds / options.every) + 1)]
        pairs = [make(directory, name) for name in names]
        trusted = directory / "trusted.pem"
        trusted.write_text("".join(certificate.read_text() for certificate, _ in pairs))
        live = directory / "live.crt", directory / "live.key"
        replace(pairs[0], live)
        files = ["--certfile", str(live[0]), "--keyfile", str(live[1])]
        server = Server(directory, "hello:app", *files, workers=2, chdir=APPS)
        try:
            counts = rotate(server, trusted, pairs[1:], live, options)
        finally:
            server.end()
    return judge(counts, len(pairs), options)


def rotate(
    server: Server,
    trusted: Path,
    pairs: list[tuple[Path, Path]],
    live: tuple[Path, Path],
    options: argparse.Namespace,
) -> Counter[str]:
    results: Queue = multiprocessing.Queue()
    about = (server.port, str(trusted), options.rate / PROCESSES, options.seconds, results)
    clients = [multiprocessing.Process(target=shake_hands, args=about) for _ in range(PROCESSES)]
    for client in clients:
        client.start()
    for pair in pairs:
        time.sleep(options.every)
        replace(pair, live)
    counts = sum((results.get(timeout=options.seconds + 60) for _ in clients), Counter())
    for client in clients:
        client.join()
    return counts


def replace(pair: tuple[Path, Path], live: tuple[Path, Path]) -> None:
    for source, target in zip(pair, live, strict=True):
        draft = target.with_suffix(".new")
        draft.write_bytes(source.read_bytes())
        draft.rename(target)


def judge(counts: Counter[str], made: int, options: argparse.Namespace) -> int:
    failed = {what: count for what, count in counts.items() if what.startswith("failed")}
    seen = [what for what in counts if what not in failed]
    # A certificate that was live for less than the time of two looks may be passed over.
    expected = min(made, int(options.seconds / max(options.every, SEEN_WITHIN)))
    print(
        f"soak: {counts.total()} handshakes, {counts.total() / options.seconds:.0f} a second; "
        f"{len(seen)} of {made} certificates seen; {sum(failed.values())} failed"
    )
    for what, count in failed.items():
        print(f"soak: FAULT {count} × {what}")
    if len(seen) < expected:
        print(f"soak: FAULT the server took up {len(seen)} certificates; expected {expected}")
    return int(bool(failed) or len(seen) < expected)


if __name__ == "__main__":
    sys.exit(main())
