//! Matrix products of floats.

use crate::entries;
use crate::error::DeviceError;
use crate::finish::Ending;
use crate::launch::{Address, Form, Grid};
use crate::memory::Slice;
use crate::product::{ProductShape, Target, kind};
use crate::queue::Queue;

pub use crate::finish::{Activation, Finish};
pub use crate::product::{Matrix, ProductDims, ProductEnd};

/// Blocks that keep a large device busy; the same for all devices, for sums to be split alike.
const BLOCKS: u64 = 128;
/// Steps of `k` below which a sum is not split.
const SPLIT_MIN: u32 = 256;
/// Parts of `k` are multiples of this, and so of the steps of every kernel.
const SPLIT_STEP: u32 = 64;

/// `c = finish(a b + bias, residual)` for each product of a batch.
///
/// | operand  | shape           | dtype                                       |
/// |----------|-----------------|---------------------------------------------|
/// | `a`      | `[batch, m, k]` | f32, f16, bf16                              |
/// | `b`      | `[batch, k, n]` | as `a`; f16 and bf16 beside an `a` of f32   |
/// | `c`      | `[batch, m, n]` | as `a`; rows dense, columns one by one      |
///
/// Sums are f32, rounded once. The order of a sum depends on the shape alone, unless cuBLASLt computes
/// it: large products whose end it knows, on devices that are not
/// [`deterministic`](crate::DeviceOptions::deterministic).
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, overlaps itself where it is written, or has
/// another type; or a refused launch.
pub fn matmul(
    queue: &mut Queue<'_>,
    dims: ProductDims,
    [a, b]: [&Matrix<'_>; 2],
    c: &Matrix<'_>,
    end: &ProductEnd<'_>,
) -> Result<(), DeviceError> {
    let job = Job::new(dims, [a, b], c, end)?;
    // Then a row's sums have one order, however many rows there are beside it.
    let deterministic = queue.device().options().deterministic;
    match u64::from(dims.batch) * u64::from(dims.m) * u64::from(dims.n) {
        0 => Ok(()),
        _ if job.is_few_rows() && !deterministic => job.few_rows(queue),
        _ if job.is_done_by_blas(queue) => Ok(()),
        _ if job.has_tensor_cores(queue) => job.tensor_tiles(queue),
        _ => job.tiles(queue),
    }
}

/// A product whose operands are in their memory.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
    /// Types of the sides.
    pub(crate) forms: [Form; 2],
    /// Which sides may be read 16 bytes at a time.
    pub(crate) wide: [bool; 2],
    pub(crate) finish: Finish,
}

