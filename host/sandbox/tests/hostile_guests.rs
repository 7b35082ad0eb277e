//! Abuse cases by number (`docs/security/isolation.md`), beyond those of `abuse.rs`: what a guest hands
//! over, what it is made of, and what is left of it. Bounds are bytes, counts and causes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

#[path = "hostile_guests/abi.rs"]
mod abi;
#[path = "hostile_guests/code.rs"]
mod code;
#[path = "hostile_guests/remains.rs"]
mod remains;
#[path = "hostile_guests/waiting.rs"]
mod waiting;
