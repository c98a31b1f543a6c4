//! Changelog releases: folds the fragments of `changes/` into the changelog, as text.
//!
//! Invariant: older releases stay byte for byte as they are.

use std::fmt;

/// The kind of a change for the person upgrading; in the order of a release's sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something new.
    Added,
    /// Something behaves differently.
    Changed,
    /// Something works now.
    Fixed,
    /// Something is safe now.
    Security,
    /// Something is faster or smaller now.
    Performance,
}

/// One user-visible change: one sentence in `changes/<slug>.<kind>.md`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fragment {
    kind: Kind,
    slug: String,
    sentence: String,
}

/// What is wrong with a fragment or with the request to fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadChange {
    /// The file's name is not `<slug>.<kind>.md`.
    Name,
    /// The file does not hold exactly one sentence.
    NotOneSentence,
    /// There are no fragments.
    NoFragments,
    /// The version is not `major.minor.patch` with an optional suffix.
    Version,
    /// The changelog has this version already.
    VersionIsTaken,
}

impl fmt::Display for BadChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => {
                "name it <slug>.<added|changed|fixed|security|performance>.md, the slug in lower case with hyphens"
            }
            Self::NotOneSentence => {
                "write exactly one sentence for the person upgrading, with a full stop"
            }
            Self::NoFragments => "changes/ holds no fragment, so there is nothing to release",
            Self::Version => "a version looks like 1.2.3 or 1.2.3rc1",
            Self::VersionIsTaken => "the changelog has this version already",
        })
    }
}

impl std::error::Error for BadChange {}

impl Fragment {
    /// Reads a fragment from the name of its file (without folders) and its text.
    ///
    /// # Errors
    /// [`BadChange::Name`] or [`BadChange::NotOneSentence`].
    pub fn read(name: &str, text: &str) -> Result<Self, BadChange> {
        let stem = name.strip_suffix(".md").ok_or(BadChange::Name)?;
        let (slug, kind) = stem.split_once('.').ok_or(BadChange::Name)?;
        let kind = Kind::from_name(kind).ok_or(BadChange::Name)?;
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if slug.is_empty() || !slug.bytes().all(is_plain) {
            return Err(BadChange::Name);
        }
        let sentence = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !is_one_sentence(&sentence) {
            return Err(BadChange::NotOneSentence);
        }
        Ok(Self {
            kind,
            slug: slug.to_owned(),
            sentence,
        })
    }
}

/// Returns the changelog with a section for `version` above the older ones.
///
/// # Errors
///
/// [`BadChange`] if there are no fragments or the version cannot be used.
pub fn fold(
    changelog: &str,
    version: &str,
    mut fragments: Vec<Fragment>,
) -> Result<String, BadChange> {
    if !is_version(version) {
        return Err(BadChange::Version);
    }
    if fragments.is_empty() {
        return Err(BadChange::NoFragments);
    }
    let heading = format!("## {version}");
    if changelog.lines().any(|line| line.trim_end() == heading) {
        return Err(BadChange::VersionIsTaken);
    }
    fragments.sort();
    let mut section = format!("{heading}\n");
    let mut last = None;
    for fragment in &fragments {
        if last != Some(fragment.kind) {
            section.push_str(&format!("\n### {}\n\n", fragment.kind.heading()));
            last = Some(fragment.kind);
        }
        section.push_str(&format!("- {}\n", fragment.sentence));
    }
    let (preface, older) = match changelog.find("\n## ") {
        Some(place) => (&changelog[..place], &changelog[place + 1..]),
        None => (changelog, ""),
    };
    let gap = if older.is_empty() { "" } else { "\n" };
    Ok(format!("{}\n\n{section}{gap}{older}", preface.trim_end()))
}

impl Kind {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "added" => Self::Added,
            "changed" => Self::Changed,
            "fixed" => Self::Fixed,
            "security" => Self::Security,
            "performance" => Self::Performance,
            _ => return None,
        })
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Added => "Added",
            Self::Changed => "Changed",
            Self::Fixed => "Fixed",
            Self::Security => "Security",
            Self::Performance => "Performance",
        }
    }
}

