//! The uwsgi protocol, in which web servers pass requests to an application server: packets in, heads of requests out.
//!
//! A connection has one packet: a header of four bytes, the variables of the request as in CGI (RFC 3875), and then the
//! body, which is as long as CONTENT_LENGTH says. The response is one of HTTP/1.

pub(crate) mod fault;

mod modifiers;

pub(crate) mod packet_reader;

mod variables;

mod packet;

mod request;

pub use fault::PacketFault;
pub use modifiers::modifier_name;
pub use packet::{Packet, RemoteAddress};
