//! Why messages are not relayed at the moment.

use std::fmt;
use std::io;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no connection, or it has broken.
    Unreachable(String),
    /// Redis has answered a command with an error.
    Refused {
        /// The name of the command.
        command: String,
        /// The error.
        error: String,
    },
    /// The answer is not what the command returns.
    Unusable {
        /// The name of the command.
        command: String,
    },
}

/// Errors of a Redis server that answers soon, or of one that another server is about to replace.
const TEMPORARY: &[&str] = &[
    "LOADING",
    "MASTERDOWN",
    "READONLY",
    "TRYAGAIN",
    "CLUSTERDOWN",
];

impl Failure {
    pub(crate) fn refused(command: &str, error: &str) -> Self {
        let code = error.split(' ').next().unwrap_or_default();
        match TEMPORARY.contains(&code) {
            true => Self::Unreachable(error.to_owned()),
            false => Self::Refused {
                command: command.to_owned(),
                error: error.to_owned(),
            },
        }
    }

    pub(crate) fn unusable(command: &str) -> Self {
        Self::Unusable {
            command: command.to_owned(),
        }
    }

    /// Whether an operator who knows one of the two failures knows the other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unreachable(_), Self::Unreachable(_)) => true,
            (Self::Refused { error, .. }, Self::Refused { error: other, .. }) => error == other,
            _ => self == other,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(match error.kind() {
            io::ErrorKind::UnexpectedEof => "Redis has closed the connection".to_owned(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                "Redis does not answer".to_owned()
            }
            _ => error.to_string(),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) => f.write_str(reason),
            Self::Refused { command, error } => write!(f, "Redis refuses {command}: {error}"),
            Self::Unusable { command } => write!(
                f,
                "the answer to {command} is not that of a Redis server of version 5 or later"
            ),
        }
    }
}
