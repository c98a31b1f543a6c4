//! The settings of the ACME process.

use std::fs;
use std::path::PathBuf;

use data_encoding::BASE64URL_NOPAD;
use lockgate_config::{BindAddress, CertificateFiles, Config, Scheme};
use lockgate_tls::Certificate;

use crate::protocol::ChallengeKind;
use crate::protocol::account_key::ExternalAccount;
use crate::protocol::failure::Failure;
use crate::schedule::steps;

/// Where a CA connects to for http-01.
const HTTP_PORT: u16 = 80;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The names, each of which gets a certificate of its own: one that cannot be proved delays no other.
    pub(crate) names: Vec<String>,
    /// The contact of the account.
    pub(crate) email: Option<String>,
    /// The directory URL of the CA.
    pub(crate) directory: String,
    /// The directory URL of the CA that is asked after repeated failures.
    pub(crate) fallback_directory: Option<String>,
    /// The identifier and the file of the key that the first CA requires for new accounts.
    pub(crate) external_account: Option<(String, PathBuf)>,
    /// Where accounts, certificates and challenges are stored.
    pub(crate) dir: PathBuf,
    /// A file of CA certificates that are trusted, besides those of the system.
    pub(crate) ca_certs: Option<PathBuf>,
    /// The challenges that the server can answer, in the order in which they are tried.
    pub(crate) challenges: Vec<ChallengeKind>,
    /// Identifies this server among those that share the directory.
    pub(crate) owner: String,
}

impl Settings {
    /// The settings of a server; `None` when no name needs a certificate authority. Names that a certificate from a file
    /// covers need none.
    pub fn of(config: &Config, owner: String) -> Option<Self> {
        let acme = &config.acme;
        let files: Vec<Certificate> = config
            .tls
            .certificate_files()
            .filter_map(|files| load(&files))
            .collect();
        let is_covered = |name: &str| files.iter().any(|file| file.covers(name));
        let names: Vec<String> = (acme.public_domains())
            .filter(|name| !is_covered(name))
            .map(str::to_owned)
            .collect();
        let key = acme.eab_key_id.clone().zip(acme.eab_hmac_key_file.clone());
        (!names.is_empty()).then(|| Self {
            names,
            email: acme.email.clone(),
            directory: acme.directory.clone(),
            fallback_directory: acme.fallback_directory.clone(),
            external_account: key,
            dir: acme.dir.clone(),
            ca_certs: acme.ca_certs.clone(),
            challenges: challenges(config),
            owner,
        })
    }

    /// Whether attempts ask the CA with this directory.
    pub(crate) fn asks(&self, directory: &str) -> bool {
        let steps = steps(
            u32::MAX,
            &self.directory,
            self.fallback_directory.as_deref(),
        );
        steps.iter().any(|step| step.directory == directory)
    }

    /// Reads the key for new accounts at the first CA.
    pub(crate) fn external_account(&self) -> Result<Option<ExternalAccount>, Failure> {
        let Some((key_id, file)) = &self.external_account else {
            return Ok(None);
        };
        let setting = |problem: String| Failure::Setting {
            what: format!("acme_eab_hmac_key_file = {}: {problem}", file.display()),
        };
        let text = fs::read_to_string(file).map_err(|error| setting(error.to_string()))?;
        let text = text.trim().trim_end_matches('=');
        let hmac_key = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| setting("is not base64url".to_owned()))?;
        Ok(Some(ExternalAccount {
            key_id: key_id.clone(),
            hmac_key,
        }))
    }
}

/// A certificate from files; `None` when it cannot be used, which the supervisor reports.
fn load(files: &CertificateFiles) -> Option<Certificate> {
    let chain = fs::read(&files.certfile).ok()?;
    let key = match &files.keyfile {
        Some(file) => fs::read(file).ok()?,
        None => chain.clone(),
    };
    let password = match &files.keyfile_password_file {
        Some(file) => Some(fs::read(file).ok()?),
        None => None,
    };
    // As the supervisor reads it.
    let password = password.as_deref().map(|text| text.trim_ascii_end());
    Certificate::from_pem(&chain, &key, password).ok()
}

