//! Status codes of Close frames (RFC 6455 §7.4).

/// The status code of a Close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server shuts down.
    pub const GOING_AWAY: Self = Self(1001);
    /// A frame that the protocol forbids.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// A message beyond a limit of the server.
    pub const POLICY: Self = Self(1008);
    /// A message that is too long.
    pub const TOO_BIG: Self = Self(1009);
    /// A failure of the server.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// A failure of the server that may not last: the client may connect again.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// Whether a Close frame may carry it: 1004 to 1006 and 1015 are reserved, 1016 to 2999 are not assigned.
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}
