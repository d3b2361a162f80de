//! The grpcrouter command line.

fn main() {}
