//! Stops with a drain delay, during which the server serves as before.

use super::*;

/// Two serving workers at second 20; asked to stop, they go on for 10 seconds.
fn delaying() -> Script {
    let mut script = Script::serving(2);
    script.supervisor.rules.drain_delay = Duration::from_secs(10);
    script.prepared = Event::Prepared(script.supervisor.rules);
    script
}

#[test]
fn term_is_told_at_once_and_workers_are_asked_after_the_delay() {
    let mut script = delaying();
    script.asks(Request::Terminate);
    script.did(&[]);
    script.said(&[
        "Info: asked to stop: not ready from now on, and serving as before for 10.0 s (setting: drain_delay)",
    ]);
    script.told(&["asked to stop: serving for another 10.0 s"]);
    script.at(60.0);
    // graceful_timeout begins when the delay is over.
    script.did(&[
        "30 close",
        "30 drain 100",
        "30 drain 101",
        "60 kill 100",
        "60 kill 101",
    ]);
    script.told(&["draining: 2 workers left"]);
    script.exits(100, KILLED);
    script.exits(101, KILLED);
    script.did(&["60 exit 0"]);
    script.told(&["draining: 1 worker left"]);
}

#[test]
fn a_worker_that_dies_during_the_delay_is_replaced() {
    let mut script = delaying();
    script.asks(Request::Terminate);
    script.at(21.0);
    script.exits(100, CRASH);
    script.did(&["21 fork 0"]);
    script.event(Event::Ready { pid: 102 });
    script.told(&["asked to stop: serving for another 10.0 s"]);
    script.at(30.0);
    script.did(&["30 close", "30 drain 102", "30 drain 101"]);
}

#[test]
fn a_second_term_ends_the_delay_and_the_next_ones_are_harsher() {
    let mut script = delaying();
    script.asks(Request::Terminate);
    // timeout(1) signals the process, then its group: that counts as one request.
    script.at(20.05);
    script.asks(Request::Terminate);
    script.did(&[]);
    script.at(22.0);
    script.asks(Request::Terminate);
    script.did(&["22 close", "22 drain 100", "22 drain 101"]);
    script.at(23.0);
    script.asks(Request::Terminate);
    script.did(&["23 stop 100", "23 stop 101"]);
    script.at(24.0);
    script.asks(Request::Terminate);
    script.did(&["24 kill 100", "24 kill 101"]);
}

#[test]
fn int_and_quit_have_no_delay_and_end_one() {
    for request in [Request::Interrupt, Request::Quit] {
        let mut script = delaying();
        script.asks(request);
        script.did(&["20 close", "20 stop 100", "20 stop 101"]);
        script.told(&["stopping", "draining: 2 workers left"]);
        let mut script = delaying();
        script.asks(Request::Terminate);
        script.asks(request);
        script.did(&["20 close", "20 stop 100", "20 stop 101"]);
    }
}

#[test]
fn a_server_that_does_not_serve_yet_has_no_delay() {
    let mut script = Script::booting(2);
    script.supervisor.rules.drain_delay = Duration::from_secs(10);
    script.forget();
    script.asks(Request::Terminate);
    script.did(&["0 close", "0 drain 100", "0 drain 101"]);
}

#[test]
fn the_delay_ends_a_reload_that_boots_and_lets_none_begin() {
    let mut script = delaying();
    script.asks(Request::Reload);
    script.forget();
    script.asks(Request::Terminate);
    script.did(&["20 stop 102", "20 stop 103", "20 discard"]);
    script.told(&[
        "reload failed: the server is to stop; the workers that served before go on",
        "asked to stop: serving for another 10.0 s",
    ]);
    script.exits(102, CLEAN);
    script.exits(103, CLEAN);
    script.at(21.0);
    script.asks(Request::Reload);
    script.did(&[]);
    script.at(30.0);
    script.did(&["30 close", "30 drain 100", "30 drain 101"]);
}

#[test]
fn a_takeover_that_has_begun_is_completed_during_the_delay() {
    let mut script = delaying();
    script.asks(Request::Reload);
    for pid in [102, 103] {
        script.event(Event::Ready { pid });
    }
    script.asks(Request::Terminate);
    script.forget();
    for pid in [102, 103] {
        script.event(Event::Serving { pid });
    }
    script.did(&["20 retire 100", "20 retire 101"]);
    script.told(&[]);
}
