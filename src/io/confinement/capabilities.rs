//! Which capabilities of root the process keeps.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};

/// More capabilities than any kernel has (41 in Linux 6.18). A kernel answers EINVAL for those that
/// it does not know, and they are passed over.
const NUMBERS: std::ops::Range<u32> = 0..64;

/// Keeps these capabilities, as far as they are permitted, and gives up all others for good. No
/// program that this process starts can bring them back.
///
/// Changing the bounding set needs CAP_SETPCAP. A process without it leaves the set alone, because
/// then the service manager has chosen that set.
///
/// # Errors
/// The kernel refuses.
pub fn keep_capabilities(kept: CapabilitySet) -> io::Result<()> {
    let permitted = capabilities(None)?.permitted;
    // Switching the user has left them permitted, and none in effect.
    set_permitted(permitted)?;
    // A kernel older than ambient capabilities (4.3) has none to clear.
    clear_ambient_capability_set().ok();
    if permitted.contains(CapabilitySet::SETPCAP) {
        all()
            .filter(|one| !kept.contains(*one))
            .try_for_each(drop_from_bounding_set)?;
    }
    set_permitted(permitted & kept)
}

/// Permits these, and puts them in effect.
fn set_permitted(set: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets {
        effective: set,
        permitted: set,
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, sets)?)
}

/// The bounding set: what no program that is started could get beyond.
pub(super) fn bounding_set() -> CapabilitySet {
    all()
        .filter(|one| capability_is_in_bounding_set(*one).unwrap_or(false))
        .collect()
}

/// Names as `capabilities(7)` has them, in lower case and without `CAP_`.
pub(super) fn names(set: CapabilitySet) -> String {
    let names: Vec<_> = set
        .iter_names()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(",")
    }
}

fn drop_from_bounding_set(one: CapabilitySet) -> io::Result<()> {
    if capability_is_in_bounding_set(one).unwrap_or(false) {
        remove_capability_from_bounding_set(one)?;
    }
    Ok(())
}

fn all() -> impl Iterator<Item = CapabilitySet> {
    NUMBERS.map(|number| CapabilitySet::from_bits_retain(1 << number))
}
