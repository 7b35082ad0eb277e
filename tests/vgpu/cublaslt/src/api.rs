//! The functions that programs call.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::descriptor::{Activation, Element, Layout, Operation, Preference, Status};
use crate::driver::{self, Callback};
use crate::product::{self, Product};

/// What a handle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    Library,
    Layout(Layout),
    Operation(Operation),
    Preference(Preference),
}

static OBJECTS: Mutex<Option<HashMap<u64, Object>>> = Mutex::new(None);
static NEXT: AtomicU64 = AtomicU64::new(0x7d00_0000_0000);

fn objects() -> MutexGuard<'static, Option<HashMap<u64, Object>>> {
    OBJECTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn create(out: *mut u64, object: Object) -> Result<(), Status> {
    if out.is_null() {
        return Err(Status::InvalidValue);
    }
    let handle = NEXT.fetch_add(64, Ordering::Relaxed);
    objects().get_or_insert_with(HashMap::new).insert(handle, object);
    // SAFETY: the interface's contract is that a pointer that is not null can be written.
    unsafe { out.write(handle) };
    Ok(())
}

fn find(handle: u64) -> Result<Object, Status> {
    let objects = objects();
    objects.as_ref().and_then(|all| all.get(&handle)).copied().ok_or(Status::InvalidValue)
}

fn change(handle: u64, f: impl FnOnce(&mut Object) -> Result<(), Status>) -> Result<(), Status> {
    let mut objects = objects();
    f(objects.as_mut().and_then(|all| all.get_mut(&handle)).ok_or(Status::InvalidValue)?)
}

fn remove(handle: u64, is: impl Fn(&Object) -> bool) -> Result<(), Status> {
    let mut objects = objects();
    let all = objects.as_mut().ok_or(Status::InvalidValue)?;
    match all.get(&handle) {
        Some(object) if is(object) => {
            all.remove(&handle);
            Ok(())
        }
        _ => Err(Status::InvalidValue),
    }
}

fn library(handle: u64) -> Result<(), Status> {
    if find(handle) == Ok(Object::Library) { Ok(()) } else { Err(Status::NotInitialized) }
}

fn layout(handle: u64) -> Result<Layout, Status> {
    match find(handle)? {
        Object::Layout(layout) => Ok(layout),
        Object::Library | Object::Operation(_) | Object::Preference(_) => Err(Status::InvalidValue),
    }
}

fn operation(handle: u64) -> Result<Operation, Status> {
    match find(handle)? {
        Object::Operation(operation) => Ok(operation),
        Object::Library | Object::Layout(_) | Object::Preference(_) => Err(Status::InvalidValue),
    }
}

fn status(result: Result<(), Status>) -> c_int {
    result.err().map_or(0, Status::number)
}

/// Bytes of an attribute.
fn value<'a>(from: *const u8, bytes: usize) -> Result<&'a [u8], Status> {
    if from.is_null() || bytes == 0 {
        return Err(Status::InvalidValue);
    }
    // SAFETY: the interface's contract is that so many bytes can be read during the call.
    Ok(unsafe { std::slice::from_raw_parts(from, bytes) })
}

