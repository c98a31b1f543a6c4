//! Vary (RFC 9110 §12.5.5): the request fields that select one of the variants of a response.

use lockgate_http::{RequestHead, ResponseHead};

/// The most fields that a response may vary on; one that varies on more is not stored.
const MOST_NAMES: usize = 16;

/// The names of the fields that select a variant: in lower case, sorted, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vary {
    /// The names, each with a comma behind it.
    list: Vec<u8>,
}

/// What is stored at the primary key of a response that varies: how the keys of its variants are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variants {
    /// A number that differs from that of all earlier ones at this key. When the entry is purged, the variants can
    /// therefore not be found any longer, even when another one takes its place.
    pub id: u64,
    /// The fields that select a variant.
    pub vary: Vary,
}

/// The response varies on everything (`*`), or on more fields than a cache allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unselectable;

impl Vary {
    /// The fields that select this response; `None` if no request can select it again: Vary has `*`, or more than 16
    /// names.
    ///
    /// Accept-Encoding is left out of a response that is not coded: such a response is good for every client, and the
    /// cache codes it itself.
    pub fn of(response: &ResponseHead) -> Option<Self> {
        let fields: Vec<_> = response.headers().collect();
        Self::of_fields(&fields).ok()
    }

    pub(crate) fn of_fields(fields: &[(&[u8], &[u8])]) -> Result<Self, Unselectable> {
        let is_coded = fields.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case(b"content-encoding")
                && !value.eq_ignore_ascii_case(b"identity")
                && !value.is_empty()
        });
        let mut names: Vec<Vec<u8>> = Vec::new();
        for (_, value) in fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"vary"))
        {
            for name in value.split(|&byte| byte == b',') {
                let name = name.trim_ascii();
                match name {
                    b"" => {}
                    b"*" => return Err(Unselectable),
                    _ if !is_coded && name.eq_ignore_ascii_case(b"accept-encoding") => {}
                    _ => names.push(name.to_ascii_lowercase()),
                }
            }
        }
        Self::of_names(names).ok_or(Unselectable)
    }

    /// The fields of both. A response is stored under the fields of all responses at its primary key, so that each
    /// variant stays where it can be found; `None` if there are too many.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Option<Self> {
        Self::of_names(
            self.names()
                .chain(other.names())
                .map(<[u8]>::to_vec)
                .collect(),
        )
    }

    /// Whether the response does not vary.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.list
            .split(|&byte| byte == b',')
            .filter(|name| !name.is_empty())
    }

    fn of_names(mut names: Vec<Vec<u8>>) -> Option<Self> {
        names.sort_unstable();
        names.dedup();
        let mut list = names.join(&b","[..]);
        if !list.is_empty() {
            list.push(b',');
        }
        (names.len() <= MOST_NAMES).then_some(Self { list })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.list
    }

    pub(crate) fn from_bytes(list: &[u8]) -> Self {
        Self {
            list: list.to_vec(),
        }
    }
}

/// How the values of a selecting field are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Normalisation {
    /// As they are: no list.
    None,
    /// As lists: without white space around commas.
    List,
    /// As lists in which neither case nor order matters (RFC 9110 §12.5.3: weights, not the order, express preference).
    Set,
    /// As lists in which case does not matter. Of languages with the same weight, applications such as Django choose the
    /// first (RFC 9110 §12.5.4).
    OrderedSet,
}

/// Appends the value of the field `name` of `request`: nothing if there is none, else `:` and the value.
pub(crate) fn write_selecting_field(key: &mut Vec<u8>, name: &[u8], request: &RequestHead) {
    let normalisation = match name {
        b"authorization" | b"cookie" | b"host" | b"origin" | b"referer" | b"user-agent" => {
            Normalisation::None
        }
        b"accept-encoding" => Normalisation::Set,
        b"accept-language" => Normalisation::OrderedSet,
        _ => Normalisation::List,
    };
    let values = request
        .headers()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name));
    let mut is_first = true;
    let mut elements: Vec<Vec<u8>> = Vec::new();
    for (_, value) in values {
        match normalisation {
            Normalisation::None => {
                key.push(if is_first { b':' } else { b',' });
                key.extend_from_slice(value);
            }
            _ => elements.extend(split_list(value).map(|element| element.trim_ascii().to_vec())),
        }
        is_first = false;
    }
    if normalisation == Normalisation::None || is_first {
        return;
    }
    if matches!(
        normalisation,
        Normalisation::Set | Normalisation::OrderedSet
    ) {
        for element in &mut elements {
            element.retain(|byte| !matches!(byte, b' ' | b'\t'));
            element.make_ascii_lowercase();
        }
    }
    if normalisation == Normalisation::Set {
        elements.sort_unstable();
    }
    elements.retain(|element| !element.is_empty());
    key.push(b':');
    key.extend(elements.join(&b","[..]));
}

