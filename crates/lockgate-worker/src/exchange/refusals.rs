//! Warnings about refused requests that the operator can act on: a setting has refused the request, or a trusted proxy
//! has forwarded it.
//!
//! Invariant: a warning contains the length of a header's value, never the value.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use lockgate_http::uwsgi::PacketFault;
use lockgate_http::{Refusal, RequestHead};

use crate::client::{Client, ON_UNIX_SOCKET};
use crate::log::throttle::{LogThrottle, and_suppressed};

/// Longer names are cut in a warning.
const LONGEST_NAME: usize = 64;

/// When each kind of refusal was last logged, so that clients cannot fill the log and one kind does not hide another.
#[derive(Default)]
pub(crate) struct RefusalWarnings {
    by_name: Mutex<HashMap<&'static str, LogThrottle>>,
}

impl RefusalWarnings {
    /// The warning about a refusal that the operator can act on, if it is one and it is due.
    pub(crate) fn warning(
        &self,
        refusal: Refusal,
        head: &RequestHead,
        client: &Client,
        is_trusted: bool,
        now: Instant,
    ) -> Option<String> {
        if !is_worth_a_warning(refusal, is_trusted) {
            return None;
        }
        let suppressed = self.record(refusal, now)?;
        let mut text = describe(refusal, head, client.shown(), is_trusted);
        text.push_str(&and_suppressed(suppressed));
        Some(text)
    }

    /// As [`LogThrottle::record`], for this kind.
    pub(crate) fn record(&self, refusal: Refusal, now: Instant) -> Option<u64> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.entry(refusal.name()).or_default().record(now)
    }
}

/// The setting that refused the request, or that names the peer whose headers caused the refusal.
fn setting_of(refusal: Refusal) -> Option<&'static str> {
    Some(match refusal {
        Refusal::RequestLineTooLong { .. } => "limit_request_line",
        Refusal::FieldTooLarge { .. } => "limit_request_field_size",
        Refusal::TooManyFields { .. } => "limit_request_fields",
        Refusal::HeadTooLarge { .. } => "limit_request_head",
        Refusal::BodyTooLarge { .. } => "limit_request_body, or max_body of its route",
        Refusal::ChunkLineTooLong { .. } => "limit_chunk_line",
        Refusal::TrailersTooLarge { .. } => "limit_trailers",
        Refusal::ContradictorySchemes => "secure_scheme_headers",
        Refusal::InvalidForwardedHost => "forwarded_host",
        Refusal::InvalidForwardedPrefix => "forwarded_prefix",
        Refusal::UnderscoreInFieldName => "header_map",
        Refusal::AmbiguousFieldName | Refusal::PathOutsideScriptName => "forwarder_headers",
        Refusal::HttpsTargetOverPlainHttp => "forwarded_allow_ips",
        Refusal::Packet(PacketFault::PeerForbidden) => "uwsgi_allow_ips",
        Refusal::Packet(PacketFault::TooManyVariables { .. }) => "limit_request_fields",
        Refusal::Packet(PacketFault::HttpRequest) => {
            "bind: write http:// before its address there, or use uwsgi_pass in place of proxy_pass"
        }
        Refusal::UwsgiPacket => {
            "bind: write uwsgi:// before its address there, or use proxy_pass in place of uwsgi_pass"
        }
        _ => return None,
    })
}

fn is_worth_a_warning(refusal: Refusal, is_trusted: bool) -> bool {
    match refusal {
        // The client left or was slow: not the operator's concern, even through a proxy.
        Refusal::TruncatedHead
        | Refusal::TruncatedBody
        | Refusal::HeadTooSlow
        | Refusal::BodyTooSlow => false,
        // Logged with the connection.
        Refusal::ProxyHeaderMissing
        | Refusal::ProxyHeaderMalformed
        | Refusal::ProxyHeaderForbidden => false,
        _ => is_trusted || setting_of(refusal).is_some(),
    }
}

