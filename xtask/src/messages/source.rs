//! What the search for messages needs of a crate: functions with their bindings and calls, constants and fields.

use std::collections::BTreeMap;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Arm, Attribute, Block, Expr, ExprAssign, ExprCall, ExprForLoop, ExprLet, ExprMatch,
    ExprMethodCall, ExprReturn, ExprStruct, ExprTuple, FnArg, ImplItem, Item, ItemImpl, Local,
    Member, Pat, Signature, TraitItem,
};

use crate::tidy::is_test;

/// A crate.
#[derive(Default)]
pub struct Crate {
    /// Its functions and methods, without tests.
    pub functions: Vec<Function>,
    /// Constants by name.
    pub constants: BTreeMap<String, Expr>,
    /// What is assigned to fields, by name: the function and the value.
    pub fields: BTreeMap<String, Vec<(usize, Expr)>>,
}

/// A function.
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: String,
    /// Its parameters without `self`.
    pub parameters: Vec<String>,
    /// Variables and what they are bound to, in order.
    pub bindings: Vec<(String, usize, Expr)>,
    /// Lists of expressions that may hold a level and a message: arguments and tuples.
    pub lists: Vec<(usize, Vec<Expr>)>,
    /// Calls: name, line, arguments without the receiver.
    pub calls: Vec<(String, usize, Vec<Expr>)>,
    /// Fields of struct literals.
    pub literals: Vec<(usize, Vec<(String, Expr)>)>,
    /// The values that it returns.
    pub returns: Vec<Expr>,
}

impl Crate {
    /// Parses the files of a crate.
    pub fn parse(files: &[(String, String)]) -> syn::Result<Self> {
        let mut parsed = Self::default();
        for (path, text) in files {
            let file = syn::parse_file(text)?;
            let is_test_file = path.contains("/tests/") || path.ends_with("/tests.rs");
            if !is_test_file && !is_test(&file.attrs) {
                parsed.items(path, &file.items);
            }
        }
        Ok(parsed)
    }

    fn items(&mut self, path: &str, items: &[Item]) {
        for item in items {
            match item {
                Item::Fn(item) if !is_test(&item.attrs) => {
                    self.function(path, &item.attrs, &item.sig, &item.block);
                }
                Item::Const(item) => {
                    self.constants
                        .insert(item.ident.to_string(), (*item.expr).clone());
                }
                Item::Mod(module) if !is_test(&module.attrs) => {
                    if let Some((_, items)) = &module.content {
                        self.items(path, items);
                    }
                }
                Item::Impl(item) if !is_test(&item.attrs) => {
                    let displayed = displayed(item);
                    for item in &item.items {
                        match item {
                            ImplItem::Fn(item) => {
                                self.function(path, &item.attrs, &item.sig, &item.block);
                                if let (Some(name), Some(last)) =
                                    (&displayed, self.functions.last_mut())
                                {
                                    last.name = format!("Display for {name}");
                                }
                            }
                            ImplItem::Const(item) => {
                                self.constants
                                    .insert(item.ident.to_string(), item.expr.clone());
                            }
                            _ => {}
                        }
                    }
                }
                Item::Trait(item) => {
                    for item in &item.items {
                        if let TraitItem::Fn(item) = item
                            && let Some(block) = &item.default
                        {
                            self.function(path, &item.attrs, &item.sig, block);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn function(&mut self, path: &str, attributes: &[Attribute], sig: &Signature, block: &Block) {
        if is_test(attributes) {
            return;
        }
        let parameters = sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(typed) => Some(names_in(&typed.pat).pop().unwrap_or_default()),
            FnArg::Receiver(_) => None,
        });
        let mut function = Function {
            name: sig.ident.to_string(),
            path: path.to_owned(),
            parameters: parameters.collect(),
            bindings: Vec::new(),
            lists: Vec::new(),
            calls: Vec::new(),
            literals: Vec::new(),
            returns: tail(block).cloned().into_iter().collect(),
        };
        let mut walker = Walker {
            function: &mut function,
            assigned: Vec::new(),
        };
        walker.visit_block(block);
        let assigned = walker.assigned;
        let index = self.functions.len();
        for (field, value) in assigned {
            self.fields.entry(field).or_default().push((index, value));
        }
        self.functions.push(function);
    }
}

/// The type that an `impl Display` is for.
fn displayed(item: &ItemImpl) -> Option<String> {
    let (path, _) = item.trait_.as_ref()?;
    let is_display = path.segments.last()?.ident == "Display";
    let syn::Type::Path(own) = &*item.self_ty else {
        return None;
    };
    let name = own.path.segments.last()?.ident.to_string();
    is_display.then_some(name)
}

/// The expression that a block ends in.
pub fn tail(block: &Block) -> Option<&Expr> {
    match block.stmts.last()? {
        syn::Stmt::Expr(expression, None) => Some(expression),
        _ => None,
    }
}

/// The line of an expression.
pub fn line_of(expression: &Expr) -> usize {
    expression.span().start().line
}

fn names_in(pattern: &Pat) -> Vec<String> {
    struct Names(Vec<String>);
    impl<'ast> Visit<'ast> for Names {
        fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
            self.0.push(pattern.ident.to_string());
        }
    }
    let mut names = Names(Vec::new());
    names.visit_pat(pattern);
    names.0
}

struct Walker<'a> {
    function: &'a mut Function,
    assigned: Vec<(String, Expr)>,
}

impl Walker<'_> {
    fn bind(&mut self, pattern: &Pat, value: &Expr) {
        let line = pattern.span().start().line;
        for name in names_in(pattern) {
            self.function.bindings.push((name, line, value.clone()));
        }
    }
}

impl<'ast> Visit<'ast> for Walker<'_> {
    fn visit_local(&mut self, local: &'ast Local) {
        if let Some(init) = &local.init {
            // `let (a, b) = (x, y)`
            match (&local.pat, &*init.expr) {
                (Pat::Tuple(pattern), Expr::Tuple(values))
                    if pattern.elems.len() == values.elems.len() =>
                {
                    for (pattern, value) in pattern.elems.iter().zip(&values.elems) {
                        self.bind(pattern, value);
                    }
                }
                (pattern, value) => self.bind(pattern, value),
            }
        }
        visit::visit_local(self, local);
    }

