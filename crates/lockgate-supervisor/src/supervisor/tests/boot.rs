//! Workers that start, fail to start or die, and their replacements.

use super::*;
use crate::BAD_FORK;

#[test]
fn the_server_boots_its_workers_and_logs_when_all_are_ready() {
    let mut script = Script::booting(2);
    script.performed(&["0 fork 0", "0 fork 1"]);
    script.at(0.21);
    script.event(Event::Ready { pid: 101 });
    script.at(12.5);
    script.event(Event::Ready { pid: 100 });
    script.performed(&[]);
    script.logged(&[
        "Info: worker 1 (pid 101) ready in 0.21 s",
        "Info: worker 0 (pid 100) ready in 12.5 s",
        "Info: all 2 workers are ready",
    ]);
    assert_eq!(
        script.supervisor.next_deadline(),
        None,
        "an idle server sleeps"
    );
}

#[test]
fn a_boot_that_does_not_end_is_reported_once() {
    let mut script = Script::booting(3);
    script.at(3.0);
    script.event(Event::Ready { pid: 101 });
    script.at(600.0);
    script.logged(&[
        "Info: worker 1 (pid 101) ready in 3.00 s",
        "Warning: worker 0 (pid 100) and 1 more: not ready after 30.0 s, because the import of the application or its \
         warmup has not ended (setting: boot_timeout)",
    ]);
    assert_eq!(script.supervisor.next_deadline(), None);
}

#[test]
fn a_first_boot_that_fails_stops_the_server_with_the_code_of_the_failure() {
    for code in [3, 4] {
        let mut script = Script::booting(8);
        script.forget();
        // All eight report the same; the first report counts, and any order of the following events ends alike.
        script.event(Event::BootFailed {
            pid: 103,
            code,
            text: "No module named 'app'".to_owned(),
        });
        script.performed(&[
            "0 close",
            "0 stop 100",
            "0 stop 101",
            "0 stop 102",
            "0 stop 104",
            "0 stop 105",
            "0 stop 106",
            "0 stop 107",
        ]);
        script.event(Event::BootFailed {
            pid: 100,
            code: 4,
            text: "No module named 'app'".to_owned(),
        });
        script.exits(100, ExitStatus::Code(4));
        script.exits(101, CLEAN);
        script.fails(102, 3, "No module named 'app'");
        script.exits(103, ExitStatus::Code(code));
        script.exits(
            104,
            ExitStatus::Signal {
                number: 2,
                dumped_core: false,
            },
        );
        script.exits(105, ExitStatus::Code(1));
        script.exits(106, CLEAN);
        script.performed(&[]);
        script.exits(107, CLEAN);
        script.performed(&[&format!("0 exit {code}")]);
        script.logged(&[
            "Error: No module named 'app'",
            &format!("Error: stopping: the application did not start (exit code {code})"),
            "Info: stopped",
        ]);
    }
}

#[test]
fn a_first_boot_that_dies_without_a_report_stops_the_server() {
    let mut script = Script::booting(2);
    script.at(0.5);
    script.exits(
        101,
        ExitStatus::Signal {
            number: 11,
            dumped_core: false,
        },
    );
    script.exits(100, CLEAN);
    script.performed(&[
        "0 fork 0",
        "0 fork 1",
        "0.5 close",
        "0.5 stop 100",
        "0.5 exit 3",
    ]);
    script.logged(&[
        "Error: worker 1 (pid 101) was killed by SIGSEGV after 0.50 s, before it was ready",
        "Error: stopping: the application did not start (exit code 3)",
        "Info: stopped",
    ]);
}

#[test]
fn a_worker_that_does_not_exit_after_a_failed_boot_is_killed() {
    let mut script = Script::booting(2);
    script.fails(100, 3, "x");
    script.forget();
    script.at(10.0);
    script.performed(&["3 kill 101", "8 exit 3"]);
}

#[test]
fn a_later_boot_failure_is_retried_with_back_off_while_the_others_serve() {
    let mut script = Script::serving(2);
    script.exits(101, KILLED);
    script.performed(&["20 fork 1"]);
    script.forget();
    for (pid, text) in [
        (102, "no module"),
        (103, "no module"),
        (104, "syntax error"),
    ] {
        script.fails(pid, 3, text);
        script.at((script.now - script.start).as_secs_f64() + 4.0);
    }
    script.performed(&["20.5 fork 1", "25 fork 1", "30 fork 1"]);
    script.logged(&[
        "Error: no module",
        "Info: worker 1 (pid 102) exited with code 3 after 0.00 s, after its boot had failed; it is replaced in 0.50 s",
        "Info: worker 1 (pid 103) exited with code 3 after 3.50 s, after its boot had failed; it is replaced in 1.00 s",
        "Error: syntax error",
        "Info: worker 1 (pid 104) exited with code 3 after 3.00 s, after its boot had failed; it is replaced in 2.00 s",
    ]);
}

