//! A session with one CA: its directory, nonces, signed requests, and the account.
//!
//! Bounds: the time and the requests of an attempt, the nonces that a CA may refuse in a row, and how often a request is
//! repeated that got no answer.

use std::time::Duration;

use serde_json::{Value, json};

use crate::protocol::account_key::{AccountKey, ExternalAccount};
use crate::protocol::answer::{self, checked, nonsense, printable};
use crate::protocol::failure::Failure;
use crate::protocol::{Host, Method, NoAnswer, Request, Response, retry_after};

/// The longest attempt with one CA.
const LONGEST_ATTEMPT: u64 = 15 * 60;
/// Requests of an attempt; a usual one has a dozen, Pebble's rejected nonces double them.
const MOST_REQUESTS: u32 = 300;
/// Nonces that a CA may refuse in a row.
const MOST_BAD_NONCES: u32 = 20;
/// How often a request is sent that gets no answer or a server error.
const MOST_TRIES: u32 = 3;
/// The longest nonce and URL that are accepted.
const LONGEST_WORD: usize = 2048;

/// The account at a CA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its URL; `None` when it has not been registered yet.
    pub(crate) url: Option<String>,
    /// The contact that the CA has.
    pub(crate) email: Option<String>,
}

/// See the module.
pub(crate) struct Session<'h> {
    pub(crate) host: &'h mut dyn Host,
    pub(crate) key: &'h AccountKey,
    new_nonce: String,
    new_account: String,
    pub(crate) new_order: String,
    account: Option<String>,
    nonce: Option<String>,
    requests: u32,
    deadline: u64,
}

impl<'h> Session<'h> {
    /// Reads the directory of the CA.
    pub(crate) fn open(
        directory: &str,
        key: &'h AccountKey,
        host: &'h mut dyn Host,
    ) -> Result<Self, Failure> {
        let deadline = host.now() + LONGEST_ATTEMPT;
        let mut session = Self {
            host,
            key,
            new_nonce: String::new(),
            new_account: String::new(),
            new_order: String::new(),
            account: None,
            nonce: None,
            requests: 0,
            deadline,
        };
        let response = session.send(Method::Get, directory)?;
        let found = answer::object(directory, &response)?;
        session.new_nonce = url(directory, &found, "newNonce")?;
        session.new_account = url(directory, &found, "newAccount")?;
        session.new_order = url(directory, &found, "newOrder")?;
        Ok(session)
    }

    /// Uses the account, registers it, or changes its contact; returns what is to be stored.
    pub(crate) fn log_in(
        &mut self,
        known: &Account,
        email: Option<&str>,
        external: Option<&ExternalAccount>,
    ) -> Result<Account, Failure> {
        let contact = |email: Option<&str>| -> Vec<String> {
            email
                .iter()
                .map(|email| format!("mailto:{email}"))
                .collect()
        };
        let account = Account {
            url: None,
            email: email.map(str::to_owned),
        };
        if let Some(url) = &known.url {
            self.account = Some(url.clone());
            if known.email.as_deref() == email {
                return Ok(known.clone());
            }
            match self.post(url, Some(&json!({"contact": contact(email)}))) {
                Ok(_) => {
                    return Ok(Account {
                        url: Some(url.clone()),
                        ..account
                    });
                }
                Err(failure) if is_unknown_account(&failure) => {}
                Err(failure) => return Err(failure),
            }
        }
        self.account = None;
        let url = self.new_account.clone();
        let mut payload = json!({"termsOfServiceAgreed": true});
        if email.is_some() {
            payload["contact"] = json!(contact(email));
        }
        if let Some(external) = external {
            payload["externalAccountBinding"] = self.key.bind(external, &url);
        }
        let response = self.post(&url, Some(&payload))?;
        let location = response.location.filter(|location| is_word(location));
        let Some(location) = location else {
            return Err(nonsense(
                &url,
                "registers the account without the header Location".to_owned(),
            ));
        };
        self.account = Some(location.clone());
        Ok(Account {
            url: Some(location),
            ..account
        })
    }

    /// Sends a signed request; without a payload it is POST-as-GET.
    pub(crate) fn post(&mut self, url: &str, payload: Option<&Value>) -> Result<Response, Failure> {
        for _ in 0..MOST_BAD_NONCES {
            match self.post_once(url, payload) {
                Err(Failure::Refused { problem, .. }) if problem.kind == "badNonce" => {}
                outcome => return outcome,
            }
        }
        Err(Failure::BadNonces {
            url: url.to_owned(),
            count: MOST_BAD_NONCES,
        })
    }

    /// A signed request whose answer is a JSON object.
    pub(crate) fn post_for_object(
        &mut self,
        url: &str,
        payload: Option<&Value>,
    ) -> Result<(Value, Response), Failure> {
        let response = self.post(url, payload)?;
        Ok((answer::object(url, &response)?, response))
    }

