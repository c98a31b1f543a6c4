//! Removal of the fields that only a service of `forward_auth` may set: what a client sends under such a name reaches
//! nothing, on no path, whether a service is asked there or not.

use std::time::Instant;

use lockgate_access::CopiedNames;
use lockgate_routes::Routes;

use super::stage::Stage;
use crate::exchange::answer::Answer;
use crate::exchange::request::Request;

/// See the module documentation.
pub(super) struct Strip(CopiedNames);

impl Strip {
    /// `None`: no service sets fields.
    pub(super) fn new(routes: &Routes) -> Option<Self> {
        let services = routes
            .all()
            .iter()
            .filter_map(|rules| rules.forward_auth.as_ref());
        let names = CopiedNames::new(
            services
                .flat_map(|service| &service.copy)
                .map(String::as_str),
        );
        (!names.is_empty()).then_some(Self(names))
    }
}

impl Stage for Strip {
    fn examine(&self, request: &mut Request, _now: Instant) -> Option<Answer> {
        let head = &mut request.head;
        if head.headers().any(|(name, _)| self.0.contains(name)) {
            head.remove_fields(|name| self.0.contains(name));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::samples::request_with;
    use lockgate_config::{
        ForwardAuthConfig, ForwardAuthUrl, HostPattern, RouteConfig, RouteRules, RoutesConfig,
        ServiceAddress,
    };
    use std::time::Duration;

    /// One route, which is not that of the requests, asks a service.
    fn routes() -> RoutesConfig {
        let forward_auth = ForwardAuthConfig {
            url: ForwardAuthUrl {
                address: ServiceAddress::Unix("/nonexistent".into()),
                target: "/".to_owned(),
            },
            copy: vec!["Remote-User".to_owned(), "X-Groups".to_owned()],
            timeout: Duration::from_secs(1),
        };
        RoutesConfig {
            routes: vec![RouteConfig {
                host: HostPattern::Any,
                path: "/private".to_owned(),
                mount: None,
                rules: RouteRules {
                    forward_auth: Some(Some(forward_auth)),
                    ..RouteRules::default()
                },
            }],
            ..RoutesConfig::default()
        }
    }

    #[test]
    fn what_only_a_service_may_say_is_removed_on_each_path() {
        let strip = Strip::new(&Routes::new(&routes())).unwrap();
        for (fields, left) in [
            ("Remote-User: eve", ""),
            ("remote-user: eve\r\nREMOTE-USER: eve\r\nX-Groups: root", ""),
            (
                "Accept: a\r\nRemote-User: eve\r\nCookie: b",
                "Accept Cookie",
            ),
            (
                "Remote-Users: a\r\nX-Remote-User: b",
                "Remote-Users X-Remote-User",
            ),
            ("Connection: Remote-User", "Connection"),
        ] {
            for path in ["/", "/private", "/other?x"] {
                let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
                let mut request = request_with("192.0.2.1", &head);
                assert_eq!(strip.examine(&mut request, Instant::now()), None);
                let names = request.head.headers().map(|(name, _)| name).skip(1);
                let names = names
                    .map(String::from_utf8_lossy)
                    .collect::<Vec<_>>()
                    .join(" ");
                assert_eq!(names, left, "{fields} {path}");
            }
        }
        assert!(Strip::new(&Routes::new(&RoutesConfig::default())).is_none());
    }
}
