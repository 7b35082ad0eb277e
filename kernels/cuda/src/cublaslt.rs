//! Matrix products by cuBLASLt, where it is installed.
//!
//! It is a library of several hundred megabytes that not every machine with a GPU has, and it
//! promises less about the bits of its results than our kernels. So it is opened when the first
//! product asks for it, and whatever it lacks or refuses is done by our kernels instead. Matrices are
//! row-major here and column-major there: what it computes is the transposed product.

#![expect(unsafe_code, reason = "the functions of cuBLASLt")]

use crate::error::NoCublasLt;
use crate::finish::{Activation, Finish};
use crate::launch::{Address, Form};
use crate::matmul::Job;
use crate::product::{ProductShape, kind};
use crate::queue::Queue;
use cudarc::cublaslt::{result, sys};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

/// Functions of cuBLASLt that are called.
const SYMBOLS: &[&str] = &[
    "cublasLtCreate",
    "cublasLtDestroy",
    "cublasLtMatmul",
    "cublasLtMatmulAlgoGetHeuristic",
    "cublasLtMatmulDescCreate",
    "cublasLtMatmulDescDestroy",
    "cublasLtMatmulDescSetAttribute",
    "cublasLtMatmulPreferenceCreate",
    "cublasLtMatmulPreferenceDestroy",
    "cublasLtMatmulPreferenceSetAttribute",
    "cublasLtMatrixLayoutCreate",
    "cublasLtMatrixLayoutDestroy",
    "cublasLtMatrixLayoutSetAttribute",
];
/// Most shapes whose algorithm is remembered; beyond them all are forgotten.
const SHAPES_MAX: usize = 4096;
/// Multiplications below which a product is not worth the call.
const WORK_MIN: u64 = 1 << 18;

/// A handle of the library, with the algorithms that it chose.
pub(crate) struct Blas {
    handle: sys::cublasLtHandle_t,
    chosen: Mutex<HashMap<Key, Option<Choice>>>,
}

// SAFETY: cuBLASLt's documentation: a handle may be used from several threads at once.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

/// Everything that an algorithm may depend on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    form: Form,
    dims: [u32; 4],
    left: Side,
    right: Side,
    c: Side,
    residual: Option<Side>,
    epilogue: Epilogue,
    tf32: bool,
}

/// One operand as a column-major matrix.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Side {
    transposed: bool,
    rows: u32,
    columns: u32,
    leading: u32,
    batch_stride: u64,
    /// Largest power of two up to 256 that divides its address.
    alignment: u32,
}

/// What it can do to sums.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Epilogue {
    bias: bool,
    activation: Option<Applied>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Applied {
    Relu,
    GeluTanh,
}

#[derive(Clone, Copy)]
struct Choice {
    algorithm: sys::cublasLtMatmulAlgo_t,
    workspace: usize,
}

impl Side {
    fn new(address: Address, [rows, columns]: [u32; 2], leading: u32, batch_stride: u64) -> Side {
        let alignment = 1 << address.0.trailing_zeros().min(8);
        Side { transposed: false, rows, columns, leading, batch_stride, alignment }
    }

    /// A row-major `[rows, columns]` as its column-major transpose; none if neither axis is dense.
    fn of(
        address: Address,
        [rows, columns]: [u32; 2],
        [row_stride, column_stride]: [u32; 2],
        batch_stride: u64,
    ) -> Option<Side> {
        if column_stride == 1 && (row_stride >= columns || rows == 1) {
            let leading = row_stride.max(columns);
            return Some(Side::new(address, [columns, rows], leading, batch_stride));
        }
        let fits = row_stride == 1 && (column_stride >= rows || columns == 1);
        fits.then(|| {
            let leading = column_stride.max(rows);
            let side = Side::new(address, [rows, columns], leading, batch_stride);
            Side { transposed: true, ..side }
        })
    }
}

