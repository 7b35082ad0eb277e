//! What the virtual device is and how it runs, as lines of `key=value`.

use std::path::PathBuf;

use crate::exec::Checks;

/// When queued work runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streams {
    /// When something waits for it, streams interleaved by the seed.
    #[default]
    Deferred,
    /// At once, in the order of the calls.
    Eager,
}

/// Settings of the virtual GPU. The text form has one `key=value` a line; the environment has the
/// same keys in capitals behind `VGPU_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `mem_mb`: memory of each device in MiB.
    pub mem_mb: u64,
    /// `sm`: compute capability times ten, such as 90.
    pub sm: u32,
    /// `driver`: what `cuDriverGetVersion` gives, such as 13000.
    pub driver: i32,
    /// `devices`: number of devices.
    pub devices: u32,
    /// `pools`: whether stream-ordered allocation is supported (0 or 1).
    pub pools: bool,
    /// `ptx`: folder of `compute_NN.ptx` or `compute_NN.ptx.gz` files that cubins are executed from.
    pub ptx: Option<PathBuf>,
    /// `seed`: order of blocks, warps and streams; 0 is the plain one.
    pub seed: u64,
    /// `checks`: `off`, `memory` or `races`.
    pub checks: Checks,
    /// `streams`: `deferred` or `eager`.
    pub streams: Streams,
    /// `count`: whether sectors and bank conflicts are counted (0 or 1).
    pub count: bool,
    /// `steps`: instructions of one warp after which a launch has timed out.
    pub steps: u64,
    /// `wait_ms`: how long a call waits for other threads, where work cannot go on without a call
    /// of theirs.
    pub wait_ms: u64,
    /// `fail`: `function:nth:code` triples; the nth call of the function gives the code.
    pub fail: Vec<(String, u64, i32)>,
    /// `fail_at`: `n:code`; the nth driver call since the last configuration gives the code.
    pub fail_at: Option<(u64, i32)>,
    /// `record`: folder to which launches are written, those that are alike once.
    pub record: Option<PathBuf>,
    /// `missing`: symbols that an older driver would not export. Only [`crate::load`] heeds it, at
    /// the process's first load: it opens a copy of the library without those names.
    pub missing: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mem_mb: 1024,
            sm: 80,
            driver: 13000,
            devices: 1,
            pools: true,
            ptx: None,
            seed: 0,
            checks: Checks::Off,
            streams: Streams::Deferred,
            count: false,
            steps: 1 << 32,
            wait_ms: 10_000,
            fail: Vec::new(),
            fail_at: None,
            record: None,
            missing: Vec::new(),
        }
    }
}

const KEYS: &[&str] = &[
    "mem_mb", "sm", "driver", "devices", "pools", "ptx", "seed", "checks", "streams", "count",
    "steps", "wait_ms", "fail", "fail_at", "record", "missing",
];

