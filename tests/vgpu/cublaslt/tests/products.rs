//! Products through cudarc's cuBLASLt, against plain sums.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::c_void;
use std::sync::Arc;

use aimass_vgpu::{Settings, Vgpu, load, load_cublaslt};
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t as Compute, cublasLtEpilogue_t as Epilogue,
    cublasLtMatmulDescAttributes_t as Desc, cublasLtMatmulPreferenceAttributes_t as Pref,
    cublasLtMatrixLayoutAttribute_t as LayoutAttribute, cublasLtOrder_t as Order,
    cublasStatus_t as Status, cudaDataType_t as Kind,
};
use cudarc::cublaslt::{CudaBlasLT, Matmul, MatmulConfig, result};
use cudarc::driver::{CudaContext, CudaStream, DevicePtr, DevicePtrMut};

fn start(settings: &Settings) -> (Vgpu, Arc<CudaStream>) {
    let vgpu = load(settings).unwrap();
    load_cublaslt().unwrap();
    let stream = CudaContext::new(0).unwrap().new_stream().unwrap();
    (vgpu, stream)
}

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64).map(|i| ((i * 7919 + seed * 104_729) % 23) as f32 / 4.0 - 2.5).collect()
}

fn config(m: u64, n: u64, k: u64) -> MatmulConfig {
    MatmulConfig {
        transa: false,
        transb: false,
        transc: false,
        m,
        n,
        k,
        alpha: 1.0,
        lda: m as i64,
        ldb: k as i64,
        beta: 0.0,
        ldc: m as i64,
        stride_a: None,
        stride_b: None,
        stride_c: None,
        stride_bias: None,
        batch_size: None,
    }
}

#[test]
fn cudarcs_product_with_bias_and_batches_in_stream_order() {
    for seed in 0..4 {
        let (_vgpu, stream) = start(&Settings { seed, ..Settings::default() });
        let blas = CudaBlasLT::new(stream.clone()).unwrap();
        let (m, n, k, batches) = (5, 3, 7, 2);
        let (a, b) = (numbers(m * k * batches, 1), numbers(k * n * batches, 2));
        let bias = numbers(m, 3);
        let (da, db) = (stream.clone_htod(&a).unwrap(), stream.clone_htod(&b).unwrap());
        let dbias = stream.clone_htod(&bias).unwrap();
        let mut dc = stream.alloc_zeros::<f32>(m * n * batches).unwrap();
        let config = MatmulConfig {
            stride_a: Some((m * k) as i64),
            stride_b: Some((k * n) as i64),
            stride_c: Some((m * n) as i64),
            batch_size: Some(batches as i32),
            ..config(m as u64, n as u64, k as u64)
        };
        let activation = Some(&cudarc::cublaslt::Activation::Relu);
        // SAFETY: the buffers hold the matrices that the configuration describes.
        unsafe { blas.matmul(config, &da, &db, &mut dc, Some(&dbias), activation) }.unwrap();
        let c = stream.clone_dtoh(&dc).unwrap();
        for (at, value) in c.iter().enumerate() {
            let (batch, column, row) = (at / (m * n), at / m % n, at % m);
            let (a, b) = (&a[batch * m * k..], &b[batch * k * n..]);
            let sum: f32 = (0..k).map(|p| a[p * m + row] * b[column * k + p]).sum();
            assert_eq!(*value, (sum + bias[row]).max(0.0), "{batch} {row} {column}");
        }
    }
}

/// Handles of one product, made by hand.
struct Plan {
    handle: sys::cublasLtHandle_t,
    operation: sys::cublasLtMatmulDesc_t,
    layouts: [sys::cublasLtMatrixLayout_t; 4],
    preference: sys::cublasLtMatmulPreference_t,
}

fn plan(compute: Compute, scale: Kind, sizes: [(Kind, u64, u64, i64); 4]) -> Plan {
    Plan {
        handle: result::create_handle().unwrap(),
        operation: result::create_matmul_desc(compute, scale).unwrap(),
        layouts: sizes.map(|(kind, rows, columns, leading)| {
            result::create_matrix_layout(kind, rows, columns, leading).unwrap()
        }),
        preference: result::create_matmul_pref().unwrap(),
    }
}

