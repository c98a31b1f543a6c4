//! Tests of finding and loading, with directories of their own.
#![allow(clippy::disallowed_methods, reason = "any moment will do")]

use super::*;
use crate::representation::{Body, Content, Delivery, Selection};
use lockgate_http::{Limits, RequestHead, RequestParser};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// 2020-09-13 12:26:40 UTC
const OLD: i64 = 1_600_000_000;

struct Site {
    root: TempDir,
    files: Files,
    clock: Clock,
}

fn set_modified(path: &Path, seconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}

impl Site {
    fn new(
        entries: &[(&str, &str)],
        edit: impl FnOnce(&Path, &mut StaticConfig) -> Vec<StaticMount>,
    ) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut config = StaticConfig::default();
        let mounts = edit(root.path(), &mut config);
        for (name, content) in entries {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            set_modified(&path, OLD);
        }
        let now = Instant::now();
        Self {
            files: Files::new(&config, &mounts, now).unwrap(),
            clock: Clock {
                now,
                // Later than everything that this test writes.
                unix: Duration::from_secs(4_000_000_000),
            },
            root,
        }
    }

    fn plain(entries: &[(&str, &str)]) -> Self {
        Self::new(entries, |root, _| {
            vec![StaticMount::new(
                "/static".into(),
                vec![root.join("served")],
            )]
        })
    }

    fn advance(&mut self, millis: u64) {
        self.clock.now += Duration::from_millis(millis);
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    fn entry(&self, path: &str) -> SharedEntry {
        match self.files.find(path.as_bytes(), 0, self.clock.now) {
            Found::Known(entry) => entry,
            Found::Unknown(place) => match self.files.load(&place, self.clock) {
                Loaded::File(entry) => entry,
                other => panic!("{path}: {other:?}"),
            },
            other => panic!("{path}: {other:?}"),
        }
    }

    /// What a path leads to: content, or a word.
    fn look(&self, path: &str) -> String {
        self.name(self.files.find(path.as_bytes(), 0, self.clock.now))
    }

    fn name(&self, found: Found) -> String {
        match found {
            Found::NotServed => "(not served)".to_owned(),
            Found::Missing { falls_through } => format!("(missing {falls_through})"),
            Found::Known(entry) => self.content(&entry, &[]),
            Found::Unknown(place) => match self.files.load(&place, self.clock) {
                Loaded::File(entry) => self.content(&entry, &[]),
                Loaded::Directory => "(directory)".to_owned(),
                Loaded::Missing {
                    falls_through,
                    problem,
                } => {
                    let problem = if problem.is_some() { " problem" } else { "" };
                    format!("(missing {falls_through}{problem})")
                }
                Loaded::Failed(_) => "(failed)".to_owned(),
            },
        }
    }

    fn deliver(&self, entry: &SharedEntry, fields: &[(&str, &str)]) -> Delivery {
        let request = request(fields);
        let selection = Selection::of(&request);
        entry
            .select(&selection)
            .deliver(&request, &selection, self.clock.unix.as_secs())
    }

    fn content(&self, entry: &SharedEntry, fields: &[(&str, &str)]) -> String {
        let delivery = self.deliver(entry, fields);
        match delivery.body {
            Body::Part(part) => {
                let bytes = match part.content {
                    Content::Memory(bytes) => {
                        bytes[part.offset as usize..][..part.length as usize].to_vec()
                    }
                    Content::File(file, _) => {
                        let mut bytes = vec![0; part.length as usize];
                        std::os::unix::fs::FileExt::read_exact_at(&**file, &mut bytes, part.offset)
                            .unwrap();
                        bytes
                    }
                };
                String::from_utf8(bytes).unwrap()
            }
            _ => format!("({})", delivery.head.status()),
        }
    }
}

