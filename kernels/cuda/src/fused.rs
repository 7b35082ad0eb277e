//! Several elementwise ops as one kernel, which is written and compiled when it is asked for.
//!
//! A chain of launches reads and writes every value in between; one kernel keeps them in registers.
//! It is made of the same functions as the kernels that it replaces (`fused.cuh`), every value is
//! rounded to its dtype as if it had been stored, and what belongs to different ops is never
//! contracted, so that the result has the same bits, as long as NVRTC is of the version that the other
//! kernels were compiled with (12.9): the mathematical functions are part of the compiler.

#![expect(unsafe_code, reason = "modules of the driver")]

use crate::binary::{Arithmetic, BitOp, Comparison, Logical, Whole};
use crate::cast;
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::{Address, Form, is_signed};
use crate::layout::{Broadcast, Groups};
use crate::memory::Slice;
use crate::nvrtc::{Compiler, CompilerError, Image};
use crate::parameters::{AXES_MAX, ELEMENTWISE_THREADS};
use crate::queue::Queue;
use crate::unary::{FloatTest, IntUnary, Unary};
use aimass_tensor::DType;
use cudarc::driver::{result, sys};
use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt::{self, Write as _};
use std::sync::{Arc, PoisonError, Weak};

/// Most values that a kernel reads.
pub const INPUTS_MAX: usize = 8;
/// Most ops of a kernel.
pub const STEPS_MAX: usize = 32;
/// Most kernels of a device that are alive at once.
pub const KERNELS_MAX: usize = 256;

/// What the sources include, by name.
const HEADERS: &[(&str, &str)] = &[
    ("fused.cuh", include_str!("fused.cuh")),
    ("kernel.cuh", include_str!("kernel.cuh")),
    ("layout.cuh", include_str!("layout.cuh")),
    ("unary.cu", include_str!("unary.cu")),
    ("binary.cu", include_str!("binary.cu")),
    ("cast.cu", include_str!("cast.cu")),
];

/// A value of an [`Expression`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// An input, by number.
    Input(usize),
    /// The result of a step, by number.
    Step(usize),
}

/// What a step computes; operands as in the modules of the same ops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// A function of one float.
    Unary(Unary),
    /// A question about one float.
    Test(FloatTest),
    /// A function of one integer or bool.
    IntUnary(IntUnary),
    /// Arithmetic of two numbers.
    Arithmetic(Arithmetic),
    /// A comparison of two numbers or bools.
    Compare(Comparison),
    /// An operation on the bits of two integers.
    Bits(BitOp),
    /// A connective of two bools.
    Logical(Logical),
    /// The second operand where the first, a bool, is true, else the third.
    Select,
    /// Conversion to this dtype.
    Cast(DType),
}

#[derive(Clone, Debug, PartialEq)]
struct Step {
    function: Function,
    operands: Vec<Operand>,
    dtype: DType,
}

/// Elementwise ops, each of inputs or of the results of earlier ones; the result is that of the last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expression {
    inputs: Vec<DType>,
    steps: Vec<Step>,
}

impl Expression {
    /// Adds an input; none if there are [`INPUTS_MAX`] or no kernel reads this dtype.
    pub fn input(&mut self, dtype: DType) -> Option<Operand> {
        if self.inputs.len() == INPUTS_MAX || storage(dtype).is_none() {
            return None;
        }
        self.inputs.push(dtype);
        Some(Operand::Input(self.inputs.len() - 1))
    }

    /// Adds a step; none if there are [`STEPS_MAX`], or if there is no such function of these operands.
    pub fn push(&mut self, function: Function, operands: &[Operand]) -> Option<Operand> {
        let dtypes: Vec<DType> =
            operands.iter().map(|&operand| self.dtype(operand)).collect::<Option<_>>()?;
        let dtype = function.result(&dtypes)?;
        if self.steps.len() == STEPS_MAX {
            return None;
        }
        self.steps.push(Step { function, operands: operands.to_vec(), dtype });
        Some(Operand::Step(self.steps.len() - 1))
    }

