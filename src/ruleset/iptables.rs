//! The queue rules as iptables commands, for firewalls that are written in iptables.
//!
//! iptables does the queueing only. To recognise and translate expected connections takes maps with
//! timeouts, which iptables does not have. That part stays in our own nf_tables table, which any
//! recent kernel runs beside iptables.

use std::fmt::Write as _;

use crate::proto::net::Layer;

use super::{
    AcceptLine, Backend, HANDSHAKES_A_SECOND, PICKUP_QUEUE, Params, QueueStatement, Ruleset, TABLE,
    WhenAbsent,
};

/// Ranges of source ports for each worker. The connection's original source port decides, because
/// it is the same in both directions. Each worker gets several ranges, because clients use only a
/// part of all ports.
const RANGES_PER_QUEUE: u32 = 8;

/// Matches IPv4 packets with a payload (a program for `-m bpf`, where `len` is the packet's
/// length):
///
/// ```text
/// ldx 4*([0]&0xf); ldb [x+12]; and #0xf0; rsh #2; add x; tax; ld len; jgt x, 0, 1; ret -1; ret 0
/// ```
const PAYLOAD4: &str = "10,177 0 0 0,80 0 0 12,84 0 0 240,116 0 0 2,12 0 0 0,7 0 0 0,\
                        128 0 0 0,45 0 1 0,6 0 0 65535,6 0 0 0";

/// The same for IPv6. A packet with extension headers always matches.
const PAYLOAD6: &str = "12,48 0 0 6,21 1 0 6,6 0 0 65535,48 0 0 52,84 0 0 240,116 0 0 2,\
                        4 0 0 40,7 0 0 0,128 0 0 0,45 0 1 0,6 0 0 65535,6 0 0 0";

/// Matches IPv4 packets with a payload that begins as text
/// ([`BeginsAsText`](super::Statement::BeginsAsText)):
///
/// ```text
/// ldx 4*([0]&0xf); ldb [x+12]; and #0xf0; rsh #2; add x; tax
/// ldb [x+0]; jge #48, 0, 2; jgt #122, 1, 0; ret -1; ret 0
/// ```
const TEXT4: &str = "11,177 0 0 0,80 0 0 12,84 0 0 240,116 0 0 2,12 0 0 0,7 0 0 0,\
                     80 0 0 0,53 0 2 48,37 1 0 122,6 0 0 65535,6 0 0 0";

/// The same for IPv6. A packet with extension headers always matches.
const TEXT6: &str = "13,48 0 0 6,21 1 0 6,6 0 0 65535,48 0 0 52,84 0 0 240,116 0 0 2,\
                     4 0 0 40,7 0 0 0,80 0 0 0,53 0 2 48,37 1 0 122,6 0 0 65535,6 0 0 0";

/// Our chains. Each one stands before those that lead to it.
const CHAINS: &str = "FTP_ALG FTP_ALG_QUEUE FTP_ALG_ALWAYS FTP_ALG_PICKUP FTP_ALG_FORWARDED";

/// A shell script that loads everything. It may run again at any time.
#[must_use]
pub fn to_iptables(params: &Params) -> String {
    let table = Ruleset::build(&Params {
        queue_statement: QueueStatement::Elsewhere,
        ..params.clone()
    });
    let mut script = head(params);
    let _ = write!(
        script,
        "set -e\n\nnft -f - <<'END'\n{}END\n\n",
        table.to_nft()
    );
    let _ = writeln!(script, "for chain in {CHAINS}; do");
    script += "\tfor ipt in iptables ip6tables; do\n\
               \t\t$ipt -w -t mangle -N $chain 2>/dev/null || $ipt -w -t mangle -F $chain\n\
               \tdone\n\
               done\n\n\
               rule() {\n\
               \tiptables -w -t mangle -A \"$@\"\n\
               \tip6tables -w -t mangle -A \"$@\"\n\
               }\n\n";
    put_inspection(&mut script, params);
    put_pickup(&mut script);
    put_entries(&mut script, params);
    put_tls_entries(&mut script, params);
    script
}

/// What the script is, and what the operator's own rules need beside it.
fn head(params: &Params) -> String {
    let accept = AcceptLine::new(params.backend, params.marks.data).iptables;
    let mut head = format!(
        "#!/bin/sh\n\
         # Queues FTP control connections to ftp-alg with iptables and ip6tables (table mangle).\n\
         #\n\
         # Expected data connections are recognised and translated by the nf_tables table\n\
         # inet {TABLE}, which iptables cannot express; it runs beside your iptables rules.\n\
         # Your own rules then need, where they accept ESTABLISHED, one line more:\n\
         #   iptables -A FORWARD {accept}\n",
    );
    if params.backend == Backend::Nftables {
        let _ = write!(
            head,
            "# or, in whatever chain, the label that such a connection keeps:\n\
             #   iptables -A FORWARD -m connlabel --label {} -j ACCEPT\n",
            params.labels.data.number(),
        );
    }
    head + "# A warning that /etc/xtables/connlabel.conf cannot be opened means nothing: the\n\
            # labels here are numbers, and that file only names some.\n"
}

