//! The request in a uwsgi packet: which variables are its control data and its fields.
//!
//! Invariant: the rules of HTTP hold ([`RequestHeadBuilder`]). Of several variables with the same name the last one
//! counts, as in uWSGI: an operator overrides nginx's `uwsgi_params` so. Repeated fields of the client stay repeated.

use std::net::IpAddr;

use super::fault::PacketFault;
use super::packet::{Packet, RemoteAddress};
use super::variables::Variables;
use crate::error::Refusal;
use crate::limits::Limits;
use crate::request::{RequestHead, Version};
use crate::request_builder::{ControlData, RequestHeadBuilder};
use crate::rules::grammar::TARGET;
use crate::rules::target::{check_target, decode_path};
use crate::span::Span;

/// The variables that the server interprets.
#[derive(Default)]
struct Meta<'a> {
    method: Option<&'a [u8]>,
    target: &'a [u8],
    path: Option<&'a [u8]>,
    query: Option<&'a [u8]>,
    script_name: &'a [u8],
    protocol: &'a [u8],
    host: &'a [u8],
    content_type: &'a [u8],
    content_length: Option<&'a [u8]>,
    is_transfer_encoded: bool,
    remote_address: &'a [u8],
    remote_port: &'a [u8],
    server_name: &'a [u8],
    server_port: &'a [u8],
    /// UWSGI_SCHEME, HTTPS, REQUEST_SCHEME.
    schemes: [&'a [u8]; 3],
}

/// Reads the request of a packet into `head`.
pub(super) fn read_request(
    variables: Variables,
    head: &mut RequestHead,
    limits: &Limits,
) -> Result<Packet, Refusal> {
    let meta = Meta::of(&variables)?;
    let path = meta.full_path()?;
    let target = meta.target_or(path.as_deref())?;
    let control_data = ControlData {
        method: meta.method.ok_or(PacketFault::MissingMethod)?,
        scheme: None,
        authority: None,
        target: &target,
        version: meta.builder_version()?,
    };
    let mut builder = RequestHeadBuilder::new(head, &control_data, limits)?;
    if meta.host.is_empty() {
        // The web server has chosen the site already.
        builder.waive_host();
    } else {
        builder.field(b"HOST", meta.host)?;
    }
    if !meta.content_type.is_empty() {
        builder.field(b"CONTENT-TYPE", meta.content_type)?;
    }
    if let Some(length) = meta.content_length.filter(|length| !length.is_empty()) {
        builder.field(b"CONTENT-LENGTH", length)?;
    } else if meta.content_length.is_none() && meta.is_transfer_encoded {
        return Err(PacketFault::MissingLength.into());
    }
    let mut name = Vec::new();
    for (variable, value) in variables.pairs() {
        if let Some(rest) = field_of(variable) {
            name.clear();
            name.extend(
                rest.iter()
                    .map(|&byte| if byte == b'_' { b'-' } else { byte }),
            );
            builder.field(&name, value)?;
        }
    }
    builder.finish()?;
    head.adopt(&meta, path.as_deref())?;
    let mut packet = Packet {
        remote: meta.remote_address()?,
        is_https: meta.is_https(),
        server_name: meta.server_name().into(),
        server_port: number(meta.server_port),
        ..Packet::default()
    };
    (packet.bytes, packet.parameters) = variables.into_parts(is_parameter);
    Ok(packet)
}

