//! Credentials of HTTP Basic (RFC 7617) in a request.

use std::fmt;

use data_encoding::BASE64;
use lockgate_http::RequestHead;

/// A name and a password, as a client has sent them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: Box<str>,
    password: Box<[u8]>,
}

/// Why a request has no credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoCredentials {
    /// There is no Authorization, or it is of another scheme.
    Missing,
    /// There is more than one Authorization: the application might take another one than the server.
    Repeated,
    /// They are not base64 of a name in UTF-8, a colon and a password, or have control characters.
    Malformed,
}

impl fmt::Debug for Credentials {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Credentials of these parts.
    pub fn new(user: &str, password: &[u8]) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }

    /// Those of a request.
    ///
    /// # Errors
    /// [`NoCredentials`].
    pub fn of(head: &RequestHead) -> Result<Self, NoCredentials> {
        let mut fields = head
            .headers()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"authorization"));
        let (_, value) = fields.next().ok_or(NoCredentials::Missing)?;
        if fields.next().is_some() {
            return Err(NoCredentials::Repeated);
        }
        Self::parse(value)
    }

    /// Reads the value of Authorization.
    fn parse(value: &[u8]) -> Result<Self, NoCredentials> {
        const SCHEME: &[u8] = b"basic";
        let (scheme, rest) = value
            .split_at_checked(SCHEME.len())
            .ok_or(NoCredentials::Missing)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) || !rest.starts_with(b" ") {
            return Err(NoCredentials::Missing);
        }
        let encoded = rest.trim_ascii();
        let decoded = BASE64
            .decode(encoded)
            .map_err(|_| NoCredentials::Malformed)?;
        let colon = decoded.iter().position(|&byte| byte == b':');
        let (user, password) = decoded.split_at(colon.ok_or(NoCredentials::Malformed)?);
        let user = str::from_utf8(user).map_err(|_| NoCredentials::Malformed)?;
        let password = password.get(1..).unwrap_or_default();
        // RFC 7617 §2. bcrypt ends a password at a NUL.
        let is_control = |byte: &u8| byte.is_ascii_control();
        let has_control = user.chars().any(char::is_control) || password.iter().any(is_control);
        match has_control || user.is_empty() {
            true => Err(NoCredentials::Malformed),
            false => Ok(Self::new(user, password)),
        }
    }

    /// The name.
    pub fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &[u8] {
        &self.password
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_http::{Limits, RequestParser};

    fn read(fields: &str) -> Result<Credentials, NoCredentials> {
        let mut head = RequestHead::default();
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        RequestParser::new(Limits::default())
            .step(text.as_bytes(), &mut head)
            .unwrap();
        Credentials::of(&head)
    }

    #[test]
    fn credentials_are_those_of_rfc_7617() {
        // The examples of the RFC (§2, §2.1) first.
        for (value, user, password) in [
            (
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
                "Aladdin",
                "open sesame",
            ),
            ("Basic dGVzdDoxMjPCow==", "test", "123£"),
            ("bAsIc  dGVzdDoxMjPCow== ", "test", "123£"),
            ("Basic YTo=", "a", ""),
            ("Basic YTpiOmM=", "a", "b:c"),
            ("Basic w6Q6w6Q=", "ä", "ä"),
        ] {
            let found = read(&format!("Authorization: {value}\r\n"));
            assert_eq!(
                found,
                Ok(Credentials::new(user, password.as_bytes())),
                "{value}"
            );
        }
        let shown = format!("{:?}", Credentials::new("alice", b"secret"));
        assert_eq!(shown, "Credentials { user: \"alice\", .. }");
    }

    #[test]
    fn everything_else_is_none() {
        use NoCredentials::{Malformed, Missing, Repeated};
        for (fields, expected) in [
            ("", Missing),
            ("Authorization:\r\n", Missing),
            ("Authorization: Bearer YTpi\r\n", Missing),
            ("Authorization: Basic\r\n", Missing),
            ("Authorization: BasicYTpi\r\n", Missing),
            ("Authorization: Basic\tYTpi\r\n", Missing),
            ("Proxy-Authorization: Basic YTpi\r\n", Missing),
            ("Authorization_: Basic YTpi\r\n", Missing),
            // a:b, with the wrong padding, alphabet or additions.
            ("Authorization: Basic YTpi=\r\n", Malformed),
            ("Authorization: Basic YTpiYg\r\n", Malformed),
            ("Authorization: Basic YTpi, Basic YTpi\r\n", Malformed),
            ("Authorization: Basic YTp_\r\n", Malformed),
            // `a`, `:b`, `a\0:b`, `a:\0b`, a name that is not UTF-8, a name with U+0085.
            ("Authorization: Basic YQ==\r\n", Malformed),
            ("Authorization: Basic OmI=\r\n", Malformed),
            ("Authorization: Basic YQA6Yg==\r\n", Malformed),
            ("Authorization: Basic YToAYg==\r\n", Malformed),
            ("Authorization: Basic 5DpiYg==\r\n", Malformed),
            ("Authorization: Basic YcKFOmI=\r\n", Malformed),
            (
                "Authorization: Basic YTpi\r\nauthorization: Basic YTpi\r\n",
                Repeated,
            ),
            (
                "Authorization: Basic YTpi\r\nAuthorization: Bearer x\r\n",
                Repeated,
            ),
        ] {
            assert_eq!(read(fields), Err(expected), "{fields}");
        }
    }
}
