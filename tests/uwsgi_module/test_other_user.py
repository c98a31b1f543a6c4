"""The module in workers that run as another user than the supervisor."""

from harness import eventually
from harness.other_user import reachable_python


def test_caches_locks_and_requests_work_for_another_user(uwsgi, tmp_path):
    arguments = ["--uwsgi-cache", "name=c,items=10", "--user", "65534", "--group", "65534"]
    ask = uwsgi(*arguments, prefix=reachable_python(tmp_path))
    assert ask("__import__('os').getuid()") == "65534"
    assert ask("uwsgi.cache_set('key', 'value')") == "True"
    assert ask.in_every_worker("uwsgi.cache_get('key')", 2) == {1: b"value", 2: b"value"}
    assert ask("(uwsgi.lock(), uwsgi.is_locked(), uwsgi.unlock())") == "(None, True, None)"
    before = set(ask.server.workers())
    # A signal to the supervisor would be refused.
    assert ask("uwsgi.reload()") == "True"
    eventually(lambda: not before & set(ask.server.workers()), what="new workers")
