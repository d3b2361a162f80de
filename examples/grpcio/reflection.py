"""A plain grpcio client that asks a server what it serves. It knows nothing of grpcrouter.

    reflection.py --target ADDR

Prints `ok   NAME` or `FAIL NAME: why` for each check; exits with 1 if any failed.
"""

import argparse
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

SERVICE = "probe.v1.Probe"


# Proves: R21
def described_by_reflection(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    listed = sorted(database.get_services())
    if SERVICE not in listed:
        raise AssertionError(f"listed are {listed}")
    service = DescriptorPool(database).FindServiceByName(SERVICE)
    unary = service.FindMethodByName("Unary")
    request, answer = GetMessageClass(unary.input_type), GetMessageClass(unary.output_type)
    call = channel.unary_unary(
        f"/{SERVICE}/Unary",
        request_serializer=request.SerializeToString,
        response_deserializer=answer.FromString,
    )
    got = call(request(number=7), timeout=30)
    if got.number != 7:
        raise AssertionError(f"answered {got}")


# Proves: R21
def unknown_symbol_is_not_found(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    try:
        database.FindFileContainingSymbol("probe.v1.Nothing")
    except KeyError:
        return
    raise AssertionError("a symbol that nobody has was found")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, metavar="ADDR")
    args = parser.parse_args()
    failed = False
    for check in (described_by_reflection, unknown_symbol_is_not_found):
        with grpc.insecure_channel(args.target) as channel:
            try:
                check(channel)
                print(f"ok   {check.__name__}", flush=True)
            except Exception as error:  # Whatever goes wrong is this check's result.
                failed = True
                print(f"FAIL {check.__name__}: {error!r}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
