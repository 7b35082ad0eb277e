//! Decoded instructions: what the executor reads, small enough to stay in the cache.

use super::Type;
use crate::float::Rounding;

/// Index of a row of 32 lanes in a warp's register file; 64-bit registers take two rows.
pub(crate) type Slot = u32;
/// Index of a predicate register, which is one bit a lane.
pub(crate) type Pred = u16;
/// No predicate.
pub(crate) const NO_PRED: Pred = Pred::MAX;

/// One instruction. The meaning of the slots is that of the operation.
#[derive(Clone, Debug)]
pub(crate) struct Inst {
    /// What to do.
    pub(crate) op: Op,
    /// Predicate that lanes must have, or [`NO_PRED`].
    pub(crate) guard: Pred,
    /// Whether lanes must not have the predicate.
    pub(crate) negate: bool,
    /// Floating-point operations a lane.
    pub(crate) flops: u16,
    /// Destination: a slot, or a predicate for comparisons.
    pub(crate) d: Slot,
    /// First source.
    pub(crate) a: Slot,
    /// Second source.
    pub(crate) b: Slot,
    /// Third source.
    pub(crate) c: Slot,
}

/// Integer types of arithmetic. Untyped bits are unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Int {
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
}

/// Floating-point types of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Float {
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
}

/// One source, integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Int1 {
    Not,
    CNot,
    Neg,
    Abs,
    Popc,
    Clz,
    Brev,
    Bfind,
    BfindShift,
}

/// Two sources, integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Int2 {
    Add,
    Sub,
    AddSat,
    SubSat,
    MulLo,
    MulHi,
    Mul24,
    Div,
    Rem,
    Min,
    Max,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

/// Three sources, integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Int3 {
    MadLo,
    MadHi,
    Mad24,
    Sad,
    Bfe,
}

/// Three 32-bit sources taken as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Bits3 {
    Lop3(u8),
    Prmt(PrmtMode),
    ShfLeft { wrap: bool },
    ShfRight { wrap: bool },
    Dp4a { a_signed: bool, b_signed: bool },
    Dp2a { a_signed: bool, b_signed: bool, high: bool },
}

/// Arithmetic on the carry flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum CarryOp {
    Add,
    Sub,
    MadLo,
    MadHi,
}

/// How `prmt` reads its selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum PrmtMode {
    Index,
    F4e,
    B4e,
    Rc8,
    Ecl,
    Ecr,
    Rc16,
}

/// One source, floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Float1 {
    Neg,
    Abs,
    Sqrt,
    Rcp,
    Rsqrt,
    Ex2,
    Lg2,
    Sin,
    Cos,
    Tanh,
}

/// Two sources, floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Float2 {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
    Copysign,
}

/// Modifiers of floating-point arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FloatMods {
    /// Direction of rounding.
    pub(crate) rounding: Rounding,
    /// Subnormal operands and results become zeros.
    pub(crate) ftz: bool,
    /// The result is clamped to `0..=1`; NaN becomes 0.
    pub(crate) sat: bool,
    /// Negative results and NaN become 0.
    pub(crate) relu: bool,
    /// `min` and `max` give NaN if an operand is NaN.
    pub(crate) nan: bool,
    /// The operation is one of the approximations.
    pub(crate) approx: bool,
}

impl FloatMods {
    /// Round to nearest, nothing else.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self {
        rounding: Rounding::Nearest,
        ftz: false,
        sat: false,
        relu: false,
        nan: false,
        approx: false,
    };

    /// Whether the fast paths compute this.
    pub(crate) fn is_plain(self) -> bool {
        self.rounding == Rounding::Nearest && !self.ftz && !self.sat && !self.relu && !self.nan
    }
}

/// Relation of a comparison. The unordered ones hold if an operand is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    Nan,
}

/// Logic on predicates and comparison results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Operands {
    Int(Int),
    Float(Float),
}

