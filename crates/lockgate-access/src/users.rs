//! The users of a file with lines `name:hash`, as `htpasswd -B` and `lockgate hash-password` write it.
//!
//! Invariant: whether a user exists changes neither the answer nor what a check costs. A name that is not in the file is
//! checked against the hash of a user who is; which one is always the same for this name and this file.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

use crate::credentials::Credentials;
use crate::hash::{HashFault, PasswordHash};
use crate::verified::{Secret, VerifiedKey};

/// See the module documentation.
pub struct Users {
    entries: Vec<Entry>,
    by_name: HashMap<Box<str>, usize>,
    /// Chooses the entry for names that are not in the file: clients cannot know it.
    choice: hmac::Key,
}

struct Entry {
    hash: PasswordHash,
    /// Of the line: what was verified counts as long as the line stays as it is.
    fingerprint: [u8; 32],
}

/// The entry that a name is checked against.
struct Subject<'a> {
    entry: &'a Entry,
    is_known: bool,
}

/// Why a file is not one of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsersFault {
    /// The number of the line; the first is 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: UserFault,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserFault {
    /// It is not UTF-8.
    NotUtf8,
    /// It has no colon.
    NoColon,
    /// Nothing is before the colon.
    NoName,
    /// The name has a control character, or white space at one of its ends.
    InvalidName,
    /// The name is in another line, too: its number.
    Repeated(usize),
    /// What is behind the colon of this user is not a hash.
    Hash(String, HashFault),
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl fmt::Display for UsersFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

impl fmt::Display for UserFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CURE: &str = "`lockgate hash-password --user NAME` writes such a line";
        match self {
            Self::NotUtf8 => f.write_str("is not UTF-8"),
            Self::NoColon => write!(f, "is not `name:hash`; {CURE}"),
            Self::NoName => write!(f, "has no name before the colon; {CURE}"),
            Self::InvalidName => f.write_str(
                "the name has a control character, or white space at its beginning or end; remove it",
            ),
            Self::Repeated(first) => {
                write!(f, "the name is in line {first}, too; remove one of the lines")
            }
            Self::Hash(name, fault) => write!(
                f,
                "what follows the colon of {name:?} {fault}; replace the line by the output of `lockgate \
                 hash-password --user NAME`"
            ),
        }
    }
}

impl std::error::Error for UsersFault {}

impl Users {
    /// Reads the content of a file. Empty lines, and those that begin with `#`, are left out.
    ///
    /// # Errors
    /// [`UsersFault`]: the first line that is none of a user.
    pub fn parse(content: &[u8]) -> Result<Self, UsersFault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut by_name = HashMap::new();
        let mut lines_of_names = HashMap::new();
        for (line, bytes) in (1..).zip(content.split(|&byte| byte == b'\n')) {
            let of_line = |fault| UsersFault { line, fault };
            let text = str::from_utf8(bytes).map_err(|_| of_line(UserFault::NotUtf8))?;
            let text = text.trim_end();
            if text.trim_start().is_empty() || text.trim_start().starts_with('#') {
                continue;
            }
            let (name, hash) = text
                .split_once(':')
                .ok_or_else(|| of_line(UserFault::NoColon))?;
            check_name(name).map_err(of_line)?;
            if let Some(&first) = lines_of_names.get(name) {
                return Err(of_line(UserFault::Repeated(first)));
            }
            let hash = PasswordHash::parse(hash)
                .map_err(|fault| of_line(UserFault::Hash(name.to_owned(), fault)))?;
            lines_of_names.insert(name, line);
            by_name.insert(Box::from(name), entries.len());
            entries.push(Entry {
                hash,
                fingerprint: sha256(text.as_bytes()),
            });
        }
        Ok(Self {
            entries,
            by_name,
            choice: hmac::Key::new(hmac::HMAC_SHA256, &sha256(content)),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Whether a user has this name and this password. Computes one hash, also if there is no such user.
    pub fn check(&self, credentials: &Credentials) -> bool {
        self.check_with(credentials, PasswordHash::is_of)
    }

    fn check_with(
        &self,
        credentials: &Credentials,
        is_of: impl FnOnce(&PasswordHash, &[u8]) -> bool,
    ) -> bool {
        let Some(subject) = self.subject(credentials.user()) else {
            return false;
        };
        // Both are evaluated.
        is_of(&subject.entry.hash, credentials.password()) & subject.is_known
    }

    /// Under which key a verified user is remembered. It depends on the line in the file: after a change of the
    /// password, or without the line, it is another one. `None`: there are no users.
    pub fn key_of(&self, credentials: &Credentials, secret: &Secret) -> Option<VerifiedKey> {
        let subject = self.subject(credentials.user())?;
        let user = credentials.user().as_bytes();
        let mut context = hmac::Context::with_key(&secret.0);
        context.update(&subject.entry.fingerprint);
        context.update(&[u8::from(subject.is_known)]);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user);
        context.update(credentials.password());
        Some(VerifiedKey::new(context.sign().as_ref()))
    }

    fn subject(&self, name: &str) -> Option<Subject<'_>> {
        // Chosen also for names that exist: the choice costs a part of a microsecond.
        let tag = hmac::sign(&self.choice, name.as_bytes());
        let number = tag
            .as_ref()
            .first_chunk()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let chosen = number.checked_rem(self.entries.len() as u64)?;
        let known = self.by_name.get(name).copied();
        let index = known.unwrap_or(usize::try_from(chosen).ok()?);
        Some(Subject {
            entry: self.entries.get(index)?,
            is_known: known.is_some(),
        })
    }
}

