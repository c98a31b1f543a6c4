//! Tests of the settings of HTTPS and ACME together.

use super::{File, Variables, given, refused};
use crate::{Bind, CertificateFiles, ClientCertificates, TlsVersion};

/// For each setting of these sections what it refuses, as TOML, and a part of the message.
pub(super) const REFUSED: &[(&str, &[(&str, &str)])] = &[
    (
        "protocol",
        &[("'fastcgi'", "must be http or uwsgi"), ("true", "text")],
    ),
    (
        "uwsgi_allow_ips",
        &[("'localhost'", "must be an address"), ("1", "a list")],
    ),
    ("certfile", &[("true", "must be text")]),
    ("keyfile", &[("['a']", "must be text")]),
    (
        "certificates",
        &[
            ("1", "a list of tables"),
            ("[[]]", "a list of tables"),
            ("':key'", "must be CERTFILE:KEYFILE"),
            ("[{}]", "each certificate needs certfile"),
            ("[{ keyfile = 'a' }]", "each certificate needs certfile"),
            (
                "[{ certificate = 'a' }]",
                "certificates = certificate = \"a\" (from lockgate.toml line 1): unknown key; a certificate has certfile",
            ),
            ("[{ certfile = 1 }]", "must be a path"),
            ("[{ certfile = '' }]", "must be a path"),
        ],
    ),
    ("keyfile_password_file", &[("true", "must be text")]),
    ("ca_certs", &[("true", "must be text")]),
    (
        "cert_reqs",
        &[
            ("3", "must be none (0), optional (1) or required (2)"),
            ("true", "must be none"),
        ],
    ),
    (
        "client_certificate_user",
        &[
            ("'serial'", "must be none, cn, email or dn"),
            ("true", "must be text"),
        ],
    ),
    (
        "ssl_variables",
        &[("'some'", "must be true, false or \"auto\"")],
    ),
    (
        "ciphers",
        &[("'é'", "cipher string"), ("[]", "must be text")],
    ),
    (
        "tls_min_version",
        &[
            ("1.1", "must be 1.2 or 1.3"),
            ("'SSLv3'", "must be 1.2 or 1.3"),
            ("true", "must be 1.2 or 1.3"),
        ],
    ),
    (
        "tls_handshake_timeout",
        &[("0", "forever"), ("-1", "negative")],
    ),
    (
        "https_redirect",
        &[
            (
                "70000",
                "must be true, false, \"auto\" or the port of https",
            ),
            ("'always'", "or the port of https"),
            ("1.5", "or the port of https"),
        ],
    ),
    (
        "hsts",
        &[
            ("-1", "must be true, false, a number of seconds"),
            ("'a year'", "a number of seconds"),
            ("'max-age'", "a number of seconds"),
            ("'max-age=x'", "a number of seconds"),
            ("'includeSubDomains'", "a number of seconds"),
            ("'max-age=1; max-age=2'", "a number of seconds"),
            ("'max-age=1;'", "a number of seconds"),
            (
                "'max-age=31536000; preload'",
                "preload needs includeSubDomains",
            ),
            ("'max-age=1; includeSubDomains; preload'", "at least a year"),
        ],
    ),
    (
        "domain",
        &[
            ("'*.a.example'", "dns-01"),
            (
                "['a.example', 'https://b.example/']",
                "domain = \"https://b.example/\" (from lockgate.toml line 1): must be a name without a scheme; write b.example",
            ),
            ("['a.example', 'A.example.']", "is listed twice"),
            ("true", "a list of texts"),
        ],
    ),
    (
        "acme_email",
        &[
            ("'ops'", "must be one email address"),
            ("[]", "must be text"),
        ],
    ),
    (
        "acme_directory",
        &[
            ("'http://a'", "begin with https://"),
            ("''", "begin with https://"),
        ],
    ),
    ("acme_fallback_directory", &[("'a'", "begin with https://")]),
    ("acme_eab_key_id", &[("'a b'", "without spaces")]),
    ("acme_eab_hmac_key_file", &[("true", "must be text")]),
    ("acme_dir", &[("''", "must be a path")]),
    ("acme_ca_certs", &[("true", "must be text")]),
    (
        "http2",
        &[
            ("'h2'", "HTTP/1.1 is always spoken"),
            ("['h3', 'h2', 'h1']", "HTTP/3 is not supported yet"),
            ("'h9'", "must be true or false, or gunicorn's h1 or h2,h1"),
            ("1.5", "must be true or false"),
        ],
    ),
    (
        "http2_max_concurrent_streams",
        &[("0", "at least 1"), ("65537", "at most 65536")],
    ),
];

