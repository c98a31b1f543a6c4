//! Sessions: the applications are wrapped in `lockgate.sessions.SessionMiddleware`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::RedisAddress;
use crate::notation::quoted;
use crate::raw_value::ValueError;
use crate::redis_address::without_credentials;

/// What the middleware takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Where the content of sessions is.
    pub store: SessionStore,
    /// How long one request may wait for the store, all its calls together.
    pub store_timeout: Duration,
    /// Where the secrets are.
    pub source: SecretSource,
    /// The secrets: the first one seals, and all of them open. Those of a file are added by the caller of
    /// [`resolve`](crate::resolve()).
    pub secrets: Vec<SessionSecret>,
    /// How long a session is valid after its last use; `None`: no limit.
    pub idle: Option<Duration>,
    /// How long a session is valid at all; `None`: no limit.
    pub absolute: Option<Duration>,
    /// Whether the cookie of a new session outlives the browser.
    pub is_persistent: bool,
    /// The cookie.
    pub cookie: SessionCookie,
}

/// What `Set-Cookie` says beside the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCookie {
    /// Its name without a prefix.
    pub name: String,
    /// `Path`.
    pub path: String,
    /// `Domain`; `None`: the attribute is not sent.
    pub domain: Option<String>,
    /// `Secure`; `None`: by the scheme of the request.
    pub secure: Option<bool>,
    /// `HttpOnly`.
    pub http_only: bool,
    /// `SameSite`; `None`: the attribute is not sent.
    pub same_site: Option<SameSite>,
}

/// The value of `SameSite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Requests of the same site only.
    Strict,
    /// Also links from other sites.
    Lax,
    /// All requests; the cookie has to be secure.
    None,
}

/// Where the content of sessions is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionStore {
    /// In the cookie.
    Cookie,
    /// In a file of SQLite.
    Sqlite(PathBuf),
    /// In Redis.
    Redis(RedisUrl),
}

/// The URL of a Redis server, which may be at a unix socket. The password is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

/// Where the secrets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In the configuration.
    Configuration,
    /// In this file, one a line.
    File(PathBuf),
    /// In this file, which the server makes if it is missing.
    OwnFile(PathBuf),
}

/// A secret of sessions. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionSecret(String);

/// As many bytes as the key that is derived from it.
const SHORTEST_SECRET: usize = 32;
/// Without a variable that says where state is kept.
const STATE: &str = "/var/lib/lockgate";
const OWN_FILE: &str = "session_secret";

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            store: SessionStore::Cookie,
            store_timeout: Duration::from_millis(250),
            source: SecretSource::OwnFile(PathBuf::from(STATE).join(OWN_FILE)),
            secrets: Vec::new(),
            idle: Some(Duration::from_secs(24 * 3600)),
            absolute: Some(Duration::from_secs(14 * 24 * 3600)),
            is_persistent: false,
            cookie: SessionCookie::default(),
        }
    }
}

impl Default for SessionCookie {
    fn default() -> Self {
        Self {
            name: "session".to_owned(),
            path: "/".to_owned(),
            domain: None,
            secure: None,
            http_only: true,
            same_site: Some(SameSite::Lax),
        }
    }
}

impl SameSite {
    /// Every value, the strictest first.
    pub const ALL: [Self; 3] = [Self::Strict, Self::Lax, Self::None];

    /// As in `Set-Cookie`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

impl SessionStore {
    /// What the middleware takes as `store`; `None`: its default, the cookie. A URL of Redis has its password.
    pub fn url(&self) -> Option<String> {
        match self {
            Self::Cookie => None,
            Self::Sqlite(path) => Some(format!("sqlite:///{}", path.display())),
            Self::Redis(url) => Some(url.0.clone()),
        }
    }