impl Job {
    pub(crate) fn new(
        dims: ProductDims,
        [a, b]: [&Matrix<'_>; 2],
        c: &Matrix<'_>,
        end: &ProductEnd<'_>,
    ) -> Result<Job, DeviceError> {
        let ProductDims { batch, m, n, k } = dims;
        let mixed = a.form == Form::F32 && matches!(b.form, Form::F16 | Form::Bf16);
        if c.form != a.form || b.form != a.form && !mixed {
            return Err(DeviceError::Defect("a product of operands of different types"));
        }
        let bias = end.bias.map(|bias| bias.elements(n.into(), c.form.bytes())).transpose()?;
        let residual = end.residual.unwrap_or(Matrix { data: Slice::none(), ..*c });
        if residual.form != c.form || residual.column_stride != 1 {
            return Err(DeviceError::Defect("a residual of another type than its product"));
        }
        let to = Target {
            bias: bias.unwrap_or(Address(0)),
            residual: match end.residual {
                Some(residual) => residual.checked([batch, m, n])?,
                None => Address(0),
            },
            c: c.checked_output([batch, m, n])?,
            partial: Address(0),
        };
        let shape = ProductShape {
            a_batch: a.batch_stride,
            b_batch: b.batch_stride,
            c_batch: c.batch_stride,
            residual_batch: residual.batch_stride,
            batch,
            m,
            n,
            k,
            splits: 1,
            k_split: k,
            a_row: a.row_stride,
            a_column: a.column_stride,
            b_row: b.row_stride,
            b_column: b.column_stride,
            c_row: c.row_stride,
            residual_row: residual.row_stride,
            a_kind: kind(a.form)?,
            b_kind: kind(b.form)?,
            a_vector: a.is_vector(4 * a.form.bytes()).into(),
            b_vector: b.is_vector(4 * b.form.bytes()).into(),
        };
        let (forms, wide) = ([a.form, b.form], [a.is_vector(16), b.is_vector(16)]);
        let (a, b) = (a.checked([batch, m, k])?, b.checked([batch, k, n])?);
        let finish = end.finish;
        Ok(Job { a, b, to, shape, ending: finish.into(), forms, wide, finish })
    }

    /// Queues it with cuBLASLt, if that is there and can do it.
    fn is_done_by_blas(&self, queue: &Queue<'_>) -> bool {
        let blas = queue.device().blas(!queue.is_recording());
        blas.is_some_and(|blas| blas.matmul(queue, self))
    }

    /// Whether tensor cores multiply these types; those of Turing know no bf16.
    fn has_tensor_cores(&self, queue: &Queue<'_>) -> bool {
        match self.forms {
            [Form::F16, Form::F16] => true,
            [Form::Bf16, Form::Bf16] => !queue.device().info().image.ends_with("_75"),
            _ => false,
        }
    }

    /// Products of halves on tensor cores.
    fn tensor_tiles(mut self, queue: &mut Queue<'_>) -> Result<(), DeviceError> {
        const TILES: [TileSize; 3] = [
            TileSize { rows: 128, columns: 128, speed: 1.0 },
            TileSize { rows: 64, columns: 64, speed: 0.6 },
            TileSize { rows: 32, columns: 64, speed: 0.4 },
        ];
        self.shape.a_vector = self.wide[0].into();
        self.shape.b_vector = self.wide[1].into();
        let (choice, blocks) = self.choose(queue, &TILES)?;
        let grid = Grid::linear(blocks, 128);
        let Job { a, b, to, shape, ending, forms: [form, _], .. } = self;
        macro_rules! launch {
            ($kernel:ident) => {
                queue.launch(&entries::$kernel { a, b, to, shape, ending }, form, grid)
            };
        }
        // A side whose columns are dense is brought as it lies; any other is gathered along `k`.
        match (choice, shape.b_column == 1) {
            (0, true) => launch!(MatmulTensorLarge)?,
            (0, false) => launch!(MatmulTensorLargeAlong)?,
            (1, true) => launch!(MatmulTensorSmall)?,
            (1, false) => launch!(MatmulTensorSmallAlong)?,
            (_, true) => launch!(MatmulTensorFlat)?,
            (_, false) => launch!(MatmulTensorFlatAlong)?,
        }
        self.gather(queue)
    }

    /// Products in f32 arithmetic.
    fn tiles(mut self, queue: &mut Queue<'_>) -> Result<(), DeviceError> {
        const TILES: [TileSize; 3] = [
            TileSize { rows: 128, columns: 128, speed: 1.0 },
            TileSize { rows: 64, columns: 64, speed: 0.75 },
            TileSize { rows: 32, columns: 32, speed: 0.4 },
        ];
        let (choice, blocks) = self.choose(queue, &TILES)?;
        let Job { a, b, to, shape, ending, .. } = self;
        match choice {
            0 => {
                let kernel = entries::MatmulLarge { a, b, to, shape, ending };
                queue.launch(&kernel, Form::Plain, Grid::linear(blocks, 256))?;
            }
            1 => {
                let kernel = entries::MatmulMiddle { a, b, to, shape, ending };
                queue.launch(&kernel, Form::Plain, Grid::linear(blocks, 128))?;
            }
            _ => {
                let kernel = entries::MatmulSmall { a, b, to, shape, ending };
                queue.launch(&kernel, Form::Plain, Grid::linear(blocks, 64))?;
            }
        }
        self.gather(queue)
    }

    /// The best of `tiles` and its blocks, after splitting the sums as far as that fills the device.
    fn choose(
        &mut self,
        queue: &Queue<'_>,
        tiles: &[TileSize],
    ) -> Result<(usize, u32), DeviceError> {
        let ProductShape { batch, m, n, k, .. } = self.shape;
        let work = f64::from(m) * f64::from(n) * f64::from(batch);
        let splits_max = match queue.device().options().deterministic {
            true => 1,
            false => u64::from(k / SPLIT_MIN).clamp(1, 64),
        };
        let score = |tile: &TileSize| {
            let blocks = tile.blocks(&self.shape);
            let splits = splits_of(blocks, splits_max);
            let busy = ((blocks * splits) as f64 / BLOCKS as f64).min(1.0);
            let used = work / (blocks as f64 * f64::from(tile.rows * tile.columns));
            busy * used * tile.speed
        };
        let best = (0..tiles.len()).max_by(|&i, &j| score(&tiles[i]).total_cmp(&score(&tiles[j])));
        let choice = best.ok_or(DeviceError::Defect("a product without tiles"))?;
        let blocks = tiles[choice].blocks(&self.shape);
        let splits = splits_of(blocks, splits_max);
        let splits = self.split(queue, splits)?;
        let blocks = u32::try_from(blocks * u64::from(splits)).ok().filter(|&n| n < 1 << 31);
        Ok((choice, blocks.ok_or(DeviceError::Defect("a product of more than 2^31 tiles"))?))
    }

    /// Splits the sums into about `splits` parts, if the workspace has room for them.
    pub(crate) fn split(&mut self, queue: &Queue<'_>, splits: u64) -> Result<u32, DeviceError> {
        let ProductShape { batch, m, n, k, .. } = self.shape;
        let own = u64::from(batch) * u64::from(m) * u64::from(n) * size_of::<f32>() as u64;
        let workspace = queue.workspace();
        let splits = splits.min(workspace.bytes() as u64 / own).max(1) as u32;
        let k_split = k.div_ceil(splits).max(1).next_multiple_of(SPLIT_STEP);
        let splits = k.div_ceil(k_split).max(1);
        if splits > 1 {
            self.to.partial = workspace.elements(u64::from(splits) * own / 4, 4)?;
            (self.shape.splits, self.shape.k_split) = (splits, k_split);
        }
        Ok(splits)
    }

    /// Adds partial sums, where there are some, and finishes them.
    pub(crate) fn gather(self, queue: &mut Queue<'_>) -> Result<(), DeviceError> {
        let Job { to, shape, ending, .. } = self;
        if shape.splits == 1 {
            return Ok(());
        }
        let all = u64::from(shape.batch) * u64::from(shape.m) * u64::from(shape.n);
        let kernel = entries::MatmulFinish { to, shape, ending };
        queue.launch(&kernel, Form::Plain, queue.over(all, 256))
    }
}

/// A tile of the output that one block makes.
struct TileSize {
    rows: u32,
    columns: u32,
    /// How fast a full device is with it, beside the others.
    speed: f64,
}

impl TileSize {
    fn blocks(&self, shape: &ProductShape) -> u64 {
        let tiles =
            u64::from(shape.m.div_ceil(self.rows)) * u64::from(shape.n.div_ceil(self.columns));
        u64::from(shape.batch) * tiles
    }
}

/// How many parts of each sum fill the device with two rounds of blocks.
fn splits_of(blocks: u64, most: u64) -> u64 {
    match blocks {
        blocks if blocks >= BLOCKS => 1,
        blocks => (2 * BLOCKS).div_ceil(blocks).min(most),
    }
}
