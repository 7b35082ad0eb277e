//! Calls of functions: the function's body is put where it is called.
//!
//! Arguments and results lie in local memory, where the `.param` variables of a call are put.

use super::operands::Operand;
use super::{Decoder, Lexer, NO_PRED, Op, PtxError, Scope, Space, Word, parameter};

/// Functions inside of functions that are put in, at most: recursion has no end.
const DEPTH: usize = 16;

impl Decoder<'_> {
    /// `call (results), name, (arguments);`, where both lists may be absent.
    pub(super) fn call(&mut self, operands: &[Operand<'_>]) -> Result<(), PtxError> {
        let (line, location) = (self.line, self.location);
        let (results, name, arguments) = match operands {
            [Operand::List(results), Operand::Name(name, 0), Operand::List(arguments)] => {
                (results.as_slice(), *name, arguments.as_slice())
            }
            [Operand::List(results), Operand::Name(name, 0)] => {
                (results.as_slice(), *name, &[][..])
            }
            [Operand::Name(name, 0), Operand::List(arguments)] => {
                (&[][..], *name, arguments.as_slice())
            }
            [Operand::Name(name, 0)] => (&[][..], *name, &[][..]),
            _ => return Err(self.error("only functions that are named are called".to_owned())),
        };
        let Some((start, first_line)) = self.module.functions.get(name).copied() else {
            return Err(self.error(format!("function `{name}` has no body in this module")));
        };
        if self.returns.len() == DEPTH {
            return Err(self.error(format!("function `{name}`: more than {DEPTH} calls deep")));
        }
        let end = self.label_places.len();
        self.label_places.push(None);
        if self.guard.0 != NO_PRED {
            self.guard.1 = !self.guard.1;
            self.emit(Op::Branch { target: end as u32 }, [0; 4]);
        }
        let mut lexer = Lexer::new(&self.module.text[start..], first_line);
        let mut scope = Scope::default();
        let mut actual = results.iter();
        if lexer.peek() == Word::Sign('(') {
            self.bind(&mut lexer, &mut scope, &mut actual)?;
        }
        lexer.name()?;
        let mut actual = arguments.iter();
        self.bind(&mut lexer, &mut scope, &mut actual)?;
        while !lexer.accept('{') {
            lexer.take();
        }
        self.scopes.push(scope);
        self.returns.push(end);
        self.body(&mut lexer)?;
        self.returns.pop();
        self.label_places[end] = Some(self.kernel.code.len() as u32);
        (self.line, self.location, self.guard) = (line, location, (NO_PRED, false));
        Ok(())
    }

    /// Gives the formal parameters in parentheses the places of the actual ones.
    fn bind<'o, 'a: 'o>(
        &self,
        lexer: &mut Lexer<'_>,
        scope: &mut Scope,
        actual: &mut impl Iterator<Item = &'o Operand<'a>>,
    ) -> Result<(), PtxError> {
        lexer.expect('(')?;
        while !lexer.accept(')') {
            if lexer.name()? != ".param" {
                return Err(self.error("expected `.param` in a function's head".to_owned()));
            }
            let formal = parameter(lexer)?;
            let place = match actual.next() {
                Some(Operand::Name(name, 0)) => self.variable(name),
                _ => None,
            };
            let place = place.filter(|(space, _)| *space == Space::Local);
            let place = place.ok_or_else(|| {
                self.error(format!("parameter `{}` gets no `.param` variable", formal.name))
            })?;
            scope.variables.insert(formal.name, place);
            lexer.accept(',');
        }
        Ok(())
    }
}
