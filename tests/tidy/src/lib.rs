//! The rules of this repository that a compiler does not know, as tests.
//!
//! `docs/architecture.md` and `docs/style.md` say what the rules are for. A failing test lists
//! every place and what to do about it. These tests read files only; they never build or run
//! anything.
#![cfg(test)]

mod abuse_cases;
mod contract;
mod contract_page;
mod doc_paths;
mod floors;
mod frozen_wit;
mod guests;
mod manifests;
mod names;
mod owners;
mod readmes;
mod repository;
mod sizes;
