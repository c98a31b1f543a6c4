//! Priorities of responses (RFC 9218): the Priority field of a request and PRIORITY_UPDATE.

/// In which order responses are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Priority {
    /// 0 is sent first, 7 last.
    pub urgency: u8,
    /// Whether the response is useful in parts, so that it shares the connection with others of its urgency.
    pub incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self {
            urgency: 3,
            incremental: false,
        }
    }
}

impl Priority {
    /// Reads the value of a Priority field: a dictionary (RFC 8941 §3.2) with `u` and `i`.
    ///
    /// Members that are not understood are ignored, and so is a value with a syntax error (RFC 9218 §4). The values of
    /// other members are not checked.
    pub fn parse(value: &[u8]) -> Self {
        let mut priority = Self::default();
        for member in value.split(|&byte| byte == b',') {
            let member = member.trim_ascii();
            let member = member.split(|&byte| byte == b';').next().unwrap_or(member);
            match member.trim_ascii_end() {
                [b'u', b'=', digit @ b'0'..=b'7'] => priority.urgency = digit - b'0',
                b"i" | b"i=?1" => priority.incremental = true,
                b"i=?0" => priority.incremental = false,
                _ => {}
            }
        }
        priority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_field_is_read_and_what_is_not_understood_ignored() {
        let cases = [
            ("", 3, false),
            ("u=0", 0, false),
            ("u=7, i", 7, true),
            ("i,u=5", 5, true),
            ("u=5 , \ti=?1", 5, true),
            ("u=1;x=2, i;a", 1, true),
            ("i=?0", 3, false),
            ("u=1,u=2", 2, false),
            ("u=8", 3, false),
            ("u=-1", 3, false),
            ("u=1.0", 3, false),
            ("u", 3, false),
            ("i=1", 3, false),
            ("a=b, u=2, c", 2, false),
            (",,,", 3, false),
        ];
        for (value, urgency, incremental) in cases {
            let priority = Priority {
                urgency,
                incremental,
            };
            assert_eq!(Priority::parse(value.as_bytes()), priority, "{value}");
        }
    }
}
