//! A client of rustls talks to the transport over a pair of sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU64;

use lockgate_tls::{Board, Certificate, Material, ServerSettings, TicketKeys, self_signed};
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};

use super::scratch::{BATCH, RECORD};
use super::*;

/// A server's certificate and the clients that trust it.
struct Site {
    board: Board,
    material: Material,
    roots: RootCertStore,
}

impl Site {
    fn new() -> Self {
        let words = (0..100_000).map(|_| AtomicU64::new(0)).collect();
        let mut site = Self {
            board: Board::new(Vec::leak(words)),
            material: Material {
                ticket_keys: TicketKeys::new(0, &[7; TicketKeys::RANDOM]),
                ..Material::default()
            },
            roots: RootCertStore::empty(),
        };
        site.replace_certificate("shop.example");
        site
    }

    /// Publishes a new certificate, which clients trust from now on, too.
    fn replace_certificate(&mut self, name: &str) {
        let (chain, key) = self_signed(&[name.to_owned()], 0, 4_000_000_000).unwrap();
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes(), None).unwrap();
        self.material.certificates = vec![certificate.source().clone()];
        self.roots
            .add(CertificateDer::from_pem_slice(chain.as_bytes()).unwrap())
            .unwrap();
        self.board.publish(&self.material).unwrap();
    }

    fn acceptor(&self) -> Arc<Acceptor> {
        Arc::new(Acceptor::new(ServerSettings::default(), self.board).unwrap())
    }

    fn client_config(&self) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(64);
        config
    }
}

struct Client {
    connection: ClientConnection,
    socket: UnixStream,
    received: Vec<u8>,
    /// At the end of the stream: whether close_notify came before it.
    is_complete: Option<bool>,
}

impl Client {
    /// Sends what is to be sent, and takes what has arrived.
    fn exchange(&mut self) {
        while self.connection.wants_write() {
            if self.connection.write_tls(&mut self.socket).is_err() {
                break;
            }
        }
        while self.is_complete.is_none() {
            match self.connection.read_tls(&mut self.socket) {
                Ok(_) => {
                    self.connection.process_new_packets().unwrap();
                    self.take_plain();
                }
                Err(_) => break,
            }
        }
    }

    fn take_plain(&mut self) {
        match self.connection.reader().read_to_end(&mut self.received) {
            Ok(_) => self.is_complete = Some(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.is_complete = Some(false);
            }
            Err(_) => {}
        }
    }

    fn plain(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }
}

fn pair(acceptor: &Arc<Acceptor>, config: &Arc<ClientConfig>, name: &str) -> (Tls, Client) {
    let (ours, socket) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let server = Tls::new(TrackedFd::new(ours.into()), Arc::clone(acceptor));
    let client = Client {
        connection,
        socket,
        received: Vec::new(),
        is_complete: None,
    };
    (server, client)
}

fn shake(server: &mut Tls, client: &mut Client) -> io::Result<Option<Vec<u8>>> {
    for _ in 0..100 {
        client.exchange();
        if let Handshake::Done { alpn, .. } = server.handshake()? {
            client.exchange();
            return Ok(alpn);
        }
    }
    panic!("the handshake does not end");
}

/// A pair that has shaken hands.
fn open() -> (Tls, Client) {
    let site = Site::new();
    let config = Arc::new(site.client_config());
    let (mut server, mut client) = pair(&site.acceptor(), &config, "shop.example");
    shake(&mut server, &mut client).unwrap();
    (server, client)
}

