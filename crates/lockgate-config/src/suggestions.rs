//! Suggestions for misspelled names.

use strsim::osa_distance;

/// The candidate that is most similar to `wrong`: the same except for case and separators, else the one that
/// begins with it and with which all others that do so begin, else the one with the fewest typing errors, if they are few. Each candidate is a name and an answer.
pub(crate) fn suggest<'a>(wrong: &str, candidates: &'a [(String, String)]) -> Option<&'a str> {
    let wrong = folded(wrong);
    if wrong.is_empty() {
        return None;
    }
    let folded_names = || {
        candidates
            .iter()
            .map(|(name, answer)| (folded(name), answer.as_str()))
    };
    if let Some((_, answer)) = folded_names().find(|(name, _)| *name == wrong) {
        return Some(answer);
    }
    if wrong.len() >= 3 {
        let mut longer: Vec<(String, &str)> = folded_names()
            .filter(|(name, _)| name.starts_with(&wrong))
            .collect();
        longer.sort_unstable();
        // Of `max-requests` and `max-requests-jitter`, the first.
        if let Some((shortest, answer)) = longer.first()
            && longer
                .iter()
                .all(|(name, other)| name.starts_with(shortest) || other == answer)
        {
            return Some(answer);
        }
    }
    // One error in a short name, a third of a long one: `--port` must not suggest `--user-port`.
    let most = (wrong.chars().count() / 3).max(1);
    folded_names()
        .map(|(name, answer)| (osa_distance(&wrong, &name), answer))
        .filter(|(errors, _)| *errors <= most)
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, answer)| answer)
}

fn folded(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '-' | '_' | ' ' | '.'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_finds_the_one_it_was_meant_to_be() {
        let names = [
            "workers",
            "worker_connections",
            "keep_alive",
            "keepalive",
            "timeout",
            "bind",
            "graceful_timeout",
        ];
        let candidates: Vec<_> = names
            .iter()
            .map(|name| ((*name).to_owned(), (*name).to_owned()))
            .collect();
        let cases = [
            ("Workers", Some("workers")),
            ("wrokers", Some("workers")),
            ("worker-connections", Some("worker_connections")),
            ("grace", Some("graceful_timeout")),
            ("timeuot", Some("timeout")),
            ("time", Some("timeout")),
            ("bnid", Some("bind")),
            ("work", None),
            ("colour", None),
            ("x", None),
            ("", None),
            ("--", None),
        ];
        for (wrong, expected) in cases {
            assert_eq!(suggest(wrong, &candidates), expected, "{wrong}");
        }
    }
}