    /// Parses `cookie`, `sqlite:PATH` or the URL of a Redis server. The error shows no password.
    pub(crate) fn parse(text: &str) -> Result<Self, ValueError> {
        const REQUIREMENT: &str = "must be cookie, sqlite:PATH, or the URL of a Redis server such as redis://HOST:6379/0, \
                                   redis://:PASSWORD@HOST, rediss://HOST or redis+unix:///PATH?db=0";
        let refuse = || ValueError {
            line: None,
            piece: Some(quoted(&without_credentials(text))),
            requirement: REQUIREMENT.to_owned(),
        };
        let Some((scheme, rest)) = text.split_once(':') else {
            return match text {
                "cookie" => Ok(Self::Cookie),
                _ => Err(refuse()),
            };
        };
        match scheme {
            "sqlite" => {
                // As in SQLAlchemy, three slashes are before a relative path and four before an absolute one.
                let path = match rest.strip_prefix("//") {
                    Some(rest) => rest.strip_prefix('/').ok_or_else(refuse)?,
                    None => rest,
                };
                match path.is_empty() || path.starts_with(':') {
                    true => Err(refuse()),
                    false => Ok(Self::Sqlite(PathBuf::from(path))),
                }
            }
            "redis" | "rediss" => {
                let address = RedisAddress::parse(text);
                address.map_err(|_| refuse())?;
                Ok(Self::Redis(RedisUrl(text.to_owned())))
            }
            "redis+unix" => {
                let path = rest.strip_prefix("//").ok_or_else(refuse)?;
                let path = path.split_once('@').map_or(path, |(_, path)| path);
                let (path, query) = path.split_once('?').unwrap_or((path, "db=0"));
                let database = query.strip_prefix("db=").unwrap_or_default();
                let is_number =
                    !database.is_empty() && database.bytes().all(|byte| byte.is_ascii_digit());
                match path.len() > 1 && path.starts_with('/') && is_number {
                    true => Ok(Self::Redis(RedisUrl(text.to_owned()))),
                    false => Err(refuse()),
                }
            }
            _ => Err(refuse()),
        }
    }
}

/// As the setting takes it, but without the password.
impl fmt::Display for SessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cookie => f.write_str("cookie"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis(url) => f.write_str(&without_credentials(&url.0)),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({})", without_credentials(&self.0))
    }
}

impl SessionSecret {
    /// A secret.
    ///
    /// # Errors
    /// When it is too short; the error says what to do.
    pub fn new(secret: String) -> Result<Self, String> {
        match secret.len() {
            SHORTEST_SECRET.. => Ok(Self(secret)),
            length => Err(format!(
                "must have at least {SHORTEST_SECRET} bytes, but has {length}; make one with openssl rand -base64 48"
            )),
        }
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(***)")
    }
}

impl SessionConfig {
    /// Sets the directory in which the server makes a secret, if it has to.
    pub(crate) fn keep_secret_in(&mut self, state: &str) {
        if let SecretSource::OwnFile(path) = &mut self.source {
            *path = PathBuf::from(state).join(OWN_FILE);
        }
    }

    /// The files in it.
    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let store = match &mut self.store {
            SessionStore::Sqlite(path) => Some(path),
            _ => None,
        };
        let secrets = match &mut self.source {
            SecretSource::File(path) | SecretSource::OwnFile(path) => Some(path),
            SecretSource::Configuration => None,
        };
        store.into_iter().chain(secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_the_cookie_a_file_or_redis() {
        for (text, url, shown) in [
            ("cookie", None, "cookie"),
            (
                "sqlite:/var/a.db",
                Some("sqlite:////var/a.db"),
                "sqlite:/var/a.db",
            ),
            ("sqlite:a.db", Some("sqlite:///a.db"), "sqlite:a.db"),
            (
                "sqlite:////var/a.db",
                Some("sqlite:////var/a.db"),
                "sqlite:/var/a.db",
            ),
            ("sqlite:///a.db", Some("sqlite:///a.db"), "sqlite:a.db"),
            ("redis://h:1/2", Some("redis://h:1/2"), "redis://h:1/2"),
            (
                "rediss://u:p%40@h",
                Some("rediss://u:p%40@h"),
                "rediss://***@h",
            ),
            (
                "redis+unix:///run/r?db=3",
                Some("redis+unix:///run/r?db=3"),
                "redis+unix:///run/r?db=3",
            ),
            (
                "redis+unix://:p@/run/r",
                Some("redis+unix://:p@/run/r"),
                "redis+unix://***@/run/r",
            ),
        ] {
            let store = SessionStore::parse(text).expect(text);
            assert_eq!(store.url().as_deref(), url, "{text}");
            assert_eq!(store.to_string(), shown, "{text}");
            assert!(!format!("{store:?}").contains("p%40"));
        }
        for (text, shown) in [
            ("", ""),
            ("memory", "memory"),
            ("sqlite:", "sqlite:"),
            ("sqlite://a.db", "sqlite://a.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("redis://:geheim@", "redis://***@"),
            ("redis+unix://r", "redis+unix://r"),
            ("redis+unix:///r?db=x", "redis+unix:///r?db=x"),
            ("memcached://h", "memcached://h"),
        ] {
            let error = SessionStore::parse(text).unwrap_err();
            assert_eq!(error.piece, Some(quoted(shown)), "{text}");
        }
    }

    #[test]
    fn a_secret_is_long_and_not_shown() {
        assert!(
            SessionSecret::new("a".repeat(31))
                .unwrap_err()
                .contains("has 31")
        );
        let secret = SessionSecret::new("a".repeat(32)).unwrap();
        assert_eq!(secret.reveal().len(), 32);
        assert_eq!(format!("{secret:?}"), "SessionSecret(***)");
    }
}
