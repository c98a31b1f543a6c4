//! Cipher strings of OpenSSL (ciphers(1)), mapped to the cipher suites of rustls.
//!
//! As in OpenSSL they choose among the suites of TLS 1.2; those of TLS 1.3 all stay, unless some are named. A suite or
//! keyword that cannot be had is refused by its name, while excluding what is not there is no fault.

use std::error::Error;
use std::fmt;

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite as suites;

/// A suite, its name in OpenSSL, and the keywords that select it.
struct Suite {
    suite: SupportedCipherSuite,
    name: &'static str,
    keywords: &'static [&'static str],
}

/// TLS 1.2, in the order of Mozilla's configuration "intermediate".
const TLS12: [Suite; 6] = [
    Suite {
        suite: suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        keywords: &["aECDSA", "ECDSA", "AES128", "AESGCM", "AES", "SHA256"],
    },
    Suite {
        suite: suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        keywords: &["aRSA", "AES128", "AESGCM", "AES", "SHA256"],
    },
    Suite {
        suite: suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        keywords: &["aECDSA", "ECDSA", "AES256", "AESGCM", "AES", "SHA384"],
    },
    Suite {
        suite: suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        keywords: &["aRSA", "AES256", "AESGCM", "AES", "SHA384"],
    },
    Suite {
        suite: suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        keywords: &["aECDSA", "ECDSA", "CHACHA20"],
    },
    Suite {
        suite: suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        keywords: &["aRSA", "CHACHA20"],
    },
];

/// TLS 1.3, in the same order.
const TLS13: [(SupportedCipherSuite, &str); 3] = [
    (suites::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
    (suites::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"),
    (
        suites::TLS13_CHACHA20_POLY1305_SHA256,
        "TLS_CHACHA20_POLY1305_SHA256",
    ),
];

/// Keywords that select all suites that there are.
const ALL: [&str; 12] = [
    "ALL",
    "DEFAULT",
    "HIGH",
    "ECDHE",
    "EECDH",
    "kECDHE",
    "kEECDH",
    "TLSv1.2",
    "FIPS",
    "SUITEB128",
    "SUITEB192",
    "PROFILE=SYSTEM",
];

/// Keywords for suites that rustls does not have. They select nothing, as in an OpenSSL that was built without them.
const NONE: [&str; 51] = [
    "COMPLEMENTOFALL",
    "COMPLEMENTOFDEFAULT",
    "MEDIUM",
    "LOW",
    "EXP",
    "EXPORT",
    "EXPORT40",
    "EXPORT56",
    "eNULL",
    "NULL",
    "aNULL",
    "kRSA",
    "RSA",
    "kDHE",
    "kEDH",
    "DHE",
    "EDH",
    "DH",
    "ADH",
    "aDH",
    "kDH",
    "kDHr",
    "kDHd",
    "AECDH",
    "kECDH",
    "kECDHr",
    "kECDHe",
    "aECDH",
    "ECDH",
    "aDSS",
    "DSS",
    "AESCCM",
    "AESCCM8",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "ARIAGCM",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "3DES",
    "DES",
    "RC4",
    "RC2",
    "IDEA",
    "SEED",
    "MD5",
    "SHA1",
    "SHA",
    "PSK",
    "SRP",
];

/// A cipher string that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CipherStringError {
    /// A suite that OpenSSL may have and rustls does not.
    Unavailable(String),
    /// A keyword that is not known.
    Unknown(String),
    /// Nothing is left.
    Empty,
}

impl fmt::Display for CipherStringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(name) => write!(
                f,
                "the cipher suite {name} is not available: TLS 1.2 has ECDHE with AES-GCM or CHACHA20-POLY1305 here; remove it"
            ),
            Self::Unknown(name) => {
                write!(f, "`{name}` is not a cipher suite or keyword of OpenSSL")
            }
            Self::Empty => {
                f.write_str("the cipher string selects no cipher suite that is available")
            }
        }
    }
}

impl Error for CipherStringError {}

/// All suites, in the order of Mozilla's configuration "intermediate".
pub fn default_cipher_suites() -> Vec<SupportedCipherSuite> {
    let tls13 = TLS13.iter().map(|(suite, _)| *suite);
    tls13.chain(TLS12.iter().map(|suite| suite.suite)).collect()
}

