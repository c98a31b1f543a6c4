//! Exchanges with the client of the `h2` crate: what one side sends is what the other receives, however bytes and
//! windows are cut.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use h2::client::{self, ResponseFuture};
use h2::{RecvStream, SendStream};
use http::Request;
use lockgate_http::http2::{Connection, Event, Http2Settings, Scratch, StreamId};
use lockgate_http::{BodyLength, Limits, RequestHead, ResponseBody, ResponseHead};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::exchanges::CONTEXT;

/// The two directions of a connection in memory.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<Bytestreams>>);

#[derive(Default)]
struct Bytestreams {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let queue = &mut self.0.borrow_mut().to_client;
        if queue.is_empty() {
            return Poll::Pending;
        }
        let length = queue.len().min(buffer.remaining());
        let bytes: Vec<u8> = queue.drain(..length).collect();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().to_server.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// One request and its response.
#[derive(Debug, Clone)]
struct Exchange {
    method: &'static str,
    value: String,
    /// `None`: the head ends the request.
    body: Option<usize>,
    has_trailers: bool,
    response: usize,
    has_length: bool,
}

#[derive(Debug, Clone)]
struct Script {
    exchanges: Vec<Exchange>,
    /// How many bytes are received at once.
    cuts: Vec<usize>,
    client_window: u32,
    client_frame: u32,
    client_table: u32,
    server_window: u32,
}

fn byte(index: usize) -> u8 {
    (index % 251) as u8
}

/// A server that answers each request when it is complete.
struct Server {
    connection: Connection,
    pipe: Pipe,
    input: Vec<u8>,
    output: Vec<u8>,
    scratch: Scratch,
    head: RequestHead,
    requests: BTreeMap<StreamId, Received>,
    responses: BTreeMap<StreamId, (ResponseBody, usize, usize)>,
    cuts: std::iter::Cycle<std::vec::IntoIter<usize>>,
    exchanges: Vec<Exchange>,
}

#[derive(Default)]
struct Received {
    exchange: usize,
    body: Vec<u8>,
}

impl Server {
    /// Receives some bytes, answers and sends what it may.
    fn step(&mut self) {
        let length = self.cuts.next().unwrap();
        {
            let queue = &mut self.pipe.0.borrow_mut().to_server;
            let length = length.min(queue.len());
            self.input.extend(queue.drain(..length));
        }
        let mut used = 0;
        loop {
            let (taken, event) = self
                .connection
                .receive(
                    &self.input[used..],
                    &mut self.head,
                    &mut self.scratch,
                    &mut self.output,
                )
                .unwrap();
            used += taken;
            let completed = match event {
                Event::NeedInput => break,
                Event::Request {
                    stream, is_last, ..
                } => {
                    let received = Received {
                        exchange: self.check_head(),
                        body: Vec::new(),
                    };
                    self.requests.insert(stream, received);
                    is_last.then_some(stream)
                }
                Event::Data {
                    stream,
                    bytes,
                    flow,
                    is_last,
                } => {
                    self.requests
                        .get_mut(&stream)
                        .unwrap()
                        .body
                        .extend_from_slice(bytes);
                    self.connection
                        .release_capacity(stream, flow, &mut self.output);
                    is_last.then_some(stream)
                }
                Event::Trailers { stream } => Some(stream),
                Event::WindowGrew { .. } => None,
                other => panic!("{other:?}"),
            };
            if let Some(stream) = completed {
                self.answer(stream);
            }
        }
        self.input.drain(..used);
        self.send();
        self.pipe
            .0
            .borrow_mut()
            .to_client
            .extend(self.output.drain(..));
    }

    fn check_head(&self) -> usize {
        let head = &self.head;
        let number = std::str::from_utf8(head.path().strip_prefix(b"/").unwrap()).unwrap();
        let exchange = &self.exchanges[number.parse::<usize>().unwrap()];
        assert_eq!(head.method(), exchange.method.as_bytes());
        assert_eq!(head.header("x-value"), Some(exchange.value.as_bytes()));
        assert_eq!(head.header("cookie"), Some(&b"a=b; c=d"[..]));
        assert_eq!(head.host(), Some(&b"example.com"[..]));
        number.parse().unwrap()
    }

