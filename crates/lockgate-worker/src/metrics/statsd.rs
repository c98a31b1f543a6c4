//! The statsd client of a worker: threads that run requests add to counts, and a helper thread sends them once a second.
//!
//! Invariant: nothing waits for the network but the helper thread, and what cannot be sent at once is dropped.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lockgate_config::{Endpoint, StatsdAddress, StatsdConfig};
use lockgate_observe::{Level, RequestSample, Response, Scoreboard, StatsdWriter, WorkerSlot};

use crate::helper_thread::PanicGuard;
use crate::log::ErrorLog;

/// Time between two reports.
const INTERVAL: Duration = Duration::from_secs(1);
/// The name is resolved again after this time: in a cluster the address of a name changes.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(60);
/// The number of workers is sent again after this time, even if it has not changed.
const GAUGE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a worker waits for its last report.
const LAST_REPORT: Duration = Duration::from_millis(200);

/// The state of the kernel's tables of TCP sockets for one that listens.
const LISTENING: &str = "0A";

/// The statsd client.
pub struct Statsd {
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Default)]
struct Pending {
    requests: RequestSample,
    is_closing: bool,
    is_done: bool,
}

/// The place of a worker among its siblings.
type Place = Option<(Scoreboard, usize)>;

impl Statsd {
    /// Starts the helper thread; `None` if no server is configured.
    ///
    /// # Errors
    /// The system's error when it cannot start a thread.
    pub fn start(
        config: &StatsdConfig,
        listeners: &[(Endpoint, OwnedFd)],
        worker_slot: Option<&WorkerSlot>,
        error_log: &Arc<ErrorLog>,
        panic_guard: &PanicGuard,
    ) -> io::Result<Option<Arc<Self>>> {
        let Some(address) = config.address.clone() else {
            return Ok(None);
        };
        let client = Arc::new(Self {
            pending: Mutex::default(),
            changed: Condvar::new(),
        });
        let inode = |(_, socket): &(Endpoint, OwnedFd)| rustix::fs::fstat(socket).ok();
        let reporter = Reporter {
            client: Arc::clone(&client),
            sender: Sender::new(address, Arc::clone(error_log)),
            writer: StatsdWriter::new(&config.prefix, &config.tags),
            place: worker_slot.map(|slot| (slot.scoreboard(), slot.number())),
            listeners: match config.has_backlog {
                true => listeners
                    .iter()
                    .filter_map(inode)
                    .map(|file| file.st_ino)
                    .collect(),
                false => Vec::new(),
            },
            gauge: None,
        };
        panic_guard.spawn("lockgate-statsd", move || reporter.run())?;
        Ok(Some(client))
    }

    /// Adds a response that was sent.
    pub fn record(&self, response: Response) {
        (self.lock().requests).record(response.status, response.duration);
    }

