//! Where the text of a message comes from: variables, constants, branches, functions and fields of the same crate.

use std::collections::BTreeSet;

use syn::Expr;

use super::Level;
use super::source::{Crate, line_of, tail};
use super::template::{Part, Template, ValueSource};

/// Functions whose argument becomes a message elsewhere: name, position of the argument, level.
const REASONS: &[(&str, usize, Level)] = &[("cannot_start", 0, Level::Error)];
/// Errors whose own text is the message.
const ERRORS: &[(&str, Level)] = &[
    ("PidFileError", Level::Critical),
    ("BindFailure", Level::Critical),
];

/// How far a text is followed.
const DEEPEST: usize = 7;
/// A value with as much text as this is written out in the message that holds it.
const LONG: usize = 20;
/// More texts for one value than these are not written out.
const MOST_VARIANTS: usize = 6;

/// A place that logs.
pub struct Site {
    /// Its level.
    pub level: Level,
    /// Its file.
    pub path: String,
    /// Its line.
    pub line: usize,
    /// What it writes.
    pub texts: Vec<Template>,
    /// Whether the call has the level itself, and is not one of a function that logs its parameter.
    pub is_direct: bool,
}

/// The search in one crate.
pub struct Flow<'a> {
    source: &'a Crate,
}

/// Texts, and the parameters of the function from which more of them come.
#[derive(Default)]
struct Texts {
    templates: Vec<Template>,
    parameters: Vec<String>,
    /// Whether there may be other texts, which were not found.
    is_partial: bool,
}

impl<'a> Flow<'a> {
    /// A search in this crate.
    pub fn new(source: &'a Crate) -> Self {
        Self { source }
    }

    /// Every place that logs a warning or something more severe.
    pub fn sites(&self) -> Vec<Site> {
        let mut sites = Vec::new();
        // Functions that log a parameter of theirs, by name, position and level.
        let mut forwarders: Vec<(String, usize, Level)> = REASONS
            .iter()
            .map(|(name, at, level)| ((*name).to_owned(), *at, *level))
            .collect();
        for index in 0..self.source.functions.len() {
            for (level, line, message) in self.pairs(index) {
                self.add(index, level, line, &message, &mut sites, &mut forwarders);
            }
        }
        for site in &mut sites {
            site.is_direct = true;
        }
        for (name, level) in ERRORS {
            let name = format!("Display for {name}");
            let mut texts = Texts::default();
            for (index, function) in self.source.functions.iter().enumerate() {
                if function.name == name {
                    for value in &function.returns {
                        self.follow(value, index, 0, &mut texts);
                    }
                    sites.push(Site {
                        level: *level,
                        path: function.path.clone(),
                        line: 1,
                        texts: std::mem::take(&mut texts.templates),
                        is_direct: false,
                    });
                }
            }
        }
        let mut done = 0;
        while done < forwarders.len() {
            let (name, at, level) = forwarders[done].clone();
            done += 1;
            for index in 0..self.source.functions.len() {
                let calls = self.source.functions[index].calls.iter();
                for (_, line, arguments) in calls.filter(|(called, _, _)| *called == name) {
                    if let Some(message) = arguments.get(at) {
                        self.add(index, level, *line, message, &mut sites, &mut forwarders);
                    }
                }
            }
        }
        sites
    }

    fn add(
        &self,
        index: usize,
        level: Level,
        line: usize,
        message: &Expr,
        sites: &mut Vec<Site>,
        forwarders: &mut Vec<(String, usize, Level)>,
    ) {
        let function = &self.source.functions[index];
        let mut texts = Texts::default();
        self.follow(message, index, 0, &mut texts);
        let mut is_forwarded = false;
        for parameter in &texts.parameters {
            let position = function.parameters.iter().position(|own| own == parameter);
            if let Some(position) = position {
                is_forwarded = true;
                let forwarder = (function.name.clone(), position, level);
                if !forwarders.contains(&forwarder) {
                    forwarders.push(forwarder);
                }
            }
        }
        if !is_forwarded || !texts.templates.is_empty() {
            sites.push(Site {
                level,
                path: function.path.clone(),
                line,
                texts: texts.templates,
                is_direct: false,
            });
        }
    }

