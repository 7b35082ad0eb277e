//! Matrix instructions.
//!
//! Fragments of `wmma` are opaque (PTX ISA, "Matrix fragments for WMMA"): which lane holds which
//! element is this file's choice. Fragments of `mma` and `ldmatrix` have the documented layout.
//! Sums of products are kept in single precision, one rounding a product; 8-bit ones in integers.

use super::Trouble;
use super::machine::Machine;
use super::registers::LANES;
use super::shadow::Touch;
use super::warp::Warp;
use crate::code::Code;
use crate::float::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::ptx::Type;
use crate::ptx::instruction::{Fragment, Inst, LoadMatrix, Product, Role, Slot};

/// Most elements of one matrix.
const ELEMENTS: usize = 512;

/// Rows and columns of the matrix of `role`.
fn size((m, n, k): (u32, u32, u32), role: Role) -> (usize, usize) {
    match role {
        Role::A => (m as usize, k as usize),
        Role::B => (k as usize, n as usize),
        Role::Accumulator => (m as usize, n as usize),
    }
}

/// Elements in one 32-bit register.
fn packed(ty: Type) -> usize {
    match ty {
        Type::S8 | Type::U8 => 4,
        Type::F16 | Type::Bf16 => 2,
        _ => 1,
    }
}

/// Where an element of a fragment lies in its matrix.
#[derive(Clone, Copy)]
struct Layout {
    role: Role,
    documented: bool,
    packed: usize,
    rows: usize,
    columns: usize,
}

impl Layout {
    fn new(shape: (u32, u32, u32), role: Role, ty: Type, documented: bool) -> Self {
        let (rows, columns) = size(shape, role);
        Self { role, documented, packed: packed(ty), rows, columns }
    }

    /// Row and column of element `at` of register `register` of `lane`.
    fn place(self, register: usize, lane: usize, at: usize) -> (usize, usize) {
        if !self.documented {
            let number =
                ((register * self.packed + at) * LANES + lane) % (self.rows * self.columns);
            return (number / self.columns, number % self.columns);
        }
        let (group, member) = (lane / 4, lane % 4);
        match self.role {
            Role::A => {
                let halves = self.rows / 8;
                let column = member * self.packed + at + register / halves * 4 * self.packed;
                (group + 8 * (register % halves), column)
            }
            Role::B => (member * self.packed + at + register * 4 * self.packed, group),
            // Pairs of columns, then the rows 8 below.
            Role::Accumulator => {
                let element = register * self.packed + at;
                (group + 8 * (element / 2), member * 2 + element % 2)
            }
        }
    }
}

fn whole_warp(warp: &Warp, active: u32) -> Result<(), Trouble> {
    if active == u32::MAX && warp.lanes == u32::MAX {
        return Ok(());
    }
    let text = format!("a matrix instruction needs all 32 lanes, got {active:#010x}");
    Err(Trouble::new(Code::LAUNCH_FAILED, active.trailing_zeros() % 32, text))
}

fn element(bits: u32, ty: Type, at: usize) -> f32 {
    match ty {
        Type::F16 => f16_to_f32((bits >> (16 * at)) as u16),
        Type::Bf16 => bf16_to_f32((bits >> (16 * at)) as u16),
        // The tensor core reads 10 bits of the mantissa and ignores the rest.
        Type::Tf32 => f32::from_bits(bits & 0xffff_e000),
        _ => f32::from_bits(bits),
    }
}

fn integer(bits: u32, ty: Type, at: usize) -> i32 {
    let byte = (bits >> (8 * at)) as u8;
    match ty {
        Type::S8 => i32::from(byte as i8),
        Type::U8 => i32::from(byte),
        _ => bits as i32,
    }
}

/// A fragment as a matrix, row by row.
fn gather<T: Copy + Default>(
    warp: &Warp,
    slots: &[Slot],
    layout: Layout,
    f: impl Fn(u32, usize) -> T,
) -> [T; ELEMENTS] {
    let mut matrix = [T::default(); ELEMENTS];
    for (register, slot) in slots.iter().enumerate() {
        let row = warp.registers.word(*slot);
        for (lane, bits) in row.iter().enumerate() {
            for at in 0..layout.packed {
                let (row, column) = layout.place(register, lane, at);
                matrix[row * layout.columns + column] = f(*bits, at);
            }
        }
    }
    matrix
}

/// A matrix as a fragment.
fn scatter(warp: &mut Warp, slots: &[Slot], layout: Layout, f: impl Fn(usize) -> u32) {
    let bits = 32 / layout.packed;
    for (register, slot) in slots.iter().enumerate() {
        let words: [u32; LANES] = std::array::from_fn(|lane| {
            (0..layout.packed).fold(0, |word, at| {
                let (row, column) = layout.place(register, lane, at);
                word | f(row * layout.columns + column) << (bits * at)
            })
        });
        if *slot != Slot::MAX {
            warp.registers.put_words(*slot, &words, u32::MAX);
        }
    }
}

