//! The line of an operator's own rules that lets expected data connections in.

use super::Backend;

/// The same rule in two languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptLine {
    /// For a chain of nft.
    pub nft: String,
    /// For a chain of iptables, behind its name.
    pub iptables: String,
}

impl AcceptLine {
    /// The line for a backend. `data` is the bit of the conntrack mark that
    /// [`Marks::data`](super::Marks::data) names.
    #[must_use]
    pub fn new(backend: Backend, data: u32) -> Self {
        match backend {
            Backend::Nftables => Self {
                nft: format!("ct mark & {data:#x} != 0 accept"),
                iptables: format!("-m connmark --mark {data:#x}/{data:#x} -j ACCEPT"),
            },
            Backend::Conntrack => Self {
                nft: "ct state established,related accept".to_owned(),
                iptables: "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT".to_owned(),
            },
        }
    }
}
