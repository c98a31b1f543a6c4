//! Settings: certificates, TLS connections and what their responses are like.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use super::application::path;
use crate::kind::Kind;
use crate::notation::{duration_text, quoted};
use crate::raw_value::{Entry, RawValue, ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};
use crate::{
    CertificateFiles, ClientCertificateUser, ClientCertificates, HttpsRedirect, TlsVersion,
};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "certfile",
        section: Section::Https,
        short: None,
        flags: &["certfile"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "File of the certificate in PEM, followed by the certificates of its issuers. With it, TCP addresses in \
              `bind` speak TLS, unless they begin with `http://`. It is also the certificate for clients that ask \
              for a name that no certificate has. The file is watched: a new certificate is used for new connections \
              as soon as it is complete, without a reload; until then the old one stays.",
        gunicorn: &["certfile"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.tls.certfile = value.optional_path()?;
            Ok(())
        },
        show: |builder| path(&builder.config.tls.certfile),
    },
    Setting {
        name: "keyfile",
        section: Section::Https,
        short: None,
        flags: &["keyfile"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "File of the key of `certfile` in PEM. Empty: the key is in `certfile`. The supervisor reads it; the \
              user of the workers needs no permission.",
        gunicorn: &["keyfile"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.tls.keyfile = value.optional_path()?;
            Ok(())
        },
        show: |builder| path(&builder.config.tls.keyfile),
    },
    Setting {
        name: "certificates",
        section: Section::Https,
        short: None,
        flags: &["certificates"],
        shape: Shape::List,
        kind: Kind::Certificate,
        doc: "Further certificates: for other sites, or of another kind of key for the same site. The client's \
              server name (SNI) selects the certificate that has this name exactly, then one with a wildcard for it, \
              then the default; of several, the first whose key the client supports. In the file, write \
              `[[certificates]]` for each, with `certfile` and, unless the key is in the same file, `keyfile`.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.tls.certificates = certificates(value)?;
            Ok(())
        },
        show: |builder| {
            let certificates = builder.config.tls.certificates.iter();
            let tables: Vec<String> = certificates.map(certificate_text).collect();
            format!("[{}]", tables.join(", "))
        },
    },
    Setting {
        name: "keyfile_password_file",
        section: Section::Https,
        short: None,
        flags: &["keyfile-password-file"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "File whose first line is the password of encrypted keys (PKCS #8). A table in `certificates` may name \
              one of its own.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.tls.keyfile_password_file = value.optional_path()?;
            Ok(())
        },
        show: |builder| path(&builder.config.tls.keyfile_password_file),
    },
    Setting {
        name: "ca_certs",
        section: Section::Https,
        short: None,
        flags: &["ca-certs"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "File of the certificate authorities, in PEM, that issue the certificates of clients. See `cert_reqs`.",
        gunicorn: &["ca_certs"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.tls.ca_certs = value.optional_path()?;
            Ok(())
        },
        show: |builder| path(&builder.config.tls.ca_certs),
    },
    Setting {
        name: "cert_reqs",
        section: Section::Https,
        short: None,
        flags: &["cert-reqs"],
        shape: Shape::Value,
        kind: Kind::Word(&["none", "optional", "required"]),
        doc: "Whether clients need a certificate that one of `ca_certs` has issued. With `optional` a client may \
              have none, but a wrong one ends the handshake; with `required` each needs one. gunicorn's numbers \
              (0, 1, 2) and Python's names (`CERT_NONE`, `CERT_OPTIONAL`, `CERT_REQUIRED`) are accepted too.",
        gunicorn: &["cert_reqs"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.tls.client_certificates = client_certificates(value)?;
            Ok(())
        },
        show: |builder| quoted(builder.config.tls.client_certificates.name()),
    },
    Setting {
        name: "client_certificate_user",
        section: Section::Https,
        short: None,
        flags: &["client-certificate-user"],
        shape: Shape::Value,
        kind: Kind::Word(&["none", "cn", "email", "dn"]),
        doc: "Part of a client's certificate that becomes REMOTE_USER. `cn` is the common name of the subject, \
              `email` the first email address among the alternative names, `dn` the whole subject. Requests without \
              a certificate, or whose certificate lacks this part, have no REMOTE_USER; no header sets it.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let word = value.text()?.trim().to_ascii_lowercase();
            let choice = ClientCertificateUser::ALL
                .into_iter()
                .find(|choice| choice.name() == word);
            if choice.is_none() && !matches!(word.as_str(), "" | "none") {
                return Err("must be none, cn, email or dn".into());
            }
            builder.config.tls.client_certificate_user = choice;
            Ok(())
        },
        show: |builder| {
            let choice = builder.config.tls.client_certificate_user;
            quoted(choice.map_or("none", ClientCertificateUser::name))
        },
    },
    Setting {
        name: "ssl_variables",
        section: Section::Https,
        short: None,
        flags: &["ssl-variables"],
        shape: Shape::Switch,
        kind: Kind::Word(&["auto", "true", "false"]),
        doc: "Give the application HTTPS and the SSL_* variables of Apache's mod_ssl in its environ. They describe \
              the connection, and the client's certificate if there is one. `auto`: if `cert_reqs` is `optional` or \
              `required`. `wsgi.url_scheme` is always set.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.tls.ssl_variables = automatic(value)?;
            Ok(())
        },
        show: |builder| automatic_text(builder.config.tls.ssl_variables),
    },
    Setting {
        name: "ciphers",
        section: Section::Https,
        short: None,
        flags: &["ciphers"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Cipher suites that are accepted, as an OpenSSL cipher string. Names of suites that Lockgate does not \
              support are errors. Empty: all supported suites, each of which has forward secrecy and authenticated \
              encryption.",
        gunicorn: &["ciphers"],
        uwsgi: &[],
        read: |builder, value| {
            let text = value.optional_text()?;
            let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
            if text
                .as_ref()
                .is_some_and(|text| !text.bytes().all(is_plain))
            {
                return Err(
                    "must be an OpenSSL cipher string, such as ECDHE+AESGCM:ECDHE+CHACHA20".into(),
                );
            }
            builder.config.tls.ciphers = text;
            Ok(())
        },
        show: |builder| quoted(builder.config.tls.ciphers.as_deref().unwrap_or_default()),
    },
    Setting {
        name: "tls_min_version",
        section: Section::Https,
        short: None,
        flags: &["tls-min-version"],
        shape: Shape::Value,
        kind: Kind::Word(&["1.2", "1.3"]),
        doc: "Oldest version of TLS that is accepted. Older ones than 1.2 are not supported (RFC 8996).",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.tls.min_version = version(value)?;
            Ok(())
        },
        show: |builder| quoted(builder.config.tls.min_version.name()),
    },
    Setting {
        name: "tls_handshake_timeout",
        section: Section::Https,
        short: None,
        flags: &["tls-handshake-timeout"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Err(
                "a client could keep a handshake open forever; write 8760h for practically none",
            ),
        },
        doc: "Maximum time from the start of a TLS connection to the end of its handshake. A handshake occupies no \
              thread.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.tls.handshake_timeout = value.duration()?;
            Ok(())
        },
        show: |builder| duration_text(builder.config.tls.handshake_timeout),
    },
    Setting {
        name: "https_redirect",
        section: Section::Https,
        short: None,
        flags: &["https-redirect"],
        shape: Shape::Switch,
        kind: Kind::Word(&["auto", "true", "false", "PORT"]),
        doc: "Redirect requests that arrive without TLS to the same URL with https (308). The port is that of the \
              listener with TLS; a number here is the port that clients connect to instead, for example 443 where a \
              container publishes 8443 as 443; the flag takes none. If `domain` is set, requests for hosts without a certificate get 421. \
              Requests are served if a trusted proxy says that its client uses HTTPS (`secure_scheme_headers`). \
              `auto`: if `domain` is set and a listener has TLS, and not on unix sockets.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.tls.https_redirect = https_redirect(value)?;
            Ok(())
        },
        show: |builder| match builder.config.tls.https_redirect {
            HttpsRedirect::Auto => quoted("auto"),
            HttpsRedirect::On => "true".to_owned(),
            HttpsRedirect::Port(port) => port.to_string(),
            HttpsRedirect::Off => "false".to_owned(),
        },
    },
    Setting {
        name: "hsts",
        section: Section::Https,
        short: None,
        flags: &["hsts"],
        shape: Shape::ValueOrBare("true"),
        kind: Kind::Text,
        doc: "Strict-Transport-Security header of responses over TLS: browsers then use HTTPS only. `true` is a year, \
              a number is seconds, and `max-age=63072000; includeSubDomains; preload` is sent as it is. A header set \
              by the application is not changed. `false` or empty: the header is not sent. Browsers remember it: \
              begin with a short time.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.tls.hsts = hsts(value)?;
            Ok(())
        },
        show: |builder| quoted(builder.config.tls.hsts.as_deref().unwrap_or_default()),
    },
];

