//! Man pages and completions of the command line, from the settings and from the parsers of the commands.

mod bash;
mod fish;
pub mod model;
mod pages;
mod roff;
mod zsh;

use model::BadDescription;

/// Where the generated files are: the wheel has them in the package, and links to them where shells and man look.
pub const FOLDER: &str = "python/lockgate/manual";

/// What maturin installs below the prefix: links to the files in [`FOLDER`].
pub const PREFIX: &str = "contrib/wheel/data";

/// Every generated file, by its name in [`FOLDER`]. `description` is what `xtask/describe_commands.py` prints.
///
/// # Errors
///
/// The description cannot be used.
pub fn files(description: &str) -> Result<Vec<(String, String)>, BadDescription> {
    let root = model::command_line(description)?;
    let mut files = vec![
        ("lockgate.bash".to_owned(), bash::script(&root)),
        ("_lockgate".to_owned(), zsh::script(&root)),
        ("lockgate.fish".to_owned(), fish::script(&root)),
    ];
    files.extend(pages::pages(&root));
    Ok(files)
}

/// Where the wheel has a file for shells and man, below its prefix.
pub fn place(name: &str) -> String {
    match name {
        "lockgate.bash" => "share/bash-completion/completions/lockgate".to_owned(),
        "_lockgate" => "share/zsh/site-functions/_lockgate".to_owned(),
        "lockgate.fish" => "share/fish/vendor_completions.d/lockgate.fish".to_owned(),
        page => format!(
            "share/man/man{}/{page}",
            page.rsplit('.').next().unwrap_or_default()
        ),
    }
}
