//! Settings: trusted proxies and their headers.

use crate::kind::Kind;
use crate::notation::{quoted, quoted_list};
use crate::raw_value::{Entry, RawValue, ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};
use crate::{ForwardedHeaders, Networks, ProxyVersion};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "forwarded_allow_ips",
        section: Section::Proxies,
        short: None,
        flags: &["forwarded-allow-ips"],
        shape: Shape::List,
        kind: Kind::Network,
        doc: "Trusted proxies, whose headers determine the client's address and scheme. Addresses or networks; peers \
              on a unix socket are always trusted. `*` trusts every peer, but no address within a forwarding header: \
              list the proxies if there are several in a row. The variable FORWARDED_ALLOW_IPS sets it too.",
        gunicorn: &["forwarded_allow_ips"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.proxies.trusted = networks(value)?;
            Ok(())
        },
        show: |builder| quoted_list(builder.config.proxies.trusted.texts()),
    },
    Setting {
        name: "forwarded_headers",
        section: Section::Proxies,
        short: None,
        flags: &["forwarded-headers"],
        shape: Shape::Value,
        kind: Kind::Word(&["auto", "x-forwarded", "forwarded", "off"]),
        doc: "Headers of a trusted proxy that identify the client. `x-forwarded` is X-Forwarded-For together with \
              `secure_scheme_headers`; `forwarded` is Forwarded (RFC 7239). `auto` uses the first of the two \
              families that a request contains, and never mixes them. Set the family that your proxy writes if it \
              passes the other one on from clients. `off` keeps the address of the proxy, as gunicorn does; \
              `secure_scheme_headers` still apply.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let word = value.text()?.trim().to_ascii_lowercase();
            builder.config.proxies.headers = ForwardedHeaders::ALL
                .into_iter()
                .find(|choice| choice.name() == word)
                .ok_or_else(|| ValueError::from("must be auto, x-forwarded, forwarded or off"))?;
            Ok(())
        },
        show: |builder| quoted(builder.config.proxies.headers.name()),
    },
    Setting {
        name: "forwarded_host",
        section: Section::Proxies,
        short: None,
        flags: &["forwarded-host"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Use the host that a trusted proxy forwards as HTTP_HOST. It is taken from X-Forwarded-Host or \
              Forwarded. Enable it only if the proxy sets that header on every request: many proxies pass on what \
              the client has sent.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.proxies.host = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.proxies.host.to_string(),
    },
    Setting {
        name: "forwarded_prefix",
        section: Section::Proxies,
        short: None,
        flags: &["forwarded-prefix"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Use the X-Forwarded-Prefix of a trusted proxy as SCRIPT_NAME. It replaces `root_path`. If the request \
              path begins with it, it is removed from the path; otherwise the proxy is assumed to have removed it. \
              Enable it only if the proxy sets that header on every request: many proxies pass on what the client \
              has sent.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.proxies.prefix = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.proxies.prefix.to_string(),
    },
    Setting {
        name: "secure_scheme_headers",
        section: Section::Proxies,
        short: None,
        flags: &["secure-scheme-headers"],
        shape: Shape::List,
        kind: Kind::Assignment,
        doc: "Headers by which a trusted proxy indicates that the client used HTTPS. Each is given as `NAME=VALUE`. \
              Any other value means http, and contradicting headers get 400. The file also accepts a table, as in \
              `secure_scheme_headers = { X-FORWARDED-PROTO = \"https\"}`.",
        gunicorn: &["secure_scheme_headers"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.proxies.scheme_headers = scheme_headers(value)?;
            Ok(())
        },
        show: |builder| {
            let pairs = builder.config.proxies.scheme_headers.iter();
            quoted_list(pairs.map(|(name, value)| format!("{name}={value}")))
        },
    },
    Setting {
        name: "strip_untrusted_headers",
        section: Section::Proxies,
        short: None,
        flags: &["strip-untrusted-headers"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Remove headers about the client that do not come from a trusted proxy. These are Forwarded, \
              X-Forwarded-*, X-Real-IP and similar headers: applications and frameworks read them too, and cannot \
              determine who sent them. gunicorn passes them on.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.proxies.strip_untrusted = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.proxies.strip_untrusted.to_string(),
    },
    Setting {
        name: "forwarder_headers",
        section: Section::Proxies,
        short: None,
        flags: &["forwarder-headers"],
        shape: Shape::List,
        kind: Kind::FieldName,
        doc: "Header names with an underscore that a trusted proxy may send. `*` allows all. SCRIPT_NAME sets the \
              mount point of the application, and the path must begin with it; other names reach the application \
              with the prefix HTTP_. A request that contains the same name with a hyphen as well gets 400.",
        gunicorn: &["forwarder_headers"],
        uwsgi: &[],
        read: |builder, value| {
            let names = value.items(',')?;
            if let Some(name) = names.iter().find(|name| !is_field_name(name)) {
                return Err(ValueError {
                    line: None,
                    piece: Some(quoted(name)),
                    requirement: "is not a valid header name".to_owned(),
                });
            }
            builder.config.proxies.underscore_names = names;
            Ok(())
        },
        show: |builder| quoted_list(&builder.config.proxies.underscore_names),
    },
    Setting {
        name: "header_map",
        section: Section::Proxies,
        short: None,
        flags: &["header-map"],
        shape: Shape::Value,
        kind: Kind::Word(&["drop", "refuse"]),
        doc: "How to handle headers with an underscore that `forwarder_headers` does not allow. `drop` removes them \
              and logs a warning for each name; `refuse` responds with 400. To an application X_Y and X-Y are the \
              same name, and one of them may have been checked by a proxy. gunicorn's `dangerous` is not supported.",
        gunicorn: &["header_map"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.proxies.refuse_underscores = refuses_underscores(value)?;
            Ok(())
        },
        show: |builder| {
            let is_strict = builder.config.proxies.refuse_underscores;
            quoted(if is_strict { "refuse" } else { "drop" })
        },
    },
    Setting {
        name: "proxy_protocol",
        section: Section::Proxies,
        short: None,
        flags: &["proxy-protocol"],
        shape: Shape::ValueOrBare("auto"),
        kind: Kind::Word(&["off", "v1", "v2", "auto"]),
        doc: "Require a PROXY protocol header, which names the client, on every connection. HAProxy and cloud load \
              balancers send it. `v1` is the text line, `v2` the binary header, `auto` either. A connection without \
              it is refused, and so is a peer that is not in `proxy_allow_ips`. Headers about the client are then \
              trusted if the address in the PROXY header is in `forwarded_allow_ips`. The file also accepts true \
              (`auto`) and false.",
        gunicorn: &["proxy_protocol"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.proxies.protocol = proxy_version(value)?;
            Ok(())
        },
        show: |builder| {
            quoted(match builder.config.proxies.protocol {
                None => "off",
                Some(ProxyVersion::V1) => "v1",
                Some(ProxyVersion::V2) => "v2",
                Some(ProxyVersion::Auto) => "auto",
            })
        },
    },
    Setting {
        name: "proxy_allow_ips",
        section: Section::Proxies,
        short: None,
        flags: &["proxy-allow-ips", "proxy-allow-from"],
        shape: Shape::List,
        kind: Kind::Network,
        doc: "Peers that may connect when `proxy_protocol` is enabled. Peers on a unix socket always may.",
        gunicorn: &["proxy_allow_ips"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.proxies.protocol_peers = networks(value)?;
            Ok(())
        },
        show: |builder| quoted_list(builder.config.proxies.protocol_peers.texts()),
    },
];

pub(super) fn networks(value: ValueReader<'_>) -> Result<Networks, ValueError> {
    let mut networks = Networks::default();
    for text in value.items(',')? {
        networks.add(&text).map_err(|requirement| ValueError {
            line: None,
            piece: Some(quoted(&text)),
            requirement,
        })?;
    }
    Ok(networks)
}

fn scheme_headers(value: ValueReader<'_>) -> Result<Vec<(String, String)>, ValueError> {
    const REQUIREMENT: &str = "must be NAME=VALUE, such as X-FORWARDED-PROTO=https";
    let refuse = |piece: String| ValueError {
        line: None,
        piece: Some(piece),
        requirement: REQUIREMENT.to_owned(),
    };
    let mut pairs = Vec::new();
    if let RawValue::Table(table) = value.raw {
        for Entry {
            key: name, value, ..
        } in table
        {
            match value {
                RawValue::Text(value) => pairs.push((name.clone(), value.clone())),
                value => return Err(refuse(format!("{name} = {value}"))),
            }
        }
    } else {
        for text in value.items(',')? {
            let (name, value) = text.split_once('=').ok_or_else(|| refuse(quoted(&text)))?;
            pairs.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    for (name, value) in &pairs {
        // Names with an underscore are dropped before this header is read, so such an entry would never match.
        if !is_field_name(name) || name.contains('_') || name == "*" || value.is_empty() {
            return Err(refuse(quoted(&format!("{name}={value}"))));
        }
    }
    Ok(pairs)
}

/// `token` of RFC 9110 §5.6.2; `*` alone is one as well.
fn is_field_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

fn refuses_underscores(value: ValueReader<'_>) -> Result<bool, ValueError> {
    match value.text()?.trim().to_ascii_lowercase().as_str() {
        "drop" => Ok(false),
        "refuse" => Ok(true),
        "dangerous" => Err(
            "would let any client pose as a proxy, and is not supported: list the headers that your proxy sends in forwarder_headers"
                .into(),
        ),
        _ => Err("must be drop or refuse".into()),
    }
}

fn proxy_version(value: ValueReader<'_>) -> Result<Option<ProxyVersion>, ValueError> {
    if let Ok(is_on) = value.switch() {
        return Ok(is_on.then_some(ProxyVersion::Auto));
    }
    let word = value.text().unwrap_or_default();
    match word.trim().to_ascii_lowercase().as_str() {
        "v1" => Ok(Some(ProxyVersion::V1)),
        "v2" => Ok(Some(ProxyVersion::V2)),
        "auto" => Ok(Some(ProxyVersion::Auto)),
        _ => Err("must be off, v1, v2 or auto".into()),
    }
}
