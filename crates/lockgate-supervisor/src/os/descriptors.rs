//! Inherited descriptors: those that the process which started the server has passed, and those that the previous program
//! in this process has left open.
//!
//! Invariant: a number becomes an [`OwnedFd`] only in [`InheritedDescriptors::take`]. This program opens every descriptor
//! with close-on-exec, and only this module clears that flag (`clippy.toml` disallows it elsewhere), which it refuses
//! while descriptors are taken. So a descriptor without the flag comes from the previous program and has no owner yet.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};

/// Whether the descriptors of the previous program can be taken.
struct Claim(AtomicU8);

/// No descriptor was taken, and none was made to survive exec.
const OPEN: u8 = 0;
/// [`InheritedDescriptors`] exists.
const CLAIMED: u8 = 1;
/// None can be taken any more.
const CLOSED: u8 = 2;

static CLAIM: Claim = Claim::new();

impl Claim {
    const fn new() -> Self {
        Self(AtomicU8::new(OPEN))
    }

    fn claim(&'static self) -> io::Result<InheritedDescriptors> {
        let claimed = (self.0).compare_exchange(OPEN, CLAIMED, Ordering::AcqRel, Ordering::Acquire);
        match claimed {
            Ok(_) => Ok(InheritedDescriptors { claim: self }),
            Err(_) => Err(Errno::BUSY.into()),
        }
    }

    /// From now on a descriptor of this program may be without close-on-exec.
    fn close(&self) -> io::Result<()> {
        let closed = (self.0).compare_exchange(OPEN, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        match closed {
            Ok(_) | Err(CLOSED) => Ok(()),
            Err(_) => Err(Errno::BUSY.into()),
        }
    }
}

/// The right to take the descriptors that the previous program in this process has left open. It exists at most once per
/// process.
pub(crate) struct InheritedDescriptors {
    claim: &'static Claim,
}

impl InheritedDescriptors {
    /// # Errors
    /// `EBUSY` when it was claimed before, or when a descriptor of this program has been made to survive exec.
    pub(crate) fn claim() -> io::Result<Self> {
        CLAIM.claim()
    }

    /// Takes ownership of a descriptor, and sets close-on-exec.
    ///
    /// # Errors
    /// `EBADF` when the number is not open, or belongs to this program.
    pub(crate) fn take(&mut self, number: RawFd) -> io::Result<OwnedFd> {
        if number < 3 {
            return Err(Errno::BADF.into());
        }
        // SAFETY: the number is not -1, which is all that the type itself relies on. When nothing is open under it, the
        // first call below fails with EBADF and touches nothing; otherwise no code closes it, as it has no owner.
        let inherited = unsafe { BorrowedFd::borrow_raw(number) };
        if fcntl_getfd(inherited)?.contains(FdFlags::CLOEXEC) {
            return Err(Errno::BADF.into());
        }
        fcntl_setfd(inherited, FdFlags::CLOEXEC)?;
        // SAFETY: it is open, and was without close-on-exec. While this value exists only the previous program can have
        // left it so (see the module): it has no owner in this one. A second call for it is refused above.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }
}

#[cfg(test)]
impl InheritedDescriptors {
    /// For tests of other modules; it must only be asked for numbers that are not open.
    pub(crate) fn of_test() -> Self {
        let claim = Box::leak(Box::new(Claim::new()));
        Self { claim }
    }
}

impl Drop for InheritedDescriptors {
    fn drop(&mut self) {
        self.claim.0.store(CLOSED, Ordering::Release);
    }
}

/// Sets or clears close-on-exec. Once it was cleared, no inherited descriptor can be taken any more.
///
/// # Errors
/// `EBUSY` while descriptors are taken.
pub(crate) fn set_close_at_exec(fd: BorrowedFd<'_>, closes: bool) -> io::Result<()> {
    if !closes {
        CLAIM.close()?;
    }
    let flags = if closes {
        FdFlags::CLOEXEC
    } else {
        FdFlags::empty()
    };
    Ok(fcntl_setfd(fd, flags)?)
}

/// Sets or clears close-on-exec on a descriptor that the process which started the server has passed, for the next
/// program in this process and for its children. The number stays open for the life of the process.
///
/// # Errors
/// As for [`set_close_at_exec`], and `EBADF` when the number is not open.
pub(crate) fn set_inherited_close_at_exec(number: RawFd, closes: bool) -> io::Result<()> {
    set_close_at_exec(borrow(number)?, closes)
}

/// A close-on-exec duplicate of a descriptor that the process which started the server has passed.
///
/// The original stays open for the life of the process: the parent may use it for a second purpose (standard input of
/// inetd), and a duplicate has exactly one owner.
///
/// # Errors
/// `EBADF` when the number is not open.
pub(crate) fn duplicate_inherited(number: RawFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(borrow(number)?, 3)?)
}

/// `EBADF` when the number is not open.
fn borrow(number: RawFd) -> io::Result<BorrowedFd<'static>> {
    if number < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the number is not -1. The callers only pass numbers that the parent process has passed; no code in this
    // process closes those. When nothing is open under it, the call below fails with EBADF and touches nothing. Any
    // other number would only be duplicated or get another flag; it is never closed through this borrow.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(inherited)?;
    Ok(inherited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{AsFd, AsRawFd, IntoRawFd};

    fn file() -> File {
        File::open("/dev/null").unwrap()
    }

    fn is_closed_at_exec(fd: impl AsFd) -> bool {
        fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC)
    }

    #[test]
    fn a_number_that_is_not_open_is_an_error() {
        let mut inherited = InheritedDescriptors::of_test();
        for number in [-1, RawFd::MAX] {
            assert!(duplicate_inherited(number).is_err(), "{number}");
            assert!(set_inherited_close_at_exec(number, true).is_err());
            assert!(inherited.take(number).is_err(), "{number}");
        }
    }

    #[test]
    fn a_descriptor_that_survives_exec_is_taken_once() {
        let mut inherited = InheritedDescriptors::of_test();
        let owned = file();
        assert!(inherited.take(owned.as_raw_fd()).is_err());
        fcntl_setfd(&owned, FdFlags::empty()).unwrap();
        let number = owned.into_raw_fd();
        let taken = inherited.take(number).unwrap();
        assert!(is_closed_at_exec(&taken));
        assert!(inherited.take(number).is_err());
        for standard in 0..3 {
            assert!(inherited.take(standard).is_err(), "{standard}");
        }
    }

    #[test]
    fn descriptors_are_claimed_once_and_not_after_one_was_made_to_survive_exec() {
        static ONCE: Claim = Claim::new();
        let inherited = ONCE.claim().unwrap();
        assert!(ONCE.claim().is_err());
        assert!(ONCE.close().is_err());
        drop(inherited);
        assert!(ONCE.claim().is_err());
        ONCE.close().unwrap();
        static CLEARED: Claim = Claim::new();
        CLEARED.close().unwrap();
        assert!(CLEARED.claim().is_err());
    }

    #[test]
    fn close_on_exec_is_set_and_cleared() {
        let file = file();
        for closes in [false, true, false] {
            set_inherited_close_at_exec(file.as_raw_fd(), closes).unwrap();
            assert_eq!(is_closed_at_exec(&file), closes);
        }
        set_close_at_exec(file.as_fd(), true).unwrap();
        assert!(is_closed_at_exec(&file));
    }

    #[test]
    fn an_inherited_descriptor_is_duplicated() {
        let file = file();
        let copy = duplicate_inherited(file.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
        assert!(is_closed_at_exec(&copy));
    }
}
