//! Notifications of the system (inotify, FSEvents) about the directories that are watched.

use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher};

use crate::settling::Stage;

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notification {
    /// Something at this path.
    At(PathBuf, Stage),
    /// Unknown: the system has dropped notifications.
    Anywhere,
}

/// Why a directory is not watched by the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwatchable {
    /// The limit of the system is reached.
    TooMany,
    /// It does not exist, or cannot be read.
    Inaccessible,
}

/// The system's notifications.
pub(crate) struct Notifications(RecommendedWatcher);

impl Notifications {
    /// Notifications go to `receive`, on a thread of their own.
    ///
    /// # Errors
    /// What the system lacks, for the operator.
    pub(crate) fn start(receive: impl Fn(Notification) + Send + 'static) -> Result<Self, String> {
        let handler = move |event: notify::Result<Event>| {
            let read = event.map_or_else(|_| vec![Notification::Anywhere], read);
            read.into_iter().for_each(&receive);
        };
        let watcher = notify::recommended_watcher(handler);
        watcher.map(Self).map_err(|error| error.to_string())
    }

    /// Watches a directory without those below it, also if another one was there before.
    ///
    /// # Errors
    /// Why it cannot be watched.
    pub(crate) fn watch(&mut self, directory: &Path) -> Result<(), Unwatchable> {
        // Usually it was not watched.
        let _unwatched = self.0.unwatch(directory);
        let watched = self.0.watch(directory, RecursiveMode::NonRecursive);
        watched.map_err(|error| match error.kind {
            ErrorKind::MaxFilesWatch => Unwatchable::TooMany,
            _ => Unwatchable::Inaccessible,
        })
    }
}

fn read(event: Event) -> Vec<Notification> {
    if event.need_rescan() {
        return vec![Notification::Anywhere];
    }
    let stage = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To) | ModifyKind::Metadata(_)) => {
            Stage::Complete
        }
        // Its two halves are notified, too.
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
            return Vec::new();
        }
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => Stage::Incomplete,
    };
    let paths = event.paths.into_iter();
    paths.map(|path| Notification::At(path, stage)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind};

    #[test]
    fn a_file_is_complete_when_it_is_closed_or_has_got_its_name() {
        let cases = [
            (
                EventKind::Access(AccessKind::Close(AccessMode::Write)),
                Some(Stage::Complete),
            ),
            (
                EventKind::Modify(ModifyKind::Name(RenameMode::To)),
                Some(Stage::Complete),
            ),
            (
                EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
                Some(Stage::Complete),
            ),
            (
                EventKind::Modify(ModifyKind::Name(RenameMode::From)),
                Some(Stage::Incomplete),
            ),
            (
                EventKind::Modify(ModifyKind::Data(DataChange::Any)),
                Some(Stage::Incomplete),
            ),
            (EventKind::Create(CreateKind::File), Some(Stage::Incomplete)),
            (
                EventKind::Remove(RemoveKind::Folder),
                Some(Stage::Incomplete),
            ),
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), None),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), None),
            (EventKind::Modify(ModifyKind::Name(RenameMode::Both)), None),
        ];
        for (kind, stage) in cases {
            let event = Event::new(kind).add_path(PathBuf::from("/a"));
            let expected = stage.map(|stage| Notification::At(PathBuf::from("/a"), stage));
            assert_eq!(
                read(event),
                expected.into_iter().collect::<Vec<_>>(),
                "{kind:?}"
            );
        }
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(read(overflow), [Notification::Anywhere]);
    }
}
