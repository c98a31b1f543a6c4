//! Checks of a running server, one function each.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::server::{is_alive, pid_in, send, start};

pub type Check = (&'static str, fn());

/// All checks, with their names.
pub const ALL: &[Check] = &[
    (
        "a_server_boots_serves_and_stops_cleanly",
        a_server_boots_serves_and_stops_cleanly,
    ),
    (
        "a_boot_failure_of_eight_workers_is_logged_once",
        a_boot_failure_of_eight_workers_is_logged_once,
    ),
    (
        "a_crash_during_the_first_boot_exits_with_three",
        a_crash_during_the_first_boot_exits_with_three,
    ),
    (
        "orders_reach_a_worker_that_ignores_signals",
        orders_reach_a_worker_that_ignores_signals,
    ),
    (
        "a_stop_does_not_wait_for_an_import_that_ignores_signals",
        a_stop_does_not_wait_for_an_import_that_ignores_signals,
    ),
    (
        "a_suspended_worker_receives_its_orders_when_it_is_resumed",
        a_suspended_worker_receives_its_orders_when_it_is_resumed,
    ),
    (
        "a_killed_worker_is_replaced_within_a_second",
        a_killed_worker_is_replaced_within_a_second,
    ),
    (
        "workers_exit_within_a_second_after_the_supervisor",
        workers_exit_within_a_second_after_the_supervisor,
    ),
    (
        "an_import_dies_with_its_supervisor",
        an_import_dies_with_its_supervisor,
    ),
    (
        "a_stop_does_not_wait_for_an_import",
        a_stop_does_not_wait_for_an_import,
    ),
    (
        "workers_that_do_not_finish_are_killed",
        workers_that_do_not_finish_are_killed,
    ),
    (
        "a_second_signal_aborts_long_requests",
        a_second_signal_aborts_long_requests,
    ),
    (
        "a_term_to_the_whole_group_is_graceful",
        a_term_to_the_whole_group_is_graceful,
    ),
    (
        "a_reload_starts_new_workers_and_retires_the_old_ones",
        a_reload_starts_new_workers_and_retires_the_old_ones,
    ),
    (
        "a_reload_that_cannot_boot_leaves_the_old_workers",
        a_reload_that_cannot_boot_leaves_the_old_workers,
    ),
    ("a_blocked_worker_is_replaced", a_blocked_worker_is_replaced),
    ("a_silent_worker_is_replaced", a_silent_worker_is_replaced),
    (
        "ignored_signals_kill_no_process",
        ignored_signals_kill_no_process,
    ),
    (
        "the_number_of_workers_follows_signals",
        the_number_of_workers_follows_signals,
    ),
    (
        "a_worker_that_has_exited_is_removed_from_the_scoreboard",
        a_worker_that_has_exited_is_removed_from_the_scoreboard,
    ),
    (
        "unknown_children_are_reaped_and_ignored",
        unknown_children_are_reaped_and_ignored,
    ),
    (
        "a_worker_in_its_own_session_is_replaced",
        a_worker_in_its_own_session_is_replaced,
    ),
    (
        "an_occupied_address_exits_with_one",
        an_occupied_address_exits_with_one,
    ),
    (
        "an_inherited_socket_is_served",
        an_inherited_socket_is_served,
    ),
    (
        "a_second_server_with_the_same_pid_file_is_refused",
        a_second_server_with_the_same_pid_file_is_refused,
    ),
];

fn a_server_boots_serves_and_stops_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("app.sock");
    let pidfile = folder.path().join("server.pid");
    let mut server = start("serve", 2)
        .bind(&format!("unix:{}", socket.display()))
        .pidfile(&pidfile)
        .run();
    assert!(
        server
            .line("listening at unix:")
            .contains(&format!("(pid {})", server.pid()))
    );
    server.ready();
    server.ready();
    assert_eq!(
        std::fs::read_to_string(&pidfile).unwrap(),
        format!("{}\n", server.pid())
    );
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(server.count("stopped after"), 2, "{:#?}", server.log);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "all files are removed"
    );
}

fn a_boot_failure_of_eight_workers_is_logged_once() {
    for _ in 0..5 {
        let mut server = start("boot failure", 8).run();
        assert_eq!(server.exit_code(), Some(4), "{:#?}", server.log);
        assert_eq!(server.count("Traceback"), 1, "{:#?}", server.log);
        assert_eq!(server.count("Error:"), 2, "{:#?}", server.log);
    }
}

fn a_crash_during_the_first_boot_exits_with_three() {
    let mut server = start("crash", 3).run();
    assert_eq!(server.exit_code(), Some(3), "{:#?}", server.log);
    assert!(
        server.count("was killed by SIGABRT") >= 1,
        "{:#?}",
        server.log
    );
}

