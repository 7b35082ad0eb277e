//! The module scope of PTX text: version, target, variables, and where each entry lies.

use std::collections::HashMap;

use super::instruction::Space;
use super::lexer::{Lexer, Word};
use super::{PtxError, Type};

/// PTX text whose entries are found but not yet decoded.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// Name for messages.
    pub(crate) file: String,
    /// The whole text.
    pub(crate) text: String,
    /// `.version`, such as `(8, 8)`.
    pub(crate) version: (u32, u32),
    /// `.target sm_NN`.
    pub(crate) target: u32,
    /// Whether the target has a suffix (`sm_90a`), which ties it to one architecture.
    pub(crate) specific: bool,
    /// Variables of module scope.
    pub(crate) variables: Vec<Variable>,
    /// Offset and line of each entry's parameter list, by name.
    pub(crate) entries: HashMap<String, (usize, u32)>,
    /// Offset and line of each function's text behind `.func`, by name.
    pub(crate) functions: HashMap<String, (usize, u32)>,
    /// Names of the `.file` directives by number.
    pub(crate) sources: Vec<(u32, String)>,
}

/// A variable declared in module scope or in an entry.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: String,
    /// Where it lies.
    pub(crate) space: Space,
    /// Alignment in bytes.
    pub(crate) align: u32,
    /// Size in bytes; 0 for an array without a bound (dynamic shared memory).
    pub(crate) bytes: u32,
    /// Initial content.
    pub(crate) init: Vec<u8>,
    /// Addresses stored in it: offset, symbol, added offset.
    pub(crate) pointers: Vec<(u32, String, i64)>,
}

/// The state space of a directive such as `.shared`.
pub(crate) fn space(name: &str) -> Option<Space> {
    match name {
        ".global" => Some(Space::Global),
        ".const" => Some(Space::Const),
        ".shared" => Some(Space::Shared),
        ".local" => Some(Space::Local),
        ".param" => Some(Space::Param),
        _ => None,
    }
}

impl Module {
    /// Reads the module scope of `text`.
    ///
    /// # Errors
    /// A [`PtxError`] with the line of whatever is not understood.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, PtxError> {
        let mut module = Self {
            file: file.to_owned(),
            text: text.to_owned(),
            version: (0, 0),
            target: 0,
            specific: false,
            variables: Vec::new(),
            entries: HashMap::new(),
            functions: HashMap::new(),
            sources: Vec::new(),
        };
        let mut lexer = Lexer::new(text, 1);
        while lexer.peek() != Word::End {
            module.directive(&mut lexer).map_err(|error| module.named(error))?;
        }
        if module.version == (0, 0) || module.target == 0 {
            return Err(module.named(PtxError::syntax(1, "no `.version` and `.target`".into())));
        }
        Ok(module)
    }

    fn named(&self, error: PtxError) -> PtxError {
        PtxError { file: self.file.clone(), ..error }
    }

    fn directive(&mut self, lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
        let line = lexer.line();
        let name = lexer.name()?;
        match name {
            ".version" => self.version = version(lexer)?,
            ".target" => self.parse_target(lexer)?,
            ".address_size" => {
                lexer.integer()?;
            }
            ".visible" | ".extern" | ".weak" | ".common" => {}
            ".entry" => self.entry(lexer)?,
            ".file" => self.sources.push(source(lexer)?),
            ".section" => {
                lexer.name()?;
                skip_braces(lexer)?;
            }
            ".pragma" => {
                while !lexer.accept(';') {
                    lexer.take();
                }
            }
            ".global" | ".const" | ".shared" => {
                let space = space(name).unwrap_or(Space::Generic);
                self.variables.extend(variables(lexer, space)?);
            }
            ".func" => self.function(lexer)?,
            other => return Err(PtxError::syntax(line, format!("unknown directive `{other}`"))),
        }
        Ok(())
    }

    fn parse_target(&mut self, lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
        let line = lexer.line();
        let name = lexer.name()?;
        let digits = name.strip_prefix("sm_").unwrap_or("");
        let number = digits.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        self.specific = number != digits;
        self.target = number
            .parse()
            .map_err(|_| PtxError::syntax(line, format!("expected `sm_NN`, got `{name}`")))?;
        while lexer.accept(',') {
            lexer.name()?;
        }
        Ok(())
    }

    fn entry(&mut self, lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
        let name = lexer.name()?.to_owned();
        let line = lexer.line();
        let start = lexer.position_of_next();
        while lexer.peek() != Word::Sign('{') {
            if lexer.take() == Word::End {
                return Err(PtxError::syntax(line, format!("entry `{name}` has no body")));
            }
        }
        skip_braces(lexer)?;
        self.entries.insert(name, (start, line));
        Ok(())
    }

    /// `.func (results) name (parameters) { .. }`, or only its declaration.
    fn function(&mut self, lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
        let line = lexer.line();
        let start = lexer.position_of_next();
        if lexer.accept('(') {
            while !lexer.accept(')') {
                lexer.take();
            }
        }
        let name = lexer.name()?.to_owned();
        while lexer.peek() != Word::Sign('{') {
            match lexer.take() {
                Word::Sign(';') => return Ok(()),
                Word::End => {
                    return Err(PtxError::syntax(line, format!("function `{name}` has no end")));
                }
                Word::Name(_) | Word::Text(_) | Word::Sign(_) => {}
            }
        }
        skip_braces(lexer)?;
        self.functions.insert(name, (start, line));
        Ok(())
    }
}

