//! Reports of workers (`lockgate.reloading`): lines in chunks that the pipe keeps together.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What a process reports.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Report {
    /// It begins to load the application.
    Begun(SystemTime),
    /// It has loaded the application.
    Loaded,
    /// It could not load the application.
    Failed,
    /// A file that it has loaded.
    File {
        path: PathBuf,
        /// Part of the application, and not of the interpreter or an installed package.
        is_own: bool,
    },
    /// The import of a module begins, and has found that its file was written at this time.
    Imported {
        path: PathBuf,
        /// Seconds since 1970.
        written: f64,
    },
    /// A directory in which the modules of the application are looked for.
    Directory(PathBuf),
}

/// Cuts the bytes of the pipe into reports. A line that is not understood is skipped: it is from another version of the
/// server, before an upgrade.
#[derive(Debug, Default)]
pub(crate) struct ReportDecoder {
    /// An incomplete line.
    rest: Vec<u8>,
    /// The process that sent the present chunk.
    pid: u32,
}

impl ReportDecoder {
    /// The reports in these bytes, each with the process that sent it.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Vec<(u32, Report)> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return Vec::new();
        };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        let lines = lines.split(|&byte| byte == b'\n');
        lines.filter_map(|line| self.line(line)).collect()
    }

    fn line(&mut self, line: &[u8]) -> Option<(u32, Report)> {
        let (&kind, argument) = line.split_first()?;
        let path_of = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        let path = || path_of(argument);
        let report = match kind {
            b'P' => {
                self.pid = std::str::from_utf8(argument).ok()?.parse().ok()?;
                return None;
            }
            b'B' => {
                let seconds: f64 = std::str::from_utf8(argument).ok()?.parse().ok()?;
                let since = Duration::try_from_secs_f64(seconds).ok()?;
                Report::Begun(SystemTime::UNIX_EPOCH.checked_add(since)?)
            }
            b'E' => Report::Loaded,
            b'X' => Report::Failed,
            b'F' | b'f' => Report::File {
                path: path(),
                is_own: kind == b'F',
            },
            b'M' => {
                let space = argument.iter().position(|&byte| byte == b' ')?;
                let (time, path) = argument.split_at(space);
                Report::Imported {
                    path: path_of(path.get(1..)?),
                    written: std::str::from_utf8(time).ok()?.parse().ok()?,
                }
            }
            b'D' => Report::Directory(path()),
            _ => return None,
        };
        Some((self.pid, report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_reports_of_the_process_that_the_chunk_names() {
        let file = |path: &str, is_own| Report::File {
            path: PathBuf::from(path),
            is_own,
        };
        let begun = |millis| Report::Begun(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        let imported = Report::Imported {
            path: PathBuf::from("/a b.py"),
            written: 1.5,
        };
        let whole = b"P7\nB1.5\nF/a/b c.py\nf/usr/os.py\nD/a\nE\nP8\nM1.5 /a b.py\nX\n?\nBx\nB-1\nM2.5\nMx /a\n\nPx\n";
        let expected = [
            (7, begun(1500)),
            (7, file("/a/b c.py", true)),
            (7, file("/usr/os.py", false)),
            (7, Report::Directory(PathBuf::from("/a"))),
            (7, Report::Loaded),
            (8, imported),
            (8, Report::Failed),
        ];
        for cut in 0..whole.len() {
            let mut decoder = ReportDecoder::default();
            let (first, second) = whole.split_at(cut);
            let mut reports = decoder.receive(first);
            reports.extend(decoder.receive(second));
            assert_eq!(reports, expected, "cut at {cut}");
        }
    }
}
