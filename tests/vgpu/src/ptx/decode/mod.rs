//! Entries to instructions: registers get rows, labels get indices, modifiers are checked.
//!
//! A modifier that no decoder takes is an error, so that nothing changes its meaning silently.

mod call;
mod control;
mod convert;
mod float;
mod integer;
mod memory;
mod modifiers;
mod operands;
mod tensor;

use std::collections::HashMap;

use super::instruction::{Inst, Kernel, NO_PRED, Op, Param, Pred, Slot, Space, Special};
use super::lexer::{Lexer, Word};
use super::module::{Module, Variable, space, variables};
use super::{PtxError, Type};
use modifiers::Modifiers;
use operands::Operand;

/// Why one instruction is refused; its line is added where it is known.
type Refusal = String;

/// A register: its place and its bytes, 0 for predicates.
#[derive(Clone, Copy, Debug)]
struct Register {
    slot: Slot,
    bytes: u32,
}

/// Names of one pair of braces.
#[derive(Debug, Default)]
struct Scope {
    /// Registers by prefix, with their number: `%r<20>` or a single name.
    registers: HashMap<String, (Register, Option<u32>)>,
    /// Offsets of variables in shared or local memory, and of parameters.
    variables: HashMap<String, (Space, i64)>,
    /// Labels of this scope by name, as unique numbers.
    labels: HashMap<String, usize>,
    /// Tables of branch targets.
    tables: HashMap<String, Vec<usize>>,
}

/// State while one entry is decoded.
struct Decoder<'m> {
    module: &'m Module,
    kernel: Kernel,
    scopes: Vec<Scope>,
    /// Index of each label's instruction.
    label_places: Vec<Option<u32>>,
    constants: HashMap<(u64, bool), Slot>,
    symbols: HashMap<(String, i64, bool), Slot>,
    specials: HashMap<(Special, bool), Slot>,
    /// Labels that `ret` of the functions being put in goes to, innermost last.
    returns: Vec<usize>,
    guard: (Pred, bool),
    line: u32,
    location: (u32, u32),
}

/// Decodes the entry `name`.
///
/// # Errors
/// A [`PtxError`] that names the line and its text.
pub(crate) fn entry(module: &Module, name: &str) -> Result<Kernel, PtxError> {
    let (start, line) = module.entries[name];
    let mut decoder = Decoder::new(module, name);
    let mut lexer = Lexer::new(&module.text[start..], line);
    let result = decoder.entry(&mut lexer).and_then(|()| decoder.resolve_labels());
    result.map_err(|error| PtxError { file: module.file.clone(), ..error })?;
    Ok(decoder.kernel)
}

impl<'m> Decoder<'m> {
    fn new(module: &'m Module, name: &str) -> Self {
        let kernel = Kernel {
            name: name.to_owned(),
            file: module.file.clone(),
            sources: module.sources.clone(),
            dynamic_align: 16,
            ..Kernel::default()
        };
        Self {
            module,
            kernel,
            scopes: vec![Scope::default()],
            label_places: Vec::new(),
            constants: HashMap::new(),
            symbols: HashMap::new(),
            specials: HashMap::new(),
            returns: Vec::new(),
            guard: (NO_PRED, false),
            line: 0,
            location: (0, 0),
        }
    }

