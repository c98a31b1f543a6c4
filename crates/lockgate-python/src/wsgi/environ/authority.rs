//! Host and port of an authority.

/// Host and port of an authority; an IPv6 address keeps its brackets, an empty port counts as missing.
pub(super) fn split_authority(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let colon = authority.iter().rposition(|&byte| byte == b':');
    match colon {
        Some(colon) if !authority[colon..].contains(&b']') => {
            let port = &authority[colon + 1..];
            (&authority[..colon], (!port.is_empty()).then_some(port))
        }
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_split_into_host_and_port() {
        let cases = [
            ("", "", None),
            ("a.example", "a.example", None),
            ("a.example:8000", "a.example", Some("8000")),
            ("a.example:", "a.example", None),
            ("[::1]", "[::1]", None),
            ("[::1]:80", "[::1]", Some("80")),
            (":80", "", Some("80")),
        ];
        for (authority, host, port) in cases {
            assert_eq!(
                split_authority(authority.as_bytes()),
                (host.as_bytes(), port.map(str::as_bytes))
            );
        }
    }
}
