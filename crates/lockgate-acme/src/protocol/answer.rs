//! Reading the answers of a CA: JSON, problem documents, and text that is safe to log.

use serde_json::Value;

use crate::protocol::Response;
use crate::protocol::failure::{Failure, Problem};
use crate::protocol::retry_after;

/// Characters of a CA's text in a log line.
const LONGEST_TEXT: usize = 300;
/// The prefix of error types (RFC 8555 §6.7).
const ERROR_PREFIX: &str = "urn:ietf:params:acme:error:";

/// The answer to a request for `url`, or why it is none.
pub(crate) fn checked(url: &str, response: Response, now: u64) -> Result<Response, Failure> {
    match response.status {
        200..=299 => Ok(response),
        400..=599 => Err(refusal(url, &response, now)),
        status => {
            let place = response.location.as_deref().map(printable);
            let what = match place {
                Some(place) => {
                    format!("redirects ({status}) to {place}, which ACME does not allow")
                }
                None => format!("answers with status {status}, which ACME does not have"),
            };
            Err(nonsense(url, what))
        }
    }
}

fn refusal(url: &str, response: &Response, now: u64) -> Failure {
    let retry_after = response.retry_after.as_deref();
    let retry_after = retry_after.and_then(|value| retry_after::seconds(value, now));
    if let Ok(document) = serde_json::from_slice(&response.body)
        && let Some(mut found) = problem(&document)
    {
        found.retry_after = retry_after;
        return Failure::Refused {
            url: url.to_owned(),
            problem: found,
        };
    }
    if response.status == 429 || (response.status == 503 && retry_after.is_some()) {
        return Failure::Refused {
            url: url.to_owned(),
            problem: Problem {
                kind: "rateLimited".to_owned(),
                detail: format!("status {}", response.status),
                retry_after,
            },
        };
    }
    nonsense(url, format!("answers {}", described(response)))
}

/// The JSON object in an answer.
pub(crate) fn object(url: &str, response: &Response) -> Result<Value, Failure> {
    match serde_json::from_slice(&response.body) {
        Ok(Value::Object(members)) => Ok(Value::Object(members)),
        _ => Err(nonsense(
            url,
            format!("answers {} instead of a JSON object", described(response)),
        )),
    }
}

/// A member that has to be there.
pub(crate) fn text<'v>(url: &str, object: &'v Value, member: &str) -> Result<&'v str, Failure> {
    let found = object.get(member).and_then(Value::as_str);
    found.ok_or_else(|| nonsense(url, format!("answers without the member \"{member}\"")))
}

/// A member that has to be there and be an array.
pub(crate) fn array<'v>(
    url: &str,
    object: &'v Value,
    member: &str,
) -> Result<&'v [Value], Failure> {
    let found = object.get(member).and_then(Value::as_array);
    found
        .map(Vec::as_slice)
        .ok_or_else(|| nonsense(url, format!("answers without the array \"{member}\"")))
}

/// The problem document, if it is one. The detail of the first subproblem is added.
pub(crate) fn problem(document: &Value) -> Option<Problem> {
    let kind = document.get("type")?.as_str()?;
    let detail = |document: &Value| {
        let detail = document.get("detail").and_then(Value::as_str);
        printable(detail.unwrap_or_default())
    };
    let inner = document.get("subproblems").and_then(|all| all.get(0));
    let details = [detail(document), inner.map(detail).unwrap_or_default()];
    let details: Vec<String> = (details.into_iter())
        .filter(|detail| !detail.is_empty())
        .collect();
    Some(Problem {
        kind: printable(kind.strip_prefix(ERROR_PREFIX).unwrap_or(kind)),
        detail: details.join(": "),
        retry_after: None,
    })
}

pub(crate) fn nonsense(url: &str, what: String) -> Failure {
    Failure::Nonsense {
        url: url.to_owned(),
        what,
    }
}

fn described(response: &Response) -> String {
    let content_type = match response.content_type.is_empty() {
        true => "no content type".to_owned(),
        false => printable(&response.content_type),
    };
    let length = response.body.len();
    format!("{} with {content_type} ({length} bytes)", response.status)
}

/// Text from outside for a log line: short, on one line, without control characters.
pub(crate) fn printable(text: &str) -> String {
    let mut printed: String = text
        .chars()
        .take(LONGEST_TEXT)
        .map(|character| match character.is_control() {
            true => ' ',
            false => character,
        })
        .collect();
    if text.chars().nth(LONGEST_TEXT).is_some() {
        printed.push('…');
    }
    printed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, content_type: &str, body: &str) -> Response {
        Response {
            status,
            content_type: content_type.to_owned(),
            body: body.as_bytes().to_vec(),
            ..Response::default()
        }
    }

    #[test]
    fn an_answer_that_is_none_is_described() {
        let html = "text/html; charset=utf-8";
        let long = format!(r#"{{"type":"x","detail":"{}"}}"#, "a".repeat(100_000));
        for (response, expected) in [
            (
                answer(500, html, "<html>"),
                "u answers 500 with text/html; charset=utf-8 (6 bytes)",
            ),
            (
                answer(404, "", ""),
                "u answers 404 with no content type (0 bytes)",
            ),
            (
                answer(304, "", ""),
                "u answers with status 304, which ACME does not have",
            ),
            (
                Response {
                    location: Some("https://x/\r\ny".to_owned()),
                    ..answer(301, "", "")
                },
                "u redirects (301) to https://x/  y, which ACME does not allow",
            ),
            (
                answer(
                    403,
                    "application/problem+json",
                    r#"{"type":"urn:ietf:params:acme:error:caa","detail":"no\n!","subproblems":[{"detail":"really"}]}"#,
                ),
                "u has refused the request: no !: really (caa)",
            ),
            (
                answer(429, html, "<html>"),
                "u has refused the request: status 429 (rateLimited)",
            ),
            (
                answer(400, "", "[1,"),
                "u answers 400 with no content type (3 bytes)",
            ),
        ] {
            let failure = checked("u", response, 0).unwrap_err();
            assert_eq!(failure.to_string(), expected);
        }
        let failure = checked("u", answer(400, "", &long), 0).unwrap_err();
        assert!(failure.to_string().chars().count() < 350);
    }

    #[test]
    fn the_time_that_the_ca_asks_for_is_kept() {
        for (status, body, expected) in [
            (
                429,
                r#"{"type":"urn:ietf:params:acme:error:rateLimited"}"#,
                Some(3600),
            ),
            (503, "<html>", Some(3600)),
            (500, "<html>", None),
        ] {
            let response = Response {
                retry_after: Some("3600".to_owned()),
                ..answer(status, "", body)
            };
            let failure = checked("u", response, 0).unwrap_err();
            assert_eq!(failure.retry_after(), expected, "{status}");
        }
    }

    #[test]
    fn an_object_has_its_members() {
        for body in ["", "nonsense", "[]", "12", "{\"a\":", &"[".repeat(100_000)] {
            let failure = object("u", &answer(200, "text/plain", body)).unwrap_err();
            let end = "instead of a JSON object";
            assert!(failure.to_string().ends_with(end), "{failure}");
        }
        let found = object("u", &answer(200, "", r#"{"a":"b","c":[1],"d":1}"#)).unwrap();
        assert_eq!(text("u", &found, "a"), Ok("b"));
        assert_eq!(array("u", &found, "c").unwrap().len(), 1);
        assert!(text("u", &found, "d").is_err());
        assert!(array("u", &found, "a").is_err());
    }
}