/// Defines functions that give a `cublasStatus_t`.
macro_rules! cublas {
    ($($(#[$meta:meta])* fn $name:ident($($argument:ident: $ty:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$meta])*
            // SAFETY: the name is cuBLASLt's, and no other item of this library has it.
            #[unsafe(no_mangle)]
            extern "C" fn $name($($argument: $ty),*) -> c_int {
                let body = || -> Result<(), Status> { $body };
                status(body())
            }
        )*
    };
}

/// What the heuristics give for one algorithm.
#[repr(C)]
struct Heuristic {
    /// Alignments of A, B, C and D, then bytes of workspace, then a mark.
    algorithm: [u64; 8],
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

/// Marks an algorithm that came from this library.
const MARK: u64 = 0x5647_5055_4c54;
/// Workspace that the algorithm takes if the preference allows it.
const WORKSPACE: u64 = 4096;
/// Alignment that the heuristics assume without a preference.
const ALIGNMENT: u32 = 256;

// SAFETY: the name is cuBLASLt's, and no other item of this library has it.
#[unsafe(no_mangle)]
extern "C" fn cublasLtGetVersion() -> usize {
    120_900
}

cublas! {
    fn cublasLtCreate(out: *mut u64) {
        if driver::has_context() { create(out, Object::Library) } else { Err(Status::NotInitialized) }
    }

    fn cublasLtDestroy(handle: u64) {
        remove(handle, |object| *object == Object::Library).map_err(|_| Status::NotInitialized)
    }

    fn cublasLtMatrixLayoutCreate(out: *mut u64, element: c_int, rows: u64, columns: u64, leading: i64) {
        let element = Element::numbered(element)?;
        let (row_order, batches, batch_stride) = (false, 1, 0);
        create(out, Object::Layout(Layout { element, rows, columns, leading, row_order, batches, batch_stride }))
    }

    fn cublasLtMatrixLayoutSetAttribute(handle: u64, attribute: c_int, from: *const u8, bytes: usize) {
        let value = value(from, bytes)?;
        change(handle, |object| match object {
            Object::Layout(layout) => layout.set(attribute, value),
            Object::Library | Object::Operation(_) | Object::Preference(_) => Err(Status::InvalidValue),
        })
    }

    fn cublasLtMatrixLayoutDestroy(handle: u64) {
        remove(handle, |object| matches!(object, Object::Layout(_)))
    }

    fn cublasLtMatmulDescCreate(out: *mut u64, compute: c_int, scale: c_int) {
        let integer = match (compute, Element::numbered(scale)?) {
            // Single precision and its fast forms.
            (68 | 74 | 75 | 77, Element::F32) => false,
            (72, Element::S32) => true,
            _ => return Err(Status::NotSupported),
        };
        create(out, Object::Operation(Operation {
            integer,
            transpose_a: false,
            transpose_b: false,
            activation: Activation::None,
            has_bias: false,
            bias: 0,
            bias_type: None,
            bias_stride: 0,
        }))
    }

    fn cublasLtMatmulDescSetAttribute(handle: u64, attribute: c_int, from: *const u8, bytes: usize) {
        let value = value(from, bytes)?;
        change(handle, |object| match object {
            Object::Operation(operation) => operation.set(attribute, value),
            Object::Library | Object::Layout(_) | Object::Preference(_) => Err(Status::InvalidValue),
        })
    }

    fn cublasLtMatmulDescDestroy(handle: u64) {
        remove(handle, |object| matches!(object, Object::Operation(_)))
    }

    fn cublasLtMatmulPreferenceCreate(out: *mut u64) {
        create(out, Object::Preference(Preference { workspace: 0, alignments: [ALIGNMENT; 4] }))
    }

    fn cublasLtMatmulPreferenceSetAttribute(handle: u64, attribute: c_int, from: *const u8, bytes: usize) {
        let value = value(from, bytes)?;
        change(handle, |object| match object {
            Object::Preference(preference) => preference.set(attribute, value),
            Object::Library | Object::Layout(_) | Object::Operation(_) => Err(Status::InvalidValue),
        })
    }

    fn cublasLtMatmulPreferenceDestroy(handle: u64) {
        remove(handle, |object| matches!(object, Object::Preference(_)))
    }

    fn cublasLtMatmulAlgoGetHeuristic(
        handle: u64,
        description: u64,
        a: u64,
        b: u64,
        c: u64,
        d: u64,
        preference: u64,
        wanted: c_int,
        results: *mut Heuristic,
        count: *mut c_int,
    ) {
        library(handle)?;
        let Object::Preference(preference) = find(preference)? else { return Err(Status::InvalidValue) };
        if wanted < 1 || results.is_null() || count.is_null() {
            return Err(Status::InvalidValue);
        }
        let layouts = [layout(a)?, layout(b)?, layout(c)?, layout(d)?];
        product::check(&operation(description)?, &layouts)?;
        let workspace = preference.workspace.min(WORKSPACE);
        let [a, b, c, d] = preference.alignments.map(u64::from);
        let result = Heuristic {
            algorithm: [a, b, c, d, workspace, MARK, 0, 0],
            workspace: workspace as usize,
            state: 0,
            waves: 1.0,
            reserved: [0; 4],
        };
        // SAFETY: the interface's contract is that both pointers, which are not null, can be
        // written, the first one `wanted` times.
        unsafe {
            results.write(result);
            count.write(1);
        }
        Ok(())
    }

    fn cublasLtMatmul(
        handle: u64,
        description: u64,
        alpha: *const c_void,
        a: u64,
        a_layout: u64,
        b: u64,
        b_layout: u64,
        beta: *const c_void,
        c: u64,
        c_layout: u64,
        d: u64,
        d_layout: u64,
        algorithm: *const [u64; 8],
        workspace: u64,
        workspace_bytes: usize,
        stream: u64,
    ) {
        library(handle)?;
        let operation = operation(description)?;
        let layouts = [layout(a_layout)?, layout(b_layout)?, layout(c_layout)?, layout(d_layout)?];
        product::check(&operation, &layouts)?;
        let addresses = [a, b, c, d];
        check_algorithm(algorithm, addresses, (workspace, workspace_bytes))?;
        let (alpha, beta) = (scalar(alpha, &operation)?, scalar(beta, &operation)?);
        let unset = addresses.iter().enumerate().any(|(at, one)| *one == 0 && (at != 2 || beta != 0.0));
        if unset || operation.has_bias && operation.bias == 0 {
            return Err(Status::InvalidValue);
        }
        let product = Box::new(Product { operation, layouts, addresses, alpha, beta });
        let data = Box::into_raw(product).cast();
        let callback = Callback { run: product::run, drop: product::free, data };
        match driver::enqueue(stream, callback) {
            Some(0) => Ok(()),
            Some(_) => Err(Status::ExecutionFailed),
            None => Err(Status::NotInitialized),
        }
    }
}

/// Refuses pointers that are less aligned than the algorithm was chosen for, and a workspace that
/// is too small. Without an algorithm the library chooses one for the pointers itself.
fn check_algorithm(
    algorithm: *const [u64; 8],
    addresses: [u64; 4],
    (workspace, bytes): (u64, usize),
) -> Result<(), Status> {
    if algorithm.is_null() {
        return Ok(());
    }
    // SAFETY: the interface's contract is that an algorithm that is not null can be read.
    let [a, b, c, d, needed, mark, ..] = unsafe { algorithm.read() };
    let aligned = addresses
        .iter()
        .zip([a, b, c, d])
        .all(|(address, to)| to != 0 && address.is_multiple_of(to));
    let room =
        needed == 0 || workspace != 0 && workspace.is_multiple_of(256) && bytes as u64 >= needed;
    if mark == MARK && aligned && room { Ok(()) } else { Err(Status::InvalidValue) }
}

/// A factor in host memory, of the scale type.
fn scalar(from: *const c_void, operation: &Operation) -> Result<f64, Status> {
    let bytes = value(from.cast(), 4)?;
    let bytes: [u8; 4] = bytes.try_into().map_err(|_| Status::InvalidValue)?;
    Ok(if operation.integer {
        f64::from(i32::from_le_bytes(bytes))
    } else {
        f64::from(f32::from_le_bytes(bytes))
    })
}
