//! What each interface lets a plugin do, in a sentence for whoever has to allow it.

use aimass_trust::Capability;

/// What an import allows.
pub(super) fn by_import(import: &str) -> &'static str {
    let interface = import.strip_prefix("aimass:plugin/").and_then(|rest| rest.split_once('@'));
    let Some((interface, _)) = interface else {
        return "no interface of the contract: no host of ours provides it";
    };
    if interface == "types" {
        return "nothing: plain data types";
    }
    match interface.parse() {
        Ok(capability) => by_capability(capability),
        Err(_) => "no interface that this host knows",
    }
}

fn by_capability(capability: Capability) -> &'static str {
    match capability {
        Capability::Config => "reads its own configuration",
        Capability::Tensor => "makes and reads tensors, and runs single ops of the host on them",
        Capability::Graph => "builds graphs, which the host compiles and runs",
        Capability::Plans => "runs the plans of the model that it belongs to",
        Capability::Files => "reads the files of the model package, and no others",
        Capability::Media => "lets the host decode images and sound",
        Capability::Models => "calls the models that its manifest names, in the caller's name",
        Capability::Log => "writes messages to the operator's log, a bounded number of bytes",
        Capability::Clock => "reads the time in steps of a millisecond, and its deadline",
        Capability::Random => "gets random bytes",
        Capability::Emit => "sends parts of its answer to the client before it ends",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_says_what_it_allows() {
        for capability in Capability::ALL {
            let import = format!("aimass:plugin/{capability}@0.1.0");
            assert_eq!(by_import(&import), by_capability(capability));
        }
        assert!(by_import("wasi:cli/environment@0.2.0").contains("no host of ours"));
        assert!(by_import("aimass:plugin/shell@0.1.0").contains("no interface that"));
        assert!(by_import("aimass:plugin/types@0.1.0").contains("nothing"));
    }
}
