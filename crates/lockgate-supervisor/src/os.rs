//! All unsafe code of the crate: inherited descriptors, shared memory, and the peer of a unix socket.
#![allow(unsafe_code, clippy::disallowed_methods)]

mod descriptors;
mod memory;
mod unix_peer;

pub(crate) use descriptors::{
    InheritedDescriptors, duplicate_inherited, set_close_at_exec, set_inherited_close_at_exec,
};
pub(crate) use memory::{
    map_lock_words, map_words, map_words_after, shared_futexes, shared_memory,
};
pub(crate) use unix_peer::unix_peer;
