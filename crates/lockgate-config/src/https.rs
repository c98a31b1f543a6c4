//! What the settings of HTTPS require of each other.

use crate::listener::HTTP_PORT;
use crate::notation::quoted;
use crate::{
    Bind, BindAddress, ClientCertificates, Config, ConfigError, HTTPS_PORT, Origin, Origins, Scheme,
};

/// Where to listen if `domain` is set and `bind` is not. PORT means plain HTTP behind a proxy, which needs no `domain`.
pub(crate) fn listen_at_standard_ports(config: &mut Config, origins: &mut Origins) {
    let is_given = match origins.of("bind") {
        Origin::Default => false,
        Origin::Variable(name) => name != "PORT",
        _ => true,
    };
    if is_given || config.acme.domains.is_empty() {
        return;
    }
    // A certificate of the server's own is for this machine.
    let host = match config.acme.public_domains().next() {
        Some(_) => "::",
        None => "localhost",
    };
    let at = |scheme, port| Bind {
        address: BindAddress::Tcp {
            host: host.to_owned(),
            port,
        },
        scheme: Some(scheme),
    };
    config.bind = vec![at(Scheme::Https, HTTPS_PORT), at(Scheme::Http, HTTP_PORT)];
    origins.record("bind", Origin::Default);
}

/// Checks the settings together; returns notes for the operator.
pub(crate) fn check(config: &Config, origins: &Origins) -> Result<Vec<String>, ConfigError> {
    let (tls, acme) = (&config.tls, &config.acme);
    let refuse = |name: &'static str, value: String, requirement: &str| {
        Err(ConfigError::BadValue {
            name,
            value,
            origin: origins.of(name).clone(),
            requirement: requirement.to_owned(),
        })
    };
    let shown = |path: &std::path::Path| quoted(&path.display().to_string());
    if let (Some(keyfile), None) = (&tls.keyfile, &tls.certfile) {
        let requirement = "needs certfile, the certificate that belongs to this key";
        return refuse("keyfile", shown(keyfile), requirement);
    }
    if let Some(file) = &tls.keyfile_password_file
        && tls.certificate_files().next().is_none()
    {
        let requirement = "needs certfile or certificates";
        return refuse("keyfile_password_file", shown(file), requirement);
    }
    let choice = tls.client_certificates;
    match &tls.ca_certs {
        None if choice != ClientCertificates::None => {
            let requirement = "needs ca_certs, the file of the authorities that issue the certificates of clients";
            return refuse("cert_reqs", quoted(choice.name()), requirement);
        }
        // gunicorn ignores it then, and an operator who wants to admit only certain clients admits all.
        Some(file)
            if choice == ClientCertificates::None
                && *origins.of("cert_reqs") == Origin::Default =>
        {
            let requirement =
                "has no effect without cert_reqs; set cert_reqs to required, optional or none";
            return refuse("ca_certs", shown(file), requirement);
        }
        _ => {}
    }
    if let Some(user) = tls.client_certificate_user
        && choice == ClientCertificates::None
    {
        let requirement = "needs cert_reqs = \"required\" or \"optional\", and ca_certs";
        return refuse("client_certificate_user", quoted(user.name()), requirement);
    }
    match (&acme.eab_key_id, &acme.eab_hmac_key_file) {
        (Some(id), None) => {
            return refuse(
                "acme_eab_key_id",
                quoted(id),
                "needs acme_eab_hmac_key_file",
            );
        }
        (None, Some(file)) => {
            return refuse(
                "acme_eab_hmac_key_file",
                shown(file),
                "needs acme_eab_key_id",
            );
        }
        _ => {}
    }
    if acme.fallback_directory.as_ref() == Some(&acme.directory) {
        let requirement = "must be another authority than acme_directory";
        return refuse(
            "acme_fallback_directory",
            quoted(&acme.directory),
            requirement,
        );
    }
    let is_secure = |bind: &&Bind| bind.scheme == Some(Scheme::Https);
    if let Some(bind) = config.bind.iter().find(is_secure)
        && !config.has_certificates()
    {
        let requirement = "needs a certificate: set domain, or certfile and keyfile";
        return refuse("bind", quoted(&bind.to_string()), requirement);
    }
    // An operator who sets certificates expects TLS there.
    if config.uwsgi.protocol.is_default
        && config.has_certificates()
        && let Some(bind) = (config.bind.iter()).find(|bind| is_secure_over_http(bind))
    {
        let requirement = format!(
            "has no TLS, and there are certificates; write https://{bind} in bind, or uwsgi://{bind} if a web server \
             connects to it"
        );
        return refuse("protocol", quoted("uwsgi"), &requirement);
    }
    let mut notes = Vec::new();
    // What is spoken at a passed socket is known once it is open.
    let may_be_secure = |bind: &Bind| match bind.address {
        BindAddress::Fd(_) | BindAddress::Systemd(_) => true,
        _ => config.scheme_at(bind, &bind.address) == Scheme::Https,
    };
    if config.has_certificates() && !config.bind.iter().any(may_be_secure) {
        notes.push("no address in bind speaks TLS, so certificates have no effect; write https://HOST:PORT".to_owned());
    }
    let may_be_reached = |bind: &Bind| match bind.address {
        BindAddress::Tcp { port, .. } => [HTTP_PORT, HTTPS_PORT].contains(&port),
        BindAddress::Fd(_) | BindAddress::Systemd(_) => true,
        _ => false,
    };
    if let Some(domain) = acme.public_domains().next()
        && !config.bind.iter().any(may_be_reached)
    {
        notes.push(format!(
            "bind has neither port 80 nor 443, to which the certificate authority connects: forward one of these ports of \
             {domain} to this server"
        ));
    }
    if acme.public_domains().next().is_none() {
        let unused = ["acme_email", "acme_eab_key_id", "acme_fallback_directory"]
            .into_iter()
            .filter(|name| *origins.of(name) != Origin::Default);
        notes.extend(unused.map(|name| format!("{name} has no effect without domain")));
    }
    Ok(notes)
}

/// Whether TLS would be spoken at this address if `protocol` were http.
fn is_secure_over_http(bind: &Bind) -> bool {
    let is_port = |port| port != HTTP_PORT;
    bind.scheme.is_none() && matches!(bind.address, BindAddress::Tcp { port, .. } if is_port(port))
}
