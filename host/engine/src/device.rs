//! The devices that plans run on: found when the engine opens, tried before anything runs there.

use crate::{EngineConfig, EngineError, Family};
use aimass_graph::{CompileOptions, Gpu, GpuOptions, SelfTest, gpu_count};
use aimass_telemetry::metrics::{Metric, Page, catalog};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Where plans run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// On every GPU that there is and that passes its self-test; else on the CPU.
    #[default]
    Auto,
    /// On the CPU.
    Cpu,
    /// On these GPUs, by number; the engine does not open without them.
    Cuda(Vec<usize>),
}

/// The choice is none of those that there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `auto`, `cpu`, or GPUs by number such as `cuda:0` or `cuda:0,cuda:1`; got {got:?}"
)]
pub struct UnknownDevice {
    /// What came.
    pub got: String,
}

impl FromStr for DeviceChoice {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<DeviceChoice, UnknownDevice> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            _ => {
                let number = |part: &str| part.strip_prefix("cuda:")?.parse().ok();
                let numbers: Option<Vec<usize>> = text.split(',').map(number).collect();
                let unknown = || UnknownDevice { got: text.to_owned() };
                numbers.map(DeviceChoice::Cuda).ok_or_else(unknown)
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(numbers) => {
                let names: Vec<String> =
                    numbers.iter().map(|number| format!("cuda:{number}")).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

/// A device, or why there is none, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceStatus {
    /// `cpu`, or `cuda:` and the number.
    pub device: String,
    /// As the driver names it; empty for the CPU.
    pub name: String,
    /// Whether plans run there.
    pub works: bool,
    /// Why plans run elsewhere, or what went wrong last.
    pub reason: Option<String>,
    /// Bytes of device memory in use.
    pub memory_bytes: u64,
    /// Most bytes of device memory to use.
    pub memory_bytes_max: u64,
    /// Runs of plans that finished there, each part of a batch counted.
    pub runs: u64,
    /// Batches that ran there in parts, because the memory did not suffice for the whole.
    pub split: u64,
    /// Runs that the CPU did because something went wrong there.
    pub fallbacks: u64,
    /// Which compiler makes kernels of elementwise ops at run time, or why none does; empty for the CPU.
    pub fusion: String,
    /// Times that such a kernel could not be made.
    pub fusions_refused: u64,
}

/// The devices of an engine.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    gpus: Vec<Arc<Gpu>>,
    /// Why GPUs are not used, one sentence each.
    absent: Vec<String>,
}

impl Devices {
    /// As [`Devices::open`], on a thread that may block.
    ///
    /// # Errors
    /// As there, and a self-test that panicked.
    pub(crate) async fn open_beside(config: &EngineConfig) -> Result<Devices, EngineError> {
        let (choice, gpu) = (config.device.clone(), config.gpu.clone());
        let devices = tokio::task::spawn_blocking(move || Devices::open(&choice, &gpu)).await;
        let panicked = |_| EngineError::new(Family::Unavailable, "device", "a self-test panicked");
        devices.map_err(panicked)?
    }

    /// Opens what was chosen. Takes as long as self-tests take: seconds.
    ///
    /// # Errors
    /// A GPU that was asked for by number cannot be used.
    pub(crate) fn open(
        choice: &DeviceChoice,
        options: &GpuOptions,
    ) -> Result<Devices, EngineError> {
        let mut devices = Devices::default();
        let (numbers, asked) = match choice {
            DeviceChoice::Cpu => {
                devices.absent.push("the configuration says cpu".into());
                return Ok(devices);
            }
            DeviceChoice::Cuda(numbers) => (numbers.clone(), true),
            DeviceChoice::Auto => match gpu_count() {
                Ok(count) => ((0..count).collect(), false),
                Err(error) => {
                    devices.absent.push(error.to_string());
                    return Ok(devices);
                }
            },
        };
        for number in numbers {
            match tried(number, options) {
                Ok(gpu) => devices.gpus.push(gpu),
                Err(reason) if asked => {
                    let message = format!(
                        "cuda:{number}: {reason} (use `--device auto` to serve on the CPU instead)"
                    );
                    return Err(EngineError::new(Family::Unavailable, "device", message));
                }
                Err(reason) => {
                    tracing::warn!(device = number, reason, "a GPU is not used");
                    devices.absent.push(format!("cuda:{number}: {reason}"));
                }
            }
        }
        Ok(devices)
    }

