//! Listening sockets for a worker in a process without a supervisor.
//!
//! The process is not the server's own: nothing is retried, and its umask gives unix sockets their mode.

use std::fmt;
use std::os::fd::OwnedFd;

use lockgate_config::{Config, Endpoint};
use rustix::io::Errno;

use super::bind_error::{BindError, BindFailure};
use super::{Listener, bind};

/// Why the worker cannot listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenError {
    /// The system's number for it, if it has one.
    pub errno: Option<i32>,
    /// One line: the address, what is wrong, what to do.
    pub text: String,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ListenError {}

impl From<BindFailure> for ListenError {
    fn from(failure: BindFailure) -> Self {
        let errno = match &failure.error {
            BindError::Occupied => Some(Errno::ADDRINUSE.raw_os_error()),
            BindError::UnknownHost(error) | BindError::Failed(error) => error.raw_os_error(),
            BindError::NotASocket
            | BindError::Replaced
            | BindError::NotListening
            | BindError::NotPassed => None,
        };
        Self {
            errno,
            text: failure.to_string(),
        }
    }
}

/// The sockets, bound and listening.
#[derive(Debug)]
pub struct StandaloneSockets {
    listeners: Vec<Listener>,
}

impl StandaloneSockets {
    /// Listens on every address of the settings.
    ///
    /// # Errors
    /// When the system refuses one of them; nothing stays bound.
    pub fn listen(config: &Config) -> Result<Self, ListenError> {
        let mut config = config.clone();
        // A umask of the server's own would be set for the whole process while a unix socket is bound.
        config.umask = config.umask.or(Some(0));
        let listeners = bind(&config, None, &[])?;
        Ok(Self { listeners })
    }

    /// The sockets, for the worker; the files of unix sockets stay here.
    ///
    /// # Errors
    /// When the system cannot duplicate a descriptor.
    pub fn take(&mut self) -> std::io::Result<Vec<(Endpoint, OwnedFd)>> {
        let mut sockets = Vec::new();
        for listener in &mut self.listeners {
            sockets.extend(listener.try_clone()?.into_socket());
            // The worker closes the only handle when it drains.
            listener.close();
        }
        Ok(sockets)
    }

    /// Removes the files of unix sockets.
    pub fn remove_files(&self) {
        self.listeners.iter().for_each(Listener::remove_file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::{AppSpec, Bind, BindAddress};
    use std::net::{TcpListener, TcpStream};

    fn config(address: BindAddress) -> Config {
        let app = AppSpec::Module {
            module: "app".to_owned(),
            attribute: None,
        };
        Config {
            bind: vec![Bind::from(address)],
            ..Config::with_defaults(app)
        }
    }

    #[test]
    fn the_worker_gets_the_only_handle_of_a_socket() {
        let host = "127.0.0.1".to_owned();
        let mut standalone =
            StandaloneSockets::listen(&config(BindAddress::Tcp { host, port: 0 })).unwrap();
        let mut sockets = standalone.take().unwrap();
        let (endpoint, socket) = sockets.remove(0);
        let BindAddress::Tcp { host, port } = endpoint.address else {
            panic!("{endpoint:?}");
        };
        TcpStream::connect((host.as_str(), port)).unwrap();
        drop(socket);
        assert!(TcpStream::connect((host.as_str(), port)).is_err());
    }

    #[test]
    fn an_error_has_the_number_of_the_system() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let host = "127.0.0.1".to_owned();
        let error =
            StandaloneSockets::listen(&config(BindAddress::Tcp { host, port })).unwrap_err();
        assert_eq!(error.errno, Some(Errno::ADDRINUSE.raw_os_error()));
        assert!(error.text.contains("another process listens on"), "{error}");
    }

    #[test]
    fn the_file_of_a_unix_socket_is_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let standalone =
            StandaloneSockets::listen(&config(BindAddress::Unix(path.clone()))).unwrap();
        assert!(path.exists());
        standalone.remove_files();
        assert!(!path.exists());
    }
}
