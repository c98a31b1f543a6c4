//! The uwsgi protocol: who may send packets, and what a packet says of the client and the web server. Everything else is
//! as on a connection of HTTP/1 that closes after its first response.

use std::sync::Arc;

use lockgate_config::UwsgiProtocolConfig;
use lockgate_http::uwsgi::{Packet, PacketFault};
use lockgate_http::{Limits, Refusal, RequestParser};

use crate::client::{Client, Local};
use crate::connection::link::Link;
use crate::event_loop::context::Context;
use crate::exchange::client_identity::{ClientIdentity, is_among};
use crate::exchange::request::Request;

/// The parser of a new connection: a peer that may not send packets is refused when it sends something.
pub fn parser(peer: &Client, config: &UwsgiProtocolConfig, limits: Arc<Limits>) -> RequestParser {
    match is_among(&config.peers, peer) {
        true => RequestParser::of_uwsgi(limits),
        false => RequestParser::refusing(PacketFault::PeerForbidden.into(), limits),
    }
}

/// Takes over what the packet says besides the head of `request`.
///
/// # Errors
/// Headers about the client contradict each other, or are not allowed.
pub fn take_packet(
    packet: Box<Packet>,
    request: &mut Request,
    link: &mut Link,
    identity: &mut ClientIdentity,
    context: &Context,
) -> Result<(), Refusal> {
    request.is_https = packet.is_https();
    link.local = local(&packet, &link.local);
    let web_server = Arc::clone(&link.client);
    let named = packet.remote_address();
    request.packet = Some(packet);
    let proxies = &context.proxies;
    let has_stripped =
        identity.identify_behind(&web_server, named, request, &mut link.client, proxies)?;
    if has_stripped {
        context.report_stripping(&web_server);
    }
    Ok(())
}

/// The listener under the name that the web server gives it.
fn local(packet: &Packet, listener: &Arc<Local>) -> Arc<Local> {
    let name = Some(packet.server_name()).filter(|name| !name.is_empty());
    let port = packet.server_port().map(|port| port.to_string());
    Arc::new(Local {
        server_name: name.unwrap_or(&listener.server_name).to_owned(),
        server_port: port.unwrap_or_else(|| listener.server_port.clone()),
        ..**listener
    })
}
