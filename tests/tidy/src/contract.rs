//! The contract grows by additions only: what a released version has, `wit/` has alike.
//!
//! A component of a released version imports and exports by name and type, so that an interface may
//! gain functions and a world imports, and the package worlds and interfaces. A record, variant or enum that
//! gains a member is another type, and a world that gains an export is one that old components do not
//! implement: both are refused.

use std::collections::BTreeMap;
use std::path::Path;

use wit_parser::{
    Function, Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId, TypeOwner, WorldItem,
};

use crate::repository;

const CURRENT: &str = "wit";
const RELEASED: &str = "wit/released";

/// A contract as its files say.
pub(crate) struct Contract {
    pub(crate) resolve: Resolve,
    /// Interfaces by name, in the order of the files.
    pub(crate) interfaces: Vec<(String, InterfaceId)>,
}

impl Contract {
    /// Reads the WIT files of a folder, named relative to the root.
    pub(crate) fn read(folder: &str) -> Contract {
        let mut resolve = Resolve::default();
        let folder = repository::root().join(folder);
        let (package, _) = resolve
            .push_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error:#}", folder.display()));
        let interfaces = resolve.packages[package].interfaces.iter();
        let interfaces = interfaces.map(|(name, id)| (name.clone(), *id)).collect();
        Contract { resolve, interfaces }
    }

    /// A type as it is written, with named types by interface and name.
    pub(crate) fn type_text(&self, ty: &Type) -> String {
        match ty {
            Type::Id(id) => self.named(*id),
            Type::Bool => "bool".to_owned(),
            Type::U8 => "u8".to_owned(),
            Type::U16 => "u16".to_owned(),
            Type::U32 => "u32".to_owned(),
            Type::U64 => "u64".to_owned(),
            Type::S8 => "s8".to_owned(),
            Type::S16 => "s16".to_owned(),
            Type::S32 => "s32".to_owned(),
            Type::S64 => "s64".to_owned(),
            Type::F32 => "f32".to_owned(),
            Type::F64 => "f64".to_owned(),
            Type::Char => "char".to_owned(),
            Type::String => "string".to_owned(),
            Type::ErrorContext => "error-context".to_owned(),
        }
    }

    /// The name of a type where it was defined, else its structure.
    fn named(&self, id: TypeId) -> String {
        let def = &self.resolve.types[id];
        if let (Some(_), TypeDefKind::Type(Type::Id(origin))) = (&def.name, &def.kind) {
            return self.named(*origin);
        }
        match (&def.name, def.owner) {
            (Some(name), TypeOwner::Interface(owner)) => {
                let owner = self.resolve.interfaces[owner].name.as_deref().unwrap_or_default();
                format!("{owner}.{name}")
            }
            (Some(name), TypeOwner::World(_) | TypeOwner::None) => name.clone(),
            (None, _) => self.structure(id),
        }
    }

