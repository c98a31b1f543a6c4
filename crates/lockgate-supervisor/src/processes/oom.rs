//! OOM kill detection: reads the kernel's counter for this process's control group after a worker was killed.

use std::fs;
use std::path::PathBuf;

/// The counter file and its last value.
#[derive(Debug)]
pub(crate) struct OomCounter {
    file: Option<PathBuf>,
    seen: u64,
}

impl OomCounter {
    /// Takes the first reading. Workers are in the control group that the supervisor is in at its start.
    pub(crate) fn new() -> Self {
        let file = fs::read_to_string("/proc/self/cgroup")
            .ok()
            .and_then(|groups| candidates(&groups).find(|file| read(file).is_some()));
        let seen = file.as_ref().and_then(read).unwrap_or(0);
        Self { file, seen }
    }

    /// Whether the kernel has killed a process for lack of memory since the last call; `None`: unknown.
    pub(crate) fn has_risen(&mut self) -> Option<bool> {
        let now = read(self.file.as_ref()?)?;
        let before = std::mem::replace(&mut self.seen, now);
        Some(now > before)
    }
}

/// Possible paths of `memory.events` (cgroup v2) and `memory.oom_control` (v1): a container often sees its own group as
/// the root.
fn candidates(groups: &str) -> impl Iterator<Item = PathBuf> {
    groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let places = match controllers {
            "" => Some(("/sys/fs/cgroup", "memory.events")),
            "memory" => Some(("/sys/fs/cgroup/memory", "memory.oom_control")),
            _ => None,
        };
        places.into_iter().flat_map(move |(root, name)| {
            [format!("{root}{path}/{name}"), format!("{root}/{name}")].map(PathBuf::from)
        })
    })
}

fn read(file: &PathBuf) -> Option<u64> {
    count(&fs::read_to_string(file).ok()?)
}

/// The number after `oom_kill`.
fn count(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_in_both_versions() {
        let paths = |groups: &str| -> Vec<String> {
            candidates(groups)
                .map(|path| path.display().to_string())
                .collect()
        };
        assert_eq!(
            paths("0::/system.slice/shop.service\n"),
            [
                "/sys/fs/cgroup/system.slice/shop.service/memory.events",
                "/sys/fs/cgroup/memory.events"
            ]
        );
        assert_eq!(
            paths("12:cpu,cpuacct:/a\n4:memory:/docker/x\n"),
            [
                "/sys/fs/cgroup/memory/docker/x/memory.oom_control",
                "/sys/fs/cgroup/memory/memory.oom_control"
            ]
        );
    }

    #[test]
    fn the_number_of_kills_is_read_and_a_rise_is_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.events");
        let say = |kills: u64| {
            fs::write(
                &file,
                format!("low 0\noom 3\noom_kill {kills}\noom_group_kill 0\n"),
            )
            .unwrap();
        };
        say(2);
        let mut counter = OomCounter {
            file: Some(file.clone()),
            seen: 2,
        };
        assert_eq!(counter.has_risen(), Some(false));
        say(3);
        assert_eq!(counter.has_risen(), Some(true));
        assert_eq!(counter.has_risen(), Some(false));
        fs::remove_file(&file).unwrap();
        assert_eq!(counter.has_risen(), None);
        assert_eq!(count("under_oom 0\n"), None);
    }
}
