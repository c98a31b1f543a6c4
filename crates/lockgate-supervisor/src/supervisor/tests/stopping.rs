//! Stops with a drain delay, during which the server serves as before.

use super::*;

/// Two serving workers at second 20, with a drain delay of 10 seconds.
fn delaying() -> Script {
    let mut script = Script::serving(2);
    script.supervisor.rules.drain_delay = Duration::from_secs(10);
    script.prepared = Some(Event::Prepared(script.supervisor.rules));
    script
}

#[test]
fn a_stop_is_reported_at_once_and_workers_drain_after_the_delay() {
    let mut script = delaying();
    script.request(Request::Terminate);
    script.performed(&[]);
    script.logged(&[
        "Info: stop requested: readiness checks fail from now on, and serving continues for 10.0 s (setting: drain_delay)",
    ]);
    script.reported(&["stop requested: serving for another 10.0 s"]);
    script.at(60.0);
    // graceful_timeout begins when the delay is over.
    script.performed(&[
        "30 close",
        "30 drain 100",
        "30 drain 101",
        "60 kill 100",
        "60 kill 101",
    ]);
    script.reported(&["draining: 2 workers left"]);
    script.exits(100, KILLED);
    script.exits(101, KILLED);
    script.performed(&["60 exit 0"]);
    script.reported(&["draining: 1 worker left"]);
}

#[test]
fn a_worker_that_dies_during_the_delay_is_replaced() {
    let mut script = delaying();
    script.request(Request::Terminate);
    script.at(21.0);
    script.exits(100, CRASH);
    script.performed(&["21 fork 0"]);
    script.event(Event::Ready { pid: 102 });
    script.reported(&["stop requested: serving for another 10.0 s"]);
    script.at(30.0);
    script.performed(&["30 close", "30 drain 102", "30 drain 101"]);
}

#[test]
fn a_second_term_ends_the_delay_and_further_ones_escalate() {
    let mut script = delaying();
    script.request(Request::Terminate);
    // timeout(1) signals the process, then its group: that counts as one request.
    script.at(20.05);
    script.request(Request::Terminate);
    script.performed(&[]);
    script.at(22.0);
    script.request(Request::Terminate);
    script.performed(&["22 close", "22 drain 100", "22 drain 101"]);
    script.at(23.0);
    script.request(Request::Terminate);
    script.performed(&["23 stop 100", "23 stop 101"]);
    script.at(24.0);
    script.request(Request::Terminate);
    script.performed(&["24 kill 100", "24 kill 101"]);
}

#[test]
fn int_and_quit_skip_the_delay() {
    for request in [Request::Interrupt, Request::Quit] {
        let mut script = delaying();
        script.request(request);
        script.performed(&["20 close", "20 stop 100", "20 stop 101"]);
        script.reported(&["stopping", "draining: 2 workers left"]);
        let mut script = delaying();
        script.request(Request::Terminate);
        script.request(request);
        script.performed(&["20 close", "20 stop 100", "20 stop 101"]);
    }
}

#[test]
fn a_server_that_does_not_serve_yet_has_no_delay() {
    let mut script = Script::booting(2);
    script.supervisor.rules.drain_delay = Duration::from_secs(10);
    script.forget();
    script.request(Request::Terminate);
    script.performed(&["0 close", "0 drain 100", "0 drain 101"]);
}

#[test]
fn the_delay_abandons_a_booting_reload_and_prevents_new_ones() {
    let mut script = delaying();
    script.request(Request::Reload);
    script.forget();
    script.request(Request::Terminate);
    script.performed(&["20 stop 102", "20 stop 103", "20 discard"]);
    script.reported(&[
        "reload failed: a stop was requested; the old workers continue to serve",
        "stop requested: serving for another 10.0 s",
    ]);
    script.exits(102, CLEAN);
    script.exits(103, CLEAN);
    script.at(21.0);
    script.request(Request::Reload);
    script.performed(&[]);
    script.at(30.0);
    script.performed(&["30 close", "30 drain 100", "30 drain 101"]);
}

#[test]
fn a_takeover_that_has_begun_is_completed_during_the_delay() {
    let mut script = delaying();
    script.request(Request::Reload);
    for pid in [102, 103] {
        script.event(Event::Ready { pid });
    }
    script.request(Request::Terminate);
    script.forget();
    for pid in [102, 103] {
        script.event(Event::Serving { pid });
    }
    script.performed(&["20 retire 100", "20 retire 101"]);
    script.reported(&[]);
}
