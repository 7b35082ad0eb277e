//! What a call asks for, and what can be refused without knowing of the other ranks.

use std::ffi::c_int;
use std::ops::Range;

use crate::status::Failure;

/// A type of elements (`ncclDataType_t`) but for 8-bit floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    I8,
    U8,
    I32,
    U32,
    I64,
    U64,
    F16,
    F32,
    F64,
    Bf16,
}

impl Element {
    /// The type of this number.
    pub(crate) fn numbered(number: c_int) -> Result<Self, Failure> {
        const ALL: [Element; 10] = [
            Element::I8,
            Element::U8,
            Element::I32,
            Element::U32,
            Element::I64,
            Element::U64,
            Element::F16,
            Element::F32,
            Element::F64,
            Element::Bf16,
        ];
        let known = usize::try_from(number).ok().and_then(|number| ALL.get(number));
        known
            .copied()
            .ok_or_else(|| Failure::argument(format!("datatype {number} is none of 0..10")))
    }

    /// Bytes of one element.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }
}

/// How elements are combined (`ncclRedOp_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    Sum,
    Product,
    Maximum,
    Minimum,
    Average,
}

impl Reduction {
    /// The operator of this number.
    pub(crate) fn numbered(number: c_int) -> Result<Self, Failure> {
        match number {
            0 => Ok(Self::Sum),
            1 => Ok(Self::Product),
            2 => Ok(Self::Maximum),
            3 => Ok(Self::Minimum),
            4 => Ok(Self::Average),
            _ => Err(Failure::argument(format!("operator {number} is none of 0..5"))),
        }
    }
}

/// What ranks do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    AllReduce(Reduction),
    AllGather,
    ReduceScatter(Reduction),
    Broadcast { root: usize },
    Reduce { reduction: Reduction, root: usize },
    Send { peer: usize },
    Receive { peer: usize },
}

/// What ranks that meet must agree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// For a pair, that of the sender.
    pub(crate) kind: Kind,
    pub(crate) count: u64,
    pub(crate) element: Element,
}

/// A checked call of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) count: u64,
    pub(crate) element: Element,
    pub(crate) send: u64,
    pub(crate) receive: u64,
}

/// The rank of a number, if it is one of `ranks`.
pub(crate) fn rank(number: c_int, ranks: usize, what: &str) -> Result<usize, Failure> {
    let rank = usize::try_from(number).ok().filter(|rank| *rank < ranks);
    rank.ok_or_else(|| Failure::argument(format!("{what} {number} is none of 0..{ranks}")))
}

impl Operation {
    /// What its partners must ask for as well. A pair is described as its sender sees it.
    pub(crate) fn terms(&self, rank: usize) -> Terms {
        let kind = match self.kind {
            Kind::Receive { .. } => Kind::Send { peer: rank },
            other => other,
        };
        Terms { kind, count: self.count, element: self.element }
    }

    /// Elements that `rank` of `ranks` reads.
    fn reads(&self, rank: usize, ranks: usize) -> Option<u64> {
        match self.kind {
            Kind::AllReduce(_) | Kind::AllGather | Kind::Reduce { .. } | Kind::Send { .. } => {
                Some(self.count)
            }
            Kind::ReduceScatter(_) => self.count.checked_mul(ranks as u64),
            Kind::Broadcast { root } => Some(if root == rank { self.count } else { 0 }),
            Kind::Receive { .. } => Some(0),
        }
    }

    /// Elements that `rank` of `ranks` writes.
    fn writes(&self, rank: usize, ranks: usize) -> Option<u64> {
        match self.kind {
            Kind::AllReduce(_)
            | Kind::ReduceScatter(_)
            | Kind::Broadcast { .. }
            | Kind::Receive { .. } => Some(self.count),
            Kind::AllGather => self.count.checked_mul(ranks as u64),
            Kind::Reduce { root, .. } => Some(if root == rank { self.count } else { 0 }),
            Kind::Send { .. } => Some(0),
        }
    }

