//! Client identity behind trusted proxies: the client's address, scheme and host, from forwarding headers.
//!
//! Invariant: a header counts only as far as every hop to its right is trusted. Lists are read from the right and end
//! at the first untrusted address, or before the first malformed element: anything to the left of that can be forged.

mod element;
mod prefix;
mod underscore;

use std::net::IpAddr;

use crate::error::Refusal;
use crate::request::RequestHead;
use crate::rules::grammar::trim_whitespace;
use crate::rules::host::is_host;
use crate::span::Span;

pub use element::Hop;

use element::{Element, address_and_port, split_last, split_last_quoted};
use prefix::set_prefix;

/// Which headers of a trusted peer identify the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HopHeaders {
    /// `X-Forwarded-*` if the request has any of them, else `Forwarded`: one family per request.
    #[default]
    Either,
    /// `X-Forwarded-*` only.
    XForwarded,
    /// `Forwarded` only (RFC 7239).
    Forwarded,
    /// None: the peer is the client. The scheme headers still count.
    Neither,
}

/// A header by which a trusted peer reports that the client used TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemeHeader {
    /// Its name, case-insensitive.
    pub name: Vec<u8>,
    /// The value that means https, case-insensitive; any other value means http.
    pub secure: Vec<u8>,
}

/// How forwarding headers are interpreted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForwardingRules {
    /// Which headers carry the addresses.
    pub hops: HopHeaders,
    /// Headers that determine the scheme, together with `X-Forwarded-*`.
    pub scheme_headers: Vec<SchemeHeader>,
    /// Whether the forwarded host becomes the request's host.
    pub takes_host: bool,
    /// Whether the forwarded prefix becomes `SCRIPT_NAME`.
    pub takes_prefix: bool,
    /// Names with an underscore that a trusted peer may send; `*` for all.
    pub underscore_names: Vec<Vec<u8>>,
    /// Whether any other name with an underscore is refused instead of dropped.
    pub refuses_underscores: bool,
    /// Whether forwarding headers of untrusted peers are removed.
    pub strips_untrusted: bool,
}

/// What the headers of a trusted peer report about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ForwardedIdentity {
    /// The client; `None`: only the peer itself is known.
    pub client: Option<Hop>,
    /// Whether the client used TLS; `None`: not reported.
    pub is_https: Option<bool>,
}

impl ForwardingRules {
    /// Whether a scheme header begins with a letter that [`RequestHead::may_have_forwarding_headers`] does not check.
    pub fn has_unusual_names(&self) -> bool {
        self.scheme_headers
            .iter()
            .any(|header| !matches!(header.name.first(), Some(b'x' | b'X' | b'f' | b'F')))
    }

    /// Reads what a trusted peer reports and applies it to `head`: the forwarded host and prefix, and the allowed names
    /// with an underscore. `is_trusted` decides about the hops in the headers.
    ///
    /// # Errors
    ///
    /// The headers contradict each other, or have invalid values.
    pub fn read(
        &self,
        head: &mut RequestHead,
        is_trusted: impl Fn(IpAddr) -> bool,
    ) -> Result<ForwardedIdentity, Refusal> {
        let mut identity = ForwardedIdentity::default();
        if head.dropped_fields() > 0 {
            underscore::restore_allowed(head, &self.underscore_names, self.refuses_underscores)?;
        }
        let found = match self.find_headers(head) {
            Ok(found) => found,
            Err(contradiction) => {
                head.set_faulty_field(contradiction);
                return Err(Refusal::ContradictorySchemes);
            }
        };
        let (mut host, mut prefix) = (None, None);
        let takes_forwarded = match self.hops {
            HopHeaders::Forwarded => true,
            HopHeaders::Either => !found.has_x_forwarded,
            HopHeaders::XForwarded | HopHeaders::Neither => false,
        };
        if takes_forwarded {
            if found.has_forwarded {
                let (client, element) = client_of_forwarded(head, is_trusted);
                identity.client = client;
                identity.is_https = element.is_https();
                host = element.host.map(|host| Span::within(&head.bytes, host));
            }
        } else {
            identity.is_https = found.is_https;
            if self.hops != HopHeaders::Neither {
                identity.client = found
                    .has_addresses
                    .then(|| client_of_x_forwarded_for(head, is_trusted))
                    .flatten();
                (host, prefix) = (found.host, found.prefix);
            }
        }
        if self.takes_host
            && let Some(host) = host
        {
            if !is_host(host.of(&head.bytes)) {
                head.set_faulty_field(host);
                return Err(Refusal::InvalidForwardedHost);
            }
            head.summary.parts.authority = Some(host);
        }
        if self.takes_prefix
            && let Some(prefix) = prefix
        {
            set_prefix(head, prefix)?;
        }
        Ok(identity)
    }

