//! `docs/reference/contract.md` says what `wit/` says. `AIMASS_BLESS=1 cargo test -p aimass-tidy` writes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use wit_parser::{Docs, Function, FunctionKind, InterfaceId, TypeDefKind, TypeId, WorldItem};

use crate::contract::Contract;
use crate::repository;

const PAGE: &str = "docs/reference/contract.md";
/// Where the host's limits and their defaults are.
const LIMITS: &str = "host/sandbox/src/limits.rs";
const FAMILIES: [&str; 9] = [
    "input",
    "not-found",
    "limit",
    "unsupported",
    "forbidden",
    "cancelled",
    "deadline",
    "unavailable",
    "internal",
];

#[test]
fn the_page_of_the_contract_is_as_the_wit_files_say() {
    let page = page(&Contract::read("wit"));
    let path = repository::root().join(PAGE);
    if std::env::var_os("AIMASS_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(page.lines()).position(|(found, page)| found != page);
    assert!(
        found == page,
        "{PAGE} is not what wit/ says, from line {}; write it with \
         `AIMASS_BLESS=1 cargo test -p aimass-tidy`",
        line.map_or(0, |line| line + 1)
    );
}

#[test]
fn codes_of_errors_are_found_where_they_are_named() {
    let codes = codes("Fails. Errors: `input/shape`, `limit/nodes` (5), `a/b`, `input/shape`.");
    assert_eq!(codes, ["input/shape", "limit/nodes"]);
}

fn page(contract: &Contract) -> String {
    let mut text = String::from(
        "# The contract with plugins\n\n\
         Package `aimass:plugin`, made from `wit/` by a test; do not edit it here. Which versions a host serves, and \
         what may change, is in [contract-versions.md](contract-versions.md). Types are written as WIT does; \
         `own` handles by their name alone.\n",
    );
    worlds(contract, &mut text);
    let mut errors: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, id) in &contract.interfaces {
        interface(contract, name, *id, &mut text, &mut errors);
    }
    text.push_str("\n## Error codes\n\nThe family says who has to act; `types.error-family` has their meanings.\n\n");
    text.push_str("| code | answered by |\n|---|---|\n");
    for (code, by) in &errors {
        let _ = writeln!(text, "| `{code}` | {} |", by.join(", "));
    }
    text.push_str(
        "\n## Limits of a host\n\nDefaults of `host/sandbox/src/limits.rs`. A manifest can lower those of a call, \
         never raise them.\n\n| limit | meaning |\n|---|---|\n",
    );
    for (name, meaning) in limits(&repository::read(Path::new(LIMITS))) {
        let _ = writeln!(text, "| `{name}` | {meaning} |");
    }
    text
}

fn worlds(contract: &Contract, text: &mut String) {
    text.push_str("\n## Worlds\n");
    for (_, world) in &contract.resolve.worlds {
        let _ = writeln!(text, "\n### `{}`\n\n{}\n", world.name, prose(&world.docs));
        let (mut imports, mut types) = (Vec::new(), Vec::new());
        for (key, item) in &world.imports {
            match item {
                WorldItem::Interface { .. } => {
                    let name = contract.resolve.name_world_key(key);
                    let short = name.split(['/', '@']).nth(1).unwrap_or_default().to_owned();
                    imports.push(format!("[`{short}`](#{short})"));
                }
                WorldItem::Type { id, .. } => types.push(*id),
                WorldItem::Function(_) => {}
            }
        }
        let _ = writeln!(text, "May import {}.\n", imports.join(", "));
        for id in types {
            define(contract, id, text);
        }
        text.push_str("| export | |\n|---|---|\n");
        for (key, item) in &world.exports {
            let WorldItem::Function(function) = item else { continue };
            let name = contract.resolve.name_world_key(key);
            row(contract, &name, function, text);
        }
    }
}

fn interface(
    contract: &Contract,
    name: &str,
    id: InterfaceId,
    text: &mut String,
    errors: &mut BTreeMap<String, Vec<String>>,
) {
    let content = &contract.resolve.interfaces[id];
    let _ = writeln!(text, "\n## `{name}`\n\n{}\n", prose(&content.docs));
    let mut known = |place: String, docs: &Docs| {
        for code in codes(docs.contents.as_deref().unwrap_or_default()) {
            errors.entry(code).or_default().push(place.clone());
        }
    };
    known(format!("`{name}`"), &content.docs);
    for ty in content.types.values() {
        define(contract, *ty, text);
    }
    if content.functions.is_empty() {
        return;
    }
    text.push_str("| function | |\n|---|---|\n");
    for function in content.functions.values() {
        let short = short_name(contract, function);
        known(format!("`{name}.{short}`"), &function.docs);
        row(contract, &short, function, text);
    }
}