    fn post_once(&mut self, url: &str, payload: Option<&Value>) -> Result<Response, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            // Each try needs a nonce of its own: the CA may have received the one before.
            let nonce = self.take_nonce()?;
            let account = self.account.as_deref();
            let body = self.key.sign(account, &nonce, url, payload);
            let body = body.map_err(|_| Failure::Key {
                what: "the account key cannot sign",
            })?;
            let request = Request {
                method: Method::Post,
                url: url.to_owned(),
                body,
            };
            match self.send_once(&request) {
                Err(failure) if tries < MOST_TRIES && is_transient(&failure) => {
                    self.wait(Duration::from_secs(2 << tries))?;
                }
                outcome => return outcome,
            }
        }
    }

    fn take_nonce(&mut self) -> Result<String, Failure> {
        if let Some(nonce) = self.nonce.take() {
            return Ok(nonce);
        }
        let url = self.new_nonce.clone();
        self.send(Method::Head, &url)?;
        let nonce = self.nonce.take();
        nonce.ok_or_else(|| nonsense(&url, "answers without a usable Replay-Nonce".to_owned()))
    }

    /// Sends an unsigned request.
    fn send(&mut self, method: Method, url: &str) -> Result<Response, Failure> {
        let request = Request {
            method,
            url: url.to_owned(),
            body: String::new(),
        };
        let mut tries = 0;
        loop {
            tries += 1;
            match self.send_once(&request) {
                Err(failure) if tries < MOST_TRIES && is_transient(&failure) => {
                    self.wait(Duration::from_secs(2 << tries))?;
                }
                outcome => return outcome,
            }
        }
    }

    fn send_once(&mut self, request: &Request) -> Result<Response, Failure> {
        let url = &request.url;
        self.requests += 1;
        if self.requests > MOST_REQUESTS {
            return Err(Failure::TooManyRequests { url: url.clone() });
        }
        self.check_time(url, "to answer")?;
        // Requests take time, too: a wait of no time ends the attempt if it has lost its lock.
        self.host.wait(Duration::ZERO)?;
        let sent = self.host.send(request);
        let response = sent.map_err(|none| match none {
            NoAnswer::Unreachable(reason) => Failure::Unreachable {
                url: url.clone(),
                reason: printable(&reason),
            },
            NoAnswer::Unusable(what) => nonsense(url, printable(&what)),
        })?;
        // RFC 8555 §6.5.1: a nonce is base64url, and others are ignored.
        let nonce = response.nonce.clone();
        self.nonce = nonce.filter(|nonce| is_word(nonce) && nonce.bytes().all(is_base64url));
        checked(url, response, self.host.now())
    }

    /// Fails when the attempt has taken too long.
    pub(crate) fn check_time(&self, url: &str, doing: &'static str) -> Result<(), Failure> {
        match self.host.now() < self.deadline {
            true => Ok(()),
            false => Err(Failure::OutOfTime {
                url: url.to_owned(),
                doing,
            }),
        }
    }

    pub(crate) fn wait(&mut self, duration: Duration) -> Result<(), Failure> {
        self.host.wait(duration)
    }

    /// Waits before the next look at something that the CA works on.
    pub(crate) fn wait_for_ca(&mut self, looks: u32, response: &Response) -> Result<(), Failure> {
        let asked = response.retry_after.as_deref();
        let asked = asked.and_then(|value| retry_after::seconds(value, self.host.now()));
        let seconds = asked.unwrap_or(u64::from(looks) + 1).clamp(1, 60);
        self.wait(Duration::from_secs(seconds))
    }
}

/// Whether the CA has forgotten the account.
pub(crate) fn is_unknown_account(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { problem, .. } if problem.kind == "accountDoesNotExist")
}

/// Whether the same request may succeed some seconds later.
fn is_transient(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable { .. } => true,
        Failure::Nonsense { what, .. } => what.starts_with("answers 5"),
        Failure::Refused { problem, .. } => problem.kind == "serverInternal",
        _ => false,
    }
}

/// A URL in an answer.
pub(crate) fn url(from: &str, object: &Value, member: &str) -> Result<String, Failure> {
    let found = answer::text(from, object, member)?;
    checked_url(from, found, member)
}

/// ACME is HTTPS only (RFC 8555 §6.1).
pub(crate) fn checked_url(from: &str, found: &str, member: &str) -> Result<String, Failure> {
    match found.starts_with("https://") && is_word(found) {
        true => Ok(found.to_owned()),
        false => {
            let what = format!("has no https URL as \"{member}\": {}", printable(found));
            Err(nonsense(from, what))
        }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_WORD
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Whether this is a token of a challenge (RFC 8555 §8.3): it becomes the name of a file.
pub(crate) fn is_token(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(is_base64url)
}
