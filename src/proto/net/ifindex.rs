//! The number of an interface.

/// The interface by which a packet came, by its number in the kernel (`ifindex`). It is 0 for a
/// packet of this machine itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IfIndex(pub u32);
