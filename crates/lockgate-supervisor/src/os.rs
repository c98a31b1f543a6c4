//! All unsafe code of the crate: inherited descriptors, shared memory, and the peer of a unix socket; and calls that
//! differ between systems.
#![allow(unsafe_code, clippy::disallowed_methods)]

mod descriptors;
mod memory;
#[cfg(not(target_os = "linux"))]
#[path = "os/bsd.rs"]
mod system;
#[cfg(target_os = "linux")]
#[path = "os/linux.rs"]
mod system;
mod unix_peer;

pub(crate) use descriptors::{
    InheritedDescriptors, duplicate_inherited, set_close_at_exec, set_inherited_close_at_exec,
};
pub(crate) use memory::{
    map_lock_words, map_words, map_words_after, shared_futexes, shared_memory,
};
pub(crate) use system::{
    CLOSE_AT_EXEC, DIRECTORY, NO_SIGNAL, become_subreaper, enlarge, fill_random, free, identity,
    is_listening, make_fifo, memory_file, mode, mode_of, nonblocking_pipe, packet_sockets, pipe,
    sleep_while, unix_peer, wake,
};
