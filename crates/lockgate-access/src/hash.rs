//! Hashes of passwords: bcrypt and argon2id (RFC 9106), as `lockgate hash-password`, `htpasswd -B` and the libraries of
//! most languages write them.
//!
//! Invariant: what a check costs is bounded when the hash is read, and not when a client sends a password.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE64_NOPAD;

/// Bytes of the salt of a new hash.
pub const SALT_LENGTH: usize = 16;

/// bcrypt does not read further.
pub const LONGEST_BCRYPT_PASSWORD: usize = 72;

/// 2¹² rounds: 0.2 to 0.3 s on a server of 2026.
const NEW_BCRYPT_COST: u32 = 12;

/// 19 MiB and two passes: the first choice of OWASP's password storage cheat sheet.
const NEW_ARGON2_MEMORY: u32 = 19 * 1024;
const NEW_ARGON2_PASSES: u32 = 2;

/// Four times as much as the costliest that is recommended anywhere, about 2 s.
const MOST_BCRYPT_COST: u32 = 15;

/// As many checks run at the same time in a worker as it has threads for computing.
const MOST_ARGON2_MEMORY: u32 = 256 * 1024;
const MOST_ARGON2_PASSES: u32 = 16;
const MOST_ARGON2_LANES: u32 = 16;

/// A hash with which a password can be checked.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    /// As it is written.
    Bcrypt(Box<str>),
    Argon2id {
        params: Params,
        salt: Box<[u8]>,
        output: Box<[u8]>,
    },
}

/// Why a text is not a hash that the server checks passwords with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HashFault {
    /// It has the form of no hash, so it is the password itself, or one of DES (`htpasswd -d`).
    NotAHash,
    /// A hash that is too fast to protect a password: its name.
    Weak(&'static str),
    /// A hash of another kind: its name.
    Unsupported(&'static str),
    /// It begins like a hash of this kind, and is not one.
    Malformed(&'static str),
    /// A check would take too long or too much memory.
    TooCostly {
        /// The parameter, as it is written.
        parameter: String,
        /// Its largest value.
        most: u32,
    },
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Kind::Bcrypt(_) => "bcrypt",
            Kind::Argon2id { .. } => "argon2id",
        };
        f.debug_tuple("PasswordHash").field(&kind).finish()
    }
}

impl fmt::Display for HashFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAHash => f.write_str(
                "is not a hash of bcrypt or argon2id: passwords in plain text and hashes of crypt() are not accepted",
            ),
            Self::Weak(name) => write!(
                f,
                "is a hash of {name}, which does not protect the password if the file is lost"
            ),
            Self::Unsupported(name) => {
                write!(f, "is a hash of {name}; only bcrypt and argon2id are supported")
            }
            Self::Malformed(name) => write!(f, "begins like a hash of {name}, but is not complete or not valid"),
            Self::TooCostly { parameter, most } => {
                write!(f, "has {parameter}, and at most {most} is allowed: each check would take too long")
            }
        }
    }
}

impl std::error::Error for HashFault {}

impl PasswordHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// [`HashFault`].
    pub fn parse(text: &str) -> Result<Self, HashFault> {
        let Some((kind, _)) = text.strip_prefix('$').and_then(|rest| rest.split_once('$')) else {
            return Err(match text.get(..5) {
                Some("{SHA}") => HashFault::Weak("SHA-1 (htpasswd -s)"),
                _ if text.starts_with("{SSHA}") => HashFault::Weak("SHA-1 (SSHA)"),
                _ => HashFault::NotAHash,
            });
        };
        match kind {
            "2a" | "2b" | "2y" => parse_bcrypt(text),
            "argon2id" => parse_argon2id(text),
            "apr1" => Err(HashFault::Weak("MD5 (htpasswd -m)")),
            "1" => Err(HashFault::Weak("MD5 (crypt)")),
            "2x" => Err(HashFault::Weak("bcrypt with a known flaw (2x)")),
            "5" => Err(HashFault::Unsupported("SHA-256 (crypt)")),
            "6" => Err(HashFault::Unsupported("SHA-512 (crypt)")),
            "argon2i" => Err(HashFault::Unsupported("argon2i")),
            "argon2d" => Err(HashFault::Unsupported("argon2d")),
            "y" | "gy" => Err(HashFault::Unsupported("yescrypt")),
            "scrypt" | "7" => Err(HashFault::Unsupported("scrypt")),
            _ if kind.starts_with("pbkdf2") => Err(HashFault::Unsupported("PBKDF2")),
            _ => Err(HashFault::NotAHash),
        }
    }

    /// Whether it is the hash of this password. Takes as long as the parameters say, whatever the password is.
    pub fn is_of(&self, password: &[u8]) -> bool {
        match &self.0 {
            Kind::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
            Kind::Argon2id {
                params,
                salt,
                output,
            } => {
                let mut computed = vec![0; output.len()];
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
                let is_computed = argon2.hash_password_into(password, salt, &mut computed);
                is_computed.is_ok() && verify_slices_are_equal(&computed, output).is_ok()
            }
        }
    }

    /// The text of a new hash of argon2id. `salt` is random.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn argon2id(password: &[u8], salt: &[u8; SALT_LENGTH]) -> Result<String, argon2::Error> {
        let (memory, passes) = (NEW_ARGON2_MEMORY, NEW_ARGON2_PASSES);
        let params = Params::new(memory, passes, 1, None)?;
        let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
            password,
            salt,
            &mut output,
        )?;
        let [salt, output] = [&salt[..], &output].map(|bytes| BASE64_NOPAD.encode(bytes));
        Ok(format!(
            "$argon2id$v=19$m={memory},t={passes},p=1${salt}${output}"
        ))
    }

    /// The text of a new hash of bcrypt, of a password of at most [`LONGEST_BCRYPT_PASSWORD`] bytes. `salt` is random.
    ///
    /// # Errors
    /// Of the library; none is known.
    pub fn bcrypt(password: &[u8], salt: [u8; SALT_LENGTH]) -> Result<String, bcrypt::BcryptError> {
        let parts = bcrypt::hash_with_salt(password, NEW_BCRYPT_COST, salt)?;
        // The version that htpasswd writes, and every other program reads.
        Ok(parts.format_for_version(bcrypt::Version::TwoY))
    }
}

