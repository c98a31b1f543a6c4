//! The identity of a connection's client: the peer, the client named by its PROXY header, or the client named by a
//! trusted proxy's headers. `lockgate-http` parses those headers, and the configuration names the trusted proxies.
//!
//! Invariant: trust is decided for the client that speaks HTTP. Where a PROXY header names one, that is the named
//! client and not the proxy that forwards its bytes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lockgate_config::{ForwardedHeaders, Networks, ProxiesConfig, ProxyVersion};
use lockgate_http::{
    ForwardingRules, Hop, HopHeaders, MalformedProxyHeader, ProxyProtocol, ProxySource, Refusal,
    SchemeHeader, read_proxy_header,
};
use lockgate_observe::{Level, Outcome};

use super::refusals::RefusalWarnings;
use super::{Connection, Next};
use crate::exchange::request::{Client, ProxyEnd, Request};
use crate::log::throttle::and_suppressed;

/// The proxies that a worker trusts, and what it takes from them.
pub struct TrustedProxies {
    rules: ForwardingRules,
    trusted: Networks,
    protocol: Option<ProxyProtocol>,
    protocol_peers: Networks,
    looks_at_all: bool,
    has_told_of_stripping: AtomicBool,
    pub(super) warnings: RefusalWarnings,
}

impl TrustedProxies {
    pub fn new(config: &ProxiesConfig) -> Self {
        let rules = ForwardingRules {
            hops: match config.headers {
                ForwardedHeaders::Auto => HopHeaders::Either,
                ForwardedHeaders::XForwarded => HopHeaders::XForwarded,
                ForwardedHeaders::Forwarded => HopHeaders::Forwarded,
                ForwardedHeaders::Off => HopHeaders::Neither,
            },
            scheme_headers: config
                .scheme_headers
                .iter()
                .map(|(name, secure)| SchemeHeader {
                    name: name.as_bytes().to_vec(),
                    secure: secure.as_bytes().to_vec(),
                })
                .collect(),
            takes_host: config.host,
            takes_prefix: config.prefix,
            underscore_names: config
                .underscore_names
                .iter()
                .map(|name| name.as_bytes().to_vec())
                .collect(),
            refuses_underscores: config.refuse_underscores,
            strips_untrusted: config.strip_untrusted,
        };
        Self {
            looks_at_all: rules.has_unusual_names(),
            rules,
            trusted: config.trusted.clone(),
            protocol: config.protocol.map(|version| match version {
                ProxyVersion::V1 => ProxyProtocol::V1,
                ProxyVersion::V2 => ProxyProtocol::V2,
                ProxyVersion::Auto => ProxyProtocol::Auto,
            }),
            protocol_peers: config.protocol_peers.clone(),
            has_told_of_stripping: AtomicBool::new(false),
            warnings: RefusalWarnings::default(),
        }
    }

    /// Whether a peer may be a proxy for many clients: the clients it names count, in headers or in a PROXY header.
    pub fn may_be_proxy(&self, peer: &Client) -> bool {
        let may_pass_on = self.protocol.is_some() && is_among(&self.protocol_peers, peer);
        may_pass_on || self.trusts(peer)
    }

    pub(super) fn trusts(&self, peer: &Client) -> bool {
        is_among(&self.trusted, peer)
    }

    /// Whether every head is examined, because a header with an unusual name may name the client.
    pub fn looks_at_all(&self) -> bool {
        self.looks_at_all
    }
}

/// What a connection knows about its client.
#[derive(Default)]
pub(super) struct ClientIdentity {
    /// What has arrived of the PROXY header, while it is awaited.
    header: Option<Vec<u8>>,
    /// Whether the peer's headers are trusted, once that was decided.
    pub(super) is_trusted: Option<bool>,
    /// The last client identified, and the hop that named it: proxies send several requests of a client in a row.
    told: Option<Box<(Hop, Arc<Client>)>>,
}

impl ClientIdentity {
    pub(super) fn new(proxies: &TrustedProxies) -> Self {
        Self {
            header: proxies.protocol.map(|_| Vec::new()),
            ..Self::default()
        }
    }

    /// Whether the PROXY header has not arrived yet.
    pub(super) fn awaits_proxy_header(&self) -> bool {
        self.header.is_some()
    }

    fn client_of(&mut self, hop: Hop, peer: &Client) -> &Arc<Client> {
        let told = match self.told.take() {
            Some(told) if told.0 == hop => told,
            _ => {
                let client = Client {
                    host: hop.address.to_string(),
                    port: hop.port.map(|port| port.to_string()).unwrap_or_default(),
                    proxy: peer.proxy.clone(),
                };
                Box::new((hop, Arc::new(client)))
            }
        };
        &self.told.insert(told).1
    }
}

