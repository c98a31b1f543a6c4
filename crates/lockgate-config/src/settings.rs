//! The table of every setting: one value each, in the order of the reference.
//!
//! A new setting is a field of `Config` with its default, and one entry in the file of its section. There is no other
//! list of settings.

use crate::{Section, Setting};

mod access;
mod acme;
mod application;
mod cache;
mod compress;
mod deadlines;
mod fields;
mod http2;
mod https;
mod identity;
mod interpreter;
mod limits;
mod logging;
mod maintenance;
mod places;
mod process;
mod proxies;
mod push;
mod rate_limits;
mod redirects;
pub(crate) mod renewal;
mod responses;
mod route_rules;
mod route_tables;
mod routes;
mod sessions;
mod sockets;
mod static_files;
mod static_mounts;
mod statsd;
mod tables;
mod uwsgi;
mod workers;

/// Every setting, section by section.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    Section::ALL.into_iter().flat_map(in_section)
}

/// The settings of one section, in order.
pub(crate) fn in_section(section: Section) -> &'static [Setting] {
    match section {
        Section::Application => application::SETTINGS,
        Section::Sockets => sockets::SETTINGS,
        Section::Https => https::SETTINGS,
        Section::Acme => acme::SETTINGS,
        Section::Http2 => http2::SETTINGS,
        Section::Workers => workers::SETTINGS,
        Section::Renewal => renewal::SETTINGS,
        Section::Deadlines => deadlines::SETTINGS,
        Section::Limits => limits::SETTINGS,
        Section::Proxies => proxies::SETTINGS,
        Section::Responses => responses::SETTINGS,
        Section::Routes => routes::SETTINGS,
        Section::RateLimits => rate_limits::SETTINGS,
        Section::Access => access::SETTINGS,
        Section::Identity => identity::SETTINGS,
        Section::Sessions => sessions::SETTINGS,
        Section::StaticFiles => static_files::SETTINGS,
        Section::Compression => compress::SETTINGS,
        Section::Cache => cache::SETTINGS,
        Section::Push => push::SETTINGS,
        Section::Interpreter => interpreter::SETTINGS,
        Section::Logging => logging::SETTINGS,
        Section::Uwsgi => uwsgi::SETTINGS,
        Section::Statsd => statsd::SETTINGS,
        Section::Process => process::SETTINGS,
    }
}

/// The setting with this canonical name.
pub(crate) fn named(name: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::builder::ConfigBuilder;

    #[test]
    fn names_and_flags_are_unique_and_well_formed() {
        let mut names = BTreeSet::new();
        let mut spellings = BTreeSet::new();
        for setting in settings() {
            let is_snake = setting
                .name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            assert!(is_snake, "{}", setting.name);
            for name in setting
                .gunicorn
                .iter()
                .filter(|name| **name != setting.name)
                .chain([&setting.name])
            {
                assert!(names.insert(*name), "{name} means two settings");
            }
            for spelling in setting.spellings() {
                assert!(
                    spellings.insert(spelling.clone()),
                    "{spelling} means two settings"
                );
            }
        }
    }

    #[test]
    fn the_first_flag_is_the_canonical_name() {
        for setting in settings() {
            if let Some(flag) = setting.flags.first() {
                assert_eq!(flag.replace('-', "_"), setting.name);
            }
        }
    }

    #[test]
    fn every_setting_stands_in_its_own_section() {
        for section in Section::ALL {
            assert!(
                in_section(section)
                    .iter()
                    .all(|setting| setting.section == section),
                "{section:?}"
            );
        }
    }

    #[test]
    fn every_doc_is_a_paragraph_of_sentences() {
        for setting in settings() {
            assert!(setting.doc.ends_with('.'), "{}", setting.name);
            assert!(
                !setting.doc.contains('\n') && !setting.doc.contains("  "),
                "{}",
                setting.name
            );
            assert!(
                (10..=90).contains(&setting.summary().len()),
                "{}: {}",
                setting.name,
                setting.summary()
            );
            assert!(!setting.summary().ends_with('.'), "{}", setting.name);
        }
    }

    #[test]
    fn every_default_is_a_value_that_the_file_takes_and_means_itself() {
        for setting in settings().filter(|setting| setting.name != "app") {
            let text = format!("{} = {}", setting.name, setting.default_text());
            let (mut assignments, mistakes) = crate::file::read("x.toml".as_ref(), &text);
            assert_eq!(mistakes, [], "{text}");
            let assignment = assignments.remove(0);
            let mut builder = ConfigBuilder::new();
            setting.apply(&mut builder, &assignment.value).expect(&text);
            assert_eq!(builder.config, ConfigBuilder::new().config, "{text}");
            assert_eq!(builder.workers, ConfigBuilder::new().workers, "{text}");
        }
    }
}
