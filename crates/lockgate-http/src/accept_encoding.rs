//! Choice of a content coding (RFC 9110 §12.5.3): what Accept-Encoding allows of what the server offers.

use crate::rules::grammar::trim_whitespace;

/// How a response may be coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// With the offered coding at this index.
    Index(usize),
    /// Not coded.
    Identity,
    /// The client accepts neither an offered coding nor identity. Servers usually send identity nevertheless, which is
    /// allowed (RFC 9110 §12.5.3).
    NotAcceptable,
}

/// A weight in thousandths (RFC 9110 §12.4.2).
type Weight = u16;
const FULL_WEIGHT: Weight = 1_000;

/// Chooses the coding with the highest weight; among equal ones the first of `offered`, which is in the server's order
/// of preference. `field` is all values of Accept-Encoding, joined with commas.
///
/// Without the field a client may accept any coding; as in other servers it gets none.
///
/// ```
/// use lockgate_http::accept_encoding::{Choice, choose};
///
/// let offered: [&[u8]; 3] = [b"zstd", b"br", b"gzip"];
/// assert_eq!(choose(Some(b"gzip, br"), &offered), Choice::Index(1));
/// assert_eq!(choose(Some(b"gzip, br;q=0.9"), &offered), Choice::Index(2));
/// assert_eq!(choose(Some(b"deflate"), &offered), Choice::Identity);
/// ```
pub fn choose(field: Option<&[u8]>, offered: &[&[u8]]) -> Choice {
    let Some(field) = field else {
        return Choice::Identity;
    };
    let star = weight_of(field, b"*");
    let (mut best, mut best_weight) = (None, 0);
    for (index, coding) in offered.iter().enumerate() {
        let weight = weight_of(field, coding).or(star).unwrap_or(0);
        if weight > best_weight {
            (best, best_weight) = (Some(index), weight);
        }
    }
    // Identity is acceptable unless it is excluded; it is preferred only if its own weight says so.
    let identity = weight_of(field, b"identity");
    match best {
        Some(index) if identity.is_none_or(|weight| weight <= best_weight) => Choice::Index(index),
        _ if identity.or(star).is_some_and(|weight| weight == 0) => Choice::NotAcceptable,
        _ => Choice::Identity,
    }
}

/// The weight of the first element that names `coding`.
fn weight_of(field: &[u8], coding: &[u8]) -> Option<Weight> {
    field.split(|&byte| byte == b',').find_map(|element| {
        let mut parts = element.split(|&byte| byte == b';');
        let name = trim_whitespace(parts.next().unwrap_or_default());
        let is_named = name.eq_ignore_ascii_case(coding)
            // RFC 9110 §8.4.1.3.
            || (coding == b"gzip" && name.eq_ignore_ascii_case(b"x-gzip"));
        is_named.then(|| {
            let mut parameters = parts.map(trim_whitespace);
            parameters
                .find_map(|parameter| match parameter {
                    [b'q' | b'Q', b'=', weight @ ..] => Some(parse_weight(weight)),
                    _ => None,
                })
                .unwrap_or(FULL_WEIGHT)
        })
    })
}

/// `0` to `1` with at most three decimal places. A weight that is not valid excludes the coding, which is always safe.
fn parse_weight(text: &[u8]) -> Weight {
    let (whole, places) = match text {
        [whole] | [whole, b'.'] => (*whole, &b""[..]),
        [whole, b'.', places @ ..] if places.len() <= 3 => (*whole, places),
        _ => return 0,
    };
    if !matches!(whole, b'0' | b'1') || !places.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let thousandths = (0..3).fold(0, |sum, place| {
        sum * 10
            + places
                .get(place)
                .map_or(0, |digit| Weight::from(digit - b'0'))
    });
    match (whole, thousandths) {
        (b'1', 0) => FULL_WEIGHT,
        (b'1', _) => 0,
        _ => thousandths,
    }
}

#[cfg(test)]
mod tests {
    use super::Choice::{Identity, Index, NotAcceptable};
    use super::*;

    #[test]
    fn the_highest_weight_and_then_the_order_of_the_server_decide() {
        let offered: [&[u8]; 3] = [b"zstd", b"br", b"gzip"];
        for (field, expected) in [
            // What browsers and tools send.
            ("gzip, deflate, br, zstd", Index(0)),
            ("gzip, deflate, br", Index(1)),
            ("gzip, deflate", Index(2)),
            ("gzip;q=1.0, identity; q=0.5, *;q=0", Index(2)),
            ("*", Index(0)),
            ("identity", Identity),
            ("", Identity),
            ("deflate, compress", Identity),
            // Weights.
            ("gzip, br;q=0.9", Index(2)),
            ("gzip;q=0.001, br;q=0.002", Index(1)),
            ("gzip;q=0", Identity),
            ("gzip;q=0, *", Index(0)),
            ("br;q=0.5, *;q=0.4", Index(1)),
            ("*;q=0.5, gzip", Index(2)),
            ("zstd;q=0, br;q=0, *", Index(2)),
            ("gzip;q=0.5, identity", Identity),
            ("gzip, identity", Index(2)),
            ("gzip;q=0.5, identity;q=0.5", Index(2)),
            // Identity is excluded.
            ("identity;q=0", NotAcceptable),
            ("*;q=0", NotAcceptable),
            ("gzip;q=0, identity;q=0", NotAcceptable),
            ("*;q=0, identity", Identity),
            ("identity;q=0, gzip", Index(2)),
            ("identity;q=0, *", Index(0)),
            ("*;q=0, br;q=0.1", Index(1)),
            // Forms.
            ("GZIP", Index(2)),
            ("x-gzip", Index(2)),
            ("\tgzip ;\tQ=1.000 ", Index(2)),
            ("gzip;a=b;q=0", Identity),
            ("gzip;level=9", Index(2)),
            (",,gzip,", Index(2)),
            ("gzipped, br2", Identity),
            ("gzip;q=0, gzip", Identity),
            // Weights that are not valid.
            ("gzip;q=2", Identity),
            ("gzip;q=1.1", Identity),
            ("gzip;q=0.1234", Identity),
            ("gzip;q=", Identity),
            ("gzip;q=-1", Identity),
            ("gzip;q=0.a", Identity),
            ("gzip;q=1.", Index(2)),
            ("gzip;q=.5", Identity),
        ] {
            assert_eq!(
                choose(Some(field.as_bytes()), &offered),
                expected,
                "{field:?}"
            );
        }
    }

    #[test]
    fn without_the_field_or_an_offer_the_response_is_not_coded() {
        assert_eq!(choose(None, &[b"gzip"]), Identity);
        assert_eq!(choose(Some(b"gzip"), &[]), Identity);
        assert_eq!(choose(Some(b"*;q=0"), &[]), NotAcceptable);
    }
}