impl Plan {
    fn set<T>(&self, attribute: Desc, value: T) -> Result<(), result::CublasError> {
        let from = (&raw const value).cast();
        // SAFETY: the value lives for the call and has the size that is given.
        unsafe {
            result::set_matmul_desc_attribute(self.operation, attribute, from, size_of::<T>())
        }
    }

    fn set_layout<T>(&self, which: usize, attribute: LayoutAttribute, value: T) {
        let from = (&raw const value).cast();
        // SAFETY: as above.
        unsafe {
            result::set_matrix_layout_attribute(
                self.layouts[which],
                attribute,
                from,
                size_of::<T>(),
            )
        }
        .unwrap();
    }

    fn prefer<T>(&self, attribute: Pref, value: T) {
        let from = (&raw const value).cast();
        // SAFETY: as above.
        unsafe {
            result::set_matmul_pref_attribute(self.preference, attribute, from, size_of::<T>())
        }
        .unwrap();
    }

    fn choose(&self) -> Result<sys::cublasLtMatmulHeuristicResult_t, Status> {
        let [a, b, c, d] = self.layouts;
        // SAFETY: the handles are those of the plan.
        unsafe {
            result::get_matmul_algo_heuristic(
                self.handle,
                self.operation,
                a,
                b,
                c,
                d,
                self.preference,
            )
        }
        .map_err(|error| error.0)
    }

    fn run<T>(
        &self,
        scalars: [T; 2],
        addresses: [u64; 4],
        stream: &CudaStream,
    ) -> Result<(), Status> {
        let chosen = self.choose()?;
        let [la, lb, lc, ld] = self.layouts;
        let [a, b, c, d] = addresses.map(|address| address as *mut c_void);
        let [alpha, beta] = [&scalars[0], &scalars[1]].map(|one| std::ptr::from_ref(one).cast());
        // SAFETY: the handles are those of the plan and the scalars live for the call.
        unsafe {
            result::matmul(
                self.handle,
                self.operation,
                alpha,
                beta,
                a,
                la,
                b,
                lb,
                c,
                lc,
                d,
                ld,
                &raw const chosen.algo,
                std::ptr::null_mut(),
                0,
                stream.cu_stream().cast(),
            )
        }
        .map_err(|error| error.0)
    }
}

fn square(kind: Kind, sums: Kind, size: u64) -> [(Kind, u64, u64, i64); 4] {
    let leading = size as i64;
    [
        (kind, size, size, leading),
        (kind, size, size, leading),
        (sums, size, size, leading),
        (sums, size, size, leading),
    ]
}

#[test]
fn bytes_are_multiplied_in_integers_with_the_first_matrix_transposed() {
    let (_vgpu, stream) = start(&Settings::default());
    let size = 8usize;
    let plan = plan(
        Compute::CUBLAS_COMPUTE_32I,
        Kind::CUDA_R_32I,
        square(Kind::CUDA_R_8I, Kind::CUDA_R_32I, 8),
    );
    assert_eq!(plan.choose().err(), Some(Status::CUBLAS_STATUS_NOT_SUPPORTED));
    plan.set(Desc::CUBLASLT_MATMUL_DESC_TRANSA, 1i32).unwrap();
    let a: Vec<i8> = (0..64).map(|i| (i * 5 % 256) as u8 as i8).collect();
    let b: Vec<i8> = (0..64).map(|i| (i * 3 % 200) as u8 as i8).collect();
    let (da, db) = (stream.clone_htod(&a).unwrap(), stream.clone_htod(&b).unwrap());
    let mut dd = stream.alloc_zeros::<i32>(64).unwrap();
    let addresses = {
        let d = dd.device_ptr_mut(&stream).0;
        [da.device_ptr(&stream).0, db.device_ptr(&stream).0, d, d]
    };
    plan.run([2i32, 0], addresses, &stream).unwrap();
    let d = stream.clone_dtoh(&dd).unwrap();
    for (at, value) in d.iter().enumerate() {
        let (row, column) = (at % size, at / size);
        let sum: i32 =
            (0..size).map(|k| i32::from(a[row * size + k]) * i32::from(b[column * size + k])).sum();
        assert_eq!(*value, 2 * sum);
    }
}