fn read_all(server: &mut Tls, buffer_size: usize) -> Vec<u8> {
    let mut buffer = vec![0; buffer_size];
    let mut all = Vec::new();
    loop {
        match server.read(&mut buffer) {
            Ok(Received { count: 0, .. }) => return all,
            Ok(Received { count, is_drained }) => {
                all.extend_from_slice(&buffer[..count]);
                if is_drained {
                    return all;
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                return all;
            }
        }
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn a_handshake_may_arrive_byte_by_byte() {
    let site = Site::new();
    let config = Arc::new(site.client_config());
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut config = ClientConfig::clone(&config);
        let provider = Arc::clone(config.crypto_provider());
        config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(site.roots.clone())
            .with_no_client_auth();
        let (mut server, mut client) = pair(&site.acceptor(), &Arc::new(config), "shop.example");
        let mut is_done = false;
        while !is_done {
            let mut flight = Vec::new();
            while client.connection.wants_write() {
                client.connection.write_tls(&mut flight).unwrap();
            }
            for byte in flight {
                assert!(!is_done);
                client.socket.write_all(&[byte]).unwrap();
                is_done = matches!(server.handshake().unwrap(), Handshake::Done { .. });
            }
            client.exchange();
        }
        assert_eq!(server.write(&[IoSlice::new(b"hello")]).unwrap(), 5);
        client.exchange();
        assert_eq!(client.plain(), b"hello");
        let info = server.tls_info().unwrap();
        assert_eq!(info.server_name(), Some("shop.example"));
        assert_eq!(info.protocol(), client_version(&client));
        assert!(!info.cipher().is_empty() && !info.is_resumed());
    }
}

fn client_version(client: &Client) -> &'static str {
    match client.connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    }
}

#[test]
fn bytes_arrive_whatever_the_size_of_reads_and_writes() {
    for length in [1, 100, RECORD, RECORD + 1, 50_000, 300_000] {
        for buffer_size in [1, 7, 1000, RECORD, 64 * 1024] {
            if length / buffer_size > 60_000 {
                continue;
            }
            let (mut server, mut client) = open();
            let sent = pattern(length);
            let mut rest = &sent[..];
            let mut received = Vec::new();
            while received.len() < length {
                let taken = client.connection.writer().write(rest).unwrap();
                rest = &rest[taken..];
                client.exchange();
                received.extend(read_all(&mut server, buffer_size));
            }
            assert!(received == sent, "{length} bytes, {buffer_size} at a time");
        }
    }
}

#[test]
fn a_read_that_says_drained_has_forgotten_nothing() {
    let (mut server, mut client) = open();
    for length in [10, RECORD, 2 * RECORD + 10] {
        client
            .connection
            .writer()
            .write_all(&pattern(length))
            .unwrap();
        client.exchange();
        let mut buffer = vec![0; 1000];
        let mut count = 0;
        loop {
            let received = server.read(&mut buffer).unwrap();
            count += received.count;
            if received.is_drained {
                break;
            }
            if count == length {
                // It did not know that nothing follows.
                let error = server.read(&mut buffer).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                break;
            }
        }
        assert_eq!(count, length);
    }
}

#[test]
fn large_output_waits_for_the_client_and_memory_is_bounded() {
    let (mut server, mut client) = open();
    let all = pattern(3_000_000);
    let mut rest = &all[..];
    let mut received = Vec::new();
    let mut blocked = 0;
    while received.len() < all.len() {
        let (head, tail) = rest.split_at(rest.len().min(100));
        match server.write(&[IoSlice::new(head), IoSlice::new(tail)]) {
            Ok(count) => {
                assert!(count <= BATCH);
                rest = &rest[count..];
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                blocked += 1;
                client.exchange();
                received.extend(client.plain());
            }
        }
        assert!(server.0.session().outgoing_len() <= BATCH + 1024);
        if rest.is_empty() {
            let _ = server.push();
            client.exchange();
            received.extend(client.plain());
        }
    }
    assert!(blocked > 0 && received == all);
    assert!(!server.has_pending_output());
}

#[test]
fn a_half_closed_client_gets_its_answer_and_the_end() {
    for is_clean in [true, false] {
        let (mut server, mut client) = open();
        client.connection.writer().write_all(b"request").unwrap();
        if is_clean {
            client.connection.send_close_notify();
        }
        client.exchange();
        client.socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut buffer = [0; 100];
        let received = server.read(&mut buffer).unwrap();
        assert_eq!(
            (received.count, received.is_drained),
            (7, !is_clean && received.is_drained)
        );
        assert_eq!(server.read(&mut buffer).unwrap().count, 0);
        assert_eq!(server.read(&mut buffer).unwrap().count, 0);
        server.write(&[IoSlice::new(b"answer")]).unwrap();
        drop(server);
        client.exchange();
        assert_eq!(client.plain(), b"answer");
        assert_eq!(client.is_complete, Some(true));
    }
}

#[test]
fn a_connection_that_is_reset_or_fails_does_not_look_complete() {
    let (mut server, mut client) = open();
    server.write(&[IoSlice::new(b"half")]).unwrap();
    server.reset_on_close();
    drop(server);
    client.exchange();
    assert_eq!(client.plain(), b"half");
    assert_eq!(client.is_complete, Some(false));
}