/// The name of a suite in OpenSSL.
pub(crate) fn openssl_name(suite: SupportedCipherSuite) -> &'static str {
    let tls12 = TLS12.iter().map(|known| (known.suite, known.name));
    TLS13
        .into_iter()
        .chain(tls12)
        .find_map(|(known, name)| (known == suite).then_some(name))
        .unwrap_or("")
}

/// The suites that a cipher string of OpenSSL selects, the preferred one first.
///
/// # Errors
/// It names a suite that there is not, or selects none.
pub fn parse_cipher_string(text: &str) -> Result<Vec<SupportedCipherSuite>, CipherStringError> {
    let mut list = List::default();
    // A command may follow without a separator: `DEFAULT@SECLEVEL=2`.
    let text = text.replace('@', ":@");
    for item in text
        .split([':', ',', ' ', ';'])
        .filter(|item| !item.is_empty())
    {
        list.apply(item)?;
    }
    list.finish()
}

/// The list of TLS 1.2 suites while a string is read, as indices into [`TLS12`].
#[derive(Default)]
struct List {
    active: Vec<usize>,
    killed: Vec<usize>,
    tls13: Vec<SupportedCipherSuite>,
}

impl List {
    fn apply(&mut self, item: &str) -> Result<(), CipherStringError> {
        if let Some(command) = item.strip_prefix('@') {
            return self.command(command);
        }
        let (operator, rest) = match item.split_at_checked(1) {
            Some((operator @ ("!" | "-" | "+"), rest)) => (operator, rest),
            _ => ("", item),
        };
        if let Some((suite, _)) = TLS13.iter().find(|(_, name)| *name == rest) {
            match operator {
                "" | "+" if !self.tls13.contains(suite) => self.tls13.push(*suite),
                "" | "+" => {}
                // As in OpenSSL, exclusions do not concern TLS 1.3.
                _ => {}
            }
            return Ok(());
        }
        let is_exclusion = matches!(operator, "!" | "-");
        let matching = selected(rest, is_exclusion)?;
        match operator {
            "!" => {
                self.active.retain(|index| !matching.contains(index));
                self.killed.extend(matching);
            }
            "-" => self.active.retain(|index| !matching.contains(index)),
            "+" => {
                let (moved, kept): (Vec<_>, Vec<_>) = self
                    .active
                    .iter()
                    .partition(|index| matching.contains(index));
                self.active = kept.into_iter().chain(moved).collect();
            }
            _ => {
                for index in matching {
                    if !self.active.contains(&index) && !self.killed.contains(&index) {
                        self.active.push(index);
                    }
                }
            }
        }
        Ok(())
    }

