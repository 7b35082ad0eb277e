"""The gRPC services of the stock clients, taken from their compiled descriptors.

    grpc_services.py FILE           writes them
    grpc_services.py FILE --check   compares, and names what differs

FILE is a `google.protobuf.FileDescriptorSet` with a file for each client: its package and its services,
each method with the names of its messages, and nothing else. The test of who may call which gRPC method
(`host/gateway/src/socket_tests/everybody.rs`) takes the methods from it, so that a client with a new
method needs a rule for it.
"""

import argparse
import pathlib
import subprocess
import sys

from google.protobuf import descriptor_pb2

# Each in a process of its own: two of them define the same names.
MODULES = [
    "tritonclient.grpc.service_pb2",
    "kserve.protocol.grpc.grpc_predict_v2_pb2",
    "grpc_health.v1.health_pb2",
]
PRINT = """
import importlib.util, pathlib, sys
package, *rest = sys.argv[1].split(".")
folder = pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0])
path = folder.joinpath(*rest).with_suffix(".py")
sys.path.insert(0, str(path.parent))
spec = importlib.util.spec_from_file_location(sys.argv[1], path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
sys.stdout.buffer.write(module.DESCRIPTOR.serialized_pb)
"""


def services_of(module):
    """The services of a module of generated code, loaded without the package around it."""
    run = subprocess.run([sys.executable, "-c", PRINT, module], capture_output=True, check=False)
    if run.returncode != 0:
        sys.exit(f"{module}: {run.stderr.decode()}")
    whole = descriptor_pb2.FileDescriptorProto.FromString(run.stdout)
    file = descriptor_pb2.FileDescriptorProto(name=module, package=whole.package)
    for service in whole.service:
        kept = file.service.add(name=service.name)
        for method in service.method:
            copy = kept.method.add()
            copy.CopyFrom(method)
            copy.ClearField("options")
    return file


def names(made):
    return {
        f"{file.name}: /{file.package}.{service.name}/{method.name}"
        for file in made.file
        for service in file.service
        for method in service.method
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    made = descriptor_pb2.FileDescriptorSet(file=[services_of(module) for module in MODULES])
    if not options.check:
        options.file.write_bytes(made.SerializeToString(deterministic=True))
        print(f"{len(names(made))} methods")
        return
    found = descriptor_pb2.FileDescriptorSet.FromString(options.file.read_bytes())
    if found != made:
        lines = sorted(names(found) ^ names(made)) or ["messages or streams of a method differ"]
        sys.exit(f"{options.file} is not what the clients have:\n" + "\n".join(lines))
    print(f"{len(names(made))} methods")


main()