/// `wmma.mma` and `mma`.
pub(super) fn product(warp: &mut Warp, active: u32, p: &Product) -> Result<(), Trouble> {
    whole_warp(warp, active)?;
    let layout = |role, ty| Layout::new(p.shape, role, ty, p.documented);
    let [d, a, b, c] = &p.registers;
    let (la, lb) = (layout(Role::A, p.a_type), layout(Role::B, p.b_type));
    let (lc, ld) = (layout(Role::Accumulator, p.c_type), layout(Role::Accumulator, p.d_type));
    let (rows, columns, depth) = (la.rows, lb.columns, la.columns);
    if p.d_type == Type::S32 {
        let a = gather(warp, a, la, |bits, at| integer(bits, p.a_type, at));
        let b = gather(warp, b, lb, |bits, at| integer(bits, p.b_type, at));
        let c = gather(warp, c, lc, |bits, _| bits as i32);
        let sum = |place: usize| {
            let (row, column) = (place / columns, place % columns);
            let product = |k| i64::from(a[row * depth + k]) * i64::from(b[k * columns + column]);
            let sum = i64::from(c[place]) + (0..depth).map(product).sum::<i64>();
            let limits = (i64::from(i32::MIN), i64::from(i32::MAX));
            if p.saturate { sum.clamp(limits.0, limits.1) as u32 } else { sum as u32 }
        };
        scatter(warp, d, ld, sum);
        return Ok(());
    }
    let a = gather(warp, a, la, |bits, at| element(bits, p.a_type, at));
    let b = gather(warp, b, lb, |bits, at| element(bits, p.b_type, at));
    let mut c = gather(warp, c, lc, |bits, at| element(bits, p.c_type, at));
    for row in 0..rows {
        let sums = &mut c[row * columns..(row + 1) * columns];
        for k in 0..depth {
            let factor = a[row * depth + k];
            for (sum, value) in sums.iter_mut().zip(&b[k * columns..]) {
                *sum += factor * value;
            }
        }
    }
    scatter(warp, d, ld, |place| match p.d_type {
        Type::F16 => u32::from(f32_to_f16(c[place])),
        Type::Bf16 => u32::from(f32_to_bf16(c[place])),
        _ => c[place].to_bits(),
    });
    Ok(())
}

impl Machine<'_> {
    /// `wmma.load` and `wmma.store`.
    pub(super) fn fragment(
        &mut self,
        warp: &mut Warp,
        i: &Inst,
        active: u32,
        (f, store): (&Fragment, bool),
    ) -> Result<(), Trouble> {
        whole_warp(warp, active)?;
        let bytes = fragment_bytes(f.ty);
        let base = self.fragment_base(warp, i, f)?;
        let layout = Layout::new(f.shape, f.role, f.ty, false);
        let tight = if f.row_major { layout.columns } else { layout.rows };
        let stride = f.stride.map_or(tight, |slot| warp.registers.word(slot)[0] as usize);
        if !(stride * bytes).is_multiple_of(16) {
            let text = format!("stride of {stride} elements: expected a multiple of 16 bytes");
            return Err(Trouble::new(Code::MISALIGNED_ADDRESS, 0, text));
        }
        let bits = 32 / layout.packed;
        for (register, slot) in f.registers.iter().enumerate() {
            let mut words = *warp.registers.word(*slot);
            for (lane, word) in words.iter_mut().enumerate() {
                let mut loaded = 0;
                for at in 0..layout.packed {
                    let (row, column) = layout.place(register, lane, at);
                    let place =
                        if f.row_major { row * stride + column } else { column * stride + row };
                    let address = base + (place * bytes) as u64;
                    let at_memory = self.at(warp, lane, f.space, address, bytes as u32);
                    if store {
                        let value = (*word >> (bits * at)).to_le_bytes();
                        self.place(at_memory, Touch::STORE)?.copy_from_slice(&value[..bytes]);
                    } else {
                        let mut value = [0; 4];
                        value[..bytes].copy_from_slice(self.place(at_memory, Touch::LOAD)?);
                        loaded |= u32::from_le_bytes(value) << (bits * at);
                    }
                }
                *word = if store { *word } else { loaded };
            }
            if !store {
                warp.registers.put_words(*slot, &words, u32::MAX);
            }
        }
        Ok(())
    }

    /// The address that every lane names, which must be a multiple of 32 bytes.
    fn fragment_base(&self, warp: &Warp, i: &Inst, f: &Fragment) -> Result<u64, Trouble> {
        let addresses = warp.addresses(i.a, f.wide_address, f.offset);
        if let Some(lane) = (1..LANES).find(|lane| addresses[*lane] != addresses[0]) {
            let text = format!("lanes 0 and {lane} name different matrices");
            return Err(Trouble::new(Code::LAUNCH_FAILED, lane as u32, text));
        }
        if !addresses[0].is_multiple_of(32) {
            let text = format!("matrix at {:#x}: expected a multiple of 32 bytes", addresses[0]);
            return Err(Trouble::new(Code::MISALIGNED_ADDRESS, 0, text));
        }
        Ok(addresses[0])
    }

    /// `ldmatrix`: lane `8 i + r` names row `r` of matrix `i`.
    pub(super) fn load_matrix(
        &mut self,
        warp: &mut Warp,
        i: &Inst,
        active: u32,
        load: &LoadMatrix,
    ) -> Result<(), Trouble> {
        whole_warp(warp, active)?;
        let addresses = warp.addresses(i.a, load.wide_address, load.offset);
        for (matrix, slot) in load.registers.iter().enumerate() {
            let mut rows = [[0_u16; 8]; 8];
            for (row, values) in rows.iter_mut().enumerate() {
                let lane = matrix * 8 + row;
                let space = crate::ptx::instruction::Space::Shared;
                let at = self.at(warp, lane, space, addresses[lane], 16);
                for (value, bytes) in values.iter_mut().zip(self.place(at, Touch::LOAD)?.chunks(2))
                {
                    *value = u16::from_le_bytes([bytes[0], bytes[1]]);
                }
            }
            warp.registers.put_words(*slot, &spread(&rows, load.transposed), u32::MAX);
        }
        Ok(())
    }
}

