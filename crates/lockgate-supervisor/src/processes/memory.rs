//! The memory of a process, as the kernel reports it in `/proc` (proc(5)).

use std::fs;
use std::io;

use lockgate_observe::Memory;

/// Address space and resident set size, with shared pages counted in full; zero when unknown.
pub fn process_memory(pid: u64) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut bytes = text
        .split_whitespace()
        .map(|pages| pages.parse().unwrap_or(0) * rustix::param::page_size() as u64);
    Memory {
        address_space: bytes.next().unwrap_or(0),
        resident: bytes.next().unwrap_or(0),
    }
}

/// Proportional set size in bytes: of each shared page, the process's share.
pub(crate) fn proportional_memory(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    parse_proportional(&text).ok_or_else(|| io::Error::other("no line Pss"))
}

/// Bytes, from the line `Pss:  419051 kB`.
fn parse_proportional(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_of_a_process_is_read_and_of_a_missing_process_is_zero() {
        assert!(process_memory(std::process::id().into()).resident > 100_000);
        assert_eq!(process_memory(u64::MAX).resident, 0);
        assert!(proportional_memory(std::process::id()).unwrap() > 10_000);
        assert!(proportional_memory(u32::MAX).is_err());
    }

    #[test]
    fn the_line_pss_is_parsed_and_its_parts_are_not() {
        let text = "5-7 ---p 0 00:00 0 [rollup]\nRss:  9 kB\nPss:    419 kB\nPss_Dirty:  7 kB\n";
        assert_eq!(parse_proportional(text), Some(419 * 1024));
        assert_eq!(parse_proportional("Pss_Dirty: 7 kB\n"), None);
    }
}