impl<'a> Meta<'a> {
    fn of(variables: &'a Variables) -> Result<Self, PacketFault> {
        let mut meta = Self::default();
        for (name, value) in variables.pairs() {
            match name {
                b"REQUEST_METHOD" => meta.method = Some(value),
                b"REQUEST_URI" => meta.target = value,
                b"PATH_INFO" => meta.path = Some(value),
                b"QUERY_STRING" => meta.query = Some(value),
                b"SCRIPT_NAME" => meta.script_name = value,
                b"SERVER_PROTOCOL" => meta.protocol = value,
                b"HTTP_HOST" => meta.host = value,
                b"HTTP_TRANSFER_ENCODING" => meta.is_transfer_encoded = true,
                b"CONTENT_TYPE" => meta.content_type = value,
                b"CONTENT_LENGTH" => {
                    if meta.content_length.is_some_and(|length| length != value) {
                        return Err(PacketFault::ContradictoryLength);
                    }
                    meta.content_length = Some(value);
                }
                b"REMOTE_ADDR" => meta.remote_address = value,
                b"REMOTE_PORT" => meta.remote_port = value,
                b"SERVER_NAME" => meta.server_name = value,
                b"SERVER_PORT" => meta.server_port = value,
                b"UWSGI_SCHEME" => meta.schemes[0] = value,
                b"HTTPS" => meta.schemes[1] = value,
                b"REQUEST_SCHEME" => meta.schemes[2] = value,
                _ => {}
            }
        }
        Ok(meta)
    }

    /// SCRIPT_NAME and PATH_INFO as one path. `None`: the packet has no PATH_INFO.
    ///
    /// A web server that does not remove SCRIPT_NAME from PATH_INFO leaves this to the application server (uWSGI's
    /// modifier 30): then PATH_INFO is the whole path.
    fn full_path(&self) -> Result<Option<Vec<u8>>, PacketFault> {
        let Some(path) = self.path else {
            return Ok(None);
        };
        if self.target == b"*" {
            return Ok(None);
        }
        if !matches!(path, [] | [b'/', ..]) {
            return Err(PacketFault::RelativePath);
        }
        let script_name = self.script_name()?;
        let whole = [script_name, path].concat();
        let is_whole = matches!(path.strip_prefix(script_name), Some([] | [b'/', ..]));
        if !is_whole || script_name.is_empty() {
            return Ok(Some(whole));
        }
        let mut asked = Vec::new();
        let end = self.target.iter().position(|&byte| byte == b'?');
        decode_path(&self.target[..end.unwrap_or(self.target.len())], &mut asked);
        Ok(Some(if asked == whole { whole } else { path.to_vec() }))
    }

    /// SCRIPT_NAME without a slash at its end.
    fn script_name(&self) -> Result<&'a [u8], PacketFault> {
        let name = self.script_name;
        match name.strip_suffix(b"/").unwrap_or(name) {
            name @ ([] | [b'/', ..]) => Ok(name),
            _ => Err(PacketFault::RelativeScriptName),
        }
    }

    /// REQUEST_URI, or what it would be.
    fn target_or(&self, path: Option<&[u8]>) -> Result<Vec<u8>, PacketFault> {
        if !self.target.is_empty() {
            return Ok(self.target.to_vec());
        }
        let mut target = Vec::new();
        encode_path(path.ok_or(PacketFault::MissingTarget)?, &mut target);
        if target.is_empty() {
            target.push(b'/');
        }
        if let Some(query) = self.query.filter(|query| !query.is_empty()) {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        Ok(target)
    }

    /// The version whose rules hold. Fields of HTTP/2 have come in the form of CGI.
    fn builder_version(&self) -> Result<Version, PacketFault> {
        Ok(match self.version()? {
            Version::Http10 => Version::Http10,
            _ => Version::Http11,
        })
    }

    fn version(&self) -> Result<Version, PacketFault> {
        Ok(match self.protocol {
            b"HTTP/1.0" => Version::Http10,
            b"HTTP/1.1" | b"" => Version::Http11,
            b"HTTP/2" | b"HTTP/2.0" => Version::Http2,
            b"HTTP/3" | b"HTTP/3.0" => Version::Http3,
            _ => return Err(PacketFault::UnknownProtocol),
        })
    }

    fn is_https(&self) -> bool {
        let is = |value: &[u8], word: &str| value.eq_ignore_ascii_case(word.as_bytes());
        let [uwsgi_scheme, https, request_scheme] = self.schemes;
        if !uwsgi_scheme.is_empty() {
            return is(uwsgi_scheme, "https");
        }
        if !https.is_empty() {
            return ["on", "1", "true"].iter().any(|word| is(https, word));
        }
        is(request_scheme, "https")
    }

    fn remote_address(&self) -> Result<RemoteAddress, PacketFault> {
        match self.remote_address {
            b"" => Ok(RemoteAddress::Absent),
            b"unix:" => Ok(RemoteAddress::Unix),
            text => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse::<IpAddr>().ok())
                .map(|address| {
                    let port = number(self.remote_port).unwrap_or_default();
                    RemoteAddress::Network(address.to_canonical(), port)
                })
                .ok_or(PacketFault::InvalidRemoteAddress),
        }
    }

    /// nginx sends an empty name where a server has none.
    fn server_name(&self) -> &'a str {
        let name = match self.server_name {
            b"" => without_port(self.host),
            name => name,
        };
        std::str::from_utf8(name).unwrap_or_default()
    }
}

