#!/usr/bin/env python3
"""Breaks the kernels on purpose and counts how many of the breaks the kernel tests see.

    python3 kernels/cuda/mutants.py                       every mutant of mutations.toml, and the score
    python3 kernels/cuda/mutants.py --sample 3 --seed 7   three of them, chosen by the seed
    python3 kernels/cuda/mutants.py --only NAME ...       these
    python3 kernels/cuda/mutants.py --generate 56 --seed 7  prints mutants made by operators

A mutant is one change of one source file. Its translation unit alone is compiled to PTX and run by
the tests that should see it, on the virtual GPU with checks of memory and races; every other kernel
is as committed. Exit status: 0 if the unchanged kernels pass and, of a sample, every mutant is caught;
of all of them, at least 95 %.
"""
import argparse, json, os, random, re, shutil, subprocess, sys, tempfile, threading, time, tomllib
from pathlib import Path

import build

LIST = build.HERE / "mutations.toml"
WANTED = 0.95
# Seconds of one unit's tests; a correct kernel takes a small part of it.
LIMIT = 600
# Instructions of one warp after which the virtual GPU gives up on a launch.
STEPS = 20_000_000

# The tests of each unit.
TESTS = {
    "arg_extreme.cu": "reduce::the_first", "attention.cu": "attention::", "attention_decode.cu": "attention::",
    "attention_exact.cu": "attention::", "binary.cu": "binary::", "cast.cu": "cast::",
    "channel_norm.cu": "channel_norm::", "counting.cu": "counting::", "cumulative.cu": "reduce::running",
    "gather.cu": "indexed::", "matmul.cu": "matmul::", "norm.cu": "norm::rows", "pad.cu": "shape_ops::",
    "quantize.cu": "quantize::", "ragged_pool.cu": "ragged_pool::", "random_bits.cu": "random_bits::",
    "reduce.cu": "reduce::", "rope.cu": "rope::", "scatter.cu": "indexed::", "select.cu": "binary::choices",
    "softmax.cu": "softmax::", "strided.cu": "shape_ops::", "top_k.cu": "top_k::", "unary.cu": "unary::",
}
# Units that run what a header defines.
HEADERS = {
    "attention.cuh": ["attention.cu", "attention_exact.cu"], "finish.cuh": ["matmul.cu"],
    "indices.cuh": ["gather.cu", "scatter.cu"], "kernel.cuh": ["norm.cu", "softmax.cu"],
    "layout.cuh": ["binary.cu", "select.cu"], "product.cuh": ["matmul.cu"],
    "row.cuh": ["channel_norm.cu", "norm.cu", "ragged_pool.cu", "softmax.cu"], "tensor_core.cuh": ["attention.cu"],
}

# Operators: what they are called, what they look for, what they put there.
OPERATORS = [
    ("bound", r" (<=|<|>=|>) ", {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}),
    ("equality", r" (==|!=) ", {"==": "!=", "!=": "=="}),
    ("arithmetic", r" ([-+*/%]) ", {"+": "-", "-": "+", "*": "+", "/": "*", "%": "/"}),
    ("connective", r" (&&|\|\|) ", {"&&": "||", "||": "&&"}),
    ("constant", r"(?<![\w.])(\d+)(?![\w.])", None),
    ("barrier", r"(__syncthreads\(\);)", {"__syncthreads();": ""}),
    ("extreme", r"\b(fmaxf|fminf|max|min|smaller)\(",
     {"fmaxf": "fminf", "fminf": "fmaxf", "max": "min", "min": "max", "smaller": "max"}),
    ("guard", r"^\s*(if \(.*\) (?:continue|break|return);)$", ""),
    ("accumulation", r" (\+=|\*=) ", {"+=": "=", "*=": "="}),
]
# Lines that declare, and lines of assembly, which an operator would only make invalid.
DECLARATIONS = re.compile(r"^\s*(#|//|KERNEL|enum|template|struct|using|static_assert|asm|constexpr|:|\(|namespace)"
                          r"|__shared__|\(&|[\\]$|\"")


