//! Host facts for `workers = auto`: processors, memory, and the limits of the control group. A value that cannot be
//! read counts as no limit.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use lockgate_config::Host;

use crate::interpreter;

/// Where control groups are mounted (cgroups(7)).
const CGROUPS: &str = "/sys/fs/cgroup";

/// Assumed when the system does not report its memory.
const UNKNOWN_MEMORY: u64 = 1 << 40;

/// Processors and memory of this machine or container.
pub(crate) fn facts() -> Host {
    let groups = fs::read_to_string("/proc/self/cgroup")
        .map_or_else(|_| Vec::new(), |text| group_paths(&text));
    let limits: Vec<_> = groups
        .iter()
        .flat_map(|path| path.ancestors().map(Path::to_owned))
        .collect();
    Host {
        affinity: affinity(),
        cpu_quota: limits
            .iter()
            .filter_map(|group| cpu_quota(group))
            .reduce(f64::min),
        memory_limit: limits.iter().filter_map(|group| memory_limit(group)).min(),
        memory_total: memory_total().unwrap_or(UNKNOWN_MEMORY),
        gil: interpreter::gil(),
        measures_memory: cfg!(target_os = "linux"),
    }
}

/// Processors in the scheduler's affinity mask; the CPU quota is a separate fact.
fn affinity() -> usize {
    #[cfg(target_os = "linux")]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        return set.count() as usize;
    }
    thread::available_parallelism().map_or(1, usize::from)
}

/// The process's control groups as directories: one for version 2, one for each relevant controller of version 1. In a
/// container the group is often mounted as the root, so each chain of ancestors ends with the root.
fn group_paths(text: &str) -> Vec<PathBuf> {
    let root = Path::new(CGROUPS);
    let mut paths = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            paths.push(root.join(path));
        } else if let Some(name) = controllers
            .split(',')
            .find(|name| ["cpu", "memory"].contains(name))
        {
            paths.push(root.join(name).join(path));
        }
    }
    paths
}

fn cpu_quota(group: &Path) -> Option<f64> {
    if let Ok(text) = fs::read_to_string(group.join("cpu.max")) {
        return parse_cpu_max(&text);
    }
    let quota: f64 = number(&group.join("cpu.cfs_quota_us"))?;
    let period: f64 = number(&group.join("cpu.cfs_period_us"))?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// `max 100000`: no quota; `150000 100000`: one and a half processors.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    let period: f64 = words.next()?.parse().ok()?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn memory_limit(group: &Path) -> Option<u64> {
    let limit = number(&group.join("memory.max"))
        .or_else(|| number(&group.join("memory.limit_in_bytes")))?;
    // Version 1 writes "no limit" as the largest multiple of a page.
    (limit < i64::MAX as u64 - (1 << 20)).then_some(limit)
}

fn number<T: std::str::FromStr>(file: &Path) -> Option<T> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn memory_total() -> Option<u64> {
    parse_memory_total(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// Bytes, from the line `MemTotal:  16384000 kB`.
fn parse_memory_total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_number_of_processors() {
        let cases = [
            ("max 100000\n", None),
            ("150000 100000\n", Some(1.5)),
            ("", None),
            ("0 100000", None),
            ("x y", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_cpu_max(text), expected, "{text:?}");
        }
    }

    #[test]
    fn groups_of_both_versions_are_found() {
        let text =
            "12:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n3:devices:/x\n0::/user.slice/a b\n";
        let expected = [
            "/sys/fs/cgroup/cpu/docker/abc",
            "/sys/fs/cgroup/memory/docker/abc",
            "/sys/fs/cgroup/user.slice/a b",
        ];
        assert_eq!(group_paths(text), expected.map(PathBuf::from));
        assert_eq!(group_paths("nonsense\n"), Vec::<PathBuf>::new());
    }

    #[test]
    fn memory_is_parsed_from_kibibytes() {
        assert_eq!(
            parse_memory_total("MemFree: 1 kB\nMemTotal:    16384 kB\n"),
            Some(16 << 20)
        );
        assert_eq!(parse_memory_total("MemFree: 1 kB\n"), None);
    }
}
