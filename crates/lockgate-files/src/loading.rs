//! Loading: makes the entry of a file from what the directories of its mount have.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use lockgate_http::{ResponseHead, http_date};

use crate::directory::{Directory, Opened, Problem};
use crate::entry::{CODINGS, Coding, Entry, SharedEntry, Stamps};
use crate::files::{Clock, Loaded};
use crate::media_type::media_type;
use crate::mount::Mount;
use crate::path::RelativePath;
use crate::representation::{Content, Representation};
use crate::shared_file::SharedFile;
use crate::stamp::{Stamp, content_tag};

/// Files up to this size are read whole: their tags follow from the content, and they are sent from memory. Beyond it,
/// `sendfile` costs less than the copies.
const SMALL: u64 = 64 << 10;

/// A plain file and its sidecars.
struct Files {
    plain: (File, Metadata),
    sidecars: [Option<(File, Metadata)>; CODINGS.len()],
}

/// What is loaded, from where and when.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) mount: &'a Mount,
    /// The only directory that counts.
    pub(crate) directory: Option<usize>,
    pub(crate) path: &'a RelativePath,
    /// What the directories had before.
    pub(crate) known: Option<&'a SharedEntry>,
    /// Small files may be in memory.
    pub(crate) keeps_content: bool,
    pub(crate) clock: Clock,
}

impl Source<'_> {
    /// What the directories have of this path. May wait for the disk.
    pub(crate) fn load(&self) -> Loaded {
        let mut problem = None;
        let directories = self.mount.directories.iter().enumerate();
        let counts = |index: usize| self.directory.is_none_or(|only| only == index);
        for (_, directory) in directories.filter(|(index, _)| counts(*index)) {
            match self.load_from(directory) {
                Ok(Some(loaded)) => return loaded,
                Ok(None) => {}
                Err(found) if found.is_failure() => return Loaded::Failed(found),
                // Another directory may have it.
                Err(found) => problem = Some(found),
            }
        }
        Loaded::Missing {
            falls_through: self.mount.falls_through,
            problem,
        }
    }

    fn load_from(&self, directory: &Directory) -> Result<Option<Loaded>, Problem> {
        let Self {
            mount, path, clock, ..
        } = *self;
        let has_index = |index: &str| {
            let opened = directory.open(&path.join(index), clock.now)?;
            Ok(matches!(opened, Opened::File(..)))
        };
        let (name, opened) = match (&mount.index, path.is_directory()) {
            (None, true) => return Ok(None),
            (Some(index), true) => {
                let name = path.join(index);
                let opened = directory.open(&name, clock.now)?;
                (name, opened)
            }
            (_, false) if path.name().is_empty() => (String::new(), Opened::Directory),
            (_, false) => {
                let opened = directory.open(path.name(), clock.now)?;
                (path.name().to_owned(), opened)
            }
        };
        match (opened, &mount.index) {
            (Opened::File(file, metadata), _) => {
                let files = Files {
                    sidecars: sidecars(directory, &name, &metadata, clock.now),
                    plain: (file, metadata),
                };
                let entry = self.entry(files, &name);
                let failed = |error| Problem::Failed(directory.path().join(&name), error);
                Ok(Some(Loaded::File(entry.map_err(failed)?)))
            }
            (Opened::Directory, Some(index)) if !path.is_directory() && has_index(index)? => {
                Ok(Some(Loaded::Directory))
            }
            _ => Ok(None),
        }
    }

    fn entry(&self, files: Files, name: &str) -> io::Result<SharedEntry> {
        let stamp_of = |(_, metadata): &(File, Metadata)| Stamp::of(metadata);
        let stamps = Stamps {
            plain: stamp_of(&files.plain),
            sidecars: files
                .sidecars
                .each_ref()
                .map(|file| file.as_ref().map(stamp_of)),
        };
        if let Some(known) = self.known.filter(|known| known.describes(&stamps)) {
            return Ok(Arc::clone(known));
        }
        let cache_control = self.mount.cache_control(name);
        let form = |coding: Option<Coding>| Form {
            name,
            coding,
            is_coded: stamps.sidecars.iter().any(Option::is_some),
            cache_control: cache_control.as_deref(),
            headers: &self.mount.headers,
        };
        let mut coded = Vec::new();
        for (coding, file) in CODINGS.into_iter().zip(files.sidecars) {
            if let Some(file) = file {
                coded.push((coding, self.represent(file, &form(Some(coding)))?));
            }
        }
        let plain = self.represent(files.plain, &form(None))?;
        let mut all = std::iter::once(&stamps.plain).chain(stamps.sidecars.iter().flatten());
        let is_provisional = all.any(|one| one.size > SMALL && one.is_young(self.clock.unix));
        Ok(Arc::new(Entry::new(stamps, plain, coded, is_provisional)))
    }

    fn represent(
        &self,
        (file, metadata): (File, Metadata),
        form: &Form<'_>,
    ) -> io::Result<Representation> {
        let stamp = Stamp::of(&metadata);
        let file = Arc::new(SharedFile::new(file));
        if stamp.size > SMALL {
            let head = form.head(&stamp, &stamp.entity_tag(self.clock.unix), self.clock);
            return Ok(Representation::new(
                head,
                Content::File(file, 0),
                stamp.size,
            ));
        }
        let content = read(&file, stamp.size as usize)?;
        let head = form.head(&stamp, &content_tag(&content), self.clock);
        let length = content.len() as u64;
        let content = match self.keeps_content {
            true => Content::Memory(content.into()),
            false => Content::File(file, 0),
        };
        Ok(Representation::new(head, content, length))
    }
}

