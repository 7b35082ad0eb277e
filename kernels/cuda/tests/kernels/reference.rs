//! The device under test, content, and comparison.

use aimass_cuda::{Device, DeviceError, DeviceOptions, Form, Memory, Queue, Slice};
use aimass_vgpu::{Checks, Settings, Vgpu};
use std::cell::Cell;
use std::sync::{Arc, OnceLock};

/// Extents at which kernels go wrong: none, around a warp, around a block, more than one block.
pub(crate) const SIZES: &[usize] = &[0, 1, 2, 31, 32, 33, 255, 256, 257, 1023, 1025];

/// Blocks of the virtual GPU's kernels that take elements in turn: few, so that small cases have
/// second turns.
const BLOCKS_MAX: u32 = 3;

/// Whether the tests run on the GPU of this machine.
pub(crate) fn is_real() -> bool {
    std::env::var("AIMASS_DEVICE").is_ok_and(|named| named.starts_with("cuda:"))
}

/// The device: the virtual one, or with `AIMASS_DEVICE=cuda:0` the GPU of this machine. With
/// `AIMASS_CUDA_DETERMINISTIC` set it is used without cuBLASLt.
pub(crate) fn device() -> &'static Arc<Device> {
    static DEVICE: OnceLock<Arc<Device>> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let mut options = DeviceOptions {
            deterministic: std::env::var_os("AIMASS_CUDA_DETERMINISTIC").is_some(),
            ..DeviceOptions::default()
        };
        if !is_real() {
            virtual_gpu();
            options.blocks_max = BLOCKS_MAX;
        }
        if crate::CUBLASLT {
            // Little, for the windows of a convolution to come in parts.
            options.memory_bytes_max = 48 << 20;
        }
        let device = Device::open(0, &options).expect("a device");
        println!("{:?}", device.info());
        device
    })
}

/// Makes the virtual GPU the driver of this process; `VGPU_…` sets it up, and says where memory and
/// races are watched. A test that fails also prints what it found.
fn virtual_gpu() {
    let mut settings = Settings::from_environment().expect("VGPU_ variables");
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/prebuilt");
    settings.ptx.get_or_insert_with(|| images.into());
    if std::env::var_os("VGPU_CHECKS").is_none() {
        settings.checks = Checks::Memory;
    }
    // It stays for as long as the process.
    let vgpu: &Vgpu = Box::leak(Box::new(aimass_vgpu::load(&settings).expect("the virtual GPU")));
    if crate::CUBLASLT {
        aimass_vgpu::load_cublaslt().expect("the virtual cuBLASLt");
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |problem| {
        usual(problem);
        vgpu.findings().iter().for_each(|finding| eprintln!("virtual GPU: {finding}"));
    }));
}

/// How a fuzzed case differs from the written ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Salt {
    /// Changes every sequence; 0 changes nothing, and adds no number below the normal ones either.
    pub(crate) seed: u64,
    /// Whether some content is NaN or infinite.
    pub(crate) special: bool,
}

thread_local! {
    static SALT: Cell<Salt> = const { Cell::new(Salt { seed: 0, special: false }) };
}

/// Makes this thread's next cases those of `salt`.
pub(crate) fn set_salt(salt: Salt) {
    SALT.set(salt);
}

/// Numbers of a fixed sequence in -2..2.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        let seed = seed ^ SALT.get().seed;
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        if SALT.get().seed != 0 {
            // Neighboring seeds begin alike.
            (0..8).fold(0, |_, _| random.bits());
        }
        random
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() >> 20) as usize % n.max(1)
    }

    /// One of these.
    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// An extent of at most `most`, often one at which kernels go wrong.
    pub(crate) fn extent(&mut self, most: usize) -> usize {
        match self.below(3) {
            0 => self.below(most + 1),
            1 => self.below(most.min(9) + 1),
            _ => self.of(SIZES).min(most),
        }
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn float(&mut self) -> f64 {
        (self.bits() >> 40) as f64 / (1u64 << 24) as f64 * 4.0 - 2.0
    }

    /// Floats that `form` can hold.
    pub(crate) fn floats(&mut self, form: Form, n: usize) -> Vec<f64> {
        let mut x: Vec<f64> = (0..n).map(|_| rounded(form, self.float())).collect();
        let Salt { seed, special } = SALT.get();
        if seed != 0 && n > 0 {
            let below_normal = if form == Form::F16 { 6e-8 } else { 1e-40 };
            let numbers = [below_normal, -below_normal, -0.0];
            let others = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            for _ in 0..self.below(4) {
                let number = if special && self.below(2) == 0 { &others } else { &numbers };
                let at = self.below(n);
                x[at] = rounded(form, self.of(number));
            }
        }
        x
    }
}

/// `x` rounded to the nearest number of the form, ties to even.
pub(crate) fn rounded(form: Form, x: f64) -> f64 {
    decode(form, &encode(form, &[x]))[0]
}

