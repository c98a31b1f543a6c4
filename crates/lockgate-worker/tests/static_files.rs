//! Static files over real sockets, beside an application.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[allow(dead_code, reason = "each test file uses a part of it")]
mod client;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::{Response, Server, answer, answer_with, read_response};
use lockgate_config::{Config, StaticMount, StaticSources};
use lockgate_worker::FileSent;
use tempfile::TempDir;

const LARGE: usize = 5_000_000;

fn large() -> Vec<u8> {
    (0..LARGE as u32).map(|at| (at % 251) as u8).collect()
}

fn site() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("a.css", b"body {}");
    write("empty.css", b"");
    write("app.1a2b3c4d.js", b"app()");
    write("middle.txt", &[b'm'; 40_000]);
    write("large.bin", &large());
    write("sub/index.html", b"<p>");
    write("b.css", &[b'b'; 200]);
    write("b.css.gz", b"gzip");
    root
}

fn start(root: &Path, adjust: impl FnOnce(&mut Config, &mut StaticMount)) -> Server {
    let mut mount = StaticMount::new("/static".into(), vec![root.to_owned()]);
    mount.immutable = vec!["*.????????.*".into()];
    mount.max_age = Some(Duration::from_secs(60));
    Server::start_with(
        2,
        move |config| {
            adjust(config, &mut mount);
            config.static_files.sources = StaticSources::List(vec![mount]);
        },
        |request, reply| {
            let target = String::from_utf8_lossy(request.head.target()).into_owned();
            answer(reply, format!("app {target}").as_bytes());
        },
    )
}

fn send(stream: &mut TcpStream, method: &str, path: &str, fields: &str) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
}

fn ask(stream: &mut TcpStream, path: &str, fields: &str) -> Response {
    send(stream, "GET", path, fields);
    read_response(stream)
}

#[test]
fn files_and_the_application_answer_on_one_connection() {
    let root = site();
    for (open_files, memory) in [(1000, 1 << 24), (1000, 0), (0, 0)] {
        let server = start(root.path(), |config, _| {
            config.static_files.open_files = open_files;
            config.static_files.memory = memory;
        });
        let mut stream = server.connect();
        let large = large();
        for _ in 0..3 {
            for (path, expected) in [
                ("/static/a.css", &b"body {}"[..]),
                ("/", b"app /"),
                ("/static/middle.txt", &[b'm'; 40_000]),
                ("/static/empty.css", b""),
                ("/static/large.bin", &large),
                ("/static/none", b"app /static/none"),
                ("/static/../a.css", b"app /static/../a.css"),
                ("/static/sub/", b"<p>"),
            ] {
                let response = ask(&mut stream, path, "");
                assert_eq!(response.status, 200, "{path}");
                assert!(response.body == expected, "{path}");
            }
        }
    }
}

#[test]
fn requests_that_are_sent_together_are_answered_in_their_order() {
    let root = site();
    let server = start(root.path(), |_, _| {});
    let mut stream = server.connect();
    let paths = [
        "/static/a.css",
        "/1",
        "/static/none",
        "/static/middle.txt",
        "/2",
    ];
    for path in paths {
        send(&mut stream, "GET", path, "");
    }
    let sizes: Vec<usize> = paths.map(|_| read_response(&mut stream).body.len()).into();
    assert_eq!(sizes, [7, 6, 16, 40_000, 6]);
}

