"""The module `uwsgi` in workers, from outside."""

import os
import signal

import pytest
from harness import eventually

CACHES = ("--uwsgi-cache", "name=first,items=100", "--uwsgi-cache", "name=small,items=2")


def test_it_is_off_unless_the_setting_asks_for_it(start):
    server = start("uwsgi_app:app", wait=False)
    assert server.wait() == 3
    assert "No module named 'uwsgi'" in server.errors


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["alone", "preload"])
def test_processes_have_uwsgis_numbers(uwsgi, preload):
    ask = uwsgi("--uwsgi-opt", "app-name=shop", "--uwsgi-opt", "master", *preload)
    server = ask.server
    found = ask.in_every_worker("(uwsgi.mypid(), uwsgi.masterpid(), FORKED)", 2)
    assert sorted(found) == [1, 2]
    for number, (pid, supervisor, forked) in found.items():
        assert supervisor == server.pid
        assert pid in server.workers()
        assert forked == ([1] if number == 1 else [2, "second"])
    assert ask("uwsgi.opt") == repr({"app-name": b"shop", "master": True})
    assert ask("(uwsgi.numproc, uwsgi.version_info[:2], uwsgi.mule_id())") == "(2, (2, 0), 0)"
    workers = eval(ask("uwsgi.workers()"))
    assert [worker["id"] for worker in workers] == [1, 2]
    assert {worker["status"] for worker in workers} <= {b"idle", b"busy"}
    assert eval(ask("uwsgi.total_requests()")) >= 3
    first, second = (eval(ask("uwsgi.request_id()")) for _ in range(2))
    assert first >= 1
    assert second >= 1
    assert eval(ask("uwsgi.mem()"))[0] > 1_000_000
    assert ask("uwsgi.env['REQUEST_METHOD']") == "'POST'"
    assert ask("uwsgi.cl()") == str(len("uwsgi.cl()"))


def test_workers_share_caches(uwsgi):
    ask = uwsgi(*CACHES)
    assert ask("uwsgi.cache_get('key')") == "None"
    assert ask("uwsgi.cache_set('key', b'value')") == "True"
    assert ask("uwsgi.cache_set('key', b'other')") == "None"
    got = ask.in_every_worker("uwsgi.cache_get(b'key')", 2)
    assert got == {1: b"value", 2: b"value"}
    assert ask("uwsgi.cache_update('key', 'other', 60, 'first')") == "True"
    assert ask("(uwsgi.cache_get('key'), uwsgi.cache_get('key', 'small'))") == "(b'other', None)"
    assert ask("(uwsgi.cache_exists('key'), uwsgi.cache_exists('no'))") == "(True, None)"
    for number in range(3):
        full = ask(f"uwsgi.cache_set('{number}', 'x', 0, 'small')")
        assert full == ("None" if number == 2 else "True")
    assert ask("sorted(uwsgi.cache_keys('small'))") == "[b'0', b'1']"
    assert ask("(uwsgi.cache_del('0', 'small'), uwsgi.cache_del('0', 'small'))") == "(True, None)"
    assert ask("(uwsgi.cache_clear('small'), uwsgi.cache_keys('small'))") == "(True, [])"
    assert ask("[uwsgi.cache_inc('n'), uwsgi.cache_inc('n', 9), uwsgi.cache_dec('n', 2)]") == (
        "[True, True, True]"
    )
    assert ask("[uwsgi.cache_mul('n', 6), uwsgi.cache_div('n', 4), uwsgi.cache_num('n')]") == (
        "[True, True, 12]"
    )
    assert ask("uwsgi.cache_num('missing')") == "0"


def test_what_a_cache_cannot_do_is_said(uwsgi):
    ask = uwsgi(*CACHES)
    assert ask("uwsgi.cache_set('k' * 2049, 'x')") == "None"
    assert ask("uwsgi.cache_set('k', b'x' * 65537)") == "None"
    assert ask("uwsgi.cache_set('', 'x')") == "None"
    assert ask("uwsgi.cache_keys('wrong')").startswith("ValueError: no local uWSGI cache")
    assert ask("uwsgi.cache_get('k', 'c@10.0.0.1:3031')").startswith("ValueError: the cache c@")
    assert ask("uwsgi.cache_get('k', 'wrong')") == "None"
    ask.logged(r"a shared cache named wrong, and there is none \(setting: uwsgi_cache\)")


def test_entries_expire(uwsgi):
    ask = uwsgi(*CACHES)
    assert ask("uwsgi.cache_set('key', 'value', 1)") == "True"
    eventually(lambda: ask("uwsgi.cache_get('key')") == "None", what="it expires")


def test_a_cache_lives_over_a_reload_that_the_application_requests(uwsgi):
    ask = uwsgi(*CACHES)
    ask("uwsgi.cache_set('key', 'value')")
    before = set(ask.server.workers())
    assert ask("uwsgi.reload()") == "True"
    ask.logged(r"uwsgi\.reload\(\)")
    eventually(lambda: not before & set(ask.server.workers()), what="new workers")
    eventually(lambda: ask("uwsgi.is_a_reload") == "True", what="the new workers answer")
    assert ask("uwsgi.cache_get('key')") == "b'value'"


