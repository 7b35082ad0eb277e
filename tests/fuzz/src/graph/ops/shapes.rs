//! Ops that move, repeat, cut and order elements.

use super::one;
use crate::graph::program::{Made, Program};
use aimass_graph::{Dim, PadMode};

impl Program<'_> {
    pub(super) fn shape_op(&mut self) -> Made {
        match self.source.below(16) {
            0 | 1 => self.reshape(),
            2 => {
                let (x, spec) = self.known()?;
                let mut axes: Vec<u32> = (0..spec.rank() as u32).collect();
                for at in 0..axes.len() {
                    let other = self.source.below(axes.len());
                    axes.swap(at, other);
                }
                if self.source.byte() == 255 {
                    axes.push(0);
                }
                one(self.builder.transpose(x, &axes))
            }
            3 => {
                let (x, dims) = (self.value(), self.any_dims());
                one(self.builder.broadcast(x, &dims))
            }
            4 | 5 => self.slice(),
            6 | 7 => {
                let (x, spec) = self.known()?;
                let others = (0..self.source.below(4)).map(|_| self.value());
                let all: Vec<_> = std::iter::once(x).chain(others.collect::<Vec<_>>()).collect();
                let axis = self.source.axis(spec.rank());
                one(self.builder.concat(&all, axis))
            }
            8 => self.split(),
            9 => self.pad(),
            10 => {
                let (x, spec) = self.known()?;
                let repeats = self.source.extents_of(spec.rank());
                one(self.builder.tile(x, &repeats))
            }
            11 => {
                let (x, spec) = self.known()?;
                let axis = self.source.axis(spec.rank());
                one(self.builder.reverse(x, axis))
            }
            12 => {
                let (dims, axis) = (self.any_dims(), self.source.axis(4));
                let (start, step) = (self.source.extent() as i64, self.source.extent() as i64);
                one(self.builder.iota(&dims, axis, start, step.wrapping_neg()))
            }
            13 => {
                let (key, dims) = (self.value(), self.any_dims());
                one(self.builder.random_bits(key, &dims))
            }
            14 => self.cumulative(),
            _ => self.order(),
        }
    }

    /// A shape of as many elements, or any.
    fn reshape(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let mut dims = spec.dims.clone();
        match self.source.below(6) {
            0 => dims.insert(0, Dim::Fixed(1)),
            1 => dims.push(Dim::Fixed(1)),
            2 => {
                if let [.., Dim::Fixed(a), Dim::Fixed(b)] = dims[..] {
                    let joined = a.saturating_mul(b);
                    dims.truncate(dims.len() - 2);
                    dims.push(Dim::Fixed(joined));
                }
            }
            3 => {
                dims.truncate(1);
                dims.push(Dim::Dynamic("".into()));
            }
            4 => {
                if let Some(Dim::Fixed(last)) = dims.last().cloned() {
                    let factor = self.source.extent().max(1);
                    dims.pop();
                    dims.extend([Dim::Fixed(last / factor), Dim::Fixed(factor)]);
                }
            }
            _ => dims = self.any_dims(),
        }
        one(self.builder.reshape(x, &dims))
    }

    fn slice(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let axis = self.source.axis(spec.rank());
        let (start, len) = (self.source.extent(), self.source.extent());
        let step = self.source.extent();
        if step > 1 && self.source.bit() {
            let (start, end) = (self.value(), self.value());
            return one(self.builder.dynamic_slice(x, axis, start, end));
        }
        one(self.builder.slice(x, axis, start, start.saturating_add(len), step))
    }

    fn split(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let axis = self.source.axis(spec.rank());
        let sizes = match spec.dims.get(axis as usize).and_then(Dim::fixed) {
            Some(extent) if self.source.byte() < 224 => {
                let first = self.source.extent().min(extent);
                vec![first, extent - first]
            }
            _ => self.source.extents(),
        };
        self.builder.split(x, axis, &sizes)
    }

    fn pad(&mut self) -> Made {
        const MODES: [PadMode; 4] =
            [PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap];
        let (x, spec) = self.known()?;
        let mut before = self.source.extents_of(spec.rank());
        let mut after = self.source.extents_of(spec.rank());
        if self.source.byte() < 192 && spec.rank() > 0 {
            // Rows cannot be padded.
            for list in [&mut before, &mut after] {
                list.iter_mut().take(1).for_each(|rows| *rows = 0);
            }
        }
        let (mode, fill) = (self.source.pick(&MODES), f64::from(self.source.float()));
        one(self.builder.pad(x, &before, &after, mode, fill))
    }

    fn cumulative(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let axis = self.source.axis(spec.rank());
        let (exclusive, reverse) = (self.source.bit(), self.source.bit());
        one(match self.source.bit() {
            true => self.builder.cumulative_sum(x, axis, exclusive, reverse),
            false => self.builder.cumulative_prod(x, axis, exclusive, reverse),
        })
    }

    fn order(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let (axis, flag) = (self.source.axis(spec.rank()), self.source.bit());
        match self.source.below(4) {
            0 => one(self.builder.arg_max(x, axis, flag)),
            1 => one(self.builder.arg_min(x, axis, flag)),
            2 => {
                let k = self.source.extent();
                self.builder.top_k(x, k, flag).map(|(a, b)| vec![a, b])
            }
            _ => self.builder.sort(x, flag).map(|(a, b)| vec![a, b]),
        }
    }
}
