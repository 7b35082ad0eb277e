"""Lists the operators of the installed `onnx` that the ONNX plugin has no lowering for.

    python onnx_coverage.py [REPOSITORY]

Every operator that is in force in one of the opsets 7 to the newest counts, in all domains of the
`onnx` package. The plugin's operators are read from its tables (`("Name", ..)` in `ops/`) and from the
tracer's control flow. Prints one line for each that is missing, with the opsets that have it, and
the totals; operators that are refused on purpose stand apart.
"""

import pathlib
import re
import sys
from collections import defaultdict

import onnx.defs

OLDEST_OPSET = 7
# Training, and maps between the plugin and its caller, are no part of inference on tensors.
REFUSED = {
    "ai.onnx.preview.training": "training",
    ("ai.onnx.ml", "ZipMap"): "gives maps",
    ("ai.onnx.ml", "CastMap"): "takes maps",
    ("ai.onnx.ml", "DictVectorizer"): "takes maps",
}


def plugin_operators(repository):
    """Names by domain, from the tables of the sources."""
    source = repository / "plugins/onnx/src"
    found = defaultdict(set)
    for path in (source / "ops").rglob("*.rs"):
        text = path.read_text()
        domain = "ai.onnx.ml" if "ml" in path.relative_to(source / "ops").parts else ""
        for table in re.findall(r"const \w+: Table =(.*?)\];", text, re.DOTALL):
            # An entry starts a line or follows a bracket, as rustfmt leaves it.
            found[domain] |= set(re.findall(r'(?:^|[\[(,{])\s*\(\s*"(\w+)",', table, re.MULTILINE))
    control = (source / "tracer/control.rs").read_text()
    found[""] |= set(re.findall(r'"(\w+)" => self\.', control))
    return found


def schemas():
    """(domain, name) with the versions that are in force from the oldest opset on."""
    versions = defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        versions[schema.domain, schema.name].append(schema)
    for (domain, name), history in sorted(versions.items()):
        history.sort(key=lambda schema: schema.since_version)
        oldest = OLDEST_OPSET if domain == "" else 1
        current = [schema for schema in history if schema.since_version <= oldest][-1:]
        current += [schema for schema in history if schema.since_version > oldest]
        if all(schema.deprecated for schema in current):
            continue
        yield domain, name, [schema.since_version for schema in current]


def main():
    default = pathlib.Path(__file__).parents[2]
    repository = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    own = plugin_operators(repository)
    missing, refused, total = [], [], 0
    for domain, name, versions in schemas():
        total += 1
        line = f"{domain or 'ai.onnx'}.{name} (opsets {', '.join(map(str, versions))})"
        reason = REFUSED.get(domain) or REFUSED.get((domain, name))
        if reason and (reason != "training" or name not in own[domain] | own[""]):
            refused.append(f"{line}: {reason}")
        elif name not in own[domain] and not (domain.startswith("ai.onnx.preview") and name in own[""]):
            missing.append(line)
    print("".join(f"missing  {line}\n" for line in missing), end="")
    print("".join(f"refused  {line}\n" for line in refused), end="")
    print(f"{total} operators, {len(missing)} missing, {len(refused)} refused")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
