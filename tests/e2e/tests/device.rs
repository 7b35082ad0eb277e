//! The binary with drivers of every kind: none, too old, no GPU, one that is too old or too new, and the
//! virtual GPU, on which a real model must answer as on the CPU.

use aimass_e2e::{Site, repository};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A site whose loader finds the virtual driver as `libcuda.so.1`.
struct Driven {
    site: Site,
    folder: PathBuf,
}

impl Driven {
    fn new() -> Driven {
        let site = Site::new();
        let folder = site.folder().join("driver");
        std::fs::create_dir(&folder).expect("a folder");
        symlink(library("libaimass_vgpu.so"), folder.join("libcuda.so.1")).expect("a link");
        Driven { site, folder }
    }

    /// Runs the binary with `VGPU_` settings.
    fn run(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.site.aimass);
        command.arg("--data").arg(self.site.data()).args(arguments);
        command.current_dir(self.site.folder());
        command.env("LD_LIBRARY_PATH", &self.folder).env_remove("AIMASS_DEVICE");
        command.env("VGPU_PTX", repository().join("kernels/cuda/prebuilt"));
        for (name, value) in settings {
            command.env(name, value);
        }
        command.output().expect("the binary runs")
    }

    fn prints(&self, settings: &[(&str, &str)], arguments: &[&str], expected: &str) {
        let output = self.run(settings, arguments);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(expected), "{settings:?}: {expected:?} is not in {text}");
    }
}

/// What cargo built of `tests/vgpu`, beside this test or one folder above.
fn library(name: &str) -> PathBuf {
    // Names it, so that cargo builds it before this test.
    let _ = aimass_vgpu::Settings::default();
    let own = std::env::current_exe().expect("a path");
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} beside the tests"))
}

/// Whether the loader finds NVIDIA's cuBLASLt here, so that its absence cannot be tried.
fn has_cublaslt() -> bool {
    let known = Command::new("/sbin/ldconfig").arg("-p").output();
    known.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("libcublasLt"))
}

#[test]
fn list_says_what_multiplies_matrices_and_why_cublaslt_does_not() {
    let driven = Driven::new();
    let (list, own) = (["device", "list"], "products: our own kernels; ");
    if has_cublaslt() {
        println!("left out: a machine without cuBLASLt; this one has it");
    } else {
        driven.prints(&[], &list, &format!("{own}libcublasLt.so was not found"));
    }
    let place = driven.folder.join("libcublasLt.so");
    let library = library("libaimass_vgpu_cublaslt.so");
    symlink(&library, &place).expect("a link");
    let preloaded = driven.folder.join("libcuda.so.1");
    let preloaded = [("LD_PRELOAD", preloaded.to_str().expect("a path"))];
    driven.prints(&preloaded, &list, "products: cuBLASLt, and our own kernels for small ones");
    // Without the driver among all symbols, the virtual library finds no context.
    driven.prints(&[], &list, &format!("{own}cublasLtCreate: CUBLAS_STATUS_NOT_INITIALIZED"));
    // As an older one: the name of a function is spoiled.
    let mut image = std::fs::read(&library).expect("a library");
    let symbol = b"\0cublasLtMatmulDescSetAttribute\0";
    let found: Vec<usize> =
        (0..image.len() - symbol.len()).filter(|&at| image[at..].starts_with(symbol)).collect();
    assert!(!found.is_empty());
    found.iter().for_each(|at| image[at + 1] = b'_');
    std::fs::remove_file(&place).expect("no link");
    std::fs::write(&place, image).expect("a copy");
    let expected = format!("{own}libcublasLt.so has no function cublasLtMatmulDescSetAttribute");
    driven.prints(&preloaded, &list, &expected);
    // What runs there still runs.
    let ask = ["infer", "minilm", "--input", "text=a cat", "--device", "cuda:0"];
    let output = driven.run(&[("VGPU_MEM_MB", "2048")], &ask);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn list_says_what_there_is_and_why_there_is_nothing() {
    let driven = Driven::new();
    let list = ["device", "list"];
    driven.prints(&[], &list, "compute capability 8.0  driver for CUDA 13.0  kernels sm_80");
    driven.prints(&[("VGPU_SM", "90")], &list, "kernels sm_90");
    driven.prints(&[("VGPU_SM", "89")], &list, "kernels sm_89");
    // Newer than every image: the driver compiles the text.
    driven.prints(&[("VGPU_SM", "130")], &list, "kernels compute_75");
    driven.prints(&[("VGPU_SM", "70")], &list, "compute capability 7.0; 7.5 (Turing) or newer");
    driven.prints(&[("VGPU_DRIVER", "11080")], &list, "supports CUDA 11.8; CUDA 12.0");
    driven.prints(&[("VGPU_DEVICES", "0")], &list, "finds no GPU");
    driven.prints(&[("VGPU_DEVICES", "2")], &list, "cuda:1");
    driven.prints(&[("VGPU_MEM_MB", "16")], &list, "cannot be used");
    if !Path::new("/dev/nvidia0").exists() {
        std::fs::remove_file(driven.folder.join("libcuda.so.1")).expect("no link");
        driven.prints(&[], &list, "no NVIDIA driver: libcuda.so.1 was not found");
    }
}

#[test]
fn list_says_which_compiler_fuses_and_why_none_does() {
    let driven = Driven::new();
    let list = ["device", "list"];
    let nvrtc = aimass_vgpu::nvrtc();
    let Some(folder) = nvrtc.parent().filter(|_| nvrtc.is_file()) else {
        return eprintln!("left out: {} is not there (`cargo xtask fetch`)", nvrtc.display());
    };
    if std::fs::exists("/usr/local/cuda").is_ok_and(|there| !there) {
        driven.prints(&[], &list, "fusion none: NVRTC was not found (install libnvrtc.so of CUDA");
    }
    for file in std::fs::read_dir(folder).expect("a folder").flatten() {
        symlink(file.path(), driven.folder.join(file.file_name())).expect("a link");
    }
    driven.prints(&[], &list, "kernels sm_80  fusion NVRTC 12.9");
}

#[test]
fn a_gpu_that_was_asked_for_and_cannot_be_used_is_an_error_and_auto_is_not() {
    let driven = Driven::new();
    let ask = |device| ["infer", "minilm", "--input", "text=a cat", "--device", device];
    let old = [("VGPU_DRIVER", "11080")];
    let output = driven.run(&old, &ask("cuda:0"));
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("CUDA 12.0") && error.contains("--device auto"), "{error}");
    assert!(driven.run(&old, &ask("auto")).status.success());
    driven.prints(&[], &ask("cuda:7"), "this machine has 1");
    driven.prints(&[], &ask("gpu"), "cuda:0,cuda:1");
}

