"""Sites with sessions, under both servers and with each store."""

import pytest
from harness.redis import Redis
from harness.session_site import Site, with_store

STORES = ["cookie", "sqlite", "redis"]


@pytest.fixture(scope="session")
def redis(tmp_path_factory):
    started = Redis(tmp_path_factory.mktemp("redis"))
    yield started
    started.kill()


@pytest.fixture
def open_site(tmp_path, request):
    """Starts sites that live as long as the test: open_site("lockgate", "sqlite", **options)."""
    started = []

    def start(kind="lockgate", store="cookie", *arguments, **options):
        options |= with_store(request, tmp_path, store)
        started.append(Site(tmp_path, kind, *arguments, **options))
        return started[-1]

    yield start
    for site in started:
        site.server.end()


@pytest.fixture(scope="module", params=["lockgate", "gunicorn"])
def kind(request):
    return request.param


@pytest.fixture(scope="module", params=STORES)
def store(request):
    return request.param


@pytest.fixture(scope="module")
def site(kind, store, request, tmp_path_factory):
    """A site that the tests of a module share."""
    directory = tmp_path_factory.mktemp("site")
    started = Site(directory, kind, **with_store(request, directory, store))
    yield started
    started.server.end()


@pytest.fixture(autouse=True)
def present(request):
    """Each test begins in the present."""
    yield
    if "site" in request.fixturenames:
        request.getfixturevalue("site").pass_time(0)
