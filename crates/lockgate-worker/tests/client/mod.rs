//! A worker on a free port and a strict client: responses are read by their framing.

pub mod loops;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lockgate_config::{AppSpec, BindAddress, Config, LogLevel, LogTarget, Threads};
use lockgate_http::BodyLength;
use lockgate_shm::Log;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{App, Handle, Reply, Request, Resources, Worker};

/// Maximum time that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

struct Function<F>(F);

impl<F: Fn(&mut Request, &mut Reply) + Send + Sync + 'static> App for Function<F> {
    fn call(&self, request: &mut Request, reply: &mut Reply) {
        (self.0)(request, reply);
    }
}

/// A running worker.
pub struct Server {
    pub handle: Handle,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(
        threads: usize,
        app: impl Fn(&mut Request, &mut Reply) + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(threads, |_| {}, app)
    }

    pub fn start_with(
        threads: usize,
        adjust: impl FnOnce(&mut Config),
        app: impl Fn(&mut Request, &mut Reply) + Send + Sync + 'static,
    ) -> Self {
        Self::start_with_resources(threads, adjust, |_| {}, app)
    }

    /// The application answers every request; spans are recorded in the log.
    pub fn start_with_spans(spans: Log, adjust: impl FnOnce(&mut Config)) -> Self {
        let log = Arc::new(ErrorLog::open(&LogTarget::Stderr, LogLevel::Critical).unwrap());
        let app = Function(|_: &mut Request, reply: &mut Reply| answer(reply, b""));
        Self::start_made(
            adjust,
            |resources| resources.spans = Some(spans),
            Arc::new(app),
            log,
        )
    }

    pub fn start_app(adjust: impl FnOnce(&mut Config), app: impl App, log: Arc<ErrorLog>) -> Self {
        Self::start_made(adjust, |_| {}, Arc::new(app), log)
    }

    /// With further resources, such as the memory that workers share.
    pub fn start_with_resources(
        threads: usize,
        adjust: impl FnOnce(&mut Config),
        complete: impl FnOnce(&mut Resources),
        app: impl Fn(&mut Request, &mut Reply) + Send + Sync + 'static,
    ) -> Self {
        let log = Arc::new(ErrorLog::open(&LogTarget::Stderr, LogLevel::Critical).unwrap());
        let adjust = |config: &mut Config| {
            config.threads = Threads::Count(NonZeroUsize::new(threads).unwrap());
            adjust(config);
        };
        Self::start_made(adjust, complete, Arc::new(Function(app)), log)
    }

    fn start_made(
        adjust: impl FnOnce(&mut Config),
        complete: impl FnOnce(&mut Resources),
        app: Arc<dyn App>,
        log: Arc<ErrorLog>,
    ) -> Self {
        let mut config = Config::with_defaults(AppSpec::Module {
            module: "test".into(),
            attribute: None,
        });
        adjust(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bind = BindAddress::Tcp {
            host: "127.0.0.1".into(),
            port: address.port(),
        };
        let mut resources = Resources {
            config: Arc::new(config),
            listeners: vec![(bind.into(), listener.into())],
            app,
            error_log: log,
            worker_slot: None,
            acceptor: None,
            broadcast: None,
            responses: None,
            rates: None,
            spans: None,
            owns_process: true,
        };
        complete(&mut resources);
        let handle = Worker::prepare(resources).unwrap();
        handle.open();
        Self { handle, address }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

/// The simplest answer.
pub fn answer(reply: &mut Reply, body: &[u8]) {
    reply.head().set_status(200, b"OK").unwrap();
    answer_with(reply, body);
}

/// A body after a head that is set up already.
pub fn answer_with(reply: &mut Reply, body: &[u8]) {
    reply.start(BodyLength::Known(body.len() as u64));
    reply.send_copy(body).unwrap();
    reply.finish().unwrap();
}

/// A response as received.
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    }
}

/// One request on a stream that stays open.
pub fn get(stream: &mut (impl Read + Write), path: &str) -> Response {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    read_response(stream)
}

/// Reads exactly one response, not a byte more.
pub fn read_response(stream: &mut impl Read) -> Response {
    let head = String::from_utf8(read_until(stream, b"\r\n\r\n")).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let find = |name: &str| {
        headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let mut body = Vec::new();
    if let Some(length) = find("content-length") {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body).unwrap();
    } else if find("transfer-encoding").is_some() {
        loop {
            let line = String::from_utf8(read_until(stream, b"\r\n")).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).unwrap();
            assert_eq!(chunk.split_off(size), b"\r\n");
            if size == 0 {
                break;
            }
            body.extend(chunk);
        }
    }
    Response {
        status,
        headers,
        body,
    }
}

fn read_until(stream: &mut impl Read, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end) {
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    bytes
}
