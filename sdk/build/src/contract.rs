//! The contract as a plugin's own world: with those imports alone that its plugin.toml asks for.
//!
//! An interpreter's component imports its whole world, whether the plugin calls it or not, and the host refuses
//! imports that were not granted. So interpreters are built for a world that lists the grants.

use std::path::Path;

use crate::component::BuildError;

const WORLDS: &str = "worlds.wit";

/// Writes the contract of `vendor` to `out`, where `world` imports `types` and `capabilities` alone.
///
/// # Errors
/// [`BuildError::Contract`] if the contract is not there, or has no such world.
pub(crate) fn narrow(
    vendor: &Path,
    out: &Path,
    world: &str,
    capabilities: &[String],
) -> Result<(), BuildError> {
    let failed = |reason: String| BuildError::Contract { path: vendor.to_owned(), reason };
    let io = |error: std::io::Error| failed(error.to_string());
    std::fs::create_dir_all(out).map_err(io)?;
    for entry in std::fs::read_dir(vendor).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default();
        if path.extension().is_none_or(|extension| extension != "wit") {
            continue;
        }
        let mut text = std::fs::read_to_string(&path).map_err(io)?;
        if name == WORLDS {
            text = narrowed(&text, world, capabilities)
                .ok_or_else(|| failed(format!("it has no world `{world}`")))?;
        }
        std::fs::write(out.join(name), text).map_err(io)?;
    }
    Ok(())
}

/// The text of `worlds.wit` without the imports of `world` that are not asked for.
fn narrowed(text: &str, world: &str, capabilities: &[String]) -> Option<String> {
    let (before, rest) = text.split_once(&format!("\nworld {world} {{\n"))?;
    let (body, after) = rest.split_once("\n}")?;
    let kept = body.lines().filter(|line| {
        let import = line.trim().strip_prefix("import ").and_then(|name| name.strip_suffix(';'));
        import.is_none_or(|name| name == "types" || capabilities.iter().any(|it| it == name))
    });
    let body: Vec<&str> = kept.collect();
    Some(format!("{before}\nworld {world} {{\n{}\n}}{after}", body.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "package a:b;\n\nworld one {\n  import types;\n  import log;\n  import clock;\n\n  \
                        export f: func();\n}\n\nworld two {\n  import log;\n}\n";

    #[test]
    fn a_world_keeps_the_imports_that_are_asked_for_and_others_stay_whole() {
        let text = narrowed(TEXT, "one", &["clock".to_owned()]).unwrap();
        let (one, two) = text.split_once("world two").unwrap();
        assert!(one.contains("import types;") && one.contains("import clock;"), "{one}");
        assert!(!one.contains("log") && one.contains("export f"), "{one}");
        assert!(two.contains("import log;"), "{two}");
        assert_eq!(narrowed(TEXT, "three", &[]), None);
    }

    #[test]
    fn the_contract_of_this_repository_narrows_and_parses() {
        let out = tempfile::tempdir().unwrap();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        narrow(&wit, out.path(), "processor", &["tensor".to_owned()]).unwrap();
        let mut resolve = wit_parser::Resolve::default();
        let (package, _) = resolve.push_dir(out.path()).unwrap();
        let world = resolve.select_world(&[package], Some("processor")).unwrap();
        let imports = resolve.worlds[world].imports.keys();
        let names: Vec<String> = imports.map(|key| resolve.name_world_key(key)).collect();
        assert!(names.iter().any(|name| name.contains("tensor")), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("log")), "{names:?}");
    }
}
