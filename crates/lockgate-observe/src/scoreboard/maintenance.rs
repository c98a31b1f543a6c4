//! The switch for maintenance, which an operator moves while the server runs.

use std::sync::atomic::Ordering;

use super::Scoreboard;

/// Words of the region.
pub(super) const WORDS: usize = 8;

/// Whether the server is in maintenance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Maintenance {
    /// As the settings say.
    #[default]
    AsConfigured,
    /// It is, whatever the settings say.
    On,
    /// It is not, whatever the settings say.
    Off,
}

impl Maintenance {
    /// `auto`, `on` or `off`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AsConfigured => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

impl Scoreboard {
    /// Moves the switch, for all workers and those that start later.
    pub fn set_maintenance(self, maintenance: Maintenance) {
        if let Some(word) = self.words.get(super::MAINTENANCE) {
            let value = match maintenance {
                Maintenance::AsConfigured => 0,
                Maintenance::On => 1,
                Maintenance::Off => 2,
            };
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Where the switch is.
    pub fn maintenance(self) -> Maintenance {
        match self.prefix(super::MAINTENANCE) {
            1 => Maintenance::On,
            2 => Maintenance::Off,
            _ => Maintenance::AsConfigured,
        }
    }
}
