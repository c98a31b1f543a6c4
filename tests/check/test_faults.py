"""`lockgate check` finds each fault that was put into a small application, and nothing else.

A comment in the application, `# finds: RULE …`, stands at the line of the finding; `# checks: RULE`
is one without a line; `# arguments: …` are flags of the server.
"""

import json
import re
from pathlib import Path

import pytest
from harness import run
from harness.requirements import require_module

FAULTS = Path(__file__).resolve().parent / "faults"
NAMES = sorted(path.stem for path in FAULTS.glob("*.py"))

#: PEP 3333 by section, RFC 9110 by number, or a page of the documentation.
PARAGRAPH = re.compile(r"(PEP 3333|Django), .+|RFC 9110, [\d.]+|docs/[\w/-]+\.md(#[\w-]+)?")


def expected(source):
    found = set()
    for number, line in enumerate(source.splitlines(), 1):
        for rule in (re.findall(r"# finds: (.*)", line) or [""])[0].split():
            found.add((rule, number))
        for rule in (re.findall(r"# checks: (.*)", line) or [""])[0].split():
            found.add((rule, None))
    assert found, "the application has no fault"
    return found


def arguments(source, certificate):
    flags = (re.findall(r"# arguments: (.*)", source) or [""])[0].split()
    names = {"CERTIFICATE": certificate[1], "KEY": certificate[3]}
    return [names.get(flag, flag) for flag in flags]


def test_there_are_more_than_forty():
    assert len(NAMES) >= 40


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_is_found_with_its_line_and_paragraph(name, certificate):
    source = (FAULTS / f"{name}.py").read_text()
    for module in re.findall(r"# needs: (\w+)", source):
        require_module(module)
    flags = arguments(source, certificate)
    done = run(
        "check",
        f"{name}:app",
        "--json",
        "--no-host",
        "--wait",
        "1",
        "--",
        *flags,
        chdir=FAULTS,
        within=60,
    )
    report = json.loads(done.stdout)
    findings = report["findings"]
    assert {(one["rule"], one["line"]) for one in findings} == expected(source), done.stdout
    for one in findings:
        assert one["line"] is None or Path(one["file"]).name == f"{name}.py", one
        assert PARAGRAPH.fullmatch(one["paragraph"]), one
        assert one["link"].startswith("https://"), one
    assert done.returncode == report["exit_code"], done.stderr
    is_serving = any(one["rule"] == "import-serves" for one in findings)
    assert done.returncode == (3 if is_serving else int(report["errors"] > 0))
