//! What a component must look like before the compiler sees it.
//!
//! Compiling hostile code can take minutes and gigabytes, so shape and size are bounded first; then
//! the component is validated with exactly the features that the engine has. Imports must be granted
//! interfaces of our contract, exports those of the world, strings UTF-8 and functions synchronous.

use crate::engine::FEATURES;
use crate::limits::AdmissionLimits;
use crate::package::World;
use aimass_trust::{Capabilities, Capability};
use std::collections::BTreeSet;
use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentExternalKind, ComponentImport, ComponentTypeRef,
    Encoding, FunctionBody, Operator, Parser, Payload, ValType, Validator,
};

/// Contract version whose interfaces this host serves.
const CONTRACT: &str = "0.1.";

/// Why a component is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Refused {
    /// `size`, `complexity`, `import`, `export`, `feature` or `invalid`.
    pub code: &'static str,
    /// Expected, got, remedy.
    pub message: String,
}

pub(crate) type Checked = Result<(), Refused>;

fn refused(code: &'static str, message: impl Into<String>) -> Refused {
    Refused { code, message: message.into() }
}

fn invalid(error: wasmparser::BinaryReaderError) -> Refused {
    refused("invalid", format!("it is no valid component: {error}; build it again"))
}

/// Checks a component for this world under these grants, as loading does before anything is compiled.
/// Nothing of it is run, and no signature is looked at.
///
/// # Errors
/// [`Refused`] with the first rule that it breaks.
pub fn check(
    component: &[u8],
    world: World,
    granted: &Capabilities,
    limits: &AdmissionLimits,
) -> Checked {
    if component.len() > limits.component_bytes_max {
        let (max, got) = (limits.component_bytes_max, component.len());
        return Err(refused("size", format!("expected at most {max} bytes, got {got}")));
    }
    let mut survey = Survey::new(limits, granted);
    for payload in Parser::new(0).parse_all(component) {
        survey.visit(&payload.map_err(invalid)?)?;
    }
    Validator::new_with_features(FEATURES).validate_all(component).map_err(|error| {
        let message = format!(
            "{error}; allowed are simd128, bulk memory, multi-value and \
                               reference types"
        );
        refused("feature", message)
    })?;
    for &export in world.exports() {
        if !survey.exports.contains(export) {
            let world = world.as_str();
            let message = format!("the world {world} exports `{export}`, the component does not");
            return Err(refused("export", message));
        }
    }
    Ok(())
}

/// What has been counted so far.
struct Survey<'a> {
    limits: &'a AdmissionLimits,
    granted: &'a Capabilities,
    depth: u32,
    modules: u32,
    components: u32,
    instances: u32,
    functions: u32,
    types: u32,
    exports: BTreeSet<String>,
}