#[test]
fn heads_conditions_ranges_and_codings_are_those_of_the_file() {
    let root = site();
    let server = start(root.path(), |_, _| {});
    let mut stream = server.connect();
    let large = large();
    for _ in 0..2 {
        let whole = ask(&mut stream, "/static/a.css", "");
        let header = |response: &Response, name: &str| response.header(name).unwrap_or_default();
        for (name, expected) in [
            ("content-type", "text/css; charset=utf-8"),
            ("content-length", "7"),
            ("accept-ranges", "bytes"),
            ("cache-control", "max-age=60"),
            ("vary", ""),
        ] {
            assert_eq!(header(&whole, name), expected, "{name}");
        }
        assert!(!header(&whole, "date").is_empty() && !header(&whole, "last-modified").is_empty());
        let etag = header(&whole, "etag");
        send(&mut stream, "HEAD", "/static/a.css", "");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.contains("\r\ncontent-length: 7\r\n"), "{head}");
        let fresh = ask(
            &mut stream,
            "/static/a.css",
            &format!("If-None-Match: {etag}\r\n"),
        );
        assert_eq!((fresh.status, header(&fresh, "etag")), (304, etag.clone()));
        assert_eq!(header(&fresh, "content-length"), "");
        let part = ask(&mut stream, "/static/a.css", "Range: bytes=5-\r\n");
        assert_eq!((part.status, part.text()), (206, "{}".to_owned()));
        assert_eq!(header(&part, "content-range"), "bytes 5-6/7");
        assert_eq!(header(&part, "content-length"), "2");
        let refused = ask(&mut stream, "/static/a.css", "Range: bytes=7-\r\n");
        assert_eq!(
            (refused.status, header(&refused, "content-length")),
            (416, "0".into())
        );
        let failed = ask(&mut stream, "/static/a.css", "If-Match: \"x\"\r\n");
        assert_eq!(
            (failed.status, header(&failed, "content-length")),
            (412, "0".into())
        );
        let several = ask(
            &mut stream,
            "/static/large.bin",
            "Range: bytes=0-1,4999990-\r\n",
        );
        assert_eq!(several.status, 206);
        assert!(header(&several, "content-type").starts_with("multipart/byteranges; boundary="));
        assert!(
            several
                .body
                .windows(10)
                .any(|ten| ten == &large[LARGE - 10..])
        );
        let hashed = ask(&mut stream, "/static/app.1a2b3c4d.js", "");
        assert_eq!(
            header(&hashed, "cache-control"),
            "max-age=31536000, immutable"
        );
        let coded = ask(&mut stream, "/static/b.css", "Accept-Encoding: gzip\r\n");
        assert_eq!(
            (coded.text(), header(&coded, "vary")),
            ("gzip".into(), "Accept-Encoding".into())
        );
        assert_eq!(header(&coded, "content-encoding"), "gzip");
        assert_eq!(ask(&mut stream, "/static/b.css", "").body.len(), 200);
    }
}

#[test]
fn a_file_that_is_not_in_memory_is_sent_whole_and_delays_no_other_client() {
    let root = site();
    let file = fs::File::open(root.path().join("large.bin")).unwrap();
    file.sync_all().unwrap();
    let server = start(root.path(), |_, _| {});
    let large = large();
    for _ in 0..3 {
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let mut stream = server.connect();
        send(&mut stream, "GET", "/static/large.bin", "");
        send(&mut stream, "GET", "/after", "");
        assert_eq!(ask(&mut server.connect(), "/", "").text(), "app /");
        assert!(read_response(&mut stream).body == large);
        assert_eq!(read_response(&mut stream).text(), "app /after");
    }
}

#[test]
fn a_directory_is_redirected_on_the_same_host() {
    let root = site();
    let server = start(root.path(), |_, mount| mount.path = String::new());
    let mut stream = server.connect();
    for (path, status, location) in [
        ("/sub", 308, Some("/sub/")),
        ("/sub?a=b", 308, Some("/sub/?a=b")),
        ("/s%75b", 308, Some("/s%75b/")),
        ("//sub", 200, None),
        ("//evil.example/..", 200, None),
        ("/sub/", 200, None),
        ("http://evil.example/sub", 308, Some("/sub/")),
    ] {
        let response = ask(&mut stream, path, "");
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.header("location").as_deref(), location, "{path}");
    }
}

