//! http-01: the answers to the challenges of a certificate authority (RFC 8555 §8.3), which the ACME process writes into
//! `acme_dir`.
//!
//! A token without an answer goes on to the application, which may have an ACME client of its own.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use lockgate_config::Config;
use lockgate_http::LocalResponse;

use crate::exchange::Exchange;
use crate::exchange::handler::{Handled, Handler};
use crate::exchange::request::Request;

const PREFIX: &[u8] = b"/.well-known/acme-challenge/";

/// An answer is the token, a dot and a digest.
const LONGEST_TOKEN: usize = 256;
const LONGEST_ANSWER: u64 = 1024;

/// See the module documentation.
pub struct AcmeChallenges {
    folder: PathBuf,
}

impl AcmeChallenges {
    /// `None` if no name needs a certificate authority.
    pub fn new(config: &Config) -> Option<Self> {
        config.acme.public_domains().next()?;
        let folder = config.acme.dir.join("challenges").join("http-01");
        Some(Self { folder })
    }

    /// The answer for this path, if there is one.
    fn answer(&self, path: &[u8]) -> Option<Vec<u8>> {
        let file = File::open(self.folder.join(token(path)?)).ok()?;
        let mut answer = Vec::new();
        file.take(LONGEST_ANSWER).read_to_end(&mut answer).ok()?;
        Some(answer)
    }
}

/// The token of a path for a challenge. It is base64url and so no path itself.
pub(super) fn token(path: &[u8]) -> Option<&str> {
    let token = path.strip_prefix(PREFIX)?;
    let is_token = (1..=LONGEST_TOKEN).contains(&token.len())
        && (token.iter()).all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    std::str::from_utf8(token).ok().filter(|_| is_token)
}

impl Handler for AcmeChallenges {
    fn concerns(&self, request: &Request) -> bool {
        request.head.path().starts_with(PREFIX) && matches!(request.head.method(), b"GET" | b"HEAD")
    }

    fn handle(&self, exchange: Exchange) -> Handled {
        match self.answer(exchange.request.head.path()) {
            None => Handled::Pass(exchange),
            Some(answer) => {
                let response = LocalResponse {
                    content_type: "application/octet-stream".into(),
                    body: answer.into(),
                    ..LocalResponse::new(200)
                };
                Handled::Answer(exchange, response.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lockgate_config::AppSpec;

    use super::*;

    #[test]
    fn an_answer_is_the_file_of_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::with_defaults(AppSpec::parse("a:b").unwrap());
        config.acme.dir = folder.path().to_owned();
        assert!(AcmeChallenges::new(&config).is_none());
        config.acme.domains = vec!["shop.example".to_owned()];
        let handler = AcmeChallenges::new(&config).unwrap();
        let challenges = folder.path().join("challenges/http-01");
        std::fs::create_dir_all(&challenges).unwrap();
        std::fs::write(challenges.join("a-Token_1"), "a-Token_1.digest").unwrap();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        std::fs::write(challenges.join(".hidden"), "secret").unwrap();
        let long = format!("/.well-known/acme-challenge/{}", "a".repeat(257));
        for (path, expected) in [
            (
                "/.well-known/acme-challenge/a-Token_1",
                Some("a-Token_1.digest"),
            ),
            ("/.well-known/acme-challenge/other", None),
            ("/.well-known/acme-challenge/", None),
            ("/.well-known/acme-challenge/.hidden", None),
            ("/.well-known/acme-challenge/../../secret", None),
            ("/.well-known/acme-challenge/a-Token_1/", None),
            ("/.well-known/acme-challenge/a-Token_1%00", None),
            ("/x/.well-known/acme-challenge/a-Token_1", None),
            (&long, None),
        ] {
            let answer = handler.answer(path.as_bytes());
            assert_eq!(answer.as_deref(), expected.map(str::as_bytes), "{path}");
        }
    }
}
