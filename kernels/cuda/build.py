#!/usr/bin/env python3
"""Compiles every src/*.cu into prebuilt/ and writes the table of entry points.

    python3 kernels/cuda/build.py               all architectures
    python3 kernels/cuda/build.py --only 90     one cubin, for work on a kernel
    python3 kernels/cuda/build.py --check 80    rebuild and compare with what is committed

NVRTC 12.9 makes the same machine code, byte for byte, in every folder, needs no host compiler and
no GPU, and what it makes loads on drivers from 525 on. It comes from PyPI, pinned by version and
sha256, into the user's cache. Nothing of NVIDIA's is redistributed.
"""
import argparse, ctypes, gzip, hashlib, json, os, re, struct, subprocess, sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE, PREBUILT = HERE / "src", HERE / "prebuilt"
CACHES = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aimass"
CACHE = Path(os.environ.get("AIMASS_CACHE") or CACHES) / "nvrtc"
ARCHITECTURES = [75, 80, 86, 89, 90, 100, 120]
# PTX of these is kept for tests without a GPU; that of the first also serves GPUs to come.
PTX = [75, 80, 90]
WHEELS = """\
nvidia-cuda-nvrtc-cu12==12.9.86 --hash=sha256:210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4
nvidia-cuda-runtime-cu12==12.9.79 --hash=sha256:25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3
"""
POINTER = "Address"
TYPES = {"u32": "u32", "i32": "i32", "i64": "i64", "u64": "u64", "f32": "f32"}
FORMS = {
    "FLOATS": ["f32", "f16", "bf16"],
    "INTEGERS": ["i32", "i64"],
    "SIZES": ["b8", "b16", "b32", "b64"],
}


def nvrtc():
    """The compiler, installed if it is not there."""
    root = CACHE / "nvidia"
    if not (root / "cuda_nvrtc").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        pins = CACHE / "wheels.txt"
        pins.write_text(WHEELS)
        print("installing NVRTC 12.9 from PyPI into", CACHE, file=sys.stderr)
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--require-hashes",
                        "--target", str(CACHE), "-r", str(pins)], check=True)
    library = ctypes.CDLL(str(root / "cuda_nvrtc" / "lib" / "libnvrtc.so.12"))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library, root / "cuda_runtime" / "include"


def call(library, name, *arguments):
    code = getattr(library, name)(*arguments)
    if code:
        raise RuntimeError(f"{name}: {library.nvrtcGetErrorString(code).decode()}")


