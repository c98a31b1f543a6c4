"""Servers whose settings are in a file."""

import pytest
from harness.auth_service import AuthService


@pytest.fixture
def start_with(start, tmp_path):
    """start_with("app", "TOML") starts a server with these settings."""

    def run(app, settings, *arguments, **options):
        path = tmp_path / "lockgate.toml"
        path.write_text(settings)
        return start(app, "--config", str(path), *arguments, **options)

    return run


@pytest.fixture(scope="module")
def service():
    service = AuthService()
    yield service
    service.end()
