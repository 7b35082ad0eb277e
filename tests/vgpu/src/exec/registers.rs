//! A warp's register file: rows of 32 lanes, so that loops over lanes become vector code.

use crate::ptx::instruction::{Inst, Slot};

/// Lanes of a warp.
pub(crate) const LANES: usize = 32;

/// One 32-bit register of every lane.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub(crate) struct Row(pub(crate) [u32; LANES]);

/// The register file of one warp.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    rows: Vec<Row>,
}

impl Registers {
    /// `slots` rows of zeros.
    pub(crate) fn new(slots: u32) -> Self {
        Self { rows: vec![Row([0; LANES]); slots as usize] }
    }

    /// A 32-bit register.
    #[inline(always)]
    pub(crate) fn word(&self, slot: Slot) -> &[u32; LANES] {
        &self.rows[slot as usize].0
    }

    /// A 32-bit register, to write.
    #[inline(always)]
    pub(crate) fn word_mut(&mut self, slot: Slot) -> &mut [u32; LANES] {
        &mut self.rows[slot as usize].0
    }

    /// A 64-bit register, which fills two rows.
    #[inline(always)]
    pub(crate) fn wide(&self, slot: Slot) -> &[u64; LANES] {
        let rows = &self.rows[slot as usize..slot as usize + 2];
        // SAFETY: two neighbouring rows are 256 initialized bytes aligned to 128, and every bit
        // pattern is a `u64`; the borrow is that of `self`.
        unsafe { &*rows.as_ptr().cast() }
    }

    /// A 64-bit register, to write.
    #[inline(always)]
    pub(crate) fn wide_mut(&mut self, slot: Slot) -> &mut [u64; LANES] {
        let rows = &mut self.rows[slot as usize..slot as usize + 2];
        // SAFETY: as in `wide`, and the exclusive borrow is that of `self`.
        unsafe { &mut *rows.as_mut_ptr().cast() }
    }

    /// Writes the lanes of `mask`.
    #[inline(always)]
    pub(crate) fn put_words(&mut self, slot: Slot, values: &[u32; LANES], mask: u32) {
        let to = self.word_mut(slot);
        if mask == u32::MAX {
            *to = *values;
            return;
        }
        for lane in 0..LANES {
            if mask & BITS[lane] != 0 {
                to[lane] = values[lane];
            }
        }
    }

    /// Writes the lanes of `mask`.
    #[inline(always)]
    pub(crate) fn put_wides(&mut self, slot: Slot, values: &[u64; LANES], mask: u32) {
        let to = self.wide_mut(slot);
        if mask == u32::MAX {
            *to = *values;
            return;
        }
        for lane in 0..LANES {
            if mask & BITS[lane] != 0 {
                to[lane] = values[lane];
            }
        }
    }

    /// `d = f(a)` in the lanes of `mask`.
    #[inline(always)]
    pub(crate) fn map1<A: Lane, D: Lane>(&mut self, i: &Inst, mask: u32, f: impl Fn(A) -> D) {
        let a = A::load(self, i.a);
        D::store(self, i.d, std::array::from_fn(|lane| f(a[lane])), mask);
    }

    /// `d = f(a, b)` in the lanes of `mask`.
    #[inline(always)]
    pub(crate) fn map2<A: Lane, B: Lane, D: Lane>(
        &mut self,
        i: &Inst,
        mask: u32,
        f: impl Fn(A, B) -> D,
    ) {
        let (a, b) = (A::load(self, i.a), B::load(self, i.b));
        D::store(self, i.d, std::array::from_fn(|lane| f(a[lane], b[lane])), mask);
    }

    /// `d = f(a, b, c)` in the lanes of `mask`.
    #[inline(always)]
    pub(crate) fn map3<A: Lane, B: Lane, C: Lane, D: Lane>(
        &mut self,
        i: &Inst,
        mask: u32,
        f: impl Fn(A, B, C) -> D,
    ) {
        let (a, b, c) = (A::load(self, i.a), B::load(self, i.b), C::load(self, i.c));
        D::store(self, i.d, std::array::from_fn(|lane| f(a[lane], b[lane], c[lane])), mask);
    }
}

/// The bit of each lane: a table compiles to vector code where a shift does not.
pub(crate) const BITS: [u32; LANES] = {
    let mut bits = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        bits[lane] = 1 << lane;
        lane += 1;
    }
    bits
};

/// A type that a register holds.
pub(crate) trait Lane: Copy {
    /// Every lane of the register at `slot`.
    fn load(registers: &Registers, slot: Slot) -> [Self; LANES];
    /// Writes the lanes of `mask`.
    fn store(registers: &mut Registers, slot: Slot, values: [Self; LANES], mask: u32);
}

macro_rules! lane {
    ($ty:ty, $read:ident, $write:ident, $from:expr, $to:expr) => {
        impl Lane for $ty {
            #[inline(always)]
            fn load(registers: &Registers, slot: Slot) -> [Self; LANES] {
                let row = registers.$read(slot);
                std::array::from_fn(|lane| $from(row[lane]))
            }

            #[inline(always)]
            fn store(registers: &mut Registers, slot: Slot, values: [Self; LANES], mask: u32) {
                let row = std::array::from_fn(|lane| $to(values[lane]));
                registers.$write(slot, &row, mask);
            }
        }
    };
}

lane!(u32, word, put_words, |bits: u32| bits, |value: u32| value);
lane!(i32, word, put_words, |bits: u32| bits as i32, |value: i32| value as u32);
lane!(u16, word, put_words, |bits: u32| bits as u16, |value: u16| u32::from(value));
lane!(i16, word, put_words, |bits: u32| bits as i16, |value: i16| u32::from(value as u16));
lane!(f32, word, put_words, f32::from_bits, f32::to_bits);
lane!(u64, wide, put_wides, |bits: u64| bits, |value: u64| value);
lane!(i64, wide, put_wides, |bits: u64| bits as i64, |value: i64| value as u64);
lane!(f64, wide, put_wides, f64::from_bits, f64::to_bits);
