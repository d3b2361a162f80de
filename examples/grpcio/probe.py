"""What server and client share: the messages, made from probe.proto when this is imported."""

import os
import sys

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
messages, services = grpc.protos_and_services("probe.proto")

SERVICE = "probe.v1.Probe"

# grpcio refuses messages over 4 MiB unless told otherwise; one check sends 16 MiB.
UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]