#[test]
fn a_worker_that_keeps_dying_is_restarted_with_back_off() {
    let mut script = Script::serving(1);
    let mut waits = Vec::new();
    for pid in 100..108 {
        let died = (script.now - script.start).as_secs_f64();
        script.exits(pid, CRASH);
        script.at(died + 40.0);
        let forked: Vec<f64> = script
            .performed
            .drain(..)
            .map(|action| action.split(' ').next().unwrap().parse().unwrap())
            .collect();
        waits.push(forked.iter().map(|at| at - died).collect::<Vec<_>>());
        // Each next one is ready for no more than 2 s.
        script.event(Event::Ready { pid: pid + 1 });
        script.at(died + 42.0);
    }
    assert_eq!(
        waits,
        [[0.0], [0.5], [1.0], [2.0], [4.0], [8.0], [16.0], [30.0]]
    );
}

#[test]
fn ten_healthy_seconds_clear_the_record() {
    for (served, wait) in [(9.9, 2.0), (10.0, 0.0)] {
        let mut script = Script::serving(1);
        for pid in 100..103 {
            script.exits(pid, CRASH);
            script.at((script.now - script.start).as_secs_f64() + 5.0);
        }
        script.event(Event::Ready { pid: 103 });
        script.at((script.now - script.start).as_secs_f64() + served);
        script.forget();
        let died = script.now;
        script.exits(103, CRASH);
        script.at((script.now - script.start).as_secs_f64() + 5.0);
        script.performed(&[&format!(
            "{} fork 0",
            (died - script.start).as_secs_f64() + wait
        )]);
    }
}

#[test]
fn a_worker_that_has_served_is_replaced_at_once_in_its_slot() {
    let mut script = Script::serving(3);
    script.exits(101, KILLED);
    script.performed(&["20 fork 1"]);
    script.logged(&[
        "Error: worker 1 (pid 101) was killed by SIGKILL after 20.0 s: by the kernel's OOM killer or by an operator, \
         not by the supervisor; it is replaced at once",
    ]);
}

#[test]
fn exit_codes_three_and_four_of_a_worker_that_served_do_not_stop_the_server() {
    let mut script = Script::serving(1);
    script.exits(100, ExitStatus::Code(3));
    script.performed(&["20 fork 0"]);
}

#[test]
fn exits_of_unknown_processes_are_ignored() {
    for code in [0, 3, 4] {
        let mut script = Script::booting(1);
        script.forget();
        script.exits(4711, ExitStatus::Code(code));
        script.performed(&[]);
        script.logged(&[]);
    }
}

#[test]
fn a_failed_reload_is_explained_in_one_line_even_with_only_a_traceback() {
    for (report, why) in [
        ("cannot import app\nTraceback\n  …", "cannot import app;"),
        (
            "Traceback (most recent call last):\n  …\nImportError: no",
            "ImportError: no;",
        ),
        ("", ";"),
    ] {
        let mut script = Script::serving(1);
        script.request(Request::Reload);
        script.fails(101, 3, report);
        let expected = format!("reload failed: worker 1 (pid 101): {why}");
        let is_logged = |line: &String| line.contains(&expected);
        assert!(script.logs.iter().any(is_logged), "{:?}", script.logs);
    }
}

#[test]
fn a_worker_with_a_copied_lock_is_forked_again_at_most_five_times() {
    let mut script = Script::booting(1);
    script.forget();
    let hangs = "a write to sys.stdout hangs";
    for pid in 100..105 {
        script.fails(pid, BAD_FORK, hangs);
        script.performed(&["0 fork 0"]);
    }
    script.fails(105, BAD_FORK, hangs);
    script.performed(&["0 close", "0 exit 1"]);
    let warnings: Vec<String> = (1..=5)
        .map(|attempt| {
            let pid = 99 + attempt;
            format!(
                "Warning: worker 0 (pid {pid}): {hangs}; the fork server forks it again (attempt {attempt} of 5)"
            )
        })
        .collect();
    let mut lines: Vec<&str> = warnings.iter().map(String::as_str).collect();
    lines.extend([
        "Error: a write to sys.stdout hangs",
        "Error: stopping: the application did not start (exit code 1)",
        "Info: stopped",
    ]);
    script.logged(&lines);
}
