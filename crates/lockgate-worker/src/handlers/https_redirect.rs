//! `https_redirect`: requests that arrive without TLS are redirected to the same URL with https.
//!
//! Invariant: where the operator has named the domains, no other host appears in a Location.

use std::net::Ipv6Addr;
use std::sync::Arc;

use lockgate_config::{BindAddress, Config, Endpoint, HTTPS_PORT, HttpsRedirect, Scheme};
use lockgate_http::{LocalResponse, RequestHead};
use lockgate_tls::Acceptor;

use super::acme_challenge;
use crate::exchange::Exchange;
use crate::exchange::handler::{Handled, Handler};
use crate::exchange::request::Request;

/// See the module documentation.
pub struct Redirect {
    /// The port of https, if it has to be written.
    port: Option<u16>,
    /// Whether requests on unix sockets and of the uwsgi protocol are redirected, too.
    concerns_proxies: bool,
    /// The hosts that are redirected; empty: every host.
    domains: Vec<String>,
    /// Its certificates are for hosts that are redirected, too.
    acceptor: Option<Arc<Acceptor>>,
}

impl Redirect {
    /// `None` if nothing is redirected.
    pub fn new(
        config: &Config,
        endpoints: &[Endpoint],
        acceptor: Option<&Arc<Acceptor>>,
    ) -> Option<Self> {
        let mut secure = endpoints
            .iter()
            .filter(|endpoint| endpoint.scheme == Scheme::Https)
            .filter_map(|endpoint| match endpoint.address {
                BindAddress::Tcp { port, .. } => Some(port),
                _ => None,
            });
        let first = secure.next();
        let port = match config.tls.https_redirect {
            HttpsRedirect::Off => return None,
            HttpsRedirect::Auto if first.is_none() || config.acme.domains.is_empty() => {
                return None;
            }
            HttpsRedirect::Port(port) => Some(port.get()),
            _ if secure.any(|port| port == HTTPS_PORT) => None,
            _ => first,
        };
        Some(Self {
            port: port.filter(|port| *port != HTTPS_PORT),
            concerns_proxies: config.tls.https_redirect != HttpsRedirect::Auto,
            domains: config.acme.domains.clone(),
            acceptor: acceptor.cloned(),
        })
    }

    /// The same URL with https.
    fn location(&self, head: &RequestHead) -> Option<String> {
        let authority = std::str::from_utf8(head.host()?).ok()?;
        let host = without_port(authority);
        if !self.serves(host) {
            return None;
        }
        let mut location = format!("https://{host}");
        if let Some(port) = self.port {
            location.push_str(&format!(":{port}"));
        }
        if head.is_rewritten() {
            location.push_str(std::str::from_utf8(head.target_path()).ok()?);
            return Some(location);
        }
        location.push_str(std::str::from_utf8(head.path()).ok()?);
        if !head.query().is_empty() {
            location.push('?');
            location.push_str(std::str::from_utf8(head.query()).ok()?);
        }
        Some(location)
    }

    fn serves(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
        let name = match bare.map(str::parse::<Ipv6Addr>) {
            Some(Ok(ip)) => ip.to_string(),
            _ => host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(),
        };
        self.domains.is_empty()
            || self.domains.contains(&name)
            || (self.acceptor.as_ref()).is_some_and(|acceptor| acceptor.covers(&name))
    }
}

impl Handler for Redirect {
    fn concerns(&self, request: &Request) -> bool {
        let is_of_proxy = request.local.server_port.is_empty() || request.local.is_uwsgi;
        !request.is_https
            && (!is_of_proxy || self.concerns_proxies)
            // A certificate authority asks over http (RFC 8555 §8.3).
            && acme_challenge::token(request.head.path()).is_none()
    }

    fn handle(&self, exchange: Exchange) -> Handled {
        let response = match self.location(&exchange.request.head) {
            Some(location) => LocalResponse::new(308).with_header("Location", location),
            None => LocalResponse::text(421, "this server has no certificate for this host"),
        };
        Handled::Answer(exchange, response.into())
    }
}

