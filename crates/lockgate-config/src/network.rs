//! Networks in settings: addresses, CIDR blocks and `*`.

use std::fmt;
use std::net::IpAddr;

/// A set of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    has_all: bool,
    networks: Vec<Network>,
}

/// A CIDR block; one address is a block of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Networks {
    /// The loopback addresses: 127.0.0.1 and ::1.
    pub fn loopback() -> Self {
        let host = |address: IpAddr| Network {
            address,
            prefix: longest_prefix(address),
        };
        Self {
            has_all: false,
            networks: vec![
                host(IpAddr::from([127, 0, 0, 1])),
                host(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])),
            ],
        }
    }

    /// Networks that are separated by commas.
    ///
    /// # Errors
    ///
    /// What must be written instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut networks = Self::default();
        for network in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            networks.add(network)?;
        }
        Ok(networks)
    }

    /// Adds the networks in one text.
    ///
    /// # Errors
    ///
    /// What must be written instead.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        if text == "*" {
            self.has_all = true;
        } else {
            self.networks.push(Network::parse(text)?);
        }
        Ok(())
    }

    /// Whether a peer's address is among them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.has_all || self.blocks_of(address).next().is_some()
    }

    /// Whether the address is listed explicitly: `*` and a block of all addresses match any peer but list none. Trust
    /// in every peer does not mean that every address in a header belongs to a proxy.
    pub fn names(&self, address: IpAddr) -> bool {
        self.blocks_of(address).any(|network| network.prefix > 0)
    }

    fn blocks_of(&self, address: IpAddr) -> impl Iterator<Item = &Network> {
        let address = address.to_canonical();
        self.networks
            .iter()
            .filter(move |network| network.contains(address))
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        const REQUIREMENT: &str =
            "must be an address such as 10.0.0.1, a network such as 10.0.0.0/8 or fd00::/8, or *";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = address
            .trim_matches(|bracket| bracket == '[' || bracket == ']')
            .parse::<IpAddr>()
            .map_err(|_| REQUIREMENT.to_owned())?;
        let most = longest_prefix(address);
        let is_number =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            None => most,
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                .filter(|prefix| is_number(digits) && *prefix <= most)
                .ok_or_else(|| format!("the prefix must be a number from 0 to {most}"))?,
        };
        let network = Self { address, prefix };
        let start = network.start();
        if start != address {
            return Err(format!(
                "has bits beyond its prefix; the network is {start}/{prefix}"
            ));
        }
        Ok(network.canonical())
    }

    /// An IPv4-mapped block becomes the IPv4 block that peers are compared with.
    fn canonical(self) -> Self {
        match self.address.to_canonical() {
            address if address != self.address && self.prefix >= 96 => Self {
                address,
                prefix: self.prefix - 96,
            },
            _ => self,
        }
    }

    fn start(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX
                    .checked_shl(u32::from(32 - self.prefix))
                    .unwrap_or(0);
                IpAddr::from((u32::from(address) & mask).to_be_bytes())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX
                    .checked_shl(u32::from(128 - self.prefix))
                    .unwrap_or(0);
                IpAddr::from((u128::from(address) & mask).to_be_bytes())
            }
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Self {
                address,
                prefix: self.prefix,
            }
            .start()
                == self.address
    }
}

fn longest_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == longest_prefix(self.address) {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

impl Networks {
    /// Each as an operator writes it.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        let all = self.has_all.then(|| "*".to_owned());
        all.into_iter()
            .chain(self.networks.iter().map(Network::to_string))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        let mut networks = Networks::default();
        for text in texts {
            networks.add(text).expect(text);
        }
        networks
    }

    #[test]
    fn blocks_hold_their_addresses_and_no_others() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.1.2.128/25", "10.1.2.127", false),
            ("10.1.2.128/25", "10.1.2.200", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.2/31", "10.1.2.3", true),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("[::1]", "::1", true),
            ("::1", "127.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("::ffff:0:0/96", "10.9.9.9", true),
            ("*", "203.0.113.1", true),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "::1", false),
        ];
        for (block, address, expected) in cases {
            let address = address.parse().unwrap();
            assert_eq!(
                networks(&[block]).contains(address),
                expected,
                "{block} {address}"
            );
        }
        assert!(!Networks::default().contains([127, 0, 0, 1].into()));
    }

    #[test]
    fn networks_that_contain_every_address_name_none() {
        let address = IpAddr::from([10, 0, 0, 1]);
        for network in ["*", "0.0.0.0/0"] {
            assert!(networks(&[network]).contains(address));
            assert!(!networks(&[network]).names(address), "{network}");
            assert!(networks(&[network, "10.0.0.0/8"]).names(address));
        }
        assert!(Networks::loopback().names(IpAddr::from([127, 0, 0, 1])));
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_to_write() {
        let cases = [
            ("localhost", "must be an address"),
            ("10.0.0", "must be an address"),
            ("10.0.0.1:80", "must be an address"),
            ("10.0.0.0/33", "from 0 to 32"),
            ("::/129", "from 0 to 128"),
            ("10.0.0.0/+8", "from 0 to 32"),
            ("10.0.0.0/255.0.0.0", "from 0 to 32"),
            ("10.0.0.0/", "from 0 to 32"),
            ("10.1.2.3/8", "the network is 10.0.0.0/8"),
            ("fd00::1/8", "the network is fd00::/8"),
            ("**", "must be an address"),
        ];
        for (text, part) in cases {
            let requirement = Networks::default().add(text).unwrap_err();
            assert!(requirement.contains(part), "{text}: {requirement}");
        }
    }
}
