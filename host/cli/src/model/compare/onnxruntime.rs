//! ONNX Runtime in a Python process: JSON lines over its standard streams, tensors as raw files in a
//! temporary folder, which goes with the process.

use aimass_tensor::{BufferMut, DType, Shape, Tensor};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use tempfile::TempDir;

/// The program that the Python runs.
const PROGRAM: &str = include_str!("onnxruntime.py");
/// How long its threads may still spin after a run. They would hold the cores that the model needs next.
const SETTLE: Duration = Duration::from_millis(50);
/// Bytes of one line that the process may say.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Characters of such a line that an error shows.
const SHOWN_MAX: usize = 200;
/// Bytes of one output.
const OUTPUT_BYTES_MAX: usize = 1 << 31;

/// How the process is started.
pub(super) struct PeerOptions<'a> {
    pub(super) python: &'a Path,
    pub(super) onnx: &'a Path,
    pub(super) threads: usize,
    /// How long one answer may take.
    pub(super) timeout: Duration,
}

/// A running process with the ONNX file loaded. Dropping it ends the process.
pub(super) struct Peer {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<std::io::Result<String>>,
    folder: TempDir,
    timeout: Duration,
    version: String,
    inputs: Vec<String>,
}

/// What the process says: one of these.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Said {
    missing: Option<String>,
    error: Option<String>,
    version: Option<String>,
    inputs: Option<Vec<String>>,
    ok: bool,
    seconds: Option<f64>,
    outputs: Option<Vec<RawTensor>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    file: String,
}

impl Peer {
    /// Starts the process and waits until the file is loaded.
    ///
    /// # Errors
    /// No such Python, a package that it lacks and how to install it, or why the file does not load.
    pub(super) fn start(options: PeerOptions<'_>) -> anyhow::Result<Peer> {
        Peer::start_program(options, PROGRAM)
    }

    fn start_program(options: PeerOptions<'_>, text: &str) -> anyhow::Result<Peer> {
        let folder = tempfile::tempdir().context("a folder for tensors")?;
        let program = folder.path().join("peer.py");
        std::fs::write(&program, text).context("writing the Python program")?;
        eprintln!("starting ONNX Runtime in {}", options.python.display());
        let mut child = Command::new(options.python)
            .arg(&program)
            .arg(options.onnx)
            .arg(folder.path())
            .arg(options.threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| no_python(options.python))?;
        let stdin = child.stdin.take().context("the process has no input")?;
        let lines = reader(child.stdout.take().context("the process has no output")?);
        let (version, inputs) = (String::new(), Vec::new());
        let timeout = options.timeout;
        let mut peer = Peer { child, stdin, lines, folder, timeout, version, inputs };
        let said = peer.listen()?;
        if let Some(package) = said.missing {
            bail!(
                "{python} has no package {package}; install both with `{python} -m pip install \
                 onnxruntime numpy`, or name another Python with --python",
                python = options.python.display()
            );
        }
        peer.version = said.version.context("the Python program did not say its version")?;
        peer.inputs = said.inputs.unwrap_or_default();
        Ok(peer)
    }

    /// Version of ONNX Runtime.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Names of the file's inputs.
    pub(super) fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// Hands over the inputs of all runs.
    ///
    /// # Errors
    /// A dtype that has no name there, or the process failed.
    pub(super) fn send_inputs(&mut self, inputs: &[(String, Tensor)]) -> anyhow::Result<()> {
        let mut specs = Vec::with_capacity(inputs.len());
        for (index, (name, tensor)) in inputs.iter().enumerate() {
            let dtype = tensor.dtype();
            let known = dtype.oip_name().filter(|_| tensor.strings().is_none());
            let known = known.with_context(|| format!("input {name}: {dtype} has no raw form"))?;
            let file = self.folder.path().join(format!("input-{index}.raw"));
            std::fs::write(&file, tensor.bytes()).context("writing an input")?;
            let shape = tensor.shape().dims();
            specs.push(json!({ "name": name, "dtype": known, "shape": shape, "file": file }));
        }
        let said = self.ask(&json!({ "inputs": specs }))?;
        ensure!(said.ok, "the Python program did not take the inputs");
        Ok(())
    }

    /// One run; microseconds that it took. Returns when its threads have stopped spinning.
    ///
    /// # Errors
    /// The process failed, or took too long.
    pub(super) fn run(&mut self) -> anyhow::Result<f64> {
        let said = self.ask(&json!({ "run": true }))?;
        std::thread::sleep(SETTLE);
        Ok(said.seconds.context("the Python program did not say how long it took")? * 1e6)
    }

    /// What the last run answered, in the order of the file.
    ///
    /// # Errors
    /// The process failed, or an output has no raw form, or more than 2 GiB.
    pub(super) fn outputs(&mut self) -> anyhow::Result<Vec<(String, Tensor)>> {
        let said = self.ask(&json!({ "outputs": true }))?;
        let raw = said.outputs.context("the Python program gave no outputs")?;
        raw.into_iter().map(read_tensor).collect()
    }

    fn ask(&mut self, question: &serde_json::Value) -> anyhow::Result<Said> {
        let sent = writeln!(self.stdin, "{question}").and_then(|()| self.stdin.flush());
        // What it said before it ended is the better error.
        let said = self.listen()?;
        sent.context("the Python process does not listen")?;
        Ok(said)
    }