/// `builder.add`, `tensor.create (static)`, `run`.
fn short_name(contract: &Contract, function: &Function) -> String {
    let of = |id: TypeId| contract.resolve.types[id].name.clone().unwrap_or_default();
    let name = function.item_name();
    match function.kind {
        FunctionKind::Freestanding | FunctionKind::AsyncFreestanding => name.to_owned(),
        FunctionKind::Method(id) | FunctionKind::AsyncMethod(id) => format!("{}.{name}", of(id)),
        FunctionKind::Static(id) | FunctionKind::AsyncStatic(id) => {
            format!("{}.{name} (static)", of(id))
        }
        FunctionKind::Constructor(id) => format!("{} (constructor)", of(id)),
    }
}

fn row(contract: &Contract, name: &str, function: &Function, text: &mut String) {
    let signature = contract.signature(function).replace('|', "\\|");
    let docs = prose(&function.docs).replace('\n', " ").replace('|', "\\|");
    let _ = writeln!(text, "| `{name}`<br>`{signature}` | {docs} |");
}

/// A type with its members; names that only stand for a type of another interface are left out.
fn define(contract: &Contract, id: TypeId, text: &mut String) {
    let def = &contract.resolve.types[id];
    let name = def.name.as_deref().unwrap_or_default();
    let members: Vec<(String, &Docs)> = match &def.kind {
        TypeDefKind::Type(wit_parser::Type::Id(_)) => return,
        TypeDefKind::Record(record) => {
            let field = |one: &'_ wit_parser::Field| {
                format!("{}: {}", one.name, contract.type_text(&one.ty))
            };
            record.fields.iter().map(|one| (field(one), &one.docs)).collect()
        }
        TypeDefKind::Variant(variant) => {
            let case = |one: &wit_parser::Case| match &one.ty {
                Some(ty) => format!("{}({})", one.name, contract.type_text(ty)),
                None => one.name.clone(),
            };
            variant.cases.iter().map(|one| (case(one), &one.docs)).collect()
        }
        TypeDefKind::Enum(one) => {
            one.cases.iter().map(|case| (case.name.clone(), &case.docs)).collect()
        }
        _ => Vec::new(),
    };
    let kind = match &def.kind {
        TypeDefKind::Type(ty) => contract.type_text(ty),
        other => other.as_str().to_owned(),
    };
    let docs = prose(&def.docs).replace('\n', " ");
    let _ = writeln!(text, "**`{name}`** ({kind}). {docs}\n");
    for (member, docs) in &members {
        let docs = prose(docs).replace('\n', " ");
        let colon = if docs.is_empty() { "" } else { ": " };
        let _ = writeln!(text, "- `{member}`{colon}{docs}");
    }
    if !members.is_empty() {
        text.push('\n');
    }
}

fn prose(docs: &Docs) -> String {
    docs.contents.as_deref().unwrap_or_default().trim().to_owned()
}

/// Codes in backticks, `family/code`, each once.
fn codes(text: &str) -> Vec<String> {
    let mut codes: Vec<String> = Vec::new();
    for quoted in text.split('`').skip(1).step_by(2) {
        let family = quoted.split_once('/').map(|(family, _)| family);
        let is_code = family.is_some_and(|family| FAMILIES.contains(&family));
        if is_code && !codes.iter().any(|code| code == quoted) {
            codes.push(quoted.to_owned());
        }
    }
    codes
}

/// Names of fields and the comments above them.
fn limits(source: &str) -> Vec<(String, String)> {
    let (mut limits, mut docs) = (Vec::new(), Vec::new());
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            docs.push(text);
            continue;
        }
        let field = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": "));
        if let Some((name, _)) = field.filter(|(name, _)| !name.contains(' ')) {
            limits.push((name.to_owned(), docs.join(" ")));
        }
        docs.clear();
    }
    limits
}
