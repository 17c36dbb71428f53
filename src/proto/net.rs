//! The small values everything else is made of: directions, sequence numbers, tuples.

mod direction;
mod seq;
mod tuple;

pub use direction::{Direction, PerDirection};
pub use seq::SeqNumber;
pub use tuple::{ConntrackTuples, Tuple};