    /// Levels and the messages beside them, in one function.
    fn pairs(&self, index: usize) -> Vec<(Level, usize, Expr)> {
        let function = &self.source.functions[index];
        let mut pairs = Vec::new();
        for (line, list) in &function.lists {
            for pair in list.windows(2) {
                if let Some(level) = self.level(&pair[0], index) {
                    pairs.push((level, *line, pair[1].clone()));
                }
            }
        }
        for (line, fields) in &function.literals {
            let named = |wanted: &[&str]| {
                let mut fields = fields.iter();
                fields
                    .find(|(name, _)| wanted.contains(&name.as_str()))
                    .map(|(_, value)| value)
            };
            if let (Some(level), Some(message)) = (named(&["level"]), named(&["message", "text"]))
                && let Some(level) = self.level(level, index)
            {
                pairs.push((level, *line, message.clone()));
            }
        }
        pairs
    }

    /// The most severe of the levels that an expression may be; `None` for less severe ones, and for other expressions.
    fn level(&self, expression: &Expr, index: usize) -> Option<Level> {
        match expression {
            Expr::Path(path) if path.path.segments.len() > 1 => {
                let segments = &path.path.segments;
                let is_level = segments[segments.len() - 2]
                    .ident
                    .to_string()
                    .ends_with("Level");
                let name = segments.last()?.ident.to_string();
                Level::named(&name).filter(|_| is_level)
            }
            Expr::Path(path) => {
                let name = path.path.get_ident()?.to_string();
                if name != "level" {
                    return None;
                }
                let bound = self.bound(&name, line_of(expression), index)?;
                self.level(bound, index)
            }
            Expr::If(branch) => {
                let then = tail(&branch.then_branch).and_then(|tail| self.level(tail, index));
                let otherwise = branch.else_branch.as_ref();
                let otherwise = otherwise.and_then(|(_, other)| self.level(other, index));
                then.into_iter().chain(otherwise).min()
            }
            Expr::Block(block) => self.level(tail(&block.block)?, index),
            Expr::Match(branches) => {
                let arms = branches.arms.iter();
                arms.filter_map(|arm| self.level(&arm.body, index)).min()
            }
            _ => None,
        }
    }

    /// What a variable was bound to last above a line.
    fn bound(&self, name: &str, line: usize, index: usize) -> Option<&Expr> {
        let bindings = self.source.functions[index].bindings.iter();
        let before = bindings.filter(|(own, at, _)| own == name && *at <= line);
        before
            .max_by_key(|(_, at, _)| *at)
            .map(|(_, _, value)| value)
    }

    fn follow(&self, expression: &Expr, index: usize, depth: usize, texts: &mut Texts) {
        let before = texts.templates.len();
        if depth <= DEEPEST {
            self.follow_into(expression, index, depth, texts);
        }
        texts.is_partial |= texts.templates.len() == before;
    }

