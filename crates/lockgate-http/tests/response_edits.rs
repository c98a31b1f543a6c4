//! Property test of response heads: after any edits a head has what a plain list of headers has, and its encoding is
//! that list.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lockgate_http::{BadResponse, BodyLength, ResponseContext, ResponseHead, Version, encode_head};
use proptest::prelude::*;
use proptest::sample::select;

const NAMES: [&str; 14] = [
    "Vary",
    "vary",
    "Set-Cookie",
    "X-A",
    "x-a",
    "ETag",
    "Content-Length",
    "content-length",
    "Date",
    "Server",
    "Connection",
    "Upgrade",
    "Keep-Alive",
    "X A",
];

const VALUES: [&str; 12] = [
    "",
    "a",
    "Accept-Encoding",
    "a, b",
    "A",
    "*",
    "close",
    "3",
    " 4 ",
    "+3",
    "a longer value than those that it replaces",
    "a\nb",
];

const STATUSES: [u16; 6] = [200, 204, 205, 304, 404, 426];

#[derive(Debug, Clone)]
enum Edit {
    Status(u16),
    Push(&'static str, &'static str),
    Set(&'static str, &'static str),
    Remove(&'static str),
    AddToList(&'static str, &'static str),
    Clear,
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let name = || select(&NAMES[..]);
    let value = || select(&VALUES[..]);
    prop_oneof![
        1 => select(&STATUSES[..]).prop_map(Edit::Status),
        4 => (name(), value()).prop_map(|(name, value)| Edit::Push(name, value)),
        3 => (name(), value()).prop_map(|(name, value)| Edit::Set(name, value)),
        2 => name().prop_map(Edit::Remove),
        2 => (name(), value()).prop_map(|(name, value)| Edit::AddToList(name, value)),
        1 => Just(Edit::Clear),
    ]
}

/// The same head as a list of headers, edited in the simplest way.
#[derive(Debug, Default)]
struct Model {
    status: u16,
    headers: Vec<(String, String)>,
    wants_close: bool,
}

impl Model {
    fn apply(&mut self, edit: &Edit) -> Result<(), BadResponse> {
        match edit {
            Edit::Status(status) => {
                self.status = *status;
                if *status != 426 {
                    self.headers.retain(|(name, _)| !same(name, "Upgrade"));
                }
            }
            Edit::Clear => *self = Self::default(),
            Edit::Push(name, value) => self.push(name, &checked(name, value)?)?,
            Edit::Set(name, value) => {
                let value = checked(name, value)?;
                let first = self.headers.iter().position(|(other, _)| same(other, name));
                let Some(first) = first else {
                    self.remove(name);
                    return self.push(name, &value);
                };
                self.headers[first].1 = value;
                let mut index = 0;
                self.headers.retain(|(other, _)| {
                    index += 1;
                    index - 1 <= first || !same(other, name)
                });
            }
            Edit::Remove(name) => self.remove(name),
            Edit::AddToList(name, item) => {
                if item.contains('\n') || name.contains(' ') {
                    checked(name, item)?;
                }
                let has = |list: &String| {
                    list.split(',').any(|other| {
                        same(other.trim(), item) || (same(name, "Vary") && other.trim() == "*")
                    })
                };
                let mut lists = self
                    .headers
                    .iter_mut()
                    .filter(|(other, _)| same(other, name));
                if lists.any(|(_, list)| has(list)) {
                    return Ok(());
                }
                let mut lists = self
                    .headers
                    .iter_mut()
                    .filter(|(other, _)| same(other, name));
                match lists.next_back() {
                    Some((_, list)) if !is_known(name) => {
                        let comma = if list.is_empty() { "" } else { ", " };
                        *list = format!("{list}{comma}{item}");
                    }
                    _ => self.push(name, &checked(name, item)?)?,
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, name: &str, value: &str) -> Result<(), BadResponse> {
        match name {
            "Connection" => self.wants_close |= value == "close",
            "Upgrade" if self.status != 426 => {}
            "Keep-Alive" => {}
            _ => {
                let is_length = same(name, "Content-Length");
                if is_length && let Some(earlier) = self.content_length() {
                    let is_equal = earlier == value.parse().unwrap();
                    return is_equal
                        .then_some(())
                        .ok_or(BadResponse::ConflictingContentLength);
                }
                self.headers.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        self.wants_close &= name != "Connection";
        self.headers.retain(|(other, _)| !same(other, name));
    }

    fn content_length(&self) -> Option<u64> {
        let is_length = |(name, _): &&(String, String)| same(name, "Content-Length");
        let (_, digits) = self.headers.iter().find(is_length)?;
        Some(digits.parse().unwrap())
    }
}

fn same(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

fn is_known(name: &str) -> bool {
    let known = [
        "Content-Length",
        "Date",
        "Server",
        "Connection",
        "Upgrade",
        "Keep-Alive",
    ];
    known.iter().any(|other| same(name, other))
}

/// The value as it is kept.
fn checked(name: &str, value: &str) -> Result<String, BadResponse> {
    if name.contains(' ') {
        return Err(BadResponse::InvalidHeaderName);
    }
    if value.contains('\n') {
        return Err(BadResponse::ForbiddenByteInHeaderValue);
    }
    if !same(name, "Content-Length") {
        return Ok(value.to_owned());
    }
    let digits = value.trim();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number
        .then(|| digits.to_owned())
        .ok_or(BadResponse::InvalidContentLength)
}

fn apply(head: &mut ResponseHead, edit: &Edit) -> Result<(), BadResponse> {
    match edit {
        Edit::Status(status) => head.set_status(*status, b"Reason")?,
        Edit::Push(name, value) => head.push(name.as_bytes(), value.as_bytes())?,
        Edit::Set(name, value) => head.set(name.as_bytes(), value.as_bytes())?,
        Edit::AddToList(name, item) => head.add_to_list(name.as_bytes(), item.as_bytes())?,
        Edit::Remove(name) => {
            let had = head.header(name).is_some() || (*name == "Connection" && head.wants_close());
            assert_eq!(head.remove(name.as_bytes()), had);
        }
        Edit::Clear => head.clear(),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 5_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn an_edited_head_is_the_list_of_its_headers(edits in prop::collection::vec(any_edit(), 0..20)) {
        let (mut head, mut model) = (ResponseHead::default(), Model::default());
        for edit in &edits {
            prop_assert_eq!(apply(&mut head, edit), model.apply(edit), "{:?}", edit);
            let headers: Vec<(String, String)> = head
                .headers()
                .map(|(name, value)| (text(name), text(value)))
                .collect();
            prop_assert_eq!(&headers, &model.headers, "{:?}", edit);
            prop_assert_eq!(head.content_length(), model.content_length());
            prop_assert_eq!(head.wants_close(), model.wants_close);
        }
        check_encoding(&head, &model);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The encoded lines are the headers in order, then those that the server adds.
fn check_encoding(head: &ResponseHead, model: &Model) {
    let context = ResponseContext {
        version: Version::Http11,
        is_head: false,
        keep_alive: true,
        omits_connection: false,
        date: b"now",
        server: Some(b"lockgate"),
        hsts: None,
        request_id: None,
    };
    let mut out = Vec::new();
    encode_head(&mut out, head, BodyLength::Known(7), &context);
    let is_length_ours = matches!(model.status, 204 | 205);
    let has = |wanted: &str| model.headers.iter().any(|(name, _)| same(name, wanted));
    let mut lines: Vec<String> = model
        .headers
        .iter()
        .filter(|(name, _)| !(is_length_ours && same(name, "Content-Length")))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    if !has("Date") {
        lines.push("Date: now".into());
    }
    if !has("Server") {
        lines.push("Server: lockgate".into());
    }
    match model.status {
        205 => lines.push("Content-Length: 0".into()),
        204 | 304 => {}
        _ if has("Content-Length") => {}
        _ => lines.push("Content-Length: 7".into()),
    }
    match (model.wants_close, has("Upgrade")) {
        (false, false) => {}
        (false, true) => lines.push("Connection: upgrade".into()),
        (true, false) => lines.push("Connection: close".into()),
        (true, true) => lines.push("Connection: close, upgrade".into()),
    }
    let encoded = text(&out);
    let (_, block) = encoded.split_once("\r\n").expect("a status line");
    let block = block.strip_suffix("\r\n\r\n").unwrap_or_default();
    assert_eq!(block.split("\r\n").collect::<Vec<_>>(), lines);
}
