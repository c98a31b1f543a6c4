//! The modifiers of uwsgi packets: what kinds there are, and which of them are requests for a WSGI application.

use super::fault::PacketFault;

/// A request, whose PATH_INFO is as the web server has set it.
const WSGI: u8 = 0;

/// A request from whose PATH_INFO the SCRIPT_NAME has to be removed. This happens for [`WSGI`], too, where it is there.
const WSGI_WITH_PATH: u8 = 30;

/// Checks the kind of a packet.
pub(super) fn check_modifiers(first: u8, second: u8) -> Result<(), PacketFault> {
    match first {
        WSGI | WSGI_WITH_PATH if second == 0 => Ok(()),
        WSGI | WSGI_WITH_PATH => Err(PacketFault::UnsupportedModifier2 { modifier: second }),
        _ => Err(PacketFault::UnsupportedModifier { modifier: first }),
    }
}

/// What the packets with this first modifier are, in uWSGI's documents; `None` if they do not name it.
pub fn modifier_name(first: u8) -> Option<&'static str> {
    Some(match first {
        WSGI | WSGI_WITH_PATH => "a WSGI request",
        5 => "a PSGI request",
        6 => "a Lua request",
        7 => "a Rack request",
        8 => "a JWSGI or Ring request",
        9 => "a CGI request",
        10 => "a request to the management interface",
        14 => "a PHP request",
        15 => "a Mono request",
        17 => "a message for the spooler",
        18 => "a call of a C function",
        22 => "code to run",
        23 => "an XSLT request",
        24 => "a V8 request",
        25 => "a GridFS request",
        26 => "a GlusterFS request",
        27 => "a call of a fast function",
        31..=33 => "a message",
        48 => "an SNMP request",
        72 => "an HTTP response",
        73 => "an announcement",
        74 => "a multicast message",
        95 => "a message about a cluster",
        96 => "a log message",
        97 | 98 => "a reload request",
        99 => "a request for options",
        100 => "a ping",
        101 => "an echo request",
        109 => "a Legion message",
        110 => "a uwsgi signal",
        111 => "a cache request",
        173 => "a remote procedure call",
        200 => "the end of a persistent connection",
        224 => "a subscription",
        255 => "a response",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wsgi_requests_are_served() {
        for first in 0..=u8::MAX {
            for second in [0, 1, u8::MAX] {
                let expected = match (first, second) {
                    (0 | 30, 0) => Ok(()),
                    (0 | 30, _) => Err(PacketFault::UnsupportedModifier2 { modifier: second }),
                    _ => Err(PacketFault::UnsupportedModifier { modifier: first }),
                };
                assert_eq!(check_modifiers(first, second), expected);
            }
        }
    }
}
