//! The shared memory in a handover: its pieces, each with the version of its layout.
//!
//! Invariant: a program takes over only memory of its own layout. It makes the other pieces again, and they begin empty.

use std::collections::BTreeMap;

use lockgate_observe::Scoreboard;

/// A piece of shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Memory {
    Scoreboard,
    /// The certificate board.
    Certificates,
    /// The shared caches and locks.
    Store,
    BroadcastLog,
    /// The response cache.
    Responses,
    /// The log of purges.
    PurgeLog,
    /// The rate limits.
    Rates,
    /// The log of spans.
    SpanLog,
    /// The log of lines of the error log.
    LineLog,
    /// What the admin process has recorded.
    History,
    /// The events of the supervisor.
    Events,
    /// The failed requests of the workers.
    Failures,
}

/// Pieces of memory by their purpose, as descriptors or their numbers.
pub(crate) type Memories<T> = BTreeMap<Memory, T>;

/// Name and version of each layout, in the order of [`Memory::ALL`]. A change to what the words of a piece mean, or to
/// the records of a log, must increase its version: workers of the previous version use that memory until they are
/// replaced. The size of the scoreboard is compared too.
static LAYOUTS: &str = "\
scoreboard 1
certificates 1
store 1
broadcast-log 1
responses 1
purge-log 1
rates 1
span-log 1
line-log 1
history 1
events 1
failures 1";

impl Memory {
    pub(crate) const ALL: [Self; 12] = [
        Self::Scoreboard,
        Self::Certificates,
        Self::Store,
        Self::BroadcastLog,
        Self::Responses,
        Self::PurgeLog,
        Self::Rates,
        Self::SpanLog,
        Self::LineLog,
        Self::History,
        Self::Events,
        Self::Failures,
    ];

    /// What an operator calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Scoreboard => "counters",
            Self::Certificates => "keys of session tickets",
            Self::Store => "shared caches and locks",
            Self::BroadcastLog => "published messages",
            Self::Responses => "response cache",
            Self::PurgeLog => "purges for other hosts",
            Self::Rates => "rate limits",
            Self::SpanLog => "unsent spans",
            Self::LineLog => "unsent log lines",
            Self::History => "history",
            Self::Events => "events",
            Self::Failures => "failed requests",
        }
    }

    /// Its name and the version of its layout in this program, as a handover has them.
    pub(crate) fn layout(self) -> String {
        let layout = (LAYOUTS.lines().zip(Self::ALL))
            .find(|(_, memory)| *memory == self)
            .map_or("", |(layout, _)| layout);
        match self {
            Self::Scoreboard => format!("{layout} {}", Scoreboard::WORDS),
            _ => layout.to_owned(),
        }
    }

    /// The piece with this layout; `None` if this program has another one.
    pub(super) fn with_layout(layout: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|memory| memory.layout() == layout)
    }

    /// The piece with this name, whatever its layout.
    pub(super) fn named(name: &str) -> Option<Self> {
        let named = |memory: &Self| memory.layout().split(' ').next() == Some(name);
        Self::ALL.into_iter().find(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_has_a_layout_of_its_own_and_is_found_by_it_only() {
        assert_eq!(LAYOUTS.lines().count(), Memory::ALL.len());
        for memory in Memory::ALL {
            let layout = memory.layout();
            let (name, version) = layout.split_once(' ').unwrap();
            assert_eq!(Memory::with_layout(&layout), Some(memory));
            assert_eq!(Memory::named(name), Some(memory));
            for other in [
                name,
                version,
                "",
                &format!("{layout}0"),
                &format!("{name} 0"),
            ] {
                assert_eq!(Memory::with_layout(other), None, "{other:?}");
            }
        }
        assert_eq!(Memory::named("pages"), None);
    }
}