    fn follow_into(&self, expression: &Expr, index: usize, depth: usize, texts: &mut Texts) {
        let mut inside = |expression: &Expr| self.follow(expression, index, depth + 1, texts);
        match expression {
            Expr::Lit(literal) => {
                if let syn::Lit::Str(text) = &literal.lit {
                    texts.templates.push(Template::fixed(&text.value()));
                }
            }
            Expr::Reference(reference) => inside(&reference.expr),
            Expr::Paren(paren) => inside(&paren.expr),
            Expr::Group(group) => inside(&group.expr),
            Expr::Try(tried) => inside(&tried.expr),
            Expr::Unary(unary) => inside(&unary.expr),
            Expr::Closure(closure) => inside(&closure.body),
            Expr::Block(block) => {
                if let Some(tail) = tail(&block.block) {
                    inside(tail);
                }
            }
            Expr::If(branch) => {
                if let Some(tail) = tail(&branch.then_branch) {
                    inside(tail);
                }
                if let Some((_, other)) = &branch.else_branch {
                    inside(other);
                }
            }
            Expr::Match(branches) => branches.arms.iter().for_each(|arm| inside(&arm.body)),
            Expr::Macro(call) => {
                let is_format = call.mac.path.segments.last().is_some_and(|last| {
                    ["format", "format_args", "write"].contains(&last.ident.to_string().as_str())
                });
                let template = Template::of_format(call.mac.tokens.clone());
                if let Some(template) = template.filter(|_| is_format) {
                    let line = line_of(expression);
                    texts
                        .templates
                        .extend(self.written_out(template, line, index, depth));
                }
            }
            Expr::Path(path) => {
                let Some(last) = path.path.segments.last() else {
                    return;
                };
                let name = last.ident.to_string();
                let function = &self.source.functions[index];
                if let Some(value) = self.bound(&name, line_of(expression), index) {
                    self.follow(value, index, depth + 1, texts);
                } else if let Some(value) = self.source.constants.get(&name) {
                    self.follow(value, index, depth + 1, texts);
                } else if function.parameters.contains(&name) {
                    texts.parameters.push(name);
                }
            }
            Expr::Field(field) => {
                if let syn::Member::Named(name) = &field.member {
                    self.follow_field(&name.to_string(), depth, texts);
                }
            }
            Expr::MethodCall(call) => {
                let method = call.method.to_string();
                match method.as_str() {
                    "to_string" | "to_owned" | "into" | "as_str" | "clone" | "as_deref"
                    | "as_ref" | "take" | "trim_end" | "cloned" | "unwrap_or_default" | "err"
                    | "ok" | "iter" | "drain" => inside(&call.receiver),
                    "write_str" => call.args.iter().for_each(inside),
                    "map" | "map_err" | "and_then" | "unwrap_or_else" | "unwrap_or" | "then"
                    | "map_or" | "ok_or_else" | "ok_or" | "then_some" | "filter" | "or_else" => {
                        inside(&call.receiver);
                        call.args.iter().for_each(inside);
                    }
                    _ => self.follow_function(&method, index, depth, texts),
                }
            }
            Expr::Call(call) => {
                let Expr::Path(path) = &*call.func else {
                    return;
                };
                let Some(last) = path.path.segments.last() else {
                    return;
                };
                match last.ident.to_string().as_str() {
                    "Some" | "Ok" | "Err" | "from" | "Borrowed" | "Owned" => {
                        call.args.iter().for_each(inside);
                    }
                    name => self.follow_function(name, index, depth, texts),
                }
            }
            _ => {}
        }
    }

    /// What functions of that name return: those of the same file, else of the crate.
    fn follow_function(&self, name: &str, index: usize, depth: usize, texts: &mut Texts) {
        let path = &self.source.functions[index].path;
        let named = |is_near: bool| {
            let functions = self.source.functions.iter().enumerate();
            functions
                .filter(move |(_, other)| other.name == name && (!is_near || other.path == *path))
        };
        let is_near = named(true).next().is_some();
        for (other, function) in named(is_near) {
            for value in &function.returns {
                let mut own = Texts::default();
                self.follow(value, other, depth + 1, &mut own);
                texts.templates.extend(own.templates);
                texts.is_partial |= own.is_partial;
            }
        }
    }

    fn follow_field(&self, name: &str, depth: usize, texts: &mut Texts) {
        for (other, value) in self.source.fields.get(name).into_iter().flatten() {
            let mut own = Texts::default();
            self.follow(value, *other, depth + 2, &mut own);
            texts.templates.extend(own.templates);
        }
    }

    /// The texts of a template whose values are texts themselves.
    fn written_out(
        &self,
        template: Template,
        line: usize,
        index: usize,
        depth: usize,
    ) -> Vec<Template> {
        let mut variants = vec![Template::default()];
        for part in template.parts {
            let inside = self.inside(&part, line, index, depth);
            if inside.is_empty() || inside.len() * variants.len() > MOST_VARIANTS {
                variants
                    .iter_mut()
                    .for_each(|variant| variant.parts.push(part.clone()));
                continue;
            }
            variants = variants
                .iter()
                .flat_map(|variant| {
                    inside.iter().map(|text| Template {
                        parts: [&variant.parts[..], &text.parts].concat(),
                    })
                })
                .collect();
        }
        variants
    }