fn request(fields: &[(&str, &str)]) -> RequestHead {
    let fields: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let text = format!("GET /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let mut head = RequestHead::default();
    RequestParser::new(Limits::default())
        .step(text.as_bytes(), &mut head)
        .unwrap();
    head
}

fn header(delivery: &Delivery, name: &str) -> String {
    let value = delivery.head.header(name).unwrap_or_default();
    String::from_utf8(value.to_vec()).unwrap()
}

#[test]
fn paths_lead_to_files_directories_or_nothing() {
    let site = Site::plain(&[
        ("served/a.css", "a"),
        ("served/sub/index.html", "index"),
        ("served/sub/b c.css", "b"),
        ("served/none/x", "x"),
        ("served/.env", "secret"),
        ("served/.well-known/x", "secret"),
        ("secret", "secret"),
    ]);
    symlink("../secret", site.path("served/out")).unwrap();
    for (path, expected) in [
        ("/static/a.css", "a"),
        ("/static/%61.css", "a"),
        ("/%73tatic/a.css", "a"),
        ("/static/sub/b%20c.css", "b"),
        ("/static/sub/", "index"),
        ("/static/sub/index.html", "index"),
        ("/static/sub", "(directory)"),
        ("/static/none", "(missing true)"),
        ("/static/none/", "(missing true)"),
        ("/static", "(missing true)"),
        ("/static/", "(missing true)"),
        ("/static/a.css/", "(missing true)"),
        ("/static/a.css/b", "(missing true)"),
        ("/static/b.css", "(missing true)"),
        ("/static/out", "(missing true problem)"),
        ("/static/../secret", "(missing true)"),
        ("/static/%2e%2e/secret", "(missing true)"),
        ("/static/..%2fsecret", "(missing true)"),
        ("/static/sub/../../secret", "(missing true)"),
        ("/static//a.css", "(missing true)"),
        ("/static/.env", "(missing true)"),
        ("/static/%2eenv", "(missing true)"),
        ("/static/.well-known/x", "(missing true)"),
        ("/static/a.css%00", "(missing true)"),
        ("/static/%", "(missing true)"),
        ("/staticx/a.css", "(not served)"),
        ("/x/../static/a.css", "(not served)"),
        ("//static/a.css", "(not served)"),
        ("/", "(not served)"),
        ("/%", "(not served)"),
        ("*", "(not served)"),
    ] {
        // Twice: the second time it may be known.
        assert_eq!(site.look(path), expected, "{path}");
        assert!(
            site.look(path).starts_with(expected.trim_end_matches(')')),
            "{path}"
        );
    }
    assert!(site.files.concerns(b"/static/a", 0) && site.files.concerns(b"/%73tatic", 0));
    assert!(!site.files.concerns(b"/", 0) && !site.files.concerns(b"/staticx", 0));
}

#[test]
fn two_applications_have_files_of_their_own_at_one_path() {
    let entries = [("one/a.css", "first"), ("two/a.css", "second")];
    let mut site = Site::new(&entries, |root, _| {
        ["one", "two"]
            .iter()
            .zip([1, 2])
            .map(|(dir, application)| StaticMount {
                application: Some(application),
                ..StaticMount::new("/static".into(), vec![root.join(dir)])
            })
            .collect()
    });
    // The second time they are known.
    for _ in 0..2 {
        for (application, expected) in [(1, Some(5)), (2, Some(6)), (0, None)] {
            let found = site
                .files
                .find(b"/static/a.css", application, site.clock.now);
            let entry = match found {
                Found::Known(entry) => Some(entry),
                Found::Unknown(place) => match site.files.load(&place, site.clock) {
                    Loaded::File(entry) => Some(entry),
                    other => panic!("{other:?}"),
                },
                Found::NotServed => None,
                Found::Missing { .. } => panic!("missing"),
            };
            let length = entry.map(|entry| {
                let head = RequestHead::default();
                entry.select(&Selection::of(&head)).length()
            });
            assert_eq!(length, expected, "{application}");
        }
        site.advance(1);
    }
}

#[test]
fn the_first_directory_of_a_mount_that_has_a_file_serves_it() {
    let site = Site::new(
        &[
            ("one/a", "1"),
            ("two/a", "2"),
            ("two/b", "2"),
            ("root/.well-known/x", "w"),
            ("root/index.html", "i"),
        ],
        |root, _| {
            vec![
                StaticMount::new(
                    "/s".into(),
                    vec![root.join("none"), root.join("one"), root.join("two")],
                ),
                StaticMount {
                    fallthrough: false,
                    ..StaticMount::new(String::new(), vec![root.join("root")])
                },
            ]
        },
    );
    for (path, expected) in [
        ("/s/a", "1"),
        ("/s/b", "2"),
        ("/s/c", "(missing true)"),
        ("/", "i"),
        ("/.well-known/x", "w"),
        ("/.git", "(missing false)"),
        ("/none", "(missing false)"),
    ] {
        assert_eq!(site.look(path), expected, "{path}");
    }
}

#[test]
fn the_client_gets_the_smallest_coding_that_it_prefers() {
    let plain = "a".repeat(400);
    let site = Site::plain(&[
        ("served/a.css", &plain),
        ("served/a.css.br", "br"),
        ("served/a.css.gz", "gzip!"),
        ("served/a.css.zst", "zstd.."),
        ("served/only.css.gz", "orphan"),
        ("served/old.css", &plain),
        ("served/old.css.gz", "old"),
        ("served/large.css", "a"),
        ("served/large.css.gz", "larger"),
        ("served/dir.css", &plain),
        ("served/dir.css.gz/x", "x"),
    ]);
    set_modified(&site.path("served/old.css"), OLD + 1);
    let entry = site.entry("/static/a.css");
    for (accept, expected) in [
        ("gzip, br, zstd", "br"),
        ("gzip, zstd", "gzip!"),
        ("zstd", "zstd.."),
        ("br;q=0.5, gzip;q=0.6", "gzip!"),
        ("*", "br"),
        ("deflate", &plain),
        ("", &plain),
        ("identity;q=0", &plain),
        ("br;q=0", &plain),
    ] {
        let fields = [("Accept-Encoding", accept)];
        assert_eq!(site.content(&entry, &fields), expected, "{accept}");
        let delivery = site.deliver(&entry, &fields);
        assert_eq!(header(&delivery, "Vary"), "Accept-Encoding");
        let coding = expected.trim_end_matches(['!', '.', 'a']);
        assert_eq!(header(&delivery, "Content-Encoding"), coding, "{accept}");
        assert_eq!(header(&delivery, "Content-Type"), "text/css; charset=utf-8");
    }
    let tags: std::collections::HashSet<String> = ["br", "gzip", "zstd", ""]
        .map(|accept| {
            header(
                &site.deliver(&entry, &[("Accept-Encoding", accept)]),
                "ETag",
            )
        })
        .into();
    assert_eq!(tags.len(), 4, "each coding has its own tag");
    assert_eq!(site.look("/static/only.css"), "(missing true)");
    for path in ["/static/old.css", "/static/large.css", "/static/dir.css"] {
        let delivery = site.deliver(&site.entry(path), &[("Accept-Encoding", "gzip")]);
        assert_eq!(header(&delivery, "Content-Encoding"), "", "{path}");
        assert_eq!(header(&delivery, "Vary"), "", "{path}");
    }
}

#[test]
fn a_known_file_is_looked_at_again_when_its_time_is_over() {
    let mut site = Site::plain(&[("served/a", "1")]);
    let first = site.entry("/static/a");
    fs::write(site.path("served/a"), "2").unwrap();
    site.advance(999);
    assert!(Arc::ptr_eq(&site.entry("/static/a"), &first));
    site.advance(1);
    let found = site.files.find(b"/static/a", 0, site.clock.now);
    assert!(
        matches!(found, Found::Unknown(_)),
        "the first request looks"
    );
    let found = site.files.find(b"/static/a", 0, site.clock.now);
    assert!(
        matches!(found, Found::Known(_)),
        "others do not wait for it"
    );
    site.advance(1000);
    assert_eq!(site.look("/static/a"), "2");
    assert_eq!(site.look("/static/a"), "2");
    let second = site.entry("/static/a");
    site.advance(5000);
    assert!(
        Arc::ptr_eq(&site.entry("/static/a"), &second),
        "nothing has changed"
    );
    fs::remove_file(site.path("served/a")).unwrap();
    site.advance(1000);
    assert_eq!(site.look("/static/a"), "(missing true)");
}

#[test]
fn a_sidecar_that_appears_is_found() {
    let mut site = Site::plain(&[("served/a.js", "aaaaaaaa")]);
    assert_eq!(site.look("/static/a.js"), "aaaaaaaa");
    fs::write(site.path("served/a.js.gz"), "z").unwrap();
    site.advance(2000);
    let entry = site.entry("/static/a.js");
    assert_eq!(site.content(&entry, &[("Accept-Encoding", "gzip")]), "z");
}

#[test]
fn tags_follow_from_the_content_of_small_files_and_from_the_version_of_large_ones() {
    let large = "l".repeat(70_000);
    let mut site = Site::plain(&[
        ("served/a", "same"),
        ("served/b", "same"),
        ("served/c", &large),
        ("served/d", &large),
    ]);
    let tag = |site: &Site, path: &str| header(&site.deliver(&site.entry(path), &[]), "ETag");
    let (a, c) = (tag(&site, "/static/a"), tag(&site, "/static/c"));
    assert_eq!(a, tag(&site, "/static/b"));
    assert_ne!(c, tag(&site, "/static/d"));
    assert!(c.starts_with('"'), "{c}");
    // Another content with the same size and the same modification time.
    fs::write(site.path("served/a"), "SAME").unwrap();
    fs::write(site.path("served/c"), "L".repeat(70_000)).unwrap();
    for name in ["served/a", "served/c"] {
        set_modified(&site.path(name), OLD);
    }
    site.advance(2000);
    assert_ne!(tag(&site, "/static/a"), a);
    assert_ne!(tag(&site, "/static/c"), c);
    // A copy that is touched keeps the tag of its content.
    set_modified(&site.path("served/b"), OLD + 5);
    site.advance(2000);
    assert_eq!(tag(&site, "/static/b"), a);
}

#[test]
fn a_large_file_that_has_just_changed_has_a_weak_tag_for_a_while() {
    let mut site = Site::plain(&[("served/c", &"l".repeat(70_000))]);
    let changed = fs::metadata(site.path("served/c")).unwrap();
    let changed = Duration::from_secs(std::os::unix::fs::MetadataExt::ctime(&changed) as u64);
    let tag = |site: &Site| header(&site.deliver(&site.entry("/static/c"), &[]), "ETag");
    site.clock.unix = changed;
    let weak = tag(&site);
    assert!(weak.starts_with("W/"), "{weak}");
    site.clock.unix = changed + Duration::from_secs(3);
    site.advance(2000);
    assert_eq!(tag(&site), weak.trim_start_matches("W/"));
}

#[test]
fn nothing_is_kept_where_the_settings_say_so() {
    let site = Site::new(&[("served/a", "a")], |root, config| {
        config.memory = 0;
        config.open_files = 0;
        vec![StaticMount::new(
            "/static".into(),
            vec![root.join("served")],
        )]
    });
    assert_eq!(site.look("/static/a"), "a");
    let found = site.files.find(b"/static/a", 0, site.clock.now);
    assert!(matches!(found, Found::Unknown(_)));
    let descriptors = Site::new(&[("served/a", "a")], |root, config| {
        config.memory = 0;
        vec![StaticMount::new(
            "/static".into(),
            vec![root.join("served")],
        )]
    });
    assert_eq!(descriptors.look("/static/a"), "a");
    assert_eq!(descriptors.entry("/static/a").descriptors(), 1);
}

#[test]
fn the_application_reaches_internal_files_and_clients_do_not() {
    let site = Site::new(
        &[
            ("private/a b", "p"),
            ("public/c", "c"),
            ("private/.d", "d"),
            ("private/in/index.html", "i"),
            ("secret", "s"),
        ],
        |root, _| {
            vec![
                StaticMount {
                    internal: true,
                    ..StaticMount::new(
                        "/private".into(),
                        vec![root.join("empty"), root.join("private")],
                    )
                },
                StaticMount::new("/public".into(), vec![root.join("public")]),
            ]
        },
    );
    assert_eq!(site.look("/private/a%20b"), "(not served)");
    let find = |path: &str| site.name(site.files.find_internal(path.as_bytes(), site.clock.now));
    for (path, expected) in [
        ("/private/a%20b", "p"),
        ("/private/a b", "p"),
        ("/private/a%20b?c=d", "p"),
        ("/public/c", "c"),
        ("/private/in/", "i"),
        ("/private/none", "(missing true)"),
        ("/private/../secret", "(missing true)"),
        ("/private/%2e%2e/secret", "(missing true)"),
        ("/private/.d", "(missing true)"),
        ("/other", "(not served)"),
    ] {
        assert_eq!(find(path), expected, "{path}");
        assert_eq!(find(path), expected, "{path}");
    }
    let find = |path: &Path| {
        let path = path.as_os_str().as_encoded_bytes();
        site.name(site.files.find_on_disk(path, site.clock.now))
    };
    for (path, expected) in [
        ("private/a b", "p"),
        ("public/c", "c"),
        ("private/in/", "(missing false)"),
        ("private/in", "(directory)"),
        ("private", "(not served)"),
        ("private/../secret", "(missing false)"),
        ("private/.d", "(missing false)"),
        ("secret", "(not served)"),
        ("privately", "(not served)"),
    ] {
        assert_eq!(find(&site.path(path)), expected, "{path}");
    }
    assert!(site.files.has_internal() && site.files.has_public());
}