    fn command(&mut self, command: &str) -> Result<(), CipherStringError> {
        match command {
            "STRENGTH" => self.active.sort_by_key(|&index| {
                // 256 bits before 128; the sort is stable.
                TLS12[index].keywords.contains(&"AES128")
            }),
            // All suites here have at least 128 bits and forward secrecy: level 3.
            "SECLEVEL=0" | "SECLEVEL=1" | "SECLEVEL=2" | "SECLEVEL=3" => {}
            other => return Err(CipherStringError::Unknown(format!("@{other}"))),
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<SupportedCipherSuite>, CipherStringError> {
        if self.active.is_empty() && self.tls13.is_empty() {
            return Err(CipherStringError::Empty);
        }
        let tls13 = if self.tls13.is_empty() {
            TLS13.iter().map(|(suite, _)| *suite).collect()
        } else {
            self.tls13
        };
        let tls12 = self.active.iter().map(|&index| TLS12[index].suite);
        Ok(tls13.into_iter().chain(tls12).collect())
    }
}

/// The suites that a name or keywords joined with `+` select, as indices.
fn selected(item: &str, is_exclusion: bool) -> Result<Vec<usize>, CipherStringError> {
    let mut matching: Vec<usize> = (0..TLS12.len()).collect();
    for word in item.split('+') {
        let is_known = ALL.contains(&word)
            || NONE.contains(&word)
            || TLS12.iter().any(|suite| suite.keywords.contains(&word));
        if let Some(index) = TLS12.iter().position(|suite| suite.name == word) {
            matching.retain(|&other| other == index);
        } else if !is_known {
            let is_suite = word.contains('-') || word.starts_with("TLS_");
            if is_suite && is_exclusion {
                return Ok(Vec::new());
            }
            let word = word.to_owned();
            return Err(if is_suite {
                CipherStringError::Unavailable(word)
            } else {
                CipherStringError::Unknown(word)
            });
        } else if NONE.contains(&word) {
            matching.clear();
        } else if !ALL.contains(&word) {
            matching.retain(|&index| TLS12[index].keywords.contains(&word));
        }
    }
    Ok(matching)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<&'static str>, CipherStringError> {
        Ok(parse_cipher_string(text)?
            .into_iter()
            .map(openssl_name)
            .collect())
    }

    const TLS13_NAMES: [&str; 3] = [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ];

    #[test]
    fn strings_select_suites_as_in_openssl() {
        const EC128: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";
        const RSA128: &str = "ECDHE-RSA-AES128-GCM-SHA256";
        const EC256: &str = "ECDHE-ECDSA-AES256-GCM-SHA384";
        const RSA256: &str = "ECDHE-RSA-AES256-GCM-SHA384";
        const EC_CHACHA: &str = "ECDHE-ECDSA-CHACHA20-POLY1305";
        const RSA_CHACHA: &str = "ECDHE-RSA-CHACHA20-POLY1305";
        let all = [EC128, RSA128, EC256, RSA256, EC_CHACHA, RSA_CHACHA];
        for (text, wanted) in [
            ("ALL", &all[..]),
            ("HIGH:!aNULL:!MD5", &all),
            ("DEFAULT@SECLEVEL=2", &all),
            ("TLSv1.2:!ECDHE-RSA-AES128-SHA", &all),
            ("EECDH+AESGCM:EDH+AESGCM", &[EC128, RSA128, EC256, RSA256]),
            (
                "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!eNULL:!aDSS",
                &all,
            ),
            (
                "ECDHE+AES256, ECDHE-RSA-AES128-GCM-SHA256",
                &[EC256, RSA256, RSA128],
            ),
            ("ALL:!aRSA", &[EC128, EC256, EC_CHACHA]),
            (
                "ALL:-AES128:AES128",
                &[EC256, RSA256, EC_CHACHA, RSA_CHACHA, EC128, RSA128],
            ),
            (
                "ALL:!AES128:AES128",
                &[EC256, RSA256, EC_CHACHA, RSA_CHACHA],
            ),
            (
                "ALL:+AES128",
                &[EC256, RSA256, EC_CHACHA, RSA_CHACHA, EC128, RSA128],
            ),
            ("AESGCM:@STRENGTH", &[EC256, RSA256, EC128, RSA128]),
            (RSA_CHACHA, &[RSA_CHACHA]),
        ] {
            let found = names(text).unwrap();
            assert_eq!(found[..3], TLS13_NAMES, "{text}");
            assert_eq!(&found[3..], wanted, "{text}");
        }
        assert_eq!(
            names("TLS_AES_256_GCM_SHA384").unwrap(),
            ["TLS_AES_256_GCM_SHA384"]
        );
        assert_eq!(names("ALL").unwrap().len(), default_cipher_suites().len());
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name() {
        let unavailable = |name: &str| Err(CipherStringError::Unavailable(name.to_owned()));
        let unknown = |name: &str| Err(CipherStringError::Unknown(name.to_owned()));
        for (text, wanted) in [
            ("AES128-SHA", unavailable("AES128-SHA")),
            (
                "HIGH:DHE-RSA-AES128-GCM-SHA256",
                unavailable("DHE-RSA-AES128-GCM-SHA256"),
            ),
            (
                "TLS_AES_128_CCM_SHA256",
                unavailable("TLS_AES_128_CCM_SHA256"),
            ),
            ("FAST", unknown("FAST")),
            ("HIGH:!FAST", unknown("FAST")),
            ("HIGH:@SECLEVEL=5", unknown("@SECLEVEL=5")),
            ("", Err(CipherStringError::Empty)),
            ("kRSA", Err(CipherStringError::Empty)),
            ("ALL:!ECDHE", Err(CipherStringError::Empty)),
        ] {
            assert_eq!(names(text), wanted, "{text}");
        }
    }
}