impl Blas {
    /// The library with a handle for the current context.
    ///
    /// # Errors
    /// [`NoCublasLt`]: it is not installed, lacks a function, or refuses.
    pub(crate) fn open() -> Result<Blas, NoCublasLt> {
        // SAFETY: loading a library runs its initializers; those of cuBLASLt are meant for this.
        if !unsafe { sys::is_culib_present() } {
            return Err(NoCublasLt::NotFound);
        }
        // SAFETY: the library is there, so this does not panic.
        let library = unsafe { sys::culib() };
        let absent = |symbol: &&&'static str| {
            // SAFETY: the address is not used.
            unsafe { library.get::<*const ()>(symbol.as_bytes()) }.is_err()
        };
        if let Some(symbol) = SYMBOLS.iter().find(absent) {
            return Err(NoCublasLt::NoSymbol { symbol });
        }
        let refused =
            |error: result::CublasError| NoCublasLt::Refused { status: format!("{:?}", error.0) };
        let handle = result::create_handle().map_err(refused)?;
        Ok(Blas { handle, chosen: Mutex::default() })
    }

    /// Frees the handle, with its context current.
    pub(crate) fn close(self) {
        // SAFETY: it was created once and is not used again.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }

    /// Queues the product; whether that was done. If not, nothing was queued.
    pub(crate) fn matmul(&self, queue: &Queue<'_>, job: &Job) -> bool {
        let Some((key, pointers)) = described(queue, job) else { return false };
        let known = self.lock().get(&key).copied();
        // What runs for the first time may load code, which a recording forbids.
        let first = known.is_none();
        if first && queue.is_recording() {
            return false;
        }
        let workspace = queue.workspace();
        let Some(call) = MatmulCall::new(&key, &pointers) else { return false };
        let choice = match known {
            Some(choice) => choice,
            None => call.choose(self.handle, &key, workspace.bytes()),
        };
        let done = choice.is_some_and(|choice| {
            let space = (workspace.address() as *mut c_void, choice.workspace);
            call.run(self.handle, &choice, &pointers, space, queue.stream().cast())
        });
        if first || !done {
            let mut chosen = self.lock();
            if chosen.len() >= SHAPES_MAX {
                chosen.clear();
            }
            chosen.insert(key, choice.filter(|_| done));
        }
        done
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Option<Choice>>> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses of a call.
struct Pointers {
    left: Address,
    right: Address,
    c: Address,
    /// The output, if there is none.
    residual: Address,
    has_residual: bool,
    bias: Address,
}

/// The product in cuBLASLt's words; none if it is too small or has no such words.
fn described(queue: &Queue<'_>, job: &Job) -> Option<(Key, Pointers)> {
    let ProductShape { batch, m, n, k, .. } = job.shape;
    let shape = &job.shape;
    let [form, right_form] = job.forms;
    let work = u64::from(m) * u64::from(n) * u64::from(k) * u64::from(batch);
    if form != right_form || work < WORK_MIN || i32::try_from(batch).is_err() {
        return None;
    }
    let (has_bias, has_residual) = (job.to.bias.0 != 0, job.to.residual.0 != 0);
    if has_bias && !job.to.bias.0.is_multiple_of(16) {
        return None;
    }
    let applied = ending(&job.finish, has_residual)?;
    let a_strides = [shape.a_row, shape.a_column];
    let b_strides = [shape.b_row, shape.b_column];
    let residual =
        Side::new(job.to.residual, [n, m], shape.residual_row.max(n), shape.residual_batch);
    let key = Key {
        form,
        dims: [batch, m, n, k],
        left: Side::of(job.b, [k, n], b_strides, shape.b_batch)?,
        right: Side::of(job.a, [m, k], a_strides, shape.a_batch)?,
        c: Side::new(job.to.c, [n, m], shape.c_row.max(n), shape.c_batch),
        residual: has_residual.then_some(residual),
        epilogue: Epilogue { bias: has_bias, activation: applied },
        tf32: queue.device().options().tf32,
    };
    let c = job.to.c;
    let residual = if has_residual { job.to.residual } else { c };
    let (left, right, bias) = (job.b, job.a, job.to.bias);
    Some((key, Pointers { left, right, c, residual, has_residual, bias }))
}

/// Whether cuBLASLt can do to sums what `finish` says.
pub(crate) fn can_finish(finish: &Finish, has_residual: bool) -> bool {
    ending(finish, has_residual).is_some()
}

/// The activation of an epilogue that does the same; none if there is no such epilogue.
fn ending(finish: &Finish, has_residual: bool) -> Option<Option<Applied>> {
    match (finish.activation, finish.scaled, finish.last) {
        (Activation::None, None, Activation::None) => Some(None),
        (Activation::None, None, last) => applied(last).map(Some),
        (own, None, Activation::None) if !has_residual => applied(own).map(Some),
        (_, Some(_), _) | (_, None, _) => None,
    }
}

/// The activation as an epilogue; its GELU is the one with the hyperbolic tangent.
fn applied(activation: Activation) -> Option<Applied> {
    match activation {
        Activation::Relu => Some(Applied::Relu),
        Activation::GeluTanh => Some(Applied::GeluTanh),
        Activation::None
        | Activation::Gelu
        | Activation::Silu
        | Activation::Tanh
        | Activation::Sigmoid
        | Activation::Clamp { .. }
        | Activation::LeakyRelu { .. }
        | Activation::Elu { .. }
        | Activation::HardSigmoid { .. }
        | Activation::HardSwish => None,
    }
}

/// Descriptors of one call.
struct MatmulCall {
    descriptor: Descriptor,
    /// Of the left and right side, the residual and the output.
    layouts: [Layout; 4],
}

struct Descriptor(sys::cublasLtMatmulDesc_t);
struct Layout(sys::cublasLtMatrixLayout_t);
struct Preference(sys::cublasLtMatmulPreference_t);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it was created once.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: it was created once.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: it was created once.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

impl MatmulCall {
    fn new(key: &Key, pointers: &Pointers) -> Option<MatmulCall> {
        use sys::cublasComputeType_t as Compute;
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let compute = match key.tf32 && key.form == Form::F32 {
            true => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
            false => Compute::CUBLAS_COMPUTE_32F,
        };
        let scale = sys::cudaDataType_t::CUDA_R_32F;
        let descriptor = Descriptor(result::create_matmul_desc(compute, scale).ok()?);
        let operation = |side: &Side| i32::from(side.transposed);
        descriptor.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, operation(&key.left))?;
        descriptor.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, operation(&key.right))?;
        descriptor.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, key.epilogue.code())?;
        if key.epilogue.bias {
            descriptor.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, pointers.bias.0)?;
        }
        let layout = |side: &Side, form| Layout::new(side, form, key.dims[0]);
        let layouts = [
            layout(&key.left, key.form)?,
            layout(&key.right, key.form)?,
            layout(key.residual.as_ref().unwrap_or(&key.c), key.form)?,
            layout(&key.c, key.form)?,
        ];
        Some(MatmulCall { descriptor, layouts })
    }

    /// The algorithm that the library thinks fastest.
    fn choose(&self, handle: sys::cublasLtHandle_t, key: &Key, room: usize) -> Option<Choice> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference = Preference(result::create_matmul_pref().ok()?);
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, room)?;
        // Parts of a sum that was split are added in f32, never in the type of the output.
        let scheme = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, scheme as u32)?;
        let residual = key.residual.as_ref().unwrap_or(&key.c);
        for (attribute, side) in [
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &key.left),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &key.right),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, residual),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &key.c),
        ] {
            preference.set(attribute, side.alignment)?;
        }
        let [a, b, c, d] = &self.layouts;
        // SAFETY: handle and descriptors are live.
        let found = unsafe {
            result::get_matmul_algo_heuristic(
                handle,
                self.descriptor.0,
                a.0,
                b.0,
                c.0,
                d.0,
                preference.0,
            )
        };
        let found = found.ok().filter(|found| found.workspaceSize <= room)?;
        Some(Choice { algorithm: found.algo, workspace: found.workspaceSize })
    }

    fn run(
        &self,
        handle: sys::cublasLtHandle_t,
        choice: &Choice,
        pointers: &Pointers,
        (workspace, bytes): (*mut c_void, usize),
        stream: sys::cudaStream_t,
    ) -> bool {
        let (one, zero) = (1f32, 0f32);
        let beta = if pointers.has_residual { &one } else { &zero };
        let [a, b, c, d] = &self.layouts;
        // SAFETY: the operands were checked against the shape when the job was made; handle and
        // descriptors are live, and the workspace is of the stream.
        let queued = unsafe {
            result::matmul(
                handle,
                self.descriptor.0,
                (&raw const one).cast(),
                (&raw const *beta).cast(),
                pointers.left.0 as *const c_void,
                a.0,
                pointers.right.0 as *const c_void,
                b.0,
                pointers.residual.0 as *const c_void,
                c.0,
                pointers.c.0 as *mut c_void,
                d.0,
                &raw const choice.algorithm,
                workspace,
                bytes,
                stream,
            )
        };
        queued.is_ok()
    }
}

