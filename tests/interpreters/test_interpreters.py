"""What `python -m interpreters` decides, without a root directory."""

from collections import Counter

import pytest

from interpreters import results, root

WEEK = root.KEPT_SECONDS
REPORT = """<testsuites><testsuite>
<testcase classname="tests.http.test_a" name="test_one"/>
<testcase classname="tests.http.test_a" name="test_two[x]"><failure message="no"/></testcase>
<testcase classname="tests.http.test_a" name="test_two[x]"><error message="at its end"/></testcase>
<testcase classname="tests.http.test_b" name="test_three"><skipped message="no nginx"/></testcase>
<testcase classname="tests.http.test_b" name="test_four"><skipped message="no nginx"/></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize("age, is_fresh", [(0, True), (WEEK - 1, True), (WEEK, False), (-1, False)])
def test_a_root_is_kept_for_a_week(age, is_fresh):
    assert root.is_fresh(made=1e9, now=1e9 + age) is is_fresh


def test_a_root_has_all_interpreters_of_its_release_and_is_another_for_another_list():
    names = root.packages("sid")
    assert {"python3.14-venv", "python3.15-dev", "cargo", "nginx-light"} <= set(names)
    assert "python3.13-venv" not in names
    keys = {root.key("sid", names), root.key("trixie", names), root.key("sid", names[1:])}
    assert len(keys) == 3


def test_a_root_is_not_deleted_through_a_mount(tmp_path, monkeypatch):
    inside = tmp_path / "root" / "work"
    inside.mkdir(parents=True)
    monkeypatch.setattr(root, "mount_points", lambda: iter([inside]))
    with pytest.raises(OSError, match="work is mounted: unmount it"):
        root.remove(tmp_path / "root")
    assert inside.exists()
    monkeypatch.setattr(root, "mount_points", lambda: iter([tmp_path]))
    root.remove(tmp_path / "root")
    assert not inside.exists()


def test_results_count_each_test_once(tmp_path):
    file = tmp_path / "results.xml"
    file.write_text(REPORT)
    found = results.read(file)
    failed = ("tests.http.test_a::test_two[x]",)
    assert found == results.Results(1, failed, Counter({"no nginx": 2}))
    counts = "4 tests: 1 passed, 2 were skipped, 1 failed"
    row = f"| CPython 3.15.2 | sid | all | {counts} | 1 May 2026 |"
    assert found.row("CPython 3.15.2", "sid", "all", "1 May 2026") == row
    assert found.text() == f"failed: {failed[0]}\nskipped: 2 × no nginx"
