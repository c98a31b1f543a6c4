//! The identity of a connection's client: the peer, the client named by its PROXY header, or the client named by a
//! trusted proxy's headers. `lockgate-http` parses those headers, and the configuration names the trusted proxies.
//!
//! Invariant: trust is decided for the client that speaks HTTP. Where a PROXY header names one, that is the named
//! client and not the proxy that forwards its bytes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lockgate_config::{ForwardedHeaders, Networks, ProxiesConfig, ProxyVersion};
use lockgate_http::uwsgi::RemoteAddress;
use lockgate_http::{
    ForwardingRules, Hop, HopHeaders, MalformedProxyHeader, ProxyProtocol, ProxySource, Refusal,
    SchemeHeader, read_proxy_header,
};

use super::refusals::RefusalWarnings;
use crate::client::{Client, ProxyEnd};
use crate::exchange::request::Request;

/// The proxies that a worker trusts, and what it takes from them.
pub struct TrustedProxies {
    rules: ForwardingRules,
    trusted: Networks,
    protocol: Option<ProxyProtocol>,
    protocol_peers: Networks,
    examines_all_heads: bool,
    has_reported_stripping: AtomicBool,
    pub(crate) warnings: RefusalWarnings,
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
            examines_all_heads: rules.has_unusual_names(),
            rules,
            trusted: config.trusted.clone(),
            protocol: config.protocol.map(|version| match version {
                ProxyVersion::V1 => ProxyProtocol::V1,
                ProxyVersion::V2 => ProxyProtocol::V2,
                ProxyVersion::Auto => ProxyProtocol::Auto,
            }),
            protocol_peers: config.protocol_peers.clone(),
            has_reported_stripping: AtomicBool::new(false),
            warnings: RefusalWarnings::default(),
        }
    }

    /// Whether a peer may be a proxy for many clients: the clients it names count, in headers or in a PROXY header.
    pub fn may_be_proxy(&self, peer: &Client) -> bool {
        let may_pass_on = self.protocol.is_some() && is_among(&self.protocol_peers, peer);
        may_pass_on || self.trusts(peer)
    }

    pub(crate) fn trusts(&self, peer: &Client) -> bool {
        is_among(&self.trusted, peer)
    }

    /// True the first time.
    pub(crate) fn reports_stripping(&self) -> bool {
        let has_reported = &self.has_reported_stripping;
        !has_reported.load(Ordering::Relaxed) && !has_reported.swap(true, Ordering::Relaxed)
    }

    /// Whether connections begin with a PROXY header.
    pub(crate) fn requires_header(&self) -> bool {
        self.protocol.is_some()
    }

    /// Whether every head is examined, because a header with an unusual name may name the client.
    pub fn examines_all_heads(&self) -> bool {
        self.examines_all_heads
    }
}

/// The client of a connection, as far as it is known.
#[derive(Default)]
pub(crate) struct ClientIdentity {
    /// What has arrived of the PROXY header, while it is awaited.
    #[expect(
        clippy::box_collection,
        reason = "rarely there, and a connection should be small"
    )]
    header: Option<Box<Vec<u8>>>,
    /// Whether the peer's headers are trusted, once that was decided.
    is_trusted: Option<bool>,
    /// Whether a web server in front, which speaks the uwsgi protocol, is trusted.
    is_web_server_trusted: Option<bool>,
    /// The last client identified, and the hop that named it: proxies send several requests of a client in a row.
    named: Option<Box<(Hop, Arc<Client>)>>,
}

impl ClientIdentity {
    /// `is_named`: the client is named otherwise. With TLS the PROXY header has come before the handshake, and packets of
    /// the uwsgi protocol have the client's address.
    pub(crate) fn new(proxies: &TrustedProxies, is_named: bool) -> Self {
        let protocol = proxies.protocol.filter(|_| !is_named);
        Self {
            header: protocol.map(|_| Box::default()),
            ..Self::default()
        }
    }

    /// Whether the PROXY header has not arrived yet.
    pub(crate) fn awaits_proxy_header(&self) -> bool {
        self.header.is_some()
    }

    fn client_of(&mut self, hop: Hop, peer: &Client) -> &Arc<Client> {
        let named = match self.named.take() {
            Some(named) if named.0 == hop => named,
            _ => {
                let port = hop.port.map(|port| port.to_string()).unwrap_or_default();
                let client = Client::new(&hop.address.to_string(), &port)
                    .behind_proxy(peer.proxy().cloned().map(Box::new));
                Box::new((hop, Arc::new(client)))
            }
        };
        &self.named.insert(named).1
    }
}

/// The result of reading a PROXY header.
pub(crate) enum ProxyHeaderRead<'i> {
    /// More is needed.
    Incomplete,
    /// The header is complete; this is the input after it.
    Complete(&'i [u8]),
    /// The header is missing, malformed or not allowed.
    Refused {
        refusal: Refusal,
        reason: String,
        /// The client sends HTTP or a line of text, so it can read an answer.
        is_readable: bool,
    },
}

