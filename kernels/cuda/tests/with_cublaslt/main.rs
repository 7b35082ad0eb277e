//! Products and convolutions again, on a virtual GPU whose machine has a (virtual) cuBLASLt.

#![allow(dead_code, reason = "the modules hold more than these tests use")]

use aimass_cuda::Form;
use aimass_cuda::matmul::Finish;

#[path = "../kernels/conv.rs"]
mod conv;
#[path = "../kernels/matmul.rs"]
mod matmul;
#[path = "../kernels/product.rs"]
mod product;
#[path = "../kernels/reference.rs"]
mod reference;

/// Whether the machine under test has cuBLASLt.
pub(crate) const CUBLASLT: bool = true;

#[test]
fn the_library_is_found() {
    matmul::check([1, 64, 96, 520], [Form::F32; 2], [product::Lie::Dense; 2], Finish::default());
    reference::device().cublaslt().expect("the virtual library");
}
