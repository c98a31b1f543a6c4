//! Tests of the settings for static files, compression and the response cache.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Arguments, File, Variables, given, refused};
use crate::{StaticMount, StaticSources};

/// Values that are refused, and a part of the answer.
pub(super) const REFUSED: &[(&str, &[(&str, &str)])] = &[
    (
        "static",
        &[
            (
                "1",
                "static = 1 (from lockgate.toml line 1): must be /PATH=DIR",
            ),
            ("'assets'", "static = \"assets\" (from"),
            ("['/static']", "must be /PATH=DIR"),
            ("'/static='", "must be /PATH=DIR"),
            (
                "'static=x'",
                "static = \"static\" (from lockgate.toml line 1): must begin with a slash",
            ),
            ("'/a/../b=x'", "must not contain //, /. or /.."),
            ("'/a//b=x'", "must not contain"),
            ("'/a%20b=x'", "no query, fragment, %XX"),
            ("['auto', '/a=b']", "not both"),
            (
                "[{ dir = 'x' }]",
                "static = { dir = \"x\" } (from lockgate.toml line 1): needs a path",
            ),
            ("[{ path = '/a' }]", "needs a directory"),
            ("[{ path = '/a', dirs = [] }]", "needs a directory"),
            (
                "[{ path = '/a', dir = 'x', dirs = ['y'] }]",
                "dir or dirs, not both",
            ),
            ("[{ path = 'a', dir = 'x' }]", "static = path = \"a\" (from"),
            ("[{ path = '/a', dir = '' }]", "dir = \"\" (from"),
            (
                "[{ path = '/a', dir = 1 }]",
                "dir = 1 (from lockgate.toml line 1): must be text",
            ),
            ("[{ path = '/a', dirs = ['x', 2] }]", "dirs = 2 (from"),
            (
                "[{ path = '/a', dir = 'x' }, { path = '/a/', dir = 'y' }]",
                "path = \"/a\" (from lockgate.toml line 1): is given twice; write several directories as dirs",
            ),
            (
                "[{ path = '/a', dir = 'x', expires = '1h' }]",
                "static = expires = \"1h\" (from lockgate.toml line 1): is an unknown key of a static path; the keys are path, dir",
            ),
            (
                "[{ path = '/a', dir = 'x', index = 'a/b' }]",
                "the name of a file",
            ),
            (
                "[{ path = '/a', dir = 'x', immutable = 'js/*' }]",
                "without a directory",
            ),
            (
                "[{ path = '/a', dir = 'x', immutable = '*.[a-f.js' }]",
                "a [ without a ]",
            ),
            (
                "[{ path = '/a', dir = 'x', max_age = 'soon' }]",
                "max_age = \"soon\" (from",
            ),
            (
                "[{ path = '/a', dir = 'x', max_age = 0.5 }]",
                "whole seconds",
            ),
            (
                "[{ path = '/a', dir = 'x', headers = 'X-A: b' }]",
                "static = headers = \"X-A: b\" (from lockgate.toml line 1): must be a table such as",
            ),
            (
                "[{ path = '/a', dir = 'x', headers = { 'X A' = 'b' } }]",
                "static = headers = { \"X A\" = \"b\" } (from",
            ),
            (
                "[{ path = '/a', dir = 'x', headers = { 'X-A' = 'é' } }]",
                "printable ASCII",
            ),
            (
                "[{ path = '/a', dir = 'x', headers = { 'X-A' = \"a\\nb\" } }]",
                "line break",
            ),
            (
                "[{ path = '/a', dir = 'x', headers = { 'X-A' = '1', 'x-a' = '2' } }]",
                "each field once",
            ),
            (
                "[{ path = '/a', dir = 'x', headers = { 'Cache-Control' = 'x' } }]",
                "follows from immutable and max_age",
            ),
            (
                "[{ path = '/a', dir = 'x', internal = 'x' }]",
                "true or false",
            ),
            (
                "[{ path = '/a', dir = 'x', fallthrough = 2 }]",
                "fallthrough = 2 (from",
            ),
        ],
    ),
    (
        "static_open_files",
        &[("-1", "at least 0"), ("'many'", "whole number")],
    ),
    (
        "static_memory",
        &[("1000", "at least 64KiB"), ("'x'", "must be a size")],
    ),
    (
        "static_valid",
        &[("-1", "must not be negative"), ("'x'", "must be a time")],
    ),
    (
        "compress",
        &[("'x'", "true or false"), ("1", "true or false")],
    ),
    (
        "compress_types",
        &[
            ("'text'", "compress_types = \"text\" (from"),
            ("['text/html; charset=utf-8']", "without parameters"),
            ("1", "a list of texts"),
        ],
    ),
    (
        "compress_min_size",
        &[("-1", "must not be negative"), ("'1TB'", "must be a size")],
    ),
    ("compress_jitter", &[("'x'", "true or false")]),
    (
        "cache",
        &[
            ("1", "at least 4MiB"),
            ("'65GiB'", "at most 64GiB"),
            ("'x'", "must be a size"),
        ],
    ),
    (
        "cache_entry_limit",
        &[("0", "write cache = 0"), ("1023", "at least 1KiB")],
    ),
    (
        "cache_lock_timeout",
        &[("-1", "must not be negative"), ("'x'", "must be a time")],
    ),
    (
        "cache_ignore_query",
        &[
            ("'a=b'", "the name of a parameter"),
            ("1", "a list of texts"),
        ],
    ),
    (
        "cache_redis",
        &[
            ("'10.0.0.5'", "must be a URL such as redis://"),
            ("'redis://:x@'", "cache_redis = \"redis://***@\" (from"),
        ],
    ),
];

