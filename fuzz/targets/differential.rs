//! hyper reads each accepted request in the same way: the same requests with the same bodies, which end at the same
//! byte. Either server may refuse what the other accepts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_fuzz::hyper_server::{self, End};
use lockgate_fuzz::replay::play;
use lockgate_http::Limits;

fuzz_target!(|bytes: &[u8]| {
    let transcript = play([bytes], Limits::default());
    if !transcript
        .messages
        .first()
        .is_some_and(|first| first.is_whole)
    {
        return;
    }
    let (requests, end) = hyper_server::read(bytes);
    for (index, message) in transcript.messages.iter().enumerate() {
        if !message.is_whole {
            return;
        }
        let Some(other) = requests.get(index).filter(|other| other.is_whole) else {
            // hyper ignores a Connection header with bytes beyond ASCII; Lockgate keeps the connection of an HTTP/1.0
            // client that asks for keep-alive in such a header.
            let may_end = end == End::Clean && !bytes.is_ascii();
            assert!(
                end == End::Refused || may_end,
                "request {index} is complete, but not for hyper: {end:?}"
            );
            return;
        };
        assert_eq!(
            other.method.as_bytes(),
            message.method,
            "method of request {index}"
        );
        // hyper gives an absolute target without a path the path `/`; with OPTIONS it means `*` (RFC 9112 §3.2.4).
        let path: &[u8] = match &message.path[..] {
            b"*" if message.target != b"*" => b"/",
            path => path,
        };
        assert_eq!(other.path.as_bytes(), path, "path of request {index}");
        assert_eq!(
            other.query.as_bytes(),
            message.query,
            "query of request {index}"
        );
        assert_eq!(other.body, message.body, "body of request {index}");
        // Bytes after a close are not a request, whatever they look like (RFC 9112 §9.6).
        if !message.keep_alive || other.is_last {
            return;
        }
    }
});
