//! Forward authentication: another service decides about each request, on threads that may wait for it.
//!
//! Invariant: a request passes only after a complete 2xx response. A service that is dead, late or answers with anything
//! that is not HTTP lets none pass.

mod connection;
mod service;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lockgate_access::{Question, ServiceAnswer};
use lockgate_config::ForwardAuthConfig;
use lockgate_http::LocalResponse;
use lockgate_observe::Level;
use lockgate_routes::Routes;

use self::connection::Failure;
use self::service::Service;
use crate::blocking_pool::BlockingPool;
use crate::exchange::Exchange;
use crate::exchange::answer::Answer;
use crate::exchange::handler::{Handled, Handler, Resume};
use crate::exchange::request::Request;
use crate::exchange::writer::{DropReason, Presence, PresenceCheck};
use crate::helper_thread::PanicGuard;
use crate::log::ErrorLog;
use crate::log::throttle::SharedThrottle;

/// Names of fields that are the user by convention, for the access log.
const USER_FIELDS: [&str; 2] = ["remote-user", "x-auth-request-user"];

/// See the module documentation. The services of all routes, by their id.
pub struct ForwardAuth(Vec<Option<Arc<Asking>>>);

/// A service, and what is needed to ask it about a request.
struct Asking {
    service: Service,
    /// Names of the fields that are copied.
    copied: Vec<String>,
    pool: BlockingPool,
    resume: Arc<dyn Resume>,
    error_log: Arc<ErrorLog>,
    problems: SharedThrottle,
}

impl ForwardAuth {
    /// `None`: no route has a service.
    pub fn new(
        routes: &Routes,
        resume: &Arc<dyn Resume>,
        error_log: &Arc<ErrorLog>,
        panic_guard: &PanicGuard,
    ) -> Option<Self> {
        let mut known: Vec<(&ForwardAuthConfig, Arc<Asking>)> = Vec::new();
        let by_route = routes.all().iter().map(|rules| {
            let config = rules.forward_auth.as_ref()?;
            if let Some((_, asking)) = known.iter().find(|(other, _)| *other == config) {
                return Some(Arc::clone(asking));
            }
            let asking = Arc::new(Asking {
                service: Service::new(config),
                copied: config.copy.clone(),
                pool: BlockingPool::for_a_service(panic_guard.clone()),
                resume: Arc::clone(resume),
                error_log: Arc::clone(error_log),
                problems: SharedThrottle::default(),
            });
            known.push((config, Arc::clone(&asking)));
            Some(asking)
        });
        let by_route: Vec<_> = by_route.collect();
        by_route
            .iter()
            .any(Option::is_some)
            .then_some(Self(by_route))
    }

    fn of(&self, request: &Request) -> Option<&Arc<Asking>> {
        let admitted = &request.admitted;
        let asking = self.0.get(admitted.access as usize)?.as_ref()?;
        // A request of the server itself for a held response has the fields of that response's request.
        (!admitted.is_vouched_for).then_some(asking)
    }
}

impl Handler for ForwardAuth {
    fn concerns(&self, request: &Request) -> bool {
        self.of(request).is_some()
    }

    fn handle(&self, exchange: Exchange) -> Handled {
        let Some(asking) = self.of(&exchange.request) else {
            return Handled::Pass(exchange);
        };
        let until = Instant::now() + asking.service.timeout;
        let waiting = Arc::new(Mutex::new(Some(exchange)));
        let job = {
            let (asking, waiting) = (Arc::clone(asking), Arc::clone(&waiting));
            move || {
                if let Some(exchange) = take(&waiting) {
                    asking.ask(exchange, until);
                }
            }
        };
        let Err(error) = asking.pool.spawn(job) else {
            return Handled::Taken;
        };
        let Some(exchange) = take(&waiting) else {
            return Handled::Taken;
        };
        asking.report(&Failure::NoThread(error), 503);
        let response = LocalResponse::text(503, "").with_header("Retry-After", "1");
        Handled::Answer(exchange, Answer::refused(response, "forward_auth_full"))
    }
}