    fn range(&self, start: u64, elements: Option<u64>) -> Result<Range<u64>, Failure> {
        let bytes = elements.and_then(|elements| elements.checked_mul(self.element.bytes()));
        let end = bytes.and_then(|bytes| start.checked_add(bytes));
        let end =
            end.ok_or_else(|| Failure::argument(format!("count {} is too large", self.count)))?;
        Ok(start..end)
    }

    /// Addresses that are read.
    pub(crate) fn read_range(&self, rank: usize, ranks: usize) -> Result<Range<u64>, Failure> {
        self.range(self.send, self.reads(rank, ranks))
    }

    /// Addresses that are written.
    pub(crate) fn write_range(&self, rank: usize, ranks: usize) -> Result<Range<u64>, Failure> {
        self.range(self.receive, self.writes(rank, ranks))
    }

    /// Whether reading and writing at one another's place is documented ("In-place Operations").
    fn is_in_place(&self, rank: usize) -> bool {
        let part = (rank as u64).wrapping_mul(self.count.wrapping_mul(self.element.bytes()));
        match self.kind {
            Kind::AllReduce(_) | Kind::Broadcast { .. } | Kind::Reduce { .. } => {
                self.send == self.receive
            }
            Kind::AllGather => self.send == self.receive.wrapping_add(part),
            Kind::ReduceScatter(_) => self.receive == self.send.wrapping_add(part),
            Kind::Send { .. } | Kind::Receive { .. } => false,
        }
    }

    /// Refuses ranges that overlap, or addresses that are no places of elements. Gives the ranges.
    pub(crate) fn check(&self, rank: usize, ranks: usize) -> Result<[Range<u64>; 2], Failure> {
        let own = [self.read_range(rank, ranks)?, self.write_range(rank, ranks)?];
        for range in own.iter().filter(|range| !range.is_empty()) {
            if range.start == 0 {
                return Err(Failure::argument("a buffer is null"));
            }
            if !range.start.is_multiple_of(self.element.bytes()) {
                let bytes = self.element.bytes();
                return Err(Failure::argument(format!(
                    "a buffer at {:#x} is not aligned to its elements of {bytes} bytes",
                    range.start
                )));
            }
        }
        let [read, write] = &own;
        let apart = read.is_empty()
            || write.is_empty()
            || read.end <= write.start
            || write.end <= read.start;
        if !apart && !self.is_in_place(rank) {
            return Err(Failure::argument(
                "the buffers overlap, but not as in-place operations do",
            ));
        }
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(kind: Kind, send: u64, receive: u64) -> Operation {
        Operation { kind, count: 4, element: Element::F32, send, receive }
    }

    #[test]
    fn in_place_is_what_the_documentation_says() {
        let check = |kind, send, receive, expected: bool| {
            let found = operation(kind, send, receive).check(1, 3);
            assert_eq!(found.is_ok(), expected, "{kind:?} {send} {receive}: {found:?}");
        };
        check(Kind::AllReduce(Reduction::Sum), 64, 64, true);
        check(Kind::AllReduce(Reduction::Sum), 64, 68, false);
        check(Kind::AllReduce(Reduction::Sum), 64, 80, true);
        check(Kind::AllGather, 80, 64, true);
        check(Kind::AllGather, 64, 64, false);
        check(Kind::ReduceScatter(Reduction::Sum), 64, 80, true);
        check(Kind::ReduceScatter(Reduction::Sum), 64, 64, false);
        check(Kind::Broadcast { root: 0 }, 0, 64, true);
        check(Kind::Broadcast { root: 1 }, 0, 64, false);
        check(Kind::Reduce { reduction: Reduction::Sum, root: 0 }, 64, 0, true);
        check(Kind::Reduce { reduction: Reduction::Sum, root: 1 }, 64, 0, false);
        check(Kind::AllGather, 66, 256, false);
    }

    #[test]
    fn counts_that_overflow_are_refused() {
        let huge = Operation { count: u64::MAX / 4, ..operation(Kind::AllGather, 64, 64) };
        assert!(huge.check(0, 2).is_err());
    }
}