/// A comparison and what its result is combined with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compare {
    /// The relation tested.
    pub(crate) relation: Relation,
    /// Types of both operands.
    pub(crate) operands: Operands,
    /// Whether subnormal operands count as zeros.
    pub(crate) ftz: bool,
    /// Logic with a predicate, which may be negated.
    pub(crate) combine: Option<(Logic, Pred, bool)>,
    /// Second destination: the negated comparison, combined alike.
    pub(crate) complement: Pred,
}

/// What `set` writes where the comparison holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum SetValue {
    Ones,
    OneF32,
    OneF16x2 { one: u16 },
    OneF16 { one: u16 },
}

/// A conversion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convert {
    /// Type of the result.
    pub(crate) to: Type,
    /// Type of the source.
    pub(crate) from: Type,
    /// Direction of rounding, to a floating-point number or to an integer.
    pub(crate) rounding: Rounding,
    /// Whether a rounding modifier of the integer family (`.rni`, `.rzi`, …) was given.
    pub(crate) to_integer: bool,
    /// Subnormals become zeros.
    pub(crate) ftz: bool,
    /// The result is clamped to the range of its type, or to `0..=1`.
    pub(crate) sat: bool,
    /// Overflow gives the largest finite value.
    pub(crate) finite: bool,
    /// Negative results become 0.
    pub(crate) relu: bool,
    /// Bytes of the destination register.
    pub(crate) register_bytes: u8,
}

/// A state space that memory instructions name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Space {
    Generic,
    Global,
    Const,
    Shared,
    Local,
    Param,
}

/// A load or store.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Where the address points.
    pub(crate) space: Space,
    /// Type of each element.
    pub(crate) ty: Type,
    /// Added to the address.
    pub(crate) offset: i64,
    /// Whether the address register has 64 bits.
    pub(crate) wide_address: bool,
    /// One register an element, [`Slot::MAX`] for `_`.
    pub(crate) registers: Box<[Slot]>,
    /// Bytes of those registers.
    pub(crate) register_bytes: u8,
    /// `.volatile`, `.relaxed`, `.acquire` or `.release`: no race with its like.
    pub(crate) strong: bool,
}

/// What an atomic does to its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum AtomicOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exch,
    Cas,
    Inc,
    Dec,
}

/// An atomic or a reduction.
#[derive(Clone, Debug)]
pub(crate) struct Atomic {
    /// Where the address points.
    pub(crate) space: Space,
    /// What it does.
    pub(crate) op: AtomicOp,
    /// Type of the value in memory.
    pub(crate) ty: Type,
    /// Added to the address.
    pub(crate) offset: i64,
    /// Whether the address register has 64 bits.
    pub(crate) wide_address: bool,
    /// Whether the old value is written to `d`.
    pub(crate) returns: bool,
}

/// How a shuffle picks its source lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Bfly,
    Index,
}

/// What a vote gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Vote {
    All,
    Any,
    Uni,
    Ballot,
}

/// What a warp-wide reduction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Redux {
    Add,
    MinS,
    MaxS,
    MinU,
    MaxU,
    And,
    Or,
    Xor,
}

/// A barrier of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Barrier {
    Sync,
    Arrive,
    /// `bar.red.popc.u32`: `d` is a slot.
    Popc,
    /// `bar.red.and.pred`: `d` is a predicate.
    And,
    /// `bar.red.or.pred`: `d` is a predicate.
    Or,
}

/// A matrix fragment's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Role {
    A,
    B,
    Accumulator,
}

/// A load or store of a `wmma` fragment.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    /// Rows, columns and depth of the product.
    pub(crate) shape: (u32, u32, u32),
    /// Which matrix.
    pub(crate) role: Role,
    /// Whether the matrix lies row by row.
    pub(crate) row_major: bool,
    /// Type of an element.
    pub(crate) ty: Type,
    /// Where the matrix lies.
    pub(crate) space: Space,
    /// Added to the address.
    pub(crate) offset: i64,
    /// Whether the address register has 64 bits.
    pub(crate) wide_address: bool,
    /// Elements between rows or columns: a slot, or none for the tight matrix.
    pub(crate) stride: Option<Slot>,
    /// The fragment.
    pub(crate) registers: Box<[Slot]>,
}

