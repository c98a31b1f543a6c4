//! Workers that stop answering, and when their silence does not count.

use super::*;

#[test]
fn a_silent_worker_is_aborted_then_killed_and_replaced() {
    let mut script = Script::serving_with(2, Some(Duration::from_secs(5)));
    for second in 21..=27 {
        script.at(f64::from(second));
        script.event(Event::Heartbeat { pid: 100 });
    }
    script.did(&["25 abort 101", "26 kill 101"]);
    script.exits(101, KILLED);
    script.did(&["27 fork 1"]);
    script.said(&[
        "Error: worker 1 (pid 101) has given no sign of life for 5.00 s (setting: timeout): it is ended and replaced",
        "Warning: worker 1 (pid 101) has not left in time: it is killed",
        "Info: worker 1 (pid 101) was killed by this supervisor after 27.0 s: it had not answered in time; it is replaced at once",
    ]);
}

#[test]
fn a_worker_that_says_it_is_held_up_is_ended_at_once() {
    let mut script = Script::serving_with(1, Some(Duration::from_secs(5)));
    script.event(Event::Stuck { pid: 100 });
    script.event(Event::Stuck { pid: 100 });
    script.at(20.25);
    script.exits(100, ABORTED);
    script.did(&["20 abort 100", "20.25 fork 0"]);
}

#[test]
fn without_a_timeout_and_while_booting_silence_means_nothing() {
    let mut script = Script::serving(1);
    script.event(Event::Stuck { pid: 100 });
    script.at(4000.0);
    script.did(&[]);
    let timeout = Some(Duration::from_secs(5));
    let mut script = Script::new(Rules {
        timeout,
        ..rules(1)
    });
    script.event(Event::Start);
    script.at(4000.0);
    script.did(&["0 fork 0"]);
}

#[test]
fn a_stop_suspends_the_timeout() {
    let mut script = Script::serving_with(1, Some(Duration::from_secs(5)));
    script.asks(Request::Terminate);
    script.at(60.0);
    script.did(&["20 close", "20 drain 100", "50 kill 100", "55 exit 0"]);
}

#[test]
fn a_supervisor_that_was_itself_stopped_starts_counting_anew() {
    let mut script = Script::serving_with(1, Some(Duration::from_secs(5)));
    // A frozen container: no process ran for a minute, and the supervisor happens to wake first.
    script.now += Duration::from_secs(60);
    script.event(Event::Tick);
    script.at(84.0);
    script.did(&[]);
    script.at(90.0);
    script.did(&["85 abort 100", "86 kill 100"]);
}