/// One full stop at the end, and none before it that is followed by a capital.
fn is_one_sentence(text: &str) -> bool {
    let Some(inside) = text.strip_suffix('.') else {
        return false;
    };
    let is_heading_or_list = text.starts_with(['#', '-', '*']);
    let goes_on = [". ", "? ", "! "].iter().any(|end| {
        inside
            .split(end)
            .skip(1)
            .any(|next| next.chars().next().is_none_or(char::is_uppercase))
    });
    !inside.is_empty() && !is_heading_or_list && !goes_on
}

fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts[..], [major, minor, patch]
        if is_number(major) && is_number(minor)
            && patch.starts_with(|first: char| first.is_ascii_digit())
            && patch.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(name: &str, text: &str) -> Fragment {
        Fragment::read(name, text).unwrap()
    }

    #[test]
    fn a_fragment_is_one_sentence_in_a_file_that_tells_its_kind() {
        let table: &[(&str, &str, Result<&str, BadChange>)] = &[
            (
                "a.added.md",
                "It can do this now.\n",
                Ok("It can do this now."),
            ),
            (
                "i42-x.fixed.md",
                "Split over\ntwo lines.",
                Ok("Split over two lines."),
            ),
            (
                "a.changed.md",
                "Version 1.2 reads `a. b` now.",
                Ok("Version 1.2 reads `a. b` now."),
            ),
            ("a.added.md", "No full stop", Err(BadChange::NotOneSentence)),
            ("a.added.md", "One. Two.", Err(BadChange::NotOneSentence)),
            ("a.added.md", "Really? Yes.", Err(BadChange::NotOneSentence)),
            ("a.added.md", "# Heading.", Err(BadChange::NotOneSentence)),
            ("a.added.md", "- List.", Err(BadChange::NotOneSentence)),
            ("a.added.md", "", Err(BadChange::NotOneSentence)),
            ("a.added.md", ".", Err(BadChange::NotOneSentence)),
            ("a.new.md", "It is.", Err(BadChange::Name)),
            ("a.md", "It is.", Err(BadChange::Name)),
            (".added.md", "It is.", Err(BadChange::Name)),
            ("A b.added.md", "It is.", Err(BadChange::Name)),
            ("a.added.txt", "It is.", Err(BadChange::Name)),
        ];
        for (name, text, expected) in table {
            let read = Fragment::read(name, text).map(|fragment| fragment.sentence);
            assert_eq!(read, expected.map(str::to_owned), "for {name}: {text}");
        }
    }

    #[test]
    fn a_release_is_put_above_the_older_ones_by_kind_and_slug() {
        let fragments = vec![
            fragment("z.fixed.md", "Z."),
            fragment("b.added.md", "B."),
            fragment("a.added.md", "A."),
        ];
        let section = "## 0.2.0\n\n### Added\n\n- A.\n- B.\n\n### Fixed\n\n- Z.\n";
        let table = [
            (
                "# Changelog\n\nText.\n".to_owned(),
                format!("# Changelog\n\nText.\n\n{section}"),
            ),
            (
                "# Changelog\n\nText.\n\n## 0.1.0\n\n- Old.\n".to_owned(),
                format!("# Changelog\n\nText.\n\n{section}\n## 0.1.0\n\n- Old.\n"),
            ),
        ];
        for (before, after) in table {
            assert_eq!(fold(&before, "0.2.0", fragments.clone()), Ok(after));
        }
    }

    #[test]
    fn a_release_needs_a_new_version_and_something_to_tell() {
        let one = || vec![fragment("a.added.md", "A.")];
        let table: &[(&str, Vec<Fragment>, BadChange)] = &[
            ("0.1.0", one(), BadChange::VersionIsTaken),
            ("0.2.0", Vec::new(), BadChange::NoFragments),
            ("", one(), BadChange::Version),
            ("1", one(), BadChange::Version),
            ("v1.2.3", one(), BadChange::Version),
            ("1.2.x", one(), BadChange::Version),
            ("1.2.3.4", one(), BadChange::Version),
        ];
        for (version, fragments, expected) in table {
            let folded = fold("# Changelog\n\n## 0.1.0\n", version, fragments.clone());
            assert_eq!(folded, Err(*expected), "for {version}");
        }
        assert!(fold("", "1.2.3rc1", one()).is_ok());
    }
}
