//! Header names and their environ keys.
//!
//! Common names are found in a table of interned keys without an allocation; others are cached in a bounded map.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::ffi;

/// How a header becomes part of environ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Repetitions are joined with a comma (RFC 9110 §5.3).
    List,
    /// Repetitions are joined with `"; "`, as RFC 6265 §5.4 writes one Cookie header.
    Cookie,
    /// Never kept after its request.
    Secret,
    /// No key of its own. The application sees it in another form (`CONTENT_LENGTH`, decoded chunks, the effective
    /// authority) or not at all: `Proxy` would be HTTP_PROXY, which HTTP clients in the application read as the
    /// variable of that name (httpoxy, CVE-2016-5385 and others).
    Elsewhere,
}

/// One common name.
pub(crate) struct Common {
    /// As browsers and proxies write it; compared case-insensitively.
    name: &'static str,
    /// How the header is treated.
    pub(crate) treatment: Treatment,
}

const fn list(name: &'static str) -> Common {
    Common {
        name,
        treatment: Treatment::List,
    }
}

const fn other(name: &'static str, treatment: Treatment) -> Common {
    Common { name, treatment }
}

/// At most 64, so that one 64-bit word can mark the names that a request has.
pub(crate) const COMMON: [Common; 63] = [
    other("Host", Treatment::Elsewhere),
    other("Content-Length", Treatment::Elsewhere),
    other("Transfer-Encoding", Treatment::Elsewhere),
    other("Cookie", Treatment::Cookie),
    other("Authorization", Treatment::Secret),
    list("Content-Type"),
    list("Accept"),
    list("Accept-Charset"),
    list("Accept-Encoding"),
    list("Accept-Language"),
    list("Accept-Ranges"),
    list("Access-Control-Request-Headers"),
    list("Access-Control-Request-Method"),
    list("Cache-Control"),
    list("CF-Connecting-IP"),
    list("CF-IPCountry"),
    list("CF-Ray"),
    list("CF-Visitor"),
    list("Connection"),
    list("Content-Disposition"),
    list("Content-Encoding"),
    list("Content-Language"),
    list("Date"),
    list("Device-Memory"),
    list("DNT"),
    list("ETag"),
    list("Expect"),
    list("Forwarded"),
    list("From"),
    list("If-Match"),
    list("If-Modified-Since"),
    list("If-None-Match"),
    list("If-Range"),
    list("If-Unmodified-Since"),
    list("Keep-Alive"),
    list("Max-Forwards"),
    list("Origin"),
    list("Pragma"),
    list("Priority"),
    other("Proxy", Treatment::Elsewhere),
    list("Range"),
    list("Referer"),
    list("Sec-CH-UA"),
    list("Sec-CH-UA-Mobile"),
    list("Sec-CH-UA-Platform"),
    list("Sec-Fetch-Dest"),
    list("Sec-Fetch-Mode"),
    list("Sec-Fetch-Site"),
    list("Sec-Fetch-User"),
    list("Sec-GPC"),
    list("TE"),
    list("Traceparent"),
    list("Tracestate"),
    list("Upgrade"),
    list("Upgrade-Insecure-Requests"),
    list("User-Agent"),
    list("Via"),
    list("X-CSRFToken"),
    list("X-Forwarded-For"),
    list("X-Forwarded-Host"),
    list("X-Forwarded-Proto"),
    list("X-Real-IP"),
    list("X-Requested-With"),
];

/// The position of Upgrade in [`COMMON`].
pub(crate) const UPGRADE: usize = 53;
const _: () = assert!(matches!(COMMON[UPGRADE].name.as_bytes(), b"Upgrade"));

/// The index of Cookie in [`COMMON`].
const COOKIE: usize = 3;

const SLOTS: usize = 256;
const FREE: u8 = u8::MAX;

/// How many other names each thread remembers; the map is cleared when it is full.
const MOST_OTHERS: usize = 1024;
/// Longer names are not remembered: otherwise the number of names would not bound the memory.
const LONGEST_OTHER: usize = 64;

/// A lookup table for [`COMMON`]: open addressing with linear probing.
pub(crate) struct NameTable {
    slots: [u8; SLOTS],
}

