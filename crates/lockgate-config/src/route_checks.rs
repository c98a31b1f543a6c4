//! What routes, limits, access, sessions and spans require of each other, and of other settings.

use crate::identity::TRACES;
use crate::notation::quoted;
use crate::{
    ClientCertificates, Config, ConfigError, HostPattern, Origin, Origins, RouteConfig, RouteRules,
    SameSite,
};

/// Checks the settings together; returns notes for the operator.
pub(crate) fn check(config: &Config, origins: &Origins) -> Result<Vec<String>, ConfigError> {
    let routes = &config.routes;
    let refuse = |name: &'static str, value: String, requirement: String| {
        Err(ConfigError::BadValue {
            name,
            value,
            origin: origins.of(name).clone(),
            requirement,
        })
    };
    for (at, route) in routes.routes.iter().enumerate() {
        let is_same =
            |other: &&RouteConfig| (&other.host, &other.path) == (&route.host, &route.path);
        if routes.routes.iter().take(at).any(|other| is_same(&other)) {
            let requirement = "has the host and path of a [[mount]]; write its rules there";
            return refuse("route", place(route), requirement.to_owned());
        }
    }
    if config.tls.client_certificates == ClientCertificates::None {
        let requirement = "needs cert_reqs = \"optional\" or \"required\", and ca_certs";
        if needs_certificate(&routes.server) {
            return refuse(
                "client_certificate",
                "true".to_owned(),
                requirement.to_owned(),
            );
        }
        if let Some(route) = routes
            .routes
            .iter()
            .find(|route| needs_certificate(&route.rules))
        {
            let name = setting_of(route);
            let requirement = format!("client_certificate {requirement}");
            return refuse(name, place(route), requirement);
        }
    }
    if let Some(cookie) = config.session.as_ref().map(|session| &session.cookie)
        && cookie.same_site == Some(SameSite::None)
        && cookie.secure == Some(false)
    {
        let value = "{ same_site = \"None\", secure = false }".to_owned();
        let requirement = "must be secure: browsers ignore other cookies with SameSite=None";
        return refuse("session", value, requirement.to_owned());
    }
    let mut notes = Vec::new();
    if routes.rate_limits.is_empty() && config.rate_limits.redis.is_some() {
        notes.push("rate_limit_redis has no effect without rate_limit".to_owned());
    }
    if let Some(otlp) = &config.identity.otlp
        && (otlp.metrics || otlp.logs)
        && !otlp.path.ends_with(TRACES)
    {
        let requirement = "must end with /v1/traces if metrics or log lines are sent, too (settings: otlp_metrics, otlp_logs)";
        let url = format!("http://{}:{}{}", otlp.host, otlp.port, otlp.path);
        return refuse("otlp", quoted(&url), requirement.to_owned());
    }
    if config.identity.otlp.is_none() {
        let names = [
            "otlp_sample",
            "otlp_service",
            "otlp_interval",
            "otlp_metrics",
            "otlp_metrics_interval",
            "otlp_logs",
        ];
        let unused = names
            .into_iter()
            .filter(|name| *origins.of(name) != Origin::Default);
        notes.extend(unused.map(|name| format!("{name} has no effect without otlp")));
    }
    Ok(notes)
}

fn needs_certificate(rules: &RouteRules) -> bool {
    matches!(rules.client_certificate, Some(Some(_)))
}

fn setting_of(route: &RouteConfig) -> &'static str {
    match route.mount {
        Some(_) => "mount",
        None => "route",
    }
}

/// The keys that identify a route, as in its table.
fn place(route: &RouteConfig) -> String {
    let host = match &route.host {
        HostPattern::Any => None,
        HostPattern::Below(name) => Some(format!("*.{name}")),
        HostPattern::Exact(name) => Some(name.clone()),
    };
    let path = match (route.path.as_str(), &host) {
        ("", Some(_)) => None,
        ("", None) => Some("/"),
        (path, _) => Some(path),
    };
    let host = host.map(|host| format!("host = {}", quoted(&host)));
    let path = path.map(|path| format!("path = {}", quoted(path)));
    let pairs: Vec<String> = host.into_iter().chain(path).collect();
    format!("{{ {} }}", pairs.join(", "))
}