    /// Removes the forwarding headers of an untrusted peer, if the rules require it; returns how many were removed.
    ///
    /// # Errors
    ///
    /// A name with an underscore must be refused.
    pub fn strip(&self, head: &mut RequestHead) -> Result<usize, Refusal> {
        if self.refuses_underscores && head.dropped_fields() > 0 {
            head.summary.faulty = underscore::first_of(head);
            return Err(Refusal::UnderscoreInFieldName);
        }
        if !self.strips_untrusted {
            return Ok(0);
        }
        let before = head.fields.len();
        let RequestHead { bytes, fields, .. } = head;
        fields.retain(|field| !self.is_forwarding_header(field.name.of(bytes)));
        Ok(before - head.fields.len())
    }

    fn is_forwarding_header(&self, name: &[u8]) -> bool {
        FORWARDING_NAMES
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
            || is_x_forwarded(name)
            || self.is_scheme_header(name)
    }

    fn is_scheme_header(&self, name: &[u8]) -> bool {
        self.scheme_headers
            .iter()
            .any(|header| header.name.eq_ignore_ascii_case(name))
    }

    /// Finds forwarding headers by name. `Err`: the name of a scheme header that contradicts an earlier one.
    fn find_headers(&self, head: &RequestHead) -> Result<ForwardingHeaders, Span> {
        let mut found = ForwardingHeaders::default();
        for (name, value) in head.headers() {
            if name.eq_ignore_ascii_case(b"forwarded") {
                found.has_forwarded = true;
                continue;
            }
            if is_x_forwarded(name) {
                found.has_x_forwarded = true;
                match &name[X_FORWARDED.len()..] {
                    kind if kind.eq_ignore_ascii_case(b"for") => found.has_addresses = true,
                    kind if kind.eq_ignore_ascii_case(b"host") => {
                        let (_, host) = split_last(value);
                        found.host = Some(Span::within(&head.bytes, trim_whitespace(host)));
                    }
                    kind if kind.eq_ignore_ascii_case(b"prefix") => {
                        let (_, prefix) = split_last(value);
                        found.prefix = Some(Span::within(&head.bytes, trim_whitespace(prefix)));
                    }
                    _ => {}
                }
            }
            if self.hops == HopHeaders::Forwarded {
                // The other family is ignored, also where its headers are malformed.
                continue;
            }
            for header in &self.scheme_headers {
                if !header.name.eq_ignore_ascii_case(name) {
                    continue;
                }
                found.has_x_forwarded = true;
                // Of a list, the element that the nearest proxy added.
                let (_, scheme) = split_last(value);
                let is_https = trim_whitespace(scheme).eq_ignore_ascii_case(&header.secure);
                if found.is_https.is_some_and(|earlier| earlier != is_https) {
                    return Err(Span::within(&head.bytes, name));
                }
                found.is_https = Some(is_https);
            }
        }
        Ok(found)
    }
}

const X_FORWARDED: &[u8] = b"x-forwarded-";

/// Names, besides `X-Forwarded-*`, by which proxies report the client, its origin and the application's mount point,
/// and which applications read.
const FORWARDING_NAMES: [&[u8]; 6] = [
    b"forwarded",
    b"x-real-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-scheme",
    b"x-script-name",
];

/// The forwarding headers found by name.
#[derive(Default)]
struct ForwardingHeaders {
    has_forwarded: bool,
    has_x_forwarded: bool,
    has_addresses: bool,
    is_https: Option<bool>,
    host: Option<Span>,
    prefix: Option<Span>,
}

fn is_x_forwarded(name: &[u8]) -> bool {
    name.get(..X_FORWARDED.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(X_FORWARDED))
}

/// The values of all fields with that name, last first.
fn lines_from_last<'h>(
    head: &'h RequestHead,
    wanted: &'static [u8],
) -> impl Iterator<Item = &'h [u8]> {
    head.headers()
        .rev()
        .filter(move |(name, _)| name.eq_ignore_ascii_case(wanted))
        .map(|(_, value)| value)
}

fn client_of_x_forwarded_for(
    head: &RequestHead,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<Hop> {
    let mut client = None;
    for line in lines_from_last(head, b"x-forwarded-for") {
        let mut rest = Some(line);
        while let Some(list) = rest {
            let (left, element) = split_last(list);
            rest = left;
            let element = trim_whitespace(element);
            if element.is_empty() {
                // RFC 9110 §5.6.1.2: empty elements do not count.
                continue;
            }
            let Some(hop) = address_and_port(element) else {
                return client;
            };
            client = Some(hop);
            if !is_trusted(hop.address) {
                return client;
            }
        }
    }
    client
}

/// The client, and the element that the proxy next to it wrote.
fn client_of_forwarded(
    head: &RequestHead,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> (Option<Hop>, Element<'_>) {
    let mut client = None;
    let mut outermost = Element::default();
    for line in lines_from_last(head, b"forwarded") {
        let mut rest = Some(line);
        while let Some(list) = rest {
            let (left, text) = split_last_quoted(list);
            rest = left;
            let text = trim_whitespace(text);
            if text.is_empty() {
                continue;
            }
            let Some(element) = Element::parse(text) else {
                return (client, outermost);
            };
            outermost = element;
            let Some(hop) = element.hop() else {
                return (client, outermost);
            };
            client = Some(hop);
            if !is_trusted(hop.address) {
                return (client, outermost);
            }
        }
    }
    (client, outermost)
}

#[cfg(test)]
mod tests;
