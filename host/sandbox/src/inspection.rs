//! What a component consists of, for people: names, sizes, and its figures beside the limits of
//! admission.
//!
//! Reading goes as far as the bytes make sense and says where they stop; nothing is refused, run or
//! trusted. Whether a component may load is [`crate::check_component`]'s to say.

use crate::admission::Nesting;
use crate::limits::AdmissionLimits;
use std::collections::BTreeMap;
use wasmparser::{
    BinaryReaderError, ComponentExternalKind, ComponentTypeRef, Encoding, FunctionBody, Parser,
    Payload,
};

/// Names that one inspection lists at most, of imports and of exports; more are only counted.
const NAMES_MAX: usize = 1_000;

/// What a component consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Names of its imports but plain types, at most 1,000.
    pub imports: Vec<String>,
    /// Names of the functions that it exports, at most 1,000.
    pub exports: Vec<String>,
    /// Bytes by kind of section, largest first.
    pub sections: Vec<Section>,
    /// Core modules inside, in order.
    pub modules: Vec<CoreModule>,
    /// What admission bounds, each with its limit.
    pub figures: Vec<Figure>,
    /// Why reading stopped before the end.
    pub fault: Option<String>,
}

/// All sections of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// `core code`, `core data`, `core rest`, `component`, or `custom NAME`.
    pub name: String,
    /// Bytes of their contents.
    pub bytes: u64,
}

/// A core module of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoreModule {
    /// Functions with code.
    pub functions: u32,
    /// Bytes of code.
    pub code_bytes: u64,
    /// Bytes of data.
    pub data_bytes: u64,
    /// Bytes of its own linear memory at the start; `None` without one.
    pub memory_bytes: Option<u64>,
    /// Bytes that its memory may grow to, if it says.
    pub memory_bytes_max: Option<u64>,
}

/// A quantity that admission bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// What it is: `component bytes`.
    pub name: &'static str,
    /// What the component has.
    pub value: u64,
    /// The bound.
    pub limit: u64,
}

impl Inspection {
    /// Reads a component, or what is left of one.
    pub fn of(component: &[u8], limits: &AdmissionLimits) -> Inspection {
        let mut reader = Reader::default();
        let mut fault = None;
        for payload in Parser::new(0).parse_all(component) {
            let visited = payload.and_then(|payload| reader.visit(&payload));
            if let Err(error) = visited {
                fault = Some(format!("{} (at byte {})", error.message(), error.offset()));
                break;
            }
        }
        let mut sections: Vec<Section> =
            reader.sections.into_iter().map(|(name, bytes)| Section { name, bytes }).collect();
        sections.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        let most = Most { component_bytes: component.len() as u64, ..reader.most };
        Inspection {
            imports: reader.imports,
            exports: reader.exports,
            sections,
            modules: reader.modules,
            figures: most.figures(limits),
            fault,
        }
    }
}

/// Totals and maxima of what admission bounds.
#[derive(Default)]
struct Most {
    component_bytes: u64,
    modules: u64,
    instances: u64,
    components: u64,
    functions: u64,
    function_bytes: u64,
    locals: u64,
    nesting: u64,
    loop_nesting: u64,
    loop_locals: u64,
    branch_targets: u64,
    types: u64,
}

impl Most {
    fn figures(&self, limits: &AdmissionLimits) -> Vec<Figure> {
        let figure = |name, value, limit| Figure { name, value, limit };
        vec![
            figure("component bytes", self.component_bytes, limits.component_bytes_max as u64),
            figure("core modules", self.modules, limits.modules_max.into()),
            figure("instances of a kind", self.instances, limits.instances_max.into()),
            figure("nested components", self.components, limits.components_max.into()),
            figure("functions", self.functions, limits.functions_max.into()),
            figure("bytes of a function", self.function_bytes, limits.function_bytes_max as u64),
            figure("locals of a function", self.locals, limits.locals_max.into()),
            figure("nested blocks", self.nesting, limits.nesting_max.into()),
            figure("nested loops", self.loop_nesting, limits.loop_nesting_max.into()),
            figure("loop nesting times locals", self.loop_locals, limits.loop_locals_max),
            figure(
                "branch targets of a function",
                self.branch_targets,
                limits.branch_targets_max.into(),
            ),
            figure("types", self.types, limits.types_max.into()),
        ]
    }
}

