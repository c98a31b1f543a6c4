//! The protocols that connections speak, and which of them a new connection begins with.

pub(crate) mod handshake;
mod held_websocket;
pub(crate) mod http1;
pub(crate) mod http2;
mod intake;
mod next_page;
mod proxy_header;
mod subrequest;
pub(crate) mod tunnel;
mod uwsgi;

use std::sync::Arc;
use std::time::Instant;

use lockgate_http::RequestParser;

use crate::connection::Protocol;
use crate::connection::link::Link;
use crate::event_loop::context::Context;
use crate::event_loop::handle::SharedEventLoop;
use crate::event_loop::{Opened, Opener};
use crate::exchange::client_identity::ClientIdentity;

use self::handshake::Handshaking;
use self::http1::Http1;
use self::http2::Http2;
use self::proxy_header::AwaitingProxyHeader;

/// Opens connections for the event loop of one worker.
#[derive(Clone)]
pub struct Protocols {
    pub context: Arc<Context>,
    pub event_loop: Arc<SharedEventLoop>,
}

impl Opener for Protocols {
    fn open(&self, opened: Opened, now: Instant) -> Box<dyn Protocol> {
        let Opened {
            slot,
            transport,
            client,
            local,
        } = opened;
        let config = &self.context.config;
        let is_handshaking = transport.begins_with_handshake();
        let time = if is_handshaking {
            config.tls.handshake_timeout
        } else {
            config.head_timeout
        };
        let link = Link::new(slot, transport, client, local, now + time);
        match is_handshaking {
            true if self.context.proxies.requires_header() => {
                let protocols = self.clone();
                let shake_hands = move |link| protocols.shake_hands(link);
                let context = Arc::clone(&self.context);
                Box::new(AwaitingProxyHeader::new(
                    link,
                    context,
                    Box::new(shake_hands),
                ))
            }
            true => self.shake_hands(link),
            false => self.speak(None, link),
        }
    }
}

impl Protocols {
    fn shake_hands(&self, link: Link) -> Box<dyn Protocol> {
        let protocols = self.clone();
        let speak = move |alpn: Option<&[u8]>, link| protocols.speak(alpn, link);
        let context = Arc::clone(&self.context);
        Box::new(Handshaking::new(link, context, Box::new(speak)))
    }

    /// The protocol that client and server have agreed on (ALPN, RFC 7301); without an agreement HTTP/1.
    pub(crate) fn speak(&self, alpn: Option<&[u8]>, link: Link) -> Box<dyn Protocol> {
        if alpn == Some(b"h2") {
            return Box::new(Http2::new(
                Arc::clone(&self.context),
                Arc::clone(&self.event_loop),
                link,
                ClientIdentity::default(),
                Vec::new(),
                Instant::now(),
            ));
        }
        let limits = Arc::clone(&self.context.limits);
        let parser = match link.local.is_uwsgi {
            true => uwsgi::parser(&link.client, &self.context.config.uwsgi.protocol, limits),
            false => RequestParser::new(limits),
        };
        Box::new(Http1::new(
            Arc::clone(&self.context),
            Arc::clone(&self.event_loop),
            link,
            parser,
        ))
    }
}