#[test]
fn settings_that_need_others_say_which() {
    let cases = [
        (
            "keyfile = 'k'",
            "keyfile = \"k\" (from lockgate.toml line 1): needs certfile",
        ),
        (
            "keyfile_password_file = 'p'",
            "keyfile_password_file = \"p\" (from lockgate.toml line 1): needs certfile or certificates",
        ),
        (
            "cert_reqs = 2",
            "cert_reqs = \"required\" (from lockgate.toml line 1): needs ca_certs",
        ),
        (
            "ca_certs = 'c'",
            "ca_certs = \"c\" (from lockgate.toml line 1): has no effect without cert_reqs",
        ),
        (
            "client_certificate_user = 'dn'",
            "client_certificate_user = \"dn\" (from lockgate.toml line 1): needs cert_reqs",
        ),
        (
            "acme_eab_key_id = 'x'",
            "acme_eab_key_id = \"x\" (from lockgate.toml line 1): needs acme_eab_hmac_key_file",
        ),
        (
            "acme_eab_hmac_key_file = 'x'",
            "acme_eab_hmac_key_file = \"x\" (from lockgate.toml line 1): needs acme_eab_key_id",
        ),
        (
            "acme_fallback_directory = 'https://acme-v02.api.letsencrypt.org/directory'",
            "must be another authority than acme_directory",
        ),
    ];
    for (file, part) in cases {
        let message = refused(&["a:b"], &[], Some(file));
        assert!(message.contains(part), "{file}: {message}");
    }
}

#[test]
fn client_certificates_are_asked_for_only_where_cert_reqs_says_so() {
    let cases = [
        ("0", ClientCertificates::None),
        ("'CERT_OPTIONAL'", ClientCertificates::Optional),
        ("'ssl.CERT_REQUIRED'", ClientCertificates::Required),
        ("'Required'", ClientCertificates::Required),
    ];
    for (value, expected) in cases {
        let file = format!("ca_certs = 'c'\ncert_reqs = {value}");
        let tls = given(&["a:b"], &[], Some(&file)).expect(value).config.tls;
        assert_eq!(tls.client_certificates, expected, "{value}");
        let is_asked = expected != ClientCertificates::None;
        assert_eq!(tls.has_ssl_variables(), is_asked, "{value}");
    }
}

#[test]
fn hsts_is_a_switch_a_time_or_the_header() {
    let cases = [
        ("true", Some("max-age=31536000")),
        ("'on'", Some("max-age=31536000")),
        ("false", None),
        ("''", None),
        ("0", Some("max-age=0")),
        ("'600'", Some("max-age=600")),
        (
            "'max-age=31536000; includeSubDomains; preload'",
            Some("max-age=31536000; includeSubDomains; preload"),
        ),
    ];
    for (value, expected) in cases {
        let file = format!("hsts = {value}");
        let tls = given(&["a:b"], &[], Some(&file)).expect(value).config.tls;
        assert_eq!(tls.hsts.as_deref(), expected, "{value}");
    }
    let bare = given(&["a:b", "--hsts"], &[], None).expect("taken").config;
    assert_eq!(bare.tls.hsts.as_deref(), Some("max-age=31536000"));
}

#[test]
fn versions_of_tls_are_written_in_several_ways() {
    for value in ["1.3", "'1.3'", "'TLSv1.3'", "'TLS1.3'"] {
        let file = format!("tls_min_version = {value}");
        let tls = given(&["a:b"], &[], Some(&file)).expect(value).config.tls;
        assert_eq!(tls.min_version, TlsVersion::Tls13, "{value}");
    }
}