    /// What a type consists of; the text of two types is equal only if their values are.
    pub(crate) fn structure(&self, id: TypeId) -> String {
        let list = |parts: Vec<String>| parts.join(", ");
        let optional =
            |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), |ty| self.type_text(ty));
        match &self.resolve.types[id].kind {
            TypeDefKind::Record(record) => {
                let fields = record.fields.iter();
                let fields = fields.map(|one| format!("{}: {}", one.name, self.type_text(&one.ty)));
                format!("record {{ {} }}", list(fields.collect()))
            }
            TypeDefKind::Variant(variant) => {
                let cases = variant.cases.iter().map(|case| match &case.ty {
                    Some(ty) => format!("{}({})", case.name, self.type_text(ty)),
                    None => case.name.clone(),
                });
                format!("variant {{ {} }}", list(cases.collect()))
            }
            TypeDefKind::Enum(one) => {
                format!(
                    "enum {{ {} }}",
                    list(one.cases.iter().map(|case| case.name.clone()).collect())
                )
            }
            TypeDefKind::Flags(flags) => {
                format!(
                    "flags {{ {} }}",
                    list(flags.flags.iter().map(|flag| flag.name.clone()).collect())
                )
            }
            TypeDefKind::Tuple(tuple) => {
                format!(
                    "tuple<{}>",
                    list(tuple.types.iter().map(|ty| self.type_text(ty)).collect())
                )
            }
            TypeDefKind::Option(ty) => format!("option<{}>", self.type_text(ty)),
            TypeDefKind::List(ty) => format!("list<{}>", self.type_text(ty)),
            TypeDefKind::Result(result) => {
                format!("result<{}, {}>", optional(&result.ok), optional(&result.err))
            }
            TypeDefKind::Handle(Handle::Own(id)) => self.named(*id),
            TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", self.named(*id)),
            TypeDefKind::Resource => "resource".to_owned(),
            TypeDefKind::Type(ty) => format!("type = {}", self.type_text(ty)),
            other => panic!("the contract uses no {}", other.as_str()),
        }
    }

    /// Parameters and result of a function.
    pub(crate) fn signature(&self, function: &Function) -> String {
        let params = function.params.iter();
        let params = params.map(|one| format!("{}: {}", one.name, self.type_text(&one.ty)));
        let params = params.collect::<Vec<_>>().join(", ");
        match &function.result {
            Some(result) => format!("func({params}) -> {}", self.type_text(result)),
            None => format!("func({params})"),
        }
    }

    /// Everything that a component can depend on, by name.
    fn items(&self) -> BTreeMap<String, String> {
        let mut items = BTreeMap::new();
        for (interface, id) in &self.interfaces {
            let content = &self.resolve.interfaces[*id];
            for (name, ty) in &content.types {
                items.insert(format!("type {interface}.{name}"), self.structure(*ty));
            }
            for (name, function) in &content.functions {
                items.insert(format!("function {interface}.{name}"), self.signature(function));
            }
        }
        for (_, world) in &self.resolve.worlds {
            let mut exports = Vec::new();
            for (key, item) in &world.imports {
                let name = self.resolve.name_world_key(key);
                match item {
                    // Compatible versions find each other: only the name counts.
                    WorldItem::Interface { .. } => {
                        let interface = name.split('@').next().unwrap_or_default().to_owned();
                        items.insert(
                            format!("import of {}: {interface}", world.name),
                            String::new(),
                        );
                    }
                    WorldItem::Type { id, .. } => {
                        items.insert(format!("type {}.{name}", world.name), self.structure(*id));
                    }
                    WorldItem::Function(function) => {
                        let text = self.signature(function);
                        items.insert(format!("import of {}: {name}", world.name), text);
                    }
                }
            }
            for (key, item) in &world.exports {
                let WorldItem::Function(function) = item else { panic!("worlds export functions") };
                let name = self.resolve.name_world_key(key);
                exports.push(format!("{name}: {}", self.signature(function)));
            }
            exports.sort();
            items.insert(format!("exports of {}", world.name), exports.join("; "));
        }
        items
    }
}

/// What a component of `released` would miss or misunderstand in `current`.
fn broken(released: &BTreeMap<String, String>, current: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, text) in released {
        match current.get(name) {
            Some(now) if now == text => {}
            Some(now) => faults.push(format!("{name}\n  was {text}\n  is  {now}")),
            None => faults.push(format!("{name} is gone; it was {text}")),
        }
    }
    faults
}

#[test]
fn the_contract_is_an_additive_superset_of_every_released_version() {
    let current = Contract::read(CURRENT).items();
    let released = repository::root().join(RELEASED);
    let mut versions = 0;
    for entry in released.read_dir().unwrap() {
        let entry = entry.unwrap();
        if !entry.file_type().unwrap().is_dir() {
            continue;
        }
        let version = entry.file_name().to_string_lossy().into_owned();
        let folder = Path::new(RELEASED).join(&version).display().to_string();
        let faults = broken(&Contract::read(&folder).items(), &current);
        let rule = format!("Components of {version} would break:");
        repository::assert_none(&rule, &faults);
        versions += 1;
    }
    assert!(versions > 0, "no released version was found");
}

#[test]
fn what_breaks_a_component_is_found_and_what_does_not_is_not() {
    let before = "package a:b@0.1.0;\ninterface i { enum e { x, y } record r { f: u32 } g: func(r: r) -> e; }\n\
                  world w { import i; export run: func() -> u32; }\n";
    let items = |text: &str| {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("a.wit", text).unwrap();
        let interfaces = resolve.packages[package].interfaces.iter();
        let interfaces = interfaces.map(|(name, id)| (name.clone(), *id)).collect();
        Contract { resolve, interfaces }.items()
    };
    let faults = |from: &str, to: &str| broken(&items(before), &items(&before.replace(from, to)));
    assert_eq!(faults("g: func", "h: func(); g: func"), Vec::<String>::new());
    assert_eq!(
        faults("world w", "interface j { k: func(); } world v { } world w"),
        Vec::<String>::new()
    );
    assert_eq!(faults("import i;", "import i; import j: func();"), Vec::<String>::new());
    for (from, to, found) in [
        ("x, y", "x, y, z", "type i.e"),
        ("f: u32", "f: u64", "type i.r"),
        ("f: u32", "f: u32, g: u8", "type i.r"),
        ("g: func(r: r)", "g: func(s: r)", "function i.g"),
        ("g: func(r: r) -> e;", "", "function i.g is gone"),
        ("-> u32", "-> u64", "exports of w"),
        ("export run", "export stop: func(); export run", "exports of w"),
        ("import i;", "", "import of w: a:b/i is gone"),
    ] {
        let faults = faults(from, to);
        assert!(faults.iter().any(|fault| fault.starts_with(found)), "{from} -> {to}: {faults:?}");
    }
}