fn version(lexer: &mut Lexer<'_>) -> Result<(u32, u32), PtxError> {
    let line = lexer.line();
    let text = lexer.name()?;
    let parts = text.split_once('.');
    let numbers = parts.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers.ok_or_else(|| PtxError::syntax(line, format!("expected a version, got `{text}`")))
}

/// `.file 1 "name"`, perhaps with a time and a size.
fn source(lexer: &mut Lexer<'_>) -> Result<(u32, String), PtxError> {
    let number = lexer.integer()? as u32;
    let name = match lexer.take() {
        Word::Text(name) => name.to_owned(),
        other => return Err(PtxError::syntax(lexer.line(), format!("file name: got {other:?}"))),
    };
    while lexer.accept(',') {
        lexer.integer()?;
    }
    Ok((number, name))
}

/// Takes everything up to the brace that closes the next one.
pub(crate) fn skip_braces(lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
    let line = lexer.line();
    lexer.expect('{')?;
    let mut depth = 1;
    while depth > 0 {
        match lexer.take() {
            Word::Sign('{') => depth += 1,
            Word::Sign('}') => depth -= 1,
            Word::End => return Err(PtxError::syntax(line, "`{` is never closed".into())),
            Word::Name(_) | Word::Text(_) | Word::Sign(_) => {}
        }
    }
    Ok(())
}

/// Declarations behind a state space, up to and with the semicolon.
pub(crate) fn variables(lexer: &mut Lexer<'_>, space: Space) -> Result<Vec<Variable>, PtxError> {
    let mut align = None;
    let mut vector = 1;
    let element = loop {
        let line = lexer.line();
        match lexer.name()? {
            ".align" => align = Some(lexer.integer()? as u32),
            ".v2" => vector = 2,
            ".v4" => vector = 4,
            ".attribute" => return Err(PtxError::syntax(line, "managed memory".into())),
            ".ptr" => {}
            other => match other.strip_prefix('.').and_then(Type::named) {
                Some(ty) => break ty.bytes() * vector,
                None => return Err(PtxError::syntax(line, format!("unknown type `{other}`"))),
            },
        }
    };
    let mut found = Vec::new();
    loop {
        let mut variable = Variable {
            name: lexer.name()?.to_owned(),
            space,
            align: align.unwrap_or(element),
            bytes: element,
            init: Vec::new(),
            pointers: Vec::new(),
        };
        while lexer.accept('[') {
            if lexer.accept(']') {
                variable.bytes = 0;
                continue;
            }
            variable.bytes *= lexer.integer()? as u32;
            lexer.expect(']')?;
        }
        if lexer.accept('=') {
            initializer(lexer, &mut variable, element / vector)?;
        }
        found.push(variable);
        if lexer.accept(';') {
            return Ok(found);
        }
        lexer.expect(',')?;
    }
}

