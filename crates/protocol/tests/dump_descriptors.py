"""Writes the descriptors of the installed package jumpstarter-protocol to stdout, as a FileDescriptorSet."""

import importlib
import pkgutil
import sys

import jumpstarter_protocol
from google.protobuf import descriptor_pb2

files = descriptor_pb2.FileDescriptorSet()
seen = set()


def add(descriptor):
    """Adds a file after the files that it imports."""
    if descriptor.name in seen:
        return
    seen.add(descriptor.name)
    for dependency in descriptor.dependencies:
        add(dependency)
    descriptor.CopyToProto(files.file.add())


for module in pkgutil.walk_packages(jumpstarter_protocol.__path__, "jumpstarter_protocol."):
    if module.name.endswith("_pb2"):
        add(importlib.import_module(module.name).DESCRIPTOR)

sys.stdout.buffer.write(files.SerializeToString())