/// Lane `l` holds the elements `2 (l % 4)` and the next of row `l / 4`.
fn spread(rows: &[[u16; 8]; 8], transposed: bool) -> [u32; LANES] {
    let at = |row: usize, column: usize| {
        u32::from(if transposed { rows[column][row] } else { rows[row][column] })
    };
    std::array::from_fn(|lane| {
        let (row, column) = (lane / 4, 2 * (lane % 4));
        at(row, column) | at(row, column + 1) << 16
    })
}

/// `movmatrix`.
pub(super) fn move_matrix(warp: &mut Warp, i: &Inst, active: u32) -> Result<(), Trouble> {
    whole_warp(warp, active)?;
    let words = warp.registers.word(i.a);
    let rows = std::array::from_fn(|row: usize| {
        std::array::from_fn(|column: usize| {
            (words[row * 4 + column / 2] >> (16 * (column % 2))) as u16
        })
    });
    warp.registers.put_words(i.d, &spread(&rows, true), u32::MAX);
    Ok(())
}

fn fragment_bytes(ty: Type) -> usize {
    4 / packed(ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element of a matrix is held, as often as the registers allow.
    fn check(shape: (u32, u32, u32), role: Role, ty: Type, registers: usize, documented: bool) {
        let layout = Layout::new(shape, role, ty, documented);
        let mut held = vec![0; layout.rows * layout.columns];
        for register in 0..registers {
            for lane in 0..LANES {
                for at in 0..layout.packed {
                    let (row, column) = layout.place(register, lane, at);
                    assert!(row < layout.rows && column < layout.columns, "{shape:?} {role:?}");
                    held[row * layout.columns + column] += 1;
                }
            }
        }
        let copies = registers * LANES * layout.packed / held.len();
        assert!(held.iter().all(|count| *count == copies), "{shape:?} {role:?} {ty:?}");
    }

    #[test]
    fn fragments_hold_every_element() {
        check((16, 16, 16), Role::A, Type::F16, 8, false);
        check((32, 8, 16), Role::B, Type::F16, 8, false);
        check((8, 32, 16), Role::Accumulator, Type::F32, 8, false);
        check((16, 16, 16), Role::B, Type::S8, 2, false);
        check((16, 8, 16), Role::A, Type::F16, 4, true);
        check((16, 8, 16), Role::B, Type::F16, 2, true);
        check((16, 8, 16), Role::Accumulator, Type::F32, 4, true);
        check((16, 8, 16), Role::Accumulator, Type::F16, 2, true);
        check((16, 8, 8), Role::A, Type::Tf32, 4, true);
        check((16, 8, 8), Role::A, Type::F16, 2, true);
        check((16, 8, 32), Role::A, Type::S8, 4, true);
        check((8, 8, 16), Role::A, Type::S8, 1, true);
        check((8, 8, 16), Role::Accumulator, Type::S32, 2, true);
    }

    #[test]
    fn the_documented_layout_of_a_16_by_16_fragment() {
        let a = Layout::new((16, 8, 16), Role::A, Type::F16, true);
        assert_eq!(a.place(0, 5, 1), (1, 3));
        assert_eq!(a.place(1, 5, 1), (9, 3));
        assert_eq!(a.place(2, 5, 0), (1, 10));
        let b = Layout::new((16, 8, 16), Role::B, Type::F16, true);
        assert_eq!(b.place(1, 5, 1), (11, 1));
        let c = Layout::new((16, 8, 16), Role::Accumulator, Type::F32, true);
        assert_eq!(c.place(2, 5, 0), (9, 2));
    }
}
