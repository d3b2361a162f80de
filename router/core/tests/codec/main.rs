//! The hand-written codec of the hot frames against prost, in both directions, and against
//! arbitrary bytes.

mod encode;
mod fuzz;
mod hostile;
mod model;
mod prost_frames;
