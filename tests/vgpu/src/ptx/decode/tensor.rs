//! Matrix instructions: `wmma`, `mma`, `ldmatrix`, `movmatrix`.

use super::operands::Operand;
use super::{Decoder, Modifiers, Op, Refusal, Slot, Space, Type};
use crate::ptx::instruction::{Fragment, LoadMatrix, Product, Role};

/// Decodes the instruction if it is one of this file's.
pub(super) fn decode(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<bool, Refusal> {
    if !matches!(root, "wmma" | "mma" | "ldmatrix" | "movmatrix") {
        return Ok(false);
    }
    if !(m.take("sync") && m.take("aligned")) {
        return Err("expected .sync.aligned".into());
    }
    match root {
        "wmma" if m.take("load") => fragment(d, false, m, o)?,
        "wmma" if m.take("store") => fragment(d, true, m, o)?,
        "wmma" if m.take("mma") => product(d, false, m, o)?,
        "mma" => product(d, true, m, o)?,
        "ldmatrix" => load_matrix(d, m, o)?,
        "movmatrix" => {
            d.count(o, 2)?;
            m.need(&[("m8n8", ())])?;
            m.need(&[("trans", ())])?;
            m.ty()?;
            let slots = [d.destination(&o[0], 4)?, d.source(&o[1], 4)?, 0, 0];
            d.emit(Op::MoveMatrix, slots);
        }
        _ => return Err("expected .load, .store or .mma".into()),
    }
    Ok(true)
}

/// Shapes of `wmma` and `mma` that are executed.
const SHAPES: &[(&str, (u32, u32, u32))] = &[
    ("m16n16k16", (16, 16, 16)),
    ("m32n8k16", (32, 8, 16)),
    ("m8n32k16", (8, 32, 16)),
    ("m16n16k8", (16, 16, 8)),
    ("m16n8k16", (16, 8, 16)),
    ("m16n8k8", (16, 8, 8)),
    ("m16n8k4", (16, 8, 4)),
    ("m16n8k32", (16, 8, 32)),
    ("m8n8k16", (8, 8, 16)),
];

const SPACES: &[(&str, Space)] =
    &[("global", Space::Global), ("shared", Space::Shared), ("shared::cta", Space::Shared)];

/// Bits of one element inside a fragment's register.
pub(super) fn element_bits(ty: Type) -> Result<u32, Refusal> {
    match ty {
        Type::F16 | Type::Bf16 => Ok(16),
        Type::Tf32 | Type::F32 | Type::S32 => Ok(32),
        Type::S8 | Type::U8 => Ok(8),
        other => Err(format!("fragments of {other:?} are not supported")),
    }
}

fn fragment(
    d: &mut Decoder<'_>,
    store: bool,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    let roles =
        [("a", Role::A), ("b", Role::B), ("c", Role::Accumulator), ("d", Role::Accumulator)];
    let role = m.need(&roles)?;
    let shape = m.need(SHAPES)?;
    let row_major = m.need(&[("row", true), ("col", false)])?;
    let space = m.choose(SPACES).unwrap_or(Space::Generic);
    let ty = m.ty()?;
    let (list, address) = if store { (1, 0) } else { (0, 1) };
    let registers = d.list(d.at(o, list)?, 4, !store)?;
    let (rows, columns) = match role {
        Role::A => (shape.0, shape.2),
        Role::B => (shape.2, shape.1),
        Role::Accumulator => (shape.0, shape.1),
    };
    let capacity = 32 * registers.len() as u32 * 32 / element_bits(ty)?;
    if capacity < rows * columns || !capacity.is_multiple_of(rows * columns) {
        return Err(format!("{} registers cannot hold {rows}x{columns}", registers.len()));
    }
    let (slot, offset, wide_address) = d.address(d.at(o, address)?)?;
    let stride = match o.get(2) {
        Some(operand) => Some(d.source(operand, 4)?),
        None => None,
    };
    let fragment =
        Fragment { shape, role, row_major, ty, space, offset, wide_address, stride, registers };
    let op = Box::new(fragment);
    d.emit(if store { Op::FragmentStore(op) } else { Op::FragmentLoad(op) }, [0, slot, 0, 0]);
    Ok(())
}

fn product(
    d: &mut Decoder<'_>,
    documented: bool,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    d.count(o, 4)?;
    let shape = m.need(SHAPES)?;
    let rows_by_columns = m.take("row") && m.take("col");
    if documented && !rows_by_columns {
        return Err("expected .row.col".into());
    }
    m.drop_all(&["row", "col"]);
    let saturate = m.take("satfinite");
    let types = m.types();
    let (d_type, a_type, b_type, c_type) = match types[..] {
        [d, c] if !documented => (d, Type::F16, Type::F16, c),
        [d, a, b, c] => (d, a, b, c),
        _ => return Err("expected the types of D, A, B and C".into()),
    };
    for ty in [d_type, a_type, b_type, c_type] {
        element_bits(ty)?;
    }
    let registers =
        [d.list(&o[0], 4, true)?, d.list(&o[1], 4, false)?, d.list(&o[2], 4, false)?, {
            d.list(&o[3], 4, false)?
        }];
    if documented {
        check_registers(shape, [d_type, a_type, b_type, c_type], &registers)?;
    }
    let flops = 2 * shape.0 * shape.1 * shape.2 / 32;
    let product =
        Product { shape, a_type, b_type, c_type, d_type, documented, saturate, registers };
    d.emit_counted(Op::Product(Box::new(product)), [0; 4], flops as u16);
    Ok(())
}

/// Numbers of registers of `mma`: every element lies in exactly one lane.
fn check_registers(
    (rows, columns, depth): (u32, u32, u32),
    types: [Type; 4],
    registers: &[Box<[Slot]>; 4],
) -> Result<(), Refusal> {
    let elements = [rows * columns, rows * depth, depth * columns, rows * columns];
    for ((ty, slots), elements) in types.iter().zip(registers).zip(elements) {
        let expected = elements * element_bits(*ty)? / 32 / 32;
        if slots.len() as u32 != expected {
            return Err(format!("expected {expected} registers of {ty:?}, got {}", slots.len()));
        }
    }
    Ok(())
}

fn load_matrix(
    d: &mut Decoder<'_>,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    d.count(o, 2)?;
    m.need(&[("m8n8", ())])?;
    let count = m.need(&[("x1", 1), ("x2", 2), ("x4", 4)])?;
    let transposed = m.take("trans");
    m.need(&[("shared", ()), ("shared::cta", ())])?;
    if m.ty()? != Type::B16 {
        return Err("expected .b16".into());
    }
    let registers = d.list(&o[0], 4, true)?;
    if registers.len() != count {
        return Err(format!("expected {count} registers, got {}", registers.len()));
    }
    let (slot, offset, wide_address) = d.address(&o[1])?;
    let op = Box::new(LoadMatrix { transposed, offset, wide_address, registers });
    d.emit(Op::LoadMatrix(op), [0, slot, 0, 0]);
    Ok(())
}