/// Whether a name may be that of a user.
///
/// # Errors
/// [`UserFault::NoName`] and [`UserFault::InvalidName`].
pub fn check_name(name: &str) -> Result<(), UserFault> {
    if name.is_empty() {
        return Err(UserFault::NoName);
    }
    let is_invalid = name.trim() != name || name.chars().any(|one| one.is_control() || one == ':');
    match is_invalid {
        true => Err(UserFault::InvalidName),
        false => Ok(()),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut result = [0; 32];
    result.copy_from_slice(digest(&SHA256, bytes).as_ref());
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const ALICE: &str = "$2b$04$jc4wKtTDie8NVU/5oKuYgOgoG6ML9hwKjSuW/f2ePIjYvHSbN5t7.";
    const BOB: &str =
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$4mqQiyq0VpIzuZmp+8eSF3YJ7Av58TkEJ4LIdOVsAc4";

    fn users() -> Users {
        let content = format!("# users\n\nalice:{ALICE}\r\n  # one more\nbob b.:{BOB}");
        Users::parse(content.as_bytes()).unwrap()
    }

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials::new(user, password.as_bytes())
    }

    #[test]
    fn a_user_has_one_password() {
        let users = users();
        assert_eq!(users.count(), 2);
        for (user, password, expected) in [
            ("alice", "", true),
            ("bob b.", "secret", true),
            ("alice", "secret", false),
            ("bob b.", "", false),
            ("Alice", "", false),
            ("bob", "secret", false),
            ("", "", false),
            ("# users", "", false),
        ] {
            assert_eq!(
                users.check(&credentials(user, password)),
                expected,
                "{user} {password}"
            );
        }
    }

    #[test]
    fn a_name_that_does_not_exist_costs_one_hash_of_a_user_who_does() {
        let users = users();
        let checks = Cell::new(0);
        let mut kinds = [0, 0];
        for number in 0..200 {
            let user = format!("user{number}");
            let of_user = |_: ()| {
                let found = Cell::new(0);
                // The password of the other user is right, and does not let the client in.
                let passed = users.check_with(&credentials(&user, ""), |hash, _| {
                    checks.set(checks.get() + 1);
                    found.set(usize::from(*hash == users.entries[1].hash));
                    true
                });
                assert!(!passed, "{user}");
                found.get()
            };
            let (first, second) = (of_user(()), of_user(()));
            assert_eq!(first, second, "the choice is the same each time");
            kinds[first] += 1;
        }
        assert_eq!(checks.get(), 400);
        assert!(kinds.iter().all(|&count| count > 50), "{kinds:?}");
        // Users cost one, too.
        for (user, passes) in [("alice", true), ("bob b.", true)] {
            let before = checks.get();
            let passed = users.check_with(&credentials(user, "wrong"), |_, _| {
                checks.set(checks.get() + 1);
                true
            });
            assert_eq!((passed, checks.get() - before), (passes, 1));
        }
    }

    #[test]
    fn without_users_all_are_unknown() {
        let users = Users::parse(b"# none yet\n").unwrap();
        assert!(!users.check(&credentials("alice", "")));
        let secret = Secret::new(&[1; 32]);
        assert_eq!(users.key_of(&credentials("alice", ""), &secret), None);
    }

    #[test]
    fn what_is_remembered_depends_on_the_line_the_name_and_the_password() {
        let secret = Secret::new(&[1; 32]);
        let other_secret = Secret::new(&[2; 32]);
        let other_salt = ALICE.replace("jc4", "jd4");
        let file = |hash: &str| Users::parse(format!("alice:{hash}\n").as_bytes()).unwrap();
        let first = file(ALICE);
        let key = first.key_of(&credentials("alice", "ab"), &secret);
        assert_eq!(
            file(ALICE).key_of(&credentials("alice", "ab"), &secret),
            key
        );
        assert_ne!(
            file(&other_salt).key_of(&credentials("alice", "ab"), &secret),
            key
        );
        assert_ne!(first.key_of(&credentials("alice", "ac"), &secret), key);
        assert_ne!(first.key_of(&credentials("alicea", "b"), &secret), key);
        assert_ne!(
            first.key_of(&credentials("alice", "ab"), &other_secret),
            key
        );
        // Another user with the same hash does not take the place of one who has been removed.
        let removed = Users::parse(format!("bob:{ALICE}\n").as_bytes()).unwrap();
        assert_ne!(removed.key_of(&credentials("alice", "ab"), &secret), key);
    }

    #[test]
    fn a_line_that_is_not_one_of_a_user_is_named() {
        let hash = |name: &str, fault| UserFault::Hash(name.to_owned(), fault);
        let cases: [(&[u8], usize, UserFault); 9] = [
            (b"alice", 1, UserFault::NoColon),
            (b"\n\n:x", 3, UserFault::NoName),
            (b"a b :x", 1, UserFault::InvalidName),
            (b" a:x", 1, UserFault::InvalidName),
            (b"a\x01:x", 1, UserFault::InvalidName),
            (b"#\nal\xffice:x", 2, UserFault::NotUtf8),
            (b"alice:secret", 1, hash("alice", HashFault::NotAHash)),
            (
                b"alice:$apr1$a$b",
                1,
                hash("alice", HashFault::Weak("MD5 (htpasswd -m)")),
            ),
            (b"alice: $2y$", 1, hash("alice", HashFault::NotAHash)),
        ];
        for (content, line, fault) in cases {
            let found = Users::parse(content).unwrap_err();
            assert_eq!(found, UsersFault { line, fault });
            let text = found.to_string();
            assert!(
                !text.contains("secret") && !text.contains("$apr1"),
                "{text}"
            );
        }
        let twice = format!("a:{ALICE}\nb:{ALICE}\na:{ALICE}\n");
        let found = Users::parse(twice.as_bytes()).unwrap_err();
        assert_eq!(
            found.to_string(),
            "line 3: the name is in line 1, too; remove one of the lines"
        );
    }
}
