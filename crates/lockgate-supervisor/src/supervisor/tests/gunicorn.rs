//! The log in gunicorn's words: each event has one line, gunicorn's where it has one.

use super::*;

/// Checks the log in gunicorn's words since the last check.
#[track_caller]
fn check(script: &mut Script, expected: &[&str]) {
    let logs = std::mem::take(&mut script.gunicorn_logs);
    assert_eq!(logs, expected);
}

#[test]
fn a_stop_is_a_signal_and_a_shutdown() {
    for (request, name, order) in [
        (
            Request::Terminate,
            "term",
            "Info: stopping: workers finish their requests, for at most 30.0 s (setting: graceful_timeout)",
        ),
        (Request::Interrupt, "int", "Info: stopping quickly"),
        (Request::Quit, "quit", "Info: stopping quickly"),
    ] {
        let mut script = Script::serving(1);
        script.request(request);
        script.exits(100, CLEAN);
        let signal = format!("Info: Handling signal: {name}");
        check(
            &mut script,
            &[
                &signal,
                order,
                "Info: worker 0 (pid 100) stopped after 20.0 s of service",
                "Info: Shutting down: Master",
            ],
        );
    }
}

#[test]
fn a_second_signal_requests_a_quick_shutdown() {
    let mut script = Script::serving(1);
    script.request(Request::Terminate);
    script.gunicorn_logs.clear();
    script.request(Request::Interrupt);
    check(
        &mut script,
        &[
            "Info: Handling signal: int",
            "Info: Quick shutdown requested",
        ],
    );
}

#[test]
fn a_reload_is_a_hang_up_once_however_often_it_is_deferred() {
    let mut script = Script::serving(1);
    script.request(Request::Reload);
    script.request(Request::MoreWorkers);
    check(
        &mut script,
        &[
            "Info: Handling signal: hup",
            "Info: Hang up: Master",
            "Info: reload: starting new workers beside the serving ones",
            "Info: Handling signal: ttin",
            "Info: the number of workers will change after the reload in progress",
        ],
    );
    script.event(Event::Ready { pid: 101 });
    script.event(Event::Serving { pid: 101 });
    let signals = |line: &&String| line.contains("Handling signal");
    assert_eq!(script.gunicorn_logs.iter().filter(signals).count(), 0);
}

#[test]
fn a_death_has_gunicorns_line_and_below_it_what_lockgate_knows() {
    let signal = |number| ExitStatus::Signal {
        number,
        dumped_core: false,
    };
    for (exit_status, first, second) in [
        (
            ExitStatus::Code(7),
            "Error: Worker (pid:100) exited with code 7.",
            "worker 0 (pid 100) exited with code 7 after 20.0 s; it is replaced at once",
        ),
        (
            KILLED,
            "Error: Worker (pid:100) was sent SIGKILL! Perhaps out of memory?",
            "worker 0 (pid 100) was killed by SIGKILL after 20.0 s: by the kernel's OOM killer or by an operator, not by \
             the supervisor; it is replaced at once",
        ),
        (
            signal(11),
            "Warning: Worker (pid:100) was sent SIGSEGV!",
            "worker 0 (pid 100) was killed by SIGSEGV after 20.0 s; it is replaced at once",
        ),
        (
            signal(15),
            "Info: Worker (pid:100) was sent SIGTERM!",
            "worker 0 (pid 100) was killed by SIGTERM after 20.0 s; it is replaced at once",
        ),
    ] {
        let mut script = Script::serving(1);
        script.exits(100, exit_status);
        check(&mut script, &[&format!("{first}\n  {second}")]);
    }
}

#[test]
fn a_timeout_is_gunicorns_and_no_kill_of_the_supervisor_passes_for_a_lack_of_memory() {
    let mut script = Script::serving_with(1, Some(Duration::from_secs(30)));
    script.event(Event::Stuck { pid: 100 });
    script.at(22.0);
    script.exits(100, KILLED);
    check(
        &mut script,
        &[
            "Critical: WORKER TIMEOUT (pid:100)\n  worker 0 (pid 100) has been blocked for more than 30.0 s (setting: \
             timeout): aborting it",
            "Warning: worker 0 (pid 100) has not stopped in time: killing it",
            "Info: worker 0 (pid 100) was killed by the supervisor after 22.0 s: it exceeded its timeout (setting: \
             timeout); it is replaced at once",
        ],
    );
}

#[test]
fn a_worker_that_reaches_max_requests_restarts() {
    let mut script = Script::serving(1);
    script.supervisor.rules.max_requests = 5;
    script.event(Event::Sampled {
        pid: 100,
        requests: 5,
        memory: 0,
    });
    check(
        &mut script,
        &[
            "Info: Autorestarting worker after current request.\n  worker 0 (pid 100) will be replaced: it has handled 5 \
             requests (setting: max_requests)",
        ],
    );
}

#[test]
fn a_start_that_fails_ends_with_gunicorns_reason() {
    for (code, report, reason) in [
        (
            3,
            "Error: Exception in worker process\ncannot import app",
            "Error: Reason: Worker failed to boot.",
        ),
        (
            4,
            "Error: cannot import app",
            "Error: Reason: App failed to load.",
        ),
    ] {
        let mut script = Script::booting(2);
        for pid in [100, 101] {
            script.event(Event::BootFailed {
                pid,
                code,
                text: "cannot import app".to_owned(),
            });
        }
        script.exits(100, ExitStatus::Code(code));
        script.exits(101, ExitStatus::Code(code));
        let exited = |pid, slot| {
            format!(
                "Error: Worker (pid:{pid}) exited with code {code}.\n  worker {slot} (pid {pid}) exited with code {code} \
                 after 0.00 s, after its boot had failed"
            )
        };
        let second = script.gunicorn_logs.remove(2);
        assert!(
            second.starts_with("Error: Worker (pid:101) exited with code"),
            "{second}"
        );
        check(
            &mut script,
            &[
                report,
                &exited(100, 0),
                "Error: Shutting down: Master",
                reason,
            ],
        );
    }
}
