//! The closing handshake (RFC 6455 §7.1): which side has sent its Close frame.

/// The state of the closing handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closing {
    /// Neither side has sent a Close frame.
    #[default]
    Open,
    /// The server has, and waits for that of the client.
    Sent,
    /// Both have, or the connection failed: the server closes the transport.
    Closed,
}

/// What the server does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// Nothing.
    Nothing,
    /// It sends a Close frame.
    SendClose,
    /// It sends a Close frame and closes the transport.
    SendCloseAndEnd,
    /// It closes the transport.
    End,
}

impl Closing {
    /// The server wants to close.
    pub fn start(&mut self) -> NextStep {
        match self {
            Self::Open => {
                *self = Self::Sent;
                NextStep::SendClose
            }
            Self::Sent | Self::Closed => NextStep::Nothing,
        }
    }

    /// The client's Close frame, or a protocol error: the answer, if the server has sent none, is the last frame.
    pub fn end(&mut self) -> NextStep {
        match std::mem::replace(self, Self::Closed) {
            Self::Open => NextStep::SendCloseAndEnd,
            Self::Sent => NextStep::End,
            Self::Closed => NextStep::Nothing,
        }
    }

    /// The transport has ended, or the time for the client's Close frame has.
    pub fn lose(&mut self) -> NextStep {
        match std::mem::replace(self, Self::Closed) {
            Self::Open | Self::Sent => NextStep::End,
            Self::Closed => NextStep::Nothing,
        }
    }

    /// Whether messages may be sent.
    pub fn may_send(self) -> bool {
        self == Self::Open
    }
}
