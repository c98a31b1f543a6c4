//! The names of the site, and the configuration of ACME (RFC 8555), by which a certificate authority issues
//! certificates for them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// The names of the site, and certificates that a certificate authority issues for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeConfig {
    /// Host names in lower case, and IP addresses; none twice. Empty: certificates come from files only.
    pub domains: Vec<String>,
    /// Where the certificate authority sends warnings.
    pub email: Option<String>,
    /// The directory URL of the certificate authority.
    pub directory: String,
    /// The directory URL of the authority that is asked while the first one fails; `None`: there is none.
    pub fallback_directory: Option<String>,
    /// The name of a key that the authority has given out for new accounts (external account binding).
    pub eab_key_id: Option<String>,
    /// The file of that key.
    pub eab_hmac_key_file: Option<PathBuf>,
    /// The directory of accounts, certificates and keys.
    pub dir: PathBuf,
    /// The file of the authorities that are trusted in connections to `directory`, besides the public ones.
    pub ca_certs: Option<PathBuf>,
}

impl AcmeConfig {
    /// The names that a certificate authority can issue certificates for.
    pub fn public_domains(&self) -> impl Iterator<Item = &str> {
        self.domains
            .iter()
            .map(String::as_str)
            .filter(|domain| !is_local(domain))
    }

    /// The names that reach this machine only, for which the server makes a certificate itself.
    pub fn local_domains(&self) -> impl Iterator<Item = &str> {
        self.domains
            .iter()
            .map(String::as_str)
            .filter(|domain| is_local(domain))
    }

    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let optional = [&mut self.eab_hmac_key_file, &mut self.ca_certs];
        let optional = optional.into_iter().filter_map(Option::as_mut);
        optional.chain([&mut self.dir])
    }
}

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            email: None,
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            fallback_directory: None,
            eab_key_id: None,
            eab_hmac_key_file: None,
            dir: PathBuf::from("/var/lib/lockgate/acme"),
            ca_certs: None,
        }
    }
}

