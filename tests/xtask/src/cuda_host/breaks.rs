//! Bugs that the sanitizers must find, made in copies of the kernels.

use std::path::Path;

use anyhow::{Context, ensure};

use super::{Lane, Sanitizer, Unit, at_once, output};
use crate::test::Counts;

/// A bug that the lane must find.
pub(super) struct Break {
    sanitizer: Sanitizer,
    file: &'static str,
    text: &'static str,
    into: &'static str,
    /// The unit that is compiled with it, and the entry that runs it.
    unit: &'static str,
    entry: &'static str,
    said: &'static str,
}

/// What ThreadSanitizer says.
const RACE: &str = "WARNING: ThreadSanitizer: data race";
/// What AddressSanitizer says of bytes that the launch did not touch.
const BEYOND: &str = "ERROR: AddressSanitizer: use-after-poison";
/// What is said of numbers that are not those of the GPU's code.
const WRONG: &str = ": FAILED";

const BREAKS: [Break; 9] = [
    Break {
        sanitizer: Sanitizer::Thread,
        file: "softmax.cu",
        text: "threadIdx.x] = own;\n        __syncthreads();",
        into: "threadIdx.x] = own;",
        unit: "softmax",
        entry: "softmax_columns_f32",
        said: RACE,
    },
    Break {
        sanitizer: Sanitizer::Address,
        file: "row.cuh",
        text: "if (column + i < n) store(from[i], row + column + i);",
        into: "store(from[i], row + column + i);",
        unit: "norm",
        entry: "norm_f32",
        said: BEYOND,
    },
    Break {
        sanitizer: Sanitizer::Thread,
        file: "strided.cu",
        text: "        __syncthreads();\n#pragma unroll",
        into: "        if (line < 4) __syncthreads();\n#pragma unroll",
        unit: "strided",
        entry: "strided_squares_b32",
        said: "divergence: ",
    },
    // Blocks that share a sum store their parts in one place.
    Break {
        sanitizer: Sanitizer::Thread,
        file: "product.cuh",
        text: "u64 item = (u64)tile.split * s.batch + tile.batch;",
        into: "u64 item = tile.batch;",
        unit: "matmul",
        entry: "matmul_small",
        said: RACE,
    },
    // Shared memory whose extent the launch says.
    Break {
        sanitizer: Sanitizer::Thread,
        file: "attention_exact.cu",
        text: "score(scores);\n            __syncthreads();",
        into: "score(scores);",
        unit: "attention_exact",
        entry: "attention_exact_32_f32",
        said: RACE,
    },
    Break {
        sanitizer: Sanitizer::Address,
        file: "attention_exact.cu",
        text: "weights = keys + KEYS * PITCH;",
        into: "weights = keys + KEYS * PITCH + 8;",
        unit: "attention_exact",
        entry: "attention_exact_32_f32",
        said: "ERROR: AddressSanitizer: heap-buffer-overflow",
    },
    // Tensor cores: a barrier, a copy that is not waited for, and a matrix from the wrong lanes.
    Break {
        sanitizer: Sanitizer::Thread,
        file: "matmul_tensor.cu",
        text: "copies_wait<STAGES - 2>();\n        __syncthreads();",
        into: "copies_wait<STAGES - 2>();",
        unit: "matmul_tensor",
        entry: "matmul_tensor_flat_f16",
        said: RACE,
    },
    Break {
        sanitizer: Sanitizer::Address,
        file: "matmul_tensor.cu",
        text: "copies_wait<STAGES - 2>();",
        into: "copies_wait<STAGES>();",
        unit: "matmul_tensor",
        entry: "matmul_tensor_flat_f16",
        said: WRONG,
    },
    Break {
        sanitizer: Sanitizer::Address,
        file: "conv.cu",
        text: "[lane / 8 % 2 * 8];",
        into: "[lane / 16 * 8];",
        unit: "conv",
        entry: "conv_tiles_f16",
        said: WRONG,
    },
];

/// Those of a sanitizer: all, or one by the clock.
pub(super) fn chosen(sanitizer: Sanitizer, clock: Option<u64>) -> Vec<&'static Break> {
    let own: Vec<&Break> = BREAKS.iter().filter(|own| own.sanitizer == sanitizer).collect();
    match clock {
        Some(clock) => vec![own[clock as usize % own.len()]],
        None => own,
    }
}

impl Break {
    /// One test: whether the sanitizer says what is expected.
    pub(super) fn is_found(&self, lane: &Lane, units: &[Unit]) -> anyhow::Result<Counts> {
        let folder = lane.folder.join("broken");
        let broken = Lane { sources: folder.join("src"), ..lane.clone() };
        self.copy(&lane.sources, &broken.sources)?;
        let unit = units.iter().find(|unit| unit.name == self.unit);
        let unit = unit.with_context(|| format!("no kernels of {}", self.unit))?;
        at_once(vec![broken.unit(self.sanitizer, unit, &folder)?])?;
        let whole = lane.folder.join(self.sanitizer.name());
        let others = ["replay.o", "executor.o"].map(|name| whole.join(name));
        let objects = others.into_iter().chain([folder.join(self.unit).with_extension("o")]);
        let binary = broken.link(self.sanitizer, objects, &folder.join("one"))?;
        let said = output(broken.replay(&binary).arg(self.entry))?;
        let text = [said.stdout, said.stderr].concat();
        let found = !said.status.success() && String::from_utf8_lossy(&text).contains(self.said);
        let word = if found { "ok" } else { "FAILED" };
        println!("broken {} in {}: {word} ({})", self.entry, self.file, self.said.trim());
        Ok(Counts { passed: found.into(), failed: (!found).into() })
    }

    /// The sources with the bug.
    fn copy(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        let _ = std::fs::remove_dir_all(to);
        std::fs::create_dir_all(to).context("a folder for broken sources")?;
        for entry in std::fs::read_dir(from)? {
            let path = entry?.path();
            let is_source = path.extension().is_some_and(|own| own == "cu" || own == "cuh");
            let Some(name) = path.file_name().filter(|_| is_source) else { continue };
            std::fs::copy(&path, to.join(name))?;
        }
        let broken = to.join(self.file);
        let text = std::fs::read_to_string(&broken)?;
        ensure!(
            text.contains(self.text),
            "{} has no `{}`: renew the break in {}",
            self.file,
            self.text,
            file!()
        );
        std::fs::write(&broken, text.replacen(self.text, self.into, 1))?;
        Ok(())
    }
}
