//! The address of a Redis server, as a URL: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS.

use std::fmt;

use crate::notation::quoted;
use crate::raw_value::ValueError;

/// See the module. The password is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// Whether the connection is encrypted (`rediss`).
    pub is_tls: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The user of an access control list; `None`: the default user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// Number of the database.
    pub database: u32,
}

const DEFAULT_PORT: u16 = 6379;
/// What stands for a password.
const HIDDEN: &str = "***";

impl RedisAddress {
    /// Parses a URL. The error says what to write and shows no password.
    pub(crate) fn parse(text: &str) -> Result<Self, ValueError> {
        Self::parse_url(text).ok_or_else(|| ValueError {
            line: None,
            piece: Some(quoted(&without_credentials(text))),
            requirement: "must be a URL such as redis://HOST:6379/0, redis://:PASSWORD@HOST or rediss://USER:PASSWORD@HOST; \
                          encode special characters of the password as %XX"
                .to_owned(),
        })
    }

    fn parse_url(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        let (authority, database) = match rest.split_once('/') {
            None | Some((_, "")) => (rest.trim_end_matches('/'), 0),
            Some((authority, database)) => (authority, whole_number(database)?),
        };
        let (credentials, place) = match authority.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, authority),
        };
        let (user, password) = match credentials {
            None => (None, None),
            Some(credentials) => {
                let (user, password) = credentials.split_once(':')?;
                let user = (!user.is_empty()).then_some(user);
                (user.map(decoded), Some(decoded(password)))
            }
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                match port {
                    "" => (host, None),
                    port => (host, Some(port.strip_prefix(':')?)),
                }
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return None;
        }
        Some(Self {
            is_tls,
            host: host.to_owned(),
            port: match port {
                None => DEFAULT_PORT,
                Some(port) => u16::try_from(whole_number(port)?)
                    .ok()
                    .filter(|port| *port > 0)?,
            },
            user: user.map_or(Some(None), |user| user.map(Some))?,
            password: password.map_or(Some(None), |password| password.map(Some))?,
            database,
        })
    }
}

/// `parse` accepts a sign.
fn whole_number(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// Text in which `%XX` stands for a byte.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        match (first, others) {
            (b'%', [high, low, others @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                rest = others;
            }
            (b'%', _) => return None,
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// What was written, without what may be a password.
pub(crate) fn without_credentials(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + "://".len());
    match text.rfind('@').filter(|end| *end >= start) {
        Some(end) => format!("{}{HIDDEN}{}", &text[..start], &text[end..]),
        None => text.to_owned(),
    }
}

/// As the setting takes it, but without the password.
impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_tls { "rediss://" } else { "redis://" })?;
        if self.password.is_some() {
            let user = self.user.as_deref().unwrap_or_default();
            write!(f, "{user}:{HIDDEN}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        write!(f, ":{}/{}", self.port, self.database)
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_parsed_and_shown_without_its_password() {
        for (text, shown) in [
            ("redis://localhost", "redis://localhost:6379/0"),
            ("redis://localhost/", "redis://localhost:6379/0"),
            ("redis://10.0.0.1:1/3", "redis://10.0.0.1:1/3"),
            ("redis://[::1]", "redis://[::1]:6379/0"),
            ("redis://[::1]:7/1", "redis://[::1]:7/1"),
            ("rediss://:pa%40ss@cache", "rediss://:***@cache:6379/0"),
            ("redis://me:p:a@cache:1", "redis://me:***@cache:1/0"),
        ] {
            let address = RedisAddress::parse(text).expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("RedisAddress({shown})"));
        }
        let address = RedisAddress::parse("redis://%6de:p%3A%C3%A4@h/2").unwrap();
        assert_eq!(address.user.as_deref(), Some("me"));
        assert_eq!(address.password.as_deref(), Some("p:ä"));
    }

    #[test]
    fn what_is_no_url_is_refused_without_showing_a_password() {
        for (text, shown) in [
            ("localhost:6379", "localhost:6379"),
            ("http://localhost", "http://localhost"),
            ("redis://", "redis://"),
            ("redis://h:0", "redis://h:0"),
            ("redis://h:+1", "redis://h:+1"),
            ("redis://h/x", "redis://h/x"),
            ("redis://[::1", "redis://[::1"),
            ("redis://[::1]7", "redis://[::1]7"),
            ("redis://secret@h", "redis://***@h"),
            ("redis://:secret%4@h", "redis://***@h"),
            ("redis://:secret%ff@h", "redis://***@h"),
            ("redis://:secret@h h", "redis://***@h h"),
            ("secret@h", "***@h"),
        ] {
            let error = RedisAddress::parse(text).unwrap_err();
            assert_eq!(error.piece, Some(quoted(shown)), "{text}");
        }
    }
}