/// A host as it is written in a URL: an IPv6 address keeps its brackets.
fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::{AppSpec, Bind};
    use lockgate_http::RequestParser;

    fn redirect(setting: HttpsRedirect, domains: &[&str], bind: &[&str]) -> Option<Redirect> {
        let mut config = Config::with_defaults(AppSpec::parse("a:b").unwrap());
        config.tls.https_redirect = setting;
        config.acme.domains = domains.iter().map(|name| (*name).to_owned()).collect();
        let endpoint = |text: &&str| {
            let bind = Bind::parse(text).unwrap();
            Endpoint {
                scheme: bind.scheme.unwrap_or(Scheme::Http),
                address: bind.address,
            }
        };
        let endpoints: Vec<_> = bind.iter().map(endpoint).collect();
        Redirect::new(&config, &endpoints, None)
    }

    fn request(target: &str, host: &str) -> Request {
        let mut request = Request::default();
        let host = match host {
            "" => String::new(),
            host => format!("Host: {host}\r\n"),
        };
        let head = format!(
            "GET {target} HTTP/1.{}\r\n{host}\r\n",
            i32::from(!host.is_empty())
        );
        RequestParser::new(lockgate_http::Limits::default())
            .step(head.as_bytes(), &mut request.head)
            .unwrap();
        Arc::make_mut(&mut request.local).server_port = "80".to_owned();
        request
    }

    #[test]
    fn the_same_url_is_named_with_https() {
        const BOTH: &[&str] = &["http://[::]:80", "https://[::]:443"];
        const HIGH: &[&str] = &["https://[::1]:8443", "http://[::1]:8080"];
        let port = |port: u16| HttpsRedirect::Port(port.try_into().unwrap());
        let (auto, on) = (HttpsRedirect::Auto, HttpsRedirect::On);
        let site = &["shop.example", "192.0.2.1", "2001:db8::1"][..];
        let cases = [
            (
                auto,
                site,
                BOTH,
                "/",
                "shop.example",
                Some("https://shop.example/"),
            ),
            (
                auto,
                site,
                BOTH,
                "/a%20b?c=d&e",
                "Shop.Example:80",
                Some("https://Shop.Example/a%20b?c=d&e"),
            ),
            (
                auto,
                site,
                BOTH,
                "/",
                "shop.example.",
                Some("https://shop.example./"),
            ),
            (
                auto,
                site,
                BOTH,
                "http://shop.example/x",
                "evil.example",
                Some("https://shop.example/x"),
            ),
            (
                auto,
                site,
                BOTH,
                "/",
                "192.0.2.1:8080",
                Some("https://192.0.2.1/"),
            ),
            (
                auto,
                site,
                BOTH,
                "/",
                "[2001:DB8::1]:80",
                Some("https://[2001:DB8::1]/"),
            ),
            (auto, site, BOTH, "/", "evil.example", None),
            (auto, site, BOTH, "/", "shop.example.evil.example", None),
            (auto, site, BOTH, "/", "", None),
            (
                auto,
                site,
                HIGH,
                "//evil.example/..",
                "shop.example:8080",
                Some("https://shop.example:8443//evil.example/.."),
            ),
            (
                port(443),
                site,
                HIGH,
                "/",
                "shop.example",
                Some("https://shop.example/"),
            ),
            (
                port(444),
                &[],
                BOTH,
                "/",
                "any.example",
                Some("https://any.example:444/"),
            ),
            (
                on,
                &[],
                BOTH,
                "/",
                "any.example",
                Some("https://any.example/"),
            ),
            (
                on,
                &[],
                &["http://[::]:80"],
                "/",
                "any.example",
                Some("https://any.example/"),
            ),
            (on, site, BOTH, "/", "any.example", None),
        ];
        for (setting, domains, bind, target, host, expected) in cases {
            let redirect = redirect(setting, domains, bind).unwrap();
            let request = request(target, host);
            assert!(redirect.concerns(&request), "{target}");
            let location = redirect.location(&request.head);
            assert_eq!(location.as_deref(), expected, "{setting:?} {host}{target}");
        }
    }

    #[test]
    fn it_is_on_where_a_domain_is_served_or_the_operator_asks_for_it() {
        const TLS: &[&str] = &["https://[::]:443", "http://[::]:80"];
        let cases = [
            (HttpsRedirect::Auto, &["a.example"][..], TLS, true),
            (HttpsRedirect::Auto, &[], TLS, false),
            (
                HttpsRedirect::Auto,
                &["a.example"],
                &["http://[::]:80"],
                false,
            ),
            (HttpsRedirect::Off, &["a.example"], TLS, false),
            (HttpsRedirect::On, &[], &["http://[::]:80"], true),
        ];
        for (setting, domains, bind, expected) in cases {
            let is_on = redirect(setting, domains, bind).is_some();
            assert_eq!(is_on, expected, "{setting:?} {domains:?} {bind:?}");
        }
    }

    #[test]
    fn secure_requests_challenges_and_proxies_are_left_alone() {
        let both = &["http://[::]:80", "https://[::]:443"];
        let [auto, on] = [HttpsRedirect::Auto, HttpsRedirect::On]
            .map(|setting| redirect(setting, &["a.example"], both).unwrap());
        let secure = Request {
            is_https: true,
            ..request("/", "a.example")
        };
        assert!(!auto.concerns(&secure) && !on.concerns(&secure));
        let challenge = request("/.well-known/acme-challenge/token", "a.example");
        assert!(!auto.concerns(&challenge) && !on.concerns(&challenge));
        let mut proxied = request("/", "a.example");
        Arc::make_mut(&mut proxied.local).server_port.clear();
        assert!(!auto.concerns(&proxied) && on.concerns(&proxied));
    }
}
