"""A certificate authority for the tests of HTTPS."""

import pytest
from harness.authority import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority):
    """Flags with a certificate for localhost and 127.0.0.1."""
    certfile, keyfile = authority.issue("localhost", "DNS:localhost", "IP:127.0.0.1")
    return ["--certfile", str(certfile), "--keyfile", str(keyfile)]