fn a_killed_worker_is_replaced_within_a_second() {
    let mut server = start("serve", 2).run();
    let worker = server.ready();
    server.ready();
    // Less than a second of service does not count; the worker is replaced all the same.
    let died = Instant::now();
    send(worker, Signal::KILL);
    assert_eq!(pid_in(&server.line("was killed by SIGKILL")), worker);
    assert_ne!(server.ready(), worker);
    assert!(
        died.elapsed() < Duration::from_secs(1),
        "{:?}",
        died.elapsed()
    );
}

fn workers_exit_within_a_second_after_the_supervisor() {
    let mut server = start("long requests", 3).run();
    let workers = [server.ready(), server.ready(), server.ready()];
    server.signal(Signal::KILL);
    let died = Instant::now();
    server.rest();
    assert!(
        died.elapsed() < Duration::from_secs(1),
        "{:?}",
        died.elapsed()
    );
    assert_eq!(server.count("stops"), workers.len());
}

fn an_import_dies_with_its_supervisor() {
    let mut server = start("slow import", 2).run();
    server.line("imports");
    server.line("imports");
    server.signal(Signal::KILL);
    let died = Instant::now();
    server.rest();
    assert!(
        died.elapsed() < Duration::from_secs(1),
        "{:?}",
        died.elapsed()
    );
}

fn orders_reach_a_worker_that_ignores_signals() {
    let mut server = start("no handlers", 2).run();
    let workers = [server.ready(), server.ready()];
    server.signal(Signal::USR1);
    server.line("reopens beside");
    server.line("reopens beside");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0), "{:#?}", server.log);
    assert_eq!(server.count("drains"), workers.len(), "{:#?}", server.log);
    assert_eq!(
        server.count("stopped after"),
        workers.len(),
        "{:#?}",
        server.log
    );
}

fn a_suspended_worker_receives_its_orders_when_it_is_resumed() {
    let mut server = start("serve", 1).run();
    let worker = server.ready();
    send(worker, Signal::STOP);
    server.signal(Signal::USR1);
    server.line("supervisor reopens");
    server.signal(Signal::TERM);
    server.line("stopping");
    send(worker, Signal::CONT);
    assert_eq!(server.exit_code(), Some(0), "{:#?}", server.log);
    let lines = server
        .log
        .iter()
        .filter(|line| line.starts_with(&worker.to_string()));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("reopens") && lines[1].contains("drains"),
        "{lines:?}"
    );
}

fn a_stop_does_not_wait_for_an_import() {
    stops_in_an_import("slow import", &["worker 1 (pid "]);
}

fn a_stop_does_not_wait_for_an_import_that_ignores_signals() {
    stops_in_an_import("slow import without handlers", &["imports", "imports"]);
}

fn stops_in_an_import(behaviour: &str, lines: &[&str]) {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut server = start(behaviour, 2).run();
        for line in lines {
            server.line(line);
        }
        let requested = Instant::now();
        server.signal(signal);
        assert_eq!(server.exit_code(), Some(0), "{:#?}", server.log);
        assert!(
            requested.elapsed() < Duration::from_secs(2),
            "{signal:?}: {:?}",
            requested.elapsed()
        );
    }
}

fn workers_that_do_not_finish_are_killed() {
    let mut server = start("unresponsive", 2).run();
    server.ready();
    server.ready();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(
        server.count("killing the remaining workers"),
        1,
        "{:#?}",
        server.log
    );
    assert_eq!(
        server.count("was killed by the supervisor"),
        2,
        "{:#?}",
        server.log
    );
}

fn a_second_signal_aborts_long_requests() {
    let mut server = start("long requests", 1).run();
    let worker = server.ready();
    server.signal(Signal::TERM);
    server.line("drains");
    assert!(is_alive(worker));
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(
        server.count(&format!("{worker} stops")),
        1,
        "{:#?}",
        server.log
    );
}

fn a_term_to_the_whole_group_is_graceful() {
    let mut server = start("long requests", 1).run();
    let worker = server.ready();
    send(worker, Signal::TERM);
    server.line("drains");
    server.signal(Signal::TERM);
    server.line("drains");
    assert!(
        is_alive(worker),
        "the same signal from two senders counts once"
    );
    assert_eq!(server.count("stops"), 0, "{:#?}", server.log);
}

fn a_blocked_worker_is_replaced() {
    let mut server = start("stuck", 1).run();
    let worker = server.ready();
    server.line("has been blocked for more than 1.00 s");
    assert_eq!(pid_in(&server.line("aborted by the supervisor")), worker);
    assert_ne!(server.ready(), worker);
}

fn a_silent_worker_is_replaced() {
    let mut server = start("silent", 1).run();
    let worker = server.ready();
    server.line("has sent no heartbeat for 1.00 s");
    assert_eq!(pid_in(&server.line("aborted by the supervisor")), worker);
    assert_ne!(server.ready(), worker);
}

