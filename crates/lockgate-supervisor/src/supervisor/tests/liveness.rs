//! Workers that stop answering, and when their silence does not count.

use super::*;

#[test]
fn a_silent_worker_is_aborted_then_killed_and_replaced() {
    let mut script = Script::serving_with(2, Some(Duration::from_secs(5)));
    for second in 21..=27 {
        script.at(f64::from(second));
        script.event(Event::Heartbeat { pid: 100 });
    }
    script.performed(&["25 abort 101", "26 kill 101"]);
    script.exits(101, KILLED);
    script.performed(&["27 fork 1"]);
    script.logged(&[
        "Error: worker 1 (pid 101) has sent no heartbeat for 5.00 s (setting: timeout): aborting it",
        "Warning: worker 1 (pid 101) has not stopped in time: killing it",
        "Info: worker 1 (pid 101) was killed by the supervisor after 27.0 s: it exceeded its timeout (setting: timeout); it is replaced at once",
    ]);
}

#[test]
fn a_worker_that_reports_being_blocked_is_aborted_at_once() {
    let mut script = Script::serving_with(1, Some(Duration::from_secs(5)));
    script.event(Event::Stuck { pid: 100 });
    script.event(Event::Stuck { pid: 100 });
    script.at(20.25);
    script.exits(100, ABORTED);
    script.performed(&["20 abort 100", "20.25 fork 0"]);
}

#[test]
fn without_a_timeout_and_while_booting_silence_is_ignored() {
    let mut script = Script::serving(1);
    script.event(Event::Stuck { pid: 100 });
    script.at(4000.0);
    script.performed(&[]);
    let timeout = Some(Duration::from_secs(5));
    let mut script = Script::new(Rules {
        timeout,
        ..rules(1)
    });
    script.event(Event::Start);
    script.at(4000.0);
    script.performed(&["0 fork 0"]);
}

#[test]
fn a_stop_suspends_the_timeout() {
    let mut script = Script::serving_with(1, Some(Duration::from_secs(5)));
    script.request(Request::Terminate);
    script.at(60.0);
    script.performed(&["20 close", "20 drain 100", "50 kill 100", "55 exit 0"]);
}

#[test]
fn timeouts_restart_after_the_supervisor_was_suspended() {
    let mut script = Script::serving_with(1, Some(Duration::from_secs(5)));
    // A frozen container: no process ran for a minute, and the supervisor happens to wake first.
    script.now += Duration::from_secs(60);
    script.event(Event::Tick);
    script.at(84.0);
    script.performed(&[]);
    script.at(90.0);
    script.performed(&["85 abort 100", "86 kill 100"]);
}
