//! The order of a subscription's messages, by their ids: what is delivered, and what was missed.

use crate::message::Message;

/// The last message that a subscriber of a channel has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Its id; `None` if it has none that is known.
    pub last_id: Option<Box<str>>,
}

/// What is done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The subscriber gets it.
    Deliver,
    /// The subscriber has it already.
    Skip,
    /// A message before it is missing: the subscriber gets both again, from the log or from the application.
    Recover,
}

impl Sequence {
    /// That of a subscriber which has this message, or none that is known.
    pub fn after(last_id: Option<&str>) -> Self {
        Self {
            last_id: last_id.map(Box::from),
        }
    }

    /// The step for the next message of the channel, which is its last one if it is delivered. A message without an
    /// id is in no order.
    ///
    /// After [`Step::Recover`] the last message stays the same, until one that follows it is delivered or the caller
    /// sets it.
    pub fn on(&mut self, message: &Message) -> Step {
        let Some(id) = message.id.as_deref() else {
            return Step::Deliver;
        };
        if let Some(last_id) = self.last_id.as_deref() {
            if id == last_id {
                return Step::Skip;
            }
            let prev_id = message.prev_id.as_deref();
            if prev_id.is_some_and(|prev_id| prev_id != last_id) {
                return Step::Recover;
            }
        }
        self.last_id = Some(id.into());
        Step::Deliver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An id, the id before it, and the step.
    type Published = (Option<&'static str>, Option<&'static str>, Step);

    #[test]
    fn a_message_follows_the_one_that_it_names() {
        use Step::{Deliver, Recover, Skip};
        let table: &[(Option<&str>, &[Published])] = &[
            // The first message is delivered whatever it follows.
            (None, &[(Some("5"), Some("4"), Deliver)]),
            (Some("4"), &[(Some("5"), Some("4"), Deliver)]),
            // One that is already there, and the next.
            (
                Some("5"),
                &[
                    (Some("5"), Some("4"), Skip),
                    (Some("6"), Some("5"), Deliver),
                    (Some("6"), Some("5"), Skip),
                ],
            ),
            // 5 is missing, then it comes.
            (
                Some("4"),
                &[
                    (Some("6"), Some("5"), Recover),
                    (Some("5"), Some("4"), Deliver),
                    (Some("6"), Some("5"), Deliver),
                ],
            ),
            // Without the id before it a message follows any.
            (
                Some("4"),
                &[(Some("9"), None, Deliver), (Some("10"), Some("9"), Deliver)],
            ),
            // Without an id it changes nothing.
            (
                Some("4"),
                &[
                    (None, None, Deliver),
                    (None, Some("1"), Deliver),
                    (Some("5"), Some("4"), Deliver),
                ],
            ),
            (
                None,
                &[(None, None, Deliver), (Some("1"), Some("0"), Deliver)],
            ),
        ];
        for (last_id, messages) in table {
            let mut sequence = Sequence::after(*last_id);
            for (id, prev_id, expected) in *messages {
                let message = Message {
                    id: id.map(str::to_owned),
                    prev_id: prev_id.map(str::to_owned),
                    ..Message::default()
                };
                assert_eq!(
                    sequence.on(&message),
                    *expected,
                    "{messages:?} after {last_id:?}"
                );
            }
        }
    }
}
