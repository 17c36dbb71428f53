//! The basic values: directions, interfaces, sequence numbers and tuples.

mod direction;
mod ifindex;
mod ingress;
mod public;
mod seq;
mod tuple;

pub use direction::{Direction, PerDirection};
pub use ifindex::IfIndex;
pub use ingress::{Ingress, Layer, MacAddress, Path};
pub use public::PublicAddresses;
pub use seq::SeqNumber;
pub use tuple::{Addresses, ConntrackTuples, Tuple, Zone};
