//! A service that is asked: its addresses, and the connections to it that are kept open.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lockgate_access::ServiceAnswer;
use lockgate_config::{ForwardAuthConfig, ServiceAddress};
use socket2::SockAddr;

use super::connection::{Connection, Failure};

/// As many as may be in use at the same time.
const MOST_IDLE: usize = 32;

/// Most services close connections that were idle for longer; one that was closed is found out and replaced.
const IDLE_FOR: Duration = Duration::from_secs(4);

/// How long the known addresses count when the name cannot be resolved.
const RETRIED_AFTER: Duration = Duration::from_secs(5);

/// How long the addresses of a name count.
const RESOLVED_FOR: Duration = Duration::from_secs(30);

/// See the module documentation.
pub(super) struct Service {
    /// The path and query that are requested.
    pub(super) target: String,
    /// For Host.
    pub(super) host: String,
    /// For the log.
    pub(super) shown: String,
    pub(super) timeout: Duration,
    address: ServiceAddress,
    resolved: Mutex<Option<(Vec<SocketAddr>, Instant)>>,
    /// With the time of their last response.
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Service {
    pub(super) fn new(config: &ForwardAuthConfig) -> Self {
        let (host, shown) = match &config.url.address {
            ServiceAddress::Tcp { host, port } => {
                let host = match host.contains(':') {
                    true => format!("[{host}]"),
                    false => host.clone(),
                };
                let authority = match port {
                    80 => host,
                    port => format!("{host}:{port}"),
                };
                let shown = format!("http://{authority}");
                (authority, shown)
            }
            ServiceAddress::Unix(path) => {
                ("localhost".to_owned(), format!("unix:{}", path.display()))
            }
        };
        Self {
            target: config.url.target.clone(),
            host,
            shown,
            timeout: config.timeout,
            address: config.url.address.clone(),
            resolved: Mutex::default(),
            idle: Mutex::default(),
        }
    }

    /// Sends the request and returns the response, at the latest at `until`.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) fn ask(&self, question: &[u8], until: Instant) -> Result<ServiceAnswer, Failure> {
        if let Some(mut connection) = self.take_idle(Instant::now()) {
            match connection.exchange(question, until) {
                Ok(answer) => return Ok(self.keep(connection, answer)),
                // The service may have closed it in the meantime. A GET may be repeated (RFC 9110 §9.2.2).
                Err(Failure::Unanswered(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        let mut connection = self.connect(until)?;
        let answer = connection.exchange(question, until)?;
        Ok(self.keep(connection, answer))
    }

    fn connect(&self, until: Instant) -> Result<Connection, Failure> {
        let addresses = match &self.address {
            ServiceAddress::Unix(path) => vec![SockAddr::unix(path).map_err(Failure::Unreachable)?],
            ServiceAddress::Tcp { host, port } => {
                let addresses = self.resolve(host, *port)?;
                addresses.into_iter().map(SockAddr::from).collect()
            }
        };
        let mut failure = Failure::NoAddress;
        for address in &addresses {
            match Connection::open(address, until) {
                Ok(connection) => return Ok(connection),
                Err(found) => failure = found,
            }
        }
        Err(failure)
    }

    /// The addresses of the host. Those of earlier count when the name cannot be resolved at the moment.
    fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let now = Instant::now();
        let known = lock(&self.resolved).clone();
        if let Some((addresses, until)) = &known
            && now < *until
        {
            return Ok(addresses.clone());
        }
        match (host, port).to_socket_addrs() {
            Ok(found) => {
                let addresses: Vec<SocketAddr> = found.collect();
                *lock(&self.resolved) = Some((addresses.clone(), now + RESOLVED_FOR));
                Ok(addresses)
            }
            Err(error) => {
                let (addresses, _) = known.ok_or(Failure::Unreachable(error))?;
                // Each attempt may take as long as the resolver waits.
                *lock(&self.resolved) = Some((addresses.clone(), Instant::now() + RETRIED_AFTER));
                Ok(addresses)
            }
        }
    }

    /// A connection on which nothing has come since its last response.
    fn take_idle(&self, now: Instant) -> Option<Connection> {
        loop {
            let (connection, since) = lock(&self.idle).pop()?;
            let is_fresh = now.saturating_duration_since(since) < IDLE_FOR;
            if is_fresh && connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    fn keep(&self, connection: Connection, answer: ServiceAnswer) -> ServiceAnswer {
        if answer.keeps_connection {
            let now = Instant::now();
            let mut idle = lock(&self.idle);
            // The first one is the oldest.
            idle.retain(|(_, since)| now.saturating_duration_since(*since) < IDLE_FOR);
            if idle.len() < MOST_IDLE {
                idle.push((connection, now));
            }
        }
        answer
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_access::BadAnswer;
    use lockgate_config::ForwardAuthUrl;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    fn service(address: ServiceAddress, timeout: Duration) -> Service {
        Service::new(&ForwardAuthConfig {
            url: ForwardAuthUrl {
                address,
                target: "/verify".to_owned(),
            },
            copy: Vec::new(),
            timeout,
        })
    }

    fn of_port(port: u16) -> Service {
        let host = "127.0.0.1".to_owned();
        service(ServiceAddress::Tcp { host, port }, Duration::from_secs(20))
    }

    fn ask(service: &Service) -> Result<u16, Failure> {
        let until = Instant::now() + service.timeout;
        service
            .ask(b"GET / HTTP/1.1\r\n\r\n", until)
            .map(|answer| answer.status)
    }

    /// A service that accepts connections one after the other, and answers on each of them with the texts of one list.
    fn speak(answers: Vec<Vec<&'static str>>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for answers in answers {
                let (mut socket, _) = listener.accept().unwrap();
                for answer in answers {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        if socket.read(&mut byte).unwrap_or(0) == 0 {
                            break;
                        }
                        request.push(byte[0]);
                    }
                    socket.write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        port
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn a_connection_is_used_again_and_replaced_when_it_was_closed() {
        let close = "HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        // The first connection is closed behind its second answer, though it was to be kept.
        let service = of_port(speak(vec![vec![OK, OK], vec![OK, close], vec![OK]]));
        let answers: Vec<u16> = (0..5).map(|_| ask(&service).unwrap()).collect();
        assert_eq!(answers, [200, 200, 200, 403, 200]);
    }

    #[test]
    fn what_comes_without_a_question_ends_the_connection() {
        let two = "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let service = of_port(speak(vec![
            vec![two],
            vec!["HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"],
        ]));
        // The second answer of the first connection belongs to no question.
        assert_eq!([(); 2].map(|()| ask(&service).unwrap()), [401, 403]);
    }

    #[test]
    fn a_service_that_fails_is_named() {
        let failure = |answers| ask(&of_port(speak(vec![answers]))).unwrap_err().to_string();
        assert_eq!(
            failure(vec!["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx"]),
            BadAnswer::Closed.to_string()
        );
        assert_eq!(
            failure(vec!["SSH-2.0\r\n\r\n"]),
            BadAnswer::InvalidStatusLine.to_string()
        );
        assert_eq!(failure(vec![""]), BadAnswer::Closed.to_string());
        let unused = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        assert!(matches!(
            ask(&of_port(unused)),
            Err(Failure::Unreachable(_))
        ));
        let nowhere = ServiceAddress::Unix("/nonexistent/socket".into());
        let service = service(nowhere, Duration::from_secs(20));
        assert!(matches!(ask(&service), Err(Failure::Unreachable(_))));
    }

    #[test]
    fn a_silent_service_is_too_late() {
        // It accepts nothing; the system does.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = "127.0.0.1".to_owned();
        let silent = service(
            ServiceAddress::Tcp { host, port },
            Duration::from_millis(50),
        );
        assert!(matches!(ask(&silent), Err(Failure::TooLate)));
    }
}
