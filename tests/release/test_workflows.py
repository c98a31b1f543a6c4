"""The workflows of the forge agree with the project. zizmor judges them in `make check`."""

import re
from pathlib import Path

import pytest
from wheels import targets

REPOSITORY = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_named_by_its_commit_and_a_job_has_only_the_permissions_it_lists(workflow):
    text = workflow.read_text()
    actions = re.findall(r"uses: (?!\./)(.+)$", text, re.MULTILINE)
    assert actions
    for action in actions:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    assert "\npermissions: {}\n" in text
    jobs = re.findall(r"(?m)^  [\w-]+:\n((?:    .*\n|\n)+)", text[text.index("\njobs:\n") :])
    assert jobs and all("    permissions:\n" in job for job in jobs)
    assert all("timeout-minutes" in job or "uses: ./" in job for job in jobs)


def test_all_versions_of_the_classifiers_are_tested_and_built():
    project = (REPOSITORY / "pyproject.toml").read_text()
    classified = re.findall(r"Programming Language :: Python :: (3\.\d+)\"", project)
    ci, release = ((REPOSITORY / ".github/workflows" / name) for name in ("ci.yml", "release.yml"))
    tested = re.search(r"python: \[(.+)\]", ci.read_text())[1].replace('"', "").split(", ")
    built = re.search(r"artefact: \[(.+)\]", release.read_text())[1].split(", ")
    assert set(classified) <= set(tested)
    # Packages that the tests need do not install on a free-threaded Python.
    free_threaded = {one for one in built if one.endswith("t") and one != "sdist"}
    assert {f"cp{one.replace('.', '')}" for one in tested} == set(built) - {"sdist"} - free_threaded


def test_the_jobs_of_a_release_build_all_wheels_once():
    release = (REPOSITORY / ".github/workflows/release.yml").read_text()
    artefacts = re.search(r"artefact: \[(.+)\]", release)[1].split(", ")
    pattern = re.search(r'make wheels WHEELS="(.+?)"', release)[1]
    names = [pattern.replace("$ARTEFACT", one) for one in artefacts if one != "sdist"]
    built = [target.name for name in names for target in targets.named(name)]
    assert sorted(built) == sorted(target.name for target in targets.ALL)


def test_all_workflows_have_the_same_rust_and_call_targets_that_exist():
    texts = [workflow.read_text() for workflow in WORKFLOWS]
    assert len({re.search(r'RUST: "(.+)"', text)[1] for text in texts}) == 1
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"(?:^|[;\"] |then |else )make ([\w-]+)", "\n".join(texts)):
        assert re.search(rf"(?m)^{target}:", makefile), target