def test_the_application_can_stop_the_server(uwsgi):
    ask = uwsgi()
    assert ask("uwsgi.stop()") == "True"
    assert ask.server.wait() == 0


def test_a_cache_lives_over_an_upgrade_and_both_versions_share_it(uwsgi):
    ask = uwsgi(*CACHES)
    ask("uwsgi.cache_set('key', 'value')")
    before = set(ask.server.workers())
    ask.server.signal(signal.SIGUSR2)
    eventually(lambda: not before & set(ask.server.workers()), within=30, what="new workers")
    eventually(lambda: ask("uwsgi.is_a_reload") == "True", what="the new workers answer")
    assert ask("uwsgi.cache_get('key')") == "b'value'"
    assert "begin empty" not in ask.server.errors


def test_other_caches_begin_empty_after_an_upgrade(uwsgi, tmp_path):
    settings = tmp_path / "lockgate.toml"
    settings.write_text("uwsgi_cache = ['name=first,items=100']")
    ask = uwsgi("-c", str(settings))
    ask("uwsgi.cache_set('key', 'value')")
    settings.write_text("uwsgi_cache = ['name=first,items=200']")
    before = set(ask.server.workers())
    ask.server.signal(signal.SIGUSR2)
    ask.logged("the shared caches begin empty")
    # The old workers answer beside the new ones for a moment, from their own caches.
    eventually(lambda: not before & set(ask.server.workers()), within=30, what="new workers")
    assert ask("uwsgi.is_a_reload") == "True"
    assert ask("uwsgi.cache_get('key')") == "None"
    assert ask("uwsgi.cache_set('key', 'value')") == "True"


def test_a_reload_is_no_moment_for_other_caches(uwsgi, tmp_path):
    settings = tmp_path / "lockgate.toml"
    settings.write_text("uwsgi_cache = ['name=first,items=100']")
    ask = uwsgi("-c", str(settings))
    ask("uwsgi.cache_set('key', 'value')")
    settings.write_text("uwsgi_cache = ['name=other,items=100']")
    ask.server.signal(signal.SIGHUP)
    ask.logged("uwsgi_cache")
    eventually(lambda: ask("uwsgi.is_a_reload") == "True", what="the new workers answer")
    assert ask("uwsgi.cache_get('key', 'first')") == "b'value'"


def test_a_lock_excludes_other_workers_and_ends_with_its_holder(uwsgi):
    ask = uwsgi("--uwsgi-locks", "1", "--threads", "2")
    assert ask("uwsgi.is_locked()") == "False"
    held = ask("(uwsgi.lock(), uwsgi.is_locked(), uwsgi.unlock(), uwsgi.is_locked())")
    assert held == "(None, True, None, False)"
    assert "Invalid lock number 2" in ask("uwsgi.lock(2)")
    holder = eval(ask("(uwsgi.lock(1), uwsgi.mypid())"))[1]
    assert ask.in_every_worker("uwsgi.is_locked(1)", 2) == {1: True, 2: True}
    os.kill(holder, signal.SIGKILL)
    assert ask("(uwsgi.lock(1), uwsgi.unlock(1))") == "(None, None)"


def test_log_variables_are_in_the_access_log(uwsgi, tmp_path):
    log = tmp_path / "access.log"
    style = "%(m)s %({uwsgi.logvar.user}e)s %({uwsgi.logvar.no}e)s"
    ask = uwsgi("--access-logfile", str(log), "--access-logformat", style)
    assert ask("(uwsgi.set_logvar('user', b'eva'), uwsgi.get_logvar('user'))") == "(None, b'eva')"
    eventually(lambda: log.read_text() == "POST eva -\n", what="the access log has it")
    assert ask("uwsgi.log('a line of the application')") == "True"
    ask.logged("a line of the application")


def test_what_lockgate_does_not_have_is_refused_with_the_place(uwsgi):
    ask = uwsgi()
    refused = ask("uwsgi.add_timer(1, 60)")
    assert refused.startswith("NotSupportedError: uwsgi.add_timer (<string>:1) is not available")
    assert "systemd timer" in refused
    assert ask("hasattr(uwsgi, 'spool')") == "False"
    assert "task queue" in ask("uwsgidecorators.spool(print)")


def test_threads_outside_of_requests_have_no_request(uwsgi):
    ask = uwsgi()
    found = ask(
        "[(lambda errors: (threading.Thread(target=lambda: errors.append("
        "hasattr(uwsgi, 'version'))).start(), errors))([])]"
    )
    assert "True" in found


def test_a_thread_without_a_request_keeps_no_environ(uwsgi):
    ask = uwsgi(workers=1)
    ask("watch(uwsgi.env)")
    ask.logged("forgotten: True")
