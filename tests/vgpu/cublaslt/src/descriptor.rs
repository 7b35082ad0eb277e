//! What a product is described by, and the attributes that can be set.

/// A `cublasStatus_t` other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    NotInitialized,
    InvalidValue,
    ExecutionFailed,
    NotSupported,
}

impl Status {
    /// The number of the interface.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::NotInitialized => 1,
            Self::InvalidValue => 7,
            Self::ExecutionFailed => 13,
            Self::NotSupported => 15,
        }
    }
}

/// A type of matrix elements (`cudaDataType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    Bf16,
    S8,
    S32,
}

impl Element {
    /// The type of this number.
    pub(crate) fn numbered(number: i32) -> Result<Self, Status> {
        match number {
            0 => Ok(Self::F32),
            2 => Ok(Self::F16),
            14 => Ok(Self::Bf16),
            3 => Ok(Self::S8),
            10 => Ok(Self::S32),
            _ => Err(Status::NotSupported),
        }
    }

    /// Bytes of one element.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::S32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::S8 => 1,
        }
    }
}

/// A matrix (`cublasLtMatrixLayout_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) element: Element,
    pub(crate) rows: u64,
    pub(crate) columns: u64,
    /// Elements between columns, or rows in row order.
    pub(crate) leading: i64,
    pub(crate) row_order: bool,
    pub(crate) batches: i32,
    /// Elements between the matrices of a batch.
    pub(crate) batch_stride: i64,
}

/// What happens to the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    None,
    Relu,
    Gelu,
}

/// A product (`cublasLtMatmulDesc_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Whether sums are 32-bit integers.
    pub(crate) integer: bool,
    pub(crate) transpose_a: bool,
    pub(crate) transpose_b: bool,
    pub(crate) activation: Activation,
    pub(crate) has_bias: bool,
    pub(crate) bias: u64,
    pub(crate) bias_type: Option<Element>,
    pub(crate) bias_stride: i64,
}

/// What the heuristics may choose from (`cublasLtMatmulPreference_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preference {
    pub(crate) workspace: u64,
    /// Bytes that the pointers of A, B, C and D are multiples of.
    pub(crate) alignments: [u32; 4],
}

fn word(value: &[u8]) -> Result<i32, Status> {
    value.try_into().map(i32::from_le_bytes).map_err(|_| Status::InvalidValue)
}

fn wide(value: &[u8]) -> Result<i64, Status> {
    value.try_into().map(i64::from_le_bytes).map_err(|_| Status::InvalidValue)
}

impl Layout {
    /// Sets `CUBLASLT_MATRIX_LAYOUT_*` number `attribute`.
    pub(crate) fn set(&mut self, attribute: i32, value: &[u8]) -> Result<(), Status> {
        match attribute {
            0 => self.element = Element::numbered(word(value)?)?,
            1 => {
                self.row_order = match word(value)? {
                    0 => false,
                    1 => true,
                    _ => return Err(Status::NotSupported),
                }
            }
            2 => self.rows = wide(value)? as u64,
            3 => self.columns = wide(value)? as u64,
            4 => self.leading = wide(value)?,
            5 => self.batches = word(value)?,
            6 => self.batch_stride = wide(value)?,
            _ => return Err(Status::NotSupported),
        }
        Ok(())
    }

    /// Refuses a matrix that cannot lie in memory.
    pub(crate) fn check(&self) -> Result<(), Status> {
        let least = if self.row_order { self.columns } else { self.rows };
        let fits = u64::try_from(self.leading).is_ok_and(|leading| leading >= least);
        let some = self.rows > 0 && self.columns > 0 && self.batches > 0;
        if fits && some { Ok(()) } else { Err(Status::InvalidValue) }
    }

    /// Place of an element of the first matrix.
    pub(crate) fn place(&self, row: usize, column: usize) -> usize {
        let leading = self.leading as usize;
        if self.row_order { row * leading + column } else { column * leading + row }
    }

    /// Elements from the first to the last one of a matrix.
    pub(crate) fn extent(&self) -> usize {
        self.place(self.rows as usize - 1, self.columns as usize - 1) + 1
    }
}

impl Operation {
    /// Sets `CUBLASLT_MATMUL_DESC_*` number `attribute`.
    pub(crate) fn set(&mut self, attribute: i32, value: &[u8]) -> Result<(), Status> {
        match attribute {
            2 if word(value)? != 0 => return Err(Status::NotSupported),
            2 => {}
            3 => self.transpose_a = transposes(word(value)?)?,
            4 => self.transpose_b = transposes(word(value)?)?,
            5 if word(value)? != 0 => return Err(Status::NotSupported),
            5 => {}
            7 => {
                (self.activation, self.has_bias) = match word(value)? {
                    1 => (Activation::None, false),
                    2 => (Activation::Relu, false),
                    4 => (Activation::None, true),
                    6 => (Activation::Relu, true),
                    32 => (Activation::Gelu, false),
                    36 => (Activation::Gelu, true),
                    _ => return Err(Status::NotSupported),
                }
            }
            8 => self.bias = wide(value)? as u64,
            10 => self.bias_stride = wide(value)?,
            26 => self.bias_type = Some(Element::numbered(word(value)?)?),
            _ => return Err(Status::NotSupported),
        }
        Ok(())
    }
}

/// `CUBLAS_OP_N` or `CUBLAS_OP_T`; conjugation of real numbers is the latter.
fn transposes(operation: i32) -> Result<bool, Status> {
    match operation {
        0 => Ok(false),
        1 | 2 => Ok(true),
        _ => Err(Status::InvalidValue),
    }
}

impl Preference {
    /// Sets `CUBLASLT_MATMUL_PREF_*` number `attribute`.
    pub(crate) fn set(&mut self, attribute: i32, value: &[u8]) -> Result<(), Status> {
        match attribute {
            1 => self.workspace = wide(value)? as u64,
            5..=8 => {
                let alignment = word(value)? as u32;
                if !alignment.is_power_of_two() {
                    return Err(Status::InvalidValue);
                }
                self.alignments[attribute as usize - 5] = alignment;
            }
            // The search mode and masks do not change what is computed here.
            0 | 2..=4 | 9 | 10 => {}
            _ => return Err(Status::InvalidValue),
        }
        Ok(())
    }
}