#[test]
fn without_fall_through_the_server_answers_for_its_paths() {
    let root = site();
    let server = start(root.path(), |_, mount| mount.fallthrough = false);
    let mut stream = server.connect();
    for _ in 0..2 {
        for (method, path, status) in [
            ("GET", "/static/none", 404),
            ("GET", "/static/.git", 404),
            ("GET", "/static/%2e%2e/a", 404),
            ("POST", "/static/a.css", 405),
            ("POST", "/other", 200),
            ("GET", "/other", 200),
            ("GET", "/static/a.css", 200),
        ] {
            send(&mut stream, method, path, "");
            let response = read_response(&mut stream);
            assert_eq!(response.status, status, "{method} {path}");
            let allow = response.header("allow");
            assert_eq!(allow.as_deref(), (status == 405).then_some("GET, HEAD"));
        }
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_the_connection() {
    let root = site();
    let path = root.path().join("shrinking.bin");
    let file = fs::File::create(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    let server = start(root.path(), |_, _| {});
    let mut stream = server.connect();
    send(&mut stream, "GET", "/static/shrinking.bin", "");
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    file.set_len(1000).unwrap();
    let mut rest = Vec::new();
    let outcome = stream.read_to_end(&mut rest);
    assert!(rest.len() < 64 << 20, "{outcome:?} {}", rest.len());
}

#[test]
fn the_application_names_files_of_internal_mounts() {
    let root = site();
    let mut internal = StaticMount::new("/private".into(), vec![root.path().to_owned()]);
    internal.internal = true;
    let directory = root.path().display().to_string();
    let server = Server::start_with(
        2,
        |config| config.static_files.sources = StaticSources::List(vec![internal]),
        |request, reply| {
            let query = request.head.query().to_vec();
            let (name, value) = query.split_at(query.iter().position(|b| *b == b'=').unwrap());
            reply.head().set_status(200, b"OK").unwrap();
            reply.head().push(name, &value[1..]).unwrap();
            reply.head().push(b"Content-Type", b"text/x-own").unwrap();
            reply.head().push(b"Content-Length", b"4").unwrap();
            answer_with(reply, b"body");
        },
    );
    let mut stream = server.connect();
    for _ in 0..2 {
        for (field, path, status, body) in [
            ("X-Accel-Redirect", "/private/a.css", 200, "body {}"),
            ("X-Accel-Redirect", "/private/b.css", 200, "gzip"),
            ("X-Accel-Redirect", "/private/none", 404, "404 Not Found\n"),
            ("X-Accel-Redirect", "/private/../a", 404, "404 Not Found\n"),
            ("X-Accel-Redirect", "/other/a.css", 404, "404 Not Found\n"),
            ("X-Accel-Redirect", "a.css", 404, "404 Not Found\n"),
            ("X-Sendfile", &format!("{directory}/a.css"), 200, "body {}"),
            ("X-Sendfile", "/etc/passwd", 404, "404 Not Found\n"),
            (
                "X-Sendfile",
                &format!("{directory}/../x"),
                404,
                "404 Not Found\n",
            ),
            ("X-Other", "/private/a.css", 200, "body"),
        ] {
            let target = format!("/?{field}={path}");
            let response = ask(&mut stream, &target, "Accept-Encoding: gzip\r\n");
            assert_eq!(
                (response.status, response.text().as_str()),
                (status, body),
                "{target}"
            );
            if status == 200 {
                assert_eq!(
                    response.header("content-type").as_deref(),
                    Some("text/x-own")
                );
                let names = response.header(&field.to_ascii_lowercase());
                assert_eq!(names.is_some(), field == "X-Other");
            }
        }
        let target = "/?X-Accel-Redirect=/private/large.bin";
        let part = ask(&mut stream, target, "Range: bytes=-3\r\n");
        assert_eq!((part.status, part.body.len()), (206, 3));
        assert_eq!(
            ask(&mut stream, "/private/a.css?a=b", "").text(),
            "body",
            "clients do not reach it"
        );
        send(
            &mut stream,
            "POST",
            "/?X-Accel-Redirect=/private/a.css",
            "Range: bytes=1-1\r\n",
        );
        assert_eq!(read_response(&mut stream).text(), "body {}");
    }
}

#[test]
fn a_file_of_the_application_is_sent_in_parts() {
    let root = site();
    let path = root.path().join("large.bin");
    let server = Server::start(2, move |request, reply| {
        let file = Arc::new(lockgate_worker::SharedFile::new(
            fs::File::open(&path).unwrap(),
        ));
        reply.head().set_status(200, b"OK").unwrap();
        match request.head.path() {
            b"/tagged" => reply.head().push(b"ETag", b"\"a\"").unwrap(),
            b"/other" => reply.head().set_status(203, b"").unwrap(),
            _ => {}
        }
        let length = LARGE as u64 - 1000;
        if reply
            .start_file(&request.head, &file, 1000, length)
            .unwrap()
            == FileSent::Whole
            && reply.allows_body()
        {
            reply.send_file(file, 1000, length).unwrap();
        }
        reply.finish().unwrap();
    });
    let large = large();
    let whole = &large[1000..];
    let mut stream = server.connect();
    let part = ask(&mut stream, "/", "Range: bytes=5-9\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &whole[5..10]));
    assert_eq!(
        part.header("content-range").unwrap(),
        format!("bytes 5-9/{}", whole.len())
    );
    let part = ask(&mut stream, "/", "Range: bytes=-9\r\n");
    assert_eq!(part.body, &whole[whole.len() - 9..]);
    let all = ask(&mut stream, "/", "");
    assert!(all.body == whole && all.header("accept-ranges").as_deref() == Some("bytes"));
    assert_eq!(
        ask(&mut stream, "/", "Range: bytes=9999999-\r\n").status,
        416
    );
    assert_eq!(
        ask(&mut stream, "/tagged", "If-None-Match: \"a\"\r\n").status,
        304
    );
    assert_eq!(
        ask(&mut stream, "/tagged", "If-None-Match: \"b\"\r\n").status,
        200
    );
    let stale = ask(
        &mut stream,
        "/tagged",
        "Range: bytes=0-1\r\nIf-Range: \"b\"\r\n",
    );
    assert_eq!(stale.status, 200);
    assert_eq!(
        ask(&mut stream, "/other", "Range: bytes=0-1\r\n").status,
        203
    );
}