/// A product of fragments, `wmma.mma` or `mma`.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    /// Rows, columns and depth.
    pub(crate) shape: (u32, u32, u32),
    /// Type of the elements of A.
    pub(crate) a_type: Type,
    /// Type of the elements of B.
    pub(crate) b_type: Type,
    /// Type of the elements of C.
    pub(crate) c_type: Type,
    /// Type of the elements of D.
    pub(crate) d_type: Type,
    /// Whether fragments have the documented layout of `mma`.
    pub(crate) documented: bool,
    /// Whether integer sums saturate.
    pub(crate) saturate: bool,
    /// Fragments of D, A, B and C.
    pub(crate) registers: [Box<[Slot]>; 4],
}

/// Eight-by-eight matrices from shared memory.
#[derive(Clone, Debug)]
pub(crate) struct LoadMatrix {
    /// Whether each matrix is transposed.
    pub(crate) transposed: bool,
    /// Added to the address.
    pub(crate) offset: i64,
    /// Whether the address register has 64 bits.
    pub(crate) wide_address: bool,
    /// One register a matrix.
    pub(crate) registers: Box<[Slot]>,
}

/// A copy from global to shared memory that runs beside the program.
#[derive(Clone, Debug)]
pub(crate) struct CopyAsync {
    /// Bytes written: 4, 8 or 16.
    pub(crate) bytes: u32,
    /// Slot of the number of bytes read; the rest is zeros.
    pub(crate) source_bytes: Option<Slot>,
    /// Added to the shared address.
    pub(crate) to_offset: i64,
    /// Whether the shared address has 64 bits.
    pub(crate) to_wide: bool,
    /// Added to the global address.
    pub(crate) from_offset: i64,
}

/// What an instruction does.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub(crate) enum Op {
    /// Hints and fences, which sequential execution needs not.
    Nop,
    Int1(Int1, Int),
    Int2(Int2, Int),
    Int3(Int3, Int),
    Bits3(Bits3),
    /// `bfi`: `a` inserted in `b` at `c`; the length is in the slot here.
    Bfi {
        length: Slot,
        wide: bool,
    },
    /// `add.cc`, `addc` and their kin: with the flag as source, as destination, or both.
    Carry {
        op: CarryOp,
        ty: Int,
        reads: bool,
        writes: bool,
    },
    MulWide(Int),
    MadWide(Int),
    Float1(Float1, Float, FloatMods),
    Float2(Float2, Float, FloatMods),
    Fma(Float, FloatMods),
    /// `selp`: `a` where the predicate holds, else `b`.
    Select {
        pred: Pred,
        negate: bool,
        wide: bool,
    },
    /// `slct`: `a` where `c` is not negative, else `b`.
    SelectSign {
        float: bool,
        wide: bool,
    },
    Compare(Box<Compare>),
    Set(Box<Compare>, SetValue),
    /// Predicate logic; sources are predicates.
    PredLogic(Logic),
    PredNot,
    PredMov,
    PredConst(bool),
    /// `selp` and comparisons of predicates are not in PTX; `mov.pred` is the rest.
    Mov {
        wide: bool,
    },
    /// `mov.bN d, {..}`: parts joined, each of so many bytes.
    Pack {
        parts: Box<[Slot]>,
        part_bytes: u8,
    },
    /// `mov.bN {..}, a`; [`Slot::MAX`] for `_`.
    Unpack {
        parts: Box<[Slot]>,
        part_bytes: u8,
    },
    Convert(Box<Convert>),
    /// `cvt` of two values into one register; `a` is the upper one.
    ConvertPair(Box<Convert>),
    /// `cvt.pack.sat`: two integers narrowed, above what `c` held.
    ConvertPack {
        to: Type,
    },
    Load(Box<Access>),
    Store(Box<Access>),
    LoadParam(Box<Access>),
    Atomic(Box<Atomic>),
    /// `isspacep`: whether a generic address is of the space.
    IsSpace(Space),
    /// `cvta` from the space, or to it.
    ToGeneric(Space),
    FromGeneric(Space),
    Shuffle {
        mode: ShuffleMode,
        valid: Pred,
        mask: Slot,
    },
    /// `a` is a predicate; `d` a predicate, or a slot for ballots; `mask` is a slot.
    Vote {
        vote: Vote,
        negate: bool,
        mask: Slot,
    },
    Match {
        all: bool,
        wide: bool,
        valid: Pred,
        mask: Slot,
    },
    Redux {
        redux: Redux,
        mask: Slot,
    },
    Elect {
        mask: Slot,
    },
    ActiveMask,
    /// `a` is the slot of the barrier's number, `b` of the number of threads or [`Slot::MAX`].
    Barrier {
        barrier: Barrier,
        pred: Pred,
        negate: bool,
    },
    BarrierWarp {
        mask: Slot,
    },
    Branch {
        target: u32,
    },
    BranchIndex {
        targets: Box<[u32]>,
    },
    Exit,
    Trap,
    /// `%clock` and its kin: grows with the instructions executed.
    Clock {
        wide: bool,
    },
    CopyAsync(Box<CopyAsync>),
    CopyCommit,
    /// Waits until at most so many groups are under way.
    CopyWait {
        pending: u32,
    },
    FragmentLoad(Box<Fragment>),
    FragmentStore(Box<Fragment>),
    Product(Box<Product>),
    LoadMatrix(Box<LoadMatrix>),
    /// `movmatrix`: an 8x8 matrix of 16-bit elements, transposed.
    MoveMatrix,
}

