//! Products by cuBLASLt, on the virtual GPU with the virtual library.

use aimass_cuda::matmul::{Activation, Finish, Matrix, ProductDims, ProductEnd, matmul};
use aimass_cuda::{Device, DeviceOptions, Form, Memory, NoCublasLt};
use aimass_vgpu::{Checks, Settings};
use std::sync::Arc;

const DIMS: ProductDims = ProductDims { batch: 2, m: 64, n: 72, k: 80 };

/// Numbers that sums of f32 hold exactly.
fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 23) as f32 / 4.0 - 2.5).collect()
}

fn upload(device: &Arc<Device>, x: &[f32]) -> Memory {
    let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    device.upload(&bytes).expect("memory")
}

/// `relu(a b + bias)` on the device, and how many kernels of ours it took.
fn product(device: &Arc<Device>, transposed: bool) -> (Vec<f32>, u64) {
    let ProductDims { batch, m, n, k } = DIMS;
    let count = |rows: u32, columns: u32| (batch * rows * columns) as usize;
    let a = upload(device, &numbers(count(m, k), 1));
    let b = upload(device, &numbers(count(k, n), 2));
    let bias = upload(device, &numbers(n as usize, 3));
    let c = upload(device, &vec![f32::NAN; count(m, n)]);
    let left = Matrix::dense(a.slice(), Form::F32, m, k);
    let right = match transposed {
        true => Matrix::transposed(b.slice(), Form::F32, k, n),
        false => Matrix::dense(b.slice(), Form::F32, k, n),
    };
    let out = Matrix::dense(c.slice(), Form::F32, m, n);
    let finish = Finish { activation: Activation::Relu, ..Finish::default() };
    let end = ProductEnd { bias: Some(bias.slice()), residual: None, finish };
    let mut queue = device.queue().expect("a turn");
    matmul(&mut queue, DIMS, [&left, &right], &out, &end).expect("a product");
    let mut bytes = vec![0; 4 * count(m, n)];
    queue.download(&mut [(c.slice(), &mut bytes)]).expect("a download");
    let word = |word: &[u8]| f32::from_le_bytes(word.try_into().expect("a number"));
    (bytes.chunks_exact(4).map(word).collect(), queue.launches())
}

fn expected(transposed: bool) -> Vec<f32> {
    let [batch, m, n, k] = [DIMS.batch, DIMS.m, DIMS.n, DIMS.k].map(|own| own as usize);
    let (a, b) = (numbers(batch * m * k, 1), numbers(batch * k * n, 2));
    let bias = numbers(n, 3);
    let right = |item: usize, i: usize, column: usize| {
        b[item * k * n + if transposed { column * k + i } else { i * n + column }]
    };
    let each = |at: usize| {
        let (item, row, column) = (at / n / m, at / n % m, at % n);
        let sum: f32 = (0..k).map(|i| a[(item * m + row) * k + i] * right(item, i, column)).sum();
        (sum + bias[column]).max(0.0)
    };
    (0..batch * m * n).map(each).collect()
}

#[test]
fn large_products_are_those_of_the_library_unless_the_device_is_deterministic() {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/prebuilt");
    let settings =
        Settings { ptx: Some(images.into()), checks: Checks::Memory, ..Settings::default() };
    let _vgpu = aimass_vgpu::load(&settings).expect("the virtual GPU");
    aimass_vgpu::load_cublaslt().expect("the virtual library");
    let device = Device::open(0, &DeviceOptions::default()).expect("a device");
    assert_eq!(device.cublaslt(), Ok(()));
    for transposed in [false, true] {
        assert_eq!(product(&device, transposed), (expected(transposed), 0));
        // The algorithm is remembered.
        assert_eq!(product(&device, transposed), (expected(transposed), 0));
    }
    let options = DeviceOptions { deterministic: true, ..DeviceOptions::default() };
    let device = Device::open(0, &options).expect("a device");
    assert_eq!(device.cublaslt(), Err(NoCublasLt::Deterministic));
    let (found, launches) = product(&device, false);
    assert_eq!(found, expected(false));
    assert!(launches > 0);
}