    fn scope(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    fn entry(&mut self, lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
        if lexer.accept('(') {
            self.parameters(lexer)?;
        }
        self.module_variables();
        while !lexer.accept('{') {
            self.entry_directive(lexer)?;
        }
        self.body(lexer)?;
        self.emit(Op::Exit, [0; 4]);
        Ok(())
    }

    /// Statements up to the brace that closes the one before.
    fn body(&mut self, lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
        self.find_labels(lexer.clone())?;
        let mut depth = 1;
        while depth > 0 {
            if lexer.accept('{') {
                depth += 1;
                self.scopes.push(Scope::default());
                self.find_labels(lexer.clone())?;
            } else if lexer.accept('}') {
                depth -= 1;
                self.scopes.pop();
            } else {
                self.statement(lexer)?;
            }
        }
        Ok(())
    }

    fn parameters(&mut self, lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
        let mut offset = 0;
        while !lexer.accept(')') {
            let line = lexer.line();
            if lexer.name()? != ".param" {
                return Err(PtxError::syntax(line, "expected `.param`".into()));
            }
            let parameter = parameter(lexer)?;
            offset = u32::next_multiple_of(offset, parameter.align.max(1));
            self.kernel.params.push(Param { offset, size: parameter.bytes });
            let place = (Space::Param, i64::from(offset));
            self.scope().variables.insert(parameter.name, place);
            offset += parameter.bytes;
            lexer.accept(',');
        }
        Ok(())
    }

    /// Shared variables of the module lie in every block's shared memory.
    fn module_variables(&mut self) {
        for variable in &self.module.variables {
            if variable.space == Space::Shared {
                self.place(variable);
            }
        }
    }

    fn place(&mut self, variable: &Variable) {
        let kernel = &mut self.kernel;
        let mut space = variable.space;
        let offset = match variable.space {
            Space::Shared if variable.bytes == 0 => {
                kernel.dynamic_align = kernel.dynamic_align.max(variable.align);
                i64::MAX
            }
            Space::Shared => {
                let start = kernel.shared_bytes.next_multiple_of(variable.align.max(1));
                kernel.shared_bytes = start + variable.bytes;
                i64::from(start)
            }
            // Arguments of functions are put where local variables are.
            Space::Local | Space::Param => {
                space = Space::Local;
                let start = kernel.local_bytes.next_multiple_of(variable.align.max(1));
                kernel.local_bytes = start + variable.bytes;
                i64::from(start)
            }
            Space::Generic | Space::Global | Space::Const => return,
        };
        self.scope().variables.insert(variable.name.clone(), (space, offset));
    }

    fn entry_directive(&mut self, lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
        let line = lexer.line();
        let name = lexer.name()?;
        let mut numbers = vec![];
        while matches!(lexer.peek(), Word::Name(word) if !word.starts_with('.')) {
            numbers.push(lexer.integer()? as u32);
            lexer.accept(',');
        }
        numbers.resize(numbers.len().max(3), 1);
        match name {
            ".maxntid" => self.kernel.max_threads = Some(numbers.iter().product()),
            ".reqntid" => {
                self.kernel.required_threads = Some([numbers[0], numbers[1], numbers[2]]);
            }
            ".minnctapersm" | ".maxnreg" | ".maxnctapersm" | ".noreturn" => {}
            ".pragma" => {
                while !lexer.accept(';') {
                    lexer.take();
                }
            }
            other => return Err(PtxError::syntax(line, format!("unknown directive `{other}`"))),
        }
        Ok(())
    }

    /// Registers the labels of the scope that starts here, so that branches may look ahead.
    fn find_labels(&mut self, mut lexer: Lexer<'_>) -> Result<(), PtxError> {
        let mut depth = 1;
        while depth > 0 {
            match lexer.take() {
                Word::Sign('{') => depth += 1,
                Word::Sign('}') => depth -= 1,
                Word::Name(name) if depth == 1 && lexer.peek() == Word::Sign(':') => {
                    let number = self.label_places.len();
                    self.label_places.push(None);
                    self.scope().labels.insert(name.to_owned(), number);
                }
                Word::End => {
                    return Err(PtxError::syntax(lexer.line(), "`{` is never closed".into()));
                }
                Word::Name(_) | Word::Text(_) | Word::Sign(_) => {}
            }
        }
        Ok(())
    }

    fn statement<'a>(&mut self, lexer: &mut Lexer<'a>) -> Result<(), PtxError> {
        self.line = lexer.line();
        if lexer.accept(';') {
            return Ok(());
        }
        self.guard = (NO_PRED, false);
        if lexer.accept('@') {
            let negate = lexer.accept('!');
            let name = lexer.name()?;
            let pred = self.pred_named(name).map_err(|problem| self.error(problem))?;
            self.guard = (pred, negate);
        }
        let name = lexer.name()?;
        if lexer.accept(':') {
            return self.label(name, lexer);
        }
        if name.starts_with('.') {
            return self.body_directive(name, lexer);
        }
        let operands = operands::read(lexer)?;
        if name.split('.').next() == Some("call") {
            return self.call(&operands);
        }
        self.instruction(name, &operands).map_err(|problem| {
            let text = self.module.text.lines().nth(self.line as usize - 1).unwrap_or("").trim();
            self.error(format!("`{text}`: {problem}"))
        })
    }