    fn listen(&mut self) -> anyhow::Result<Said> {
        let line = match self.lines.recv_timeout(self.timeout) {
            Ok(line) => line.context("reading from the Python process")?,
            Err(RecvTimeoutError::Timeout) => bail!(
                "ONNX Runtime did not answer within {} s; allow more with --peer-timeout",
                self.timeout.as_secs()
            ),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the Python process ended without an answer; its errors are above")
            }
        };
        let said: Said = serde_json::from_str(&line).with_context(|| {
            let shown: String = line.chars().take(SHOWN_MAX).collect();
            format!("expected a line of JSON from Python, got {shown:?}")
        })?;
        match said.error {
            Some(error) => bail!("ONNX Runtime: {error}"),
            None => Ok(said),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; nothing is left to report.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn no_python(python: &Path) -> String {
    format!(
        "there is no Python at {}; name one that has the packages onnxruntime and numpy with --python",
        python.display()
    )
}

/// Reads lines on a thread of its own, at most one ahead, until the process ends.
fn reader(stdout: ChildStdout) -> Receiver<std::io::Result<String>> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        loop {
            let mut line = String::new();
            let read = stdout.by_ref().take(LINE_BYTES_MAX).read_line(&mut line);
            let said = match read {
                Ok(0) => return,
                Ok(_) => Ok(line),
                Err(error) => Err(error),
            };
            let failed = said.is_err();
            if sender.send(said).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

fn read_tensor(raw: RawTensor) -> anyhow::Result<(String, Tensor)> {
    let name = raw.name;
    let named = DType::ALL.into_iter().find(|dtype| dtype.oip_name() == Some(&*raw.dtype));
    let dtype = named.with_context(|| format!("output {name}: unknown dtype {}", raw.dtype))?;
    let shape = Shape::new(&raw.shape).with_context(|| format!("output {name}"))?;
    let bytes = dtype.bytes_for(shape.elements()).unwrap_or(usize::MAX);
    ensure!(
        bytes <= OUTPUT_BYTES_MAX,
        "output {name}: expected at most {OUTPUT_BYTES_MAX} bytes, got {bytes}"
    );
    let mut memory = BufferMut::zeroed(bytes);
    let mut file = std::fs::File::open(&raw.file).with_context(|| format!("output {name}"))?;
    file.read_exact(memory.as_mut_slice())
        .with_context(|| format!("output {name}: expected {bytes} bytes"))?;
    let tensor = Tensor::new(dtype, shape, memory.freeze())?;
    Ok((name, tensor))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell in place of Python.
    fn start(script: &str, timeout: Duration) -> anyhow::Result<Peer> {
        let (python, onnx) = (Path::new("sh"), Path::new("x.onnx"));
        Peer::start_program(PeerOptions { python, onnx, threads: 1, timeout }, script)
    }

    fn refusal(script: &str) -> String {
        match start(script, Duration::from_secs(30)) {
            Ok(_) => panic!("{script} was accepted"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let text = refusal(r#"echo '{"missing": "onnxruntime"}'"#);
        assert!(text.contains("no package onnxruntime") && text.contains("pip install"), "{text}");
        let options = PeerOptions {
            python: Path::new("/nowhere/python3"),
            onnx: Path::new("x.onnx"),
            threads: 1,
            timeout: Duration::from_secs(1),
        };
        let Err(error) = Peer::start(options) else { panic!("there is no such Python") };
        let text = format!("{error:#}");
        assert!(text.contains("/nowhere/python3") && text.contains("--python"), "{text}");
    }

    #[test]
    fn a_process_that_fails_babbles_or_sleeps_is_an_error() {
        assert!(refusal("exit 3").contains("ended without an answer"));
        assert!(refusal("echo hello").contains("expected a line of JSON"));
        assert!(refusal(r#"echo '{"error": "bad file"}'"#).contains("ONNX Runtime: bad file"));
        let long = format!("head -c {} /dev/zero | tr '\\0' 1; echo", LINE_BYTES_MAX + 1);
        assert!(refusal(&long).contains("expected a line of JSON"));
        let Err(error) = start("exec sleep 60", Duration::ZERO) else { panic!("it sleeps") };
        assert!(error.to_string().contains("--peer-timeout"), "{error}");
    }

    #[test]
    fn outputs_are_read_within_their_size() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("y.raw").display().to_string();
        std::fs::write(&file, 1.5f32.to_le_bytes()).unwrap();
        let raw = |dtype: &str, shape: &[usize]| RawTensor {
            name: "y".to_owned(),
            dtype: dtype.to_owned(),
            shape: shape.to_vec(),
            file: file.clone(),
        };
        let (_, tensor) = read_tensor(raw("FP32", &[1])).unwrap();
        assert_eq!(tensor.as_slice::<f32>().unwrap(), [1.5]);
        let text = format!("{:#}", read_tensor(raw("FP32", &[2])).unwrap_err());
        assert!(text.contains("expected 8 bytes"), "{text}");
        let text = format!("{:#}", read_tensor(raw("FP32", &[1 << 30])).unwrap_err());
        assert!(text.contains("at most"), "{text}");
        assert!(read_tensor(raw("FP4", &[1])).is_err());
    }
}