    /// Their numbers.
    pub(crate) fn numbers(&self) -> Vec<usize> {
        self.gpus.iter().map(|gpu| gpu.info().ordinal).collect()
    }

    /// How to compile the next model: for the working device with the most free memory.
    pub(crate) fn place(&self, options: &CompileOptions) -> CompileOptions {
        let free = |gpu: &&Arc<Gpu>| {
            let state = gpu.state();
            state.memory_bytes_max.saturating_sub(state.memory_bytes)
        };
        let working = self.gpus.iter().filter(|gpu| gpu.state().lost.is_none());
        CompileOptions { device: working.max_by_key(free).cloned(), ..options.clone() }
    }

    /// Every device, or the CPU with the reasons.
    pub(crate) fn status(&self) -> Vec<DeviceStatus> {
        let mut all: Vec<DeviceStatus> = self.gpus.iter().map(|gpu| status(gpu)).collect();
        if all.iter().all(|device| !device.works) {
            let reasons = (!self.absent.is_empty()).then(|| self.absent.join("; "));
            all.push(DeviceStatus {
                device: "cpu".into(),
                works: true,
                reason: reasons,
                ..DeviceStatus::default()
            });
        }
        all
    }

    pub(crate) fn write(&self, page: &mut Page) {
        let states: Vec<DeviceStatus> = self.gpus.iter().map(|gpu| status(gpu)).collect();
        let mut each = |metric: &'static Metric, value: fn(&DeviceStatus) -> f64| {
            let mut samples = page.start(metric);
            states.iter().for_each(|device| samples.add(&[&device.device], value(device)));
        };
        each(&catalog::DEVICE_WORKS, |device| f64::from(u8::from(device.works)));
        each(&catalog::DEVICE_MEMORY, |device| device.memory_bytes as f64);
        each(&catalog::DEVICE_MEMORY_MAX, |device| device.memory_bytes_max as f64);
        each(&catalog::DEVICE_RUNS, |device| device.runs as f64);
        each(&catalog::DEVICE_SPLIT, |device| device.split as f64);
        each(&catalog::DEVICE_FALLBACKS, |device| device.fallbacks as f64);
        each(&catalog::DEVICE_FUSIONS_REFUSED, |device| device.fusions_refused as f64);
    }
}

/// The GPU, after its self-test.
fn tried(number: usize, options: &GpuOptions) -> Result<Arc<Gpu>, String> {
    let gpu = Gpu::open(number, options).map_err(|error| error.to_string())?;
    let SelfTest { cases, failures, seconds } = gpu.self_test();
    match failures.first() {
        None => {
            let info = gpu.info();
            tracing::info!(
                device = number,
                name = info.name,
                image = info.image,
                fusion = %gpu.state().fusion,
                cases,
                seconds,
                "a GPU passed its self-test"
            );
            Ok(gpu)
        }
        Some(first) => Err(format!(
            "{} of {cases} self-tests failed, the first: {first} (`aimass device report` writes them all)",
            failures.len()
        )),
    }
}

fn status(gpu: &Gpu) -> DeviceStatus {
    let state = gpu.state();
    let fusion = state.fusion.to_string();
    DeviceStatus {
        device: format!("cuda:{}", state.info.ordinal),
        name: state.info.name,
        works: state.lost.is_none(),
        reason: state.lost.or(state.last_error),
        memory_bytes: state.memory_bytes,
        memory_bytes_max: state.memory_bytes_max,
        runs: state.runs,
        split: state.split,
        fallbacks: state.fallbacks,
        fusion,
        fusions_refused: state.fusion.refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_written_alike() {
        for text in ["auto", "cpu", "cuda:0", "cuda:1,cuda:3"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        for text in ["", "gpu", "cuda", "cuda:", "cuda:x", "cuda:0,", "cuda:0 "] {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert!(error.to_string().contains("cuda:0,cuda:1"), "{error}");
        }
    }

    #[test]
    fn without_a_gpu_the_cpu_says_why() {
        let devices = Devices::open(&DeviceChoice::Cpu, &GpuOptions::default()).unwrap();
        let [cpu] = &devices.status()[..] else { panic!("one device") };
        assert_eq!((&*cpu.device, cpu.works), ("cpu", true));
        assert_eq!(cpu.reason.as_deref(), Some("the configuration says cpu"));
        assert!(devices.place(&CompileOptions::default()).device.is_none());
    }
}
