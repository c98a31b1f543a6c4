"""Certificates for tests, made by openssl, and TLS clients that report what they have seen."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections import Counter
from pathlib import Path

from harness.requirements import require_program

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Pair:
    """A certificate and its key in two files."""

    def __init__(self, certfile: Path, keyfile: Path) -> None:
        self.certfile, self.keyfile = certfile, keyfile

    @property
    def arguments(self) -> list[str]:
        return ["--certfile", str(self.certfile), "--keyfile", str(self.keyfile)]

    def replace_with(self, other: Pair) -> None:
        """Renames the new files over the old ones, the certificate first, as certbot's hooks do."""
        put(other.certfile.read_bytes(), self.certfile)
        put(other.keyfile.read_bytes(), self.keyfile)


def put(content: bytes, path: Path) -> None:
    """Replaces a file by a rename; it can be read by its owner only."""
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.chmod(0o600)
    draft.rename(path)


def make(directory: Path, name: str, *, key: str = "ec") -> Pair:
    """A self-signed certificate with the common name `name`, valid for localhost."""
    openssl = require_program("openssl", package="openssl")
    directory.mkdir(parents=True, exist_ok=True)
    pair = Pair(directory / f"{name}.crt", directory / f"{name}.key")
    command = [openssl, "req", "-x509", "-nodes", "-days", "30", "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    match key:
        case "ec":
            command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        case "rsa":
            command += ["-newkey", "rsa:2048"]
    files = ["-keyout", str(pair.keyfile), "-out", str(pair.certfile)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return pair


def live(directory: Path, pair: Pair) -> Pair:
    """A copy of the pair, to be replaced."""
    copy = Pair(directory / "live.crt", directory / "live.key")
    copy.replace_with(pair)
    return copy


class Client:
    """Opens connections, each with one request; trusts the certificates of these pairs."""

    def __init__(self, port: int, *trusted: Pair, version: ssl.TLSVersion | None = None) -> None:
        self.port = port
        text = "".join(pair.certfile.read_text() for pair in trusted)
        self.context = ssl.create_default_context(cadata=text or None)
        if not trusted:
            self.context.check_hostname = False
            self.context.verify_mode = ssl.CERT_NONE
        if version is not None:
            self.context.minimum_version = self.context.maximum_version = version
        self.session: ssl.SSLSession | None = None

    def name(self) -> str:
        """The common name of the certificate that the server presents now."""
        with self.connect() as wire:
            certificate = wire.getpeercert()
            exchange(wire)
        assert certificate is not None
        subject = certificate["subject"]
        return str(subject[0][0][1])

    def certificate(self) -> bytes:
        """The certificate in DER."""
        with self.connect() as wire:
            found = wire.getpeercert(binary_form=True)
            exchange(wire)
        assert found is not None
        return found

    def resumes(self) -> bool:
        """Whether a new connection resumes the session of the first one."""
        with self.connect(self.session) as wire:
            exchange(wire)
            if self.session is None:
                # With TLS 1.3 the ticket comes after the handshake.
                self.session = wire.session
            return bool(wire.session_reused)

    def connect(self, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), 15)
        try:
            return self.context.wrap_socket(plain, server_hostname="localhost", session=session)
        except BaseException:
            plain.close()
            raise


def exchange(wire: ssl.SSLSocket) -> None:
    wire.sendall(REQUEST)
    answer = b""
    while piece := wire.recv(65536):
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200"), answer[:80]


class Handshakes:
    """A stream of new connections until the block ends: the certificates that they got."""

    def __init__(self, client: Client, threads: int = 2) -> None:
        self.client = client
        self.names: Counter[str] = Counter()
        self.failures: list[str] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Handshakes:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a client hangs"

    def _run(self) -> None:
        while not self._stopped.wait(0.005):
            try:
                self.names[self.client.name()] += 1
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))


def is_readable_by(path: Path, user: int) -> bool:
    """Whether a process of this user could read the file by its mode."""
    found = os.stat(path)
    return found.st_uid == user or bool(found.st_mode & 0o044)