#[derive(Default)]
struct Reader {
    /// Modules and components that are open, outermost first; of a module its place in `modules`.
    open: Vec<Option<usize>>,
    imports: Vec<String>,
    exports: Vec<String>,
    sections: BTreeMap<String, u64>,
    modules: Vec<CoreModule>,
    most: Most,
}

impl Reader {
    fn visit(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        self.weigh(payload);
        match payload {
            Payload::Version { encoding, .. } => self.enter(*encoding),
            Payload::End(_) => drop(self.open.pop()),
            Payload::InstanceSection(reader) => self.most.instances += u64::from(reader.count()),
            Payload::ComponentInstanceSection(reader) => {
                self.most.instances += u64::from(reader.count());
            }
            Payload::TypeSection(reader) => self.most.types += u64::from(reader.count()),
            Payload::CoreTypeSection(reader) => self.most.types += u64::from(reader.count()),
            Payload::ComponentTypeSection(reader) => self.most.types += u64::from(reader.count()),
            Payload::FunctionSection(reader) => {
                self.most.functions += u64::from(reader.count());
                if let Some(module) = self.module() {
                    module.functions += reader.count();
                }
            }
            Payload::CodeSectionEntry(body) => self.body(body)?,
            Payload::MemorySection(reader) => {
                for memory in reader.clone() {
                    let memory = memory?;
                    let bytes = |pages: u64| pages.saturating_mul(64 << 10);
                    if let Some(module) = self.module() {
                        module.memory_bytes = Some(bytes(memory.initial));
                        module.memory_bytes_max = memory.maximum.map(bytes);
                    }
                }
            }
            Payload::ComponentImportSection(reader) if self.open.len() == 1 => {
                for import in reader.clone() {
                    let import = import?;
                    // A type that is imported by name is plain data of an interface.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        keep(&mut self.imports, import.name.name);
                    }
                }
            }
            Payload::ComponentExportSection(reader) if self.open.len() == 1 => {
                for export in reader.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Func {
                        keep(&mut self.exports, export.name.name);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, encoding: Encoding) {
        let place = match encoding {
            Encoding::Module => {
                self.most.modules += 1;
                self.modules.push(CoreModule::default());
                Some(self.modules.len() - 1)
            }
            Encoding::Component => {
                self.most.components += u64::from(!self.open.is_empty());
                None
            }
        };
        self.open.push(place);
    }

    /// The core module that is being read.
    fn module(&mut self) -> Option<&mut CoreModule> {
        let place = (*self.open.last()?)?;
        self.modules.get_mut(place)
    }

    /// Adds a section's bytes to those of its kind; modules and components are weighed inside.
    fn weigh(&mut self, payload: &Payload<'_>) {
        let name = match payload {
            Payload::ModuleSection { .. }
            | Payload::ComponentSection { .. }
            | Payload::CodeSectionEntry(_) => return,
            Payload::CustomSection(custom) => format!("custom {}", short(custom.name())),
            Payload::CodeSectionStart { .. } => "core code".to_owned(),
            Payload::DataSection(_) => "core data".to_owned(),
            _ if self.module().is_some() => "core rest".to_owned(),
            _ => "component".to_owned(),
        };
        let Some((_, range)) = payload.as_section() else { return };
        let bytes = range.len() as u64;
        *self.sections.entry(name).or_default() += bytes;
        if let Some(module) = self.module() {
            match payload {
                Payload::CodeSectionStart { .. } => module.code_bytes += bytes,
                Payload::DataSection(_) => module.data_bytes += bytes,
                _ => {}
            }
        }
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<(), BinaryReaderError> {
        let mut locals = 0u64;
        for group in body.get_locals_reader()? {
            locals += u64::from(group?.0);
        }
        let unbounded = AdmissionLimits {
            nesting_max: u32::MAX,
            loop_nesting_max: u32::MAX,
            branch_targets_max: u32::MAX,
            ..AdmissionLimits::default()
        };
        let mut nesting = Nesting::default();
        for operator in body.get_operators_reader()? {
            // Without bounds nothing is refused.
            let _ = nesting.visit(&operator?, &unbounded);
        }
        let most = &mut self.most;
        let raise = |figure: &mut u64, value: u64| *figure = (*figure).max(value);
        raise(&mut most.function_bytes, body.range().len() as u64);
        raise(&mut most.locals, locals);
        raise(&mut most.nesting, nesting.deepest.into());
        raise(&mut most.loop_nesting, nesting.loops_deepest.into());
        raise(&mut most.loop_locals, locals.saturating_mul(nesting.loops_deepest.into()));
        raise(&mut most.branch_targets, nesting.branch_targets.into());
        Ok(())
    }
}

fn keep(names: &mut Vec<String>, name: &str) {
    if names.len() < NAMES_MAX {
        names.push(short(name));
    }
}

/// A name as a stranger wrote it, cut and without control characters.
fn short(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &str = r#"(component
        (import "aimass:plugin/log@0.1.0" (instance))
        (import "error" (type (sub resource)))
        (core module $m (memory (export "memory") 2 4) (data (i32.const 0) "hello")
            (func (export "f") (local i32 i64) (loop (block (loop)))))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (export "init" (func $f)))"#;

    fn value(inspection: &Inspection, name: &str) -> u64 {
        inspection.figures.iter().find(|figure| figure.name == name).unwrap().value
    }

    #[test]
    fn names_sizes_and_figures_are_told() {
        let bytes = wat::parse_str(COMPONENT).unwrap();
        let seen = Inspection::of(&bytes, &AdmissionLimits::default());
        assert_eq!((seen.fault.as_deref(), seen.imports.len()), (None, 1));
        assert_eq!(
            (&seen.imports[0][..], &seen.exports[0][..]),
            ("aimass:plugin/log@0.1.0", "init")
        );
        let module = &seen.modules[0];
        assert_eq!(module.memory_bytes, Some(128 << 10));
        assert_eq!(module.memory_bytes_max, Some(256 << 10));
        assert_eq!((seen.modules.len(), module.functions), (1, 1));
        assert_eq!(value(&seen, "component bytes"), bytes.len() as u64);
        assert_eq!((value(&seen, "nested loops"), value(&seen, "nested blocks")), (2, 3));
        assert_eq!((value(&seen, "locals of a function"), value(&seen, "functions")), (2, 1));
        assert_eq!(value(&seen, "loop nesting times locals"), 4);
        assert!(seen.sections.iter().any(|section| section.name == "core data"));
        let all: u64 = seen.sections.iter().map(|section| section.bytes).sum();
        assert!(all < bytes.len() as u64 && all > bytes.len() as u64 / 2, "{all}");
    }

    #[test]
    fn a_broken_component_is_told_as_far_as_it_goes() {
        let bytes = wat::parse_str(COMPONENT).unwrap();
        for end in 0..bytes.len() {
            let seen = Inspection::of(&bytes[..end], &AdmissionLimits::default());
            assert!(seen.fault.is_some() || end >= 8, "{end}");
        }
        let seen = Inspection::of(&bytes[..bytes.len() - 30], &AdmissionLimits::default());
        assert!(seen.fault.is_some_and(|fault| fault.contains("at byte")));
        assert_eq!(seen.imports.len(), 1);
        assert!(Inspection::of(b"not wasm", &AdmissionLimits::default()).fault.is_some());
    }

    #[test]
    fn what_inspection_counts_admission_counts_alike() {
        let bytes = wat::parse_str(COMPONENT).unwrap();
        let limits = AdmissionLimits { loop_nesting_max: 1, ..AdmissionLimits::default() };
        let seen = Inspection::of(&bytes, &limits);
        let over: Vec<_> = seen.figures.iter().filter(|one| one.value > one.limit).collect();
        assert_eq!(over.len(), 1);
        let granted = [aimass_trust::Capability::Log].into_iter().collect();
        let world = crate::World::Processor;
        let refused = crate::check_component(&bytes, world, &granted, &limits).unwrap_err();
        assert_eq!(refused.code, "complexity", "{refused}");
    }
}
