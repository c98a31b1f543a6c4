//! What applications and operators of uWSGI find again: the module `uwsgi`, its shared caches and locks, the master
//! FIFO, the stats server and the protocol.

use std::fmt;
use std::path::PathBuf;

use crate::{BindAddress, UwsgiProtocolConfig};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UwsgiConfig {
    /// Whether workers have a module `uwsgi`.
    pub module: bool,
    /// The contents of `uwsgi.opt`, in order; a name without a value is a switch, a repeated name a list.
    pub options: Vec<(String, Option<String>)>,
    /// The shared caches; no name twice. The first one is the default.
    pub caches: Vec<UwsgiCacheConfig>,
    /// The highest number of a shared lock; the lock 0 always exists.
    pub locks: u32,
    /// Paths of named pipes from which the supervisor reads commands.
    pub fifos: Vec<PathBuf>,
    /// Address of the stats server; `None`: there is none.
    pub stats: Option<BindAddress>,
    /// The uwsgi protocol.
    pub protocol: UwsgiProtocolConfig,
}

impl UwsgiConfig {
    /// Whether what the workers count can be seen: by the application, in the stats server or through a FIFO.
    pub fn shows_counters(&self) -> bool {
        self.module || self.stats.is_some() || !self.fifos.is_empty()
    }
}

/// A shared cache: memory of a fixed size for all workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UwsgiCacheConfig {
    /// Its name.
    pub name: String,
    /// Maximum number of keys.
    pub items: u32,
    /// Number of blocks for values; at least `items`.
    pub blocks: u32,
    /// Bytes of a block.
    pub block_size: u32,
    /// Longest key in bytes.
    pub key_size: u32,
    /// Whether a value may occupy several blocks.
    pub spans_blocks: bool,
    /// What happens to a new key when the cache is full.
    pub when_full: WhenFull,
    /// The number to which the first operation on a missing key is applied.
    pub initial_number: i64,
}

/// What happens to a new key when a cache is full and no entry has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It is refused.
    Refuse,
    /// It takes the place of the entry that was not used for the longest time.
    Evict,
    /// All entries are removed first.
    Clear,
}

/// The largest cache: memory is only taken when it is written, but addresses are not unlimited.
const MOST_BYTES: u64 = 1 << 36;
const MOST_ITEMS: u64 = 1 << 24;
/// uWSGI's bound, too.
const LONGEST_KEY: u64 = 65_535;
const LONGEST_NAME: usize = 64;

impl UwsgiCacheConfig {
    /// Bytes for values and keys.
    pub fn bytes(&self) -> u64 {
        let keys = u64::from(self.items) * u64::from(self.key_size);
        keys + u64::from(self.blocks) * u64::from(self.block_size)
    }

    /// A definition in uWSGI's notation (`cache2`): `name=pages,items=1000`. The error says what to write.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let pairs = text.split(',').map(|pair| {
            let pair = pair.trim();
            pair.split_once('=').unwrap_or((pair, ""))
        });
        Self::from_pairs(pairs)
    }

    pub(crate) fn from_pairs<'a>(
        pairs: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, String> {
        let mut name = None;
        let (mut items, mut blocks) = (None, None);
        let mut cache = Self {
            name: String::new(),
            items: 0,
            blocks: 0,
            block_size: 65_536,
            key_size: 2048,
            spans_blocks: false,
            when_full: WhenFull::Refuse,
            initial_number: 0,
        };
        for (key, value) in pairs {
            let (key, value) = (key.trim(), value.trim());
            let count = |most| number(key, value, most);
            match key {
                "" => {}
                "name" => name = Some(cache_name(value)?),
                "items" | "maxitems" | "max_items" => items = Some(count(MOST_ITEMS)?),
                "blocks" => blocks = Some(count(MOST_ITEMS)?),
                "blocksize" => cache.block_size = count(1 << 30)?,
                "keysize" | "key_size" => cache.key_size = count(LONGEST_KEY)?,
                "bitmap" => cache.spans_blocks = true,
                "purge_lru" | "lru" => cache.when_full = WhenFull::Evict,
                "clear_on_full" => cache.when_full = WhenFull::Clear,
                "math_initial" => {
                    cache.initial_number = value
                        .parse()
                        .map_err(|_| "math_initial must be a whole number".to_owned())?;
                }
                // How uWSGI finds keys, when it removes expired ones, and what it writes into its log.
                "hash" | "hashsize" | "hash_size" | "lastmod" | "lazy" | "lazy_expire"
                | "sweep_on_full" | "no_expire" | "ignore_full" => {}
                "store" | "store_sync" | "storesync" | "store_delete" | "storedelete" => {
                    return Err(format!(
                        "{key}: the cache is in memory only, so leave this out; it lives as long as the server, also \
                         over reloads and upgrades"
                    ));
                }
                "node" | "nodes" | "sync" | "udp" | "udp_server" | "udp_servers" | "udpserver"
                | "udpservers" => {
                    return Err(format!(
                        "{key}: caches of several hosts are not synchronized; use Redis or Memcached for that"
                    ));
                }
                _ => {
                    return Err(format!(
                        "{key} is unknown; there are name, items, blocks, blocksize, keysize, bitmap, purge_lru, \
                         clear_on_full and math_initial"
                    ));
                }
            }
        }
        cache.name = name.ok_or("needs a name, as in name=pages,items=1000")?;
        cache.items = items.ok_or("needs the number of items, as in name=pages,items=1000")?;
        cache.blocks = blocks.unwrap_or(cache.items);
        if cache.blocks < cache.items {
            return Err(format!(
                "blocks must be at least items, which is {}",
                cache.items
            ));
        }
        if cache.bytes() > MOST_BYTES {
            return Err(
                "must not be larger than 64 GiB: items * keysize + blocks * blocksize".to_owned(),
            );
        }
        Ok(cache)
    }
}