    fn visit_expr_let(&mut self, expression: &'ast ExprLet) {
        self.bind(&expression.pat, &expression.expr);
        visit::visit_expr_let(self, expression);
    }

    fn visit_expr_for_loop(&mut self, expression: &'ast ExprForLoop) {
        self.bind(&expression.pat, &expression.expr);
        visit::visit_expr_for_loop(self, expression);
    }

    fn visit_expr_match(&mut self, expression: &'ast ExprMatch) {
        for Arm { pat, .. } in &expression.arms {
            self.bind(pat, &expression.expr);
        }
        visit::visit_expr_match(self, expression);
    }

    fn visit_expr_assign(&mut self, expression: &'ast ExprAssign) {
        if let Expr::Field(field) = &*expression.left
            && let Member::Named(name) = &field.member
        {
            self.assigned
                .push((name.to_string(), (*expression.right).clone()));
        }
        visit::visit_expr_assign(self, expression);
    }

    fn visit_expr_return(&mut self, expression: &'ast ExprReturn) {
        self.function
            .returns
            .extend(expression.expr.as_deref().cloned());
        visit::visit_expr_return(self, expression);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let arguments: Vec<Expr> = call.args.iter().cloned().collect();
        let line = call.span().start().line;
        // `notes.push(text)` gives the field `notes` a value.
        if call.method == "push"
            && let [value] = &arguments[..]
        {
            let target = match &*call.receiver {
                Expr::Field(field) => Some(field.member.clone()),
                Expr::Path(path) => path.path.get_ident().cloned().map(Member::Named),
                _ => None,
            };
            if let Some(Member::Named(name)) = target {
                self.assigned.push((name.to_string(), value.clone()));
            }
        }
        self.function
            .calls
            .push((call.method.to_string(), line, arguments.clone()));
        self.function.lists.push((line, arguments));
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        let arguments: Vec<Expr> = call.args.iter().cloned().collect();
        let line = call.span().start().line;
        if let Expr::Path(path) = &*call.func
            && let Some(last) = path.path.segments.last()
        {
            self.function
                .calls
                .push((last.ident.to_string(), line, arguments.clone()));
        }
        self.function.lists.push((line, arguments));
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_tuple(&mut self, tuple: &'ast ExprTuple) {
        let elements = tuple.elems.iter().cloned().collect();
        self.function
            .lists
            .push((tuple.span().start().line, elements));
        visit::visit_expr_tuple(self, tuple);
    }

    fn visit_expr_struct(&mut self, literal: &'ast ExprStruct) {
        let fields = literal
            .fields
            .iter()
            .filter_map(|field| match &field.member {
                Member::Named(name) => Some((name.to_string(), field.expr.clone())),
                Member::Unnamed(_) => None,
            });
        let fields: Vec<_> = fields.collect();
        for (name, value) in &fields {
            self.assigned.push((name.clone(), value.clone()));
        }
        self.function
            .literals
            .push((literal.span().start().line, fields));
        visit::visit_expr_struct(self, literal);
    }
}