#[test]
fn a_record_that_was_changed_ends_the_connection_with_an_alert() {
    let (mut server, mut client) = open();
    client.connection.writer().write_all(b"request").unwrap();
    let mut record = Vec::new();
    client.connection.write_tls(&mut record).unwrap();
    *record.last_mut().unwrap() ^= 1;
    client.socket.write_all(&record).unwrap();
    let error = server.read(&mut [0; 100]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(server.write(&[IoSlice::new(b"x")]).is_err());
    client.connection.read_tls(&mut client.socket).unwrap();
    let error = client.connection.process_new_packets().unwrap_err();
    assert!(matches!(error, rustls::Error::AlertReceived(_)), "{error}");
}

#[test]
fn another_thread_reads_answers_and_aborts() {
    let (mut server, mut client) = open();
    let shared = server.share().upgrade().unwrap();
    client.connection.writer().write_all(b"body").unwrap();
    client.exchange();
    let mut buffer = [0; 100];
    assert_eq!(shared.read(&mut buffer).unwrap().count, 4);
    shared.write(b"continue").unwrap();
    client.exchange();
    assert_eq!(client.plain(), b"continue");

    let handle = server.abort_handle().upgrade().unwrap();
    assert!(handle.answer(b"504"));
    assert!(server.write(&[IoSlice::new(b"late")]).is_err());
    client.exchange();
    assert_eq!(client.plain(), b"504");
    assert_eq!(client.is_complete, Some(true));

    let (server, mut client) = open();
    server.abort_handle().upgrade().unwrap().abort();
    drop(server);
    client.exchange();
    assert_eq!(client.is_complete, Some(false));
}

#[test]
fn sessions_are_resumed_by_every_worker_until_their_key_is_gone() {
    let mut site = Site::new();
    let config = Arc::new(site.client_config());
    let workers = [site.acceptor(), site.acceptor()];
    let kind = |acceptor: &Arc<Acceptor>| {
        let (mut server, mut client) = pair(acceptor, &config, "shop.example");
        shake(&mut server, &mut client).unwrap();
        // Tickets of TLS 1.3 come after the handshake.
        let _ = server.read(&mut [0; 100]);
        client.exchange();
        let kind = client.connection.handshake_kind().unwrap();
        let is_resumed = server.tls_info().unwrap().is_resumed();
        assert_eq!(is_resumed, kind == HandshakeKind::Resumed);
        kind
    };
    assert_ne!(kind(&workers[0]), HandshakeKind::Resumed);
    for round in 0..20 {
        assert_eq!(kind(&workers[round % 2]), HandshakeKind::Resumed);
    }
    let mut rotate = |byte| {
        let random = [byte; TicketKeys::RANDOM];
        site.material.ticket_keys.rotate(0, &random);
        site.board.publish(&site.material).unwrap();
    };
    rotate(8);
    assert_eq!(kind(&workers[0]), HandshakeKind::Resumed);
    rotate(9);
    rotate(10);
    // Its tickets are of a key that is gone.
    let kinds: Vec<HandshakeKind> = (0..4).map(|_| kind(&workers[1])).collect();
    assert!(kinds.iter().any(|kind| *kind != HandshakeKind::Resumed));
    assert_eq!(kind(&workers[0]), HandshakeKind::Resumed);
}

#[test]
fn a_new_certificate_is_for_new_handshakes_only() {
    let mut site = Site::new();
    let acceptor = site.acceptor();
    let leaf = |client: &Client| client.connection.peer_certificates().unwrap()[0].clone();
    let config = Arc::new(site.client_config());
    let (mut server, mut client) = pair(&acceptor, &config, "shop.example");
    client.exchange();
    assert_eq!(server.handshake().unwrap(), Handshake::WantRead);
    let before = site.roots.clone();
    site.replace_certificate("shop.example");
    shake(&mut server, &mut client).unwrap();
    server.write(&[IoSlice::new(b"old")]).unwrap();
    client.exchange();
    assert_eq!(client.plain(), b"old");

    let config = Arc::new(site.client_config());
    let (mut server, mut other) = pair(&acceptor, &config, "shop.example");
    shake(&mut server, &mut other).unwrap();
    assert_ne!(leaf(&client), leaf(&other));
    assert!(before.len() < site.roots.len());
}

#[test]
fn what_is_not_tls_is_recognized() {
    let site = Site::new();
    let acceptor = site.acceptor();
    let config = Arc::new(site.client_config());
    let plain = &b"GET / HTTP/1.1\r\n"[..];
    for (first, wanted) in [
        (plain, HandshakeFailure::PlainHttp(plain.to_vec())),
        (b"\0\0\0", HandshakeFailure::NotTls),
        (b"\x16\x03\x01\0\x05hello", HandshakeFailure::NotTls),
        (b"", HandshakeFailure::Closed),
    ] {
        let (mut server, mut client) = pair(&acceptor, &config, "shop.example");
        client.socket.write_all(first).unwrap();
        if first.is_empty() {
            client.socket.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let error = server.handshake().unwrap_err();
        assert_eq!(HandshakeFailure::of(&error), Some(&wanted));
        if first == plain {
            assert_eq!(server.write(&[IoSlice::new(b"HTTP/1.1 400")]).unwrap(), 12);
            let mut answer = [0; 12];
            client.socket.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 400");
        }
    }
}

#[test]
fn a_failed_handshake_says_why() {
    let site = Site::new();
    let mut config = site.client_config();
    config.alpn_protocols = vec![b"spdy/3".to_vec()];
    let (mut server, mut client) = pair(&site.acceptor(), &Arc::new(config), "shop.example");
    client.exchange();
    let error = server.handshake().unwrap_err();
    let failure = HandshakeFailure::of(&error).unwrap().to_string();
    assert_eq!(failure, "no shared application protocol (ALPN)");
    client.connection.read_tls(&mut client.socket).unwrap();
    let error = client.connection.process_new_packets().unwrap_err();
    assert!(matches!(error, rustls::Error::AlertReceived(_)), "{error}");
}

#[test]
fn the_tickets_leave_with_the_first_response() {
    let site = Site::new();
    let config = Arc::new(site.client_config());
    let (mut server, mut client) = pair(&site.acceptor(), &config, "shop.example");
    client.exchange();
    server.handshake().unwrap();
    while client.connection.is_handshaking() {
        client.connection.read_tls(&mut client.socket).unwrap();
        client.connection.process_new_packets().unwrap();
    }
    // The request comes with the end of the handshake.
    client.connection.writer().write_all(b"request").unwrap();
    let mut flight = Vec::new();
    while client.connection.wants_write() {
        client.connection.write_tls(&mut flight).unwrap();
    }
    client.socket.write_all(&flight).unwrap();
    let outcome = server.handshake().unwrap();
    assert!(matches!(
        outcome,
        Handshake::Done {
            is_drained: false,
            ..
        }
    ));
    assert!(server.0.session().outgoing_len() > 0 && !server.has_pending_output());
    let mut buffer = [0; 100];
    assert_eq!(server.read(&mut buffer).unwrap().count, 7);
    server.write(&[IoSlice::new(b"response")]).unwrap();
    assert_eq!(server.0.session().outgoing_len(), 0);
    client.exchange();
    assert_eq!(client.plain(), b"response");
}

#[test]
fn a_part_of_a_record_does_not_disturb_writes() {
    let (mut server, mut client) = open();
    client
        .connection
        .writer()
        .write_all(&pattern(5000))
        .unwrap();
    client.connection.refresh_traffic_keys().unwrap();
    client
        .connection
        .writer()
        .write_all(&pattern(5000))
        .unwrap();
    let mut flight = Vec::new();
    while client.connection.wants_write() {
        client.connection.write_tls(&mut flight).unwrap();
    }
    let mut buffer = [0; 64];
    let mut received = Vec::new();
    for (index, part) in flight.chunks(100).enumerate() {
        client.socket.write_all(part).unwrap();
        while let Ok(Received { count, .. }) = server.read(&mut buffer) {
            received.extend_from_slice(&buffer[..count]);
            if index % 2 == 0 {
                server.write(&[IoSlice::new(b"w")]).unwrap();
            }
        }
        server.write(&[IoSlice::new(b"w")]).unwrap();
        client.exchange();
    }
    assert_eq!(received, [pattern(5000), pattern(5000)].concat());
    let written = client.plain();
    assert!(written.len() > 100 && written.iter().all(|&byte| byte == b'w'));
}
