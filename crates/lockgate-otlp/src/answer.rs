//! What the collector answers: the status, when it wants to be asked again, and what its body says.

use std::time::Duration;

use serde_json::Value;

/// The end of a head.
pub(crate) const END: &[u8] = b"\r\n\r\n";
/// A message has at most this many characters in the error log.
const LONGEST_MESSAGE: usize = 200;

/// A response of HTTP.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Retry-After in seconds (RFC 9110 §10.2.3); a date is not read.
    pub(crate) retry_after: Option<Duration>,
    /// How many spans or the like of a request that was taken were not (OTLP 1, "Partial Success").
    pub(crate) refused: u64,
    /// Why, in the words of the collector.
    pub(crate) message: Option<String>,
}

impl Answer {
    /// Reads a head, and a body as far as it has come. `None`: it is not HTTP.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&*text, ""));
        let status_line = head.split("\r\n").next()?.strip_prefix("HTTP/1.")?;
        let status = status_line.split(' ').nth(1)?.parse().ok()?;
        let retry_after = header(head, "retry-after").and_then(|value| value.parse().ok());
        let (refused, message) = read_body(body);
        Some(Self {
            status,
            retry_after: retry_after.map(Duration::from_secs),
            refused,
            message,
        })
    }
}

/// The value of a header of a head.
pub(crate) fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.eq_ignore_ascii_case(wanted)).then(|| value.trim())
    })
}

/// How many were refused, and the message: of `ExportPartialSuccess`, of `google.rpc.Status`, or of a server in front of the
/// collector, which answers with a text.
fn read_body(body: &str) -> (u64, Option<String>) {
    let Ok(answer) = serde_json::from_str::<Value>(body) else {
        let is_page = body.trim_start().starts_with('<');
        return (0, (!is_page).then(|| as_message(body)).flatten());
    };
    let partial = &answer["partialSuccess"];
    let names = ["rejectedSpans", "rejectedDataPoints", "rejectedLogRecords"];
    // JSON of protobuf writes numbers of 64 bits as texts.
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let refused = names.iter().find_map(|name| number(&partial[name]));
    let message = [&partial["errorMessage"], &answer["message"]];
    let message = message.iter().find_map(|one| as_message(one.as_str()?));
    (refused.unwrap_or(0), message)
}

/// The beginning of a text, on one line; `None` if there is none.
fn as_message(text: &str) -> Option<String> {
    let shown = text.trim().chars().take(LONGEST_MESSAGE);
    let line = shown.map(|one| if one.is_control() { ' ' } else { one });
    Some(line.collect()).filter(|message: &String| !message.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_has_the_status_and_when_to_ask_again() {
        let seconds = |count| Some(Duration::from_secs(count));
        for (bytes, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Some((200, None))),
            ("HTTP/1.0 204\r\n\r\n", Some((204, None))),
            (
                "HTTP/1.1 503 x\r\nRetry-After: 7\r\n\r\n",
                Some((503, seconds(7))),
            ),
            (
                "HTTP/1.1 429 x\r\nA: b\r\nretry-after:0\r\n\r\n",
                Some((429, seconds(0))),
            ),
            (
                "HTTP/1.1 503 x\r\nRetry-After: soon\r\n\r\n",
                Some((503, None)),
            ),
            (
                "HTTP/1.1 503 x\r\n\r\nRetry-After: 7\r\n\r\n",
                Some((503, None)),
            ),
            ("HTTP/2 200\r\n\r\n", None),
            ("SSH-2.0-OpenSSH\r\n", None),
            ("", None),
        ] {
            let read = Answer::parse(bytes.as_bytes()).map(|one| (one.status, one.retry_after));
            assert_eq!(read, expected, "{bytes}");
        }
    }

    #[test]
    fn the_body_says_how_many_were_refused_and_why() {
        let long = "x".repeat(300);
        for (body, refused, message) in [
            ("{}", 0, None),
            ("{\"partialSuccess\":{}}", 0, None),
            (
                "{\"partialSuccess\":{\"rejectedSpans\":\"3\",\"errorMessage\":\"too\\nold\"}}",
                3,
                Some("too old"),
            ),
            (
                "{\"partialSuccess\":{\"rejectedLogRecords\": 12}}",
                12,
                None,
            ),
            (
                "{\"partialSuccess\":{\"rejectedDataPoints\":\"0\"}}",
                0,
                None,
            ),
            ("{\"partialSuccess\":{\"rejectedSpans\":\"-3\"}}", 0, None),
            (
                "{\"code\":3,\"message\":\"no such tenant\"}",
                0,
                Some("no such tenant"),
            ),
            ("{\"message\":7}", 0, None),
            ("[1]", 0, None),
            ("404 page not found\n", 0, Some("404 page not found")),
            ("<html>Bad Gateway", 0, None),
            (&long, 0, Some(&long[..LONGEST_MESSAGE])),
            ("", 0, None),
        ] {
            assert_eq!(
                read_body(body),
                (refused, message.map(str::to_owned)),
                "{body}"
            );
        }
    }
}
