//! A new hash, and a new line of a file of users: what `lockgate hash-password` writes.

use std::fmt;

use crate::hash::{LONGEST_BCRYPT_PASSWORD, PasswordHash, SALT_LENGTH};
use crate::users::{UserFault, check_name};

/// How a new password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 9106.
    Argon2id,
    /// For files that other programs read, too.
    Bcrypt,
}

/// Why there is no hash of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotHashed {
    /// The password is empty.
    Empty,
    /// It is not UTF-8, in which clients send it.
    NotUtf8,
    /// It has a control character, such as a line break, which clients cannot send (RFC 7617 §2).
    ControlCharacter,
    /// bcrypt would read only its beginning.
    TooLongForBcrypt,
    /// The name cannot be one of a user.
    Name(UserFault),
    /// The library has failed.
    Failed(String),
}

impl fmt::Display for NotHashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the password is empty"),
            Self::NotUtf8 => f.write_str("the password is not UTF-8, in which browsers send it"),
            Self::ControlCharacter => f.write_str(
                "the password has a control character, such as a line break, which HTTP Basic does not allow",
            ),
            Self::TooLongForBcrypt => write!(
                f,
                "the password has more than {LONGEST_BCRYPT_PASSWORD} bytes, and bcrypt reads no more; leave out \
                 --bcrypt or take a shorter one"
            ),
            Self::Name(UserFault::NoName) => f.write_str("the name is empty"),
            Self::Name(_) => f.write_str(
                "the name has a colon, a control character, or white space at its beginning or end",
            ),
            Self::Failed(problem) => write!(f, "cannot hash the password: {problem}"),
        }
    }
}

impl std::error::Error for NotHashed {}

/// The hash of a password; with `user` the whole line. `salt` is random.
///
/// # Errors
/// [`NotHashed`].
pub fn new_line(
    password: &[u8],
    user: Option<&str>,
    algorithm: Algorithm,
    salt: [u8; SALT_LENGTH],
) -> Result<String, NotHashed> {
    let text = str::from_utf8(password).map_err(|_| NotHashed::NotUtf8)?;
    if text.is_empty() {
        return Err(NotHashed::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(NotHashed::ControlCharacter);
    }
    if let Some(user) = user {
        check_name(user).map_err(NotHashed::Name)?;
    }
    let hash = match algorithm {
        Algorithm::Argon2id => PasswordHash::argon2id(password, &salt)
            .map_err(|error| NotHashed::Failed(error.to_string()))?,
        Algorithm::Bcrypt if password.len() > LONGEST_BCRYPT_PASSWORD => {
            return Err(NotHashed::TooLongForBcrypt);
        }
        Algorithm::Bcrypt => PasswordHash::bcrypt(password, salt)
            .map_err(|error| NotHashed::Failed(error.to_string()))?,
    };
    Ok(match user {
        Some(user) => format!("{user}:{hash}"),
        None => hash,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Credentials, Users};

    #[test]
    fn a_line_lets_its_user_in() {
        let line = new_line(
            "pässword".as_bytes(),
            Some("alice"),
            Algorithm::Argon2id,
            [7; 16],
        );
        let line = line.unwrap();
        assert!(
            line.starts_with("alice:$argon2id$v=19$m=19456,t=2,p=1$"),
            "{line}"
        );
        let users = Users::parse(line.as_bytes()).unwrap();
        assert!(users.check(&Credentials::new("alice", "pässword".as_bytes())));
        let other = new_line(
            "pässword".as_bytes(),
            Some("alice"),
            Algorithm::Argon2id,
            [8; 16],
        );
        assert_ne!(other.unwrap(), line);
    }

    #[test]
    fn what_a_client_could_not_send_is_refused() {
        let long = "x".repeat(73);
        for (password, user, algorithm, expected) in [
            (&b""[..], None, Algorithm::Argon2id, NotHashed::Empty),
            (b"\xe4", None, Algorithm::Argon2id, NotHashed::NotUtf8),
            (
                b"a\nb",
                None,
                Algorithm::Argon2id,
                NotHashed::ControlCharacter,
            ),
            (
                "a\u{85}".as_bytes(),
                None,
                Algorithm::Argon2id,
                NotHashed::ControlCharacter,
            ),
            (
                long.as_bytes(),
                None,
                Algorithm::Bcrypt,
                NotHashed::TooLongForBcrypt,
            ),
            (
                b"a",
                Some(""),
                Algorithm::Bcrypt,
                NotHashed::Name(UserFault::NoName),
            ),
            (
                b"a",
                Some("a:b"),
                Algorithm::Bcrypt,
                NotHashed::Name(UserFault::InvalidName),
            ),
            (
                b"a",
                Some(" a"),
                Algorithm::Bcrypt,
                NotHashed::Name(UserFault::InvalidName),
            ),
            (
                b"a",
                Some("a\n"),
                Algorithm::Bcrypt,
                NotHashed::Name(UserFault::InvalidName),
            ),
        ] {
            let found = new_line(password, user, algorithm, [7; 16]);
            assert_eq!(found, Err(expected), "{password:?} {user:?}");
        }
    }
}