fn number(key: &str, value: &str, most: u64) -> Result<u32, String> {
    let number = value
        .parse()
        .ok()
        .filter(|number| (1..=most).contains(number));
    number
        .and_then(|number: u64| u32::try_from(number).ok())
        .ok_or_else(|| format!("{key} must be a whole number from 1 to {most}"))
}

fn cache_name(name: &str) -> Result<String, String> {
    let is_plain = |character: char| !character.is_control() && !character.is_whitespace();
    match (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_plain) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "the name must have 1 to {LONGEST_NAME} characters and no spaces"
        )),
    }
}

/// In the notation of the setting.
impl fmt::Display for UwsgiCacheConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "name={},items={},blocks={},blocksize={},keysize={}",
            self.name, self.items, self.blocks, self.block_size, self.key_size
        )?;
        if self.spans_blocks {
            f.write_str(",bitmap=1")?;
        }
        match self.when_full {
            WhenFull::Refuse => {}
            WhenFull::Evict => f.write_str(",purge_lru=1")?,
            WhenFull::Clear => f.write_str(",clear_on_full=1")?,
        }
        match self.initial_number {
            0 => Ok(()),
            number => write!(f, ",math_initial={number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_written_as_in_uwsgi() {
        for (text, shown) in [
            (
                "name=a,items=10",
                "name=a,items=10,blocks=10,blocksize=65536,keysize=2048",
            ),
            (
                " name = a , maxitems = 10 ,blocks=20, blocksize=4096,bitmap=1,keysize=64",
                "name=a,items=10,blocks=20,blocksize=4096,keysize=64,bitmap=1",
            ),
            (
                "name=a,max_items=1,purge_lru=1,math_initial=-5,hashsize=8,hash=murmur2,lazy=1",
                "name=a,items=1,blocks=1,blocksize=65536,keysize=2048,purge_lru=1,math_initial=-5",
            ),
            (
                "name=a,items=1,clear_on_full=1,key_size=9",
                "name=a,items=1,blocks=1,blocksize=65536,keysize=9,clear_on_full=1",
            ),
        ] {
            let cache = UwsgiCacheConfig::parse(text).unwrap();
            assert_eq!(cache.to_string(), shown, "{text}");
            assert_eq!(UwsgiCacheConfig::parse(shown), Ok(cache), "{text}");
        }
    }

    #[test]
    fn a_wrong_definition_says_what_to_write() {
        for (text, part) in [
            ("", "needs a name"),
            ("items=1", "needs a name"),
            ("name=a", "needs the number of items"),
            ("name=,items=1", "the name must have"),
            ("name=a b,items=1", "the name must have"),
            ("name=a,items=0", "items must be a whole number from 1"),
            ("name=a,items=-1", "items must be"),
            ("name=a,items=10,blocks=9", "blocks must be at least items"),
            ("name=a,items=10,keysize=65536", "keysize must be"),
            ("name=a,items=10,size=9", "size is unknown"),
            ("name=a,items=10,store=/tmp/x", "in memory only"),
            ("name=a,items=10,udp=:5", "Redis or Memcached"),
            ("name=a,items=16777216,blocksize=65536", "64 GiB"),
            ("name=a,items=1,math_initial=x", "math_initial must be"),
        ] {
            let error = UwsgiCacheConfig::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