impl RequestHead {
    /// Takes over what a packet says apart from the target and the fields. A path or a query that the web server has
    /// rewritten is stored behind the head.
    fn adopt(&mut self, meta: &Meta<'_>, path: Option<&[u8]>) -> Result<(), Refusal> {
        self.set_version(meta.version()?);
        // The client waits for the web server, which has the body.
        self.summary.expects_continue = false;
        // The packet names the client.
        self.summary.may_have_forwarding_headers = true;
        self.summary.parts.is_https = false;
        if !meta.host.is_empty() {
            self.summary.parts.authority = None;
        }
        let mut asked = Vec::new();
        decode_path(self.path(), &mut asked);
        if let Some(path) = path.filter(|path| *path != asked) {
            self.summary.parts.path = Some(self.append(|bytes| encode_path(path, bytes)));
        }
        if let Some(query) = meta.query.filter(|query| *query != self.query()) {
            check_target(query).1?;
            self.summary.parts.query = self.append(|bytes| bytes.extend_from_slice(query));
        }
        let script_name = meta.script_name()?;
        if !script_name.is_empty() {
            self.summary.script_name = self.append(|bytes| encode_path(script_name, bytes));
        }
        Ok(())
    }

    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.bytes.len();
        write(&mut self.bytes);
        Span::new(start, self.bytes.len())
    }
}

/// The name of the client's field in this variable, in the notation of CGI (RFC 3875 §4.1.18).
fn field_of(variable: &[u8]) -> Option<&[u8]> {
    let name = variable.strip_prefix(b"HTTP_")?;
    let is_made_of_field = |&byte: &u8| !byte.is_ascii_lowercase() && byte != b'-';
    let is_elsewhere = matches!(
        name,
        b"HOST" | b"CONTENT_LENGTH" | b"CONTENT_TYPE" | b"TRANSFER_ENCODING"
    );
    (!is_elsewhere && name.iter().all(is_made_of_field)).then_some(name)
}

/// Whether a variable is no part of the request.
fn is_parameter(variable: &[u8]) -> bool {
    const OF_REQUEST: [&[u8]; 12] = [
        b"REQUEST_METHOD",
        b"REQUEST_URI",
        b"PATH_INFO",
        b"QUERY_STRING",
        b"SCRIPT_NAME",
        b"SERVER_PROTOCOL",
        b"SERVER_NAME",
        b"SERVER_PORT",
        b"REMOTE_ADDR",
        b"REMOTE_PORT",
        b"CONTENT_TYPE",
        b"CONTENT_LENGTH",
    ];
    const OF_CONNECTION: [&[u8]; 4] = [
        b"HTTP_HOST",
        b"HTTP_CONTENT_LENGTH",
        b"HTTP_CONTENT_TYPE",
        b"HTTP_TRANSFER_ENCODING",
    ];
    let mut known = OF_REQUEST.iter().chain(&OF_CONNECTION);
    field_of(variable).is_none() && !known.any(|known| *known == variable)
}

/// Appends a decoded path to `out` so that it can be part of a target.
fn encode_path(path: &[u8], out: &mut Vec<u8>) {
    const HEXADECIMAL: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in path {
        if TARGET[usize::from(byte)] && byte != b'%' && byte != b'?' {
            out.push(byte);
        } else {
            let digit = |value: u8| HEXADECIMAL[usize::from(value)];
            out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !host[colon..].contains(&b']') => &host[..colon],
        _ => host,
    }
}

fn number(digits: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(digits).ok()?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain)
}
