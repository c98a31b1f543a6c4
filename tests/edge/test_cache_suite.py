"""The npm package http-cache-tests: Lockgate's cache before the suite's origin, beside nginx's."""

import json
import os
from pathlib import Path

import pytest
from harness.cache_suite import Nginx, Origin, fetch_suite, run_suite, score

#: What RFC 9111 requires of these, and a fault in them shows one user what is another's.
NOTHING_FAILS = {
    "cc-freshness",
    "cc-parse",
    "cc-response",
    "cc-request",
    "vary",
    "vary-parse",
    "auth",
    "invalidation",
}
#: Tests of this version that Lockgate fails on purpose.
DELIBERATE = {
    # RFC 9111 §5.1: the first member of Age counts, and an invalid value is ignored. The newer
    # versions of the suite, which npm does not have, require that.
    "age-parse-nonnumeric",
    "age-parse-negative",
    "age-parse-float",
    "age-parse-prefix-twoline",
    "age-parse-dup-0",
    "age-parse-dup-0-twoline",
    "age-parse-dup-old",
    "age-parse-parameter",
    "age-parse-numeric-parameter",
    # Surrogate-Control has no RFC; CDN-Cache-Control (RFC 9213) replaces it.
    "surrogate-no-store-cc-fresh",
    "surrogate-fresh-cc-nostore",
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    return fetch_suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def lockgate(suite, shared, tmp_path_factory):
    """What the suite says of Lockgate."""
    origin = Origin(suite, tmp_path_factory.mktemp("lockgate"))
    try:
        server = shared(
            "forwarding:app",
            "--cache",
            "16MiB",
            "--threads",
            "16",
            workers=2,
            environment={"FORWARD_TO": f"127.0.0.1:{origin.port}"},
        )
        return run_suite(suite, server.url)
    finally:
        origin.end()


@pytest.fixture(scope="module")
def nginx(suite, tmp_path_factory):
    directory = tmp_path_factory.mktemp("nginx")
    origin = Origin(suite, directory)
    cache = Nginx(directory, origin.port)
    try:
        return run_suite(suite, cache.url)
    finally:
        cache.end()
        origin.end()


@pytest.mark.slow
def test_no_case_of_control_vary_authorization_or_invalidation_fails(lockgate):
    failed = [
        f"{case.group}/{case.id}: {case.reason}"
        for case in lockgate
        if case.group in NOTHING_FAILS and case.kind == "required" and case.has_failed
    ]
    assert failed == [], score(lockgate)


@pytest.mark.slow
def test_required_cases_fail_only_on_purpose(lockgate):
    failed = {case.id for case in lockgate if case.kind == "required" and case.has_failed}
    assert failed == DELIBERATE, score(lockgate)


@pytest.mark.slow
def test_the_score_is_above_that_of_nginx(lockgate, nginx):
    passed, by_nginx = (sum(case.failure is None for case in cases) for cases in (lockgate, nginx))
    report = f"Lockgate\n{score(lockgate)}\n\nnginx\n{score(nginx)}\n"
    if where := os.environ.get("CACHE_SUITE_REPORT"):
        Path(where).write_text(report + "\n".join(json.dumps(vars(case)) for case in lockgate))
    assert passed > by_nginx, report