impl Asking {
    /// Runs on a thread of the pool.
    fn ask(&self, mut exchange: Exchange, until: Instant) {
        if exchange.writer.client().presence(PresenceCheck::Socket) == Presence::Gone {
            let now = Instant::now();
            return exchange.writer.drop_request(DropReason::Gone, now);
        }
        let request = &exchange.request;
        let question = Question {
            target: &self.service.target,
            host: &self.service.host,
            head: &request.head,
            client: request.client.host(),
            scheme: request.scheme(),
        };
        let answer = match self.service.ask(&question.encode(), until) {
            Ok(answer) if (200..300).contains(&answer.status) => {
                self.admit(&mut exchange, &answer);
                return self.resume.resume(exchange);
            }
            Ok(answer) => {
                Answer::refused(response_of(&answer), "forward_auth_denied").with_foreign_body()
            }
            Err(failure) => {
                let (status, reason) = match failure {
                    Failure::TooLate => (504, "forward_auth_late"),
                    _ => (502, "forward_auth_failed"),
                };
                self.report(&failure, status);
                Answer::refused(LocalResponse::text(status, ""), reason)
            }
        };
        exchange.writer.answer(&answer, Instant::now());
    }

    /// Copies the fields. What the client has sent under their names was removed at admission.
    fn admit(&self, exchange: &mut Exchange, answer: &ServiceAnswer) {
        for name in &self.copied {
            let values = (answer.fields.iter())
                .filter(|(other, value)| {
                    !value.is_empty() && other.eq_ignore_ascii_case(name.as_bytes())
                })
                .map(|(_, value)| &value[..]);
            let value = values.collect::<Vec<_>>().join(&b", "[..]);
            if value.is_empty() {
                continue;
            }
            let head = &mut exchange.request.head;
            head.set_field(name.as_bytes(), &value);
            let is_user = USER_FIELDS
                .iter()
                .any(|user| name.eq_ignore_ascii_case(user));
            if is_user && exchange.request.admitted.user.is_none() {
                let user = String::from_utf8_lossy(&value);
                exchange.writer.control().record_user(&user);
            }
        }
        exchange.request.admitted.is_vouched_for = true;
    }

    fn report(&self, failure: &Failure, status: u16) {
        if let Some(more) = self.problems.record(Instant::now()) {
            let service = &self.service.shown;
            let message = format!(
                "no answer from {service} (forward_auth): {failure}; requests get {status}{more}"
            );
            self.error_log.write_unless_blocked(Level::Error, &message);
        }
    }
}

/// Fields of the service's response that the client does not get: those of the connection to it, and those that this
/// server writes.
const NOT_FOR_CLIENTS: [&str; 12] = [
    "alt-svc",
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "proxy-connection",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What the client gets in place of the application's response: a page or a redirect for the login, or a refusal.
fn response_of(answer: &ServiceAnswer) -> LocalResponse {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut response = LocalResponse::new(answer.status);
    for (name, value) in &answer.fields {
        let (name, value) = (text(name), text(value));
        if name.eq_ignore_ascii_case("content-type") {
            response.content_type = value.into();
        } else if !NOT_FOR_CLIENTS
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own))
        {
            response.headers.push((name.into(), value.into()));
        }
    }
    response.body = answer.body.clone().into();
    response
}

fn take(waiting: &Mutex<Option<Exchange>>) -> Option<Exchange> {
    waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}

impl std::fmt::Debug for ForwardAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForwardAuth").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_gets_the_response_of_the_service_without_its_connection() {
        let field = |name: &str, value: &str| (name.into(), value.into());
        let answer = ServiceAnswer {
            status: 302,
            fields: vec![
                field("Location", "/login"),
                field("set-cookie", "a=1"),
                field("Set-Cookie", "b=2"),
                field("Content-Type", "text/html"),
                field("Content-Length", "4"),
                field("Connection", "close"),
                field("Server", "x"),
                field("Date", "x"),
                field("WWW-Authenticate", "Bearer"),
            ],
            body: b"page".to_vec(),
            keeps_connection: true,
        };
        let response = response_of(&answer);
        let names: Vec<&str> = response.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(
            names,
            ["Location", "set-cookie", "Set-Cookie", "WWW-Authenticate"]
        );
        assert_eq!(
            (response.status, &*response.content_type, &*response.body),
            (302, "text/html", &b"page"[..])
        );
    }
}