/// Bytes of numbers.
pub(crate) fn encode(form: Form, x: &[f64]) -> Vec<u8> {
    let each = |x: &f64| -> Vec<u8> {
        match form {
            Form::F32 => (*x as f32).to_le_bytes().to_vec(),
            Form::F16 => half::f16::from_f32(*x as f32).to_le_bytes().to_vec(),
            Form::Bf16 => half::bf16::from_f32(*x as f32).to_le_bytes().to_vec(),
            Form::I32 | Form::B32 => (*x as i32).to_le_bytes().to_vec(),
            Form::I64 | Form::B64 => (*x as i64).to_le_bytes().to_vec(),
            Form::B128 => (*x as i128).to_le_bytes().to_vec(),
            Form::I8 => (*x as i8).to_le_bytes().to_vec(),
            Form::B16 => (*x as i16).to_le_bytes().to_vec(),
            Form::U8 | Form::B8 | Form::Plain => (*x as u8).to_le_bytes().to_vec(),
        }
    };
    x.iter().flat_map(each).collect()
}

/// Numbers of bytes.
pub(crate) fn decode(form: Form, bytes: &[u8]) -> Vec<f64> {
    let each = |x: &[u8]| -> f64 {
        match form {
            Form::F32 => f32::from_le_bytes(x.try_into().expect("an element")).into(),
            Form::F16 => half::f16::from_le_bytes(x.try_into().expect("an element")).into(),
            Form::Bf16 => half::bf16::from_le_bytes(x.try_into().expect("an element")).into(),
            Form::I32 | Form::B32 => i32::from_le_bytes(x.try_into().expect("an element")).into(),
            Form::I64 | Form::B64 => i64::from_le_bytes(x.try_into().expect("an element")) as f64,
            Form::B128 => i128::from_le_bytes(x.try_into().expect("an element")) as f64,
            Form::I8 => (x[0] as i8).into(),
            Form::B16 => i16::from_le_bytes(x.try_into().expect("an element")).into(),
            Form::U8 | Form::B8 | Form::Plain => x[0].into(),
        }
    };
    bytes.chunks_exact(form.bytes()).map(each).collect()
}

/// Bytes of 0xA5 behind content: none on the virtual GPU, which sees by itself what reaches beyond.
pub(crate) fn guard_behind() -> usize {
    if is_real() { GUARD } else { 0 }
}

/// The content on the device, with a guard behind it.
pub(crate) struct Guarded {
    memory: Memory,
    bytes: usize,
}

pub(crate) const GUARD: usize = 1024;

impl Guarded {
    pub(crate) fn new(content: &[u8]) -> Guarded {
        let padded = [content, &vec![0xa5; guard_behind()]].concat();
        let memory = device().upload(&padded).expect("memory");
        Guarded { memory, bytes: content.len() }
    }

    /// Bytes of NaN in every float form, where a kernel writes.
    pub(crate) fn poisoned(bytes: usize) -> Guarded {
        Guarded::new(&vec![0xff; bytes])
    }

    pub(crate) fn slice(&self) -> Slice<'_> {
        self.memory.slice().part(0, self.bytes).expect("a part")
    }

    /// What is there now; panics if the guard was written.
    pub(crate) fn content(&self, queue: &mut Queue<'_>) -> Vec<u8> {
        let mut all = vec![0; self.memory.bytes()];
        queue.download(&mut [(self.memory.slice(), &mut all)]).expect("a download");
        let guard = all.split_off(self.bytes);
        assert!(guard.iter().all(|&byte| byte == 0xa5), "written behind the end");
        all
    }
}

/// Runs `work` on the device and returns what it left in an output of `elements` of `form`.
pub(crate) fn outcome(
    form: Form,
    elements: usize,
    work: impl FnOnce(&mut Queue<'_>, Slice<'_>) -> Result<(), DeviceError>,
) -> Vec<f64> {
    let out = Guarded::poisoned(elements * form.bytes());
    let mut queue = device().queue().expect("a turn");
    work(&mut queue, out.slice()).expect("launches");
    decode(form, &out.content(&mut queue))
}

/// Relative error of one rounding to the form.
pub(crate) fn epsilon(form: Form) -> f64 {
    match form {
        Form::F32 => f64::from(f32::EPSILON),
        Form::F16 => 1.0 / 1024.0,
        Form::Bf16 => 1.0 / 128.0,
        _ => 0.0,
    }
}

/// Asserts that `found` is `expected` within `tolerance`, absolute for numbers below 1 and relative
/// above; not a number equals itself.
pub(crate) fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = found == expected || found.is_nan() && expected.is_nan();
        let near = (found - expected).abs() <= tolerance * expected.abs().max(1.0);
        assert!(
            same || near,
            "{what}: element {i} is {found}, expected {expected} ± {tolerance:e}"
        );
    }
}