impl<'a> Survey<'a> {
    fn new(limits: &'a AdmissionLimits, granted: &'a Capabilities) -> Survey<'a> {
        Survey {
            limits,
            granted,
            depth: 0,
            modules: 0,
            components: 0,
            instances: 0,
            functions: 0,
            types: 0,
            exports: BTreeSet::new(),
        }
    }

    fn visit(&mut self, payload: &Payload<'_>) -> Checked {
        match payload {
            Payload::Version { encoding, .. } => self.enter(*encoding)?,
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::InstanceSection(reader) => {
                count(
                    "core instances",
                    &mut self.instances,
                    reader.count(),
                    self.limits.instances_max,
                )?;
            }
            Payload::ComponentInstanceSection(reader) => {
                count("instances", &mut self.instances, reader.count(), self.limits.instances_max)?;
            }
            Payload::TypeSection(reader) => self.count_types(reader.count())?,
            Payload::CoreTypeSection(reader) => self.count_types(reader.count())?,
            Payload::ComponentTypeSection(reader) => self.count_types(reader.count())?,
            Payload::FunctionSection(reader) => {
                count("functions", &mut self.functions, reader.count(), self.limits.functions_max)?;
            }
            Payload::CodeSectionEntry(body) => check_body(body, self.limits)?,
            Payload::GlobalSection(reader) => {
                for global in reader.clone() {
                    check_global(global.map_err(invalid)?.ty.content_type)?;
                }
            }
            Payload::ComponentCanonicalSection(reader) => {
                for function in reader.clone() {
                    check_canonical(&function.map_err(invalid)?)?;
                }
            }
            Payload::ComponentStartSection { .. } => {
                return Err(refused("feature", "component start functions are not supported"));
            }
            Payload::ComponentImportSection(reader) if self.depth == 1 => {
                for import in reader.clone() {
                    self.check_import(&import.map_err(invalid)?)?;
                }
            }
            Payload::ComponentExportSection(reader) if self.depth == 1 => {
                for export in reader.clone() {
                    let export = export.map_err(invalid)?;
                    if export.kind == ComponentExternalKind::Func {
                        self.exports.insert(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, encoding: Encoding) -> Checked {
        self.depth += 1;
        match encoding {
            Encoding::Module if self.depth == 1 => {
                let remedy =
                    "expected a component, got a core module; build it with `aimass plugin build`";
                Err(refused("invalid", remedy))
            }
            Encoding::Module => count("modules", &mut self.modules, 1, self.limits.modules_max),
            Encoding::Component if self.depth == 1 => Ok(()),
            Encoding::Component => {
                count("components", &mut self.components, 1, self.limits.components_max)
            }
        }
    }

    fn count_types(&mut self, got: u32) -> Checked {
        count("types", &mut self.types, got, self.limits.types_max)
    }

    /// Types may be imported by name; instances must be granted interfaces of the contract.
    fn check_import(&self, import: &ComponentImport<'_>) -> Checked {
        let name = import.name.name;
        match import.ty {
            ComponentTypeRef::Type(_) => Ok(()),
            ComponentTypeRef::Instance(_) => self.check_interface(name),
            ComponentTypeRef::Module(_)
            | ComponentTypeRef::Func(_)
            | ComponentTypeRef::Value(_)
            | ComponentTypeRef::Component(_) => Err(foreign(name)),
        }
    }

    fn check_interface(&self, name: &str) -> Checked {
        let Some((interface, version)) =
            name.strip_prefix("aimass:plugin/").and_then(|rest| rest.split_once('@'))
        else {
            return Err(foreign(name));
        };
        if !version.starts_with(CONTRACT) {
            let message = format!(
                "import `{name}`: this host serves contract {CONTRACT}x; build the plugin for it"
            );
            return Err(refused("import", message));
        }
        if interface == "types" {
            return Ok(());
        }
        let capability: Capability = interface.parse().map_err(|_| foreign(name))?;
        if self.granted.allows(capability) {
            return Ok(());
        }
        let message = format!(
            "import `{name}` is not among its capabilities; add \"{interface}\" to the manifest's \
             capabilities and sign it again, or do not use it"
        );
        Err(refused("import", message))
    }
}

fn foreign(name: &str) -> Refused {
    let message = format!(
        "import `{name}` is no interface of aimass:plugin; a plugin has no access to anything else: \
         build for wasm32-unknown-unknown, without WASI"
    );
    refused("import", message)
}

fn count(what: &str, total: &mut u32, more: u32, max: u32) -> Checked {
    *total = total.saturating_add(more);
    if *total > max {
        return Err(refused("complexity", format!("expected at most {max} {what}, got {total}")));
    }
    Ok(())
}

fn check_canonical(function: &CanonicalFunction) -> Checked {
    let options = match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            options
        }
        _ => return Ok(()),
    };
    let wrong = options.iter().find_map(|option| match option {
        CanonicalOption::UTF16 | CanonicalOption::CompactUTF16 => Some("strings other than UTF-8"),
        CanonicalOption::Async | CanonicalOption::Callback(_) => Some("async functions"),
        CanonicalOption::Gc | CanonicalOption::CoreType(_) => Some("garbage-collected types"),
        CanonicalOption::UTF8
        | CanonicalOption::Memory(_)
        | CanonicalOption::Realloc(_)
        | CanonicalOption::PostReturn(_) => None,
    });
    match wrong {
        Some(wrong) => Err(refused("feature", format!("{wrong} are not supported"))),
        None => Ok(()),
    }
}

/// A vector global cannot be kept in an image.
fn check_global(ty: ValType) -> Checked {
    if ty == ValType::V128 {
        return Err(refused("feature", "globals of type v128 are not supported"));
    }
    Ok(())
}

fn check_body(body: &FunctionBody<'_>, limits: &AdmissionLimits) -> Checked {
    let max = limits.function_bytes_max;
    let bytes = body.range().len();
    if bytes > max {
        let message = format!("expected functions of at most {max} bytes, got one of {bytes}");
        return Err(refused("complexity", message));
    }
    let mut locals = 0;
    for group in body.get_locals_reader().map_err(invalid)? {
        let (more, _) = group.map_err(invalid)?;
        count("locals of a function", &mut locals, more, limits.locals_max)?;
    }
    let mut nesting = Nesting::default();
    for operator in body.get_operators_reader().map_err(invalid)? {
        nesting.visit(&operator.map_err(invalid)?, limits)?;
    }
    let product = u64::from(nesting.loops_deepest) * u64::from(locals);
    if product > limits.loop_locals_max {
        let max = limits.loop_locals_max;
        let message = format!(
            "expected loop nesting times locals of a function at most {max}, got {product}"
        );
        return Err(refused("complexity", message));
    }
    Ok(())
}

/// Blocks that are open at an operator.
#[derive(Default)]
pub(crate) struct Nesting {
    open: Vec<bool>,
    loops: u32,
    pub(crate) deepest: u32,
    pub(crate) loops_deepest: u32,
    pub(crate) branch_targets: u32,
}

impl Nesting {
    pub(crate) fn visit(&mut self, operator: &Operator<'_>, limits: &AdmissionLimits) -> Checked {
        match operator {
            Operator::Block { .. } | Operator::If { .. } => self.enter(false, limits),
            Operator::Loop { .. } => self.enter(true, limits),
            Operator::End => {
                self.loops -= u32::from(self.open.pop().unwrap_or(false));
                Ok(())
            }
            Operator::BrTable { targets } => {
                let (total, max) = (&mut self.branch_targets, limits.branch_targets_max);
                count("branch targets of a function", total, targets.len(), max)
            }
            _ => Ok(()),
        }
    }

    fn enter(&mut self, is_loop: bool, limits: &AdmissionLimits) -> Checked {
        self.open.push(is_loop);
        self.loops += u32::from(is_loop);
        self.loops_deepest = self.loops_deepest.max(self.loops);
        let (deep, loops) = (self.open.len() as u32, self.loops);
        self.deepest = self.deepest.max(deep);
        if deep > limits.nesting_max || loops > limits.loop_nesting_max {
            let message = format!(
                "expected at most {} nested blocks and {} nested loops, got {deep} and {loops}",
                limits.nesting_max, limits.loop_nesting_max
            );
            return Err(refused("complexity", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_trust::{Grant, Whole};

    fn admit(wat: &str) -> Result<(), Refused> {
        let mut granted = Capabilities::default();
        granted.insert(Capability::Tensor, Grant::All(Whole {}));
        let limits = AdmissionLimits {
            functions_max: 10,
            locals_max: 100,
            nesting_max: 20,
            loop_nesting_max: 5,
            loop_locals_max: 200,
            branch_targets_max: 50,
            types_max: 60,
            function_bytes_max: 2_000,
            component_bytes_max: 20_000,
            ..AdmissionLimits::default()
        };
        check(&wat::parse_str(wat).unwrap(), World::Processor, &granted, &limits)
    }

    /// The code and a part of the message of a component with this inside.
    fn refusal(inside: &str, code: &str, part: &str) {
        let refused = admit(&format!("(component {inside})")).unwrap_err();
        assert_eq!(refused.code, code, "{inside}: {}", refused.message);
        assert!(refused.message.contains(part), "{inside}: {}", refused.message);
    }

    fn function(code: &str) -> String {
        format!("(core module (func {code}))")
    }

    #[test]
    fn a_component_of_our_world_alone_is_admitted() {
        let wat = r#"(component
            (import "aimass:plugin/types@0.1.3" (instance))
            (import "aimass:plugin/tensor@0.1.0" (instance))
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (export "init" (func $f)) (export "describe" (func $f)) (export "process" (func $f)))"#;
        assert_eq!(admit(wat), Ok(()));
    }

    #[test]
    fn imports_beyond_the_grants_are_refused_by_name() {
        let import = |name: &str| format!("(import \"{name}\" (instance))");
        let log = import("aimass:plugin/log@0.1.0");
        refusal(&log, "import", "add \"log\" to the manifest's capabilities");
        refusal(&import("wasi:cli/environment@0.2.0"), "import", "without WASI");
        refusal(&import("aimass:plugin/shell@0.1.0"), "import", "aimass:plugin/shell@0.1.0");
        refusal(&import("aimass:plugin/tensor@0.2.0"), "import", "serves contract 0.1.x");
        refusal("(import \"f\" (func))", "import", "`f`");
    }

    #[test]
    fn missing_exports_are_refused() {
        refusal("", "export", "exports `init`");
    }

    #[test]
    fn code_that_compiles_slowly_is_refused() {
        let loops = |n: usize| "(loop ".repeat(n) + &")".repeat(n);
        let locals = |n: usize| format!("(local {})", "i32 ".repeat(n));
        refusal(&function(&locals(101)), "complexity", "locals");
        refusal(&function(&loops(6)), "complexity", "5 nested loops");
        let blocks = "(block ".repeat(21) + &")".repeat(21);
        refusal(&function(&blocks), "complexity", "20 nested blocks");
        refusal(&function(&(locals(80) + &loops(4))), "complexity", "times locals");
        let table = format!("(block (br_table {} (i32.const 0)))", "0 ".repeat(60));
        refusal(&function(&table), "complexity", "branch targets");
        refusal(&function(&"(drop (i32.const 100000))".repeat(600)), "complexity", "2000 bytes");
        refusal(&format!("(core module {})", "(func)".repeat(11)), "complexity", "functions");
        let bytes = format!("(core module (memory 1) (data \"{}\"))", "x".repeat(20_001));
        refusal(&bytes, "size", "20000 bytes");
    }

    #[test]
    fn structures_without_end_are_refused() {
        let instances = "(core instance (instantiate $m))".repeat(257);
        refusal(&format!("(core module $m) {instances}"), "complexity", "instances");
        refusal(&"(core module)".repeat(65), "complexity", "modules");
        refusal(&"(component)".repeat(17), "complexity", "components");
        refusal(&"(type u32)".repeat(61), "complexity", "types");
    }

    #[test]
    fn features_beyond_the_list_are_refused() {
        for (inside, part) in [
            ("(core module (memory i64 1))", "memory64"),
            ("(core module (memory 1 2 shared))", "threads"),
            ("(core module (tag))", "exceptions"),
            ("(core module (type (struct)))", "gc"),
            ("(core module (memory 1) (memory 1))", "multiple memories"),
            ("(core module (func (return_call 0)))", "tail calls"),
            ("(core module (global (mut v128) (v128.const i64x2 0 0)))", "v128"),
        ] {
            refusal(inside, "feature", part);
        }
        let strings = r#"(core module $m (memory (export "m") 1) (func (export "r") (param i32 i32 i32 i32)
            (result i32) unreachable) (func (export "f") (param i32 i32)))
            (core instance $i (instantiate $m))
            (func (param "s" string) (canon lift (core func $i "f") (memory (core memory $i "m"))
            (realloc (core func $i "r")) string-encoding=utf16))"#;
        refusal(strings, "feature", "UTF-8");
    }

    #[test]
    fn a_core_module_is_refused_with_the_remedy() {
        let refused = admit("(module)").unwrap_err();
        assert_eq!(refused.code, "invalid");
        assert!(refused.message.contains("aimass plugin build"));
    }
}