fn mounts(arguments: Arguments, variables: Variables, file: File) -> Vec<StaticMount> {
    match given(arguments, variables, file) {
        Ok(resolved) => resolved.config.static_files.mounts().to_vec(),
        Err(mistakes) => panic!("{file:?}: {mistakes:?}"),
    }
}

#[test]
fn directories_are_given_as_texts_or_tables() {
    let one = |path: &str, dirs: &[&str]| {
        StaticMount::new(path.to_owned(), dirs.iter().map(PathBuf::from).collect())
    };
    let cases: &[(Arguments, Variables, File, Vec<StaticMount>)] = &[
        (&["a:b"], &[], None, vec![]),
        (
            &["a:b", "--static", "/static/=assets"],
            &[],
            None,
            vec![one("/static", &["assets"])],
        ),
        (
            &["a:b", "--static=/s=a", "--static", "/=c", "--static=/s=b"],
            &[],
            None,
            vec![one("/s", &["a", "b"]), one("", &["c"])],
        ),
        (
            &["a:b"],
            &[("LOCKGATE_STATIC", "/s=a, /m=b=c")],
            None,
            vec![one("/s", &["a"]), one("/m", &["b=c"])],
        ),
        (
            &["a:b"],
            &[],
            Some(
                "[[static]]\npath = '/s'\ndir = 'a,b'\n[[static]]\npath = '/é x'\ndirs = ['b', 'c']",
            ),
            vec![one("/s", &["a,b"]), one("/é x", &["b", "c"])],
        ),
        (
            &["a:b"],
            &[],
            Some("static = { path = '/', dir = '.' }"),
            vec![one("", &["."])],
        ),
        (
            &["a:b"],
            &[],
            Some(
                "static = [{ path = '/s', dir = 'a', index = '', immutable = '*.????????.*', max_age = '30d', internal = true, fallthrough = false }]",
            ),
            vec![StaticMount {
                index: None,
                immutable: vec!["*.????????.*".to_owned()],
                max_age: Some(Duration::from_secs(2_592_000)),
                internal: true,
                fallthrough: false,
                ..one("/s", &["a"])
            }],
        ),
    ];
    for (arguments, variables, file, expected) in cases {
        assert_eq!(
            &mounts(arguments, variables, *file),
            expected,
            "{arguments:?} {file:?}"
        );
    }
}