/// Whether no directory has anything of this path, as far as the kernel knows without asking the disk.
pub(crate) fn is_known_to_lack(mount: &Mount, path: &RelativePath, now: Instant) -> bool {
    let is_directory = path.is_directory() || path.name().is_empty();
    let name = match &mount.index {
        None if is_directory => return true,
        Some(index) if is_directory => path.join(index),
        _ => path.name().to_owned(),
    };
    let mut directories = mount.directories.iter();
    directories.all(|directory| directory.is_known_to_lack(&name, now))
}

/// The sidecars of a file that are not older than the file itself: an older one has another content.
fn sidecars(
    directory: &Directory,
    name: &str,
    plain: &Metadata,
    now: Instant,
) -> [Option<(File, Metadata)>; CODINGS.len()] {
    let plain = Stamp::of(plain);
    CODINGS.map(|coding| {
        let opened = directory.open(&format!("{name}{}", coding.suffix), now);
        match opened {
            Ok(Opened::File(file, metadata)) => {
                let stamp = Stamp::of(&metadata);
                let is_useful = stamp.modified >= plain.modified && stamp.size < plain.size;
                is_useful.then_some((file, metadata))
            }
            // The plain file is there, which is enough.
            _ => None,
        }
    })
}

/// What the head of a representation depends on besides the file.
struct Form<'a> {
    name: &'a str,
    coding: Option<Coding>,
    /// There are other codings.
    is_coded: bool,
    cache_control: Option<&'a str>,
    headers: &'a [(String, String)],
}

impl Form<'_> {
    /// All values are made of visible characters.
    fn head(&self, stamp: &Stamp, etag: &str, clock: Clock) -> ResponseHead {
        let mut head = ResponseHead::default();
        let modified = http_date::format(stamp.last_modified(clock.unix));
        let _valid = head.set_status(200, b"OK");
        let mut push = |name: &str, value: &[u8]| {
            let _valid = head.push(name.as_bytes(), value);
        };
        push("Content-Type", media_type(self.name).as_bytes());
        push("Last-Modified", &modified);
        push("ETag", etag.as_bytes());
        if let Some(coding) = self.coding {
            push("Content-Encoding", coding.token.as_bytes());
        }
        if self.is_coded {
            push("Vary", b"Accept-Encoding");
        }
        if let Some(value) = self.cache_control {
            push("Cache-Control", value.as_bytes());
        }
        for (name, value) in self.headers {
            push(name, value.as_bytes());
        }
        head
    }
}

/// The whole content; shorter if the file has been truncated meanwhile.
fn read(file: &File, size: usize) -> io::Result<Vec<u8>> {
    let mut content = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match file.read_at(&mut content[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    content.truncate(filled);
    Ok(content)
}