impl Settings {
    /// Reads the text form; keys that are absent keep their defaults.
    ///
    /// # Errors
    /// A line that is not understood, with what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (key, value) =
                line.split_once('=').ok_or_else(|| format!("`{line}`: expected key=value"))?;
            settings
                .set(key.trim(), value.trim())
                .map_err(|problem| format!("`{line}`: {problem}"))?;
        }
        Ok(settings)
    }

    /// The settings that the environment gives.
    ///
    /// # Errors
    /// As [`Settings::parse`].
    pub fn from_environment() -> Result<Self, String> {
        let line = |key: &&str| {
            let value = std::env::var(format!("VGPU_{}", key.to_uppercase())).ok()?;
            Some(format!("{key}={value}\n"))
        };
        Self::parse(&KEYS.iter().filter_map(line).collect::<String>())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "mem_mb" => self.mem_mb = number(value)?,
            "sm" => self.sm = number(value)?,
            "driver" => self.driver = number(value)?,
            "devices" => self.devices = number(value)?,
            "pools" => self.pools = flag(value)?,
            "ptx" => self.ptx = (!value.is_empty()).then(|| value.into()),
            "seed" => self.seed = number(value)?,
            "checks" => self.checks = checks(value)?,
            "streams" => self.streams = streams(value)?,
            "count" => self.count = flag(value)?,
            "steps" => self.steps = number(value)?,
            "wait_ms" => self.wait_ms = number(value)?,
            "fail" => {
                let triples = value.split(',').filter(|one| !one.is_empty());
                self.fail = triples.map(triple).collect::<Result<_, _>>()?;
            }
            "fail_at" => self.fail_at = if value.is_empty() { None } else { Some(pair(value)?) },
            "record" => self.record = (!value.is_empty()).then(|| value.into()),
            "missing" => {
                let names = value.split(',').filter(|one| !one.is_empty());
                self.missing = names.map(str::to_owned).collect();
            }
            _ => return Err(format!("expected one of {}", KEYS.join(", "))),
        }
        Ok(())
    }

    /// The text form.
    pub fn to_text(&self) -> String {
        let checks = match self.checks {
            Checks::Off => "off",
            Checks::Memory => "memory",
            Checks::Races => "races",
        };
        let streams = match self.streams {
            Streams::Deferred => "deferred",
            Streams::Eager => "eager",
        };
        let fail: Vec<String> =
            self.fail.iter().map(|(name, nth, code)| format!("{name}:{nth}:{code}")).collect();
        let fail_at = self.fail_at.map_or(String::new(), |(nth, code)| format!("{nth}:{code}"));
        let path = |path: &Option<PathBuf>| {
            path.as_ref().map_or(String::new(), |path| path.display().to_string())
        };
        let (ptx, record) = (path(&self.ptx), path(&self.record));
        [
            format!("mem_mb={}\nsm={}\ndriver={}\n", self.mem_mb, self.sm, self.driver),
            format!("devices={}\npools={}\n", self.devices, u8::from(self.pools)),
            format!("ptx={ptx}\nseed={}\nchecks={checks}\nstreams={streams}\n", self.seed),
            format!("count={}\nsteps={}\n", u8::from(self.count), self.steps),
            format!("wait_ms={}\n", self.wait_ms),
            format!("fail={}\nfail_at={fail_at}\n", fail.join(",")),
            format!("record={record}\nmissing={}\n", self.missing.join(",")),
        ]
        .concat()
    }
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| "expected a number".to_owned())
}

fn flag(value: &str) -> Result<bool, String> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err("expected 0 or 1".to_owned()),
    }
}

fn checks(value: &str) -> Result<Checks, String> {
    match value {
        "off" => Ok(Checks::Off),
        "memory" => Ok(Checks::Memory),
        "races" => Ok(Checks::Races),
        _ => Err("expected off, memory or races".to_owned()),
    }
}

fn streams(value: &str) -> Result<Streams, String> {
    match value {
        "deferred" => Ok(Streams::Deferred),
        "eager" => Ok(Streams::Eager),
        _ => Err("expected deferred or eager".to_owned()),
    }
}

fn pair(value: &str) -> Result<(u64, i32), String> {
    let (nth, code) = value.split_once(':').ok_or("expected n:code")?;
    Ok((number(nth)?, number(code)?))
}

fn triple(value: &str) -> Result<(String, u64, i32), String> {
    let (name, rest) = value.split_once(':').ok_or("expected function:nth:code")?;
    let (nth, code) = pair(rest)?;
    Ok((name.to_owned(), nth, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_keeps_everything() {
        let settings = Settings {
            mem_mb: 7,
            sm: 120,
            pools: false,
            ptx: Some("a/b".into()),
            seed: 9,
            checks: Checks::Races,
            streams: Streams::Eager,
            count: true,
            wait_ms: 5,
            fail: vec![("cuInit".into(), 2, 999)],
            fail_at: Some((3, 700)),
            record: Some("c".into()),
            missing: vec!["cuMemAllocAsync".into()],
            ..Settings::default()
        };
        assert_eq!(Settings::parse(&settings.to_text()), Ok(settings));
        assert_eq!(Settings::parse(&Settings::default().to_text()), Ok(Settings::default()));
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, expected: &str| {
            let error = Settings::parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("sm=x", "expected a number");
        check("checks=all", "expected off, memory or races");
        check("speed=1", "expected one of mem_mb");
        check("fail=cuInit:1", "expected n:code");
        check("sm", "expected key=value");
    }
}
