//! Listening unix sockets in the file system: stale sockets, mode and owner, removal of the file.
//!
//! Invariant: no operation affects a path at which another user may have put another file meanwhile. The mode is
//! set when the file is created, the owner is changed on an inode that is proven to be this socket, and a file is
//! removed by name only in the directory in which it was examined. So root may listen at a path in another user's
//! directory.

#[cfg(target_os = "linux")]
mod inode;
#[cfg(not(target_os = "linux"))]
#[path = "unix_socket/name.rs"]
mod inode;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Stat, fchmod, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::umask;
use socket2::{Domain, SockAddr, Socket, Type};

use self::inode::Inode;
use crate::os::{self, identity};
use crate::sockets::bind_error::BindError;

/// Owner and group may connect.
const GROUP_ONLY: Mode = Mode::from_raw_mode(0o660);
/// The umask while a socket with [`GROUP_ONLY`] is bound: it keeps that mode and removes all access for others.
const NOT_FOR_OTHERS: Mode = Mode::from_raw_mode(0o007);

/// A socket file that this server has created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Its path, device and inode; `None` when the path is not UTF-8.
    pub(crate) fn identity(&self) -> Option<(String, u64, u64)> {
        let path = self.path.to_str()?.to_owned();
        Some((path, self.device, self.inode))
    }

    /// The file of the previous program in this process.
    pub(crate) fn known(path: PathBuf, device: u64, inode: u64) -> Self {
        Self {
            path,
            device,
            inode,
        }
    }

    /// Removes the file if it is still our own: another server may have taken the path meanwhile.
    pub(crate) fn remove(&self) {
        let Ok(place) = Place::of(&self.path) else {
            return;
        };
        if place.find().is_ok_and(|found| self.is(&found)) {
            // A directory that has become read-only must not make the exit fail.
            let _left_behind = place.unlink();
        }
    }

    fn is(&self, found: &Stat) -> bool {
        identity(found) == (self.device, self.inode)
    }

    /// The users who may connect; `None` when the file no longer exists.
    pub(crate) fn access(&self) -> Option<Access> {
        let found = Place::of(&self.path).ok()?.find().ok()?;
        self.is(&found).then_some(Access {
            mode: os::mode_of(&found) & 0o777,
            user: found.st_uid,
            group: found.st_gid,
        })
    }
}

/// The users who may connect to a socket file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) mode: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Access {
    /// For the end of a log line; empty where every user may connect.
    pub(crate) fn note(self) -> String {
        let Self { mode, user, group } = self;
        if mode & 0o002 != 0 {
            return String::new();
        }
        let who = match mode & 0o020 {
            0 => format!("only user {user} can connect"),
            _ => format!("only user {user} and members of group {group} can connect"),
        };
        format!("; its mode is {mode:04o}: {who} (settings: group, umask)")
    }
}

/// A name in a directory that is held open, so that the two stay consistent.
struct Place<'a> {
    directory: OwnedFd,
    name: &'a Path,
}

