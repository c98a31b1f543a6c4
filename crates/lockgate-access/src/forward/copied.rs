//! The names of fields that only the service may set.
//!
//! Invariant: names are equal if they become the same CGI variable (RFC 3875 §4.1.18), which is how an application sees
//! them: `Remote-User`, `REMOTE-USER` and `remote_user` are one name.

/// See the module documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopiedNames(Vec<Box<[u8]>>);

impl CopiedNames {
    /// These names, in any spelling.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let variables = names.into_iter().map(|name| name.bytes().map(variable));
        let mut variables: Vec<Box<[u8]>> = variables.map(Iterator::collect).collect();
        variables.sort();
        variables.dedup();
        Self(variables)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a field of this name is one of them.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.0.iter().any(|own| {
            own.len() == name.len()
                && own
                    .iter()
                    .zip(name)
                    .all(|(own, &byte)| *own == variable(byte))
        })
    }
}

fn variable(byte: u8) -> u8 {
    match byte {
        b'-' => b'_',
        byte => byte.to_ascii_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_in_each_spelling_that_an_application_cannot_tell_apart() {
        let names = CopiedNames::new(["Remote-User", "remote_USER", "X-Groups"]);
        assert_eq!(names.0.len(), 2);
        for (name, expected) in [
            ("Remote-User", true),
            ("remote-user", true),
            ("REMOTE-USER", true),
            ("Remote_User", true),
            ("x_groups", true),
            ("Remote-User2", false),
            ("Remote-Use", false),
            ("Remote User", false),
            ("RemoteUser", false),
            ("Remote.User", false),
            ("HTTP_REMOTE_USER", false),
            ("", false),
        ] {
            assert_eq!(names.contains(name.as_bytes()), expected, "{name}");
        }
        assert!(!CopiedNames::default().contains(b""));
    }
}
