//! What the sandbox makes of every guest: answers of the good ones, ends of the hostile ones.

use aimass_guest_program::Program;
use aimass_guest_tests::{Bench, package};
use aimass_sandbox::Cause;
use aimass_tensor::{Shape, Strings, Tensor};

/// What comes of a guest.
#[derive(Debug)]
enum Expected {
    /// `y` has these elements.
    Answer(&'static [f32]),
    /// The guest's own error, with this code.
    Code(&'static str),
    /// The sandbox ends the call, for this kind of cause.
    Ended(&'static str),
    /// It does not load; the message contains this.
    NotLoaded(&'static str),
}

/// The guests that answer `y`; the greeter has a test of its own.
fn expected(program: Program) -> Expected {
    use Expected::{Answer, Code, Ended, NotLoaded};
    match program {
        Program::Echo | Program::Log | Program::LogFlood => Answer(&[1.0, 2.0]),
        Program::Counter => Answer(&[11.0]),
        Program::Sum => Answer(&[3.0]),
        Program::Parameter => Answer(&[2.5]),
        Program::Greeter => Code("missing-input"),
        Program::Mel => Code("stft"),
        Program::Loop => Ended("deadline"),
        Program::Memory => Ended("memory"),
        Program::Recursion | Program::Panic | Program::LoggedPanic => Ended("trap"),
        Program::Handles => Ended("handles"),
        Program::HostBytes => Code("host-bytes"),
        Program::HostCalls => Ended("host-calls"),
        Program::HostCopy => Ended("host-copy"),
        Program::OutputBytes => Ended("output-too-large"),
        Program::Outputs => Ended("handles"),
        Program::WrongName | Program::Twice | Program::MissingOutput => Ended("bad-output"),
        Program::WrongDtype | Program::WrongShape => Ended("bad-output"),
        Program::OutOfRange => Code("out-of-range"),
        Program::ShortTensor => Code("byte-count"),
        Program::FallingOffsets => Code("offsets"),
        Program::UnknownOp => Code("op"),
        Program::InputError => Code("not-this"),
        Program::InternalError => Code("broken"),
        Program::LongError => Code("long"),
        Program::InitLoop => NotLoaded("deadline"),
        Program::InitPanic => NotLoaded("unreachable"),
        Program::InitMemory => NotLoaded("memory"),
        Program::InitReject => NotLoaded("expected another program"),
        Program::InitKeepsHandle => NotLoaded("handle"),
    }
}

fn x() -> (&'static str, Tensor) {
    ("x", Tensor::from_slice(&[2], &[1f32, 2.0]).expect("two elements"))
}

async fn check(bench: &Bench, program: Program) -> Result<(), String> {
    let expected = expected(program);
    let plugin = match (bench.load(program.name()).await, &expected) {
        (Err(error), Expected::NotLoaded(part)) => {
            let text = error.to_string();
            return if text.contains(part) { Ok(()) } else { Err(text) };
        }
        (Err(error), _) => return Err(format!("not loaded: {error}")),
        (Ok(_), Expected::NotLoaded(_)) => return Err("loaded".to_owned()),
        (Ok(plugin), _) => plugin,
    };
    let answer = bench.call(&plugin, x()).await.map_err(|error| error.cause);
    match (answer, &expected) {
        (Ok(result), Expected::Answer(y)) => {
            let [(name, tensor)] = result.outputs.as_slice() else {
                return Err(format!("{} outputs", result.outputs.len()));
            };
            match tensor.as_slice::<f32>() {
                Ok(got) if &**name == "y" && got == *y => Ok(()),
                got => Err(format!("{name}: {got:?}")),
            }
        }
        (Err(Cause::Guest(error)), Expected::Code(code)) if error.code == *code => Ok(()),
        (Err(cause), Expected::Ended(kind)) if cause.kind().as_str() == *kind => Ok(()),
        (Ok(_), _) => Err("an answer".to_owned()),
        (Err(cause), _) => Err(format!("{}: {cause}", cause.kind().as_str())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_guest_comes_to_its_own_end_and_none_harms_the_next() {
    let bench = Bench::new();
    let mut wrong = Vec::new();
    for program in Program::ALL.iter().filter(|program| **program != Program::Greeter) {
        if let Err(got) = check(&bench, *program).await {
            wrong.push(format!("{program:?}: expected {:?}, got {got}", expected(*program)));
        }
        if let Err(got) = check(&bench, Program::Echo).await {
            wrong.push(format!("echo after {program:?}: {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_starts_with_what_init_left() {
    let bench = Bench::new();
    let plugin = bench.load("Counter").await.expect("it loads");
    for _ in 0..3 {
        let outputs = bench.call(&plugin, x()).await.expect("it answers").outputs;
        assert_eq!(outputs[0].1.as_slice::<f32>().expect("f32"), [11.0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_cross_the_boundary_both_ways() {
    let bench = Bench::new();
    let plugin = bench.load("Greeter").await.expect("it loads");
    let names = Strings::from_slices(&["Ada", "Zoë"]).expect("short strings");
    let shape = Shape::new(&[2]).expect("one extent");
    let names = Tensor::from_strings(shape, names).expect("two strings");
    let outputs = bench.call(&plugin, ("name", names)).await.expect("it answers").outputs;
    let greetings = outputs[0].1.strings().expect("strings");
    assert!(greetings.iter().eq(["Hello, Ada".as_bytes(), "Hello, Zoë".as_bytes()]));
}

#[derive(serde::Deserialize)]
struct Sound {
    samples: Vec<f32>,
    shape: [usize; 2],
    log_mel: Vec<f32>,
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_become_the_mel_bands_that_numpy_makes_of_them() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/media/mel.json");
    let golden = std::fs::read(golden).expect("mel.json");
    let Sound { samples, shape, log_mel } = serde_json::from_slice(&golden).expect("numbers");
    let bench = Bench::new();
    let plugin = bench.load("Mel").await.expect("it loads");
    let stereo: Vec<f32> =
        samples.iter().flat_map(|&sample| [sample + 0.25, sample - 0.25]).collect();
    for x in [
        Tensor::from_slice(&[samples.len()], &samples),
        Tensor::from_slice(&[samples.len(), 1], &samples),
        Tensor::from_slice(&[samples.len(), 2], &stereo),
    ] {
        let outputs = bench.call(&plugin, ("x", x.expect("samples"))).await.expect("it answers");
        let bands = outputs.outputs[0].1.as_slice::<f32>().expect("f32");
        assert_eq!(bands.len(), shape[0] * shape[1]);
        let differences = bands.iter().zip(&log_mel).map(|(got, expected)| (got - expected).abs());
        let worst = differences.fold(0.0, f32::max);
        assert!(worst < 2e-3, "off by {worst}");
    }
}

#[test]
fn a_component_that_imports_what_its_manifest_does_not_name_is_refused() {
    let refused = package(r#""config": {}, "tensor": {}"#).map(|_| "verified");
    let refusal = refused.expect_err("a component that imports log without a grant");
    assert!(refusal.to_string().contains("aimass:plugin/log"), "{refusal}");
}