/// Values that the hardware knows of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub(crate) enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NWarpId,
    SmId,
    NSmId,
    GridId,
    LaneMaskEq,
    LaneMaskLt,
    LaneMaskLe,
    LaneMaskGt,
    LaneMaskGe,
    DynamicSmem,
    TotalSmem,
}

/// A parameter of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Param {
    /// Offset in the parameter block.
    pub(crate) offset: u32,
    /// Bytes.
    pub(crate) size: u32,
}

/// A decoded entry point.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    /// Name of the entry.
    pub(crate) name: String,
    /// File or image that the text came from.
    pub(crate) file: String,
    /// The program.
    pub(crate) code: Vec<Inst>,
    /// Line of PTX, then file and line of `.loc` (0 if unknown), of every instruction.
    pub(crate) lines: Vec<(u32, u32, u32)>,
    /// Names of the `.file` directives by number.
    pub(crate) sources: Vec<(u32, String)>,
    /// Parameters in order.
    pub(crate) params: Vec<Param>,
    /// Bytes of static shared memory.
    pub(crate) shared_bytes: u32,
    /// Alignment of dynamic shared memory behind it.
    pub(crate) dynamic_align: u32,
    /// Bytes of local memory a thread.
    pub(crate) local_bytes: u32,
    /// Rows of a warp's register file.
    pub(crate) slots: u32,
    /// Number of predicates.
    pub(crate) preds: u32,
    /// Constant slots and their values; 64-bit ones take two rows.
    pub(crate) constants: Vec<(Slot, u64, bool)>,
    /// Slots that hold symbols of the module: slot, symbol, added offset, whether it has 64 bits.
    pub(crate) symbols: Vec<(Slot, String, i64, bool)>,
    /// Slots of special registers and whether they have 64 bits.
    pub(crate) specials: Vec<(Slot, Special, bool)>,
    /// `.maxntid` as a number of threads.
    pub(crate) max_threads: Option<u32>,
    /// `.reqntid`.
    pub(crate) required_threads: Option<[u32; 3]>,
}
