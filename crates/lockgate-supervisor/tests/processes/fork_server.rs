//! Checks of a server whose workers are forked by a fork server, one function each.

use rustix::process::Signal;

use crate::checks::Check;
use crate::server::{Server, is_alive, pid_in, send, start};

/// All checks, with their names.
pub const ALL: &[Check] = &[
    (
        "workers_of_a_fork_server_are_children_of_the_supervisor_and_the_fork_server_loads_once",
        workers_of_a_fork_server_are_children_of_the_supervisor_and_the_fork_server_loads_once,
    ),
    (
        "a_reload_starts_a_new_fork_server_and_kills_the_old_one",
        a_reload_starts_a_new_fork_server_and_kills_the_old_one,
    ),
    (
        "a_fork_server_that_is_killed_leaves_its_workers_running",
        a_fork_server_that_is_killed_leaves_its_workers_running,
    ),
    (
        "a_fork_server_without_application_stops_the_server_with_its_code",
        a_fork_server_without_application_stops_the_server_with_its_code,
    ),
    (
        "a_fork_server_that_dies_stops_the_first_boot",
        a_fork_server_that_dies_stops_the_first_boot,
    ),
    (
        "all_processes_exit_after_their_supervisor",
        all_processes_exit_after_their_supervisor,
    ),
];

#[track_caller]
fn serving(workers: usize) -> (Server, u32, Vec<u32>) {
    let mut server = start("fork server", workers).run();
    let fork_server = pid_in(&server.line("fork server (pid"));
    let workers = (0..workers).map(|_| server.ready()).collect();
    (server, fork_server, workers)
}

fn workers_of_a_fork_server_are_children_of_the_supervisor_and_the_fork_server_loads_once() {
    let (mut server, fork_server, workers) = serving(2);
    for worker in &workers {
        assert_eq!(parent(*worker), server.pid());
        assert_ne!(*worker, fork_server);
    }
    send(workers[0], Signal::KILL);
    server.line("was killed by SIGKILL");
    let next = server.ready();
    assert_eq!(parent(next), server.pid());
    assert_eq!(server.count("loads"), 1);
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

fn a_reload_starts_a_new_fork_server_and_kills_the_old_one() {
    let (mut server, first, workers) = serving(2);
    server.signal(Signal::HUP);
    let second = pid_in(&server.line("fork server (pid"));
    let new = [server.ready(), server.ready()];
    server.line("reload: done");
    assert!(new.iter().all(|pid| !workers.contains(pid)));
    server.line("stopped after");
    server.line("stopped after");
    assert!(is_alive(second) && !is_alive(first));
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

fn a_fork_server_that_is_killed_leaves_its_workers_running() {
    let (mut server, fork_server, workers) = serving(2);
    send(fork_server, Signal::KILL);
    server.line("the next fork starts another one");
    assert!(workers.iter().all(|pid| is_alive(*pid)));
    send(workers[0], Signal::KILL);
    assert_ne!(pid_in(&server.line("fork server (pid")), fork_server);
    server.ready();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

fn a_fork_server_without_application_stops_the_server_with_its_code() {
    let mut server = start("fork server without application", 8).run();
    assert_eq!(server.exit_code(), Some(4));
    assert_eq!(server.count("Traceback"), 1);
}

fn a_fork_server_that_dies_stops_the_first_boot() {
    let mut server = start("fork server dies", 3).run();
    assert_eq!(server.exit_code(), Some(3));
    assert_eq!(server.count("was killed by SIGABRT"), 1, "{:?}", server.log);
}

fn all_processes_exit_after_their_supervisor() {
    let (mut server, _, _) = serving(2);
    server.signal(Signal::KILL);
    // The log is closed when the last of them has exited.
    server.exit_code();
}

fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}
