//! Finding, and if allowed installing, a compiler for `wasm32-unknown-unknown`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::environment;
use crate::process::{output_of, run_bounded};

/// The one target that plugins are compiled for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Environment variable that forces one route: `rustup` or `debian`.
pub const ROUTE_VARIABLE: &str = "AIMASS_WASM_TOOLCHAIN";

/// Packages of Debian 12 (`bookworm-security`) that make up [`Route::Debian`].
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-19";

/// Oldest Debian compiler that builds the SDK, as (major, minor).
const RUSTC_MIN: (u32, u32) = (1, 95);

const RUSTUP_LIMIT: Duration = Duration::from_secs(60);
const APT_LIMIT: Duration = Duration::from_secs(600);

/// How plugins reach WebAssembly on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `rustc` on `PATH` (rustup's or any other) has the target's standard library.
    Target,
    /// Debian's `rustc-web`, building the standard library from `rust-web-src`.
    Debian,
}

/// A compiler, a linker and a Cargo that together build plugins.
#[derive(Clone, Debug)]
pub struct WasmToolchain {
    pub(crate) route: Route,
}

/// No way to WebAssembly was found.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// Neither route works; the message lists what was tried and what to install by hand.
    #[error(
        "no Rust compiler for {TARGET} was found{tried}\nOne of these mends it:\n  \
         rustup target add {TARGET}\n  apt-get install -y --no-install-recommends {packages}   \
         (as root, Debian 12)",
        packages = DEBIAN_PACKAGES.join(" ")
    )]
    NotFound {
        /// One line for each attempt, each starting with a line break.
        tried: String,
    },
    /// [`ROUTE_VARIABLE`] has a value that names no route.
    #[error("{ROUTE_VARIABLE} is {got:?}; expected `rustup` or `debian`, or leave it unset")]
    UnknownRoute {
        /// The value found.
        got: String,
    },
}

impl WasmToolchain {
    /// The first route that works, cheapest first: the target is there already; Debian's packages
    /// are there already; `rustup target add` (at most 60 s); `apt-get install` (at most 10 min,
    /// only as root or with a `sudo` that asks for no password).
    ///
    /// The last two need `allow_install`. `report` gets one line a step, for people. The variable
    /// named by [`ROUTE_VARIABLE`] leaves only one of the two routes to choose from.
    ///
    /// # Errors
    /// [`ToolchainError::NotFound`] with what to install, or [`ToolchainError::UnknownRoute`].
    pub fn find(
        allow_install: bool,
        report: &mut dyn FnMut(&str),
    ) -> Result<WasmToolchain, ToolchainError> {
        let (target_allowed, debian_allowed) = allowed_routes()?;
        let mut tried = String::new();
        if target_allowed && target_is_installed() {
            return Ok(Self::of(Route::Target));
        }
        if debian_allowed {
            match debian_is_installed() {
                Ok(()) => return Ok(Self::of(Route::Debian)),
                Err(reason) => tried.push_str(&format!("\n- Debian packages: {reason}")),
            }
        }
        if allow_install && target_allowed {
            match add_target(report) {
                Ok(()) => return Ok(Self::of(Route::Target)),
                Err(reason) => tried.push_str(&format!("\n- rustup: {reason}")),
            }
        }
        if allow_install && debian_allowed {
            match install_debian(report) {
                Ok(()) => return Ok(Self::of(Route::Debian)),
                Err(reason) => tried.push_str(&format!("\n- apt-get: {reason}")),
            }
        }
        Err(ToolchainError::NotFound { tried })
    }

    /// The route that was found.
    pub fn route(&self) -> Route {
        self.route
    }

    /// One line for people: the route and the compiler's version.
    pub fn describe(&self) -> String {
        let version = version_line(self.rustc()).unwrap_or_else(|| "unknown version".to_owned());
        match self.route {
            Route::Target => format!("{version}, target {TARGET} installed"),
            Route::Debian => format!("{version} of Debian, std built from source"),
        }
    }

    /// A Cargo of this toolchain in `project_dir`, without arguments yet, seeing nothing of a
    /// Cargo or rustup that runs this process. [`Self::target_arguments`] follow the subcommand.
    pub fn cargo(&self, project_dir: &Path) -> Command {
        let mut command = match self.route {
            Route::Target => Command::new("cargo"),
            Route::Debian => Command::new(DEBIAN_CARGO),
        };
        environment::clean(&mut command, self.route == Route::Target);
        if self.route == Route::Debian {
            command
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER);
        }
        command.current_dir(project_dir);
        command
    }

    /// Arguments of `cargo build` and `cargo fetch` that select the target.
    pub fn target_arguments(&self) -> &'static [&'static str] {
        match self.route {
            Route::Target => &["--target", TARGET],
            Route::Debian => &["--target", TARGET, "-Zbuild-std=std,panic_abort"],
        }
    }

    fn of(route: Route) -> Self {
        Self { route }
    }

    fn rustc(&self) -> Command {
        match self.route {
            Route::Target => outer_rustc(),
            Route::Debian => debian_rustc(),
        }
    }
}

