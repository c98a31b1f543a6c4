//! The modules of a crate and which module uses which, read from the source.
//!
//! A module is a file. Test code does not count, and neither does a re-export by itself: a path through it leads to the
//! module that defines the name.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

/// The modules of one crate; an edge leads from a module to one that it uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleGraph {
    /// Their paths: `crate` for the root, else such as `tidy::cycles`.
    pub modules: Vec<String>,
    /// For each module the indices of those that it uses, without itself.
    pub uses: Vec<BTreeSet<usize>>,
}

/// Paths longer than this do not occur; a re-export that leads to itself would be.
const LONGEST_CHAIN: usize = 16;

struct Source {
    /// Segments from the root.
    path: Vec<String>,
    /// What each imported or re-exported name stands for.
    imports: BTreeMap<String, Vec<String>>,
    /// Names that are re-exported, and may be used beside that.
    exports: BTreeSet<String>,
    /// Paths in the code and in imports that are not re-exports.
    mentions: Vec<Vec<String>>,
    /// Every identifier in the code.
    words: BTreeSet<String>,
}

impl ModuleGraph {
    /// Reads the files of a crate: paths that contain `src/`, and their texts.
    ///
    /// # Errors
    ///
    /// A file that is not Rust.
    pub fn of_crate(files: &[(String, String)]) -> syn::Result<Self> {
        let has_library = files.iter().any(|(path, _)| path.ends_with("src/lib.rs"));
        let mut sources = Vec::new();
        let mut test_modules = BTreeSet::new();
        for (path, text) in files {
            let Some(path) = module_path(path, has_library) else {
                continue;
            };
            let file = syn::parse_file(text)?;
            if is_test(&file.attrs) {
                test_modules.insert(path);
                continue;
            }
            for item in &file.items {
                if let Item::Mod(module) = item
                    && is_test(&module.attrs)
                {
                    test_modules.insert([path.clone(), vec![module.ident.to_string()]].concat());
                }
            }
            sources.push(Source::read(path, &file.items));
        }
        sources.retain(|source| {
            !test_modules
                .iter()
                .any(|test| source.path.starts_with(test))
        });
        let modules = sources.iter().map(Source::name).collect();
        let uses = (0..sources.len())
            .map(|index| uses_of(&sources, index))
            .collect();
        Ok(Self { modules, uses })
    }
}

impl Source {
    fn read(path: Vec<String>, items: &[Item]) -> Self {
        let mut source = Self {
            path,
            imports: BTreeMap::new(),
            exports: BTreeSet::new(),
            mentions: Vec::new(),
            words: BTreeSet::new(),
        };
        for item in items.iter().filter(|item| !is_test(attributes(item))) {
            match item {
                Item::Use(item) => source.import(item),
                Item::Mod(module) if module.content.is_none() => {}
                _ => source.scan(item.to_token_stream()),
            }
        }
        source
    }

    fn name(&self) -> String {
        if self.path.is_empty() {
            "crate".to_owned()
        } else {
            self.path.join("::")
        }
    }

    fn import(&mut self, item: &ItemUse) {
        let mut names = Vec::new();
        leaves(&item.tree, &mut Vec::new(), &mut names);
        let is_private = matches!(item.vis, Visibility::Inherited);
        for (name, path) in names {
            if is_private {
                self.mentions.push(path.clone());
            } else {
                self.exports.insert(name.clone());
            }
            self.imports.insert(name, path);
        }
    }

    fn scan(&mut self, stream: TokenStream) {
        let mut tokens = stream.into_iter().peekable();
        let mut follows_path = false;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(first) if !follows_path => {
                    let mut path = vec![first.to_string()];
                    self.words.insert(first.to_string());
                    while is_separator(tokens.peek()) {
                        tokens.next();
                        tokens.next();
                        match tokens.peek() {
                            Some(TokenTree::Ident(next)) => {
                                path.push(next.to_string());
                                self.words.insert(next.to_string());
                                tokens.next();
                            }
                            Some(TokenTree::Group(group))
                                if group.delimiter() == Delimiter::Brace =>
                            {
                                self.branches(&path, group.stream());
                                break;
                            }
                            _ => break,
                        }
                    }
                    if path.len() > 1 {
                        self.mentions.push(path);
                    }
                }
                TokenTree::Punct(punct) => {
                    follows_path = punct.as_char() == '.';
                    continue;
                }
                _ => {}
            }
            follows_path = false;
        }
    }

    /// `crate::a::{b, c::d}` in an import inside a function.
    fn branches(&mut self, prefix: &[String], stream: TokenStream) {
        let mut branch = Vec::new();
        for token in stream {
            match token {
                TokenTree::Ident(word) => branch.push(word.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == ',' => {
                    self.mentions.push([prefix, &branch].concat());
                    branch.clear();
                }
                TokenTree::Group(group) => {
                    let inner = [prefix, &branch].concat();
                    self.branches(&inner, group.stream());
                    branch.clear();
                }
                _ => {}
            }
        }
        if !branch.is_empty() {
            self.mentions.push([prefix, &branch].concat());
        }
    }
}

fn uses_of(sources: &[Source], index: usize) -> BTreeSet<usize> {
    let source = &sources[index];
    let re_exports = (source.exports.iter())
        .filter(|name| source.words.contains(*name))
        .filter_map(|name| source.imports.get(name));
    (source.mentions.iter().chain(re_exports))
        .filter_map(|path| resolve(sources, index, path, 0))
        .filter(|target| *target != index)
        .collect()
}