impl Epilogue {
    fn code(self) -> u32 {
        use sys::cublasLtEpilogue_t as Code;
        let code = match (self.activation, self.bias) {
            (None, false) => Code::CUBLASLT_EPILOGUE_DEFAULT,
            (None, true) => Code::CUBLASLT_EPILOGUE_BIAS,
            (Some(Applied::Relu), false) => Code::CUBLASLT_EPILOGUE_RELU,
            (Some(Applied::Relu), true) => Code::CUBLASLT_EPILOGUE_RELU_BIAS,
            (Some(Applied::GeluTanh), false) => Code::CUBLASLT_EPILOGUE_GELU,
            (Some(Applied::GeluTanh), true) => Code::CUBLASLT_EPILOGUE_GELU_BIAS,
        };
        code as u32
    }
}

impl Descriptor {
    fn set<T>(&self, attribute: sys::cublasLtMatmulDescAttributes_t, value: T) -> Option<()> {
        let at = (&raw const value).cast();
        // SAFETY: the descriptor is live, and the value has the attribute's type.
        unsafe { result::set_matmul_desc_attribute(self.0, attribute, at, size_of::<T>()) }.ok()
    }
}

impl Preference {
    fn set<T>(&self, attribute: sys::cublasLtMatmulPreferenceAttributes_t, value: T) -> Option<()> {
        let at = (&raw const value).cast();
        // SAFETY: the preference is live, and the value has the attribute's type.
        unsafe { result::set_matmul_pref_attribute(self.0, attribute, at, size_of::<T>()) }.ok()
    }
}

impl Layout {
    fn new(side: &Side, form: Form, batch: u32) -> Option<Layout> {
        use sys::cublasLtMatrixLayoutAttribute_t as Attribute;
        let kind = match kind(form).ok()? {
            0 => sys::cudaDataType_t::CUDA_R_32F,
            1 => sys::cudaDataType_t::CUDA_R_16F,
            _ => sys::cudaDataType_t::CUDA_R_16BF,
        };
        let [rows, columns] = [side.rows, side.columns].map(u64::from);
        let made = result::create_matrix_layout(kind, rows, columns, side.leading.into());
        let layout = Layout(made.ok()?);
        if batch > 1 {
            let stride = i64::try_from(side.batch_stride).ok()?;
            layout.set(Attribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, batch as i32)?;
            layout.set(Attribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride)?;
        }
        Some(layout)
    }

    fn set<T>(&self, attribute: sys::cublasLtMatrixLayoutAttribute_t, value: T) -> Option<()> {
        let at = (&raw const value).cast();
        // SAFETY: the layout is live, and the value has the attribute's type.
        unsafe { result::set_matrix_layout_attribute(self.0, attribute, at, size_of::<T>()) }.ok()
    }
}