#[test]
fn a_real_model_answers_on_the_virtual_gpu_as_on_the_cpu() {
    let driven = Driven::new();
    let answer = |device: &str| -> Vec<f64> {
        let arguments = ["infer", "minilm", "--input", "text=a cat", "--device", device];
        let output = driven.run(&[("VGPU_MEM_MB", "2048")], &arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let number = |word: &str| word.trim_matches(|c| "[],".contains(c)).parse().ok();
        text.split_whitespace().filter_map(number).collect()
    };
    let (here, there) = (answer("cpu"), answer("cuda:0"));
    assert!(here.len() >= 8 && here.len() == there.len(), "{here:?} {there:?}");
    for (here, there) in here.iter().zip(&there).take(8) {
        assert!((here - there).abs() < 2e-4, "{here} {there}");
    }
}

/// What a command with `--json` printed.
fn json(driven: &Driven, arguments: &[&str]) -> serde_json::Value {
    let output = driven.run(&[("VGPU_MEM_MB", "2048")], arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_report_holds_the_self_test_and_the_op_suite() {
    let driven = Driven::new();
    let arguments = ["device", "report", "--output", "report.json"];
    let output = driven.run(&[], &arguments);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && text.contains("op suite: "), "{text}");
    let report = std::fs::read(driven.site.folder().join("report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    let of = |cases: &serde_json::Value, counts: &serde_json::Value, least: usize| {
        let cases = cases.as_array().expect("cases").clone();
        assert!(counts["run"] == cases.len() && counts["failed"] == 0 && cases.len() > least);
        assert!(cases.iter().all(|case| case["failure"].is_null()), "{cases:?}");
        cases
    };
    of(&report["cases"], &report["self_test"], 1000);
    let suite = &report["op_suite"];
    let ops = of(&suite["cases"], suite, 120);
    assert!(suite["left_out"] == 0 && suite["lost"].is_null(), "{suite}");
    let op = |name: &str| ops.iter().find(|case| case["case"] == name).expect("an op");
    let (add, found) = (op("add"), op("non-zero"));
    assert!(add["family"] == "elementwise" && add["device_runs"].as_u64() > Some(0), "{add}");
    assert!(found["on_cpu"].as_array().is_some_and(|forms| !forms.is_empty()), "{found}");
}

#[test]
fn a_report_of_a_gpu_that_fails_is_written_and_fails() {
    let driven = Driven::new();
    let arguments = ["device", "report", "--output", "report.json"];
    // An address that does not exist.
    let output = driven.run(&[("VGPU_FAIL", "cuLaunchKernel:40:700")], &arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("were left out, since"), "{error}");
    let report = std::fs::read(driven.site.folder().join("report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    let suite = &report["op_suite"];
    assert!(report["self_test"]["failed"] == 1 && suite["run"] == 0, "{suite}");
    assert!(suite["left_out"].as_u64() > Some(120) && suite["lost"].is_string(), "{suite}");
}

#[test]
fn inspect_tells_where_each_step_runs() {
    let driven = Driven::new();
    let inspect = ["model", "inspect", "minilm", "--device", "cuda:0"];
    let found = json(&driven, &[&inspect[..], &["--json"]].concat());
    let device = &found["plans"][0]["device"];
    let steps = device["steps"].as_array().expect("steps");
    let at = |place: &str| steps.iter().filter(|step| step["place"] == place).count();
    for (count, place) in
        [("device_steps", "device"), ("cpu_steps", "cpu"), ("transfers", "transfer")]
    {
        assert_eq!(device[count], at(place), "{place}");
    }
    assert!(at("device") > 30, "{steps:?}");
    let part = format!("runs    {} steps on the device", at("device"));
    driven.prints(&[("VGPU_MEM_MB", "2048")], &inspect, &part);
    let plain = json(&driven, &["model", "inspect", "minilm", "--json"]);
    assert!(plain["plans"][0]["device"].is_null(), "no device without --device");
}

#[test]
fn profile_times_the_steps_of_a_device() {
    let driven = Driven::new();
    let profile = ["model", "profile", "minilm", "--device", "cuda:0", "--input", "text=a cat"];
    let runs = ["--runs", "1", "--warmup", "0", "--json"];
    let found = json(&driven, &[&profile[..], &runs].concat());
    let plan = &found["plans"][0];
    let steps = plan["device"]["steps"].as_array().expect("steps");
    let us: f64 = steps.iter().map(|step| step["us"].as_f64().expect("a time")).sum();
    let all = plan["device"]["us"].as_f64().expect("a time");
    assert!(0.0 < us && us <= all, "{us} of {all}");
    assert!(plan["us"].as_f64().expect("a time") > 0.0 && plan["steps"].is_null(), "{plan}");
}
