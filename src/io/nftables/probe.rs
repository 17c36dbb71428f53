//! Asks which facilities this kernel has and this process may use.

use std::fmt;

use nftnl::{Batch, Chain, MsgType, ProtoFamily, Rule};

use super::{lower::lower, object, send};
use crate::{
    io::{
        cthelper,
        ctnetlink::Conntrack,
        netlink::{NetlinkError, Socket},
        nfqueue,
    },
    proto::net::Layer,
    ruleset::{self, Backend, HelperObject, Labels, QueueStatement, Statement},
};

/// A table that exists only inside a transaction that also deletes it.
const PROBE_TABLE: &std::ffi::CStr = c"ftp_alg_probe";

const NO_HELPERS: Availability = Availability::Missing {
    option: "CONFIG_NF_CT_NETLINK_HELPER",
};

/// Whether one facility can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It works.
    Available,
    /// The kernel was built without it, or its module is missing.
    Missing {
        /// The kernel's build option.
        option: &'static str,
    },
    /// This process may not use it.
    NotPermitted,
    /// It belongs to the whole machine, and this process runs in a container.
    NotPermittedHere,
}

impl Availability {
    /// Whether it works.
    #[must_use]
    pub fn is_available(self) -> bool {
        self == Self::Available
    }

    fn of(result: &Result<(), NetlinkError>, option: &'static str) -> Self {
        match result {
            Ok(()) => Self::Available,
            Err(error) if error.is(libc::EPERM) || error.is(libc::EACCES) => Self::NotPermitted,
            Err(_) => Self::Missing { option },
        }
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available => f.write_str("available"),
            Self::Missing { option } => {
                write!(
                    f,
                    "missing: the kernel needs {option} (built in, or as a module)"
                )
            }
            Self::NotPermitted => f.write_str(
                "not permitted: needs CAP_NET_ADMIN in this network namespace; run as root or \
                 grant it",
            ),
            Self::NotPermittedHere => {
                f.write_str("not permitted: needs CAP_NET_ADMIN in the initial user namespace")
            }
        }
    }
}

/// The facilities that the daemon can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// nf_tables with family `inet`.
    pub nf_tables: Availability,
    /// NAT chains in it.
    pub nat: Availability,
    /// Its `queue` statement.
    pub queue_statement: Availability,
    /// The xtables target `NFQUEUE`, usable from a table of ours.
    pub queue_target: Availability,
    /// Queues that userspace reads.
    pub queues: Availability,
    /// Conntrack over netlink.
    pub ctnetlink: Availability,
    /// Labels of connections.
    pub labels: Availability,
    /// Connection tracking helpers of our own.
    pub helper: Availability,
    /// Attaching one from a table of ours.
    pub helper_object: Availability,
}

impl Probe {
    /// How the table can reach a queue: natively where possible.
    #[must_use]
    pub fn choice(&self) -> Option<QueueStatement> {
        if self.queue_statement.is_available() {
            Some(QueueStatement::Native)
        } else {
            self.queue_target
                .is_available()
                .then_some(QueueStatement::XtTarget)
        }
    }

    /// The first facility without which the daemon cannot work with this backend, with its name.
    #[must_use]
    pub fn obstacle(&self, backend: Backend) -> Option<(&'static str, Availability)> {
        let queueing = match self.choice() {
            Some(_) => Availability::Available,
            None => self.queue_statement,
        };
        let everywhere = [
            ("nf_tables", self.nf_tables),
            ("nfnetlink_queue", self.queues),
            ("NFQUEUE", queueing),
            ("ctnetlink", self.ctnetlink),
            ("conntrack labels", self.labels),
        ];
        let own: &[_] = match backend {
            Backend::Nftables => &[("nf_tables NAT", self.nat)],
            Backend::Conntrack => &[
                ("nfnetlink_cthelper", self.helper),
                ("ct helper objects", self.helper_object),
            ],
        };
        everywhere
            .iter()
            .chain(own)
            .copied()
            .find(|(_, availability)| !availability.is_available())
    }
}

/// Tries each facility, and leaves nothing behind.
///
/// # Errors
/// When not even a netlink socket can be had.
pub fn probe() -> Result<Probe, NetlinkError> {
    Socket::open()?;
    let (helper, helper_object) = probe_helper();
    let queue = |through_xt| Statement::Queue {
        number: 0,
        bypass: true,
        through_xt,
    };
    Ok(Probe {
        nf_tables: Availability::of(&attempt(None), "CONFIG_NF_TABLES_INET"),
        nat: Availability::of(
            &attempt(Some(Statement::KeepDestination(ruleset::Family::Ipv4))),
            "CONFIG_NFT_NAT",
        ),
        queue_statement: Availability::of(&attempt(Some(queue(false))), "CONFIG_NFT_QUEUE"),
        queue_target: Availability::of(
            &attempt(Some(queue(true))),
            "CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_TARGET_NFQUEUE",
        ),
        queues: Availability::of(&nfqueue::probe(), "CONFIG_NETFILTER_NETLINK_QUEUE"),
        ctnetlink: Availability::of(
            &Conntrack::open().and_then(|mut conntrack| conntrack.probe()),
            "CONFIG_NF_CT_NETLINK",
        ),
        labels: Availability::of(
            &attempt(Some(Statement::SetLabel(Labels::default().data))),
            "CONFIG_NF_CONNTRACK_LABELS",
        ),
        helper,
        helper_object,
    })
}

/// Registers a helper, attaches it in a table, and takes both away again.
fn probe_helper() -> (Availability, Availability) {
    // Our own name may be in use, and another daemon may probe at the same time.
    let name = format!("ftp-alg{:08x}", std::process::id());
    let helper = match cthelper::register(&name) {
        Ok(()) => Availability::Available,
        Err(error) if error.is(libc::EPERM) => Availability::NotPermittedHere,
        Err(_) => NO_HELPERS,
    };
    if !helper.is_available() {
        return (helper, helper);
    }
    let object = attempt_with(Some(Statement::AttachHelper), Some(&name));
    // A helper that stays registered does no harm.
    let _ = cthelper::unregister(&name);
    (helper, Availability::of(&object, "CONFIG_NFT_CT"))
}

fn attempt(statement: Option<Statement>) -> Result<(), NetlinkError> {
    attempt_with(statement, None)
}

/// Makes and deletes a table with one rule, and an object for this helper, in one transaction.
fn attempt_with(statement: Option<Statement>, helper: Option<&str>) -> Result<(), NetlinkError> {
    let mut socket = Socket::open()?;
    let table = nftnl::Table::new(PROBE_TABLE, ProtoFamily::Inet);
    let mut chain = Chain::new(c"probe", &table);
    if matches!(statement, Some(Statement::KeepDestination(_))) {
        chain.set_hook(nftnl::Hook::PreRouting, -110);
        chain.set_type(nftnl::ChainType::Nat);
        chain.set_policy(nftnl::Policy::Accept);
    }
    let mut batch = Batch::new();
    batch.add(&table, MsgType::Add);
    if let Some(helper) = helper {
        let object = object::Helper::of(Layer::Routed, HelperObject::NAME, helper, "ftp_alg_probe");
        batch.add(&object, MsgType::Add);
    }
    batch.add(&chain, MsgType::Add);
    if let Some(statement) = statement {
        let mut rule = Rule::new(&chain);
        let value = ruleset::Rule {
            why: "",
            statements: vec![statement],
        };
        for expression in lower(&value, Layer::Routed) {
            rule.add_expr(&expression);
        }
        batch.add(&rule, MsgType::Add);
    }
    batch.add(&table, MsgType::Del);
    send(&mut socket, &batch.finalize())
}
