//! Settings: the names of the site, and certificates that a certificate authority issues for them.

use super::application::path;
use crate::acme::{parse_directory, parse_domain, parse_email};
use crate::kind::Kind;
use crate::notation::{quoted, quoted_list};
use crate::raw_value::{ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "domain",
        section: Section::Acme,
        short: None,
        flags: &["domain"],
        shape: Shape::List,
        kind: Kind::Domain,
        doc: "Names of the site, for which certificates are obtained and renewed automatically. Without `bind`, the \
              server then listens on the ports 443 (HTTPS) and 80 (redirect to HTTPS) of every interface. The \
              certificate authority connects to one of the two ports, so the names must lead to this server. For \
              `localhost`, its subdomains and loopback addresses the server makes a certificate itself. Leave out \
              names for which a file has a certificate.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.acme.domains = domains(value)?;
            Ok(())
        },
        show: |builder| quoted_list(&builder.config.acme.domains),
    },
    Setting {
        name: "acme_email",
        section: Section::Acme,
        short: None,
        flags: &["acme-email"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Email address for the account at the certificate authority. Empty: the account has none.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.acme.email = match value.optional_text()? {
                None => None,
                Some(text) => Some(parse_email(&text)?),
            };
            Ok(())
        },
        show: |builder| optional(&builder.config.acme.email),
    },
    Setting {
        name: "acme_directory",
        section: Section::Acme,
        short: None,
        flags: &["acme-directory"],
        shape: Shape::Value,
        kind: Kind::Url,
        doc: "Directory URL of the certificate authority. Use of an authority means consent to its terms of service. \
              The default is Let's Encrypt.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.acme.directory = parse_directory(value.text()?.trim())?;
            Ok(())
        },
        show: |builder| quoted(&builder.config.acme.directory),
    },
    Setting {
        name: "acme_fallback_directory",
        section: Section::Acme,
        short: None,
        flags: &["acme-fallback-directory"],
        shape: Shape::Value,
        kind: Kind::Url,
        doc: "Directory URL of a second certificate authority, which is asked while the first one fails. Empty: \
              there is none.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.acme.fallback_directory = match value.optional_text()? {
                None => None,
                Some(text) => Some(parse_directory(&text)?),
            };
            Ok(())
        },
        show: |builder| optional(&builder.config.acme.fallback_directory),
    },
    Setting {
        name: "acme_eab_key_id",
        section: Section::Acme,
        short: None,
        flags: &["acme-eab-key-id"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Identifier of the key for external account binding. Some authorities require it: it links the account \
              to a customer of theirs.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let text = value.optional_text()?;
            let is_plain = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic());
            if !text.as_ref().is_none_or(is_plain) {
                return Err("must be ASCII without spaces, as the authority shows it".into());
            }
            builder.config.acme.eab_key_id = text;
            Ok(())
        },
        show: |builder| optional(&builder.config.acme.eab_key_id),
    },
    Setting {
        name: "acme_eab_hmac_key_file",
        section: Section::Acme,
        short: None,
        flags: &["acme-eab-hmac-key-file"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "File of the key that `acme_eab_key_id` identifies, in base64url as the authority shows it. The key \
              itself is no setting, because flags and variables are visible to others.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.acme.eab_hmac_key_file = value.optional_path()?;
            Ok(())
        },
        show: |builder| path(&builder.config.acme.eab_hmac_key_file),
    },
    Setting {
        name: "acme_dir",
        section: Section::Acme,
        short: None,
        flags: &["acme-dir"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "Directory of accounts, certificates and their keys. Several hosts that serve the same names may share \
              it. Unless it is set, it is `acme` in STATE_DIRECTORY, which systemd sets (`StateDirectory=`), or \
              `lockgate/acme` in XDG_DATA_HOME, if one of these variables is set.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.acme.dir = value.optional_path()?.ok_or("must be a path")?;
            Ok(())
        },
        show: |builder| quoted(&builder.config.acme.dir.display().to_string()),
    },
    Setting {
        name: "acme_ca_certs",
        section: Section::Acme,
        short: None,
        flags: &["acme-ca-certs"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "File of further certificates, in PEM, that are trusted in connections to `acme_directory`. Needed for \
              a private certificate authority.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.acme.ca_certs = value.optional_path()?;
            Ok(())
        },
        show: |builder| path(&builder.config.acme.ca_certs),
    },
];

fn domains(value: ValueReader<'_>) -> Result<Vec<String>, ValueError> {
    let mut domains: Vec<String> = Vec::new();
    for text in value.items(',')? {
        let refuse = |requirement: String| ValueError {
            line: None,
            piece: Some(quoted(&text)),
            requirement,
        };
        let domain = parse_domain(&text).map_err(refuse)?;
        if domains.contains(&domain) {
            return Err(refuse("is listed twice".to_owned()));
        }
        domains.push(domain);
    }
    Ok(domains)
}

fn optional(text: &Option<String>) -> String {
    quoted(text.as_deref().unwrap_or_default())
}
