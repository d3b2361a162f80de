//! Routing keys out of requests, against prost.

mod fields;