/// `localhost` and its subdomains always mean the machine itself (RFC 6761 §6.3).
fn is_local(domain: &str) -> bool {
    domain == "localhost"
        || domain.ends_with(".localhost")
        || domain.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A domain as the certificate authority will see it: in lower case and without the dot of the root. The error says
/// what to write.
pub(crate) fn parse_domain(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(text).parse::<IpAddr>() {
        return match ip.is_unspecified() || ip.is_multicast() {
            true => Err("is not the address of a site".to_owned()),
            false => Ok(ip.to_string()),
        };
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        return Err(format!("must be a name without a scheme; write {host}"));
    }
    if let Some((host, _)) = text.split_once(['/', ':']) {
        return Err(format!(
            "must be a name without a port or a path; write {host}, and the port in bind"
        ));
    }
    if text.starts_with("*.") {
        return Err(
            "certificate authorities issue wildcard certificates by dns-01 only, which Lockgate does not support; \
             list the names, or set certfile and keyfile"
                .to_owned(),
        );
    }
    if !text.is_ascii() {
        return Err("must be ASCII; write the name in the form that begins with xn--".to_owned());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // RFC 1123 §2.1: a name whose last label is a number would be an IPv4 address.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number =
        last.bytes().all(|byte| byte.is_ascii_digit()) || name.parse::<Ipv4Addr>().is_ok();
    if name.len() > 253 || !name.split('.').all(is_label) || is_number {
        return Err("must be a host name, such as shop.example, or an IP address".to_owned());
    }
    Ok(name)
}

/// The address of one mailbox, for a `mailto:` URL (RFC 8555 §7.3: one address, no header fields).
pub(crate) fn parse_email(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"(),:;<>?[\\]&".contains(&byte);
    match text.rsplit_once('@') {
        Some((user, host))
            if !user.is_empty()
                && !user.contains('@')
                && user.bytes().all(is_allowed)
                && parse_domain(host).is_ok() =>
        {
            Ok(text.to_owned())
        }
        _ => Err("must be one email address, such as ops@shop.example".to_owned()),
    }
}

/// The URL of a directory. RFC 8555 §6.1 requires HTTPS.
pub(crate) fn parse_directory(text: &str) -> Result<String, String> {
    let Some(rest) = text.strip_prefix("https://") else {
        return Err("must be the URL of an ACME directory, and begin with https://".to_owned());
    };
    let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#@".contains(&byte);
    if host.is_empty() && !rest.starts_with('[') || !rest.bytes().all(is_plain) {
        return Err(
            "must be the URL of an ACME directory, such as https://acme.example/directory"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_host_names_and_addresses() {
        let long = format!("{}.example", "a".repeat(64));
        let longest = "a.".repeat(126) + "aa";
        let cases = [
            ("shop.example", Ok("shop.example")),
            ("Shop.Example.", Ok("shop.example")),
            ("xn--bcher-kva.example", Ok("xn--bcher-kva.example")),
            ("localhost", Ok("localhost")),
            ("shop", Ok("shop")),
            ("1.shop.example", Ok("1.shop.example")),
            ("192.0.2.1", Ok("192.0.2.1")),
            ("2001:DB8::1", Ok("2001:db8::1")),
            ("[::1]", Ok("::1")),
            ("https://shop.example/x", Err("write shop.example")),
            (
                "shop.example:443",
                Err("write shop.example, and the port in bind"),
            ),
            ("shop.example/x", Err("without a port or a path")),
            ("*.shop.example", Err("dns-01")),
            ("bücher.example", Err("xn--")),
            ("", Err("must be a host name")),
            (".", Err("must be a host name")),
            ("a..b", Err("must be a host name")),
            ("-a.example", Err("must be a host name")),
            ("a-.example", Err("must be a host name")),
            ("a_b.example", Err("must be a host name")),
            ("a b.example", Err("must be a host name")),
            ("256.0.0.1", Err("must be a host name")),
            ("1.2", Err("must be a host name")),
            ("0.0.0.0", Err("not the address of a site")),
            ("::", Err("not the address of a site")),
            ("224.0.0.1", Err("not the address of a site")),
            (&long, Err("must be a host name")),
            (&longest, Err("must be a host name")),
        ];
        for (text, expected) in cases {
            match (parse_domain(text), expected) {
                (Ok(domain), Ok(expected)) => assert_eq!(domain, expected),
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (outcome, _) => panic!("{text}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn names_of_this_machine_need_no_certificate_authority() {
        let domains = [
            "a.localhost",
            "localhost",
            "127.0.0.1",
            "::1",
            "shop.example",
            "notlocalhost",
        ];
        let acme = AcmeConfig {
            domains: domains.map(str::to_owned).to_vec(),
            ..AcmeConfig::default()
        };
        assert_eq!(acme.local_domains().collect::<Vec<_>>(), domains[..4]);
        assert_eq!(acme.public_domains().collect::<Vec<_>>(), domains[4..]);
    }

    #[test]
    fn an_email_address_is_one_address() {
        for text in ["ops@shop.example", "o.p+s@localhost"] {
            assert_eq!(parse_email(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "ops",
            "@a",
            "ops@",
            "a@b@c.example",
            "a,b@c",
            "mailto:a@b",
            "a b@c",
            "a?x@b",
        ] {
            assert!(parse_email(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_directory_is_a_url_over_tls() {
        for text in [
            "https://acme.example/dir",
            "https://localhost:14000/dir?x=1",
            "https://[::1]:14000/dir",
        ] {
            assert_eq!(parse_directory(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "acme.example",
            "http://acme.example/dir",
            "https://",
            "https:///dir",
            "https://a b",
            "https://u@a",
            "https://a#b",
        ] {
            assert!(parse_directory(text).is_err(), "{text}");
        }
    }
}
