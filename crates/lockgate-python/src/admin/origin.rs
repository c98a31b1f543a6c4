//! Who sends a request to the admin listener: a program, the listener's own page, or a page of another origin.
//!
//! A browser that runs on the operator's machine reaches the listener for every page that the operator views. What it
//! sends says so in fields that a page cannot set (Fetch §2.2.2): `Host`, `Origin` and `Sec-Fetch-Site`. Pages on other
//! ports of localhost are of the same site (HTML §7.1.1) and of another origin, so `same-site` is refused too. Pages of
//! other origins get nothing, not even what costs the server something and is not read, such as thread dumps.

use std::net::IpAddr;

/// A request as its sender describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claims<'a> {
    /// Whether the connection came over TCP. A unix socket may be the end of an SSH tunnel, and a browser at its start.
    pub(super) is_tcp: bool,
    /// The host of the target if it has one, or the `Host` header.
    pub(super) host: Option<&'a [u8]>,
}

/// Who may have an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// A program: nothing says that a page asks.
    Program,
    /// The page of this listener, or the user who typed its address.
    Page {
        /// Whether the request names its origin, which is this listener.
        has_origin: bool,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    /// The name may be one that leads to this machine for an attack (DNS rebinding).
    Host,
    /// A page of another origin asks.
    Origin,
    /// A page of another origin refers to this address, or embeds it.
    Site,
}

impl Sender {
    /// The sender of a request with these header fields, names and values.
    ///
    /// # Errors
    /// Unless it is a program or a page of this listener.
    pub(super) fn of<'a>(
        claims: Claims<'_>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, Foreign> {
        if !claims.has_own_host() {
            return Err(Foreign::Host);
        }
        let mut sender = Self::Program;
        for (name, value) in fields {
            if name.eq_ignore_ascii_case(b"Origin") {
                if !claims.is_origin(value) {
                    return Err(Foreign::Origin);
                }
                sender = Self::Page { has_origin: true };
            } else if name.eq_ignore_ascii_case(b"Sec-Fetch-Site") {
                // `none` is an address that the user has typed, or a bookmark.
                if !matches!(value, b"same-origin" | b"none") {
                    return Err(Foreign::Site);
                }
                let has_origin = sender == Self::Page { has_origin: true };
                sender = Self::Page { has_origin };
            }
        }
        Ok(sender)
    }

    /// Whether actions of this sender may be done, as far as the sender decides; `page_may_act` is the setting
    /// `admin_actions`.
    pub(super) fn may_act(self, page_may_act: bool) -> bool {
        match self {
            Self::Program => true,
            // Browsers name the origin of every POST.
            Self::Page { has_origin } => has_origin && page_may_act,
        }
    }
}

impl Claims<'_> {
    /// Against DNS rebinding: a page can point names of its own at 127.0.0.1, but not an address or localhost. On a
    /// unix socket programs use names without a dot, which no page of the Internet has.
    fn has_own_host(self) -> bool {
        match (self.host, self.is_tcp) {
            (None, is_tcp) => !is_tcp,
            (Some(host), true) => is_address(host),
            (Some(host), false) => is_address(host) || !host.contains(&b'.'),
        }
    }

    /// Whether this is the origin of the listener's own page. The listener has no TLS.
    fn is_origin(self, origin: &[u8]) -> bool {
        let authority = origin.strip_prefix(b"http://");
        match (authority, self.host) {
            (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
            _ => false,
        }
    }
}

fn is_address(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    name.is_some_and(|name| {
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
    })
}