fn initializer(
    lexer: &mut Lexer<'_>,
    variable: &mut Variable,
    element: u32,
) -> Result<(), PtxError> {
    if lexer.accept('{') {
        while !lexer.accept('}') {
            initializer(lexer, variable, element)?;
            lexer.accept(',');
        }
        return Ok(());
    }
    if lexer.accept('-') {
        let value = lexer.integer()?.wrapping_neg();
        variable.init.extend_from_slice(&value.to_le_bytes()[..element as usize]);
        return Ok(());
    }
    let line = lexer.line();
    let mut name = lexer.name()?;
    if name == "generic" {
        lexer.expect('(')?;
        name = lexer.name()?;
        lexer.expect(')')?;
    }
    if let Some(value) = literal(name) {
        variable.init.extend_from_slice(&value.bits(element).to_le_bytes()[..element as usize]);
        return Ok(());
    }
    if element != 8 {
        return Err(PtxError::syntax(line, format!("expected a number, got `{name}`")));
    }
    let added = if lexer.accept('+') { lexer.integer()? } else { 0 };
    variable.pointers.push((variable.init.len() as u32, name.to_owned(), added));
    variable.init.extend_from_slice(&[0; 8]);
    Ok(())
}

/// A literal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Literal {
    Int(u64),
    F32(u32),
    F64(u64),
}

impl Literal {
    /// Its bits for a place of so many bytes.
    pub(crate) fn bits(self, bytes: u32) -> u64 {
        match self {
            Self::Int(value) => value,
            Self::F32(bits) if bytes == 8 => f64::from(f32::from_bits(bits)).to_bits(),
            Self::F32(bits) => u64::from(bits),
            Self::F64(bits) if bytes == 4 => u64::from((f64::from_bits(bits) as f32).to_bits()),
            Self::F64(bits) => bits,
        }
    }
}

/// The number that `name` writes: an integer, `0fXXXXXXXX` or `0dXXXXXXXXXXXXXXXX`.
pub(crate) fn literal(name: &str) -> Option<Literal> {
    let first = name.as_bytes().first()?;
    if !first.is_ascii_digit() {
        return None;
    }
    let rest = name.get(2..).unwrap_or("");
    match name.get(..2) {
        Some("0f" | "0F") => u32::from_str_radix(rest, 16).ok().map(Literal::F32),
        Some("0d" | "0D") => u64::from_str_radix(rest, 16).ok().map(Literal::F64),
        _ if name.contains('.') => {
            name.parse().ok().map(|value: f64| Literal::F64(value.to_bits()))
        }
        _ => super::lexer::integer(name).map(Literal::Int),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ".version 8.8\n.target sm_90a, debug\n.address_size 64\n\
        .global .align 8 .u64 p[2] = {generic(x), 5};\n\
        .global .align 4 .f32 x = 0f3F800000;\n.extern .shared .align 16 .b8 dynamic[];\n\
        .visible .entry k(.param .u32 n)\n.maxntid 32,1,1\n{ { ret; } }\n\
        .file 1 \"a.cu\"\n.section .debug_str { .b8 1,2 }\n";

    #[test]
    fn module_scope_is_read() {
        let module = Module::parse("a", TEXT).unwrap();
        assert_eq!((module.version, module.target, module.specific), ((8, 8), 90, true));
        let [p, x, dynamic] = &module.variables[..] else { panic!("{:?}", module.variables) };
        assert_eq!((p.bytes, p.init.len(), p.init[8]), (16, 16, 5));
        assert_eq!(p.pointers, [(0, "x".to_owned(), 0)]);
        assert_eq!((x.init.as_slice(), x.space), (&1.0f32.to_le_bytes()[..], Space::Global));
        assert_eq!((dynamic.bytes, dynamic.align, dynamic.space), (0, 16, Space::Shared));
        let (start, line) = module.entries["k"];
        assert!(module.text[start..].starts_with("(.param") && line == 7);
        assert_eq!(module.sources, [(1, "a.cu".to_owned())]);
    }

    #[test]
    fn what_is_unknown_is_named_with_its_line() {
        let error = Module::parse("b.ptx", ".version 8.8\n.target sm_75\n.wonder 1\n").unwrap_err();
        assert_eq!(error.to_string(), "b.ptx:3: unknown directive `.wonder`");
        let error = Module::parse("b.ptx", ".version 8.8\n").unwrap_err();
        assert!(error.to_string().contains("no `.version` and `.target`"), "{error}");
    }
}