impl NameTable {
    pub(crate) fn new() -> Self {
        let mut slots = [FREE; SLOTS];
        for (index, common) in (0u8..).zip(&COMMON) {
            let mut slot = hash(common.name.as_bytes());
            while slots[slot] != FREE {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = index;
        }
        Self { slots }
    }

    /// Index of `name` in [`COMMON`], compared case-insensitively.
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        let mut slot = hash(name);
        loop {
            let index = self.slots[slot];
            if index == FREE {
                return None;
            }
            if COMMON[usize::from(index)]
                .name
                .as_bytes()
                .eq_ignore_ascii_case(name)
            {
                return Some(usize::from(index));
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

/// Length and three letters distinguish the common names well enough: most are at their own slot.
fn hash(name: &[u8]) -> usize {
    let letter = |at: usize| usize::from(name.get(at).copied().unwrap_or(0) | 0x20);
    let length = name.len();
    (length * 7 + letter(0) * 13 + letter(length / 2) * 31 + letter(length.wrapping_sub(1)) * 61)
        % SLOTS
}

/// The interned keys of the common names, and a map for the rest.
pub(crate) struct HeaderNames {
    table: NameTable,
    keys: Vec<Py<PyString>>,
    others: HashMap<Vec<u8>, Py<PyString>>,
}

impl HeaderNames {
    pub(crate) fn new(py: Python<'_>) -> Self {
        let keys = COMMON
            .iter()
            .map(|common| PyString::intern(py, &environ_key(common.name.as_bytes())).unbind())
            .collect();
        Self {
            table: NameTable::new(),
            keys,
            others: HashMap::new(),
        }
    }

    /// Index of a common name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.table.find(name)
    }

    /// The key of a common name.
    pub(crate) fn common<'a, 'py>(
        &'a self,
        py: Python<'py>,
        index: usize,
    ) -> &'a Bound<'py, PyString> {
        self.keys[index].bind(py)
    }

    /// The key of Cookie, whose repetitions are joined differently.
    pub(crate) fn cookie<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyString> {
        self.common(py, COOKIE)
    }

    /// The key of any other name. Not interned: interned strings may be immortal, and clients invent names.
    pub(crate) fn other<'py>(
        &mut self,
        py: Python<'py>,
        name: &[u8],
    ) -> PyResult<Bound<'py, PyString>> {
        if let Some(key) = self.others.get(name) {
            return Ok(key.bind(py).clone());
        }
        let key = ffi::latin1(py, environ_key(name).as_bytes())?;
        if name.len() <= LONGEST_OTHER {
            if self.others.len() >= MOST_OTHERS {
                self.others.clear();
            }
            self.others.insert(name.to_vec(), key.clone().unbind());
        }
        Ok(key)
    }
}

/// `Accept-Language` becomes `HTTP_ACCEPT_LANGUAGE`; `Content-Type` has a key of its own (RFC 3875 §4.1.3).
fn environ_key(name: &[u8]) -> String {
    let upper = name.iter().map(|&byte| {
        if byte == b'-' {
            '_'
        } else {
            char::from(byte.to_ascii_uppercase())
        }
    });
    if name.eq_ignore_ascii_case(b"content-type") {
        upper.collect()
    } else {
        "HTTP_".chars().chain(upper).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_name_is_found_in_any_case() {
        let table = NameTable::new();
        assert_eq!(COMMON[COOKIE].name, "Cookie");
        for (index, common) in COMMON.iter().enumerate() {
            for name in [
                common.name.to_owned(),
                common.name.to_lowercase(),
                common.name.to_uppercase(),
            ] {
                assert_eq!(table.find(name.as_bytes()), Some(index), "{name}");
            }
        }
    }

    #[test]
    fn other_names_are_not_common() {
        let table = NameTable::new();
        for name in [
            "",
            "H",
            "Hos",
            "Hosts",
            "X-Forwarded-Foo",
            "Accept_Language",
            "Content-Typo",
        ] {
            assert_eq!(table.find(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn most_common_names_are_at_their_own_slot() {
        let table = NameTable::new();
        let moved = COMMON.iter().enumerate().filter(|(index, common)| {
            usize::from(table.slots[hash(common.name.as_bytes())]) != *index
        });
        assert!(
            moved.count() <= 12,
            "the hash should spread the names better"
        );
    }

    #[test]
    fn names_become_cgi_keys() {
        let cases = [
            ("Accept-Language", "HTTP_ACCEPT_LANGUAGE"),
            ("x-a.b", "HTTP_X_A.B"),
            ("content-TYPE", "CONTENT_TYPE"),
            ("Content-Encoding", "HTTP_CONTENT_ENCODING"),
        ];
        for (name, key) in cases {
            assert_eq!(environ_key(name.as_bytes()), key);
        }
    }
}
