//! One behaviour in each file, as a dialogue over the simulated link.

#[path = "../harness/mod.rs"]
#[expect(dead_code, reason = "each test uses a part of the harness")]
mod harness;
mod play;

mod announced_before_login;
mod budgets;
mod canonical;
mod clash;
mod closing_in_a_partial_line;
mod command_policy;
mod data_sources;
mod double_nat;
mod encrypted;
mod eprt_through_snat;
mod exemptions;
mod foreign_address;
mod forged;
mod growth_beyond_the_mtu;
mod identity;
mod keep_alive;
mod kept_entry;
mod kernel_refuses;
mod late_data;
mod local_ack;
mod login_state;
mod odd_flags;
mod odd_segments;
mod opens_with_its_line;
mod out_of_window;
mod overlapping;
mod partial_line;
mod passive_through_dnat;
mod password;
mod pickup;
mod pipelined;
mod port_range;
mod port_through_snat;
mod public_address;
mod refuted;
mod rejected;
mod reset;
mod restart;
mod retransmission;
mod split_at_every_byte;
mod superseded;
mod third_party;
mod timeout;
mod tls_ccc;
mod tls_implicit;
mod tls_range;
mod tuple_reuse;
mod unseen_packets;
mod unsolicited;
mod urgent;
mod zero_and_public_address;
