//! Runs operations on images: extents of the run, packed weights, the kernel.

use super::Frame;
use crate::RunError;
use crate::compile::{DenseForm, ImageInst, ImageKind};
use crate::graph::ValueId;
use crate::packing::Matrix;
use crate::step::ImageStep;
use aimass_cpu::conv::{
    Axis, ImageDims, conv_depthwise, conv_packed, conv_planes, conv_spread, conv_tiled, image_pool,
    reads_planes,
};
use aimass_cpu::matmul::{Epilogue, PackedMatrix};
use aimass_cpu::pool::Team;
use aimass_cpu::shape_ops::transpose;
use aimass_cpu::view::{Rows, bytes_of, bytes_of_mut, numbers_mut};
use aimass_tensor::Shape;

const DEFECT: RunError = RunError::Internal("an operation on images has no memory or weights");

impl Frame<'_> {
    pub(super) fn image(&mut self, step: &ImageStep, team: Team<'_>) -> Result<(), RunError> {
        let out = step.inst.out;
        if self.shapes[out.index()].elements() == 0 {
            return Ok(());
        }
        let region = self.region(out).ok_or(DEFECT)?;
        let bytes = std::mem::take(&mut self.regions[region]);
        let own = bytes.get_mut(..self.byte_len(out)).ok_or(DEFECT);
        let outcome = own.and_then(|own| self.compute(step, team, numbers_mut(own)));
        self.regions[region] = bytes;
        outcome
    }

    fn compute(&self, step: &ImageStep, team: Team<'_>, y: &mut [f32]) -> Result<(), RunError> {
        let inst = &step.inst;
        let shape = |value: ValueId| &self.shapes[value.index()];
        let numbers = |value: ValueId| self.arg(value).numbers::<f32>();
        let x = numbers(inst.x);
        let filters = shape(inst.out)[3];
        let epilogue = Epilogue {
            bias: inst.bias.map(numbers),
            finish: inst.finish,
            residual: inst.residual.map(|value| Rows::dense(numbers(value), filters)),
        };
        let matrix = || -> Result<&PackedMatrix, RunError> {
            let index = step.matrix.ok_or(DEFECT)?;
            match self.plan.matrices.get(index).map(|matrix| &**matrix) {
                Some(Matrix::F32(matrix)) => Ok(matrix),
                Some(Matrix::Int8(_)) | None => Err(DEFECT),
            }
        };
        let dims = image_dims(inst, shape(inst.x), shape(inst.out));
        match &inst.kind {
            ImageKind::Dense { form: DenseForm::Windows, .. } => {
                conv_packed(team, &dims, x, matrix()?, y, &epilogue);
            }
            ImageKind::Dense { form: DenseForm::Tiles, .. } => {
                conv_tiled(team, &dims, x, matrix()?, y, &epilogue);
            }
            ImageKind::Dense { form: DenseForm::Planes, .. } => {
                let [batch, channels, height, width] = shape(inst.x)[..] else {
                    return Err(DEFECT);
                };
                let last = Shape::new(&[batch, height, width, channels]).map_err(|_| DEFECT)?;
                let dims = image_dims(inst, &last, shape(inst.out));
                if reads_planes(&dims) {
                    conv_planes(team, &dims, x, matrix()?, y, &epilogue);
                    return Ok(());
                }
                let mut moved = vec![0f32; x.len()];
                let (size, to) = (size_of::<f32>(), bytes_of_mut(&mut moved));
                transpose(team, size, bytes_of(x), shape(inst.x), &[0, 2, 3, 1], to);
                conv_packed(team, &dims, &moved, matrix()?, y, &epilogue);
            }
            ImageKind::Depthwise { w } => {
                conv_depthwise(team, &dims, x, numbers(*w), y, &epilogue);
            }
            ImageKind::Spread { .. } => {
                let [rows, columns] = [dims.rows, dims.columns].map(turned);
                let dims = ImageDims { rows, columns, ..dims };
                conv_spread(team, &dims, x, matrix()?, y, (epilogue.bias, epilogue.finish));
            }
            ImageKind::Pool(kind) => image_pool(team, *kind, &dims, x, y),
        }
        Ok(())
    }
}

/// The axis of a transposed window: its positions are on the input.
fn turned(axis: Axis) -> Axis {
    Axis { input: axis.output, output: axis.input, ..axis }
}

fn image_dims(inst: &ImageInst, x: &Shape, y: &Shape) -> ImageDims {
    let axis = |i: usize| Axis {
        input: x[i + 1],
        output: y[i + 1],
        kernel: inst.kernel[i],
        stride: inst.window.strides[i] as usize,
        dilation: inst.window.dilations[i] as usize,
        before: inst.window.pads_before[i] as usize,
    };
    ImageDims { batch: x[0], rows: axis(0), columns: axis(1), channels: x[3], filters: y[3] }
}