/// The module that defines what a path leads to; `None` outside the crate.
fn resolve(sources: &[Source], from: usize, path: &[String], depth: usize) -> Option<usize> {
    let find = |path: &[String]| sources.iter().position(|source| source.path == path);
    let mut at = sources[from].path.clone();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            at.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|segment| segment == "super") {
                at.pop()?;
                rest = &rest[1..];
            }
        }
        first => {
            let child = [at.clone(), vec![first.to_owned()]].concat();
            find(&child)?;
        }
    }
    for (index, segment) in rest.iter().enumerate() {
        let child = [at.clone(), vec![segment.clone()]].concat();
        if find(&child).is_some() {
            at = child;
            continue;
        }
        let module = find(&at)?;
        let Some(target) = sources[module].imports.get(segment) else {
            return Some(module);
        };
        if depth > LONGEST_CHAIN || target == path {
            return Some(module);
        }
        let whole = [target, &rest[index + 1..]].concat();
        // A name from another crate is not a use of the module that imports it, but the path is.
        return Some(resolve(sources, module, &whole, depth + 1).unwrap_or(module));
    }
    find(&at)
}

/// Segments of the module that a file is; `None` for a program beside a library.
fn module_path(path: &str, has_library: bool) -> Option<Vec<String>> {
    let inside = path.rsplit_once("src/").map_or(path, |(_, inside)| inside);
    let stem = inside.strip_suffix(".rs")?;
    if stem == "main" && has_library || stem.starts_with("bin/") {
        return None;
    }
    let mut segments: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if segments.last().is_some_and(|last| last == "mod") || ["lib", "main"].contains(&stem) {
        segments.pop();
    }
    Some(segments)
}

fn is_separator(token: Option<&TokenTree>) -> bool {
    // The second colon follows the first without a gap in anything but `a: ::b`, which has a space.
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':' && punct.spacing() == proc_macro2::Spacing::Joint)
}

/// Each name that a `use` brings in, and its whole path.
fn leaves(tree: &UseTree, prefix: &mut Vec<String>, names: &mut Vec<(String, Vec<String>)>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            leaves(&path.tree, prefix, names);
            prefix.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            names.push((prefix.last().cloned().unwrap_or_default(), prefix.clone()));
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            names.push((name.clone(), [&prefix[..], &[name]].concat()));
        }
        UseTree::Rename(rename) => {
            let mut path = prefix.clone();
            if rename.ident != "self" {
                path.push(rename.ident.to_string());
            }
            names.push((rename.rename.to_string(), path));
        }
        UseTree::Glob(_) => names.push(("*".to_owned(), prefix.clone())),
        UseTree::Group(group) => {
            for tree in &group.items {
                leaves(tree, prefix, names);
            }
        }
    }
}

/// Whether an item is compiled for tests only.
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = attribute
            .meta
            .to_token_stream()
            .to_string()
            .replace(' ', "");
        text.starts_with("cfg(test)") || text.starts_with("cfg(all(test,")
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &[(&str, &[&str])]) {
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (format!("crates/a/src/{path}"), (*text).to_owned()))
            .collect();
        let graph = ModuleGraph::of_crate(&files).unwrap();
        let found: Vec<(&str, Vec<&str>)> = (graph.modules.iter().zip(&graph.uses))
            .map(|(name, uses)| {
                let uses = uses.iter().map(|index| graph.modules[*index].as_str());
                (name.as_str(), uses.collect())
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, uses)| (*name, uses.to_vec()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_path_through_a_re_export_leads_to_the_module_that_defines_the_name() {
        check(
            &[
                ("lib.rs", "mod a; mod b; pub use a::A; mod c;"),
                ("a.rs", "pub struct A;"),
                ("b.rs", "use crate::A; mod d;"),
                ("b/d.rs", "use super::A; use crate::c::{self, C};"),
                ("c.rs", "pub struct C;"),
            ],
            &[
                ("crate", &[]),
                ("a", &[]),
                ("b", &["a"]),
                ("b::d", &["a", "c"]),
                ("c", &[]),
            ],
        );
    }

    #[test]
    fn paths_in_code_macros_and_functions_count() {
        check(
            &[
                ("lib.rs", "fn f() { a::g(); }"),
                ("a.rs", "fn g() { println!(\"{}\", crate::b::h()); }"),
                (
                    "b.rs",
                    "fn h() { use crate::{c::d, e::E}; x.crate_a(); std::mem::take(&mut y) }",
                ),
                (
                    "c.rs",
                    "pub fn d(x: super::e::E) -> crate::a::T { todo!() }",
                ),
                ("e.rs", "pub struct E;"),
            ],
            &[
                ("crate", &["a"]),
                ("a", &["b"]),
                ("b", &["c", "e"]),
                ("c", &["a", "e"]),
                ("e", &[]),
            ],
        );
    }

    #[test]
    fn a_re_export_is_a_use_only_where_the_module_uses_the_name_itself() {
        check(
            &[
                (
                    "lib.rs",
                    "mod a; mod b; pub use a::A; pub use b::B; fn f(b: B) {}",
                ),
                ("a.rs", "use crate::X;"),
                ("b.rs", "pub struct B;"),
            ],
            &[("crate", &["b"]), ("a", &["crate"]), ("b", &[])],
        );
    }

    #[test]
    fn test_code_documentation_and_other_crates_do_not_count() {
        check(
            &[
                ("lib.rs", "#[cfg(test)] mod t; mod a; mod b;"),
                ("t.rs", "use crate::a::A;"),
                (
                    "a.rs",
                    "//! See [`crate::b`].\nuse std::b; #[cfg(test)] use crate::b::B;\n#[cfg(test)] mod tests { use crate::b; }",
                ),
                (
                    "b.rs",
                    "#[cfg(all(test, not(loom)))] mod tests { use crate::a; }",
                ),
                ("c.rs", "#![cfg(test)] use crate::a;"),
                ("main.rs", "use crate::a;"),
            ],
            &[("crate", &[]), ("a", &[]), ("b", &[])],
        );
    }
}
