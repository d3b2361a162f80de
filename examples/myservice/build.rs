//! Messages, client, server and router from one .proto file; protoc is not needed.

fn main() -> Result<(), grpcrouter_build::Error> {
    grpcrouter_build::configure().compile_protos(&["myservice/v1/service.proto"], &["proto"])
}