    fn error(&self, problem: Refusal) -> PtxError {
        PtxError::syntax(self.line, problem)
    }

    fn label(&mut self, name: &str, lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
        if lexer.peek() == Word::Name(".branchtargets") {
            lexer.take();
            let mut targets = Vec::new();
            while !lexer.accept(';') {
                let target = lexer.name()?;
                targets.push(self.label_number(target).map_err(|problem| self.error(problem))?);
                lexer.accept(',');
            }
            self.scope().tables.insert(name.to_owned(), targets);
            return Ok(());
        }
        let place = self.kernel.code.len() as u32;
        let number = self.label_number(name).map_err(|problem| self.error(problem))?;
        self.label_places[number] = Some(place);
        Ok(())
    }

    fn label_number(&self, name: &str) -> Result<usize, Refusal> {
        let mut scopes = self.scopes.iter().rev();
        let number = scopes.find_map(|scope| scope.labels.get(name));
        number.copied().ok_or_else(|| format!("unknown label `{name}`"))
    }

    fn table(&self, name: &str) -> Result<Box<[u32]>, Refusal> {
        let mut scopes = self.scopes.iter().rev();
        let table = scopes.find_map(|scope| scope.tables.get(name));
        let table = table.ok_or_else(|| format!("unknown branch targets `{name}`"))?;
        Ok(table.iter().map(|&number| number as u32).collect())
    }

    fn body_directive(&mut self, name: &str, lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
        if let Some(space) = space(name) {
            for variable in variables(lexer, space)? {
                self.place(&variable);
            }
            return Ok(());
        }
        match name {
            ".reg" => self.registers(lexer, None),
            _ if name.starts_with(".reg.") => self.registers(lexer, name.get(4..)),
            ".loc" => {
                self.location = (lexer.integer()? as u32, lexer.integer()? as u32);
                lexer.integer()?;
                while lexer.accept(',') {
                    inlined_at(lexer)?;
                }
                Ok(())
            }
            ".pragma" => {
                while !lexer.accept(';') {
                    lexer.take();
                }
                Ok(())
            }
            other => Err(self.error(format!("unknown directive `{other}`"))),
        }
    }

    /// `.reg .b32 a, b;`, where the type may follow without a blank.
    fn registers(&mut self, lexer: &mut Lexer<'_>, ty: Option<&str>) -> Result<(), PtxError> {
        let line = lexer.line();
        let name = match ty {
            Some(name) => name,
            None => lexer.name()?,
        };
        let ty = name.strip_prefix('.').and_then(Type::named);
        let ty = ty.ok_or_else(|| PtxError::syntax(line, format!("unknown type `{name}`")))?;
        if ty == Type::B128 {
            return Err(PtxError::syntax(line, "registers of 128 bits are not supported".into()));
        }
        let bytes = ty.bytes();
        loop {
            let name = lexer.name()?.to_owned();
            let count = if lexer.accept('<') {
                let count = lexer.integer()? as u32;
                lexer.expect('>')?;
                Some(count)
            } else {
                None
            };
            let slot = self.allocate(bytes, count.unwrap_or(1));
            self.scope().registers.insert(name, (Register { slot, bytes }, count));
            if lexer.accept(';') {
                return Ok(());
            }
            lexer.expect(',')?;
        }
    }

    /// Room for `count` registers of `bytes`; 0 bytes are predicates.
    fn allocate(&mut self, bytes: u32, count: u32) -> Slot {
        let (counter, rows) = match bytes {
            0 => (&mut self.kernel.preds, 1),
            8 => (&mut self.kernel.slots, 2),
            _ => (&mut self.kernel.slots, 1),
        };
        let slot = *counter;
        *counter += rows * count;
        slot
    }

