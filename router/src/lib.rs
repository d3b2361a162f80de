//! grpcrouter