    /// Sends the last report; waits for it a moment.
    pub fn close(&self) {
        let mut pending = self.lock();
        pending.is_closing = true;
        self.changed.notify_all();
        let is_waiting = |pending: &mut Pending| !pending.is_done;
        let _in_time = (self.changed).wait_timeout_while(pending, LAST_REPORT, is_waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the helper thread has.
struct Reporter {
    client: Arc<Statsd>,
    sender: Sender,
    writer: StatsdWriter,
    place: Place,
    /// The inodes of the listening sockets whose backlog is reported.
    listeners: Vec<u64>,
    /// The number of workers that was sent last, and when.
    gauge: Option<(usize, Instant)>,
}

impl Reporter {
    fn run(mut self) {
        loop {
            let is_last = self.gather();
            self.report_server(Instant::now());
            let counts = self.sender.error_log.take_counts();
            counts.report(&mut self.writer);
            self.sender.send(&self.writer.take(), Instant::now());
            if is_last {
                self.client.lock().is_done = true;
                return self.client.changed.notify_all();
            }
        }
    }

    /// Waits for the next report and writes the metrics of requests. Returns whether it is the last one.
    fn gather(&mut self) -> bool {
        let pending = self.client.lock();
        let is_open = |pending: &mut Pending| !pending.is_closing;
        let (mut pending, _) = (self.client.changed)
            .wait_timeout_while(pending, INTERVAL, is_open)
            .unwrap_or_else(PoisonError::into_inner);
        let mut requests = std::mem::take(&mut pending.requests);
        let is_last = pending.is_closing;
        drop(pending);
        requests.report(&mut self.writer);
        is_last
    }

    /// The metrics of the whole server, which the first of its workers sends.
    fn report_server(&mut self, now: Instant) {
        let Some((scoreboard, number)) = self.place else {
            return;
        };
        let mut serving = scoreboard.serving().map(|(slot, _)| slot).peekable();
        if serving.peek() != Some(&number) {
            self.gauge = None;
            return;
        }
        let workers = serving.count();
        let is_known = |(sent, at): (usize, Instant)| {
            sent == workers && now.saturating_duration_since(at) < GAUGE_INTERVAL
        };
        if !self.gauge.is_some_and(is_known) {
            self.gauge = Some((workers, now));
            self.writer.gauge("gunicorn.workers", workers as u64);
        }
        scoreboard.take_log_counts().report(&mut self.writer);
        if !self.listeners.is_empty()
            && let Some(waiting) = backlog(&self.listeners)
        {
            self.writer.histogram("gunicorn.backlog", waiting);
        }
    }
}

/// Where datagrams are sent.
struct Sender {
    address: StatsdAddress,
    error_log: Arc<ErrorLog>,
    socket: Option<Socket>,
    resolve_at: Option<Instant>,
    is_failing: bool,
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Sender {
    fn new(address: StatsdAddress, error_log: Arc<ErrorLog>) -> Self {
        Self {
            address,
            error_log,
            socket: None,
            resolve_at: None,
            is_failing: false,
        }
    }

    /// Sends each datagram, or drops it.
    fn send(&mut self, datagrams: &[Vec<u8>], now: Instant) {
        if datagrams.is_empty() {
            return;
        }
        if self.resolve_at.is_none_or(|at| at <= now) {
            self.connect(now);
        }
        for datagram in datagrams {
            let sent = match &self.socket {
                None => return,
                Some(Socket::Udp(socket)) => socket.send(datagram),
                Some(Socket::Unix(socket)) => socket.send(datagram),
            };
            // A UDP server that does not run answers by ICMP. A socket file was replaced by a new server.
            if matches!((sent, &self.address), (Err(error), StatsdAddress::Unix(_)) if error.kind() != io::ErrorKind::WouldBlock)
            {
                self.resolve_at = None;
                return;
            }
        }
    }

    fn connect(&mut self, now: Instant) {
        let connected = match &self.address {
            StatsdAddress::Udp { host, port } => connect_udp(host, *port).map(Socket::Udp),
            StatsdAddress::Unix(path) => connect_unix(path).map(Socket::Unix),
        };
        match connected {
            Ok(socket) => {
                self.socket = Some(socket);
                self.resolve_at = Some(now + RESOLVE_INTERVAL);
                self.is_failing = false;
            }
            Err(error) => {
                // The old address, if any, continues to be used.
                self.resolve_at = Some(now + INTERVAL);
                if !std::mem::replace(&mut self.is_failing, true) {
                    let message = format!(
                        "statsd_host = {}: {error}; metrics are dropped until it can be reached (logged once)",
                        self.address
                    );
                    self.error_log.write(Level::Warning, &message);
                }
            }
        }
    }
}

fn connect_udp(host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let connected = UdpSocket::bind(any).and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.connect(address)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn connect_unix(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

/// How many connections wait for accept on these sockets; `None`: unknown.
fn backlog(inodes: &[u64]) -> Option<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables: Vec<_> = tables
        .into_iter()
        .filter_map(|path| fs::File::open(path).ok())
        .collect();
    if tables.is_empty() {
        return None;
    }
    let counts = tables.into_iter().map(|table| {
        let lines = BufReader::new(table).lines().map_while(Result::ok).skip(1);
        let listening = lines.map_while(|line| waiting_on(&line));
        let wanted = listening.filter(|(inode, _)| inodes.contains(inode));
        wanted.map(|(_, waiting)| waiting).sum::<u64>()
    });
    Some(counts.sum())
}

/// The inode of the socket in a line of /proc/net/tcp, and how many connections wait there; `None` after the sockets
/// that listen, which come first.
fn waiting_on(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace().skip(3);
    if fields.next()? != LISTENING {
        return None;
    }
    let (_, waiting) = fields.next()?.split_once(':')?;
    let inode = fields.nth(4)?.parse().ok()?;
    Some((inode, u64::from_str_radix(waiting, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use lockgate_config::{LogLevel, LogTarget};

    fn client_of(address: StatsdAddress) -> Arc<Statsd> {
        let config = StatsdConfig {
            address: Some(address),
            prefix: "test".to_owned(),
            ..StatsdConfig::default()
        };
        let log = ErrorLog::open(&LogTarget::Stderr, LogLevel::Critical).unwrap();
        let guard = PanicGuard::default();
        let started = Statsd::start(&config, &[], None, &Arc::new(log), &guard);
        started.unwrap().unwrap()
    }

    fn check_report(received: &[u8]) {
        let text = String::from_utf8_lossy(received);
        assert_eq!(
            text,
            "test.gunicorn.requests:1|c|@1.0\n\
             test.gunicorn.request.status.200:1|c|@1.0\n\
             test.gunicorn.request.duration:2.000|ms"
        );
    }

    const RESPONSE: Response = Response {
        status: 200,
        bytes: 9,
        duration: Some(2_000_000),
    };

    #[test]
    fn what_was_recorded_is_sent_over_udp() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = client_of(StatsdAddress::Udp {
            host: "localhost".to_owned(),
            port: server.local_addr().unwrap().port(),
        });
        client.record(RESPONSE);
        client.close();
        let mut buffer = [0; 2000];
        let count = server.recv(&mut buffer).unwrap();
        check_report(&buffer[..count]);
    }

    #[test]
    fn what_was_recorded_is_sent_to_a_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statsd");
        let server = UnixDatagram::bind(&path).unwrap();
        let client = client_of(StatsdAddress::Unix(path));
        client.record(RESPONSE);
        client.close();
        let mut buffer = [0; 2000];
        let count = server.recv(&mut buffer).unwrap();
        check_report(&buffer[..count]);
    }

    #[test]
    fn a_server_that_cannot_be_found_is_logged_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = ErrorLog::open(&LogTarget::File(path.clone()), LogLevel::Info).unwrap();
        let address = StatsdAddress::Unix(folder.path().join("none"));
        let mut sender = Sender::new(address, Arc::new(log));
        let start = Instant::now();
        for second in 0..100 {
            sender.send(&[b"x".to_vec()], start + Duration::from_secs(second));
        }
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("metrics are dropped until"), "{text}");
    }

    #[test]
    fn a_new_server_on_the_same_socket_file_gets_the_next_report() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statsd");
        let old = UnixDatagram::bind(&path).unwrap();
        let log = ErrorLog::open(&LogTarget::Stderr, LogLevel::Critical).unwrap();
        let mut sender = Sender::new(StatsdAddress::Unix(path.clone()), Arc::new(log));
        let now = Instant::now();
        sender.send(&[b"1".to_vec()], now);
        drop(old);
        fs::remove_file(&path).unwrap();
        let new = UnixDatagram::bind(&path).unwrap();
        sender.send(&[b"2".to_vec()], now);
        sender.send(&[b"3".to_vec()], now);
        let mut buffer = [0; 9];
        let count = new.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"3");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_backlog_is_the_number_of_connections_that_wait_for_accept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = rustix::fs::fstat(listener.as_fd()).unwrap().st_ino;
        assert_eq!(backlog(&[inode]), Some(0));
        let address = listener.local_addr().unwrap();
        let _clients = [(); 3].map(|()| TcpStream::connect(address).unwrap());
        assert_eq!(backlog(&[inode]), Some(3));
        assert_eq!(backlog(&[0]), Some(0));
    }
}
