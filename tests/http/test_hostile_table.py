"""The hostile table finds no fault in this server, and its check can find one."""

import pytest
from harness import Response
from harness.samples import CORPUS, answers_of, read_sample
from hostile_table import TABLE, Answer, Row, all_rows, ask, judge

# A sample with limits of its own needs a server with them: test_corpus.py starts it.
ROWS = [
    row for row in all_rows() if "# limits:" not in (CORPUS / f"http1/{row.file}.http").read_text()
]


@pytest.fixture(scope="module")
def server(shared):
    return shared("echoing:app", "--threads", "2", "--no-http2")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.file)
def test_every_row_is_answered_as_it_should_be(server, row):
    sample = read_sample(CORPUS / f"http1/{row.file}.http")
    answer = ask(server.address, sample, len(answers_of(sample)))
    assert judge(row, sample, answer) == "OK", answer.reported()


def test_a_server_of_http2_may_answer_its_preface(shared):
    server = shared("echoing:app")
    (row,) = [row for row in TABLE if row.title == "h2 preface"]
    sample = read_sample(CORPUS / f"http1/{row.file}.http")
    answer = ask(server.address, sample, len(answers_of(sample)))
    assert (answer.end, judge(row, sample, answer)) == ("HTTP/2", "OK")


def test_every_case_of_the_table_is_a_file_of_the_corpus():
    files = {row.file for row in all_rows()}
    assert len(TABLE) > 90 and {row.file for row in TABLE} <= files
    assert len({row.title for row in TABLE}) == len(TABLE)


def reply(status, *, body=b"", close=False):
    headers = [("Connection", "close")] if close else []
    return Response(status, "", "1.1", headers, body=body)


SEEN = b'{"method": "GET", "path": "/", "query": "", "length": null, "body": "", "merged": []}'
SPOOFED = SEEN.replace(b"[]", b'["HTTP_X_FORWARDED_FOR"]')


@pytest.mark.parametrize(
    ("file", "responses", "end", "verdict"),
    [
        ("valid/get", [reply(200, body=SEEN)], "open", "OK"),
        ("valid/get", [reply(200, body=SEEN), reply(400)], "closed", "NOT"),
        ("valid/get", [], "hang", "NOT"),
        ("valid/get", [reply(200, body=SEEN.replace(b'"/"', b'"/x"'))], "open", "NOT"),
        ("valid/field_underscore", [reply(200, body=SPOOFED)], "open", "NOT"),
        ("invalid/host_twice", [reply(400, close=True)], "closed", "OK"),
        ("invalid/host_twice", [reply(501, close=True)], "closed", "other"),
        ("invalid/host_twice", [reply(400)], "open", "NOT"),
        ("invalid/host_twice", [reply(400), reply(200, body=SEEN)], "closed", "NOT"),
        ("invalid/host_twice", [reply(200, body=SEEN)], "closed", "NOT"),
        ("invalid/chunk_size_plus", [reply(200, body=SEEN), reply(400)], "closed", "NOT"),
        ("invalid/closed_inside_body", [], "closed", "OK"),
        ("invalid/http2_preface", [], "HTTP/2", "OK"),
        ("invalid/host_twice", [], "HTTP/2", "NOT"),
    ],
)  # fmt: skip
def test_the_check_finds_a_fault(file, responses, end, verdict):
    sample = read_sample(CORPUS / f"http1/{file}.http")
    assert judge(Row(file, file), sample, Answer(responses, end)) == verdict
