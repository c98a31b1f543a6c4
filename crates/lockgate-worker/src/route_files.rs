//! The files that routes name, read for a check of the configuration.

use std::io;

use lockgate_config::RoutesConfig;
use lockgate_routes::Routes;

use crate::{admission, users};

/// Reads the files of users and the error pages. One that this user may not read is left to the workers.
///
/// # Errors
/// Each file that cannot be used, as a text for the operator.
pub fn check_route_files(config: &RoutesConfig) -> Result<(), Vec<String>> {
    let mut errors = Vec::new();
    // Routes inherit rules, so a file may be that of several.
    for rules in Routes::new(config).all() {
        let users = rules.basic_auth.as_ref().map_or(Ok(()), users::check);
        let pages = admission::check_pages(rules);
        for error in [users, pages].into_iter().filter_map(Result::err) {
            let text = error.to_string();
            if error.kind() != io::ErrorKind::PermissionDenied && !errors.contains(&text) {
                errors.push(text);
            }
        }
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(errors),
    }
}