/// The challenges that the listeners can answer: http-01 first where plain HTTP is served on port 80.
fn challenges(config: &Config) -> Vec<ChallengeKind> {
    let listeners: Vec<(Scheme, u16)> = (config.bind.iter())
        .filter_map(|bind| match bind.address {
            BindAddress::Tcp { port, .. } => Some((config.scheme_at(bind, &bind.address), port)),
            _ => None,
        })
        .collect();
    let has = |scheme| listeners.iter().any(|(found, _)| *found == scheme);
    let http = has(Scheme::Http).then_some(ChallengeKind::Http01);
    let tls = has(Scheme::Https).then_some(ChallengeKind::TlsAlpn01);
    let kinds = match listeners.contains(&(Scheme::Http, HTTP_PORT)) {
        true => [http, tls],
        // The port may be forwarded from 80.
        false => [tls, http],
    };
    kinds.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use lockgate_config::{AppSpec, Bind};

    use super::*;
    use crate::protocol::ChallengeKind::{Http01, TlsAlpn01};

    fn config(binds: &[&str]) -> Config {
        let mut config = Config::with_defaults(AppSpec::parse("app:app").unwrap());
        config.bind = binds
            .iter()
            .map(|text| Bind::parse(text).unwrap())
            .collect();
        config.acme.domains = vec!["localhost".to_owned(), "shop.example".to_owned()];
        config
    }

    #[test]
    fn the_first_challenge_is_one_that_the_ca_can_reach() {
        for (binds, expected) in [
            (
                &["https://[::]:443", "http://[::]:80"][..],
                &[Http01, TlsAlpn01][..],
            ),
            (
                &["https://[::]:443", "http://[::]:8080"],
                &[TlsAlpn01, Http01],
            ),
            (&["https://[::]:443"], &[TlsAlpn01]),
            (&["http://[::]:80"], &[Http01]),
            (&["unix:/run/x"], &[]),
            (&["0.0.0.0:8443"], &[TlsAlpn01]),
        ] {
            let settings = Settings::of(&config(binds), String::new()).unwrap();
            assert_eq!(settings.challenges, expected, "{binds:?}");
            assert_eq!(settings.names, ["shop.example"]);
        }
    }

    #[test]
    fn without_public_names_there_is_nothing_to_do() {
        let mut config = config(&["https://[::]:443"]);
        config.acme.domains = vec!["localhost".to_owned()];
        assert_eq!(Settings::of(&config, String::new()), None);
    }

    #[test]
    fn a_name_that_a_file_covers_needs_no_authority() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        let mut config = config(&["https://[::]:443"]);
        config.acme.domains = vec!["a.example".to_owned(), "b.example".to_owned()];
        config.tls.certfile = Some(file.clone());
        for (written, expected) in [(None, 2), (Some("a.example"), 1)] {
            if let Some(name) = written {
                let key = rcgen::KeyPair::generate().unwrap();
                let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
                let pem = params.self_signed(&key).unwrap().pem();
                fs::write(&file, format!("{}{pem}", key.serialize_pem())).unwrap();
            }
            let settings = Settings::of(&config, String::new()).unwrap();
            assert_eq!(settings.names.len(), expected);
            assert!(settings.names.contains(&"b.example".to_owned()));
        }
    }

    #[test]
    fn a_password_ends_where_the_supervisor_ends_it() {
        let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../lockgate-tls/tests/samples");
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        let mut config = config(&["https://[::]:443"]);
        config.tls.certfile = Some(format!("{samples}/ec.crt").into());
        config.tls.keyfile = Some(format!("{samples}/ec-aes256-sha256.pem").into());
        config.tls.keyfile_password_file = Some(password.clone());
        for (text, is_covered) in [("secret", true), ("secret \r\n", true), ("other", false)] {
            fs::write(&password, text).unwrap();
            let settings = Settings::of(&config, String::new());
            assert_eq!(settings.is_none(), is_covered, "{text:?}");
        }
    }

    #[test]
    fn a_key_for_new_accounts_is_base64url() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let mut config = config(&["https://[::]:443"]);
        config.acme.eab_key_id = Some("kid".to_owned());
        config.acme.eab_hmac_key_file = Some(file.clone());
        let settings = Settings::of(&config, String::new()).unwrap();
        for (text, expected) in [
            (None, Err("No such file")),
            (Some("-_8="), Ok(&[251, 255][..])),
            (Some("AQID\n"), Ok(&[1, 2, 3])),
            (Some("+/8"), Err("is not base64url")),
        ] {
            if let Some(text) = text {
                fs::write(&file, text).unwrap();
            }
            match (settings.external_account(), expected) {
                (Ok(Some(account)), Ok(key)) => assert_eq!(account.hmac_key, key),
                (Err(failure), Err(part)) => {
                    assert!(failure.to_string().contains(part), "{failure}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