    fn dtype(&self, operand: Operand) -> Option<DType> {
        match operand {
            Operand::Input(number) => self.inputs.get(number).copied(),
            Operand::Step(number) => self.steps.get(number).map(|step| step.dtype),
        }
    }

    /// Elements that a thread takes at once.
    fn pack(&self) -> u32 {
        let long = |step: &Step| step.function.is_long(self.operand_dtype(step));
        let out = self.steps.last().map(|step| step.dtype);
        let wide = |dtype: DType| dtype.size() == Some(8);
        match self.inputs.iter().copied().chain(out).any(wide) {
            _ if self.steps.iter().any(long) => 1,
            true => 2,
            false => 4,
        }
    }

    fn operand_dtype(&self, step: &Step) -> DType {
        step.operands.first().and_then(|&first| self.dtype(first)).unwrap_or(step.dtype)
    }

    /// The source of the kernel `fused`; none without steps.
    fn source(&self) -> Option<String> {
        let out = storage(self.steps.last()?.dtype)?;
        let mut text = String::from("#include \"fused.cuh\"\nusing namespace fused_;\n");
        let (mut parameters, mut reads, mut elements) =
            (String::new(), String::new(), String::new());
        for (number, &dtype) in self.inputs.iter().enumerate() {
            let own = storage(dtype)?;
            write!(parameters, ", {own} x{number}").ok()?;
            writeln!(
                reads,
                "        auto x{number} = input<N, {own}>(with, {number}, at[{number}]);"
            )
            .ok()?;
            write!(elements, ", x{number}.at[k]").ok()?;
        }
        writeln!(text, "DEVICE {out} element(u32 zero{parameters}) {{").ok()?;
        for (number, step) in self.steps.iter().enumerate() {
            let call = step.function.call(self.operand_dtype(step), &step.operands)?;
            let own = storage(step.dtype)?;
            writeln!(text, "    {own} v{number} = apart({call}, zero);").ok()?;
        }
        let (inputs, last, pack) = (self.inputs.len(), self.steps.len() - 1, self.pack());
        let wide = if pack == 1 { "1" } else { "with.width" };
        write!(
            text,
            "    return v{last};\n}}\n\
             template <u32 N> DEVICE void groups(const Fused &with) {{\n    \
             each_group<{inputs}>(with, [&](u32 i, const u32 (&at)[{inputs}]) {{\n{reads}        \
             Pack<{out}, N> y;\n#pragma unroll\n        \
             for (u32 k = 0; k < N; k++) y.at[k] = element(with.zero{elements});\n        \
             reinterpret_cast<Pack<{out}, N> *>(with.output)[i] = y;\n    }});\n}}\n\
             extern \"C\" __global__ void __launch_bounds__({ELEMENTWISE_THREADS})\n\
             fused(const __grid_constant__ Fused with) {{\n    \
             if ({wide} == 1) return groups<1>(with);\n    groups<{pack}>(with);\n}}\n"
        )
        .ok()?;
        Some(text)
    }
}

impl Function {
    /// The dtype of the result; none if there is no such function of these dtypes.
    fn result(self, of: &[DType]) -> Option<DType> {
        let float = |dtype: DType| Form::of_float(dtype).map(|_| dtype);
        let integer = |dtype: DType| Form::of_integer(dtype).map(|_| dtype);
        match (self, of) {
            (Function::Unary(_), &[x]) => float(x),
            (Function::Test(_), &[x]) => float(x).map(|_| DType::Bool),
            (Function::IntUnary(IntUnary::Not), &[DType::Bool]) => Some(DType::Bool),
            (Function::IntUnary(_), &[x]) => integer(x),
            (Function::Arithmetic(_), &[a, b]) if a == b => float(a).or_else(|| integer(a)),
            (Function::Compare(op), &[a, b]) if a == b => op.parameters(a).map(|_| DType::Bool),
            (Function::Bits(_), &[a, b]) if a == b => integer(a),
            (Function::Logical(_), &[DType::Bool, DType::Bool]) => Some(DType::Bool),
            (Function::Select, &[DType::Bool, x, y]) if x == y => storage(x).map(|_| x),
            (Function::Cast(to), &[from]) => cast::castable(from, to).then_some(to),
            (_, _) => None,
        }
    }

