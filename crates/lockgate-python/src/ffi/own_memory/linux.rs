//! Memory and CPU time of this process, as Linux gives them.

use std::io;
use std::time::Duration;

use super::Part;

/// Reads up to the first part that is not readable; returns how many parts were read.
pub(super) fn read_first_parts(own: i32, parts: &mut [Part<'_>]) -> io::Result<usize> {
    let local: Vec<libc::iovec> = (parts.iter_mut())
        .map(|part| libc::iovec {
            iov_base: part.bytes.as_mut_ptr().cast(),
            iov_len: part.bytes.len(),
        })
        .collect();
    let remote: Vec<libc::iovec> = (parts.iter())
        .map(|part| libc::iovec {
            iov_base: part.address as usize as *mut libc::c_void,
            iov_len: part.bytes.len(),
        })
        .collect();
    // At most MOST_PARTS.
    let (locals, remotes) = (local.len() as libc::c_ulong, remote.len() as libc::c_ulong);
    // SAFETY: the local parts are exclusive borrows that live until the call returns; what the remote ones name is only
    // read, by the kernel, which checks each address.
    let read =
        unsafe { libc::process_vm_readv(own, local.as_ptr(), locals, remote.as_ptr(), remotes, 0) };
    let read = match usize::try_from(read) {
        Ok(read) => read,
        Err(_) => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EFAULT) => 0,
            error => return Err(error),
        },
    };
    let mut left = read;
    for (index, part) in parts.iter_mut().enumerate() {
        let Some(rest) = left.checked_sub(part.bytes.len()) else {
            return Ok(index);
        };
        left = rest;
        part.is_read = true;
    }
    Ok(parts.len())
}

/// The CPU time of a thread of this process; `None` if there is none of this TID.
pub(crate) fn cpu_time(tid: u32) -> Option<Duration> {
    // The clock of TID 0 is the caller's own. A thread state has 0 when its thread has ended.
    if tid == 0 {
        return None;
    }
    // The clock of a thread: the complement of its TID, and CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED (the kernel's
    // include/linux/posix-timers_types.h).
    let clock = (!tid.cast_signed() << 3) | 6;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec to write to; an unknown clock is an error.
    let code = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
    (code == 0).then(|| Duration::new(seconds, nanoseconds))
}