/// A shell script that removes the rules of [`to_iptables`], and nothing else.
#[must_use]
pub fn to_iptables_removal(params: &Params) -> String {
    let mut script = String::from("#!/bin/sh\n# Removes what ftp-alg's iptables script loaded.\n");
    script += "for ipt in iptables ip6tables; do\n";
    for entry in entries(params) {
        let _ = writeln!(script, "\t$ipt -w -t mangle -D {entry} 2>/dev/null");
    }
    for entry in tls_entries(params) {
        let _ = writeln!(script, "\t$ipt -w -t raw -D {entry} 2>/dev/null");
    }
    for option in ["F", "X"] {
        let _ = write!(
            script,
            "\tfor chain in {CHAINS}; do\n\
             \t\t$ipt -w -t mangle -{option} $chain 2>/dev/null\n\
             \tdone\n"
        );
    }
    script += "done\n";
    let _ = write!(
        script,
        "nft -f - <<'END'\n{}END\n",
        super::nft_removal(Layer::Routed)
    );
    script
}

fn put_inspection(script: &mut String, params: &Params) {
    let labels = &params.labels;
    let (opaque, adjust) = (labels.opaque.number(), labels.adjust.number());
    let bypass = params.when_absent == WhenAbsent::Bypass;
    let _ = write!(
        script,
        "# The packets of a control connection that the daemon must see: all packets of a flow\n\
         # with a sequence offset; begin, end and payload of any other; of an encrypted one only\n\
         # payload that begins as text; none of a connection of the kernel's own helper.\n\
         rule FTP_ALG -m connlabel --label {adjust} -m connlabel --label {opaque} -j RETURN\n\
         rule FTP_ALG -m connlabel --label {adjust} -g FTP_ALG_ALWAYS\n\
         # A flood of handshakes passes unseen: the greeting makes such a connection known.\n\
         rule FTP_ALG -p tcp --tcp-flags SYN,ACK SYN,ACK -m limit \
         --limit {HANDSHAKES_A_SECOND}/second --limit-burst {HANDSHAKES_A_SECOND} \
         -g FTP_ALG_QUEUE\n\
         rule FTP_ALG -p tcp --tcp-flags SYN,ACK SYN,ACK -j RETURN\n\
         rule FTP_ALG -p tcp --tcp-flags FIN FIN -g FTP_ALG_QUEUE\n\
         rule FTP_ALG -p tcp --tcp-flags RST RST -g FTP_ALG_QUEUE\n\
         OPAQUE='-m connlabel --label {opaque}'\n\
         iptables -w -t mangle -A FTP_ALG $OPAQUE -m bpf --bytecode '{TEXT4}' -g FTP_ALG_QUEUE\n\
         ip6tables -w -t mangle -A FTP_ALG $OPAQUE -m bpf --bytecode '{TEXT6}' -g FTP_ALG_QUEUE\n\
         rule FTP_ALG $OPAQUE -j RETURN\n\
         iptables -w -t mangle -A FTP_ALG -m bpf --bytecode '{PAYLOAD4}' -g FTP_ALG_QUEUE\n\
         ip6tables -w -t mangle -A FTP_ALG -m bpf --bytecode '{PAYLOAD6}' -g FTP_ALG_QUEUE\n\n\
         # To the workers.\n",
    );
    for (chain, bypass) in [("FTP_ALG_QUEUE", bypass), ("FTP_ALG_ALWAYS", false)] {
        let bypass = if bypass { " --queue-bypass" } else { "" };
        for (queue, ports) in shares(params) {
            let _ = writeln!(
                script,
                "rule {chain} {ports}-j NFQUEUE --queue-num {queue}{bypass}"
            );
        }
    }
    script.push('\n');
}

fn put_pickup(script: &mut String) {
    let _ = write!(
        script,
        "# A packet in the middle of a connection that conntrack does not know: the daemon\n\
         # puts its entry back, or sees to it that nothing passes unread.\n\
         rule FTP_ALG_PICKUP -m limit --limit {HANDSHAKES_A_SECOND}/second \
         --limit-burst {HANDSHAKES_A_SECOND} -j NFQUEUE --queue-num {PICKUP_QUEUE}\n\
         rule FTP_ALG_PICKUP -j DROP\n\
         # The same behind a port-forward from another port.\n\
         iptables -w -t mangle -A FTP_ALG_FORWARDED -m bpf --bytecode '{PAYLOAD4}' \
         -g FTP_ALG_PICKUP\n\
         ip6tables -w -t mangle -A FTP_ALG_FORWARDED -m bpf --bytecode '{PAYLOAD6}' \
         -g FTP_ALG_PICKUP\n\n",
    );
}

fn put_entries(script: &mut String, params: &Params) {
    *script += "# Before other rules of the table, because those may end a packet's way.\n\
                for ipt in iptables ip6tables; do\n";
    for entry in entries(params) {
        let _ = writeln!(
            script,
            "\t$ipt -w -t mangle -C {entry} 2>/dev/null || $ipt -w -t mangle -I {entry}"
        );
    }
    *script += "done\n";
}