impl Connection {
    /// Identifies the client of a request from headers that may name it.
    #[cold]
    pub(super) fn identify(&mut self, request: &mut Request) -> Result<(), Refusal> {
        let proxies = &self.shared.proxies;
        let is_trusted = *self
            .identity
            .is_trusted
            .get_or_insert_with(|| proxies.trusts(&self.client));
        if !is_trusted {
            request.set_client(&self.client);
            // RFC 9110 §7.4: only a trusted gateway may forward a request that was meant for a secured connection.
            if request.head.has_https_target() && !request.is_https {
                return Err(Refusal::HttpsTargetOverPlainHttp);
            }
            if proxies.rules.strip(&mut request.head)? > 0 {
                self.tell_of_stripping();
            }
            return Ok(());
        }
        let told = proxies
            .rules
            .read(&mut request.head, |address| proxies.trusted.names(address))?;
        request.is_https = told.is_https.unwrap_or(request.is_https);
        match told.client {
            Some(hop) => request.set_client(self.identity.client_of(hop, &self.client)),
            None => request.set_client(&self.client),
        }
        Ok(())
    }

    /// Takes the PROXY header from the first bytes of the connection. Returns the input after it, or what to do when
    /// the header is incomplete or invalid.
    #[cold]
    pub(super) fn take_proxy_header<'i>(
        &mut self,
        input: &'i [u8],
        now: Instant,
    ) -> Result<&'i [u8], Option<Next>> {
        let proxies = &self.shared.proxies;
        let (Some(mut header), Some(protocol)) = (self.identity.header.take(), proxies.protocol)
        else {
            return Ok(input);
        };
        let before = header.len();
        header.extend_from_slice(input);
        if !header.is_empty() && !is_among(&proxies.protocol_peers, &self.client) {
            let reason = "it is not in proxy_allow_ips";
            return Err(self.refuse_connection(
                &header,
                Refusal::ProxyHeaderForbidden,
                reason,
                now,
            ));
        }
        let read = match read_proxy_header(&header, protocol) {
            Ok(Some(read)) => read,
            Ok(None) => {
                self.identity.header = Some(header);
                return Err(None);
            }
            Err(malformed) => {
                let refusal = match malformed {
                    MalformedProxyHeader::Absent => Refusal::ProxyHeaderMissing,
                    _ => Refusal::ProxyHeaderMalformed,
                };
                return Err(self.refuse_connection(&header, refusal, &malformed.to_string(), now));
            }
        };
        match read.source {
            ProxySource::Peer => {}
            ProxySource::Network {
                source,
                destination,
            } => self.client = Arc::new(client_behind(source, destination)),
            ProxySource::Unix => {
                // The client of a unix socket, perhaps on another machine, has no name and no trust here.
                self.client = Arc::default();
                self.identity.is_trusted = Some(false);
            }
        }
        // More input does not change the result: the header ends in the bytes that have arrived now.
        Ok(&input[read.length.saturating_sub(before)..])
    }

    /// Ends a connection without a valid PROXY header; a client that sends HTTP or a line of text gets the reason.
    fn refuse_connection(
        &mut self,
        first: &[u8],
        refusal: Refusal,
        reason: &str,
        now: Instant,
    ) -> Option<Next> {
        let warnings = &self.shared.proxies.warnings;
        if let Some(suppressed) = warnings.note(refusal, now) {
            let more = and_suppressed(suppressed);
            let who = shown(&self.client);
            self.shared.error_log.write_unless_blocked(
                Level::Warning,
                &format!("refused a connection of {who}: {reason}{more}"),
            );
        }
        if first.first().is_some_and(u8::is_ascii_alphabetic) {
            Some(self.refuse(refusal.into(), Outcome::Refused, now))
        } else {
            Some(Next::Close)
        }
    }

    fn tell_of_stripping(&self) {
        let has_told = &self.shared.proxies.has_told_of_stripping;
        if has_told.load(Ordering::Relaxed) || has_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let who = shown(&self.client);
        self.shared.error_log.write_unless_blocked(
            Level::Warning,
            &format!(
                "removed headers about the client (X-Forwarded-For, Forwarded or the like) from a request of {who}, \
                 which is not in forwarded_allow_ips; if that is your proxy, name it there (said once)"
            ),
        );
    }
}

/// Peers on a unix socket are always trusted: the socket's mode decides which users may open it.
fn is_among(networks: &Networks, peer: &Client) -> bool {
    let address = || peer.host.parse::<IpAddr>();
    peer.host.is_empty() || address().is_ok_and(|address| networks.contains(address))
}

pub(super) fn shown(client: &Client) -> &str {
    if client.host.is_empty() {
        "a client on a unix socket"
    } else {
        &client.host
    }
}

fn client_behind(source: SocketAddr, destination: SocketAddr) -> Client {
    Client {
        host: source.ip().to_string(),
        port: source.port().to_string(),
        proxy: Some(Box::new(ProxyEnd {
            protocol: if source.is_ipv4() { "TCP4" } else { "TCP6" },
            host: destination.ip().to_string(),
            port: destination.port().to_string(),
        })),
    }
}
