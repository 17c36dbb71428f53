//! Where a packet came in.

/// The link by which a packet came to this machine, by the kernel's number; 0 for a packet of this
/// machine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IfIndex(pub u32);