    fn answer(&mut self, stream: StreamId) {
        let received = self.requests.remove(&stream).unwrap();
        let exchange = &self.exchanges[received.exchange];
        let length = exchange.body.unwrap_or(0);
        let expected: Vec<u8> = (0..length).map(byte).collect();
        assert_eq!(received.body, expected);
        let mut head = ResponseHead::default();
        head.set_status(203, b"").unwrap();
        head.push(b"X-Value", exchange.value.as_bytes()).unwrap();
        let length = match exchange.has_length {
            true => BodyLength::Known(exchange.response as u64),
            false => BodyLength::Unknown,
        };
        let context = lockgate_http::ResponseContext {
            is_head: exchange.method == "HEAD",
            ..CONTEXT
        };
        let sent = self
            .connection
            .send_head(stream, &head, length, &context, &mut self.output);
        let body = sent.unwrap();
        if !body.is_complete() {
            self.responses.insert(stream, (body, 0, exchange.response));
        }
    }

    fn send(&mut self) {
        let Self {
            connection,
            output,
            responses,
            ..
        } = self;
        responses.retain(|&stream, (body, sent, length)| {
            let left = *length - *sent;
            let take = left.min(connection.send_capacity(stream)).min(5000);
            if take == 0 && left > 0 {
                return true;
            }
            assert_eq!(body.frame(take).take, take);
            let is_last = take == left;
            assert!(connection.send_data_head(stream, take, is_last, output));
            output.extend((*sent..*sent + take).map(byte));
            *sent += take;
            !is_last
        });
    }
}

/// A request as its client sees it.
struct Pending {
    exchange: Exchange,
    upload: Option<(SendStream<Bytes>, usize)>,
    response: Option<Pin<Box<ResponseFuture>>>,
    download: Option<RecvStream>,
    body: Vec<u8>,
    is_complete: bool,
}

impl Pending {
    fn step(&mut self, context: &mut Context<'_>) {
        self.send(context);
        if let Some(response) = &mut self.response
            && let Poll::Ready(answer) = response.as_mut().poll(context)
        {
            let answer = answer.unwrap();
            assert_eq!(answer.status(), 203);
            assert_eq!(answer.headers()["x-value"], self.exchange.value.as_str());
            assert_eq!(answer.headers()["server"], "lockgate");
            let length = answer.headers().get("content-length");
            assert_eq!(
                length.map(|length| length.to_str().unwrap().to_owned()),
                (self.exchange.has_length
                    && (self.exchange.method != "HEAD" || self.exchange.response > 0))
                    .then(|| self.exchange.response.to_string())
            );
            self.response = None;
            self.download = Some(answer.into_body());
        }
        if let Some(download) = &mut self.download {
            while let Poll::Ready(piece) = download.poll_data(context) {
                let Some(piece) = piece else {
                    self.is_complete = true;
                    break;
                };
                let piece = piece.unwrap();
                self.body.extend_from_slice(&piece);
                download
                    .flow_control()
                    .release_capacity(piece.len())
                    .unwrap();
            }
        }
        if self.is_complete && self.download.take().is_some() {
            let length = match self.exchange.method {
                "HEAD" => 0,
                _ => self.exchange.response,
            };
            assert!(self.body == (0..length).map(byte).collect::<Vec<_>>());
        }
    }

