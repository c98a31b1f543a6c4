//! The reload events for clients that wait for a reload.

use super::*;

fn ready(ready: usize, wanted: usize) -> ProgressEvent {
    ProgressEvent::ReloadReady { ready, wanted }
}

fn failed(why: &str) -> ProgressEvent {
    let why = why.to_owned();
    ProgressEvent::ReloadFailed { why }
}

/// Two workers that serve, and a reload that has begun.
fn reloading() -> Script {
    let mut script = Script::serving(2);
    script.request(Request::Reload);
    assert_eq!(
        std::mem::take(&mut script.recorded),
        [ProgressEvent::ReloadBegun, ready(0, 2)]
    );
    script
}

#[test]
fn a_reload_is_reported_from_beginning_to_end() {
    let mut script = reloading();
    script.event(Event::Ready { pid: 102 });
    assert_eq!(std::mem::take(&mut script.recorded), [ready(1, 2)]);
    script.event(Event::Ready { pid: 103 });
    for pid in [102, 103] {
        script.event(Event::Serving { pid });
    }
    assert_eq!(
        script.recorded,
        [
            ready(2, 2),
            ProgressEvent::ReloadMoving,
            ProgressEvent::ReloadDone
        ]
    );
}

#[test]
fn a_failure_is_recorded_once_with_the_whole_report() {
    let mut script = reloading();
    let text = "cannot import app\nTraceback (most recent call last):\n  …";
    script.fails(102, 3, text);
    script.fails(103, 3, text);
    let why = format!("worker 2 (pid 102): {text}");
    assert_eq!(script.recorded, [failed(&why)]);
}

#[test]
fn every_reload_that_has_begun_ends() {
    let mut script = Script::serving(2);
    script.prepared = Some(Event::PrepareFailed {
        reason: "workers = 0: must be at least 1".to_owned(),
        report: None,
    });
    script.request(Request::Reload);
    assert_eq!(
        script.recorded,
        [
            ProgressEvent::ReloadBegun,
            failed("workers = 0: must be at least 1")
        ]
    );
    let mut script = reloading();
    script.exits(103, ExitStatus::Code(9));
    assert!(
        matches!(&script.recorded[..], [ProgressEvent::ReloadFailed { why }] if why.contains("worker 3 (pid 103)"))
    );
    for request in [Request::Terminate, Request::Quit] {
        let mut script = reloading();
        script.request(request);
        assert_eq!(script.recorded, [failed("the server is stopping")]);
    }
}

#[test]
fn a_reload_that_is_requested_during_another_begins_after_it() {
    let mut script = reloading();
    script.request(Request::Reload);
    script.request(Request::Reload);
    assert_eq!(script.recorded, []);
    for pid in [102, 103] {
        script.event(Event::Ready { pid });
        script.event(Event::Serving { pid });
    }
    let end = script
        .recorded
        .iter()
        .position(|fact| *fact == ProgressEvent::ReloadDone);
    assert_eq!(
        script.recorded[end.unwrap() + 1..],
        [ProgressEvent::ReloadBegun, ready(0, 2)]
    );
}
