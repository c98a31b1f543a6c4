"""More threads than a database has connections: asked of a real PostgreSQL."""

import json

import pytest
from harness import run
from harness.postgres import Postgres
from harness.requirements import require_module
from lockgate.check.rules.databases import needed
from lockgate.check.settings import Settings

SQLALCHEMY = """
import os
import sqlalchemy
{before}
ENGINE = sqlalchemy.create_engine(os.environ["DATABASE"], pool_size={size}, max_overflow=0)


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""
DJANGO = """
import os
from django.conf import settings
from django.core.wsgi import get_wsgi_application

settings.configure(
    SECRET_KEY="k2J9vP0qL7wXz4RmT8sB1nY6",
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["DIRECTORY"],
            "USER": "postgres",
            "NAME": "postgres",
            "CONN_MAX_AGE": 60,
        }
    },
)
urlpatterns = []
app = get_wsgi_application()
"""


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.end()


def found(tmp_path, source, variables, workers, threads, *flags):
    (tmp_path / "shop.py").write_text(source)
    done = run(
        *("check", "shop:app", "--json", *flags, "--"),
        *("--workers", str(workers), "--threads", str(threads)),
        chdir=tmp_path,
        environment=variables,
        within=60,
    )
    report = json.loads(done.stdout)
    # What this host is like does not matter here.
    return [one for one in report["findings"] if not one["rule"].startswith("host-")]


@pytest.mark.parametrize(("workers", "threads", "is_enough"), [(2, 8, True), (8, 12, False)])
def test_the_threads_of_django(postgres, tmp_path, workers, threads, is_enough):
    variables = {"DIRECTORY": str(postgres.directory)}
    findings = found(tmp_path, DJANGO, variables, workers, threads)
    assert [one["rule"] for one in findings] == ([] if is_enough else ["database-connections"])
    if not is_enough:
        assert findings[0]["text"] == (
            "8 workers with 12 threads may need 104 connections to 'default', which accepts 97"
        )
        assert findings[0]["line"] == 10


@pytest.mark.parametrize(("workers", "size", "is_enough"), [(4, 20, True), (5, 20, False)])
def test_the_pool_of_sqlalchemy(postgres, tmp_path, workers, size, is_enough):
    require_module("sqlalchemy")
    url = f"postgresql+psycopg://postgres@/postgres?host={postgres.directory}"
    source = SQLALCHEMY.format(before="", size=size)
    findings = found(tmp_path, source, {"DATABASE": url}, workers, 20)
    assert [one["rule"] for one in findings] == ([] if is_enough else ["database-connections"])
    assert is_enough or findings[0]["line"] == 5


def test_a_database_that_does_not_answer(tmp_path):
    variables = {"DIRECTORY": str(tmp_path)}
    [finding] = found(tmp_path, DJANGO, variables, 1, 4)
    assert finding["rule"] == "database-unreachable"
    assert "connection is bad" in finding["text"] or "failed" in finding["text"]
    assert found(tmp_path, DJANGO, variables, 1, 4, "--no-host") == []


@pytest.mark.parametrize(
    ("workers", "threads", "pool", "connections"),
    [(1, 1, None, 1), (4, 1, None, 4), (4, 16, None, 68), (4, 16, 5, 20), (4, 16, 50, 68)],
)
def test_the_number_of_connections(workers, threads, pool, connections):
    assert needed(Settings({"workers": workers, "threads": threads}), pool) == connections
