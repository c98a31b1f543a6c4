//! Held connections and publishing (GRIP): their settings, and what these require of each other.

use std::fmt;
use std::path::PathBuf;

use crate::notation::{size_text, size_words};
use crate::{Config, ConfigError, Origins, RedisAddress};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushConfig {
    /// Whether responses can be held and messages published.
    pub is_enabled: bool,
    /// Bytes of the broadcast log.
    pub memory: usize,
    /// Bytes of the largest message.
    pub message_limit: usize,
    /// How many channels one held response may have.
    pub channels: usize,
    /// The Redis server that connects the broadcast logs of several hosts.
    pub redis: Option<RedisAddress>,
    /// The file of the key.
    pub grip_key_file: Option<PathBuf>,
    /// Its content, which the caller of [`resolve`](crate::resolve()) adds.
    pub grip_key: Option<GripKey>,
    /// Prefixes of the paths whose WebSockets the server holds itself.
    pub websocket_over_http: Vec<String>,
}

/// The key that signs requests to the application and publishing clients sign with. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct GripKey(Vec<u8>);

/// RFC 7518 §3.2: a key for HS256 has at least 256 bits.
const SHORTEST_KEY: usize = 32;

/// A message must not overwrite what most readers have yet to read.
const MESSAGES_PER_LOG: usize = 4;

impl Default for PushConfig {
    fn default() -> Self {
        Self {
            is_enabled: false,
            memory: 16 * 1024 * 1024,
            // The log then has at least 250 messages, which is what a worker may be behind before it loses one.
            message_limit: 64 * 1024,
            channels: 100,
            redis: None,
            grip_key_file: None,
            grip_key: None,
            websocket_over_http: Vec::new(),
        }
    }
}

impl GripKey {
    /// A key of these bytes.
    ///
    /// # Errors
    /// When it is too short; the error says what to do.
    pub fn new(bytes: Vec<u8>) -> Result<Self, String> {
        match bytes.len() {
            SHORTEST_KEY.. => Ok(Self(bytes)),
            length => Err(format!(
                "must contain a key of at least {SHORTEST_KEY} bytes, but has {length}; make one with openssl rand -base64 48"
            )),
        }
    }

    /// The bytes of the key.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for GripKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GripKey(***)")
    }
}

/// Checks the settings together; returns notes for the operator.
pub(crate) fn check(config: &Config, origins: &Origins) -> Result<Vec<String>, ConfigError> {
    let push = &config.push;
    let mut notes = Vec::new();
    if !push.is_enabled {
        for (name, is_set) in [
            ("push_redis", push.redis.is_some()),
            ("websocket_over_http", !push.websocket_over_http.is_empty()),
        ] {
            if is_set {
                notes.push(format!("{name} has no effect without push = true"));
            }
        }
        return Ok(notes);
    }
    let most = push.memory / MESSAGES_PER_LOG;
    if push.message_limit > most {
        let requirement = format!(
            "must be at most {}, a quarter of push_memory = {}",
            size_words(most as u64),
            size_words(push.memory as u64)
        );
        return Err(ConfigError::BadValue {
            name: "push_message_limit",
            value: size_text(push.message_limit as u64),
            origin: origins.of("push_message_limit").clone(),
            requirement,
        });
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_at_least_256_bits_and_is_not_shown() {
        assert!(GripKey::new(vec![b'a'; 31]).unwrap_err().contains("has 31"));
        let key = GripKey::new(b"a".repeat(32)).unwrap();
        assert_eq!(key.bytes().len(), 32);
        assert_eq!(format!("{:?}", Some(key)), "Some(GripKey(***))");
    }
}
