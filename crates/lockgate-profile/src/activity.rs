//! What a thread did when it was sampled.

use std::fmt;

/// See the module. The order is that of legends.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Activity {
    /// It ran on a CPU, or was ready to.
    Running,
    /// It waited for the GIL.
    Gil,
    /// It waited for a lock.
    Lock,
    /// It waited for a peer: its address, such as `10.0.0.5:5432`, or the path of a unix socket. Empty: not known.
    Network(String),
    /// It waited for a disk.
    Disk,
    /// It slept for a time.
    Sleep,
    /// It waited for a child process.
    Child,
    /// It waited, and the system does not say what for.
    Waiting,
}

impl Activity {
    /// Whether it needed the CPU.
    pub fn is_running(&self) -> bool {
        *self == Self::Running
    }
}

/// As `running`, `GIL`, `lock`, `network 10.0.0.5:5432`.
impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Gil => "GIL",
            Self::Lock => "lock",
            Self::Network(peer) if peer.is_empty() => "network",
            Self::Network(peer) => return write!(f, "network {peer}"),
            Self::Disk => "disk",
            Self::Sleep => "sleep",
            Self::Child => "child process",
            Self::Waiting => "waiting",
        })
    }
}