    fn send(&mut self, context: &mut Context<'_>) {
        let Some((upload, sent)) = &mut self.upload else {
            return;
        };
        let length = self.exchange.body.unwrap();
        while *sent < length {
            upload.reserve_capacity(length - *sent);
            let allowed = match upload.capacity() {
                0 => match upload.poll_capacity(context) {
                    Poll::Ready(Some(Ok(allowed))) => allowed,
                    Poll::Ready(other) => panic!("{other:?}"),
                    Poll::Pending => return,
                },
                allowed => allowed,
            };
            let take = allowed.min(length - *sent).min(3000);
            if take == 0 {
                return;
            }
            let part: Vec<u8> = (*sent..*sent + take).map(byte).collect();
            *sent += take;
            let is_last = *sent == length && !self.exchange.has_trailers;
            upload.send_data(part.into(), is_last).unwrap();
        }
        if self.exchange.has_trailers {
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-checksum", http::HeaderValue::from_static("1"));
            upload.send_trailers(trailers).unwrap();
        } else if length == 0 {
            upload.send_data(Bytes::new(), true).unwrap();
        }
        self.upload = None;
    }
}

fn run(script: Script) {
    let pipe = Pipe::default();
    let settings = Http2Settings {
        max_concurrent_streams: 4,
        stream_window: script.server_window,
        connection_window: script.server_window,
    };
    let mut output = Vec::new();
    let connection = Connection::new(
        settings,
        Limits::default(),
        false,
        Instant::now(),
        &mut output,
    );
    let mut server = Server {
        connection,
        pipe: pipe.clone(),
        input: Vec::new(),
        output,
        scratch: Scratch::default(),
        head: RequestHead::default(),
        requests: BTreeMap::new(),
        responses: BTreeMap::new(),
        cuts: script.cuts.into_iter().cycle(),
        exchanges: script.exchanges.clone(),
    };
    let mut context = Context::from_waker(Waker::noop());
    let mut handshake = pin!(
        client::Builder::new()
            .initial_window_size(script.client_window)
            .max_frame_size(script.client_frame)
            .header_table_size(script.client_table)
            .initial_max_send_streams(4)
            .enable_push(false)
            .handshake::<_, Bytes>(pipe)
    );
    let (sender, connection) = loop {
        if let Poll::Ready(connected) = handshake.as_mut().poll(&mut context) {
            break connected.unwrap();
        }
        server.step();
    };
    let mut connection = pin!(connection);
    let mut sender = sender;
    let count = script.exchanges.len();
    let mut waiting: VecDeque<_> = script.exchanges.into_iter().enumerate().collect();
    let mut pending: Vec<Pending> = Vec::new();
    for _ in 0..200_000 {
        while !waiting.is_empty() {
            let Poll::Ready(ready) = sender.poll_ready(&mut context) else {
                break;
            };
            ready.unwrap();
            let (number, exchange) = waiting.pop_front().unwrap();
            let request = Request::builder()
                .method(exchange.method)
                .uri(format!("http://example.com/{number}"))
                .header("x-value", &exchange.value)
                .header("cookie", "a=b")
                .header("cookie", "c=d")
                .body(())
                .unwrap();
            let (response, upload) = sender
                .send_request(request, exchange.body.is_none())
                .unwrap();
            pending.push(Pending {
                upload: exchange.body.map(|_| (upload, 0)),
                exchange,
                response: Some(Box::pin(response)),
                download: None,
                body: Vec::new(),
                is_complete: false,
            });
        }
        for request in &mut pending {
            request.step(&mut context);
        }
        if let Poll::Ready(end) = connection.as_mut().poll(&mut context) {
            panic!("the connection has ended: {end:?}");
        }
        server.step();
        if pending.len() == count && pending.iter().all(|request| request.is_complete) {
            assert_eq!(server.connection.open_streams(), 0);
            return;
        }
    }
    panic!("the exchanges do not end");
}

fn any_exchange() -> impl Strategy<Value = Exchange> {
    let body = prop_oneof![
        2 => Just(None),
        2 => (0..100_usize).prop_map(Some),
        1 => (0..200_000_usize).prop_map(Some)
    ];
    let response = prop_oneof![3 => 0..100_usize, 1 => 0..200_000_usize];
    let value = prop_oneof![3 => "[a-z ]{1,10}x", 1 => "[a-z]{5000}"];
    (
        body,
        response,
        value,
        any::<bool>(),
        any::<bool>(),
        0..3_usize,
    )
        .prop_map(
            |(body, response, value, has_trailers, has_length, method)| Exchange {
                method: match body {
                    None => ["GET", "HEAD", "DELETE"][method],
                    Some(_) => ["POST", "PUT", "PATCH"][method],
                },
                value: value.trim().to_owned(),
                body,
                has_trailers,
                response,
                has_length,
            },
        )
}

fn any_script() -> impl Strategy<Value = Script> {
    let cuts = prop::collection::vec(prop_oneof![1..50_usize, 1..20_000_usize], 1..10);
    let window = prop_oneof![1 => 1000..2000_u32, 3 => 65_535..1_000_000_u32];
    (
        prop::collection::vec(any_exchange(), 1..10),
        cuts,
        window,
        16_384..100_000_u32,
        prop_oneof![Just(0_u32), Just(100), Just(4096), Just(65_536)],
        65_535..300_000_u32,
    )
        .prop_map(
            |(exchanges, mut cuts, client_window, client_frame, client_table, server_window)| {
                // Single bytes alone would need more steps than the test allows.
                cuts.push(4096);
                Script {
                    exchanges,
                    cuts,
                    client_window,
                    client_frame,
                    client_table,
                    server_window,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn requests_and_responses_arrive_as_they_were_sent(script in any_script()) {
        run(script);
    }
}
