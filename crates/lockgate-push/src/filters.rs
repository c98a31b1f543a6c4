//! Filters of GRIP: the messages that a channel leaves out for a subscriber, and what is replaced in content.
//!
//! `skip-self`, `skip-users` and `require-sub` belong to a channel, and compare the `meta` of a message with that of the
//! connection. `build-id` belongs to content: `%I` is the id of the event, and `%%` is a percent sign.

use crate::message::Message;

/// The filters of a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filters(u8);

/// The rule for the filters of a channel.
pub const FILTER_RULE: &str = "must be skip-self, skip-users, require-sub or build-id";

impl Filters {
    /// It leaves out what its own user has sent.
    pub const SKIP_SELF: Self = Self(1);
    /// It leaves out messages that name its user in `skip_users`.
    pub const SKIP_USERS: Self = Self(1 << 1);
    /// It leaves out messages that name another channel in `require_sub`, unless the subscriber has that one, too.
    pub const REQUIRE_SUB: Self = Self(1 << 2);
    /// The body of the response with the instruction is content.
    pub const BUILD_ID: Self = Self(1 << 3);

    /// The filter of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "skip-self" => Some(Self::SKIP_SELF),
            "skip-users" => Some(Self::SKIP_USERS),
            "require-sub" => Some(Self::REQUIRE_SUB),
            "build-id" => Some(Self::BUILD_ID),
            _ => None,
        }
    }

    /// These and those.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether all of those are among these.
    pub fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether a subscriber does not get a message: `user` is that of its connection.
    pub fn leave_out(
        self,
        message: &Message,
        user: Option<&str>,
        has_channel: impl FnOnce(&str) -> bool,
    ) -> bool {
        let is_user = |one: &str| user == Some(one);
        let sender = message.sender.as_deref();
        let mut skipped = message.skip_users.as_deref().unwrap_or_default().split(',');
        let required = message.require_sub.as_deref();
        self.contains(Self::SKIP_SELF) && sender.is_some_and(is_user)
            || self.contains(Self::SKIP_USERS) && skipped.any(|one| is_user(one.trim()))
            || self.contains(Self::REQUIRE_SUB) && required.is_some_and(|name| !has_channel(name))
    }
}

/// The id of an event by its format: `%(NAME)s` is the id of the last message of a channel, and `%%` a percent sign.
pub fn build_id<'a>(format: &str, last_id: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut id = String::with_capacity(format.len());
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        id.push_str(before);
        let name = after
            .strip_prefix('(')
            .and_then(|after| after.split_once(")s"));
        rest = if let Some((name, after)) = name {
            id.push_str(last_id(name).unwrap_or_default());
            after
        } else {
            id.push('%');
            after.strip_prefix('%').unwrap_or(after)
        };
    }
    id.push_str(rest);
    id
}

/// Content with `%I` and `%%`, as it is sent. It comes in pieces.
#[derive(Debug, Default)]
pub struct ContentFilter {
    /// What `%I` is; without it `%I` stays.
    id: Option<String>,
    /// The piece before this one has ended with a percent sign.
    has_percent: bool,
}

impl ContentFilter {
    /// One that puts this id for `%I`.
    pub fn with_id(id: String) -> Self {
        Self {
            id: Some(id),
            has_percent: false,
        }
    }

    /// The next piece.
    pub fn filter(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut sent = Vec::with_capacity(piece.len());
        for byte in piece {
            if !std::mem::take(&mut self.has_percent) {
                match byte {
                    b'%' => self.has_percent = true,
                    _ => sent.push(*byte),
                }
                continue;
            }
            match (byte, &self.id) {
                (b'%', _) => sent.push(b'%'),
                (b'I', Some(id)) => sent.extend_from_slice(id.as_bytes()),
                _ => sent.extend_from_slice(&[b'%', *byte]),
            }
        }
        sent
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> &'static [u8] {
        match std::mem::take(&mut self.has_percent) {
            true => b"%",
            false => b"",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn filters_leave_messages_out() {
        let sent_by = |sender: &str| Message {
            sender: Some(sender.to_owned()),
            ..Message::default()
        };
        let skipping = |users: &str| Message {
            skip_users: Some(users.to_owned()),
            ..Message::default()
        };
        let requiring = |name: &str| Message {
            require_sub: Some(name.to_owned()),
            ..Message::default()
        };
        let all = (Filters::SKIP_SELF)
            .with(Filters::SKIP_USERS)
            .with(Filters::REQUIRE_SUB);
        for (filters, message, user, expected) in [
            (Filters::SKIP_SELF, sent_by("a"), Some("a"), true),
            (Filters::SKIP_SELF, sent_by("a"), Some("b"), false),
            (Filters::SKIP_SELF, sent_by("a"), None, false),
            (Filters::SKIP_SELF, Message::default(), None, false),
            (Filters::SKIP_USERS, sent_by("a"), Some("a"), false),
            (Filters::SKIP_USERS, skipping("b,a"), Some("a"), true),
            (Filters::SKIP_USERS, skipping("b, a"), Some("a"), true),
            (Filters::SKIP_USERS, skipping("ab"), Some("a"), false),
            (Filters::SKIP_USERS, skipping(""), None, false),
            (Filters::SKIP_SELF, skipping("a"), Some("a"), false),
            (Filters::REQUIRE_SUB, requiring("there"), None, false),
            (Filters::REQUIRE_SUB, requiring("gone"), None, true),
            (Filters::default(), requiring("gone"), None, false),
            (all, requiring("gone"), Some("a"), true),
            (all, Message::default(), Some("a"), false),
        ] {
            let is_out = filters.leave_out(&message, user, |name| name == "there");
            assert_eq!(is_out, expected, "{filters:?} {message:?} {user:?}");
        }
    }

    #[test]
    fn an_id_is_built_of_those_of_the_channels() {
        let last_id = |name: &str| match name {
            "events-a" => Some("7"),
            "events-b%2Fc" => Some("9"),
            _ => None,
        };
        for (format, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("a:%(events-a)s,b%%2Fc:%(events-b%2Fc)s", "a:7,b%2Fc:9"),
            ("%(unknown)s", ""),
            ("%", "%"),
            ("%x %(open", "%x %(open"),
            ("100%%", "100%"),
        ] {
            assert_eq!(build_id(format, last_id), expected, "{format:?}");
        }
    }

    #[test]
    fn content_has_the_id() {
        for (content, with_id, without) in [
            ("id: %I\n", "id: a:7\n", "id: %I\n"),
            ("100%%", "100%", "100%"),
            ("%%I %x %", "%I %x %", "%I %x %"),
            ("%%%I", "%a:7", "%%I"),
        ] {
            for cut in 0..=content.len() {
                let (first, second) = content.as_bytes().split_at(cut);
                for (mut filter, expected) in [
                    (ContentFilter::with_id("a:7".to_owned()), with_id),
                    (ContentFilter::default(), without),
                ] {
                    let mut sent = filter.filter(first);
                    sent.extend(filter.filter(second));
                    sent.extend_from_slice(filter.finish());
                    assert_eq!(String::from_utf8_lossy(&sent), expected, "{content} {cut}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(format: String, content: Vec<u8>) {
            let _ = build_id(&format, |_| Some("x"));
            let mut filter = ContentFilter::default();
            let sent = filter.filter(&content).len() + filter.finish().len();
            prop_assert!(sent <= content.len());
        }
    }
}
