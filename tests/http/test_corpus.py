"""Every wire sample of corpus/, over a real socket: what arrives, what is refused, what closes."""

import json

import pytest
from harness import Truncated
from harness.samples import answers_of, read_samples

FLAGS = {
    "body": "--limit-request-body",
    "chunk_line": "--limit-chunk-line",
    "fields": "--limit-request-fields",
    "field_size": "--limit-request-field_size",
    "head": "--limit-request-head",
    "request_line": "--limit-request-line",
    "trailers": "--limit-trailers",
}
VALID, INVALID = read_samples("http1/valid"), read_samples("http1/invalid")


@pytest.fixture(scope="module")
def server_for(shared):
    """One server for every set of limits."""
    servers = {}

    def find(limits):
        arguments = [word for name in limits for word in (FLAGS[name], limits[name])]
        # A trusted proxy may send more than a client, and this machine is one by default.
        arguments += ["--forwarded-allow-ips", "192.0.2.1"]
        # All samples are of HTTP/1: the preface of HTTP/2 is a request that is refused.
        arguments += ["--no-http2"]
        if (key := tuple(arguments)) not in servers:
            servers[key] = shared("replayed:app", *arguments)
        return servers[key]

    return find


@pytest.mark.parametrize("sample", VALID, ids=lambda sample: sample.path.stem)
def test_a_valid_sample_arrives_as_it_says(server_for, sample):
    replay(server_for(sample.limits), sample)


@pytest.mark.parametrize("sample", INVALID, ids=lambda sample: sample.path.stem)
def test_an_invalid_sample_is_refused_as_it_says_and_the_connection_closed(server_for, sample):
    replay(server_for(sample.limits), sample)


def test_the_corpus_is_there():
    if not VALID and not INVALID:
        pytest.skip("no corpus beside these tests")
    assert len(VALID) >= 88 and len(INVALID) >= 243


def replay(server, sample):
    with server.connect(timeout=5) as wire:
        wire.send_while_open(sample.data)
        if sample.expected[-1].status < 400 or "Truncated" in sample.expected[-1].refusal:
            # A refusal has to come while the client still could send more.
            wire.finish_sending()
        for expected in answers_of(sample):
            try:
                response = wire.response(expected.method)
                while response.status == 100:
                    response = wire.response(expected.method)
            except Truncated:
                # To a client that left within its request, silence is an answer too.
                assert "Truncated" in expected.refusal
                break
            assert response.status == expected.status, (expected, response)
            if expected.status >= 400:
                assert response.wants_close()
            elif expected.is_about_server:
                assert response.body == b""
            elif expected.method != "HEAD":
                seen = json.loads(response.body)
                assert (seen["method"], seen["target"]) == (expected.method, expected.target)
                assert seen["body"].encode("latin-1") == expected.body
                assert seen["underscored"] == []
        wire.expect_close()
    assert server.process.poll() is None