fn describe(refusal: Refusal, head: &RequestHead, client: &str, is_trusted: bool) -> String {
    let status = refusal.status();
    let (kind, client) = match is_trusted {
        true if client == ON_UNIX_SOCKET => ("", "the proxy on a unix socket"),
        true => ("trusted proxy ", client),
        false => ("", client),
    };
    let mut text = format!("refused a request from {kind}{client} with {status}: {refusal}");
    if let Some((name, length)) = head.faulty_field() {
        let shown = String::from_utf8_lossy(&name[..name.len().min(LONGEST_NAME)]);
        let cut = if name.len() > LONGEST_NAME { "..." } else { "" };
        text.push_str("; header ");
        text.push_str(&shown);
        text.push_str(cut);
        if let Some(length) = length {
            // Writing to a String cannot fail.
            let _ = write!(text, " with a value of {length} bytes");
        }
    }
    if let Some(setting) = setting_of(refusal) {
        text.push_str("; see ");
        text.push_str(setting);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_http::{Limits, RequestParser};

    #[test]
    fn a_warning_contains_header_name_length_and_setting_but_no_value() {
        let limits = Limits {
            field_size: 80,
            ..Limits::default()
        };
        let long_name = "N".repeat(70);
        let cases = [
            (
                format!("Cookie: secret{}", "x".repeat(80)),
                false,
                "refused a request from 10.0.0.1 with 431: a field line is too long (limit 80 bytes); \
                 header Cookie; see limit_request_field_size"
                    .to_owned(),
            ),
            (
                "Content-Length: secret\r\n".to_owned(),
                true,
                "refused a request from trusted proxy 10.0.0.1 with 400: Content-Length is not a plain number; \
                 header Content-Length with a value of 6 bytes"
                    .to_owned(),
            ),
            (
                format!("{long_name}: secret\0"),
                true,
                format!(
                    "refused a request from trusted proxy 10.0.0.1 with 400: control byte in a field value; header {}...",
                    &long_name[..64]
                ),
            ),
            (
                "\r\n".to_owned(),
                true,
                "refused a request from trusted proxy 10.0.0.1 with 400: Host is missing".to_owned(),
            ),
        ];
        for (lines, is_trusted, expected) in cases {
            let mut head = RequestHead::default();
            let bytes = format!("GET /secret HTTP/1.1\r\n{lines}");
            let refusal = RequestParser::new(limits)
                .step(bytes.as_bytes(), &mut head)
                .unwrap_err();
            assert_eq!(describe(refusal, &head, "10.0.0.1", is_trusted), expected);
            let of_proxy = describe(refusal, &head, ON_UNIX_SOCKET, true);
            assert!(
                of_proxy.starts_with("refused a request from the proxy on a unix socket with ")
            );
        }
    }

    #[test]
    fn refusals_without_a_setting_are_logged_for_trusted_proxies_only() {
        for (refusal, of_any, of_trusted) in [
            (Refusal::BodyTooLarge { limit: 1 }, true, true),
            (Refusal::RequestLineTooLong { limit: 1 }, true, true),
            (Refusal::ContradictorySchemes, true, true),
            (Refusal::MissingHost, false, true),
            (Refusal::BareLineFeed, false, true),
            (Refusal::TruncatedBody, false, false),
            (Refusal::HeadTooSlow, false, false),
            (Refusal::ProxyHeaderMissing, false, false),
        ] {
            assert_eq!(is_worth_a_warning(refusal, false), of_any, "{refusal:?}");
            assert_eq!(is_worth_a_warning(refusal, true), of_trusted, "{refusal:?}");
        }
    }

    #[test]
    fn each_kind_of_refusal_is_throttled_separately() {
        let warnings = RefusalWarnings::default();
        let now = Instant::now();
        assert_eq!(warnings.record(Refusal::MissingHost, now), Some(0));
        assert_eq!(warnings.record(Refusal::MissingHost, now), None);
        assert_eq!(warnings.record(Refusal::RepeatedHost, now), Some(0));
        for limit in [1, 2] {
            let is_first = warnings
                .record(Refusal::BodyTooLarge { limit }, now)
                .is_some();
            assert_eq!(is_first, limit == 1);
        }
    }
}
