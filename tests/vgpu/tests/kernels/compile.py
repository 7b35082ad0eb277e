"""Compiles the .cu files beside it to the PTX and cubins that the tests run.

Needs the compiler as a wheel, no GPU and no toolkit:

    pip install --no-deps --target nv nvidia-cuda-nvrtc-cu12==12.9.86 \\
        nvidia-cuda-runtime-cu12==12.9.79 nvidia-cuda-nvcc-cu12==12.9.86
    python3 compile.py nv

NVRTC's output is the same bytes on every run, so that a rebuild shows no difference in git.
"""

import ctypes
import os
import pathlib
import re
import sys

# File, architecture and kind of each image. `compute` gives PTX, `sm` gives a cubin.
IMAGES = [
    ("basic", "compute_75"),
    ("basic", "sm_80"),
    ("arithmetic", "compute_80"),
    ("memory", "compute_80"),
    ("tensor", "compute_80"),
    ("wrong", "compute_75"),
]


def check(nvrtc, program, code):
    if code:
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        raise SystemExit(f"nvrtc error {code}:\n{log.value.decode()}")


def compile_image(nvrtc, includes, source, arch):
    program = ctypes.c_void_p()
    text = source.read_bytes()
    name = source.name.encode()
    check(nvrtc, program, nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None))
    options = [f"--gpu-architecture={arch}", "--std=c++17"]
    options += [f"--include-path={folder}" for folder in includes]
    if arch.startswith("compute_"):
        options.append("-lineinfo")
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    check(nvrtc, program, nvrtc.nvrtcCompileProgram(program, len(options), array))
    get = "CUBIN" if arch.startswith("sm_") else "PTX"
    size = ctypes.c_size_t()
    check(nvrtc, program, getattr(nvrtc, f"nvrtcGet{get}Size")(program, ctypes.byref(size)))
    image = ctypes.create_string_buffer(size.value)
    check(nvrtc, program, getattr(nvrtc, f"nvrtcGet{get}")(program, image))
    if get == "CUBIN":
        return image.raw
    # Line information names folders, which are this machine's alone.
    text = image.raw.rstrip(b"\0")
    return re.sub(rb'(\.file\s+\d+ ")[^"]*/', rb"\1", text) + b"\n"


def main():
    wheels = pathlib.Path(sys.argv[1]).resolve() / "nvidia"
    folder = pathlib.Path(__file__).resolve().parent
    nvrtc = ctypes.CDLL(str(wheels / "cuda_nvrtc/lib/libnvrtc.so.12"))
    includes = [wheels / "cuda_runtime/include", wheels / "cuda_nvcc/include"]
    os.chdir(folder)
    for name, arch in IMAGES:
        image = compile_image(nvrtc, includes, folder / f"{name}.cu", arch)
        suffix = "cubin" if arch.startswith("sm_") else "ptx"
        (folder / f"{name}.{arch}.{suffix}").write_bytes(image)


if __name__ == "__main__":
    main()
