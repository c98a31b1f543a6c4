//! For workers with several event loops.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use lockgate_config::Config;
use lockgate_worker::Reply;

use super::{PATIENCE, answer, get};

pub fn event_loops(count: usize) -> impl FnOnce(&mut Config) {
    move |config| config.event_loops = count
}

/// The thread that has run a call: with one thread, an event loop runs all calls on it.
pub fn thread_name() -> String {
    format!("{:?}", thread::current().id())
}

pub fn answer_with_thread(reply: &mut Reply) {
    answer(reply, thread_name().as_bytes());
}

/// One connection to each event loop of a server whose event loops have one thread, and which answers with it.
pub fn one_of_each<S: Read + Write>(count: usize, mut connect: impl FnMut() -> S) -> Vec<S> {
    let mut by_thread: HashMap<String, S> = HashMap::new();
    // Kept open meanwhile: an event loop takes two connections more than the others before it leaves one to them.
    let mut others = Vec::new();
    until("every event loop has a connection", || {
        let mut stream = connect();
        let thread = get(&mut stream, "/").text();
        others.extend(by_thread.insert(thread, stream));
        by_thread.len() == count
    });
    by_thread.into_values().collect()
}

pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Memory as that of a server, which lives as long as the test.
pub fn words(count: usize) -> &'static [AtomicU64] {
    Vec::leak((0..count).map(|_| AtomicU64::new(0)).collect())
}

/// Event loops whose numbers something reads.
pub fn counted(count: usize) -> impl FnOnce(&mut Config) {
    move |config| {
        config.event_loops = count;
        config.admin_bind = Some(lockgate_config::BindAddress::Unix("/unused".into()));
    }
}
