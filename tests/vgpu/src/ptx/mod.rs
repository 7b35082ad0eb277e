//! PTX text to compact instructions: lexer, module scope, decoder.
//!
//! The source is NVIDIA's "PTX ISA" 8.x. Anything that the decoder does not know is an error that
//! names line and text; nothing is skipped that could change a result.

pub(crate) mod decode;
pub(crate) mod instruction;
pub(crate) mod lexer;
pub(crate) mod module;

use std::fmt;

/// Why PTX text cannot be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PtxError {
    /// Name of the file or image, empty until it is known.
    pub(crate) file: String,
    /// Line, counted from 1.
    pub(crate) line: u32,
    /// What was expected and what was found.
    pub(crate) problem: String,
}

impl PtxError {
    /// An error in the text at `line`.
    pub(crate) fn syntax(line: u32, problem: String) -> Self {
        Self { file: String::new(), line, problem }
    }
}

impl fmt::Display for PtxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = if self.file.is_empty() { "ptx" } else { &self.file };
        write!(f, "{file}:{}: {}", self.line, self.problem)
    }
}

/// A fundamental type of PTX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub(crate) enum Type {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    F32,
    F64,
    E4m3x2,
    E5m2x2,
}

impl Type {
    const NAMES: &[(&str, Self)] = &[
        ("pred", Self::Pred),
        ("b8", Self::B8),
        ("b16", Self::B16),
        ("b32", Self::B32),
        ("b64", Self::B64),
        ("b128", Self::B128),
        ("u8", Self::U8),
        ("u16", Self::U16),
        ("u32", Self::U32),
        ("u64", Self::U64),
        ("s8", Self::S8),
        ("s16", Self::S16),
        ("s32", Self::S32),
        ("s64", Self::S64),
        ("f16", Self::F16),
        ("f16x2", Self::F16x2),
        ("bf16", Self::Bf16),
        ("bf16x2", Self::Bf16x2),
        ("tf32", Self::Tf32),
        ("f32", Self::F32),
        ("f64", Self::F64),
        ("e4m3x2", Self::E4m3x2),
        ("e5m2x2", Self::E5m2x2),
    ];

    /// The type of this name, given without its dot.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, ty)| *ty)
    }

    /// Bytes of one value in memory; a predicate has none.
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Self::Pred => 0,
            Self::B8 | Self::U8 | Self::S8 => 1,
            Self::B16 | Self::U16 | Self::S16 | Self::F16 | Self::Bf16 => 2,
            Self::E4m3x2 | Self::E5m2x2 => 2,
            Self::B32 | Self::U32 | Self::S32 | Self::F32 | Self::Tf32 => 4,
            Self::F16x2 | Self::Bf16x2 => 4,
            Self::B64 | Self::U64 | Self::S64 | Self::F64 => 8,
            Self::B128 => 16,
        }
    }

    /// Whether the type is a signed integer.
    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }

    /// Whether the type is a floating-point number, or two of them.
    pub(crate) fn is_float(self) -> bool {
        match self {
            Self::F16 | Self::F16x2 | Self::Bf16 | Self::Bf16x2 | Self::Tf32 => true,
            Self::F32 | Self::F64 | Self::E4m3x2 | Self::E5m2x2 => true,
            Self::Pred | Self::B8 | Self::B16 | Self::B32 | Self::B64 | Self::B128 => false,
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => false,
            Self::S8 | Self::S16 | Self::S32 | Self::S64 => false,
        }
    }
}