impl<'a> Place<'a> {
    fn of(path: &'a Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        Ok(Self {
            directory: openat(CWD, directory, os::DIRECTORY, Mode::empty())?,
            name: Path::new(name),
        })
    }

    fn find(&self) -> Result<Stat, Errno> {
        statat(&self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn unlink(&self) -> Result<(), Errno> {
        unlinkat(&self.directory, self.name, AtFlags::empty())
    }
}

/// Listens on `path` and replaces a stale socket there. Mode 0660, unless the operator has set a umask (`keeps_umask`),
/// which then decides. The file gets the owner's user and group.
pub(crate) fn listen(
    path: &Path,
    backlog: i32,
    keeps_umask: bool,
    owner: Option<(u32, u32)>,
) -> Result<(OwnedFd, SocketFile), BindError> {
    // The working directory may change before the file is removed.
    let path = std::path::absolute(path).map_err(BindError::Failed)?;
    let place = Place::of(&path).map_err(BindError::Failed)?;
    clear(&path, &place)?;
    let address = SockAddr::unix(&path).map_err(BindError::Failed)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(BindError::Failed)?;
    bind(&socket, &address, keeps_umask).map_err(BindError::Failed)?;
    let replaced = |_: Errno| BindError::Replaced;
    let inode = Inode::open(place.directory.as_fd(), place.name).map_err(replaced)?;
    let (device, number) = identity(&inode.status);
    let file = SocketFile {
        path: path.clone(),
        device,
        inode: number,
    };
    socket
        .listen(backlog)
        .and_then(|()| socket.set_nonblocking(true))
        .map_err(BindError::Failed)
        .and_then(|()| change_owner_to(owner, &inode, &socket))
        .inspect_err(|_| file.remove())?;
    Ok((socket.into(), file))
}

/// The file has its final mode from its creation on.
fn bind(socket: &Socket, address: &SockAddr, keeps_umask: bool) -> io::Result<()> {
    if keeps_umask {
        return socket.bind(address);
    }
    // Linux gives the file the mode of the socket, less the umask. Elsewhere this fails, and only the umask applies.
    let _elsewhere = fchmod(socket, GROUP_ONLY);
    // The umask is per process, and this process has one thread; a test process has several.
    #[cfg(test)]
    let _alone = tests::UMASK.lock();
    let before = umask(NOT_FOR_OTHERS);
    let bound = socket.bind(address);
    umask(before);
    bound
}

fn change_owner_to(
    owner: Option<(u32, u32)>,
    inode: &Inode,
    socket: &Socket,
) -> Result<(), BindError> {
    let Some((user, group)) =
        owner.filter(|owner| *owner != (inode.status.st_uid, inode.status.st_gid))
    else {
        return Ok(());
    };
    if !inode.is_of(socket) {
        return Err(BindError::Replaced);
    }
    (inode.change_owner(user, group)).map_err(|error| BindError::Failed(error.into()))
}

/// Frees `path`: it must be unused, or a socket that refuses connections, which is removed.
fn clear(path: &Path, place: &Place<'_>) -> Result<(), BindError> {
    match place.find() {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(BindError::Failed(error.into())),
        Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::Socket => {
            return Err(BindError::NotASocket);
        }
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(BindError::Failed)?;
    // A listener with a full queue would block the probe, although it is alive.
    probe.set_nonblocking(true).map_err(BindError::Failed)?;
    let address = SockAddr::unix(path).map_err(BindError::Failed)?;
    match probe.connect(&address) {
        Err(error) if is(&error, Errno::CONNREFUSED) => match place.unlink() {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(BindError::Failed(error.into())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if is(&error, Errno::ACCESS) || is(&error, Errno::PERM) => {
            Err(BindError::Failed(error))
        }
        // EPROTOTYPE: a datagram socket, in use by another process.
        Ok(()) | Err(_) => Err(BindError::Occupied),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{RenameFlags, renameat_with};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    /// Held while a test changes the umask.
    pub(super) static UMASK: Mutex<()> = Mutex::new(());

    #[test]
    fn a_stale_socket_is_replaced_and_the_new_one_is_for_owner_and_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stale.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (_socket, file) = listen(&path, 16, false, None).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o660
        );
        file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_and_a_file_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let run_worker = folder.path().join("live.sock");
        let _listener = UnixListener::bind(&run_worker).unwrap();
        assert!(matches!(
            listen(&run_worker, 16, false, None),
            Err(BindError::Occupied)
        ));
        assert!(run_worker.exists());
        let file = folder.path().join("notes.txt");
        std::fs::write(&file, "mine").unwrap();
        assert!(matches!(
            listen(&file, 16, false, None),
            Err(BindError::NotASocket)
        ));
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    }

    #[test]
    fn a_path_that_another_server_has_taken_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken.sock");
        let (_socket, file) = listen(&path, 16, false, None).unwrap();
        let aside = folder.path().join("aside.sock");
        std::fs::rename(&path, &aside).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        file.remove();
        assert!(path.exists());
    }

    /// An attacker who owns the directory replaces the path with other sockets, files and links as fast as possible.
    #[test]
    fn a_path_that_is_replaced_during_the_bind_affects_no_other_file() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        const OTHER_USER: u32 = 54_321;
        let victims = tempfile::tempdir().unwrap();
        let file = victims.path().join("shadow");
        let socket = victims.path().join("docker.sock");
        std::fs::write(&file, "secret").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o600)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let bait = folder.path().join("bait");
        let (is_over, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let turn = swaps.load(Ordering::Relaxed);
                    let victim = if turn.is_multiple_of(2) {
                        &file
                    } else {
                        &socket
                    };
                    std::fs::hard_link(victim, &bait).unwrap();
                    let exchange = || renameat_with(CWD, &bait, CWD, &path, RenameFlags::EXCHANGE);
                    // As soon as there is a socket, a victim is in its place, for as long as root takes to act on it.
                    while exchange().is_err() && !is_over.load(Ordering::Relaxed) {}
                    std::thread::sleep(Duration::from_micros(turn as u64 % 50));
                    swaps.fetch_add(1, Ordering::Relaxed);
                    let _ = std::fs::remove_file(&path);
                    let _ = std::fs::remove_file(&bait);
                }
            });
            // 200 attacked starts, with a time limit that only a single-CPU machine reaches.
            let give_up_at = Instant::now() + Duration::from_secs(20);
            while swaps.load(Ordering::Relaxed) < 200 && Instant::now() < give_up_at {
                // It may succeed or fail with an error.
                let _outcome = listen(&path, 16, false, Some((OTHER_USER, OTHER_USER)));
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(
            swaps.load(Ordering::Relaxed) > 0,
            "the attacker never replaced the path in time"
        );
        for victim in [&file, &socket] {
            let found = std::fs::metadata(victim).unwrap();
            assert_eq!(
                (found.uid(), found.gid(), found.mode() & 0o777),
                (0, 0, 0o600),
                "{victim:?}"
            );
        }
    }

    #[test]
    fn the_note_on_a_restricted_socket_names_who_can_connect() {
        for (mode, part) in [
            (
                0o660,
                "0660: only user 7 and members of group 33 can connect",
            ),
            (0o600, "0600: only user 7 can connect"),
            (0o640, "0640: only user 7 can connect"),
        ] {
            let (user, group) = (7, 33);
            let note = Access { mode, user, group }.note();
            assert!(note.contains(part), "{note}");
        }
        let (mode, user, group) = (0o777, 7, 33);
        assert_eq!(Access { mode, user, group }.note(), "");
    }

    #[test]
    fn the_file_gets_the_owner_and_keeps_its_mode() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let (socket, file) = listen(&path, 16, false, Some((54_321, 54_322))).unwrap();
        let access = Access {
            mode: 0o660,
            user: 54_321,
            group: 54_322,
        };
        assert_eq!(file.access(), Some(access));
        let _client = UnixStream::connect(&path).unwrap();
        let socket = Socket::from(socket);
        socket.accept().unwrap();
        assert!(
            socket.accept().is_err(),
            "the probe is not in the queue any more"
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.access(), None);
    }
}