    /// Whether its code is too long for several copies.
    fn is_long(self, of: DType) -> bool {
        match self {
            Function::Unary(function) => function.is_long(),
            Function::Arithmetic(op) if of.is_float() => op.is_long(),
            Function::Arithmetic(op) => Whole::of_arithmetic(op, is_signed(of)).is_long(),
            Function::Test(_)
            | Function::IntUnary(_)
            | Function::Compare(_)
            | Function::Bits(_)
            | Function::Logical(_)
            | Function::Select
            | Function::Cast(_) => false,
        }
    }

    /// The call in CUDA C of operands of this dtype.
    fn call(self, of: DType, operands: &[Operand]) -> Option<String> {
        let all: Vec<String> = operands.iter().map(|operand| format!("{operand}")).collect();
        let (all, type_of) = (all.join(", "), storage(of)?);
        Some(match self {
            Function::Unary(function) => {
                let (kind, alpha, beta) = function.parameters();
                let number = |x: f32| format!("apart(__uint_as_float({:#x}u), zero)", x.to_bits());
                let (alpha, beta) = (number(alpha), number(beta));
                format!("function<{type_of}>({kind}, {all}, {alpha}, {beta})")
            }
            Function::Test(test) => {
                format!("test<{type_of}>({}, {all})", u32::from(test == FloatTest::IsInf))
            }
            Function::IntUnary(function) => match function.parameters(is_signed(of)) {
                Some((kind, low, high)) => {
                    let number = |x: i64| format!("(i64){:#x}ull", x as u64);
                    let (low, high) = (number(low), number(high));
                    format!("whole<{type_of}>({kind}, {all}, {low}, {high})")
                }
                None => all,
            },
            Function::Arithmetic(op) if of.is_float() => {
                format!("arithmetic<{type_of}>({}, {all})", op as u32)
            }
            Function::Arithmetic(op) => {
                of_whole(Whole::of_arithmetic(op, is_signed(of)), of, &all)?
            }
            Function::Bits(op) => of_whole(Whole::of_bits(op, is_signed(of)), of, &all)?,
            Function::Logical(op) => of_whole(Whole::of_logical(op), of, &all)?,
            Function::Compare(op) => {
                let (_, holds, flip) = op.parameters(of)?;
                format!("compared<{type_of}>({holds:#x}u, {flip:#x}ull, {all})")
            }
            Function::Select => match operands {
                [condition, x, y] => format!("({condition} ? {x} : {y})"),
                _ => return None,
            },
            Function::Cast(to) => {
                let (from, code, result) = (cast::code(of)?, cast::code(to)?, storage(to)?);
                format!("converted<{from}, {code}, {result}>({all})")
            }
        })
    }
}

fn of_whole(op: Whole, of: DType, operands: &str) -> Option<String> {
    Some(format!("whole_numbers<{}>({}, {operands})", storage(of)?, op as u32))
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Input(number) => write!(f, "x{number}"),
            Operand::Step(number) => write!(f, "v{number}"),
        }
    }
}

/// The type in CUDA C that holds elements; none for those that no elementwise kernel reads.
fn storage(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 => Some("f32"),
        DType::F16 => Some("f16"),
        DType::Bf16 => Some("bf16"),
        DType::F64 => Some("f64"),
        other => {
            cast::code(other)?;
            match other.size()? {
                1 => Some("u8"),
                2 => Some("u16"),
                4 => Some("u32"),
                8 => Some("u64"),
                _ => None,
            }
        }
    }
}

/// Kernels that are alive, by their sources.
pub(crate) struct Loaded<K = FusedKernel> {
    kernels: HashMap<String, Weak<K>>,
}

