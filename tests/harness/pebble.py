"""Pebble, the test CA of Let's Encrypt, on loopback addresses, with a DNS server of its own."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.patience import eventually
from harness.process import free_port
from harness.requirements import require_program

# Pebble's own example.
EAB_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


class Authority:
    """A CA that signs certificates for servers of tests on this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificate = directory / "ca.pem"
        self.key = directory / "ca.key"
        self._openssl(
            *("-keyout", self.key, "-out", self.certificate, "-subj", "/CN=Test CA"),
            # RFC 5280 §4.2.1.3 wants it; Python 3.13 and later check that.
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for `name` and localhost."""
        certificate = self.directory / f"{name}.pem"
        key = self.directory / f"{name}.key"
        self._openssl(
            *("-keyout", key, "-out", certificate, "-subj", f"/CN={name}"),
            *("-CA", self.certificate, "-CAkey", self.key),
            *("-addext", f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
        )
        return certificate, key

    def _openssl(self, *arguments: str | Path) -> None:
        openssl = require_program("openssl", package="openssl")
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command = [openssl, "req", "-x509", *new_key, "-days", "2", *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, timeout=30)


class Pebble:
    """A CA with ACME. It validates names at the ports of the server that is tested."""

    def __init__(
        self,
        directory: Path,
        *,
        http_port: int,
        tls_port: int,
        environment: Mapping[str, str] | None = None,
        validity: int = 7_776_000,
        **settings: Any,
    ) -> None:
        pebble = require_program("pebble", package="pebble")
        dns = require_program("pebble-challtestsrv", package="pebble")
        directory.mkdir()
        self.authority = Authority(directory)
        certificate, key = self.authority.issue("pebble")
        self.port, self.management, self.dns = free_port(), free_port(), free_port()
        config = directory / "pebble.json"
        settings = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(certificate),
            "privateKey": str(key),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            # In seconds: for Pebble 2.4, and for 2.10.
            "certificateValidityPeriod": validity,
            "profiles": {"default": {"description": "the only one", "validityPeriod": validity}},
            **settings,
        }
        config.write_text(json.dumps({"pebble": settings}))
        variables = {"PEBBLE_VA_NOSLEEP": "1", **(environment or {})}
        self.log = directory / "pebble.log"
        self.processes: list[subprocess.Popen[bytes]] = []
        for command in (
            [dns, *dns_flags(dns, f"127.0.0.1:{self.dns}")],
            [pebble, "-config", str(config), "-dnsserver", f"127.0.0.1:{self.dns}"],
        ):
            with self.log.open("ab") as log:
                process = subprocess.Popen(
                    command,
                    env={**os.environ, **variables},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self.processes.append(process)
        eventually(self._is_ready, within=20, what="pebble answers")

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/dir"

    def arguments(self, acme_dir: Path) -> list[str]:
        """For a server that asks this CA."""
        return [
            *("--acme-directory", self.url),
            *("--acme-ca-certs", str(self.authority.certificate)),
            *("--acme-dir", str(acme_dir)),
        ]

    def trust(self) -> ssl.SSLContext:
        """A client's context that trusts the certificates that this CA issues."""
        context = ssl.create_default_context(cadata=self._fetch("/roots/0"))
        # Python 3.13 and later want more extensions than Pebble's certificates have.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def issued_count(self) -> int:
        """Certificates that were issued."""
        return self.log.read_text("utf-8", "replace").count("Issued certificate serial")

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def _is_ready(self) -> bool:
        for process in self.processes:
            assert process.poll() is None, f"{process.args} ended: {self.log.read_text()}"
        try:
            return bool(self._fetch("/roots/0"))
        except (OSError, urllib.error.URLError):
            return False

    def _fetch(self, path: str) -> str:
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        url = f"https://localhost:{self.management}{path}"
        with urllib.request.urlopen(url, context=context, timeout=5) as answer:
            text: str = answer.read().decode()
            return text


def dns_flags(program: str, address: str) -> list[str]:
    """For a pebble-challtestsrv that answers DNS queries at `address`, with 127.0.0.1, and does
    nothing else.

    The flag of the address has another name in Pebble 2.10 than in 2.4, and DNS over HTTPS is new.
    """
    usage = subprocess.run([program, "-help"], capture_output=True, text=True, timeout=30).stderr
    known = set(re.findall(r"^ +-([\w-]+)", usage, re.MULTILINE))
    assert known, f"{program} -help lists no flag: {usage!r}"
    off = known & {"management", "http01", "https01", "tlsalpn01", "doh"}
    dns = "dnsserver" if "dnsserver" in known else "dns01"
    return [f"-{dns}={address}", "-defaultIPv6=", *(f"-{one}=" for one in sorted(off))]


def presented(port: int, name: str, context: ssl.SSLContext) -> dict[str, Any] | None:
    """The certificate that a server presents for `name`; `None` where a client distrusts it."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            certificate: dict[str, Any] | None = secure.getpeercert()
            return certificate
    except (ssl.SSLError, ConnectionError, TimeoutError):
        return None