#[test]
fn what_is_printed_means_the_same() {
    for value in [
        "'auto'",
        "[{ path = '/s', dirs = ['a', 'b\"c'], index = 'i.htm', immutable = ['*.[0-9a-f]*', 'x'], max_age = 0, headers = { 'X-A' = 'b \"c\"', 'X-B' = '1' } }]",
        "[{ path = '/', dir = 'a', index = '', internal = true, fallthrough = false }, { path = '/b', dir = 'c' }]",
    ] {
        let first = given(&["a:b"], &[], Some(&format!("static = {value}"))).expect(value);
        let printed = first.print();
        let second = given(&[], &[], Some(&printed)).expect(&printed);
        assert_eq!(
            first.config.static_files, second.config.static_files,
            "{printed}"
        );
    }
    let auto = given(&["a:b", "--static", "auto"], &[], None).unwrap();
    assert_eq!(auto.config.static_files.sources, StaticSources::Auto);
}

#[test]
fn a_relative_directory_is_relative_to_chdir() {
    let mut config = given(
        &["a:b", "--static=/s=a", "--static=/s=/b", "--chdir=shop"],
        &[],
        None,
    )
    .unwrap()
    .config;
    config.make_absolute(Path::new("/srv"));
    let mounts = config.static_files.mounts();
    assert_eq!(mounts[0].dirs, [Path::new("/srv/shop/a"), Path::new("/b")]);
}

#[test]
fn one_word_turns_the_cache_on_and_off() {
    let default = 64 << 20;
    for (file, memory) in [
        ("", 0),
        ("cache = '8MiB'", 8 << 20),
        ("cache = true", default),
        ("cache = 'on'", default),
        ("cache = false", 0),
        ("cache = 0", 0),
    ] {
        let config = given(&["a:b"], &[], Some(file)).expect(file).config;
        assert_eq!(config.cache.memory, memory, "{file}");
        assert_eq!(config.cache.is_enabled(), memory > 0);
    }
    let stronger = given(
        &["a:b", "--cache", "0", "--no-compress"],
        &[],
        Some("cache = true\ncompress = true"),
    );
    let config = stronger.unwrap().config;
    assert!(!config.cache.is_enabled() && !config.compress.is_enabled);
}

#[test]
fn an_entry_is_at_most_a_quarter_of_the_cache() {
    for (file, is_taken) in [
        ("cache = '4MiB'", true),
        ("cache = '4MiB'\ncache_entry_limit = '2MiB'", false),
        ("cache = true\ncache_entry_limit = '16MiB'", true),
        ("cache_entry_limit = '100MiB'", true),
    ] {
        let outcome = given(&["a:b"], &[], Some(file));
        assert_eq!(outcome.is_ok(), is_taken, "{file}: {:?}", outcome.err());
    }
    assert_eq!(
        refused(
            &["a:b", "--cache=4MiB", "--cache-entry-limit=2MiB"],
            &[],
            None
        ),
        "cache_entry_limit = \"2MiB\" (from --cache-entry-limit): must be at most 1MiB, a quarter of cache = 4MiB"
    );
}

#[test]
fn a_setting_of_what_is_off_is_noted() {
    let file = "static_valid = 2\ncompress_types = 'text/*'\ncache_redis = 'redis://:geheim@h'";
    let resolved = given(&["a:b"], &[], Some(file)).unwrap();
    assert_eq!(
        resolved.notes,
        [
            "static_valid has no effect without static",
            "compress_types has no effect without compress = true",
            "cache_redis has no effect without cache"
        ]
    );
    assert!(!format!("{resolved:?}").contains("geheim"));
    let on = ["a:b", "--static=auto", "--compress", "--cache=8MiB"];
    assert_eq!(given(&on, &[], Some(file)).unwrap().notes, [""; 0]);
}
