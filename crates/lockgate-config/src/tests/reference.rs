//! Tests that the reference page agrees with the table.

use crate::{gunicorn_page, reference_page, settings};

#[test]
fn the_committed_page_is_fresh() {
    let committed = include_str!("../../../../docs/reference/settings.md");
    assert!(
        committed == reference_page(),
        "docs/reference/settings.md is not what the settings say; run `make docs` and commit the page"
    );
}

#[test]
fn the_committed_page_of_gunicorns_settings_is_fresh() {
    let committed = include_str!("../../../../docs/reference/gunicorn.md");
    assert!(
        committed == gunicorn_page(),
        "docs/reference/gunicorn.md is not what the settings say; run `make docs` and commit the page"
    );
}

#[test]
fn the_page_speaks_of_every_setting_under_all_its_names() {
    let page = reference_page();
    for setting in settings() {
        assert!(page.contains(&format!("\n### `{}`\n", setting.name)));
        let flags = setting.spellings();
        let names = flags
            .iter()
            .map(String::as_str)
            .chain(setting.gunicorn.iter().copied());
        let variable = setting.variable();
        for name in names.chain(variable.as_deref()) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}
