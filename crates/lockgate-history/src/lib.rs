//! The last hour of a server: what it did each second, its slow requests and its events, in bounded memory.
//!
//! Views of the scoreboard in, values out; the caller has the clock, the processes and the shared memory.
#![forbid(unsafe_code)]