impl ClientIdentity {
    /// Identifies the client of a request from headers that may name it. Returns whether headers were removed because
    /// the peer is not trusted.
    #[cold]
    pub(crate) fn identify(
        &mut self,
        request: &mut Request,
        peer: &Arc<Client>,
        proxies: &TrustedProxies,
    ) -> Result<bool, Refusal> {
        if !self.is_trusted(peer, proxies) {
            request.set_client(peer);
            // RFC 9110 §7.4: only a trusted gateway may forward a request that was meant for a secured connection.
            if request.head.has_https_target() && !request.is_https {
                return Err(Refusal::HttpsTargetOverPlainHttp);
            }
            return Ok(proxies.rules.strip(&mut request.head)? > 0);
        }
        let named = proxies
            .rules
            .read(&mut request.head, |address| proxies.trusted.names(address))?;
        request.is_https = named.is_https.unwrap_or(request.is_https);
        match named.client {
            Some(hop) => request.set_client(self.client_of(hop, peer)),
            None => request.set_client(peer),
        }
        Ok(false)
    }

    /// Identifies the client of a request that a web server has passed on over the uwsgi protocol. The web server names
    /// its own peer, which may be a proxy. Its fields may come from either, so they reach the application if the web
    /// server is trusted, but only those of a trusted proxy name a client.
    pub(crate) fn identify_behind(
        &mut self,
        web_server: &Client,
        named: RemoteAddress,
        request: &mut Request,
        peer: &mut Arc<Client>,
        proxies: &TrustedProxies,
    ) -> Result<bool, Refusal> {
        let passes_fields = proxies.trusts(web_server);
        self.is_web_server_trusted = Some(passes_fields);
        let is_proxy = match named {
            RemoteAddress::Absent => passes_fields,
            RemoteAddress::Unix => {
                *peer = Arc::default();
                false
            }
            RemoteAddress::Network(address, port) => {
                let port = if port > 0 {
                    port.to_string()
                } else {
                    String::new()
                };
                *peer = Arc::new(Client::new(&address.to_string(), &port));
                proxies.trusts(peer)
            }
        };
        self.is_trusted = Some(is_proxy);
        if passes_fields && !is_proxy {
            request.set_client(peer);
            return Ok(false);
        }
        self.identify(request, peer, proxies)
    }

    /// Whether the peer's headers are trusted.
    pub(crate) fn is_trusted(&mut self, peer: &Client, proxies: &TrustedProxies) -> bool {
        *self.is_trusted.get_or_insert_with(|| proxies.trusts(peer))
    }

    /// Whether the peer, or the web server that speaks for it, is trusted to identify requests: a wrong id or trace
    /// names no wrong client.
    pub(crate) fn is_trusted_with_requests(
        &mut self,
        peer: &Client,
        proxies: &TrustedProxies,
    ) -> bool {
        match self.is_web_server_trusted {
            Some(is_trusted) => is_trusted,
            None => self.is_trusted(peer, proxies),
        }
    }

    /// Takes the PROXY header from the first bytes of the connection, and the client that it names.
    #[cold]
    pub(crate) fn read_proxy_header<'i>(
        &mut self,
        input: &'i [u8],
        peer: &mut Arc<Client>,
        proxies: &TrustedProxies,
    ) -> ProxyHeaderRead<'i> {
        let (Some(mut header), Some(protocol)) = (self.header.take(), proxies.protocol) else {
            return ProxyHeaderRead::Complete(input);
        };
        let before = header.len();
        header.extend_from_slice(input);
        let refused = |refusal, reason| ProxyHeaderRead::Refused {
            refusal,
            reason,
            is_readable: header.first().is_some_and(u8::is_ascii_alphabetic),
        };
        if !header.is_empty() && !is_among(&proxies.protocol_peers, peer) {
            let reason = "it is not in proxy_allow_ips".to_owned();
            return refused(Refusal::ProxyHeaderForbidden, reason);
        }
        let read = match read_proxy_header(&header, protocol) {
            Ok(Some(read)) => read,
            Ok(None) => {
                self.header = Some(header);
                return ProxyHeaderRead::Incomplete;
            }
            Err(malformed) => {
                let refusal = match malformed {
                    MalformedProxyHeader::Absent => Refusal::ProxyHeaderMissing,
                    _ => Refusal::ProxyHeaderMalformed,
                };
                return refused(refusal, malformed.to_string());
            }
        };
        match read.source {
            ProxySource::Peer => {}
            ProxySource::Network {
                source,
                destination,
            } => *peer = Arc::new(client_behind(source, destination)),
            ProxySource::Unix => {
                // The client of a unix socket, perhaps on another machine, has no name and no trust here.
                *peer = Arc::default();
                self.is_trusted = Some(false);
            }
        }
        // More input does not change the result: the header ends in the bytes that have arrived now.
        ProxyHeaderRead::Complete(&input[read.length.saturating_sub(before)..])
    }
}

/// Peers on a unix socket are always trusted: the socket's mode decides which users may open it.
pub(crate) fn is_among(networks: &Networks, peer: &Client) -> bool {
    let address = || peer.host().parse::<IpAddr>();
    peer.host().is_empty() || address().is_ok_and(|address| networks.contains(address))
}

fn client_behind(source: SocketAddr, destination: SocketAddr) -> Client {
    let end = ProxyEnd {
        protocol: if source.is_ipv4() { "TCP4" } else { "TCP6" },
        host: destination.ip().to_string(),
        port: destination.port().to_string(),
    };
    Client::new(&source.ip().to_string(), &source.port().to_string())
        .behind_proxy(Some(Box::new(end)))
}
