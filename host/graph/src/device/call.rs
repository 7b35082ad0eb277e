//! What a lowered op gets to run with, on a device.

use aimass_cuda::{DeviceError, Queue, Slice};
use aimass_tensor::{DType, Shape};

/// A value on the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceArg<'a> {
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    /// The elements; of columns of a wider matrix everything from the first element on.
    pub(crate) slice: Slice<'a>,
    /// Elements from one row of the last axis to the next, where rows do not touch.
    pub(crate) stride: Option<usize>,
}

/// A running op.
pub(crate) struct DeviceCall<'a, 'q, 'd> {
    pub(crate) queue: &'q mut Queue<'d>,
    pub(crate) inputs: &'q [DeviceArg<'a>],
    pub(crate) outputs: &'q [DeviceArg<'a>],
    /// As many bytes as the lowering asked for.
    pub(crate) scratch: Slice<'a>,
    /// Eight bytes, all ones; a kernel that finds a bad index stores its position there with an atomic
    /// minimum of u64.
    pub(crate) fault: Slice<'a>,
}

/// Queues the work of an op.
pub(crate) type Launch =
    Box<dyn Fn(&mut DeviceCall<'_, '_, '_>) -> Result<(), DeviceError> + Send + Sync>;

/// Bytes of scratch memory for inputs and outputs of these shapes.
pub(crate) type Scratch = Box<dyn Fn(&[Shape], &[Shape]) -> usize + Send + Sync>;

/// An op as a device runs it.
pub(crate) struct Lowered {
    pub(crate) launch: Launch,
    pub(crate) scratch: Option<Scratch>,
    /// Whether inputs may be columns of a wider matrix.
    pub(crate) strided: bool,
    /// Whether the kernel reports bad indices.
    pub(crate) faults: bool,
}

impl Lowered {
    /// An op without scratch memory, strided inputs or indices.
    pub(crate) fn new(
        launch: impl Fn(&mut DeviceCall<'_, '_, '_>) -> Result<(), DeviceError> + Send + Sync + 'static,
    ) -> Lowered {
        Lowered { launch: Box::new(launch), scratch: None, strided: false, faults: false }
    }

    /// The same with scratch memory.
    pub(crate) fn with_scratch(
        self,
        scratch: impl Fn(&[Shape], &[Shape]) -> usize + Send + Sync + 'static,
    ) -> Lowered {
        Lowered { scratch: Some(Box::new(scratch)), ..self }
    }

    /// The same with inputs that may be columns of a wider matrix.
    pub(crate) fn with_strides(self) -> Lowered {
        Lowered { strided: true, ..self }
    }

    /// The same with a kernel that reports bad indices.
    pub(crate) fn with_faults(self) -> Lowered {
        Lowered { faults: true, ..self }
    }
}

impl DeviceArg<'_> {
    /// Number of elements; the device takes only values of which u32 can count them.
    pub(crate) fn elements(&self) -> u32 {
        u32::try_from(self.shape.elements()).unwrap_or(u32::MAX)
    }
}

impl DeviceCall<'_, '_, '_> {
    /// Has the CPU say what is wrong with the inputs, as it does of an index: position 0 is out of range.
    ///
    /// # Errors
    /// What the driver refuses.
    pub(crate) fn refuse(&mut self) -> Result<(), DeviceError> {
        self.queue.fill(self.fault, 0)
    }
}
