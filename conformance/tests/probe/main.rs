//! The probe under real servers, and the subjects that this project hands to the suite.

mod client;
mod direct;
mod routed;
mod subjects;
