//! Gives the library cuBLASLt's name, so that loading it by name finds it in the process.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcublasLt.so.12");
    println!("cargo:rerun-if-changed=build.rs");
}