impl<K> Default for Loaded<K> {
    fn default() -> Loaded<K> {
        Loaded { kernels: HashMap::new() }
    }
}

impl<K> Loaded<K> {
    fn find(&self, source: &str) -> Option<Arc<K>> {
        self.kernels.get(source).and_then(Weak::upgrade)
    }

    fn keep(&mut self, source: String, kernel: &Arc<K>) -> Result<(), CompilerError> {
        self.kernels.retain(|_, kernel| kernel.strong_count() > 0);
        if self.kernels.len() >= KERNELS_MAX {
            return Err(CompilerError::TooMany { limit: KERNELS_MAX });
        }
        self.kernels.insert(source, Arc::downgrade(kernel));
        Ok(())
    }
}

/// An expression as a kernel of a device; unloaded when it is dropped, by a thread that holds no queue
/// of the device.
pub struct FusedKernel {
    device: Arc<Device>,
    module: sys::CUmodule,
    function: sys::CUfunction,
    /// Bytes of an element of each input.
    inputs: Vec<usize>,
    /// Bytes of an element of the result.
    out: usize,
    pack: u32,
}

// SAFETY: handles of the driver may be used from every thread on which their context is current.
unsafe impl Send for FusedKernel {}
// SAFETY: as above.
unsafe impl Sync for FusedKernel {}

/// `Fused` of `fused.cuh`.
#[repr(C)]
struct Parameters {
    inputs: [Address; INPUTS_MAX],
    output: Address,
    axes: u32,
    width: u32,
    groups: u32,
    zero: u32,
    extents: [u32; AXES_MAX],
    strides: [[u32; AXES_MAX]; INPUTS_MAX],
}

impl FusedKernel {
    /// The kernel of this expression: one that is alive, or else written, compiled and loaded now.
    /// Takes tenths of a second; the calling thread holds no queue of the device.
    ///
    /// # Errors
    /// [`CompilerError`]: no compiler, what it or the driver refused, or [`KERNELS_MAX`] kernels.
    pub fn new(
        device: &Arc<Device>,
        expression: &Expression,
    ) -> Result<Arc<FusedKernel>, CompilerError> {
        const EMPTY: DeviceError = DeviceError::Defect("an expression without steps");
        let source = expression.source().ok_or(EMPTY)?;
        let lock = || device.fused.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().find(&source);
        if let Some(known) = known {
            return Ok(known);
        }
        let image = Compiler::get()?.compile(&source, HEADERS, device.info().capability)?;
        let kernel = Arc::new(FusedKernel::load(device, expression, &image)?);
        let kept = lock().keep(source, &kernel);
        kept.map(|()| kernel)
    }

    /// Loads the machine code, or the text where the driver takes no machine code.
    fn load(
        device: &Arc<Device>,
        expression: &Expression,
        image: &Image,
    ) -> Result<FusedKernel, DeviceError> {
        const SIZE: DeviceError = DeviceError::Defect("elements of no size");
        let size = |dtype: DType| dtype.size().ok_or(SIZE);
        let inputs =
            expression.inputs.iter().map(|&dtype| size(dtype)).collect::<Result<_, _>>()?;
        let out = size(expression.steps.last().ok_or(SIZE)?.dtype)?;
        let load = |image: &[u8]| {
            let loaded = device.with_context(|| {
                // SAFETY: the image is whole, and text ends with a zero byte.
                unsafe { result::module::load_data(image.as_ptr().cast()) }
            });
            device.checked("cuModuleLoadData", loaded)
        };
        device.health()?;
        let module = match image.cubin.is_empty() {
            true => load(&image.ptx)?,
            false => load(&image.cubin).or_else(|error| match error {
                DeviceError::Call { .. } => load(&image.ptx),
                other => Err(other),
            })?,
        };
        let found = device.with_context(|| {
            // SAFETY: the module is loaded.
            unsafe { result::module::get_function(module, c"fused".to_owned()) }
        });
        match device.checked("cuModuleGetFunction", found) {
            Ok(function) => {
                let (device, pack) = (device.clone(), expression.pack());
                Ok(FusedKernel { device, module, function, inputs, out, pack })
            }
            Err(error) => {
                // SAFETY: it was loaded once, and nothing of it was found.
                let _ = device.with_context(|| unsafe { result::module::unload(module) });
                Err(error)
            }
        }
    }

