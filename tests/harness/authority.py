"""A certificate authority for tests, and clients with certificates of it. openssl signs."""

from __future__ import annotations

import ssl
import subprocess
import time
from pathlib import Path

from harness.process import Server
from harness.requirements import require_program
from harness.wire import Response, Wire, request

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
#: The extensions of a certificate that is no authority's.
LEAF = "basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n"


class Authority:
    """Issues certificates into a directory."""

    def __init__(self, directory: Path, name: str = "Lockgate test CA") -> None:
        self.directory = directory
        self.openssl = require_program("openssl", package="openssl")
        self.certfile, self.keyfile = directory / "ca.pem", directory / "ca.key"
        # RFC 5280 §4.2.1.3 wants it; Python 3.13 and later check that.
        usage = "keyUsage=critical,keyCertSign,cRLSign"
        self._run("req", "-x509", *CURVE, "-days", "2", "-subj", f"/CN={name}", "-addext", usage,
                  "-keyout", self.keyfile, "-out", self.certfile)  # fmt: skip

    def issue(self, name: str, *alternatives: str, subject: str = "") -> tuple[Path, Path]:
        """A certificate for these alternative names, and its key."""
        certfile, keyfile = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        request = self.directory / f"{name}.csr"
        extensions = self.directory / f"{name}.ext"
        # Without an extension it would be of version 1, which is refused.
        names = f"subjectAltName={','.join(alternatives)}\n" if alternatives else ""
        extensions.write_text(LEAF + names)
        self._run("req", "-new", *CURVE, "-utf8", "-subj", subject or f"/CN={name}",
                  "-keyout", keyfile, "-out", request)  # fmt: skip
        self._run("x509", "-req", "-days", "2", "-in", request, "-CA", self.certfile,
                  "-CAkey", self.keyfile, "-CAcreateserial", "-extfile", extensions,
                  "-out", certfile)  # fmt: skip
        return certfile, keyfile

    def issue_until(self, name: str, expiry: float) -> tuple[Path, Path]:
        """A certificate that expires at this time (`time.time()`), and its key."""
        certfile, keyfile = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        request, settings = self.directory / f"{name}.csr", self.directory / f"{name}.cnf"
        database = self.directory / f"{name}.database"
        database.write_text("")
        settings.write_text(
            "[ca]\ndefault_ca=this\n[this]\ndefault_md=sha256\npolicy=any\nx509_extensions=leaf\n"
            f"database={database}\nnew_certs_dir={self.directory}\nrand_serial=yes\n"
            f"[any]\ncommonName=supplied\n[leaf]\n{LEAF}"
        )
        self._run("req", "-new", *CURVE, "-subj", f"/CN={name}", "-keyout", keyfile,
                  "-out", request)  # fmt: skip
        end = time.strftime("%y%m%d%H%M%SZ", time.gmtime(expiry))
        self._run("ca", "-batch", "-notext", "-config", settings,
                  "-cert", self.certfile, "-keyfile", self.keyfile, "-in", request,
                  "-startdate", "200101000000Z", "-enddate", end, "-out", certfile)  # fmt: skip
        return certfile, keyfile

    def client(self, *certificate: Path) -> ssl.SSLContext:
        """A client that trusts this authority, perhaps with a certificate and its key."""
        context = ssl.create_default_context(cafile=str(self.certfile))
        if certificate:
            context.load_cert_chain(*certificate)
        return context

    def _run(self, *command: str | Path) -> None:
        arguments = [self.openssl, *map(str, command)]
        subprocess.run(arguments, check=True, capture_output=True)


def over_tls(
    server: Server, context: ssl.SSLContext, data: bytes | None = None, before: bytes = b""
) -> Response:
    """One request over TLS on a new connection; `before` comes before the handshake."""
    with Wire(server.address) as wire:
        wire.socket.sendall(before)
        wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost")
        wire.send(data or request("GET", "/", "Connection: close"))
        response = wire.response()
        wire.expect_close()
    return response