    /// The texts of a value that holds as much text as a message.
    fn inside(&self, part: &Part, line: usize, index: usize, depth: usize) -> Vec<Template> {
        let Part::Value(_, Some(source)) = part else {
            return Vec::new();
        };
        let (ValueSource::Variable(text) | ValueSource::Expression(text)) = &**source;
        let Ok(Expr::Path(path)) = syn::parse_str::<Expr>(text) else {
            return Vec::new();
        };
        let Some(name) = path.path.segments.last().map(|last| last.ident.to_string()) else {
            return Vec::new();
        };
        let value = self.bound(&name, line.saturating_sub(1), index);
        let Some(value) = value.or_else(|| self.source.constants.get(&name)) else {
            return Vec::new();
        };
        let mut texts = Texts::default();
        self.follow(value, index, depth + 1, &mut texts);
        let is_long = |template: &Template| {
            let fixed = template.parts.iter().map(|part| match part {
                Part::Fixed(text) => text.len(),
                Part::Value(..) => 0,
            });
            fixed.sum::<usize>() >= LONG
        };
        let mut seen = BTreeSet::new();
        texts
            .templates
            .retain(|template| seen.insert(template.text()));
        // Additions such as ` (and 3 more)` begin with a space and stay placeholders.
        let is_addition = |template: &Template| matches!(template.parts.first(), Some(Part::Fixed(text)) if text.starts_with(' '));
        let is_complete = !texts.is_partial && texts.templates.iter().all(is_long);
        if is_complete && !texts.templates.iter().any(is_addition) {
            texts.templates
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &[(Level, &str)]) {
        let files = [("crates/a/src/a.rs".to_owned(), source.to_owned())];
        let parsed = Crate::parse(&files).unwrap();
        let mut found: Vec<(Level, String)> = Flow::new(&parsed)
            .sites()
            .into_iter()
            .flat_map(|site| {
                let level = site.level;
                site.texts.into_iter().map(move |text| (level, text.text()))
            })
            .collect();
        found.sort();
        found.dedup();
        let mut expected: Vec<_> = expected
            .iter()
            .map(|(level, text)| (*level, (*text).to_owned()))
            .collect();
        expected.sort();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn texts_are_followed_through_variables_branches_constants_and_functions() {
        check(
            r#"fn f(&self) {
                let message = format!("cannot open {}: {error}", path.display());
                log.write(Level::Error, &message);
                log.write(Level::Info, "not listed");
                log.write(Level::Warning, if a { "one thing" } else { OTHER });
                log.write(Level::Warning, &described(call));
            }
            const OTHER: &str = "another thing";
            fn described(call: &Call) -> String {
                let mut text = format!("the call {call}");
                text.push_str(" and more");
                text
            }"#,
            &[
                (Level::Error, "cannot open {path}: {error}"),
                (Level::Warning, "one thing"),
                (Level::Warning, "another thing"),
                (Level::Warning, "the call {call}"),
            ],
        );
    }

    #[test]
    fn tuples_fields_and_functions_that_log_a_parameter_are_found() {
        check(
            r#"fn f() -> (Level, String) { (Level::Warning, format!("a tuple of {n}")) }
            fn g() -> Record { Record { level: Level::Error, text: "in a field".to_owned() } }
            fn report(&self, code: i32, message: &str) { self.log.write(Level::Critical, message); }
            fn h(&self) { self.report(1, "given to a function"); self.report(2, &format!("as {text}")); }
            fn log(&self, level: Level, message: &str) { self.log.write(level, message) }
            fn i(&self) { let level = if lost { Level::Error } else { Level::Info }; self.log(level, "of two levels"); }"#,
            &[
                (Level::Warning, "a tuple of {n}"),
                (Level::Error, "in a field"),
                (Level::Critical, "given to a function"),
                (Level::Critical, "as {text}"),
                (Level::Error, "of two levels"),
            ],
        );
    }

    #[test]
    fn long_values_are_written_out_and_short_ones_stay_placeholders() {
        check(
            r#"fn f() {
                let who = match ran_out { true => "the kernel, because the memory had run out", _ => "an operator, or something else" };
                let kind = if trusted { "trusted " } else { "" };
                let why = format!("{worker} was not ready within {}", Seconds(longest));
                log.write(Level::Error, format!("{kind}{worker} was killed by {who}"));
                log.write(Level::Error, format!("{why}: it is ended"));
            }"#,
            &[
                (
                    Level::Error,
                    "{kind}{worker} was killed by the kernel, because the memory had run out",
                ),
                (
                    Level::Error,
                    "{kind}{worker} was killed by an operator, or something else",
                ),
                (
                    Level::Error,
                    "{worker} was not ready within {longest}: it is ended",
                ),
            ],
        );
    }

    #[test]
    fn test_code_logs_nothing() {
        check(
            r#"#[cfg(test)] mod tests { fn f() { log.write(Level::Error, "in a test"); } }
            #[test] fn g() {}"#,
            &[],
        );
    }
}
