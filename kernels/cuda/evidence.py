#!/usr/bin/env python3
"""Writes docs/reference/cuda-kernels.md from what the compiler reported and from arithmetic.

    python3 kernels/cuda/evidence.py            write it
    python3 kernels/cuda/evidence.py --check    compare it with what is committed

Nothing here was measured: registers, spills and shared memory are ptxas's, occupancy follows from the
limits of a multiprocessor, matrix instructions are counted in the PTX, and bounds are bytes and
operations over the rates of data sheets.
"""
import gzip, json, re, sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "reference" / "cuda-kernels.md"
# Multiprocessor limits: registers, threads, blocks, bytes of shared memory (CUDA C++ Programming Guide,
# "Technical Specifications per Compute Capability").
LIMITS = {
    "sm_75": (65536, 1024, 16, 64 << 10),
    "sm_86": (65536, 1536, 16, 100 << 10),
    "sm_89": (65536, 1536, 24, 100 << 10),
    "sm_90": (65536, 2048, 32, 228 << 10),
}
# Bytes a second, and operations a second in f32 and in f16 on tensor cores (data sheets).
GPUS = {
    "H100 SXM": (3.35e12, 67e12, 989e12),
    "A10": (600e9, 31e12, 125e12),
    "RTX 4090": (1008e9, 83e12, 165e12),
}
# What a launch must move and compute: name, bytes, operations, whether tensor cores do it.
LAUNCHES = [
    ("gelu of 2^24 f32", 2 * 4 * 2**24, 20 * 2**24, False),
    ("softmax of 4096 rows of 4096 f32", 2 * 4 * 2**24, 5 * 2**24, False),
    ("layer norm of 16384 rows of 768 f16", 2 * 2 * 16384 * 768, 8 * 16384 * 768, False),
    ("matmul 4096 x 4096 x 4096 f32", 3 * 4 * 4096**2, 2 * 4096**3, False),
    ("matmul 4096 x 4096 x 4096 f16", 3 * 2 * 4096**2, 2 * 4096**3, True),
    ("one row times 4096 x 4096 f16", 2 * 4096**2, 2 * 4096**2, False),
    ("attention, 32 heads of 128, 2048 tokens, f16", 4 * 2 * 2048 * 4096, 4 * 32 * 2048**2 * 128, True),
    ("attention, BERT: 32 texts of 128 tokens, 12 heads of 32, f32",
     4 * 4 * 32 * 128 * 384, 4 * 32 * 12 * 128**2 * 32, False),
]


def occupancy(entry, threads, limits):
    """Share of a multiprocessor's threads that the kernel's blocks fill, by ptxas's numbers."""
    registers, most_threads, most_blocks, shared = limits
    warps = -(-threads // 32)
    # Registers are given to warps in units of 256.
    by_registers = registers // (-(-entry["registers"] * 32 // 256) * 256 * warps)
    by_shared = shared // entry["shared"] if entry.get("shared") else most_blocks
    blocks = min(by_registers, most_threads // threads, most_blocks, by_shared)
    return blocks * threads / most_threads


def matrix_instructions(ptx):
    """How many matrix instructions each entry has in the text."""
    counts = {}
    for name, body in re.findall(r"\.entry (\w+)\(.*?\)(.*?)(?=\.visible|\Z)", ptx, re.S):
        counts[name] = len(re.findall(r"\b(?:wmma\.mma|mma\.sync)", body))
    return counts


def page():
    report = json.loads((HERE / "prebuilt" / "kernels.json").read_text())
    counts = matrix_instructions(gzip.decompress((HERE / "prebuilt" / "compute_80.ptx.gz").read_bytes()).decode())
    resources = report["resources"]
    lines = [
        "# CUDA kernels, as compiled", "",
        "Compiler output and arithmetic, **not measured**: `kernels/cuda/evidence.py` writes this page from",
        "`kernels/cuda/prebuilt/kernels.json`. What was measured is in `docs/cuda.md`.", "",
        "Registers and spills are the most over all seven images. Occupancy is the share of a multiprocessor's",
        "threads that whole blocks of the size in the table fill; dynamic shared memory, which some launches ask",
        "for, is not in it. Matrix instructions are those in the PTX for sm_80.", "",
        "| kernel | threads | registers | spilled bytes | shared bytes | occupancy 7.5 / 8.6 / 8.9 / 9.0 | matrix instructions |",
        "|---|---|---|---|---|---|---|",
    ]
    for kernel in report["kernels"]:
        for form in kernel["forms"]:
            name = kernel["name"] + (f"_{form}" if form else "")
            every = [entries[name] for entries in resources.values()]
            most = lambda key: max(entry.get(key, 0) for entry in every)
            threads = int(kernel["threads"])
            filled = " / ".join(f"{occupancy(resources[arch][name], threads, limits):.2f}"
                                for arch, limits in LIMITS.items())
            lines.append(f"| `{name}` | {threads} | {most('registers')} | {most('spills')} | "
                         f"{most('shared')} | {filled} | {counts.get(name, 0) or ''} |")
    lines += ["", "## Bounds", "",
              "The larger of bytes over bandwidth (each operand once) and operations over the rate of the units",
              "that do them, from data sheets. No kernel can be faster; how much slower it is has to be measured.", "",
              "| launch | MB | GFLOP | " + " | ".join(GPUS) + " |", "|---|---|---|" + "---|" * len(GPUS)]
    for name, moved, operations, tensor in LAUNCHES:
        bounds = []
        for bandwidth, plain, matrix in GPUS.values():
            seconds = max(moved / bandwidth, operations / (matrix if tensor else plain))
            bounds.append(f"{seconds * 1e6:.0f} us")
        lines.append(f"| {name} | {moved / 1e6:.1f} | {operations / 1e9:.1f} | " + " | ".join(bounds) + " |")
    return "\n".join(lines) + "\n"


text = page()
if "--check" in sys.argv:
    if not PAGE.exists() or PAGE.read_text() != text:
        raise SystemExit(f"{PAGE} is stale: run kernels/cuda/evidence.py and commit")
    print("docs/reference/cuda-kernels.md: the same")
else:
    PAGE.write_text(text)
    print(f"{PAGE}: {len(text.splitlines())} lines")
