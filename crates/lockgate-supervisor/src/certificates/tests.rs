//! Certificates over reloads, an upgrade and time.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use lockgate_config::AppSpec;
use lockgate_tls::Certificate;

use super::*;
use crate::{Fork, WorkerContext};

/// A host that keeps the log.
#[derive(Default)]
struct Log {
    lines: RefCell<Vec<(Level, String)>>,
}

impl Log {
    /// How many lines of this level contain the text.
    fn count(&self, level: Level, text: &str) -> usize {
        let lines = self.lines.borrow();
        let found = lines.iter().filter(|line| line.0 == level);
        found.filter(|line| line.1.contains(text)).count()
    }
}

impl Hooks for Log {
    fn fork(&mut self) -> std::io::Result<Fork> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn run_worker(&mut self, _context: &mut WorkerContext) -> i32 {
        0
    }

    fn exit_process(&mut self, code: i32) -> ! {
        std::process::exit(code)
    }

    fn log(&self, level: Level, message: &str) {
        self.lines.borrow_mut().push((level, message.to_owned()));
    }
}

const TODAY: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

struct Site {
    folder: tempfile::TempDir,
    start: Instant,
    log: Log,
}

impl Site {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            start: Instant::now(),
            log: Log::default(),
        }
    }

    fn after(&self, seconds: u32) -> Moment {
        Moment {
            monotonic: self.start + Duration::from_secs(seconds.into()),
            unix_seconds: TODAY + i64::from(seconds),
        }
    }

    /// Writes a certificate for these names, which expires in this number of days, and its key into one file.
    fn certificate(&self, file: &str, names: &[&str], days: i64) -> PathBuf {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = lockgate_tls::self_signed(&names, TODAY - 60 * DAY, TODAY + days * DAY);
        let (chain, key) = made.unwrap();
        let staged = self.folder.path().join("staged");
        fs::write(&staged, format!("{key}{chain}")).unwrap();
        fs::rename(&staged, &path).unwrap();
        path
    }

    fn config(&self, certfile: Option<&Path>, domains: &[&str]) -> Config {
        let app = AppSpec::Module {
            module: "app".to_owned(),
            attribute: None,
        };
        let mut config = Config::with_defaults(app);
        config.tls.certfile = certfile.map(Path::to_owned);
        config.acme.domains = domains.iter().map(|&name| name.to_owned()).collect();
        config.acme.dir = self.folder.path().join("acme");
        config
    }

    fn begin(&self, config: &Config) -> Certificates {
        Certificates::start(config, None, self.after(0), &self.log).unwrap()
    }
}

/// The names of the published certificates and their origins.
fn published(certificates: &Certificates) -> Vec<String> {
    let material = certificates.board.read().unwrap_or_default();
    let certificates = material.certificates.into_iter().zip(material.origins);
    certificates
        .map(|(source, origin)| {
            let certificate = Certificate::from_source(source).unwrap();
            let file = Path::new(&origin)
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            format!("{} {file}", certificate.names().join(" "))
        })
        .collect()
}

#[test]
fn without_tls_nothing_is_published_and_the_supervisor_is_not_woken() {
    let site = Site::new();
    let certificates = site.begin(&site.config(None, &[]));
    assert!(certificates.next().is_none());
    assert!(certificates.board_of(Generation::Present).is_none());
    assert!(certificates.board().read().is_none());
}

#[test]
fn during_a_reload_the_certificates_of_both_generations_are_published() {
    let site = Site::new();
    let [a, b] = ["a", "b"].map(|name| site.certificate(name, &[name], 90));
    let mut certificates = site.begin(&site.config(Some(&a), &[]));
    assert_eq!(published(&certificates), ["a a"]);
    let next = site.config(Some(&b), &[]);
    certificates
        .prepare(&next, site.after(1), &site.log)
        .unwrap();
    assert_eq!(published(&certificates), ["a a", "b b"]);
    certificates.discard(site.after(2), &site.log);
    assert_eq!(published(&certificates), ["a a"]);
    certificates
        .prepare(&next, site.after(3), &site.log)
        .unwrap();
    certificates.switch_over(site.after(4), &site.log);
    assert_eq!(published(&certificates), ["b b"]);
    fs::write(&b, "broken").unwrap();
    let refused = certificates
        .prepare(&next, site.after(5), &site.log)
        .unwrap_err();
    assert!(refused.contains("certfile = "), "{refused}");
    certificates.discard(site.after(6), &site.log);
    assert_eq!(published(&certificates), ["b b"]);
}