fn put_tls_entries(script: &mut String, params: &Params) {
    if params.tls_ports.is_none() {
        return;
    }
    *script += "\n# First packets to the ports of encrypted sessions, before conntrack sees them.\n\
                # The daemon opens connections of such sessions only. Every other packet goes on.\n\
                for ipt in iptables ip6tables; do\n";
    for entry in tls_entries(params) {
        let _ = writeln!(
            script,
            "\t$ipt -w -t raw -C {entry} 2>/dev/null || $ipt -w -t raw -I {entry}"
        );
    }
    *script += "done\n";
}

/// The rules that queue first packets to the ports of encrypted sessions. No rule of iptables can
/// look up which client may open them.
fn tls_entries(params: &Params) -> Vec<String> {
    let ports = params.tls_ports.iter();
    let queue = params.queues.start();
    ports
        .flat_map(|ports| ["PREROUTING ! -i lo", "OUTPUT"].map(|hook| (hook, ports)))
        .map(|(hook, ports)| {
            let (first, last) = (ports.start(), ports.end());
            format!(
                "{hook} -p tcp --dport {first}:{last} --tcp-flags FIN,SYN,RST,ACK SYN -j NFQUEUE \
                 --queue-num {queue} --queue-bypass"
            )
        })
        .collect()
}

/// The rules that send packets into our chains, but never the SYN of a connection.
fn entries(params: &Params) -> Vec<String> {
    let mut entries = Vec::new();
    for port in &params.control_ports {
        for hook in ["PREROUTING ! -i lo", "OUTPUT"] {
            for end in ["--ctorigdstport", "--ctreplsrcport"] {
                entries.push(format!(
                    "{hook} -p tcp -m conntrack --ctstate ESTABLISHED {end} {port} -j FTP_ALG"
                ));
            }
            for end in ["--dport", "--sport"] {
                entries.push(format!(
                    "{hook} -p tcp {end} {port} --tcp-flags SYN NONE -m conntrack \
                     --ctstate NEW,INVALID -j FTP_ALG_PICKUP"
                ));
            }
        }
        for hook in ["FORWARD", "INPUT ! -i lo"] {
            entries.push(format!(
                "{hook} -p tcp --dport {port} --tcp-flags SYN NONE -m conntrack --ctstate NEW \
                 -j FTP_ALG_FORWARDED"
            ));
        }
    }
    entries
}

/// Each queue's share of the connections, as a match on the original source port.
fn shares(params: &Params) -> Vec<(u16, String)> {
    let queues: Vec<u16> = params.queues.clone().collect();
    if let [queue] = queues[..] {
        return vec![(queue, String::new())];
    }
    let ranges = RANGES_PER_QUEUE * u32::try_from(queues.len()).unwrap_or(u32::MAX);
    let edge = |range: u32| range * 65_536 / ranges;
    (0..ranges)
        .zip(queues.into_iter().cycle())
        .map(|(range, queue)| {
            let (from, to) = (edge(range), edge(range + 1) - 1);
            (queue, format!("-m conntrack --ctorigsrcport {from}:{to} "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_port_belongs_to_exactly_one_queue() {
        for queues in [0..=1, 3..=5, 0..=63] {
            let params = Params {
                queues: queues.clone(),
                ..Params::default()
            };
            let mut next = 0;
            for (queue, share) in shares(&params) {
                let (from, to) = share
                    .trim()
                    .rsplit(' ')
                    .next()
                    .unwrap()
                    .split_once(':')
                    .unwrap();
                assert_eq!(from.parse::<u32>().unwrap(), next);
                next = to.parse::<u32>().unwrap() + 1;
                assert!(queues.contains(&queue));
            }
            assert_eq!(next, 65_536);
        }
    }

    #[test]
    fn one_queue_needs_no_shares() {
        let params = Params {
            queues: 4..=4,
            ..Params::default()
        };
        let script = to_iptables(&params);
        assert!(script.contains("rule FTP_ALG_QUEUE -j NFQUEUE --queue-num 4 --queue-bypass\n"));
        assert!(script.contains("rule FTP_ALG_ALWAYS -j NFQUEUE --queue-num 4\n"));
    }

    #[test]
    fn a_queue_without_daemon_drops_where_the_operator_wants_it() {
        let params = Params {
            when_absent: WhenAbsent::Drop,
            ..Params::default()
        };
        assert!(!to_iptables(&params).contains("--queue-bypass"));
    }

    #[test]
    fn what_is_loaded_is_removed() {
        let params = Params {
            tls_ports: Some(50_000..=50_099),
            ..Params::default()
        };
        let (script, removal) = (to_iptables(&params), to_iptables_removal(&params));
        for entry in entries(&params).into_iter().chain(tls_entries(&params)) {
            assert!(script.contains(&format!("-I {entry}\n")));
            assert!(removal.contains(&format!("-D {entry} 2>")));
        }
    }
}
