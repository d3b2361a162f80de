//! What grpcrouter-build generates for the inputs of its snapshots: that it compiles, and documents itself
//! without an example that is not one.
#![allow(
    rustdoc::bare_urls,
    reason = "tonic writes comments as they are; the routers' are escaped"
)]
#![allow(
    clippy::module_inception,
    clippy::wrong_self_convention,
    reason = "the inputs have such names"
)]
#![allow(
    clippy::match_single_binding,
    reason = "tonic's server of a service without methods"
)]
#![allow(clippy::disallowed_types, reason = "prost's maps")]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "prost's messages and tonic's services"
)]
#![allow(
    non_camel_case_types,
    non_snake_case,
    reason = "prost makes Self_ of a service called Self, and tonic Self_Client of that"
)]

macro_rules! inputs {
    ($($input:ident)*) => {$(
        pub mod $input {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($input), "/mod.rs"));
        }
    )*};
}

inputs! {
    comments externs keywords myservice nested nopackage overrides plain proto2 strategies wellknown
}

/// Where the input `externs` finds its types.
pub mod shared_types {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/shared.v1.rs"));
    }
}