fn parse_bcrypt(text: &str) -> Result<PasswordHash, HashFault> {
    let malformed = |_| HashFault::Malformed("bcrypt");
    let parts: bcrypt::HashParts = text.parse().map_err(malformed)?;
    let cost = parts.get_cost();
    if cost > MOST_BCRYPT_COST {
        return Err(HashFault::TooCostly {
            parameter: format!("cost {cost}"),
            most: MOST_BCRYPT_COST,
        });
    }
    if cost < 4 {
        return Err(HashFault::Malformed("bcrypt"));
    }
    Ok(PasswordHash(Kind::Bcrypt(text.into())))
}

/// `$argon2id$v=19$m=19456,t=2,p=1$SALT$OUTPUT`, in base64 without padding.
fn parse_argon2id(text: &str) -> Result<PasswordHash, HashFault> {
    const MALFORMED: HashFault = HashFault::Malformed("argon2id");
    let parts: Vec<&str> = text.split('$').collect();
    let &["", "argon2id", version, params, salt, output] = &parts[..] else {
        return Err(MALFORMED);
    };
    match version {
        "v=19" => {}
        "v=16" => return Err(HashFault::Unsupported("argon2id before its version 1.3")),
        _ => return Err(MALFORMED),
    }
    let mut values = [0; 3];
    let given: Vec<&str> = params.split(',').collect();
    let [_, _, _] = given[..] else {
        return Err(MALFORMED);
    };
    let bounds = [
        ("m=", MOST_ARGON2_MEMORY),
        ("t=", MOST_ARGON2_PASSES),
        ("p=", MOST_ARGON2_LANES),
    ];
    for ((value, given), (name, most)) in values.iter_mut().zip(given).zip(bounds) {
        let digits = given.strip_prefix(name).ok_or(MALFORMED)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(MALFORMED);
        }
        *value = digits.parse().unwrap_or(u32::MAX);
        if *value > most {
            let parameter = given.to_owned();
            return Err(HashFault::TooCostly { parameter, most });
        }
    }
    let decode = |text: &str| BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| MALFORMED);
    let (salt, output) = (decode(salt)?, decode(output)?);
    let [memory, passes, lanes] = values;
    let params = Params::new(memory, passes, lanes, Some(output.len())).map_err(|_| MALFORMED)?;
    // RFC 9106 §3.1 has these bounds; a shorter output would be found by guessing.
    if !(8..=64).contains(&salt.len()) || !(16..=128).contains(&output.len()) {
        return Err(MALFORMED);
    }
    Ok(PasswordHash(Kind::Argon2id {
        params,
        salt: salt.into(),
        output: output.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by htpasswd 2.4, bcrypt 5.0 and argon2-cffi 25.1, each of the password beside it.
    const HASHES: [(&str, &str); 5] = [
        (
            "$2y$05$DwIK.StkvBywbuEDFWkrE.Jj9DzMYROeH8IrfonQgwxEalg6sGR6a",
            "secret",
        ),
        (
            "$2b$04$jc4wKtTDie8NVU/5oKuYgOgoG6ML9hwKjSuW/f2ePIjYvHSbN5t7.",
            "",
        ),
        (
            "$2a$04$Fkw9nSwK97Ek2qTtb/hFu.WKm.CrOQCs6Rv1vXVTj0YTgS5ZlT.sG",
            "pässword",
        ),
        (
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$4mqQiyq0VpIzuZmp+8eSF3YJ7Av58TkEJ4LIdOVsAc4",
            "secret",
        ),
        (
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$VjUfvfMkH554xrghlGwG5Ut2PEqLkMp71zbk1WxznG8",
            "pässword",
        ),
    ];

    #[test]
    fn hashes_of_other_programs_are_those_of_their_passwords_alone() {
        for (text, password) in HASHES {
            let hash = PasswordHash::parse(text).unwrap();
            assert!(hash.is_of(password.as_bytes()), "{text}");
            for other in ["Secret", "secret ", "pässwort", " "] {
                assert!(!hash.is_of(other.as_bytes()), "{text} {other:?}");
            }
            let shown = format!("{hash:?}");
            assert!(shown.len() < 30 && !shown.contains('$'), "{shown}");
        }
    }

    #[test]
    fn a_new_hash_is_read_again() {
        let salt = *b"sixteen bytes ok";
        let made = PasswordHash::argon2id(b"secret", &salt).unwrap();
        assert!(
            made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{made}"
        );
        assert!(PasswordHash::parse(&made).unwrap().is_of(b"secret"));
        assert!(!PasswordHash::parse(&made).unwrap().is_of(b"Secret"));
    }

    #[test]
    fn bcrypt_reads_72_bytes_as_every_implementation_does() {
        let made = bcrypt::hash_with_salt([b'a'; 72], 4, [7; 16]).unwrap();
        let hash = PasswordHash::parse(&made.to_string()).unwrap();
        assert!(hash.is_of(&[b'a'; 73]));
        assert!(!hash.is_of(&[b'a'; 71]));
    }

    #[test]
    fn other_texts_are_refused_for_a_reason() {
        let costly = |parameter: &str, most| HashFault::TooCostly {
            parameter: parameter.to_owned(),
            most,
        };
        let (bcrypt, argon2) = (
            HashFault::Malformed("bcrypt"),
            HashFault::Malformed("argon2id"),
        );
        for (text, expected) in [
            ("", HashFault::NotAHash),
            ("secret", HashFault::NotAHash),
            ("$", HashFault::NotAHash),
            ("$secret", HashFault::NotAHash),
            ("$new$secret", HashFault::NotAHash),
            ("7PlzXJwlvaIPI", HashFault::NotAHash),
            (
                "$apr1$DhfDeVr6$BRejQaXJC5NJgk0fx4eMr1",
                HashFault::Weak("MD5 (htpasswd -m)"),
            ),
            (
                "$1$DhfDeVr6$BRejQaXJC5NJgk0fx4eMr1",
                HashFault::Weak("MD5 (crypt)"),
            ),
            (
                "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
                HashFault::Weak("SHA-1 (htpasswd -s)"),
            ),
            (
                "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
                HashFault::Weak("SHA-1 (SSHA)"),
            ),
            (
                "$5$qyMGhA9awYGwxZHy$f3QF9pfKdW0mz",
                HashFault::Unsupported("SHA-256 (crypt)"),
            ),
            ("$6$x$y", HashFault::Unsupported("SHA-512 (crypt)")),
            (
                "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
                HashFault::Unsupported("argon2i"),
            ),
            ("$pbkdf2-sha256$29000$a$b", HashFault::Unsupported("PBKDF2")),
            (
                "$2y$05$DwIK.StkvBywbuEDFWkrE.Jj9DzMYROeH8IrfonQgwxEalg6sGR6",
                bcrypt.clone(),
            ),
            (
                "$2y$05$DwIK.StkvBywbuEDFWkrE.Jj9DzMYROeH8IrfonQgwxEalg6sGR6a ",
                bcrypt.clone(),
            ),
            (
                "$2y$x5$DwIK.StkvBywbuEDFWkrE.Jj9DzMYROeH8IrfonQgwxEalg6sGR6a",
                bcrypt.clone(),
            ),
            (
                "$2y$03$DwIK.StkvBywbuEDFWkrE.Jj9DzMYROeH8IrfonQgwxEalg6sGR6a",
                bcrypt,
            ),
            (
                "$2y$16$DwIK.StkvBywbuEDFWkrE.Jj9DzMYROeH8IrfonQgwxEalg6sGR6a",
                costly("cost 16", 15),
            ),
            (
                "$2x$05$DwIK.StkvBywbuEDFWkrE.Jj9DzMYROeH8IrfonQgwxEalg6sGR6a",
                HashFault::Weak("bcrypt with a known flaw (2x)"),
            ),
            (
                "$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
                HashFault::Unsupported("argon2id before its version 1.3"),
            ),
            (
                "$argon2id$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
                argon2.clone(),
            ),
            (
                "$argon2id$v=19$m=64,t=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
                argon2.clone(),
            ),
            (
                "$argon2id$v=19$t=1,m=64,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
                argon2.clone(),
            ),
            (
                "$argon2id$v=19$m=+64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
                argon2.clone(),
            ),
            (
                "$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
                argon2.clone(),
            ),
            (
                "$argon2id$v=19$m=64,t=1,p=1$c2E$AAAAAAAAAAAAAAAAAAAAAA",
                argon2.clone(),
            ),
            (
                "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAA",
                argon2.clone(),
            ),
            (
                "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA==",
                argon2,
            ),
            (
                "$argon2id$v=19$m=262145,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
                costly("m=262145", 262_144),
            ),
            (
                "$argon2id$v=19$m=64,t=17,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
                costly("t=17", 16),
            ),
            (
                "$argon2id$v=19$m=999,t=99999999999,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
                costly("t=99999999999", 16),
            ),
        ] {
            assert_eq!(PasswordHash::parse(text), Err(expected), "{text}");
        }
    }
}
