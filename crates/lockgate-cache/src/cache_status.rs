//! The value of Cache-Status (RFC 9211): what the cache has done with a request.

use std::fmt;

/// The name of this cache in the field.
const NAME: &str = "lockgate";

/// One member of Cache-Status. `Display` writes it.
///
/// ```
/// use lockgate_cache::{CacheStatus, Forwarded};
///
/// let hit = CacheStatus { ttl: Some(30), ..CacheStatus::default() };
/// assert_eq!(hit.to_string(), "lockgate; hit; ttl=30");
/// let validated = CacheStatus {
///     forwarded: Some(Forwarded::Stale),
///     forwarded_status: Some(304),
///     ..CacheStatus::default()
/// };
/// assert_eq!(validated.to_string(), "lockgate; fwd=stale; fwd-status=304");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStatus {
    /// Why the application was called; `None`: it was not, and the request is a hit.
    pub forwarded: Option<Forwarded>,
    /// The status of the application's response, if another one is sent.
    pub forwarded_status: Option<u16>,
    /// For how many seconds the response stays fresh; negative if it is stale.
    pub ttl: Option<i64>,
    /// The response is stored.
    pub stored: bool,
    /// The request has waited for the response to another one.
    pub collapsed: bool,
    /// A token with more about it, such as why the response is not stored.
    pub detail: Option<&'static str>,
}

/// Why a request was forwarded to the application (RFC 9211 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// The cache is not used for this request.
    Bypass,
    /// The method is not one that the cache answers.
    Method,
    /// Nothing is stored for its URI.
    UriMiss,
    /// Something is stored for its URI, but no variant that its fields select.
    VaryMiss,
    /// Nothing is stored for it; whether for its URI is not known.
    Miss,
    /// The stored response is fresh, and the request does not accept it.
    Request,
    /// The stored response is stale.
    Stale,
}

impl Forwarded {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(NAME)?;
        match self.forwarded {
            None => formatter.write_str("; hit")?,
            Some(reason) => write!(formatter, "; fwd={}", reason.as_str())?,
        }
        if let Some(status) = self.forwarded_status {
            write!(formatter, "; fwd-status={status}")?;
        }
        if let Some(ttl) = self.ttl {
            write!(formatter, "; ttl={ttl}")?;
        }
        if self.stored {
            formatter.write_str("; stored")?;
        }
        if self.collapsed {
            formatter.write_str("; collapsed")?;
        }
        if let Some(detail) = self.detail {
            write!(formatter, "; detail={detail}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_its_parameters_in_order() {
        let miss = CacheStatus {
            forwarded: Some(Forwarded::UriMiss),
            ..CacheStatus::default()
        };
        for (status, expected) in [
            (CacheStatus::default(), "lockgate; hit"),
            (
                CacheStatus {
                    ttl: Some(-3),
                    ..CacheStatus::default()
                },
                "lockgate; hit; ttl=-3",
            ),
            (
                CacheStatus {
                    stored: true,
                    ..miss
                },
                "lockgate; fwd=uri-miss; stored",
            ),
            (
                CacheStatus {
                    detail: Some("set-cookie"),
                    ..miss
                },
                "lockgate; fwd=uri-miss; detail=set-cookie",
            ),
            (
                CacheStatus {
                    forwarded: Some(Forwarded::Stale),
                    forwarded_status: Some(304),
                    ttl: Some(60),
                    stored: true,
                    collapsed: true,
                    detail: None,
                },
                "lockgate; fwd=stale; fwd-status=304; ttl=60; stored; collapsed",
            ),
        ] {
            assert_eq!(status.to_string(), expected);
        }
    }
}
