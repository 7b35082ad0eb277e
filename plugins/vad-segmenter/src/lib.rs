//! Turns the speech probabilities of frames into segments of speech, with the rules of Silero VAD 6.
//!
//! | tensor          | shape           | dtype |                                                      |
//! |-----------------|-----------------|-------|------------------------------------------------------|
//! | `probabilities` | `[frames]`      | f32   | one for each frame, in order; at most 1,048,576       |
//! | `state`         | `[0]` or `[5]`  | i64   | what the call before answered; empty for a new stream |
//! | `segments`      | `[segments, 2]` | i64   | first sample, and the one after the last              |
//! | `state`         | `[5]`           | i64   | for the next call of the stream                       |
//!
//! The state travels with the caller, so that any server can take the next call. A segment is answered once
//! nothing that follows can change it. The parameter `last` of a request ends the stream; calls of a
//! stream answer together what one call of all frames does.

mod segment;

use aimass_sdk::prelude::*;
use serde::Deserialize;

use segment::{Rules, Stream};

/// Frames of a call at most.
const FRAMES_MAX: usize = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    sampling_rate: i64,
    threshold: f64,
    end_threshold: Option<f64>,
    min_speech_ms: i64,
    min_silence_ms: i64,
    pad_ms: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sampling_rate: 16_000,
            threshold: 0.5,
            end_threshold: None,
            min_speech_ms: 250,
            min_silence_ms: 100,
            pad_ms: 30,
        }
    }
}

impl Settings {
    fn rules(&self) -> Rules {
        let samples = |ms: i64| self.sampling_rate / 1000 * ms;
        Rules {
            window: self.sampling_rate / 1000 * 32,
            threshold: self.threshold,
            end_threshold: self.end_threshold.unwrap_or((self.threshold - 0.15).max(0.01)),
            min_speech: samples(self.min_speech_ms),
            min_silence: samples(self.min_silence_ms),
            pad: samples(self.pad_ms),
        }
    }
}

/// The plugin, as configured.
#[derive(Debug)]
pub struct VadSegmenter {
    rules: Rules,
}

impl Processor for VadSegmenter {
    fn init(config: Config) -> Result<Self> {
        Ok(VadSegmenter { rules: config.parse::<Settings>()?.rules() })
    }

    fn describe(&self) -> Signature {
        let frames = [Dim::dynamic("frames")];
        let segments = [Dim::dynamic("segments"), Dim::Fixed(2)];
        Signature::new()
            .input(TensorSpec::new("probabilities", DType::F32, frames))
            .input(TensorSpec::new("state", DType::I64, [Dim::dynamic("state")]))
            .output(TensorSpec::new("segments", DType::I64, segments))
            .output(TensorSpec::new("state", DType::I64, [Dim::Fixed(Stream::LEN as u64)]))
    }

    fn process(&self, inputs: Inputs, parameters: &Parameters) -> Result<Outputs> {
        let probabilities = inputs.get("probabilities")?;
        let [frames] = probabilities.extents()?;
        check_frames(frames)?;
        let mut stream = Stream::read(&self.rules, &inputs.get("state")?.to_vec::<i64>()?)?;
        let mut segments = Vec::new();
        for probability in probabilities.to_vec::<f32>()? {
            stream.push(&self.rules, f64::from(probability), &mut segments);
        }
        if parameters.boolean("last")? == Some(true) {
            stream.end(&self.rules, &mut segments);
        }
        let count = segments.len() as u64;
        Ok(Outputs::from([
            ("segments", Tensor::from_slice(&[count, 2], segments.as_flattened())?),
            ("state", Tensor::from_slice(&[Stream::LEN as u64], &stream.write())?),
        ]))
    }
}

aimass_sdk::export_processor!(VadSegmenter);

fn check_frames(frames: u64) -> Result<()> {
    if frames <= FRAMES_MAX as u64 {
        return Ok(());
    }
    let message = format!("probabilities: expected at most {FRAMES_MAX} a call, got {frames}");
    Err(Error::input("frames", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_at_most_1_048_576_frames() {
        assert_eq!(check_frames(FRAMES_MAX as u64), Ok(()));
        assert_eq!(check_frames(FRAMES_MAX as u64 + 1).unwrap_err().code, "frames");
    }

    #[test]
    fn rules_are_in_samples() {
        let rules = serde_json::from_str::<Settings>(r#"{"sampling_rate": 8000}"#).unwrap().rules();
        assert_eq!(
            (rules.window, rules.min_speech, rules.min_silence, rules.pad),
            (256, 2000, 800, 240)
        );
        assert!((rules.end_threshold - 0.35).abs() < 1e-9);
    }

    /// Numbers of the input or output of a fixture.
    fn numbers(case: &serde_json::Value, side: &str, name: &str) -> Vec<f64> {
        let tensors = case[side].as_array().unwrap();
        let data = &tensors.iter().find(|tensor| tensor["name"] == name).unwrap()["data"];
        data.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    }

    #[test]
    fn streams_are_cut_as_silero_vad_cuts_them() {
        let cases = include_str!("../fixtures/cases.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(cases).unwrap();
        let whole = cases.iter().filter(|case| case["parameters"]["last"] == true);
        for case in whole {
            let rules = Settings::deserialize(&case["config"]).unwrap().rules();
            let (mut stream, mut found) = (Stream::read(&rules, &[]).unwrap(), Vec::new());
            for probability in numbers(case, "inputs", "probabilities") {
                stream.push(&rules, probability, &mut found);
            }
            stream.end(&rules, &mut found);
            let found: Vec<f64> = found.as_flattened().iter().map(|place| *place as f64).collect();
            assert_eq!(found, numbers(case, "outputs", "segments"), "{}", case["name"]);
        }
    }
}
