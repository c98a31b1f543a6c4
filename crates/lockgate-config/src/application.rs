//! The application to serve, parsed from text and written back.
//!
//! The arguments of a factory stay text: they are Python, and only Python evaluates them.

use std::fmt;
use std::path::PathBuf;

/// The application to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppSpec {
    /// A module that Python finds on `sys.path`.
    Module {
        /// Its dotted name.
        module: String,
        /// The attribute to take from it; `None`: the loader tries the usual names.
        attribute: Option<Attribute>,
    },
    /// An application of a configuration file for PasteDeploy.
    Paste {
        /// The file.
        file: PathBuf,
        /// The application in it; `None`: `main`.
        name: Option<String>,
    },
    /// A Python file.
    File {
        /// Its path, ending in `.py`.
        path: PathBuf,
        /// The attribute to take from it; `None`: the loader tries the usual names.
        attribute: Option<Attribute>,
    },
}

/// An attribute of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// A name, or names joined by dots.
    pub path: String,
    /// Present if the attribute is a factory: the source text of its arguments, without the outer parentheses. The
    /// brackets balance; Python checks that the arguments are literals.
    pub call: Option<String>,
}

impl AppSpec {
    /// Parses `module`, `module:attribute`, `module:factory("x", debug=True)`, `path/to/file.py`,
    /// `path/to/file.py:attribute`, `path/to/file.ini`, `path/to/file.ini#name`. The error says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("is empty; write module:attribute".to_owned());
        }
        if text.contains('\0') {
            return Err("must not contain a NUL".to_owned());
        }
        if text.ends_with(".ini") || text.contains(".ini#") {
            return Self::parse_paste(text);
        }
        let (place, attribute) = match text.split_once(':') {
            Some((place, attribute)) => (place.trim_end(), Some(Attribute::parse(attribute)?)),
            None => (text, None),
        };
        if place.is_empty() {
            return Err("has no module before the colon; write module:attribute".to_owned());
        }
        if place.ends_with(".py") && place != ".py" && !place.ends_with("/.py") {
            return Ok(Self::File {
                path: PathBuf::from(place),
                attribute,
            });
        }
        if place.contains('/') || place == "." || place == ".." {
            return Err(format!(
                "{place} is not a Python file; give a file that ends in .py, or a module, with its directory in --chdir"
            ));
        }
        check_module(place)?;
        Ok(Self::Module {
            module: place.to_owned(),
            attribute,
        })
    }
}

impl AppSpec {
    /// Parses a file for PasteDeploy, and the name of an application in it: `FILE`, `FILE#NAME`.
    pub(crate) fn parse_paste(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix("config:").unwrap_or(text);
        let (file, name) = match text.split_once('#') {
            Some((file, name)) => (file, Some(name)),
            None => (text, None),
        };
        if file.is_empty() || name == Some("") {
            return Err("must be a file, or FILE#NAME".to_owned());
        }
        Ok(Self::Paste {
            file: PathBuf::from(file),
            name: name.map(str::to_owned),
        })
    }
}

impl Attribute {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (path, call) = match text.find('(') {
            Some(at) => (text[..at].trim_end(), Some(argument_list(&text[at..])?)),
            None => (text, None),
        };
        if path.is_empty() {
            return Err("has no attribute after the colon; write module:attribute".to_owned());
        }
        if let Some(wrong) = path.split('.').find(|name| !is_identifier(name)) {
            return Err(format!("after the colon, {wrong:?} is not a Python name"));
        }
        Ok(Self {
            path: path.to_owned(),
            call,
        })
    }
}

impl fmt::Display for AppSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attribute = match self {
            Self::Module { module, attribute } => {
                f.write_str(module)?;
                attribute
            }
            Self::File { path, attribute } => {
                write!(f, "{}", path.display())?;
                attribute
            }
            Self::Paste { file, name } => {
                write!(f, "{}", file.display())?;
                return name.iter().try_for_each(|name| write!(f, "#{name}"));
            }
        };
        match attribute {
            Some(attribute) => write!(f, ":{attribute}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.call {
            Some(arguments) => write!(f, "({arguments})"),
            None => Ok(()),
        }
    }
}

fn check_module(name: &str) -> Result<(), String> {
    match name.split('.').find(|part| !is_identifier(part)) {
        None => Ok(()),
        Some(part) if is_identifier(&part.replace('-', "_")) => Err(format!(
            "{name} is not a module name: Python names have no hyphen; did you mean {}?",
            name.replace('-', "_")
        )),
        Some("") => Err(format!(
            "{name} is not a module name: it needs a name on each side of a dot"
        )),
        Some(part) => Err(format!(
            "{name} is not a module name: {part:?} is not a Python name"
        )),
    }
}

fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    let starts_well = characters
        .next()
        .is_some_and(|c| c == '_' || c.is_alphabetic());
    starts_well && characters.all(|c| c == '_' || c.is_alphanumeric())
}