    fn instruction(&mut self, opcode: &str, operands: &[Operand<'_>]) -> Result<(), Refusal> {
        let mut modifiers = Modifiers::new(opcode);
        let root = modifiers.root();
        let known = integer::decode(self, root, &mut modifiers, operands)?
            || float::decode(self, root, &mut modifiers, operands)?
            || convert::decode(self, root, &mut modifiers, operands)?
            || memory::decode(self, root, &mut modifiers, operands)?
            || control::decode(self, root, &mut modifiers, operands)?
            || tensor::decode(self, root, &mut modifiers, operands)?;
        if !known {
            return Err(format!("unknown instruction `{opcode}`"));
        }
        modifiers.finish()
    }

    /// Appends an operation with its slots `d`, `a`, `b` and `c`.
    fn emit(&mut self, op: Op, [d, a, b, c]: [Slot; 4]) {
        self.emit_counted(op, [d, a, b, c], 0);
    }

    /// Appends an operation that does `flops` floating-point operations a lane.
    fn emit_counted(&mut self, op: Op, [d, a, b, c]: [Slot; 4], flops: u16) {
        let (guard, negate) = self.guard;
        self.kernel.code.push(Inst { op, guard, negate, flops, d, a, b, c });
        self.kernel.lines.push((self.line, self.location.0, self.location.1));
    }

    fn resolve_labels(&mut self) -> Result<(), PtxError> {
        let places = &self.label_places;
        let place = |number: u32| places[number as usize].unwrap_or(0);
        for inst in &mut self.kernel.code {
            match &mut inst.op {
                Op::Branch { target } => *target = place(*target),
                Op::BranchIndex { targets } => {
                    targets.iter_mut().for_each(|target| *target = place(*target));
                }
                _ => {}
            }
        }
        let kernel = &mut self.kernel;
        let sorted = |(slot, _, _): &(Slot, u64, bool)| *slot;
        kernel.constants =
            self.constants.iter().map(|((bits, wide), slot)| (*slot, *bits, *wide)).collect();
        kernel.constants.sort_by_key(sorted);
        let symbols = self.symbols.iter();
        kernel.symbols = symbols
            .map(|((name, added, wide), slot)| (*slot, name.clone(), *added, *wide))
            .collect();
        kernel.specials =
            self.specials.iter().map(|((special, wide), slot)| (*slot, *special, *wide)).collect();
        Ok(())
    }
}

/// `, inlined_at 1 6 9` or `, function_name $L__info_string0`, perhaps with an offset.
fn inlined_at(lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
    match lexer.name()? {
        "function_name" => {
            lexer.name()?;
            if lexer.accept('+') {
                lexer.integer()?;
            }
        }
        _ => {
            for _ in 0..3 {
                lexer.integer()?;
            }
        }
    }
    Ok(())
}

/// One parameter behind `.param`.
fn parameter(lexer: &mut Lexer<'_>) -> Result<Variable, PtxError> {
    let mut align = 0;
    let mut element = 0;
    let name = loop {
        let line = lexer.line();
        let word = lexer.name()?;
        match word {
            ".align" => align = lexer.integer()? as u32,
            ".ptr" | ".global" | ".const" | ".shared" | ".local" => {}
            _ if !word.starts_with('.') => break word.to_owned(),
            _ => match Type::named(&word[1..]) {
                Some(ty) => element = ty.bytes(),
                None => return Err(PtxError::syntax(line, format!("unknown type `{word}`"))),
            },
        }
    };
    let mut bytes = element;
    while lexer.accept('[') {
        bytes *= lexer.integer()? as u32;
        lexer.expect(']')?;
    }
    // The alignment behind `.ptr` is that of what the pointer points to.
    let align = if bytes == element { element } else { align.max(element) };
    let (init, pointers) = (Vec::new(), Vec::new());
    Ok(Variable { name, space: Space::Param, align, bytes, init, pointers })
}