#[test]
fn the_default_certificate_is_the_first_and_each_has_its_password() {
    let file = "certfile = 'a'\nkeyfile_password_file = 'p'\n[[certificates]]\ncertfile = 'b'\nkeyfile = 'k'\n\
                [[certificates]]\ncertfile = 'c'\nkeyfile_password_file = 'q'\n";
    let mut config = given(&["a:b"], &[], Some(file)).expect("taken").config;
    config.make_absolute("/srv".as_ref());
    let files = |certfile: &str, keyfile: Option<&str>, password: &str| CertificateFiles {
        certfile: certfile.into(),
        keyfile: keyfile.map(Into::into),
        keyfile_password_file: Some(password.into()),
    };
    let found: Vec<_> = config.tls.certificate_files().collect();
    let expected = [
        files("/srv/a", None, "/srv/p"),
        files("/srv/b", Some("/srv/k"), "/srv/p"),
        files("/srv/c", None, "/srv/q"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn certificates_are_kept_where_the_service_manager_says() {
    const STATE: (&str, &str) = ("STATE_DIRECTORY", "/var/lib/shop:/var/lib/b");
    const DATA: (&str, &str) = ("XDG_DATA_HOME", "/data");
    let cases: [(Variables, File, &str); 5] = [
        (&[], None, "/var/lib/lockgate/acme"),
        (&[DATA], None, "/data/lockgate/acme"),
        (&[DATA, STATE], None, "/var/lib/shop/acme"),
        (&[DATA, STATE, ("LOCKGATE_ACME_DIR", "/a")], None, "/a"),
        (&[STATE], Some("acme_dir = 'b'"), "b"),
    ];
    for (variables, file, expected) in cases {
        let acme = given(&["a:b"], variables, file).expect("taken").config.acme;
        assert_eq!(acme.dir.to_str(), Some(expected), "{variables:?} {file:?}");
    }
}

#[test]
fn settings_of_acme_without_a_domain_are_noted() {
    let file = |domain: &str| format!("acme_email = 'a@b.example'\ndomain = ['{domain}']");
    for (domain, expected) in [
        ("shop.example", vec![]),
        ("localhost", vec!["acme_email has no effect without domain"]),
    ] {
        let resolved = given(&["a:b"], &[], Some(&file(domain))).expect("taken");
        assert_eq!(resolved.notes, expected, "{domain}");
    }
}

#[test]
fn a_domain_alone_means_the_standard_ports() {
    const PORT: (&str, &str) = ("PORT", "5000");
    const SOCKETS: (&str, &str) = ("LISTEN_FDS", "2");
    let public = "domain = 'shop.example'";
    let cases: [(Variables, &str, &[&str]); 7] = [
        (&[], public, &["https://[::]:443", "http://[::]:80"]),
        (&[PORT], public, &["https://[::]:443", "http://[::]:80"]),
        (&[SOCKETS], public, &["systemd"]),
        (&[("LOCKGATE_BIND", ":1")], public, &["0.0.0.0:1"]),
        (
            &[],
            "domain = ['localhost', '127.0.0.1']",
            &["https://localhost:443", "http://localhost:80"],
        ),
        (&[], "certfile = 'x'", &["127.0.0.1:8000"]),
        (&[PORT], "certfile = 'x'", &["0.0.0.0:5000"]),
    ];
    for (variables, file, expected) in cases {
        let resolved = given(&["a:b"], variables, Some(file)).expect(file);
        let bind: Vec<_> = resolved.config.bind.iter().map(Bind::to_string).collect();
        assert_eq!(bind, expected, "{variables:?} {file}");
    }
}

#[test]
fn listeners_and_certificates_are_compared() {
    let forward = "bind has neither port 80 nor 443, to which the certificate authority connects: forward one of these \
                   ports of shop.example to this server";
    let nothing =
        "no address in bind speaks TLS, so certificates have no effect; write https://HOST:PORT";
    let cases: [(&[&str], &str, &[&str]); 7] = [
        (&["-b:8443"], "domain = 'shop.example'", &[forward]),
        (&["-b:8443"], "domain = 'localhost'", &[]),
        (&["-b:80"], "certfile = 'x'", &[nothing]),
        (
            &["-bunix:/x"],
            "domain = 'shop.example'",
            &[nothing, forward],
        ),
        (&["-bsystemd"], "domain = 'shop.example'", &[]),
        (&["-bhttps://:80"], "certfile = 'x'", &[]),
        (&["-bhttp://:443"], "certfile = 'x'", &[nothing]),
    ];
    for (arguments, file, expected) in cases {
        let arguments = [&["a:b"], arguments].concat();
        let resolved = given(&arguments, &[], Some(file)).expect(file);
        assert_eq!(resolved.notes, expected, "{arguments:?} {file}");
    }
    assert_eq!(
        refused(&["a:b", "-b:1,https://:2"], &[], None),
        "bind = \"https://0.0.0.0:2\" (from --bind): needs a certificate: set domain, or certfile and keyfile"
    );
    assert!(refused(&["a:b", "-b:1,http://:1"], &[], None).contains("is listed twice"));
}

#[test]
fn certificates_at_addresses_of_the_uwsgi_protocol_are_a_mistake() {
    let cases = [
        (
            "'127.0.0.1:1'",
            Some("write https://127.0.0.1:1 in bind, or uwsgi://127.0.0.1:1"),
        ),
        ("['https://127.0.0.1:1', 'h:2']", Some("https://h:2")),
        ("['https://127.0.0.1:1', 'uwsgi://h:2']", None),
        ("['https://127.0.0.1:1', 'unix:/x']", None),
        ("'127.0.0.1:80'", None),
    ];
    for (bind, expected) in cases {
        let file = format!("app = 'a:b'\nprotocol = 'uwsgi'\ncertfile = 'a'\nbind = {bind}");
        match (given(&[], &[], Some(&file)), expected) {
            (Ok(_), None) => {}
            (Err(mistakes), Some(part)) => {
                assert!(mistakes[0].to_string().contains(part), "{mistakes:?}");
            }
            (found, expected) => panic!("{bind}: {found:?} is not {expected:?}"),
        }
    }
}