def sites(text):
    """operator -> [(start, end, replacement)] of the code that is compiled for compute_80."""
    found, at, skipping = {}, 0, False
    for line in text.splitlines(keepends=True):
        stripped = line.strip()
        skipping = skipping and not stripped.startswith("#endif") or stripped.startswith("#else")
        code = line.split("//")[0].rstrip()
        if not skipping and not DECLARATIONS.search(code):
            for operator, pattern, change in OPERATORS:
                for match in re.finditer(pattern, code):
                    old = match.group(1)
                    new = str(int(old) + 1) if change is None else change[old] if change else ""
                    found.setdefault(operator, []).append((at + match.start(1), at + match.end(1), new))
        at += len(line)
    return found


def generate(count, seed):
    """Mutants by a seeded choice of file, then of operator, then of place."""
    chance, made = random.Random(seed), {}
    files = sorted([*TESTS, *HEADERS])
    while len(made) < count:
        file = chance.choice(files)
        text = (build.SOURCE / file).read_text()
        operators = sites(text)
        operator = chance.choice(sorted(operators))
        start, end, new = chance.choice(operators[operator])
        unit = chance.choice(HEADERS.get(file, [file]))
        line = text.rfind("\n", 0, start) + 1
        stop = text.find("\n", end)
        old = text[line:stop].lstrip()
        line = stop - len(old)
        changed = old[:start - line] + new + old[end - line:]
        before = text.count(old, 0, line + 1)
        mutant = {"name": f"{Path(file).stem}_{operator}_{text.count(chr(10), 0, start) + 1}_{start - line}",
                  "file": file, "kind": operator, "tests": TESTS[unit], "text": old, "into": changed,
                  "generated": True}
        if unit != file:
            mutant["unit"] = unit
        if text.count(old) > 1:
            mutant["occurrence"] = before + 1
        made.setdefault((file, start), mutant)
    for mutant in made.values():
        print("\n[[mutant]]")
        for key, value in mutant.items():
            print(f"{key} = {json.dumps(value, ensure_ascii=False)}")


def mutated(mutant):
    """The changed text of the mutant's file."""
    text = (build.SOURCE / mutant["file"]).read_text()
    old, wanted = mutant["text"], mutant.get("occurrence")
    count = text.count(old)
    if count != 1 and wanted is None or count < (wanted or 1):
        raise SystemExit(f"{mutant['name']}: expected its text once in {mutant['file']}"
                         f"{f' (occurrence {wanted})' if wanted else ''}, got {count} times: renew its text")
    at = -1
    for _ in range(wanted or 1):
        at = text.find(old, at + 1)
    return text[:at] + mutant["into"] + text[at + len(old):]


class Bench:
    """Compiles translation units and runs tests on them."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.compiler, self.include = build.nvrtc()
        self.binary = test_binary()

    def compile(self, units, source=build.SOURCE):
        text = "".join(f'#include "{unit}"\n' for unit in units)
        return build.compile_unit(self.compiler, self.include, text, "compute_80", source)[0]

    def images(self, ptx):
        """A folder where the unit's entries come from `ptx` and all others from the committed text."""
        images = self.folder / "images"
        shutil.rmtree(images, ignore_errors=True)
        images.mkdir()
        (images / "compute_80.ptx").write_bytes(ptx)
        (images / "compute_75.ptx.gz").symlink_to(build.PREBUILT / "compute_75.ptx.gz")
        return images

    def run(self, ptx, tests, limit=LIMIT):
        """None if the tests pass, else what they say; ends at the first that fails."""
        environment = dict(os.environ, VGPU_PTX=str(self.images(ptx)), VGPU_CHECKS="races",
                           VGPU_STEPS=str(STEPS), RUST_BACKTRACE="0")
        command = [self.binary, *tests, "--test-threads=1", "--nocapture"]
        process = subprocess.Popen(command, env=environment, text=True, errors="replace",
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=build.HERE)
        late = threading.Event()
        timer = threading.Timer(limit, lambda: (late.set(), process.kill()))
        timer.start()
        said, passed = [], False
        for line in process.stdout:
            said.append(line.strip())
            if "FAILED" in line:
                process.kill()
            if match := re.match(r"test result: ok\. (\d+) passed", line):
                passed = int(match.group(1)) > 0
        timer.cancel()
        process.wait()
        if passed and process.returncode == 0:
            return None
        return f"no end in {limit} s" if late.is_set() else reason(said)

    def outcome(self, mutant):
        """How the mutant is caught, or None."""
        source = self.folder / "src"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(build.SOURCE, source, ignore=shutil.ignore_patterns("*.rs"))
        (source / mutant["file"]).write_text(mutated(mutant))
        unit = mutant.get("unit", mutant["file"])
        try:
            ptx = self.compile([unit], source)
        except SystemExit as refusal:
            return f"compiler: {str(refusal).splitlines()[0][:120]}"
        how = self.run(ptx, [mutant["tests"]])
        return "same" if how is None and ptx == self.compile([unit]) else how


