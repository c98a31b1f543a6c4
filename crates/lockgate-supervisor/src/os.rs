//! The one room with unsafe code: taking over a descriptor that another process opened for this one.
//! Refuses to know what the descriptor is for.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::{fcntl_dupfd_cloexec, fcntl_getfd};

/// A duplicate of an inherited descriptor that `exec` closes. `EBADF` when nothing is open under this number.
///
/// The original stays open for the life of the process: whoever started it may have given it a second purpose
/// (standard input of inetd), and a duplicate cannot be closed under another owner's feet.
pub(crate) fn duplicate_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from(rustix::io::Errno::BADF));
    }
    // SAFETY: the number is not -1, which is all that the type itself relies on. Nobody in this process closes
    // descriptors that it inherited, so it stays what it is during the two calls below; when nothing is open under
    // it, they fail with EBADF and touch nothing.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(inherited)?;
    Ok(fcntl_dupfd_cloexec(inherited, 3)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_number_without_a_descriptor_is_an_error() {
        for number in [-1, RawFd::MAX] {
            assert!(duplicate_inherited(number).is_err(), "{number}");
        }
    }

    #[test]
    fn an_open_descriptor_is_duplicated() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let copy = duplicate_inherited(file.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
        assert!(
            fcntl_getfd(&copy)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
    }
}