/// The elements of a list. A comma in a quoted string ends none.
fn split_list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    value.split(move |&byte| {
        let ends = byte == b',' && !is_quoted;
        if byte == b'"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = byte == b'\\' && is_quoted && !is_escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::tests::{request, response};
    use crate::key;

    fn names(fields: &[(&str, &str)]) -> Option<String> {
        let vary = Vary::of(&response(200, fields))?;
        Some(String::from_utf8(vary.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn names_are_sorted_and_the_star_selects_nothing() {
        for (fields, expected) in [
            (&[][..], Some("")),
            (&[("Vary", "Foo")], Some("foo,")),
            (
                &[("Vary", "Foo, Bar ,foo,"), ("vary", "Cookie")],
                Some("bar,cookie,foo,"),
            ),
            (&[("Vary", "Accept-Encoding")], Some("")),
            (
                &[("Vary", "Accept-Encoding"), ("Content-Encoding", "gzip")],
                Some("accept-encoding,"),
            ),
            (
                &[
                    ("Vary", "Accept-Encoding, Foo"),
                    ("Content-Encoding", "identity"),
                ],
                Some("foo,"),
            ),
            (&[("Vary", "*")], None),
            (&[("Vary", ", *")], None),
            (&[("Vary", ""), ("Vary", "*")], None),
            (&[("Vary", "Foo, *")], None),
            (&[("Vary", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q")], None),
        ] {
            assert_eq!(names(fields).as_deref(), expected, "{fields:?}");
        }
    }

    #[test]
    fn variants_are_found_whatever_was_stored_before() {
        let [one, other] = [Vary::from_bytes(b"a,c,"), Vary::from_bytes(b"b,c,")];
        assert_eq!(one.merged(&other), Some(Vary::from_bytes(b"a,b,c,")));
        assert_eq!(one.merged(&Vary::default()), Some(one.clone()));
        let many = Vary::from_bytes(b"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,");
        assert_eq!(many.merged(&one), Some(many.clone()));
        assert_eq!(many.merged(&Vary::from_bytes(b"q,")), None);
    }

    #[test]
    fn values_that_mean_the_same_have_one_key() {
        let key = |name: &str, fields: &[(&str, &str)]| {
            let vary = Vary::from_bytes(format!("{name},").as_bytes());
            key::secondary(
                b"http://h/",
                &Variants { id: 1, vary },
                &request("GET", fields),
            )
        };
        for (name, one, other, is_equal) in [
            (
                "foo",
                &[("Foo", "1, 2")][..],
                &[("foo", "1"), ("Foo", "2")][..],
                true,
            ),
            ("foo", &[("Foo", "1,2")], &[("Foo", " 1, 2 ")], true),
            ("foo", &[("Foo", "\"a, b\"")], &[("Foo", "\"a,b\"")], false),
            (
                "foo",
                &[("Foo", "\"\\\"a, b\"")],
                &[("Foo", "\"\\\"a,b\"")],
                false,
            ),
            ("foo", &[("Foo", "1, 2")], &[("Foo", "2, 1")], false),
            ("foo", &[("Foo", "a")], &[("Foo", "A")], false),
            ("foo", &[], &[("Foo", "")], false),
            ("foo", &[("Foo", "1")], &[("Foo", "1"), ("Bar", "2")], true),
            (
                "accept-language",
                &[("Accept-Language", "en, de")],
                &[("Accept-Language", " EN,dE")],
                true,
            ),
            (
                "accept-language",
                &[("Accept-Language", "en, de")],
                &[("Accept-Language", "de, en")],
                false,
            ),
            (
                "accept-language",
                &[("Accept-Language", "en, de;q=0.5")],
                &[("Accept-Language", "En , de; q=0.5")],
                true,
            ),
            (
                "accept-language",
                &[("Accept-Language", "en, de;q=0.5")],
                &[("Accept-Language", "en, de;q=0.6")],
                false,
            ),
            (
                "cookie",
                &[("Cookie", "a=b, c")],
                &[("Cookie", "a=b,c")],
                false,
            ),
            (
                "user-agent",
                &[("User-Agent", "X (a, b)")],
                &[("User-Agent", "X (a,b)")],
                false,
            ),
        ] {
            assert_eq!(
                key(name, one) == key(name, other),
                is_equal,
                "{one:?} {other:?}"
            );
        }
    }

    #[test]
    fn another_number_is_another_key() {
        let request = request("GET", &[]);
        let [one, other] = [1, 2].map(|id| Variants {
            id,
            vary: Vary::from_bytes(b"foo,"),
        });
        assert_ne!(
            key::secondary(b"http://h/", &one, &request),
            key::secondary(b"http://h/", &other, &request)
        );
    }
}
