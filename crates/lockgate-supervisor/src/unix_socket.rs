//! Listening sockets in the file system: who may have the path, its mode, and when the file goes.
//! Knows nothing of connections.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, chmod, fchmod};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::sockets::BindError;

/// Owner and group may connect.
const GROUP_ONLY: u32 = 0o660;

/// A socket file that this server made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Its path, device and inode; `None` when the path is no text.
    pub(crate) fn identity(&self) -> Option<(String, u64, u64)> {
        let path = self.path.to_str()?.to_owned();
        Some((path, self.device, self.inode))
    }

    /// The file that another program of this process has made.
    pub(crate) fn known(path: PathBuf, device: u64, inode: u64) -> Self {
        Self {
            path,
            device,
            inode,
        }
    }

    /// Removes the file, if it is still the one that was made: another server may have taken the path since.
    pub(crate) fn remove(&self) {
        let Ok(found) = std::fs::symlink_metadata(&self.path) else {
            return;
        };
        if found.dev() == self.device && found.ino() == self.inode {
            // A directory that has become read-only is no reason to fail at the very end.
            let _left_behind = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens on `path`, replacing a socket that nobody listens on any more. Mode 0660, unless the operator has set a
/// umask (`keeps_umask`): then that decides. The file is made the owner's, by user and group.
pub(crate) fn listen(
    path: &Path,
    backlog: i32,
    keeps_umask: bool,
    owner: Option<(u32, u32)>,
) -> Result<(OwnedFd, SocketFile), BindError> {
    // The working directory may be another one when the file is removed.
    let path = std::path::absolute(path).map_err(BindError::Failed)?;
    clear(&path)?;
    let address = SockAddr::unix(&path).map_err(BindError::Failed)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(BindError::Failed)?;
    let mode = (!keeps_umask).then(|| Mode::from_raw_mode(GROUP_ONLY));
    if let Some(mode) = mode {
        // Linux gives the file the mode of the socket, less the umask; so the file is at no moment open to others.
        // Elsewhere this fails, and the mode is right a moment later.
        let _elsewhere = fchmod(&socket, mode);
    }
    socket.bind(&address).map_err(BindError::Failed)?;
    let made = std::fs::symlink_metadata(&path).map_err(BindError::Failed)?;
    let file = SocketFile {
        path,
        device: made.dev(),
        inode: made.ino(),
    };
    let moded = mode.map_or(Ok(()), |mode| Ok(chmod(&file.path, mode)?));
    if let Err(error) = moded
        // Not through a link that somebody has put there meanwhile.
        .and_then(|()| {
            owner.map_or(Ok(()), |(user, group)| {
                lchown(&file.path, Some(user), Some(group))
            })
        })
        .and_then(|()| socket.listen(backlog))
        .and_then(|()| socket.set_nonblocking(true))
    {
        file.remove();
        return Err(BindError::Failed(error));
    }
    Ok((socket.into(), file))
}

/// Makes room at `path`: nothing there, or a socket that refuses connections, which is then removed.
fn clear(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::Failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(BindError::Failed)?;
    // A listener with a full queue would block the probe; it is alive all the same.
    probe.set_nonblocking(true).map_err(BindError::Failed)?;
    let address = SockAddr::unix(path).map_err(BindError::Failed)?;
    match probe.connect(&address) {
        Err(error) if is(&error, Errno::CONNREFUSED) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BindError::Failed(error)),
            _ => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if is(&error, Errno::ACCESS) || is(&error, Errno::PERM) => {
            Err(BindError::Failed(error))
        }
        // EPROTOTYPE is a datagram socket: somebody's, and alive.
        Ok(()) | Err(_) => Err(BindError::Occupied),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

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
        let live = folder.path().join("live.sock");
        let _listener = UnixListener::bind(&live).unwrap();
        assert!(matches!(
            listen(&live, 16, false, None),
            Err(BindError::Occupied)
        ));
        assert!(live.exists());
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
}
