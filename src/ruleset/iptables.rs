//! (io helper writes this)

use super::Params;

/// in work
#[must_use]
pub fn to_iptables(_: &Params) -> String {
    String::new()
}
/// in work
#[must_use]
pub fn to_iptables_removal(_: &Params) -> String {
    String::new()
}