/// Returns the text between the parentheses of `(…)`, if every bracket and quote closes and nothing follows.
fn argument_list(text: &str) -> Result<String, String> {
    let mut open = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let mut width = character.len_utf8();
        match character {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' => {
                if open.pop() != Some(character) {
                    return Err(format!("{character} closes no bracket in {text}"));
                }
                if open.is_empty() {
                    let after = rest[width..].trim();
                    if !after.is_empty() {
                        return Err(format!(
                            "nothing may follow the factory's arguments, but {after:?} does"
                        ));
                    }
                    // Both ends are one-byte parentheses: the text starts with one, and `rest` starts with the other.
                    return Ok(text[1..text.len() - rest.len()].trim().to_owned());
                }
            }
            '\'' | '"' => {
                width = quoted(rest).ok_or_else(|| format!("a quote is not closed in {text}"))?
            }
            _ => {}
        }
        rest = &rest[width..];
    }
    Err(format!("a parenthesis is not closed in {text}"))
}

/// Length of the Python string literal at the start of `text`; `None` if it is unterminated.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.get(..1)?;
    let triple = quote.repeat(3);
    let end = if text.starts_with(&triple) {
        triple.as_str()
    } else {
        quote
    };
    let mut at = end.len();
    loop {
        let rest = text.get(at..)?;
        if rest.starts_with(end) {
            return Some(at + end.len());
        }
        let mut characters = rest.chars();
        at += match characters.next()? {
            '\\' => 1 + characters.next()?.len_utf8(),
            character => character.len_utf8(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(path: &str, call: Option<&str>) -> Option<Attribute> {
        Some(Attribute {
            path: path.to_owned(),
            call: call.map(str::to_owned),
        })
    }

    fn module(name: &str, attribute: Option<Attribute>) -> AppSpec {
        AppSpec::Module {
            module: name.to_owned(),
            attribute,
        }
    }

    fn file(path: &str, attribute: Option<Attribute>) -> AppSpec {
        AppSpec::File {
            path: PathBuf::from(path),
            attribute,
        }
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        let cases = [
            ("app", module("app", None), "app"),
            ("a.b_2.c", module("a.b_2.c", None), "a.b_2.c"),
            ("app:app", module("app", attribute("app", None)), "app:app"),
            (
                "app:a.b.c",
                module("app", attribute("a.b.c", None)),
                "app:a.b.c",
            ),
            (
                " app : app ",
                module("app", attribute("app", None)),
                "app:app",
            ),
            (
                "été:naïve",
                module("été", attribute("naïve", None)),
                "été:naïve",
            ),
            (
                "app:make()",
                module("app", attribute("make", Some(""))),
                "app:make()",
            ),
            (
                "app:a.make( )",
                module("app", attribute("a.make", Some(""))),
                "app:a.make()",
            ),
            (
                "app:make(\"x:y\", debug=True)",
                module("app", attribute("make", Some("\"x:y\", debug=True"))),
                "app:make(\"x:y\", debug=True)",
            ),
            (
                "app:make([1, (2,)], {'a': ')'})",
                module("app", attribute("make", Some("[1, (2,)], {'a': ')'}"))),
                "app:make([1, (2,)], {'a': ')'})",
            ),
            (
                r#"app:make("a\"(", '''b'(''')"#,
                module("app", attribute("make", Some(r#""a\"(", '''b'('''"#))),
                r#"app:make("a\"(", '''b'(''')"#,
            ),
            (
                "app:make('', 'é')",
                module("app", attribute("make", Some("'', 'é'"))),
                "app:make('', 'é')",
            ),
            ("app.py", file("app.py", None), "app.py"),
            (
                "app.py:app",
                file("app.py", attribute("app", None)),
                "app.py:app",
            ),
            (
                "/srv/my-app/wsgi.py",
                file("/srv/my-app/wsgi.py", None),
                "/srv/my-app/wsgi.py",
            ),
            (
                "./a/b.py:make()",
                file("./a/b.py", attribute("make", Some(""))),
                "./a/b.py:make()",
            ),
        ];
        for (text, expected, written) in cases {
            assert_eq!(AppSpec::parse(text).as_ref(), Ok(&expected), "{text}");
            assert_eq!(expected.to_string(), written, "{text}");
            assert_eq!(AppSpec::parse(written), Ok(expected), "{written}");
        }
    }

    #[test]
    fn what_is_no_application_is_refused_with_advice() {
        let cases = [
            ("", "is empty"),
            (":app", "has no module"),
            ("app:", "has no attribute"),
            ("app:()", "has no attribute"),
            (".", "ends in .py"),
            ("src/", "its directory in --chdir"),
            ("src/app:app", "ends in .py"),
            ("/.py", "is not a Python file"),
            ("my-app:app", "did you mean my_app?"),
            ("a..b", "each side of a dot"),
            (".app", "each side of a dot"),
            ("2app", "\"2app\" is not a Python name"),
            ("my app", "\"my app\" is not a Python name"),
            ("app:a-b", "\"a-b\" is not a Python name"),
            ("app:a.", "\"\" is not a Python name"),
            ("app:make(", "a parenthesis is not closed"),
            ("app:make((1)", "a parenthesis is not closed"),
            ("app:make)", "\"make)\" is not a Python name"),
            ("app:make(])", "closes no bracket"),
            ("app:make(1))", "nothing may follow"),
            ("app:make().wsgi", "nothing may follow"),
            ("app:make('a)", "a quote is not closed"),
            ("app:make('a\\')", "a quote is not closed"),
            ("a\0", "NUL"),
        ];
        for (text, part) in cases {
            let error = AppSpec::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
