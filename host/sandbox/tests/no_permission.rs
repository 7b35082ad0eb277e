//! No permission, no install: for every capability, and every function of its interface, a guest that
//! imports it without the grant is refused before it is registered, not when it calls.
//!
//! The guests are generated from the contract, so an interface that is added is tested without a line here.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use aimass_sandbox::{AdmissionLimits, World, check_component};
use aimass_trust::{Capabilities, Capability};
use std::collections::BTreeMap;
use std::path::Path;
use support::{Bench, package_with};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{Function, Resolve, WorldId, WorldItem};

/// A guest of `world` that imports one function of one capability, and nothing else that is granted.
struct Guest {
    world: World,
    capability: Capability,
    function: String,
    component: Vec<u8>,
}

fn contract() -> (Resolve, Vec<(World, WorldId)>) {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let (package, _) = resolve.push_dir(wit).unwrap();
    let select =
        |world: World| (world, resolve.select_world(&[package], Some(world.as_str())).unwrap());
    let worlds = World::ALL.map(select).to_vec();
    (resolve, worlds)
}

/// Every function that any world may import, each as a guest.
fn guests() -> Vec<Guest> {
    let (resolve, worlds) = contract();
    let mut guests = Vec::new();
    for (world, id) in worlds {
        for (key, item) in &resolve.worlds[id].imports {
            let WorldItem::Interface { id: interface, .. } = item else { continue };
            let name = resolve.name_world_key(key);
            let short = name.split(['/', '@']).nth(1).unwrap();
            let Ok(capability) = short.parse::<Capability>() else { continue };
            for function in resolve.interfaces[*interface].functions.values() {
                let import = import(&resolve, &name, function);
                let component = component(&resolve, id, &import);
                let function = function.name.clone();
                guests.push(Guest { world, capability, function, component });
            }
        }
    }
    guests
}

/// The import of a function in core WebAssembly, and a use that keeps it.
fn import(resolve: &Resolve, interface: &str, function: &Function) -> String {
    let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
    let types = |list: &[WasmType]| list.iter().map(core_type).collect::<Vec<_>>().join(" ");
    let (params, results) = (types(&signature.params), types(&signature.results));
    format!(
        r#"(import "{interface}" "{}" (func $used (param {params}) (result {results})))"#,
        function.name
    )
}

fn core_type(ty: &WasmType) -> &'static str {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}

/// A component with the exports of its world; nothing of it is ever called.
fn component(resolve: &Resolve, world: WorldId, import: &str) -> Vec<u8> {
    let mut exports = String::new();
    for (key, item) in &resolve.worlds[world].exports {
        let WorldItem::Function(function) = item else { continue };
        let signature = resolve.wasm_signature(AbiVariant::GuestExport, function);
        let types = |list: &[WasmType]| list.iter().map(core_type).collect::<Vec<_>>().join(" ");
        exports.push_str(&format!(
            r#"(func (export "{}") (param {}) (result {}) unreachable)"#,
            resolve.name_world_key(key),
            types(&signature.params),
            types(&signature.results),
        ));
    }
    let wat = format!(
        r#"(module {import} (memory (export "memory") 1) {exports}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))"#
    );
    let mut module = wat::parse_str(&wat).unwrap();
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// The manifest's list of every capability but one.
fn all_but(left_out: Option<Capability>) -> String {
    let named = Capability::ALL.into_iter().filter(|one| Some(*one) != left_out);
    named.map(|one| format!("\"{one}\": {{}}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn every_capability_has_guests_of_each_function() {
    let mut functions: BTreeMap<Capability, usize> = BTreeMap::new();
    for guest in guests() {
        *functions.entry(guest.capability).or_default() += 1;
    }
    let missing: Vec<_> =
        Capability::ALL.into_iter().filter(|one| !functions.contains_key(one)).collect();
    assert!(missing.is_empty(), "capabilities without a guest: {missing:?}");
    assert!(functions[&Capability::Graph] > 100, "{functions:?}");
}

#[test]
fn no_permission_in_the_manifest_no_install() {
    let bench = Bench::with(|config| config.instances_max = Some(1));
    for Guest { world, capability, function, component } in guests() {
        let (kind, what) = (world.as_str(), format!("{world}: {capability}.{function}"));
        let refusal = package_with(kind, &component, "{}", &all_but(Some(capability)));
        let refusal = refusal.err().unwrap_or_else(|| panic!("{what} was installed"));
        assert_eq!(refusal.code.as_str(), "AMT-CAP", "{what}: {refusal}");
        assert!(refusal.to_string().contains(capability.as_str()), "{what}: {refusal}");
        let granted = package_with(kind, &component, "{}", &all_but(None)).unwrap();
        let admitted = bench.sandbox.admit(&granted);
        assert!(admitted.is_ok(), "{what} has the grant: {admitted:?}");
    }
}

#[test]
fn no_permission_no_admission_even_if_the_verifier_let_it_pass() {
    let limits = AdmissionLimits::default();
    for Guest { world, capability, function, component } in guests() {
        let others = Capability::ALL.into_iter().filter(|one| *one != capability);
        let granted: Capabilities = others.collect();
        let refused = check_component(&component, world, &granted, &limits).unwrap_err();
        assert_eq!(refused.code, "import", "{world}: {capability}.{function}: {refused}");
        let remedy = format!("add \"{capability}\" to");
        assert!(refused.message.contains(&remedy), "{capability}.{function}: {refused}");
    }
}
