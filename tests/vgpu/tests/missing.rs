//! A driver that is too old to have a symbol. One process has one library, so this test is alone.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use aimass_vgpu::{Settings, load};

#[test]
fn a_missing_symbol_is_not_found_and_the_others_are() {
    let missing = vec!["cuMemAllocAsync".to_owned(), "cuGraphUpload".to_owned()];
    let _vgpu = load(&Settings { missing, ..Settings::default() }).unwrap();
    // SAFETY: the library is the virtual one, which loading does not run.
    let library = unsafe { cudarc::driver::sys::culib() };
    let has = |name: &[u8]| {
        // SAFETY: the symbol is looked at, not called.
        unsafe { library.get::<*const ()>(name) }.is_ok()
    };
    assert!(has(b"cuMemAlloc_v2\0") && has(b"cuMemFreeAsync\0") && has(b"cuGraphLaunch\0"));
    assert!(!has(b"cuMemAllocAsync\0") && !has(b"cuGraphUpload\0"));
}
