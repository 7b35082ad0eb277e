//! Regions and what runs them, and the growing states that nothing runs yet.

use crate::graph::program::{Made, Program};
use aimass_graph::{Dim, RegionId, ValueId};

impl Program<'_> {
    pub(super) fn control(&mut self) -> Made {
        match self.source.below(10) {
            0..=2 => self.open_region(),
            3 | 4 => self.close_region(),
            5 => {
                let (condition, then, otherwise) = (self.value(), self.region(), self.region());
                self.builder.if_else(condition, then, otherwise)
            }
            6 => {
                let (condition, body) = (self.region(), self.region());
                let (carried, max) = (self.some(), self.source.extent());
                self.builder.while_loop(condition, body, &carried, max)
            }
            7 => {
                let (body, carried, scanned) = (self.region(), self.some(), self.some());
                self.builder.scan(body, &carried, &scanned)
            }
            8 => {
                let (body, arguments) = (self.region(), self.some());
                self.builder.call(body, &arguments)
            }
            _ => {
                let x = self.value();
                self.builder.state_append(&[x])
            }
        }
    }

    /// Opens a region with captures and params that are mostly those of a value.
    fn open_region(&mut self) -> Made {
        let captures = self.some();
        let mut params = Vec::new();
        for _ in 0..self.source.below(3) {
            params.push(match self.source.bit() {
                true => self.known().map(|(_, spec)| (spec.dtype, spec.dims))?,
                false => (self.dtype(), vec![Dim::Fixed(self.source.extent())]),
            });
        }
        let inner = self.builder.region_begin(&captures, &params)?;
        self.outer.push(std::mem::replace(&mut self.values, inner));
        Ok(Vec::new())
    }

    /// Ends the region; outside of one, tries to.
    pub(in crate::graph) fn close_region(&mut self) -> Made {
        let outputs = self.some();
        let region = self.builder.region_end(&outputs)?;
        self.regions.push(region);
        if let Some(outer) = self.outer.pop() {
            self.values = outer;
        }
        Ok(Vec::new())
    }

    /// A region that was ended, most often the last one.
    fn region(&mut self) -> RegionId {
        let back = self.source.below(3);
        let at = self.regions.len().checked_sub(back + 1);
        at.and_then(|at| self.regions.get(at)).copied().unwrap_or(RegionId(u32::MAX))
    }

    fn some(&mut self) -> Vec<ValueId> {
        (0..self.source.below(4)).map(|_| self.value()).collect()
    }
}
