//! Components that no compiler makes: what they claim of themselves is false, or they ask for what
//! they were not granted. Signed by a trusted publisher, sent through the binary.
#![expect(clippy::unwrap_used, reason = "a test program")]

use aimass_e2e::{Site, repository};
use aimass_testkit::Server;
use aimass_trust::{Manifest, embed_manifest};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A processor of these parts; `process` gets a pointer to its inputs and their count, and answers
/// with `$return`.
fn processor(imports: &str, table: &str, process: &str) -> String {
    format!(
        r#"(module {imports} {table} (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (local.get 3))))
  (func $return (param $list i32) (param $count i32) (result i32)
    (i32.store8 (i32.const 64) (i32.const 0))
    (i32.store (i32.const 68) (local.get $list))
    (i32.store (i32.const 72) (local.get $count))
    (i32.const 64))
  (func (export "init"))
  (func (export "describe") (result i32)
    (i64.store (i32.const 32) (i64.const 0)) (i64.store (i32.const 40) (i64.const 0))
    (i32.const 32))
  (func (export "process") (param i32 i32 i32 i32) (result i32) {process}))"#
    )
}

/// Answers its inputs unless there are two of them; then it answers a list that is not there.
const LYING: &str = "
    (if (result i32) (i32.eq (local.get 1) (i32.const 2))
      (then (call $return (i32.const 8) (i32.const 0x7fff_ffff)))
      (else (call $return (local.get 0) (local.get 1))))";
const ECHO: &str = "(call $return (local.get 0) (local.get 1))";

/// Writes `NAME.wasm`, whose manifest asks for the capability `tensor` only; returns its path.
fn component(site: &Site, name: &str, wat: &str) -> String {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(repository().join("wit")).unwrap();
    let world = resolve.select_world(&[package], Some("processor")).unwrap();
    let mut module = wat::parse_str(wat).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let bytes = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    let manifest = format!(
        r#"{{"name": "acme/{name}", "version": "1.0.0", "world": "aimass:plugin/processor@0.1.0",
            "capabilities": {{"tensor": {{}}}}}}"#
    );
    let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
    let path = site.folder().join(format!("{name}.wasm"));
    std::fs::write(&path, embed_manifest(&bytes, &manifest).unwrap()).unwrap();
    path.display().to_string()
}

/// A package folder of a model with these inputs, all given to the plugin.
fn package(site: &Site, plugin: &str, inputs: &[&str]) -> String {
    let name = format!("{plugin}-{}", inputs.len());
    let folder = site.folder().join(&name);
    std::fs::create_dir(&folder).unwrap();
    let ports: String =
        inputs.iter().map(|x| format!("[[input]]\nname = \"{x}\"\ndtype = \"ANY\"\n")).collect();
    let manifest = format!(
        "[model]\nname = \"acme/{name}-model\"\nversion = \"1.0.0\"\n{ports}\
         [[step]]\nname = \"guest\"\nplugin = \"acme/{plugin}\"\n\
         [[output]]\nname = \"x\"\nfrom = \"guest.x\"\ndtype = \"ANY\"\n"
    );
    std::fs::write(folder.join("model.toml"), manifest).unwrap();
    folder.display().to_string()
}

fn ask(server: &Server, model: &str, inputs: &[&str]) -> (u16, String) {
    let inputs: Vec<String> = inputs
        .iter()
        .map(|x| format!(r#"{{"name":"{x}","datatype":"FP32","shape":[1],"data":[7]}}"#))
        .collect();
    let body = format!(r#"{{"inputs":[{}]}}"#, inputs.join(","));
    let answer = server.ask("POST", &format!("/v2/models/{model}/infer"), &body).unwrap();
    (answer.status, answer.text())
}

#[test]
fn a_list_that_lies_about_its_length_ends_its_own_request_only() {
    let site = Site::new();
    site.succeed(&["key", "new", "publisher", "acme"]);
    let lying = component(&site, "lying", &processor("", "", LYING));
    site.succeed(&["plugin", "sign", &lying]);
    site.succeed(&["plugin", "publish", &lying]);
    for (model, inputs) in [("one", &["x"][..]), ("two", &["x", "extra"])] {
        site.succeed(&["model", "add", "--name", model, &package(&site, "lying", inputs)]);
    }
    let server = site.serve(&[]);
    for _ in 0..3 {
        let (status, text) = ask(&server, "two", &["x", "extra"]);
        assert_eq!(status, 500, "{text}");
        assert!(text.contains("acme/lying"), "{text}");
        let (status, text) = ask(&server, "one", &["x"]);
        assert_eq!(status, 200, "{text}");
    }
    let metrics = server.ask("GET", "/metrics", "").unwrap().text();
    let line = "aimass_plugin_failures_total{plugin=\"acme/lying\",cause=\"trap\"} 3";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(server.ask("GET", "/v2/health/ready", "").unwrap().status, 200);
}

#[test]
fn a_table_bomb_is_refused_before_anything_serves_it() {
    let site = Site::new();
    site.succeed(&["key", "new", "publisher", "acme"]);
    let bomb = processor("", "(table 1000000 funcref)", ECHO);
    let bomb = component(&site, "bomb", &bomb);
    site.succeed(&["plugin", "sign", &bomb]);
    site.succeed(&["plugin", "publish", &bomb]);
    let (_, error) =
        site.refuse(&["model", "add", "--name", "bomb", &package(&site, "bomb", &["x"])]);
    assert!(error.contains("acme/bomb") && error.contains("table"), "{error}");
}

#[test]
fn an_import_that_the_manifest_does_not_ask_for_is_refused() {
    let site = Site::new();
    site.succeed(&["key", "new", "publisher", "acme"]);
    let import = r#"(import "aimass:plugin/log@0.1.0" "write" (func (param i32 i32 i32)))"#;
    let spy = component(&site, "spy", &processor(import, "", ECHO));
    site.succeed(&["plugin", "sign", &spy]);
    let (_, error) = site.refuse(&["plugin", "publish", &spy]);
    assert!(error.contains("AMT-CAP") && error.contains("aimass:plugin/log@0.1.0"), "{error}");
}
