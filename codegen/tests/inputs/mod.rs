//! The inputs of the snapshots, with what each is generated with.

use grpcrouter_build::Builder;

/// Each is `protos/<name>.proto`.
pub(crate) const INPUTS: &[&str] = &[
    "comments",
    "externs",
    "keywords",
    "myservice",
    "nested",
    "nopackage",
    "overrides",
    "plain",
    "proto2",
    "strategies",
    "wellknown",
];

/// Types that an input finds elsewhere: their name in protobuf, and in Rust.
pub(crate) fn extern_path(input: &str) -> Option<(&'static str, &'static str)> {
    (input == "externs").then_some((".shared.v1", "crate::shared_types::v1"))
}

/// The builder for an input.
pub(crate) fn configure(input: &str) -> Builder {
    let builder = grpcrouter_build::configure();
    match extern_path(input) {
        Some((proto, rust)) => builder.extern_path(proto, rust),
        None => builder,
    }
}
