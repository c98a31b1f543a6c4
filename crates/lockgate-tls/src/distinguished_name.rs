//! Distinguished names as text: RFC 2253, in the variant of OpenSSL and mod_ssl, which do not escape UTF-8.

use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The whole name, the most specific part first.
pub(crate) fn to_string(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|part| {
            let attributes: Vec<String> = part.iter().map(attribute).collect();
            attributes.join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

/// The attributes of a name, in the order of the certificate: the short name of each, if it has one, and its value.
pub(crate) fn attributes(name: &X509Name<'_>) -> Vec<(&'static str, String)> {
    name.iter_attributes()
        .filter_map(|attribute| Some((short_name(attribute)?, value(attribute)?)))
        .collect()
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    match (short_name(attribute), value(attribute)) {
        (Some(name), Some(value)) => format!("{name}={}", escaped(&value)),
        (name, _) => {
            // Of an unknown type, or no text: the bytes (RFC 2253 §2.4).
            let id = attribute.attr_type().to_id_string();
            let hex = data_encoding::HEXUPPER.encode(attribute.as_slice());
            format!("{}=#{hex}", name.unwrap_or(&id))
        }
    }
}

/// The short names of OpenSSL.
fn short_name(attribute: &AttributeTypeAndValue<'_>) -> Option<&'static str> {
    Some(match attribute.attr_type().to_id_string().as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.13" => "description",
        "2.5.4.17" => "postalCode",
        "2.5.4.41" => "name",
        "2.5.4.42" => "GN",
        "2.5.4.43" => "initials",
        "2.5.4.46" => "dnQualifier",
        "2.5.4.97" => "organizationIdentifier",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

fn value(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    if let Ok(text) = attribute.as_str() {
        return Some(text.to_owned());
    }
    // BMPString and others that are not UTF-8.
    attribute.attr_value().as_any_str().ok()
}

/// RFC 2253 §2.4; control characters as pairs of hexadecimal digits.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (index, character) in value.char_indices() {
        let is_first = index == 0;
        let is_last = index + character.len_utf8() == value.len();
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => {
                text.push('\\');
                text.push(character);
            }
            '#' if is_first => text.push_str("\\#"),
            ' ' if is_first || is_last => text.push_str("\\ "),
            '\0'..='\x1f' | '\x7f' => text.push_str(&format!("\\{:02X}", character as u32)),
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        for (value, wanted) in [
            ("Alice", "Alice"),
            (
                "Alice, Bob+\"x\"\\<>;",
                "Alice\\, Bob\\+\\\"x\\\"\\\\\\<\\>\\;",
            ),
            ("#1", "\\#1"),
            ("a#1", "a#1"),
            (" a b ", "\\ a b\\ "),
            ("ä\n\u{7f}", "ä\\0A\\7F"),
            ("", ""),
        ] {
            assert_eq!(escaped(value), wanted);
        }
    }
}
