//! A test-only `libnccl.so` over the virtual GPUs: communicators of the devices of one process, whose
//! ranks are driven by threads or by groups of calls.
//!
//! It refuses what NCCL's documentation says is refused or undefined, and what it does not know: ranks
//! that ask for different things, a thread that drives several ranks without a group, streams and
//! memory of other devices, ranges that overlap but for the documented places. An operation holds its
//! stream up until all ranks have reached it; one whose partners never come is a failure of the
//! launch, reported with their numbers, where NCCL would wait for ever.
//!
//! | part | file |
//! |---|---|
//! | functions that programs call | `api.rs` |
//! | communicators: how ranks find each other, and how they end | `communicator.rs` |
//! | groups of calls, and what is queued for them | `group.rs` |
//! | what a call asks for, and its checks | `operation.rs` |
//! | what happens in the streams | `meeting.rs` |
//! | sums | `arithmetic.rs` |
//!
//! Not supported: captured streams, 8-bit floats, operators that programs make, communicators made by
//! splitting, growing or shrinking, non-blocking ones, several streams of a rank in one group,
//! registered memory, several processes. It says nothing about speed, and reduces in the order of ranks.
#![allow(non_snake_case)]

mod api;
mod arithmetic;
mod communicator;
mod driver;
mod group;
mod meeting;
mod operation;
mod status;