#[test]
fn a_file_takes_the_place_of_what_acme_has_issued_before() {
    let site = Site::new();
    let domains = ["a.example", "b.example"];
    for name in domains {
        site.certificate(&format!("acme/certificates/{name}.pem"), &[name], 10);
    }
    let mut certificates = site.begin(&site.config(None, &domains));
    let (a, b) = ("a.example a.example.pem", "b.example b.example.pem");
    assert_eq!(published(&certificates), [a, b]);
    for (names, expected) in [
        (&["a.example"][..], &["a.example file", b][..]),
        (&["*.example"], &["*.example file"]),
        (&["other.example"], &["other.example file", a, b]),
    ] {
        let file = site.certificate("file", names, 90);
        let next = site.config(Some(&file), &domains);
        certificates
            .prepare(&next, site.after(1), &site.log)
            .unwrap();
        certificates.switch_over(site.after(2), &site.log);
        assert_eq!(published(&certificates), expected);
    }
}

#[test]
fn a_reload_may_turn_tls_on_and_off() {
    let site = Site::new();
    let a = site.certificate("a", &["a"], 90);
    let (without, with) = (site.config(None, &[]), site.config(Some(&a), &[]));
    let mut certificates = site.begin(&without);
    certificates
        .prepare(&with, site.after(1), &site.log)
        .unwrap();
    assert!(certificates.board_of(Generation::Present).is_none());
    assert!(certificates.board_of(Generation::Next).is_some());
    certificates.switch_over(site.after(2), &site.log);
    assert_eq!(published(&certificates), ["a a"]);
    certificates
        .prepare(&without, site.after(3), &site.log)
        .unwrap();
    certificates.switch_over(site.after(4), &site.log);
    assert!(published(&certificates).is_empty());
    assert!(certificates.next().is_none());
}

#[test]
fn a_reload_that_names_localhost_keeps_its_certificate_in_its_own_directory() {
    let site = Site::new();
    let mut certificates = site.begin(&site.config(None, &[]));
    let mut next = site.config(None, &["localhost"]);
    next.acme.dir = site.folder.path().join("other");
    certificates
        .prepare(&next, site.after(1), &site.log)
        .unwrap();
    certificates.switch_over(site.after(2), &site.log);
    assert_eq!(published(&certificates), ["localhost local.pem"]);
    assert!(next.acme.dir.join("self-signed/local.pem").is_file());
}

#[test]
fn until_acme_has_a_certificate_clients_get_one_that_the_server_has_signed() {
    let site = Site::new();
    let names = ["shop.example", "www.shop.example", "localhost"];
    let mut certificates = site.begin(&site.config(None, &names));
    let own = "shop.example www.shop.example self-signed";
    assert_eq!(published(&certificates), [own, "localhost local.pem"]);
    assert_eq!(
        site.log
            .count(Level::Warning, "no certificate yet for shop.example, www"),
        1
    );
    site.certificate("acme/certificates/shop.example.pem", &["shop.example"], 90);
    certificates.on_timer(site.after(1), &site.log);
    let issued = "shop.example shop.example.pem";
    assert_eq!(
        published(&certificates),
        [
            issued,
            "www.shop.example self-signed",
            "localhost local.pem"
        ]
    );
    site.certificate(
        "acme/challenges/tls-alpn-01/www.shop.example.pem",
        &["www.shop.example"],
        1,
    );
    certificates.on_timer(site.after(2), &site.log);
    let challenges = certificates.board.read().unwrap().challenges;
    assert_eq!(challenges[0].name, "www.shop.example");
}

#[test]
fn the_next_program_goes_on_with_the_same_board_and_the_same_keys() {
    let site = Site::new();
    let a = site.certificate("a", &["a"], 90);
    let config = site.config(Some(&a), &["shop.example"]);
    let first = site.begin(&config);
    let (board, before) = (first.board(), first.board().read().unwrap());
    fs::write(&a, "broken").unwrap();
    let inherited = inherit(first.memory).unwrap();
    let later = site.after(60);
    let mut next = Certificates::start(&config, Some(inherited), later, &site.log).unwrap();
    assert_eq!(
        board.read().unwrap(),
        before,
        "nor has the server signed another one"
    );
    site.certificate("a", &["b"], 90);
    next.on_timer(site.after(62), &site.log);
    assert_eq!(published(&next)[0], "b a");
    let after = board.read().unwrap();
    assert!(after.ticket_keys == before.ticket_keys && after != before);
}

#[test]
fn ticket_keys_are_rotated_and_a_certificate_that_expires_is_logged_once_a_day() {
    let site = Site::new();
    let a = site.certificate("a", &["a"], 5);
    let mut certificates = site.begin(&site.config(Some(&a), &[]));
    let keys = |certificates: &Certificates| certificates.board.read().unwrap().ticket_keys;
    let first = keys(&certificates);
    for (hours, expires, has_expired) in [(1, 1, 0), (25, 2, 0), (49, 3, 0), (121, 3, 1)] {
        certificates.on_timer(site.after(hours * 3600), &site.log);
        assert_eq!(
            site.log.count(Level::Warning, "expires in"),
            expires,
            "{hours}"
        );
        assert_eq!(
            site.log.count(Level::Warning, "has expired"),
            has_expired,
            "{hours}"
        );
    }
    assert!(keys(&certificates) != first);
}
