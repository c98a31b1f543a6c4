//! The reasons to refuse a packet of the uwsgi protocol, besides those that concern the request in it.

/// What the web server, or another peer, did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketFault {
    /// A request of HTTP where packets are expected.
    HttpRequest,
    /// The peer is not among those that may send packets; reported by the caller, which knows the peer.
    PeerForbidden,
    /// A packet that is no request for a WSGI application.
    UnsupportedModifier {
        /// `modifier1`
        modifier: u8,
    },
    /// `modifier2` is not 0: in some packets it is a part of their size.
    UnsupportedModifier2 {
        /// `modifier2`
        modifier: u8,
    },
    /// A length that reaches beyond the end of the variables.
    TruncatedVariable,
    /// More variables than the limits allow.
    TooManyVariables {
        /// The limit on fields and other parameters together.
        limit: usize,
    },
    /// A variable without a name.
    EmptyName,
    /// A name with a control byte, or a value with a NUL.
    ForbiddenByte,
    /// No REQUEST_METHOD.
    MissingMethod,
    /// Neither REQUEST_URI nor PATH_INFO.
    MissingTarget,
    /// A SERVER_PROTOCOL other than those of HTTP/1.0 to HTTP/3.
    UnknownProtocol,
    /// A PATH_INFO that does not begin with a slash (RFC 3875 §4.1.5).
    RelativePath,
    /// A SCRIPT_NAME that does not begin with a slash (RFC 3875 §4.1.13).
    RelativeScriptName,
    /// A REMOTE_ADDR that is neither an IP address nor that of a unix socket.
    InvalidRemoteAddress,
    /// Two values of CONTENT_LENGTH.
    ContradictoryLength,
    /// Transfer-Encoding without CONTENT_LENGTH: the web server has decoded the body, and its end cannot be found.
    MissingLength,
}

impl PacketFault {
    /// The status of the error response.
    pub fn status(self) -> u16 {
        match self {
            Self::PeerForbidden => 403,
            Self::MissingLength => 411,
            Self::TooManyVariables { .. } => 431,
            Self::UnsupportedModifier { .. } | Self::UnsupportedModifier2 { .. } => 501,
            Self::UnknownProtocol => 505,
            _ => 400,
        }
    }

    /// The identifier of the rule in access logs and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::HttpRequest => "http_on_uwsgi_port",
            Self::PeerForbidden => "uwsgi_peer_forbidden",
            Self::UnsupportedModifier { .. } => "uwsgi_modifier",
            Self::UnsupportedModifier2 { .. } => "uwsgi_modifier2",
            Self::TruncatedVariable => "uwsgi_truncated_variable",
            Self::TooManyVariables { .. } => "uwsgi_too_many_variables",
            Self::EmptyName => "uwsgi_empty_name",
            Self::ForbiddenByte => "uwsgi_forbidden_byte",
            Self::MissingMethod => "uwsgi_missing_method",
            Self::MissingTarget => "uwsgi_missing_target",
            Self::UnknownProtocol => "uwsgi_unknown_protocol",
            Self::RelativePath => "uwsgi_relative_path",
            Self::RelativeScriptName => "uwsgi_relative_script_name",
            Self::InvalidRemoteAddress => "uwsgi_invalid_remote_address",
            Self::ContradictoryLength => "uwsgi_contradictory_length",
            Self::MissingLength => "uwsgi_missing_length",
        }
    }

    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::HttpRequest => "an HTTP request on a port of the uwsgi protocol",
            Self::PeerForbidden => "the peer may not send uwsgi packets",
            Self::UnsupportedModifier { .. } => "uwsgi packets of this kind are not supported",
            Self::UnsupportedModifier2 { .. } => "the second modifier of a uwsgi packet must be 0",
            Self::TruncatedVariable => "a length in a uwsgi packet exceeds its size",
            Self::TooManyVariables { .. } => "too many variables in a uwsgi packet",
            Self::EmptyName => "a variable without a name in a uwsgi packet",
            Self::ForbiddenByte => "control byte in a variable of a uwsgi packet",
            Self::MissingMethod => "REQUEST_METHOD is missing",
            Self::MissingTarget => "REQUEST_URI and PATH_INFO are missing",
            Self::UnknownProtocol => "SERVER_PROTOCOL is not a version of HTTP",
            Self::RelativePath => "PATH_INFO does not begin with a slash",
            Self::RelativeScriptName => "SCRIPT_NAME does not begin with a slash",
            Self::InvalidRemoteAddress => "REMOTE_ADDR is not an address",
            Self::ContradictoryLength => "two values of CONTENT_LENGTH",
            Self::MissingLength => "a body without CONTENT_LENGTH",
        }
    }
}
