//! The configuration of the uwsgi protocol, which web servers speak with `uwsgi_pass`.

use crate::Networks;

/// The uwsgi protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UwsgiProtocolConfig {
    /// Whether addresses without a scheme speak it (`protocol`).
    pub is_default: bool,
    /// Web servers that may connect.
    pub peers: Networks,
}

impl Default for UwsgiProtocolConfig {
    fn default() -> Self {
        Self {
            is_default: false,
            peers: Networks::loopback(),
        }
    }
}