def reason(said):
    """What a failed test says, in a line: what the virtual GPU found, or else how the test panicked."""
    # The last panic: tests of refusals panic before it, as they should.
    panics = [at for at, line in enumerate(said) if " panicked at " in line]
    if panics:
        for line in said[panics[-1]:]:
            if line.startswith("virtual GPU: "):
                return "finding: " + line[len("virtual GPU: "):]
        return "test: " + " ".join(said[panics[-1] + 1:][:1])[:200]
    return "the process ended: " + " ".join(said[-2:])[:200]


def test_binary():
    """The kernel tests, built by cargo."""
    command = ["cargo", "test", "-p", "aimass-cuda", "--test", "kernels", "--no-run", "--message-format=json"]
    out = subprocess.run(command, cwd=build.HERE, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = [json.loads(line).get("executable") for line in out.splitlines() if line.startswith("{")]
    return [path for path in found if path][-1]


def check_unchanged(bench, mutants):
    """The same tests on the unchanged units, compiled the same way."""
    began = time.time()
    units = sorted({mutant.get("unit", mutant["file"]) for mutant in mutants})
    tests = sorted({mutant["tests"] for mutant in mutants})
    if problem := bench.run(bench.compile(units), tests, limit=LIMIT * len(tests)):
        raise SystemExit(f"the unchanged kernels fail {' '.join(tests)}: {problem}")
    print(f"unchanged  {len(units)} units pass in {time.time() - began:.0f} s", flush=True)


def run_all(bench, mutants):
    """Runs and prints each; the numbers of those caught and of those that count."""
    caught = total = equivalent = 0
    for mutant in mutants:
        began = time.time()
        how = bench.outcome(mutant)
        if how == "same" or "equivalent" in mutant:
            if how not in ("same", None):
                raise SystemExit(f"{mutant['name']} is marked equivalent, but: {how}")
            equivalent += 1
            word, how = "equivalent", mutant.get("equivalent", "the compiler makes the same code of it")
        else:
            total += 1
            caught += how is not None
            word = "caught" if how else "SURVIVED"
        print(f"{word:<10} {mutant['name']} ({time.time() - began:.0f} s) {how or ''}", flush=True)
    return caught, total, equivalent


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sample", type=int, metavar="N", help="run N mutants chosen by the seed")
    options.add_argument("--seed", type=int, default=0, help="of the choice (0)")
    options.add_argument("--only", nargs="+", metavar="NAME", help="run these mutants")
    options.add_argument("--generate", type=int, metavar="N", help="print N mutants made by operators and end")
    arguments = options.parse_args()
    if arguments.generate:
        return generate(arguments.generate, arguments.seed)
    mutants = tomllib.loads(LIST.read_text())["mutant"]
    assert len({mutant["name"] for mutant in mutants}) == len(mutants), "two mutants have one name"
    for mutant in mutants:
        mutated(mutant)
    if arguments.only:
        unknown = set(arguments.only) - {mutant["name"] for mutant in mutants}
        if unknown:
            raise SystemExit(f"not in {LIST.name}: {', '.join(sorted(unknown))}")
        mutants = [mutant for mutant in mutants if mutant["name"] in arguments.only]
    if arguments.sample:
        # Of those that can be caught.
        mutants = [mutant for mutant in mutants if "equivalent" not in mutant]
        mutants = random.Random(arguments.seed).sample(mutants, min(arguments.sample, len(mutants)))
    os.nice(max(0, 10 - os.nice(0)))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder)
        check_unchanged(bench, mutants)
        caught, total, equivalent = run_all(bench, mutants)
    print(f"{equivalent} equivalent, not counted")
    print(f"score: {caught}/{total} = {100 * caught / max(total, 1):.1f} %")
    enough = 1.0 if arguments.sample or arguments.only else WANTED
    sys.exit(0 if caught >= enough * total else 1)


if __name__ == "__main__":
    main()
