//! The static table (RFC 7541 appendix A).

/// A field of the static table.
type StaticField = (&'static [u8], &'static [u8]);

/// How many fields the static table has; the dynamic table begins behind them.
pub(super) const LENGTH: usize = FIELDS.len();

/// The field at `index`, which counts from 1.
pub(super) fn field(index: usize) -> Option<StaticField> {
    FIELDS.get(index.wrapping_sub(1)).copied()
}

/// The index of the first field with this name, in any case. Pseudo-header fields are not found.
pub(super) fn find_name(name: &[u8]) -> Option<u8> {
    let index = INDEX_BY_HASH[hash(name)?];
    let (found, _) = field(index.into())?;
    found.eq_ignore_ascii_case(name).then_some(index)
}

/// Different for each name of the table. The factors were found by search.
const fn hash(name: &[u8]) -> Option<usize> {
    let ([first, ..], [.., last]) = (name, name) else {
        return None;
    };
    let middle = name[name.len() / 2];
    let hash = name.len() * 15
        + lower_case(*first) as usize * 9
        + lower_case(middle) as usize * 2
        + lower_case(*last) as usize;
    Some(hash % SLOTS)
}

/// Equal for both cases of a letter.
const fn lower_case(byte: u8) -> u8 {
    byte | 0x20
}

const SLOTS: usize = 128;

/// For each hash the index of the first field with such a name, or 0.
const INDEX_BY_HASH: [u8; SLOTS] = {
    let mut slots = [0; SLOTS];
    // From the last field to the first, so that the first of equal names stays.
    let mut index = FIELDS.len();
    while index > 0 {
        let name = FIELDS[index - 1].0;
        if name[0] != b':'
            && let Some(hash) = hash(name)
        {
            slots[hash] = index as u8;
        }
        index -= 1;
    }
    slots
};

static FIELDS: [StaticField; 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_at_its_first_field() {
        for (name, _) in FIELDS.iter().filter(|(name, _)| !name.starts_with(b":")) {
            let first = FIELDS.iter().position(|(other, _)| other == name);
            let index = first.map(|position| position as u8 + 1);
            assert_eq!(find_name(name), index);
            assert_eq!(find_name(&name.to_ascii_uppercase()), index);
        }
    }

    #[test]
    fn other_names_are_not_found() {
        for name in [
            &b""[..],
            b"x",
            b":status",
            b"x-date",
            b"server\0",
            b"serve\x52",
            b"DATE\xe5",
        ] {
            let expected = (name == b"serve\x52").then_some(54);
            assert_eq!(find_name(name), expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn indices_count_from_one() {
        assert_eq!(field(0), None);
        assert_eq!(field(1), Some((&b":authority"[..], &b""[..])));
        assert_eq!(field(LENGTH), Some((&b"www-authenticate"[..], &b""[..])));
        assert_eq!(field(LENGTH + 1), None);
        assert_eq!(field(usize::MAX), None);
    }
}