    /// Queues the kernel on dense inputs, each with its shape, which broadcast to that of the output.
    /// An input may have one element, and none may lie where the output does.
    ///
    /// # Errors
    /// [`DeviceError::Defect`] for another number of inputs, shapes that do not broadcast to the
    /// output's, or an operand that is too short; a refused launch.
    pub fn launch(
        &self,
        queue: &mut Queue<'_>,
        inputs: &[(Slice<'_>, &[usize])],
        (out, shape): (Slice<'_>, &[usize]),
    ) -> Result<(), DeviceError> {
        const OPERANDS: DeviceError = DeviceError::Defect("other operands than a kernel's");
        if inputs.len() != self.inputs.len() || !Arc::ptr_eq(queue.device(), &self.device) {
            return Err(OPERANDS);
        }
        let of = |number: usize| inputs.get(number).copied().unwrap_or((Slice::none(), &[]));
        let plan = Broadcast::<INPUTS_MAX>::new(std::array::from_fn(|number| of(number).1))?;
        if plan.elements() != shape.iter().map(|&extent| extent as u64).product::<u64>() {
            return Err(OPERANDS);
        }
        let mut addresses = [Address(0); INPUTS_MAX];
        for (number, (&size, elements)) in self.inputs.iter().zip(plan.lengths()).enumerate() {
            addresses[number] = of(number).0.elements(elements, size)?;
        }
        let output = out.elements(plan.elements(), self.out)?;
        let slices = std::array::from_fn(|number| {
            (of(number).0, self.inputs.get(number).copied().unwrap_or(1))
        });
        let Groups { width, groups, extents, strides } =
            plan.groups(self.pack, slices, (out, self.out));
        if plan.elements() == 0 {
            return Ok(());
        }
        let (inputs, axes) = (addresses, plan.axes());
        let mut with =
            Parameters { inputs, output, axes, width, groups, zero: 0, extents, strides };
        let grid = queue.over(groups.into(), ELEMENTWISE_THREADS);
        let mut parameters: [*mut c_void; 1] = [(&raw mut with).cast()];
        queue.launch_function("fused", self.function, grid, &mut parameters)
    }
}

impl Drop for FusedKernel {
    fn drop(&mut self) {
        // What is queued may still run it; a stream must not be waited for while another thread records
        // on it, so that this takes its turn. There is nobody to tell what fails here.
        let waited = self.device.queue().and_then(|mut queue| queue.synchronize());
        let _ = waited;
        // SAFETY: it was loaded once and is not used again.
        let _ = self.device.with_context(|| unsafe { result::module::unload(self.module) });
    }
}

impl fmt::Debug for FusedKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a kernel of {} inputs on {:?}", self.inputs.len(), self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_keeps_no_more_kernels_than_the_limit() {
        let mut loaded = Loaded::<usize>::default();
        let mut alive: Vec<Arc<usize>> = (0..KERNELS_MAX).map(Arc::new).collect();
        for kernel in &alive {
            assert_eq!(loaded.keep(kernel.to_string(), kernel), Ok(()));
        }
        let late = Arc::new(KERNELS_MAX);
        let refused = Err(CompilerError::TooMany { limit: KERNELS_MAX });
        assert_eq!(loaded.keep("late".into(), &late), refused);
        assert_eq!((loaded.find("late"), loaded.find("0").as_deref()), (None, Some(&0)));
        alive.remove(0);
        assert_eq!(loaded.keep("late".into(), &late), Ok(()));
        assert_eq!((loaded.find("late"), loaded.find("0")), (Some(late), None));
    }
}
