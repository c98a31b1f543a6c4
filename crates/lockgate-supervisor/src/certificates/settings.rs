//! The check of the settings of TLS that depend on files or on the TLS library.

use std::time::Instant;

use lockgate_config::{ClientCertificates, Config, UnusableValue};
use lockgate_tls::{ClientAuthorities, parse_cipher_string};

use super::loading::{LoadError, read};
use super::pool::Pool;
use super::wanted::Wanted;

/// Whether the server could start with the certificates, keys, authorities and cipher suites of these settings.
///
/// # Errors
/// Each value that cannot be used.
pub fn check_certificates(config: &Config) -> Result<(), Vec<UnusableValue>> {
    let mut errors: Vec<_> = check_settings(config).err().into_iter().collect();
    if let Err(others) = Pool::default().add(&Wanted::of(config), None, Instant::now()) {
        errors.extend(others.into_iter().map(|error| error.unusable));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(errors),
    }
}

/// The part of the check that is not about certificates.
pub(super) fn check_settings(config: &Config) -> Result<(), UnusableValue> {
    let tls = &config.tls;
    if let Some(ciphers) = &tls.ciphers {
        parse_cipher_string(ciphers)
            .map_err(|error| UnusableValue::new("ciphers", format_args!("{ciphers:?}"), error))?;
    }
    match &tls.ca_certs {
        Some(path) if tls.client_certificates != ClientCertificates::None => {
            let bytes = read("ca_certs", path).map_err(|error| error.unusable)?;
            let read = ClientAuthorities::from_pem(&bytes);
            read.map(drop)
                .map_err(|error| UnusableValue::new("ca_certs", path.display(), error))
        }
        _ => Ok(()),
    }
}

/// Several errors as one line.
pub(super) fn joined(errors: &[LoadError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::AppSpec;
    use std::fs;

    #[test]
    fn an_error_names_the_setting_its_value_and_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let [certfile, keyfile] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
        let names = ["shop.example".to_owned()];
        let (chain, key) = lockgate_tls::self_signed(&names, 0, 1 << 31).unwrap();
        let (_, other_key) = lockgate_tls::self_signed(&names, 0, 1 << 31).unwrap();
        fs::write(&certfile, chain).unwrap();
        let app = AppSpec::Module {
            module: "app".to_owned(),
            attribute: None,
        };
        let mut config = Config::with_defaults(app);
        config.tls.certfile = Some(certfile.clone());
        config.tls.keyfile = Some(keyfile.clone());
        let errors = |config: &Config| {
            let errors = check_certificates(config).unwrap_err();
            Vec::from_iter(errors.iter().map(ToString::to_string))
        };
        let missing = errors(&config);
        assert!(missing[0].starts_with("keyfile = /"), "{missing:?}");
        fs::write(&keyfile, other_key).unwrap();
        assert!(errors(&config)[0].starts_with("keyfile = /"));
        fs::write(&keyfile, key).unwrap();
        assert_eq!(check_certificates(&config), Ok(()));
        config.tls.ciphers = Some("NONSENSE".to_owned());
        assert!(errors(&config)[0].starts_with("ciphers = \"NONSENSE\""));
        config.tls.ciphers = None;
        config.tls.client_certificates = ClientCertificates::Required;
        config.tls.ca_certs = Some(folder.path().join("missing"));
        assert!(errors(&config)[0].starts_with("ca_certs = /"));
        config.tls.ca_certs = Some(certfile);
        assert_eq!(check_certificates(&config), Ok(()));
    }
}
