//! Models whose load fails for what may pass are loaded again; those that are at fault are not.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aimass_engine::{EngineConfig, Selector};
use aimass_guest_tests::{Site, worker_program};

/// A program of child processes that ends as one without a jail does, until a file `well` is beside it. It
/// writes a line each time.
fn failing(folder: &Path) -> PathBuf {
    let program = folder.join("failing");
    let script = format!(
        "#!/bin/sh\necho started >> {0}/starts\n[ -e {0}/well ] || exit 3\nexec {1} \"$@\"\n",
        folder.display(),
        worker_program().display()
    );
    std::fs::write(&program, script).expect("a script is written");
    let runs = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, runs).expect("it can be run");
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_compiler_did_not_run_is_loaded_again_until_it_does() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let site = Site::start(|_| ()).await;
    site.add("words", "words", &[]).await.unwrap_or_else(|error| panic!("{error}"));
    let fails = |config: &mut EngineConfig| {
        std::fs::remove_dir_all(&config.sandbox.cache_dir).expect("nothing is compiled");
        config.sandbox.child_program = Some(failing(folder.path()));
        config.load_retry = Duration::from_millis(50);
    };
    let site = site.restarted(fails).await;
    let starts = || {
        let text = std::fs::read_to_string(folder.path().join("starts")).unwrap_or_default();
        text.lines().count()
    };
    let until = async |what: &str, holds: &dyn Fn() -> bool| {
        let give_up = Instant::now() + Duration::from_secs(120);
        while !holds() {
            assert!(Instant::now() < give_up, "{what}, {} starts", starts());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until("it is tried again", &|| starts() >= 3).await;
    let refused = || site.engine.metrics_text().contains("code=\"compiler\"");
    until("each failure is counted", &refused).await;
    assert!(!site.engine.ready().ready);
    std::fs::write(folder.path().join("well"), "").expect("a file is written");
    until("it is loaded", &|| site.engine.ready().ready).await;
    assert!(site.engine.model("words", &Selector::Default).is_ok());
}
