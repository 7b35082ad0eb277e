//! Operands that begin at any element, with guards around them.

use crate::reference::{GUARD, decode, device, encode, guard_behind};
use aimass_cuda::{Form, Memory, Queue, Slice};

/// Floats of every width.
pub(crate) const FLOATS: [Form; 3] = [Form::F32, Form::F16, Form::Bf16];

/// Numbers on the device behind a kibibyte of 0xA5 and before a guard, `shift` elements off alignment.
pub(crate) struct Placed {
    memory: Memory,
    form: Form,
    start: usize,
    bytes: usize,
}

impl Placed {
    pub(crate) fn new(form: Form, shift: usize, x: &[f64]) -> Placed {
        Placed::of_bytes(form, shift, &encode(form, x))
    }

    /// Where a kernel writes `n` elements: bytes that are NaN in every float form.
    pub(crate) fn poisoned(form: Form, shift: usize, n: usize) -> Placed {
        Placed::of_bytes(form, shift, &vec![0xff; n * form.bytes()])
    }

    pub(crate) fn of_bytes(form: Form, shift: usize, content: &[u8]) -> Placed {
        let start = GUARD + shift * form.bytes();
        let all = [&vec![0xa5; start], content, &vec![0xa5; guard_behind()]].concat();
        let memory = device().upload(&all).expect("memory");
        Placed { memory, form, start, bytes: content.len() }
    }

    pub(crate) fn slice(&self) -> Slice<'_> {
        self.memory.slice().part(self.start, self.bytes).expect("a part")
    }

    /// What is there now; panics if a guard was written.
    pub(crate) fn bytes(&self, queue: &mut Queue<'_>) -> Vec<u8> {
        let mut all = vec![0; self.memory.bytes()];
        queue.download(&mut [(self.memory.slice(), &mut all)]).expect("a download");
        let (before, rest) = all.split_at(self.start);
        let (content, behind) = rest.split_at(self.bytes);
        let whole = |guard: &[u8]| guard.iter().all(|&byte| byte == 0xa5);
        assert!(whole(before) && whole(behind), "written before the start or behind the end");
        content.to_vec()
    }

    /// As [`Placed::bytes`], as numbers.
    pub(crate) fn numbers(&self, queue: &mut Queue<'_>) -> Vec<f64> {
        decode(self.form, &self.bytes(queue))
    }
}