impl Foreign {
    /// The text of the response.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Host => {
                "the Host header must be an IP address or localhost; a proxy in front of the admin listener has to set it\n"
            }
            Self::Origin => {
                "a page in a browser may not read or act here: the Origin of this request is another than http:// and its Host\n"
            }
            Self::Site => {
                "a page of another origin led here, and gets nothing: type this address into the address bar\n"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Result<Sender, Foreign> = Ok(Sender::Program);
    const READER: Result<Sender, Foreign> = Ok(Sender::Page { has_origin: false });
    const ACTOR: Result<Sender, Foreign> = Ok(Sender::Page { has_origin: true });

    fn sender(is_tcp: bool, host: &str, fields: &[(&str, &str)]) -> Result<Sender, Foreign> {
        let claims = Claims {
            is_tcp,
            host: (!host.is_empty()).then_some(host.as_bytes()),
        };
        let fields = fields.iter();
        Sender::of(
            claims,
            fields.map(|(name, value)| (name.as_bytes(), value.as_bytes())),
        )
    }

    #[test]
    fn a_host_is_an_address_or_localhost_and_on_a_unix_socket_also_a_name_without_a_dot() {
        for (host, on_tcp, on_unix) in [
            ("127.0.0.1:9000", true, true),
            ("127.0.0.1", true, true),
            ("10.0.0.7:1", true, true),
            ("0.0.0.0:9000", true, true),
            ("[::1]:9000", true, true),
            ("[::ffff:127.0.0.1]", true, true),
            ("localhost", true, true),
            ("LocalHost:9000", true, true),
            ("", false, true),
            ("lockgate", false, true),
            ("admin:80", false, true),
            ("[evil]", false, true),
            ("evil.example:9000", false, false),
            ("localhost.evil.example", false, false),
            ("localhost.", false, false),
            ("127.0.0.1.evil.example", false, false),
            ("127.1.nip.io", false, false),
            ("user@127.0.0.1", false, false),
        ] {
            for (is_tcp, is_fine) in [(true, on_tcp), (false, on_unix)] {
                let expected = if is_fine { PROGRAM } else { Err(Foreign::Host) };
                assert_eq!(sender(is_tcp, host, &[]), expected, "{host} {is_tcp}");
            }
        }
        let bytes = Claims {
            is_tcp: true,
            host: Some(b"\xff"),
        };
        assert_eq!(
            Sender::of(bytes, std::iter::empty()),
            Err(Foreign::Host),
            "not text"
        );
    }

    #[test]
    fn an_origin_is_that_of_the_page_or_a_foreign_one() {
        let here = "127.0.0.1:9000";
        for (host, origin, is_own) in [
            (here, "http://127.0.0.1:9000", true),
            ("[::1]:9000", "http://[::1]:9000", true),
            ("localhost:9000", "http://localhost:9000", true),
            ("LOCALHOST:9000", "http://localhost:9000", true),
            ("localhost", "http://localhost", true),
            // Another port, scheme or name is another origin.
            (here, "http://127.0.0.1:8000", false),
            (here, "http://127.0.0.1", false),
            (here, "https://127.0.0.1:9000", false),
            (here, "http://localhost:9000", false),
            ("localhost:9000", "http://127.0.0.1:9000", false),
            (here, "http://evil.example", false),
            (here, "http://evil.example:9000", false),
            (here, "http://127.0.0.1:9000.evil.example", false),
            (here, "http://127.0.0.1:9000/", false),
            (here, "http://x@127.0.0.1:9000", false),
            // Sandboxed frames, data: URLs, files, redirects over another origin.
            (here, "null", false),
            (here, "", false),
            (here, "http://", false),
            (here, "file://", false),
            (here, "chrome-extension://127.0.0.1:9000", false),
        ] {
            for is_tcp in [true, false] {
                let expected = if is_own { ACTOR } else { Err(Foreign::Origin) };
                let found = sender(is_tcp, host, &[("origin", origin)]);
                assert_eq!(found, expected, "{host} {origin}");
            }
        }
        assert_eq!(
            sender(false, "", &[("Origin", "http://")]),
            Err(Foreign::Origin),
            "a request without a host has no origin"
        );
        for other in ["http://evil.example", "null"] {
            for pair in [
                ["http://127.0.0.1:9000", other],
                [other, "http://127.0.0.1:9000"],
            ] {
                let fields = pair.map(|origin| ("Origin", origin));
                assert_eq!(
                    sender(true, here, &fields),
                    Err(Foreign::Origin),
                    "{pair:?}"
                );
            }
        }
    }

    #[test]
    fn what_a_page_of_another_origin_refers_to_is_refused() {
        let own = ("Origin", "http://localhost");
        for (fields, expected) in [
            (&[][..], PROGRAM),
            (&[("Sec-Fetch-Site", "none")], READER),
            (&[("sec-fetch-site", "same-origin")], READER),
            (&[("Sec-Fetch-Site", "same-origin"), own], ACTOR),
            (&[own, ("Sec-Fetch-Site", "same-origin")], ACTOR),
            (&[("Sec-Fetch-Site", "cross-site")], Err(Foreign::Site)),
            (&[("Sec-Fetch-Site", "same-site")], Err(Foreign::Site)),
            (&[("Sec-Fetch-Site", "SAME-ORIGIN")], Err(Foreign::Site)),
            (&[("Sec-Fetch-Site", "")], Err(Foreign::Site)),
            (
                &[("Sec-Fetch-Site", "none, cross-site")],
                Err(Foreign::Site),
            ),
            (
                &[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")],
                Err(Foreign::Site),
            ),
            (&[own, ("Sec-Fetch-Site", "cross-site")], Err(Foreign::Site)),
        ] {
            assert_eq!(sender(true, "localhost", fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn the_page_acts_only_where_the_setting_lets_it_and_its_origin_is_named() {
        for (found, without, with) in [
            (PROGRAM, true, true),
            (ACTOR, false, true),
            (READER, false, false),
        ] {
            let sender = found.unwrap();
            assert_eq!(
                (sender.may_act(false), sender.may_act(true)),
                (without, with)
            );
        }
    }
}
