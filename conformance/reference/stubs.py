"""Reference material: the messages of router.proto, probe.proto and subject.proto, compiled when this is imported.

Nothing generated is kept: the .proto files are the only thing that this shares with other programs.
"""

import importlib
import os
import sys
import tempfile

from grpc_tools import protoc

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ROUTER_PROTO = "grpcrouter/v1/router.proto"
PROBE_PROTO = "probe.proto"
SUBJECT_PROTO = "subject.proto"


def _compile():
    with tempfile.TemporaryDirectory(prefix="grpcrouter-stubs-") as out:
        descriptors = os.path.join(out, "probe.binpb")
        common = ["protoc", f"-I{ROOT}/proto", f"-I{ROOT}/conformance/proto"]
        outputs = [f"--python_out={out}", ROUTER_PROTO, PROBE_PROTO, SUBJECT_PROTO]
        if protoc.main([*common, *outputs]) != 0:
            raise RuntimeError("the .proto files do not compile")
        wanted = ["--include_imports", f"--descriptor_set_out={descriptors}", PROBE_PROTO]
        if protoc.main([*common, *wanted]) != 0:
            raise RuntimeError("the descriptors of probe.proto cannot be written")
        with open(descriptors, "rb") as file:
            probe_set = file.read()
        sys.path.insert(0, out)
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            router = importlib.import_module("grpcrouter.v1.router_pb2")
            probe = importlib.import_module("probe_pb2")
            subject = importlib.import_module("subject_pb2")
        finally:
            sys.path.remove(out)
            sys.dont_write_bytecode = before
    return router, probe, subject, probe_set


router, probe, subject, PROBE_DESCRIPTORS = _compile()

PROBE_SERVICE = "grpcrouter.conformance.v1.Probe"
REGISTER = "/grpcrouter.v1.Router/Register"
