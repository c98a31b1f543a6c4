//! The handover of a running server to the next program in the same process (an upgrade).

pub(crate) mod inherited_state;
pub(crate) mod memories;
pub(crate) mod payload;

/// The environment variable for a handover: a descriptor number, or `try` and the format version.
pub const HANDOVER: &str = "LOCKGATE_HANDOVER";

/// The prefix before the format version when the program is only asked whether it could take over.
pub(crate) const TRIAL_PREFIX: &str = "try ";

/// Whether the variable only asks if this program could take over, and the answer: yes, or the reason why not, for the
/// operator.
pub fn check_handover(variable: &str) -> Option<Result<(), String>> {
    let theirs = variable.strip_prefix(TRIAL_PREFIX)?;
    Some(payload::check_format(theirs).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_answers_whether_it_could_take_over() {
        assert_eq!(check_handover("17"), None);
        let same = format!("{TRIAL_PREFIX}{}", payload::format_line());
        assert_eq!(check_handover(&same), Some(Ok(())));
        let refusal = check_handover("try lockgate 99 1").unwrap().unwrap_err();
        assert!(refusal.contains("restart the server instead"), "{refusal}");
    }
}