#[test]
fn row_order_and_gelu() {
    let (_vgpu, stream) = start(&Settings::default());
    let sizes = [
        (Kind::CUDA_R_32F, 2, 3, 3),
        (Kind::CUDA_R_32F, 3, 4, 4),
        (Kind::CUDA_R_32F, 2, 4, 5),
        (Kind::CUDA_R_32F, 2, 4, 5),
    ];
    let plan = plan(Compute::CUBLAS_COMPUTE_32F, Kind::CUDA_R_32F, sizes);
    for which in 0..4 {
        plan.set_layout(
            which,
            LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_ORDER,
            Order::CUBLASLT_ORDER_ROW,
        );
    }
    plan.set(Desc::CUBLASLT_MATMUL_DESC_EPILOGUE, Epilogue::CUBLASLT_EPILOGUE_GELU).unwrap();
    let (a, b) = (numbers(6, 1), numbers(12, 2));
    let (da, db) = (stream.clone_htod(&a).unwrap(), stream.clone_htod(&b).unwrap());
    let mut dd = stream.clone_htod(&[9.0f32; 10]).unwrap();
    let addresses = {
        let d = dd.device_ptr_mut(&stream).0;
        [da.device_ptr(&stream).0, db.device_ptr(&stream).0, d, d]
    };
    plan.run([1f32, 0.5], addresses, &stream).unwrap();
    let d = stream.clone_dtoh(&dd).unwrap();
    assert_eq!(d[4], 9.0, "what lies between the rows is not touched");
    for (row, column) in (0..8).map(|at| (at / 4, at % 4)) {
        let sum: f32 = (0..3).map(|k| a[row * 3 + k] * b[k * 4 + column]).sum();
        let x = f64::from(sum) + 4.5;
        let exact = 0.5
            * x
            * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh());
        assert!((f64::from(d[row * 5 + column]) - exact).abs() < 1e-6, "{row} {column}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (_vgpu, stream) = start(&Settings::default());
    let float = Kind::CUDA_R_32F;
    let make = |sizes| plan(Compute::CUBLAS_COMPUTE_32F, float, sizes);
    let mut wrong_depth = square(float, float, 4);
    wrong_depth[1].1 = 5;
    wrong_depth[1].3 = 5;
    assert_eq!(make(wrong_depth).choose().err(), Some(Status::CUBLAS_STATUS_INVALID_VALUE));
    let mut short = square(float, float, 4);
    short[0].3 = 3;
    assert_eq!(make(short).choose().err(), Some(Status::CUBLAS_STATUS_INVALID_VALUE));
    let mixed = square(float, Kind::CUDA_R_16F, 4);
    assert_eq!(make(mixed).choose().err(), Some(Status::CUBLAS_STATUS_NOT_SUPPORTED));
    let plan = make(square(float, float, 4));
    let x = stream.clone_htod(&numbers(64, 1)).unwrap();
    let address = x.device_ptr(&stream).0;
    assert!(plan.run([1f32, 0.0], [address; 4], &stream).is_ok());
    let shifted = [address + 16, address, address, address];
    assert_eq!(plan.run([1f32, 0.0], shifted, &stream), Err(Status::CUBLAS_STATUS_INVALID_VALUE));
    plan.prefer(Pref::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 16u32);
    assert!(plan.run([1f32, 0.0], shifted, &stream).is_ok());
    plan.prefer(Pref::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 1u64 << 20);
    assert_eq!(plan.run([1f32, 0.0], shifted, &stream), Err(Status::CUBLAS_STATUS_INVALID_VALUE));
    plan.prefer(Pref::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 0u64);
    plan.set(Desc::CUBLASLT_MATMUL_DESC_EPILOGUE, Epilogue::CUBLASLT_EPILOGUE_BIAS).unwrap();
    assert_eq!(plan.run([1f32, 0.0], shifted, &stream), Err(Status::CUBLAS_STATUS_INVALID_VALUE));
}

#[test]
fn a_product_outside_of_its_buffer_breaks_the_context() {
    let (vgpu, stream) = start(&Settings::default());
    let float = Kind::CUDA_R_32F;
    let plan = plan(Compute::CUBLAS_COMPUTE_32F, float, square(float, float, 16));
    let x = stream.clone_htod(&numbers(255, 1)).unwrap();
    let address = x.device_ptr(&stream).0;
    plan.run([1f32, 0.0], [address; 4], &stream).unwrap();
    assert!(stream.synchronize().is_err());
    assert!(vgpu.findings()[0].contains("past the end"), "{:?}", vgpu.findings());
}