fn certificates(value: ValueReader<'_>) -> Result<Vec<CertificateFiles>, ValueError> {
    let items = match value.raw {
        RawValue::List(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let mut certificates = Vec::new();
    for item in items {
        match item {
            RawValue::Table(entries) => certificates.push(certificate(entries)?),
            RawValue::Text(text) => {
                let pieces = text.split(',').map(str::trim);
                for piece in pieces.filter(|piece| !piece.is_empty()) {
                    let (certfile, keyfile) = piece.split_once(':').unwrap_or((piece, ""));
                    if certfile.is_empty() {
                        return Err(ValueError {
                            line: None,
                            piece: Some(quoted(piece)),
                            requirement: "must be CERTFILE:KEYFILE".to_owned(),
                        });
                    }
                    certificates.push(CertificateFiles {
                        certfile: PathBuf::from(certfile),
                        keyfile: (!keyfile.is_empty()).then(|| PathBuf::from(keyfile)),
                        keyfile_password_file: None,
                    });
                }
            }
            _ => {
                return Err("must be a list of tables, such as { certfile = \"shop.pem\", keyfile = \"shop.key\" }".into());
            }
        }
    }
    Ok(certificates)
}

fn certificate(entries: &[Entry]) -> Result<CertificateFiles, ValueError> {
    let mut files = [None, None, None];
    for Entry { key, value, line } in entries {
        let refuse = |requirement: &str| ValueError {
            line: *line,
            piece: Some(format!("{key} = {value}")),
            requirement: requirement.to_owned(),
        };
        let at = CERTIFICATE_KEYS.iter().position(|name| name == key);
        let file = at.and_then(|at| files.get_mut(at)).ok_or_else(|| {
            refuse("unknown key; a certificate has certfile, keyfile and keyfile_password_file")
        })?;
        *file = match value {
            RawValue::Text(text) if !text.is_empty() && !text.contains(['\0', '\n', '\r']) => {
                Some(PathBuf::from(text))
            }
            _ => return Err(refuse("must be a path")),
        };
    }
    let [certfile, keyfile, keyfile_password_file] = files;
    Ok(CertificateFiles {
        certfile: certfile.ok_or("each certificate needs certfile")?,
        keyfile,
        keyfile_password_file,
    })
}

const CERTIFICATE_KEYS: [&str; 3] = ["certfile", "keyfile", "keyfile_password_file"];

/// A certificate as written in the file.
fn certificate_text(files: &CertificateFiles) -> String {
    let paths = [
        Some(&files.certfile),
        files.keyfile.as_ref(),
        files.keyfile_password_file.as_ref(),
    ];
    let pairs: Vec<String> = CERTIFICATE_KEYS
        .into_iter()
        .zip(paths)
        .filter_map(|(key, path)| Some(format!("{key} = {}", quoted(&path?.display().to_string()))))
        .collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn client_certificates(value: ValueReader<'_>) -> Result<ClientCertificates, ValueError> {
    let word = value.text().unwrap_or_default().trim().to_ascii_lowercase();
    let name = word.strip_prefix("ssl.").unwrap_or(&word);
    let name = name.strip_prefix("cert_").unwrap_or(name);
    ClientCertificates::ALL
        .into_iter()
        .zip(["0", "1", "2"])
        .find(|(choice, number)| choice.name() == name || *number == name)
        .map(|(choice, _)| choice)
        .ok_or_else(|| "must be none (0), optional (1) or required (2)".into())
}

fn version(value: ValueReader<'_>) -> Result<TlsVersion, ValueError> {
    let word = match value.raw {
        RawValue::Float(number) => number.to_string(),
        _ => value.text().unwrap_or_default().trim().to_ascii_lowercase(),
    };
    let number = word.strip_prefix("tls").unwrap_or(&word);
    let number = number.strip_prefix('v').unwrap_or(number);
    TlsVersion::ALL
        .into_iter()
        .find(|version| version.name() == number)
        .ok_or_else(|| "must be 1.2 or 1.3".into())
}

fn https_redirect(value: ValueReader<'_>) -> Result<HttpsRedirect, ValueError> {
    const REQUIREMENT: &str = "must be true, false, \"auto\" or the port of https";
    let port = match value.raw {
        RawValue::Integer { value, .. } => u16::try_from(*value).map_err(|_| REQUIREMENT)?,
        RawValue::Text(text) => text.trim().parse().unwrap_or_default(),
        _ => 0,
    };
    match (NonZeroU16::new(port), automatic(value)) {
        // In a variable, 1 is the usual word for true.
        (_, Ok(None)) => Ok(HttpsRedirect::Auto),
        (_, Ok(Some(true))) => Ok(HttpsRedirect::On),
        (_, Ok(Some(false))) => Ok(HttpsRedirect::Off),
        (Some(port), Err(_)) => Ok(HttpsRedirect::Port(port)),
        (None, Err(_)) => Err(REQUIREMENT.into()),
    }
}

/// `None` for `auto`.
fn automatic(value: ValueReader<'_>) -> Result<Option<bool>, ValueError> {
    if value.is_auto() {
        return Ok(None);
    }
    value
        .switch()
        .map(Some)
        .map_err(|_| "must be true, false or \"auto\"".into())
}

fn automatic_text(value: Option<bool>) -> String {
    value.map_or_else(|| quoted("auto"), |value| value.to_string())
}

/// A year, which browsers' preload lists require at least (hstspreload.org).
const YEAR: Duration = Duration::from_secs(31_536_000);

/// The value of Strict-Transport-Security (RFC 6797 §6.1).
fn hsts(value: ValueReader<'_>) -> Result<Option<String>, ValueError> {
    const REQUIREMENT: &str = "must be true, false, a number of seconds, or a header such as \"max-age=31536000; includeSubDomains\"";
    let max_age = |seconds: u64| Ok(Some(format!("max-age={seconds}")));
    let text = match value.raw {
        RawValue::Integer { value, .. } => {
            return u64::try_from(*value)
                .map_err(|_| REQUIREMENT.into())
                .and_then(max_age);
        }
        RawValue::Boolean(true) => return max_age(YEAR.as_secs()),
        RawValue::Boolean(false) => return Ok(None),
        RawValue::Text(text) => text.trim(),
        _ => return Err(REQUIREMENT.into()),
    };
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(seconds) = text.parse::<u64>() {
        return max_age(seconds);
    }
    if let Ok(is_on) = value.switch() {
        return if is_on {
            max_age(YEAR.as_secs())
        } else {
            Ok(None)
        };
    }
    let (mut seconds, mut has_subdomains, mut has_preload) = (None, false, false);
    for directive in text.split(';').map(str::trim) {
        let (name, argument) = match directive.split_once('=') {
            Some((name, argument)) => (name.trim(), Some(argument.trim())),
            None => (directive, None),
        };
        match (name.to_ascii_lowercase().as_str(), argument) {
            ("max-age", Some(argument)) if seconds.is_none() => {
                seconds = Some(argument.parse::<u64>().map_err(|_| REQUIREMENT)?);
            }
            ("includesubdomains", None) if !has_subdomains => has_subdomains = true,
            ("preload", None) if !has_preload => has_preload = true,
            _ => return Err(REQUIREMENT.into()),
        }
    }
    let seconds = seconds.ok_or(REQUIREMENT)?;
    if has_preload && (!has_subdomains || seconds < YEAR.as_secs()) {
        return Err(
            "preload needs includeSubDomains and max-age of at least a year (31536000)".into(),
        );
    }
    Ok(Some(text.to_owned()))
}