fn ignored_signals_kill_no_process() {
    let mut server = start("serve", 1).run();
    let worker = server.ready();
    for signal in [
        Signal::HUP,
        Signal::TTIN,
        Signal::TTOU,
        Signal::WINCH,
        Signal::USR2,
    ] {
        send(worker, signal);
    }
    for signal in [Signal::WINCH, Signal::USR2] {
        server.signal(signal);
    }
    server.signal(Signal::USR1);
    server.line("supervisor reopens");
    server.line(&format!("{worker} reopens"));
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0), "{:#?}", server.log);
    assert_eq!(server.count("stopped after"), 1, "{:#?}", server.log);
}

fn a_reload_starts_new_workers_and_retires_the_old_ones() {
    let mut server = start("serve", 2).run();
    let old = [server.ready(), server.ready()];
    server.has_said("all 2 workers are ready");
    server.signal(Signal::HUP);
    let new = [server.ready(), server.ready()];
    server.line("reload: done in");
    for _ in 0..2 {
        assert!(old.contains(&pid_in(&server.line("stopped after"))));
    }
    for pid in old {
        assert!(
            server
                .log
                .iter()
                .any(|line| *line == format!("{pid} retires"))
        );
    }
    server.signal(Signal::TERM);
    for _ in 0..2 {
        assert!(new.contains(&pid_in(&server.line("stopped after"))));
    }
    assert_eq!(server.exit_code(), Some(0), "{:#?}", server.log);
}

fn a_reload_that_cannot_boot_leaves_the_old_workers() {
    let mut server = start("fails the second time", 1).run();
    let old = server.ready();
    server.has_said("the worker is ready");
    server.signal(Signal::HUP);
    server.line("Traceback: app is not callable");
    server.line("reload failed");
    server.signal(Signal::USR1);
    server.line(&format!("{old} reopens"));
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0), "{:#?}", server.log);
}

fn the_number_of_workers_follows_signals() {
    let mut server = start("serve", 1).run();
    let first = server.ready();
    server.signal(Signal::TTIN);
    server.ready();
    server.signal(Signal::TTOU);
    assert_eq!(pid_in(&server.line("stopped after")), first);
}

fn a_worker_that_has_exited_is_removed_from_the_scoreboard() {
    let mut server = start("serve", 3).run();
    for _ in 0..3 {
        server.ready();
    }
    server.signal(Signal::USR1);
    for _ in 0..3 {
        server.line("reopens beside 2");
    }
    // It exits without leaving its slot on the scoreboard, as after a crash.
    server.signal(Signal::TTOU);
    server.line("retires");
    server.line("stopped after");
    server.signal(Signal::USR1);
    for _ in 0..2 {
        server.line("reopens beside 1");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

fn unknown_children_are_reaped_and_ignored() {
    let mut server = start("orphans", 1).run();
    let line = server.line("orphan ");
    let orphan = line.rsplit(' ').next().unwrap().parse().unwrap();
    server.ready();
    let deadline = Instant::now() + Duration::from_secs(5);
    // A process that has not been reaped still exists for kill(2).
    while is_alive(orphan) {
        assert!(
            Instant::now() < deadline,
            "the orphan {orphan} was not reaped"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(server.count("exited with code"), 0, "{:#?}", server.log);
}

fn a_worker_in_its_own_session_is_replaced() {
    let mut server = start("own session", 1).run();
    let worker = server.ready();
    send(worker, Signal::KILL);
    assert_eq!(pid_in(&server.line("was killed by SIGKILL")), worker);
    server.ready();
    // Here the workers are outside the server's process group, so the server has to be stopped properly.
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

fn an_occupied_address_exits_with_one() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut server = start("serve", 1).bind(&address).run();
    assert_eq!(server.exit_code(), Some(1));
    assert_eq!(
        server.count(&format!("{address} is in use: trying again")),
        1
    );
    assert_eq!(
        server.count(&format!(
            "another process listens on {address}: stop it or choose another --bind"
        )),
        1
    );
    assert_eq!(server.log.len(), 2, "no other line: {:#?}", server.log);
}

fn an_inherited_socket_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = start("serve", 1).bind("fd://0").stdin(listener).run();
    server.ready();
    TcpStream::connect(address).unwrap();
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
}

fn a_second_server_with_the_same_pid_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pidfile = folder.path().join("server.pid");
    let mut first = start("serve", 1).pidfile(&pidfile).run();
    first.ready();
    let mut second = start("serve", 1).pidfile(&pidfile).run();
    assert_eq!(second.exit_code(), Some(1));
    assert_eq!(
        second.count(&format!("already running with pid {}", first.pid())),
        1,
        "{:#?}",
        second.log
    );
    assert!(pidfile.exists(), "the first one keeps its file");
    first.signal(Signal::TERM);
    assert_eq!(first.exit_code(), Some(0));
    assert!(!pidfile.exists());
}