/// Whether (the target route, the Debian route) may be taken.
fn allowed_routes() -> Result<(bool, bool), ToolchainError> {
    match std::env::var(ROUTE_VARIABLE).as_deref() {
        Err(_) | Ok("") => Ok((true, true)),
        Ok("rustup") => Ok((true, false)),
        Ok("debian") => Ok((false, true)),
        Ok(got) => Err(ToolchainError::UnknownRoute { got: got.to_owned() }),
    }
}

fn outer_rustc() -> Command {
    let mut rustc = Command::new("rustc");
    environment::clean(&mut rustc, true);
    rustc
}

fn debian_rustc() -> Command {
    let mut rustc = Command::new(DEBIAN_RUSTC);
    environment::clean(&mut rustc, false);
    rustc
}

/// Whether the compiler on `PATH` has a standard library for the target.
fn target_is_installed() -> bool {
    let mut rustc = outer_rustc();
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    output_of(rustc).is_some_and(|libdir| holds_std(Path::new(&libdir)))
}

fn holds_std(libdir: &Path) -> bool {
    std::fs::read_dir(libdir).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

fn debian_is_installed() -> Result<(), String> {
    for path in [DEBIAN_RUSTC, DEBIAN_CARGO, DEBIAN_LINKER] {
        if !Path::new(path).exists() {
            return Err(format!("{path} is missing"));
        }
    }
    let version = version_line(debian_rustc()).ok_or("/usr/bin/rustc does not run")?;
    let (major, minor) = RUSTC_MIN;
    if parse_version(&version).is_none_or(|found| found < RUSTC_MIN) {
        return Err(format!("{DEBIAN_RUSTC} is `{version}`; expected {major}.{minor} or newer"));
    }
    let mut sysroot = debian_rustc();
    sysroot.args(["--print", "sysroot"]);
    let sysroot = output_of(sysroot).map(PathBuf::from).ok_or("/usr/bin/rustc has no sysroot")?;
    let library = sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml");
    if library.exists() { Ok(()) } else { Err(format!("{} is missing", library.display())) }
}

fn version_line(mut rustc: Command) -> Option<String> {
    rustc.arg("--version");
    output_of(rustc)
}

/// `(1, 96)` of `rustc 1.96.0 (ac68faa20 2026-05-25)`.
fn parse_version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn add_target(report: &mut dyn FnMut(&str)) -> Result<(), String> {
    report(&format!("adding the target: rustup target add {TARGET} (at most 60 s)"));
    let mut rustup = Command::new("rustup");
    environment::clean(&mut rustup, true);
    rustup.args(["target", "add", TARGET]);
    run_bounded(rustup, RUSTUP_LIMIT)?;
    if target_is_installed() {
        Ok(())
    } else {
        Err("it succeeded, but the rustc on PATH still lacks the target".to_owned())
    }
}

fn install_debian(report: &mut dyn FnMut(&str)) -> Result<(), String> {
    let elevation = elevation().ok_or("not root, and sudo is missing or wants a password")?;
    report(&format!("installing Debian's compiler: apt-get install {}", DEBIAN_PACKAGES.join(" ")));
    if run_bounded(apt_install(elevation), APT_LIMIT).is_err() {
        report("package lists may be old: apt-get update");
        run_bounded(apt_get(elevation, &["update"]), APT_LIMIT)?;
        run_bounded(apt_install(elevation), APT_LIMIT)?;
    }
    debian_is_installed()
}

fn apt_install(elevation: &[&str]) -> Command {
    let mut command = apt_get(elevation, &["install", "-y", "--no-install-recommends"]);
    command.args(DEBIAN_PACKAGES);
    command
}

fn apt_get(elevation: &[&str], arguments: &[&str]) -> Command {
    let words = [elevation, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], arguments];
    let words = words.concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// What to put before a command that needs root: nothing, `sudo -n`, or `None` if neither works.
fn elevation() -> Option<&'static [&'static str]> {
    let mut id = Command::new("id");
    id.arg("-u");
    if output_of(id).as_deref() == Some("0") {
        return Some(&[]);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "true"]);
    output_of(sudo).map(|_| ["sudo", "-n"].as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        let newer = parse_version("rustc 1.100.0 (ac68faa20 2026-05-25)");
        assert_eq!(newer, Some((1, 100)));
        assert!(newer > Some(RUSTC_MIN));
        assert!(parse_version("rustc 1.85.0").is_some_and(|old| old < RUSTC_MIN));
        assert_eq!(parse_version("rustc"), None);
    }

    #[test]
    fn a_folder_without_the_standard_library_is_no_target() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!holds_std(folder.path()));
        assert!(!holds_std(&folder.path().join("missing")));
        std::fs::write(folder.path().join("libstd-0123.rlib"), []).unwrap();
        assert!(holds_std(folder.path()));
    }

    #[test]
    fn the_error_says_what_to_install() {
        let error =
            ToolchainError::NotFound { tried: "\n- rustup: missing".to_owned() }.to_string();
        assert!(error.contains("rustup target add wasm32-unknown-unknown"), "{error}");
        assert!(error.contains("rustc-web cargo-web rust-web-src lld-19"), "{error}");
        assert!(error.contains("- rustup: missing"), "{error}");
    }
}
