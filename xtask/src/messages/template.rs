//! The text of a message: fixed parts and placeholders.

use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Expr, LitStr, Token};

/// One part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Fixed text.
    Fixed(String),
    /// A value, with its name for the reader, and the expression that gives it if there is one.
    Value(String, Option<Box<ValueSource>>),
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// A variable of that name.
    Variable(String),
    /// An expression.
    Expression(String),
}

/// A text with placeholders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    /// Its parts, in order.
    pub parts: Vec<Part>,
}

impl Template {
    /// A fixed text.
    pub fn fixed(text: &str) -> Self {
        Self {
            parts: vec![Part::Fixed(text.to_owned())],
        }
    }

    /// The text on one line, with `{name}` for each value.
    pub fn text(&self) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Fixed(text) => text.clone(),
            Part::Value(name, _) => format!("{{{name}}}"),
        });
        let text: String = parts.collect();
        // A traceback or a dump follows the line feed.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text.trim_end_matches(':').to_owned()
    }

    /// The arguments of `format!` and its like.
    pub fn of_format(tokens: proc_macro2::TokenStream) -> Option<Self> {
        let arguments: FormatArguments = syn::parse2(tokens).ok()?;
        Some(arguments.template())
    }
}

/// Whether a text has words of its own, and not only placeholders.
pub fn has_words(text: &str) -> bool {
    let mut depth = 0;
    if !text.contains(' ') || text.starts_with([';', ',']) {
        return false;
    }
    let fixed = text.chars().filter(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0 && character.is_alphabetic()
    });
    fixed.count() > 3
}

struct FormatArguments {
    text: String,
    values: Vec<(Option<String>, Expr)>,
}

impl Parse for FormatArguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        // `write!` has a destination first.
        if !input.peek(LitStr) {
            let _: Expr = input.parse()?;
            let _: Token![,] = input.parse()?;
        }
        let text: LitStr = input.parse()?;
        let mut values = Vec::new();
        if input.peek(Token![,]) {
            let _: Token![,] = input.parse()?;
            let list = Punctuated::<Expr, Token![,]>::parse_terminated(input)?;
            for value in list {
                values.push(match value {
                    Expr::Assign(assign) => (
                        Some(assign.left.to_token_stream().to_string()),
                        *assign.right,
                    ),
                    value => (None, value),
                });
            }
        }
        Ok(Self {
            text: text.value(),
            values,
        })
    }
}

impl FormatArguments {
    fn template(&self) -> Template {
        let mut parts = Vec::new();
        let mut fixed = String::new();
        let mut next = 0;
        let mut rest = self.text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            fixed.push_str(&rest[..at]);
            let mark = &rest[at..=at];
            rest = &rest[at + 1..];
            if rest.starts_with(mark) {
                fixed.push_str(mark);
                rest = &rest[1..];
                continue;
            }
            let Some((inside, after)) = rest.split_once('}') else {
                break;
            };
            rest = after;
            let name = inside.split(':').next().unwrap_or_default().trim();
            if !fixed.is_empty() {
                parts.push(Part::Fixed(std::mem::take(&mut fixed)));
            }
            parts.push(self.value(name, &mut next));
        }
        fixed.push_str(rest);
        if !fixed.is_empty() {
            parts.push(Part::Fixed(fixed));
        }
        Template { parts }
    }

    fn value(&self, name: &str, next: &mut usize) -> Part {
        let expression = if name.is_empty() {
            *next += 1;
            self.values.get(*next - 1)
        } else if let Ok(index) = name.parse::<usize>() {
            self.values.get(index)
        } else {
            (self.values.iter()).find(|(own, _)| own.as_deref() == Some(name))
        };
        match expression {
            Some((_, expression)) => {
                let source = expression.to_token_stream().to_string();
                let shown = shown_name(expression)
                    .or_else(|| (!name.is_empty()).then(|| name.to_owned()))
                    .unwrap_or_else(|| "…".to_owned());
                Part::Value(shown, Some(Box::new(ValueSource::Expression(source))))
            }
            None => Part::Value(
                name.to_owned(),
                Some(Box::new(ValueSource::Variable(name.to_owned()))),
            ),
        }
    }
}

/// A name for the reader: of `self.path.display()` it is `path`.
fn shown_name(expression: &Expr) -> Option<String> {
    const PLAIN: [&str; 12] = [
        "display",
        "to_string",
        "as_str",
        "name",
        "as_secs",
        "as_secs_f64",
        "as_millis",
        "clone",
        "join",
        "to_string_lossy",
        "unwrap_or_default",
        "get",
    ];
    match expression {
        Expr::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        Expr::Field(field) => Some(field.member.to_token_stream().to_string()),
        Expr::Reference(reference) => shown_name(&reference.expr),
        Expr::Paren(paren) => shown_name(&paren.expr),
        Expr::Unary(unary) => shown_name(&unary.expr),
        Expr::Try(tried) => shown_name(&tried.expr),
        Expr::MethodCall(call) if PLAIN.contains(&call.method.to_string().as_str()) => {
            shown_name(&call.receiver)
        }
        Expr::MethodCall(call) if call.method == "saturating_duration_since" => {
            Some("duration".to_owned())
        }
        Expr::MethodCall(call) => Some(call.method.to_string()),
        Expr::Call(call) => {
            let last = call.args.last().and_then(shown_name);
            last.or_else(|| shown_name(&call.func))
        }
        _ => None,
    }
    .map(|name| name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_its_words_and_a_name_for_each_value() {
        let table: &[(&str, &str)] = &[
            (r#""as it is""#, "as it is"),
            (
                r#""{name} is {{not}} {0:?} of {}", self.path.display()"#,
                "{name} is {not} {path} of {path}",
            ),
            (
                r#""{}: {}", self.name, exceptions::summary(py, &error)"#,
                "{name}: {error}",
            ),
            (r#"text, "a {} b", Seconds(limit)"#, "a {limit} b"),
            (r#""{what} {n}", n = count + 1"#, "{what} {n}"),
            (
                r#""one \
                 line\nand {traceback}""#,
                "one line and {traceback}",
            ),
        ];
        for (source, expected) in table {
            let template = Template::of_format(source.parse().unwrap()).unwrap();
            assert_eq!(template.text(), *expected, "{source}");
        }
    }

    #[test]
    fn a_text_of_placeholders_alone_has_no_words() {
        assert!(has_words("cannot {x}"));
        assert!(!has_words("{problem}: {error_text}"));
        assert!(!has_words(""));
        assert!(!has_words("wsgi.errors"));
    }
}
