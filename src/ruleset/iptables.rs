pub fn to_iptables() {}
pub fn to_iptables_removal() {}
