"""compose.yaml of contrib/docker: the application with PostgreSQL and Redis."""

from __future__ import annotations

import pytest

from images import running
from images.compose import Project

URL = "http://127.0.0.1:8000/"


@pytest.fixture
def project(files, how, tmp_path):
    (files / "secrets").mkdir(exist_ok=True)
    (files / "secrets" / "database_password").write_text("s3cret-ü\n", "utf-8")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with Project(files / "compose.yaml", scratch, how) as project:
        yield project


def visit(service):
    done = service.container.curl("--fail-with-body", URL)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{service.container.log()}"
    return done.stdout


def test_visits_are_counted_and_survive_a_new_container(project):
    web = project.up("web")
    running.await_health(web.container, web.healthcheck)
    assert visit(web) == "visit 1, 1 of them yours\n"
    assert visit(web) == "visit 2, 2 of them yours\n"
    assert project.stop("web") == 0
    again = project.up("web")
    running.await_health(again.container, again.healthcheck)
    assert visit(again) == "visit 3, 3 of them yours\n"
    assert [project.stop(name) for name in ("web", "cache", "db")] == [0, 0, 0]
