//! The users of HTTP Basic, by route: whether a request has credentials, and whether they were verified lately.
//!
//! Invariant: what runs in the event loop computes no hash of a password and reads no file.

mod file;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lockgate_access::{Credentials, NoCredentials, Secret, Users, Verified, VerifiedKey};
use lockgate_config::BasicAuth;
use lockgate_http::LocalResponse;
use lockgate_routes::Routes;

use self::file::UsersFile;
use crate::exchange::answer::Answer;
use crate::exchange::request::Request;
use crate::helper_thread::PanicGuard;
use crate::log::ErrorLog;
use crate::os::fill_random;

/// A user whose password was verified needs no hash for this time.
const VERIFIED_FOR: Duration = Duration::from_secs(600);

/// How many users of a file a worker remembers; each is about 100 bytes.
const MOST_VERIFIED: usize = 4096;

/// The guards of all routes, by their id.
pub struct UserGuards(Vec<Option<Arc<UserGuard>>>);

/// Who may come on some routes: the users of one file.
pub struct UserGuard {
    file: Arc<UsersFile>,
    store: Arc<VerifiedUsers>,
    /// The value of WWW-Authenticate.
    challenge: String,
}

/// Who was verified lately.
struct VerifiedUsers {
    secret: Secret,
    verified: Mutex<Verified>,
}

/// What is known of a request's credentials without a hash.
pub enum Look {
    /// They were verified: the user.
    Verified(Box<str>),
    /// They have to be checked.
    Unverified(Unverified),
    /// There are none.
    Nothing(NoCredentials),
}

/// Credentials that have to be checked.
pub struct Unverified {
    pub key: VerifiedKey,
    credentials: Credentials,
    users: Arc<Users>,
}

/// Reads a file of users.
///
/// # Errors
/// It cannot be read, or has a line that is none of a user; the text names the file and the line.
pub fn check(auth: &BasicAuth) -> io::Result<()> {
    UsersFile::open(&auth.users).map(drop)
}

impl UserGuards {
    /// Reads the files, and starts the thread that looks for their changes. `None`: no route asks for a password.
    ///
    /// # Errors
    /// A file cannot be read, or has a line that is none of a user; or there is no thread or no randomness.
    pub fn new(
        routes: &Routes,
        error_log: &Arc<ErrorLog>,
        panic_guard: &PanicGuard,
    ) -> io::Result<Option<Arc<Self>>> {
        let mut guards: Vec<(&BasicAuth, Arc<UserGuard>)> = Vec::new();
        let mut by_route = Vec::new();
        for rules in routes.all() {
            let Some(auth) = &rules.basic_auth else {
                by_route.push(None);
                continue;
            };
            let known = guards.iter().find(|(known, _)| *known == auth);
            let guard = match known {
                Some((_, guard)) => Arc::clone(guard),
                None => {
                    let same_file = guards.iter().find(|(known, _)| known.users == auth.users);
                    let guard = match same_file {
                        Some((_, guard)) => guard.with_realm(&auth.realm),
                        None => UserGuard::new(auth)?,
                    };
                    let guard = Arc::new(guard);
                    guards.push((auth, Arc::clone(&guard)));
                    guard
                }
            };
            by_route.push(Some(guard));
        }
        let mut files: Vec<Arc<UsersFile>> = Vec::new();
        for (_, guard) in &guards {
            if !files.iter().any(|file| Arc::ptr_eq(file, &guard.file)) {
                files.push(Arc::clone(&guard.file));
            }
        }
        if files.is_empty() {
            return Ok(None);
        }
        file::watch(&files, error_log, panic_guard)?;
        Ok(Some(Arc::new(Self(by_route))))
    }

    /// The guard of the request's route, unless the user is known already.
    pub fn of(&self, request: &Request) -> Option<&Arc<UserGuard>> {
        let admitted = &request.admitted;
        let guard = self.0.get(admitted.access as usize)?.as_ref()?;
        admitted.user.is_none().then_some(guard)
    }
}

impl UserGuard {
    fn new(auth: &BasicAuth) -> io::Result<Self> {
        let mut secret = [0; 32];
        fill_random(&mut secret)?;
        Ok(Self {
            file: Arc::new(UsersFile::open(&auth.users)?),
            store: Arc::new(VerifiedUsers {
                secret: Secret::new(&secret),
                verified: Mutex::new(Verified::new(MOST_VERIFIED, VERIFIED_FOR)),
            }),
            challenge: challenge(&auth.realm),
        })
    }

    fn with_realm(&self, realm: &str) -> Self {
        Self {
            file: Arc::clone(&self.file),
            store: Arc::clone(&self.store),
            challenge: challenge(realm),
        }
    }

    /// Looks at the credentials of a request.
    pub fn look(&self, request: &Request, now: Instant) -> Look {
        let credentials = match Credentials::of(&request.head) {
            Ok(credentials) => credentials,
            Err(why) => return Look::Nothing(why),
        };
        let users = self.file.users();
        let Some(key) = users.key_of(&credentials, &self.store.secret) else {
            return Look::Nothing(NoCredentials::Missing);
        };
        if self.store.lock().contains(&key, now) {
            return Look::Verified(credentials.user().into());
        }
        Look::Unverified(Unverified {
            key,
            credentials,
            users,
        })
    }

    /// Computes the hash. The user, if the password is right.
    pub fn check(&self, unverified: &Unverified) -> Option<Box<str>> {
        let Unverified {
            key,
            credentials,
            users,
        } = unverified;
        if !users.check(credentials) {
            return None;
        }
        self.store.lock().insert(*key, Instant::now());
        Some(credentials.user().into())
    }

    /// 401 (RFC 9110 §15.5.2, RFC 7617 §2.1).
    pub fn unauthorized(&self, reason: &'static str) -> Answer {
        let response =
            LocalResponse::text(401, "").with_header("WWW-Authenticate", self.challenge.clone());
        Answer::refused(response, reason)
    }
}

impl VerifiedUsers {
    fn lock(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The identifier of the reason in the access log.
pub fn reason_of(why: NoCredentials) -> &'static str {
    match why {
        NoCredentials::Missing => "no_credentials",
        _ => "malformed_credentials",
    }
}

/// The realm is a quoted string (RFC 9110 §5.6.4).
fn challenge(realm: &str) -> String {
    let escaped = realm.replace('\\', "\\\\").replace('"', "\\\"");
    format!("Basic realm=\"{escaped}\", charset=\"UTF-8\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_quoted() {
        for (realm, expected) in [
            ("Shop", r#"Basic realm="Shop", charset="UTF-8""#),
            (
                r#"a "b" \c"#,
                r#"Basic realm="a \"b\" \\c", charset="UTF-8""#,
            ),
        ] {
            assert_eq!(challenge(realm), expected);
        }
    }
}