def compile_unit(library, include, text, target, source=SOURCE):
    """(cubin or PTX bytes, compiler log) of one translation unit for `sm_NN` or `compute_NN`."""
    program = ctypes.c_void_p()
    call(library, "nvrtcCreateProgram", ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
    options = [f"--gpu-architecture={target}", "--std=c++17", f"-I{source}", f"-I{include}",
               "-default-device", "--ptxas-options=-v"]
    strings = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    code = library.nvrtcCompileProgram(program, len(options), strings)
    size = ctypes.c_size_t()
    call(library, "nvrtcGetProgramLogSize", program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    call(library, "nvrtcGetProgramLog", program, log)
    if code:
        raise SystemExit(log.value.decode())
    what = "CUBIN" if target.startswith("sm_") else "PTX"
    call(library, f"nvrtcGet{what}Size", program, ctypes.byref(size))
    out = ctypes.create_string_buffer(size.value)
    call(library, f"nvrtcGet{what}", program, out)
    call(library, "nvrtcDestroyProgram", ctypes.byref(program))
    return out.raw.rstrip(b"\0") if what == "PTX" else out.raw, log.value.decode()


def unit():
    return "".join(f'#include "{path.name}"\n' for path in sorted(SOURCE.glob("*.cu")))


def parameters_of(text):
    """[(name, type in Rust)] of a parameter list in CUDA C."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name = re.search(r"(\w+)$", part).group(1)
        kind = re.sub(r"\b(const|__restrict__|__grid_constant__)\b", "", part[: -len(name)]).strip()
        found.append((name, POINTER if kind.endswith("*") else TYPES.get(kind, kind)))
    return found


def kernels():
    """What the KERNEL macros declare: name -> file, threads, forms, parameters."""
    found = {}
    pattern = re.compile(r"^KERNEL(_\w+)?\(\s*(\w+),\s*(.*?)\)\s*,\s*\([^()]*\)\s*\)", re.M | re.S)
    for path in sorted(SOURCE.glob("*.cu")):
        for kind, name, rest in pattern.findall(path.read_text()):
            head, parameters = rest.split("(", 1)
            words = [word.strip() for word in head.split(",") if word.strip()]
            forms = FORMS[kind[1:]] if kind and kind != "_PLAIN" else [words[0]] if not kind else [""]
            new = {"name": name, "file": path.name, "threads": words[-1], "forms": forms,
                   "parameters": parameters_of(" ".join(parameters.split()))}
            old = found.setdefault(name, new)
            if old is not new:
                assert old["parameters"] == new["parameters"], f"{name}: forms differ in parameters"
                old["forms"] = old["forms"] + forms
    return list(found.values())


def ptx_sizes(ptx):
    """Bytes of each parameter of each entry, as the compiler laid them out."""
    sizes = {}
    bits = {"8": 1, "16": 2, "32": 4, "64": 8}
    for name, body in re.findall(r"\.visible \.entry (\w+)\((.*?)\)\n", ptx, re.S):
        own = []
        for line in filter(None, (line.strip(" ,\n\t") for line in body.split("\n"))):
            array = re.search(r"\.b8 \w+\[(\d+)\]", line)
            own.append(int(array.group(1)) if array else bits[re.search(r"\.[usbf](\d+) ", line).group(1)])
        sizes[name] = own
    return sizes


def resources(cubin):
    """Registers, local memory, static shared memory and most threads of each entry of a cubin (ELF64)."""
    (offset,) = struct.unpack_from("<Q", cubin, 40)
    size, count, names_at = struct.unpack_from("<HHH", cubin, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", cubin, offset + i * size) for i in range(count)]
    names = sections[names_at][4]
    def name_of(section):
        start = names + section[0]
        return cubin[start:cubin.index(b"\0", start)].decode()
    found = {}
    by_name = {name_of(section): section for section in sections}
    for name, section in by_name.items():
        if not name.startswith(".text."):
            continue
        entry = name[len(".text."):]
        shared = by_name.get(f".nv.shared.{entry}")
        info = by_name.get(f".nv.info.{entry}")
        found[entry] = {"registers": section[7] >> 24, "shared": shared[5] if shared else 0,
                        "bytes": section[5], "info": info is not None}
    return found


def statistics(log):
    """Registers and spills of each entry, as ptxas reports them."""
    found, entry = {}, None
    for line in log.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            entry = found.setdefault(match.group(1), {})
        elif entry is not None and (match := re.search(
                r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)):
            entry["stack"], entry["spills"] = int(match.group(1)), int(match.group(2)) + int(match.group(3))
        elif entry is not None and (match := re.search(r"Used (\d+) registers", line)):
            entry["registers"] = int(match.group(1))
            shared = re.search(r"(\d+) bytes smem", line)
            entry["shared"] = int(shared.group(1)) if shared else 0
    return found


def pascal(name):
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def rust(table):
    """The typed form of every kernel."""
    lines = ["//! Every kernel as a type whose fields are its parameters. Written by `build.py`: do not edit.",
             "", "use crate::launch::{Address, Entry, Form, Kernel};"]
    structs = sorted({kind for kernel in table for _, kind in kernel["parameters"]
                      if kind not in TYPES.values() and kind != POINTER})
    if structs:
        lines.append(f"use crate::parameters::{{{', '.join(structs)}}};")
    lines += ["use std::ffi::c_void;", "", "/// Names of all entry points, by [`Entry`].",
              "pub(crate) const NAMES: &[&str] = &["]
    entries = [(kernel, form) for kernel in table for form in kernel["forms"]]
    symbol = lambda kernel, form: kernel["name"] + (f"_{form}" if form else "")
    lines += [f'    "{symbol(*entry)}",' for entry in entries] + ["];"]
    for kernel in table:
        name = pascal(kernel["name"])
        lines += ["", f"/// `{kernel['name']}` of `{kernel['file']}`.", "#[derive(Clone, Copy)]",
                  f"pub(crate) struct {name} {{"]
        lines += [f"    pub(crate) {field}: {kind}," for field, kind in kernel["parameters"]] + ["}", ""]
        lines += [f"impl Kernel for {name} {{", f'    const NAME: &\'static str = "{kernel["name"]}";',
                  f"    const THREADS_MAX: u32 = {kernel['threads']};",
                  "    const ENTRIES: &'static [(Form, Entry)] = &["]
        for form in kernel["forms"]:
            lines.append(f"        (Form::{pascal(form) if form else 'Plain'}, "
                         f"Entry({entries.index((kernel, form))})),")
        lines += ["    ];", "", "    fn parameters(&self, to: &mut Vec<*mut c_void>) {"]
        lines += [f"        to.push((&raw const self.{field}).cast_mut().cast());" for field, _ in kernel["parameters"]]
        lines += ["    }", "}"]
    lines += ["", "/// Bytes of each parameter as the compiler of the kernels laid them out, and as Rust does.",
              "#[cfg(test)]", "pub(crate) const SIZES: &[(&str, &[usize])] = &["]
    for kernel in table:
        sizes = ", ".join(f"size_of::<{kind}>()" for _, kind in kernel["parameters"])
        lines.append(f'    ("{kernel["name"]}", &[{sizes}]),')
    text = "\n".join(lines + ["];", ""])
    return subprocess.run(["rustfmt", "--edition", "2024", "--config-path", str(HERE.parent.parent)],
                          input=text, capture_output=True, text=True, check=True).stdout


def alike(old, new):
    """Whether two PTX texts have the same entries and parameters and, but for one instruction in a thousand,
    the same instructions. NVRTC numbers registers, orders what does not depend on each other and shares
    addresses differently from one compilation to the next; its machine code stays the same."""
    opcodes = lambda text: Counter(re.findall(r"^\t(?:@!?%p\d+ )?([a-z][\w.]+)", text, re.M))
    ours, theirs = opcodes(old), opcodes(new)
    apart = sum((ours - theirs).values()) + sum((theirs - ours).values())
    return ptx_sizes(old) == ptx_sizes(new) and apart * 1000 <= sum(ours.values())


def write(path, content, check):
    """Writes a file that is not there as it should be; those that end in `.gz` are compressed."""
    content = content if isinstance(content, bytes) else content.encode()
    packed = path.suffix == ".gz"
    old = path.read_bytes() if path.exists() else None
    # Compressors differ between versions; what they packed must not.
    known = gzip.decompress(old) if packed and old is not None else old
    same = known == content
    if check and not same and known is not None and ".ptx" in path.name:
        same = alike(known.decode(), content.decode())
    if check and not same:
        raise SystemExit(f"{path} is not what the sources give: run kernels/cuda/build.py and commit")
    if check:
        exact = "the same" if known == content else "the same entries, parameters and instructions"
        return print(f"{path.name}: {exact}, sha256 {hashlib.sha256(known).hexdigest()[:16]}")
    path.parent.mkdir(exist_ok=True)
    if not same:
        path.write_bytes(gzip.compress(content, 9, mtime=0) if packed else content)
    print(f"{path.name}: {len(content):,} bytes")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", type=int, nargs="*", metavar="NN", help="architectures to build")
    options.add_argument("--check", type=int, nargs="*", metavar="NN", help="architectures to compare; none named: all")
    options.add_argument("--fetch", action="store_true", help="install the compiler and nothing else")
    arguments = options.parse_args()
    if arguments.fetch:
        nvrtc()
        return
    check = arguments.check is not None
    chosen = (arguments.check or ARCHITECTURES) if check else ARCHITECTURES if arguments.only is None else arguments.only
    library, include = nvrtc()
    text = unit()
    table = kernels()
    targets = [f"sm_{arch}" for arch in chosen] + [f"compute_{arch}" for arch in PTX if arch in chosen]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        built = dict(zip(targets, pool.map(lambda target: compile_unit(library, include, text, target), targets)))
    report_at = PREBUILT / "kernels.json"
    report = json.loads(report_at.read_text()) if report_at.exists() else {"kernels": [], "resources": {}}
    report["kernels"] = table
    expected = {kernel["name"] + (f"_{form}" if form else "") for kernel in table for form in kernel["forms"]}
    for target, (content, log) in built.items():
        if target.startswith("compute_"):
            sizes = ptx_sizes(content.decode())
            assert set(sizes) == expected, f"macros and entries differ: {set(sizes) ^ expected}"
            for kernel in table:
                form = kernel["forms"][0]
                kernel["parameter_bytes"] = sizes[kernel["name"] + (f"_{form}" if form else "")]
            write(PREBUILT / f"{target}.ptx.gz", content, check)
        else:
            report["resources"][target] = statistics(log) or resources(content)
            write(PREBUILT / f"{target}.cubin.gz", content, check)
    if not check:
        for old in json.loads(report_at.read_text())["kernels"] if report_at.exists() else []:
            for kernel in table:
                if kernel["name"] == old["name"] and "parameter_bytes" in old:
                    kernel.setdefault("parameter_bytes", old["parameter_bytes"])
        report["resources"] = dict(sorted(report["resources"].items(), key=lambda item: int(item[0][3:])))
        write(report_at, json.dumps(report, indent=1) + "\n", False)
    write(SOURCE / "entries.rs", rust(table), check)


if __name__ == "__main__":
    main()
