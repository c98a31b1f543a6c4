"""Every packet of corpus/uwsgi, over a real socket."""

import pytest
from harness.packets import PacketWire, read_packets

FLAGS = {
    "body": "--limit-request-body",
    "fields": "--limit-request-fields",
    "field_size": "--limit-request-field-size",
    "head": "--limit-request-head",
    "request_line": "--limit-request-line",
}
SAMPLES = read_packets()


@pytest.fixture(scope="module")
def server_for(uwsgi):
    """One server for every set of limits."""
    servers = {}

    def find(limits):
        arguments = tuple(word for name in limits for word in (FLAGS[name], limits[name]))
        if arguments not in servers:
            servers[arguments] = uwsgi("wire_app:app", *arguments)
        return servers[arguments]

    return find


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.path.stem)
def test_a_packet_is_answered_as_it_says(server_for, sample):
    with PacketWire(server_for(sample.limits).address, timeout=5) as wire:
        wire.send_while_open(sample.data)
        if "Truncated" in sample.expect or sample.status in (200, None):
            # A refusal has to come while the web server still could send more.
            wire.finish_sending()
        if sample.status is None:
            assert not wire.has_begun()
            return
        method = "HEAD" if " HEAD " in sample.expect else "GET"
        assert wire.response(method).status == sample.status


def test_the_corpus_is_there():
    assert len(SAMPLES) >= 90
