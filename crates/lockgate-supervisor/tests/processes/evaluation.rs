//! Reloads whose settings come from an evaluation process.

use std::time::Duration;

use rustix::process::Signal;

use crate::checks::Check;
use crate::server::start;

/// All checks, with their names.
pub const ALL: &[Check] = &[
    (
        "a_reload_uses_what_the_evaluation_has_written",
        a_reload_uses_what_the_evaluation_has_written,
    ),
    (
        "an_evaluation_that_fails_or_hangs_changes_nothing",
        an_evaluation_that_fails_or_hangs_changes_nothing,
    ),
    (
        "a_stop_does_not_wait_for_an_evaluation",
        a_stop_does_not_wait_for_an_evaluation,
    ),
];

fn a_reload_uses_what_the_evaluation_has_written() {
    let mut server = start("evaluation: sleep 0.2; echo workers >&0", 1).run();
    server.ready();
    server.signal(Signal::HUP);
    server.line("settings: workers");
    server.ready();
    server.line("reload: done");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

fn an_evaluation_that_fails_or_hangs_changes_nothing() {
    for (script, reason) in [
        ("exit 7", "exited with code 7"),
        ("kill -9 $$", "was killed by SIGKILL"),
        ("exec sleep 60", "was not evaluated within 3 s"),
    ] {
        let mut server = start(&format!("evaluation: {script}"), 1).run();
        let worker = server.ready();
        server.signal(Signal::HUP);
        let line = server.line("reload failed");
        assert!(line.contains(reason), "{line}");
        // The old worker still receives orders.
        server.signal(Signal::TERM);
        server.line(&format!("{worker} drains"));
        assert_eq!(server.exit_code(), Some(0));
    }
}

fn a_stop_does_not_wait_for_an_evaluation() {
    let mut server = start("evaluation: echo evaluates >&2; exec sleep 60", 1).run();
    server.ready();
    server.signal(Signal::HUP);
    server.line("evaluates");
    let began = std::time::Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(3));
}
