//! Memory and CPU time of this process on macOS and FreeBSD, which do not give them by an address or a number that may be
//! wrong.

use std::io;
use std::time::Duration;

use super::Part;

/// # Errors
/// Always.
pub(super) fn read_first_parts(_own: i32, _parts: &mut [Part<'_>]) -> io::Result<usize> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "it needs process_vm_readv(2) of Linux",
    ))
}

/// Unknown.
pub(crate) fn cpu_time(_tid: u32) -> Option<Duration> {
    None
}
