//! Between floats and integers with a scale and a zero point (ONNX `QuantizeLinear-13`,
//! `DequantizeLinear-13`).

use crate::entries;
use crate::error::DeviceError;
use crate::lanes::Lanes;
use crate::launch::Form;
use crate::memory::Slice;
use crate::parameters::QuantizeLanes;
use crate::queue::Queue;

/// Integer that a quantized tensor is made of; in the order of `enum Quantum` in `quantize.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after its type")]
#[repr(u32)]
pub enum Quantum {
    I8,
    U8,
    I16,
    U16,
    I32,
}

/// Type of scales; in the order of `enum Scale` in `quantize.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after its type")]
#[repr(u32)]
pub enum Scale {
    F32,
    F16,
    Bf16,
}

/// Scales and zero points: one of each for every index of the middle axis.
#[derive(Clone, Copy, Debug)]
pub struct Scaling<'m> {
    /// Which axis they belong to; an axis of 1 for a whole tensor.
    pub lanes: Lanes,
    /// Type of the quantized tensor and of the zero points.
    pub quantum: Quantum,
    /// `[n]`.
    pub scales: Slice<'m>,
    /// Type of the scales.
    pub scale: Scale,
    /// `[n]`, or none for zeros.
    pub zeros: Option<Slice<'m>>,
}

/// Threads of a block.
const THREADS: u32 = 256;

impl Quantum {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Quantum::I8 | Quantum::U8 => 1,
            Quantum::I16 | Quantum::U16 => 2,
            Quantum::I32 => 4,
        }
    }
}

impl Scaling<'_> {
    fn checked(&self) -> Result<QuantizeLanes, DeviceError> {
        let Lanes { n, inner, .. } = self.lanes;
        let scale_bytes = match self.scale {
            Scale::F32 => 4,
            Scale::F16 | Scale::Bf16 => 2,
        };
        Ok(QuantizeLanes {
            scales: self.scales.elements(n.into(), scale_bytes)?,
            zeros: match self.zeros {
                Some(zeros) => zeros.elements(n.into(), self.quantum.bytes())?,
                None => Slice::none().elements(0, 1)?,
            },
            elements: self.lanes.elements()? as u32,
            n,
            inner,
            quantum: self.quantum as u32,
            scale_type: self.scale as u32,
        })
    }
}

/// `y = saturate(round(x / scale) + zero)`, halves to even, NaN as 0; `x` holds floats.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, or a refused launch.
pub fn quantize(
    queue: &mut Queue<'_>,
    form: Form,
    scaling: &Scaling<'_>,
    (x, y): (Slice<'_>, Slice<'_>),
) -> Result<(), DeviceError> {
    let lanes = scaling.checked()?;
    let elements = lanes.elements.into();
    let kernel = entries::Quantize {
        x: x.elements(elements, form.bytes())?,
        y: y.elements(elements, scaling.quantum.bytes())?,
        lanes,
    };
    match elements {
        0 => Ok(()),
        _ => queue.launch(&kernel, form, queue.over(elements, THREADS)),
    }
}

/// `y = (x - zero) * scale`, the difference rounded once; `y` is f32.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, or a refused launch.
pub fn dequantize(
    queue: &mut Queue<'_>,
    scaling: &Scaling<'_>,
    (x, y): (Slice<'_>, Slice<'_>),
) -> Result<(), DeviceError> {
    let lanes = scaling.checked()?;
    let elements = lanes.elements.into();
    let kernel = entries::Dequantize {
        x: x.elements(elements, scaling.quantum.bytes())?,
        y: y.elements(elements, size_of::<f32>())?,
        lanes,
    };
    match elements {
        0 => Ok(()),
        _ => queue.launch(&kernel, Form::Plain, queue.over(elements, THREADS)),
    }
}
