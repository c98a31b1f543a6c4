//! What the system calls of Linux wait for.

use super::{SystemCall, Wait};

pub(super) fn wait(call: SystemCall) -> Wait {
    let [first, second, third, ..] = call.arguments;
    match call.number {
        libc::SYS_futex => Wait::Futex(first),
        libc::SYS_read
        | libc::SYS_readv
        | libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_recvfrom
        | libc::SYS_recvmsg
        | libc::SYS_recvmmsg
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_sendmmsg
        | libc::SYS_connect
        | libc::SYS_accept
        | libc::SYS_accept4
        | libc::SYS_pread64
        | libc::SYS_pwrite64
        | libc::SYS_preadv
        | libc::SYS_pwritev => Wait::Descriptor(first),
        // From one descriptor to another: the first one is where it goes.
        libc::SYS_sendfile => Wait::Descriptor(first),
        libc::SYS_ppoll => Wait::Poll(first, second),
        libc::SYS_pselect6 => Wait::Select(first, second, third),
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => Wait::Epoll(first),
        libc::SYS_nanosleep | libc::SYS_clock_nanosleep => Wait::Sleep,
        libc::SYS_wait4 | libc::SYS_waitid => Wait::Child,
        libc::SYS_fsync
        | libc::SYS_fdatasync
        | libc::SYS_openat
        | libc::SYS_unlinkat
        | libc::SYS_renameat
        | libc::SYS_renameat2
        | libc::SYS_getdents64
        | libc::SYS_ftruncate
        | libc::SYS_statx => Wait::Disk,
        libc::SYS_flock => Wait::Futex(0),
        number => older(number, call.arguments),
    }
}

/// Calls that only older architectures have.
#[cfg(target_arch = "x86_64")]
fn older(number: i64, arguments: [u64; 6]) -> Wait {
    let [first, second, third, ..] = arguments;
    match number {
        libc::SYS_poll => Wait::Poll(first, second),
        libc::SYS_epoll_wait => Wait::Epoll(first),
        libc::SYS_select => Wait::Select(first, second, third),
        libc::SYS_open | libc::SYS_unlink | libc::SYS_rename | libc::SYS_stat => Wait::Disk,
        _ => Wait::Other,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn older(_number: i64, _arguments: [u64; 6]) -> Wait {
    Wait::Other
}
