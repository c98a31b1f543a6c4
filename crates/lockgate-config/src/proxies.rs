//! Trusted proxies, and which of their headers count.

use crate::Networks;

/// Trusted proxies, and which of their headers count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxiesConfig {
    /// Peers whose headers count.
    pub trusted: Networks,
    /// Which of their headers identify the client.
    pub headers: ForwardedHeaders,
    /// Whether a forwarded host becomes the request's host.
    pub host: bool,
    /// Whether a forwarded prefix becomes `SCRIPT_NAME`.
    pub prefix: bool,
    /// Names of headers that determine the scheme, with the value that means https.
    pub scheme_headers: Vec<(String, String)>,
    /// Names with an underscore that they may send; `*` for all.
    pub underscore_names: Vec<String>,
    /// Whether other names with an underscore are refused instead of dropped.
    pub refuse_underscores: bool,
    /// Whether forwarding headers of untrusted peers are removed.
    pub strip_untrusted: bool,
    /// Which PROXY header connections begin with; `None`: none.
    pub protocol: Option<ProxyVersion>,
    /// Peers that may connect where PROXY headers are required.
    pub protocol_peers: Networks,
}

impl Default for ProxiesConfig {
    fn default() -> Self {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            trusted: Networks::loopback(),
            headers: ForwardedHeaders::Auto,
            host: false,
            prefix: false,
            scheme_headers: vec![
                pair("X-FORWARDED-PROTOCOL", "ssl"),
                pair("X-FORWARDED-PROTO", "https"),
                pair("X-FORWARDED-SSL", "on"),
            ],
            underscore_names: vec!["SCRIPT_NAME".to_owned(), "PATH_INFO".to_owned()],
            refuse_underscores: false,
            strip_untrusted: true,
            protocol: None,
            protocol_peers: Networks::loopback(),
        }
    }
}

/// Which headers of a trusted proxy identify the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeaders {
    /// `X-Forwarded-*` if the request has any, else `Forwarded`.
    Auto,
    /// `X-Forwarded-*`.
    XForwarded,
    /// `Forwarded`.
    Forwarded,
    /// None.
    Off,
}

impl ForwardedHeaders {
    /// Every choice, in the order of the reference.
    pub const ALL: [Self; 4] = [Self::Auto, Self::XForwarded, Self::Forwarded, Self::Off];

    /// Its name, as the setting takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::XForwarded => "x-forwarded",
            Self::Forwarded => "forwarded",
            Self::Off => "off",
        }
    }
}

/// Which version of the PROXY header is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// The text line.
    V1,
    /// The binary header.
    V2,
    /// Either.
    Auto,
}
