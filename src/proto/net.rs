//! The small values everything else is made of: directions, links, sequence numbers, tuples.

mod direction;
mod link;
mod seq;
mod tuple;

pub use direction::{Direction, PerDirection};
pub use link::Link;
pub use seq::SeqNumber;
pub use tuple::{ConntrackTuples, Tuple};
