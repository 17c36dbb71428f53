#!/bin/sh
# An intranet's gateway in iptables: clients go out by source NAT, an FTP server is reached by
# destination NAT, everything else is dropped.
#
#     10.0.0.0/24, server 10.0.0.2  lan0  gateway  wan0  203.0.113.1
#
# ftp-alg.toml:
#     control_ports = [21, 2121]
#     install_rules = false
set -e

lan=lan0
wan=wan0
server=10.0.0.2

# Until now:
#   modprobe ip_conntrack_ftp ports=21,2121
#   modprobe ip_nat_ftp
# The daemon takes their place. Unload them, or at least let them have none of its ports:
#   rmmod nf_nat_ftp nf_conntrack_ftp

iptables -w -P FORWARD DROP
iptables -w -F FORWARD
iptables -w -t nat -F PREROUTING
iptables -w -t nat -F POSTROUTING

iptables -w -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
# Data connections that ftp-alg expects. The kernel's module made them RELATED;
# the daemon marks their first packets.
iptables -w -A FORWARD -m connmark --mark 0x10000000/0x10000000 -j ACCEPT
# Control connections: of the clients to any server, and from outside to ours.
iptables -w -A FORWARD -i $lan -o $wan -p tcp -m multiport --dports 21,2121 -j ACCEPT
iptables -w -A FORWARD -i $wan -d $server -p tcp --dport 21 -j ACCEPT

iptables -w -t nat -A POSTROUTING -o $wan -s 10.0.0.0/24 -j MASQUERADE
# 2121 outside is 21 inside: either port makes it a control connection.
iptables -w -t nat -A PREROUTING -i $wan -p tcp --dport 2121 -j DNAT --to-destination $server:21

# ---- From here on: what `ftp-alg rules` prints. ----
#!/bin/sh
# Queues FTP control connections to ftp-alg with iptables and ip6tables (table mangle).
#
# Expected data connections are recognised and translated by the nf_tables table
# inet ftp_alg, which iptables cannot express; it runs beside your iptables rules.
# Your own rules then need, where they accept ESTABLISHED, one line more:
#   iptables -A FORWARD -m connmark --mark 0x10000000/0x10000000 -j ACCEPT
# or, in whatever chain, the label that such a connection keeps:
#   iptables -A FORWARD -m connlabel --label 125 -j ACCEPT
# A warning that /etc/xtables/connlabel.conf cannot be opened means nothing: the
# labels here are numbers, and that file only names some.
set -e

nft -f - <<'END'
# ftp-alg's own table, for the control ports [21, 2121].
# Your own rules must accept expected data connections: ct mark & 0x10000000 != 0 accept
# The same by their label, in whatever chain: ct label 125 accept
# A flowtable must not be given control connections: no rule sees them any more then.
add table inet ftp_alg
delete table inet ftp_alg
table inet ftp_alg {
	# interfaces of the announcer: a data connection that arrives by one is forged
	set spoofed4 {
		type ipv4_addr . ipv4_addr . inet_service . iface_index
		size 65536
		flags timeout
	}
	# interfaces of the announcer: a data connection that arrives by one is forged
	set spoofed6 {
		type ipv6_addr . ipv6_addr . inet_service . iface_index
		size 65536
		flags timeout
	}
	# connections to or from these ports are FTP control connections
	set control_ports {
		type inet_service
		elements = { 21, 2121 }
	}
	# connections that were announced and may come, once, from any source port
	set expect4 {
		type ipv4_addr . ipv4_addr . inet_service
		size 65536
		flags timeout
		limit rate 1/day burst 1 packets counter
	}
	# the conntrack marks of their control connections, where these have one
	map mark4 {
		type ipv4_addr . ipv4_addr . inet_service : mark
		size 65536
		flags timeout
	}
	# where they go, if their control connection's announcer is behind NAT
	map dnat4 {
		type ipv4_addr . ipv4_addr . inet_service : ipv4_addr . inet_service
		size 65536
		flags timeout
	}
	# who they come from, if the connecting side is behind NAT
	map snat4 {
		type ipv4_addr . ipv4_addr . inet_service : ipv4_addr
		size 65536
		flags timeout
	}
	# connections that were announced and may come, once, from any source port
	set expect6 {
		type ipv6_addr . ipv6_addr . inet_service
		size 65536
		flags timeout
		limit rate 1/day burst 1 packets counter
	}
	# the conntrack marks of their control connections, where these have one
	map mark6 {
		type ipv6_addr . ipv6_addr . inet_service : mark
		size 65536
		flags timeout
	}
	# where they go, if their control connection's announcer is behind NAT
	map dnat6 {
		type ipv6_addr . ipv6_addr . inet_service : ipv6_addr . inet_service
		size 65536
		flags timeout
	}
	# who they come from, if the connecting side is behind NAT
	map snat6 {
		type ipv6_addr . ipv6_addr . inet_service : ipv6_addr
		size 65536
		flags timeout
	}

	# packets that the daemon injects are no connections of this machine
	chain raw_output {
		type filter hook output priority -300; policy accept;
		meta priority 4654:5041 notrack
	}

	# packets in the connector's name from the announcer's side are spoofed
	chain spoofed_prerouting {
		type filter hook prerouting priority -300; policy accept;
		tcp flags syn / fin,syn,rst,ack ip saddr . ip daddr . tcp dport . iif @spoofed4 drop
		tcp flags syn / fin,syn,rst,ack ip6 saddr . ip6 daddr . tcp dport . iif @spoofed6 drop
	}

	# a first packet with data (TCP Fast Open) would pass unread: it comes again without
	chain fast_open_prerouting {
		type filter hook prerouting priority -300; policy accept;
		tcp flags syn / syn,rst,ack tcp dport @control_ports @ih,0,8 0-255 drop
	}

	chain fast_open_output {
		type filter hook output priority -300; policy accept;
		tcp flags syn / syn,rst,ack tcp dport @control_ports @ih,0,8 0-255 drop
	}

	# the same behind a port-forward from another port
	chain fast_open_input {
		type filter hook input priority -300; policy accept;
		tcp flags syn / syn,rst,ack tcp dport @control_ports @ih,0,8 0-255 drop
	}

	chain fast_open_postrouting {
		type filter hook postrouting priority -300; policy accept;
		tcp flags syn / syn,rst,ack tcp dport @control_ports @ih,0,8 0-255 drop
	}

	# an expected connection is admitted once, and known by its label from then on
	chain admit {
		# the output chain has seen it
		iif lo return
		# seen as a packet of the VRF's member
		meta iifkind "vrf" return
		# a repeated first packet: already admitted
		ct label 125 return
		tcp flags syn / fin,syn,rst,ack ip saddr . ip daddr . tcp dport @expect4 ct label set 125 ct mark set ip saddr . ip daddr . tcp dport map @mark4
		tcp flags syn / fin,syn,rst,ack ip6 saddr . ip6 daddr . tcp dport @expect6 ct label set 125 ct mark set ip6 saddr . ip6 daddr . tcp dport map @mark6
	}

	# before your mangle chains, which find the mark of the control connection
	chain admit_prerouting {
		type filter hook prerouting priority -155; policy accept;
		ct mark & 0x10000000 != 0 ct label 125 ct mark set ct mark & 0xefffffff
		ct state new meta l4proto tcp jump admit
	}

	chain admit_output {
		type filter hook output priority -155; policy accept;
		ct mark & 0x10000000 != 0 ct label 125 ct mark set ct mark & 0xefffffff
		ct state new meta l4proto tcp jump admit
	}

	# for your filters the mark has our bit while a first packet passes
	chain mark_input {
		type filter hook input priority -149; policy accept;
		ct state new ct label 125 ct mark set ct mark | 0x10000000
	}

	chain mark_forward {
		type filter hook forward priority -149; policy accept;
		ct state new ct label 125 ct mark set ct mark | 0x10000000
	}

	chain mark_output {
		type filter hook output priority -149; policy accept;
		ct state new ct label 125 ct mark set ct mark | 0x10000000
	}

	# no later packet gets our bit from the mark
	chain unmark_input {
		type filter hook input priority 500; policy accept;
		ct mark & 0x10000000 != 0 ct label 125 ct mark set ct mark & 0xefffffff
	}

	chain unmark_postrouting {
		type filter hook postrouting priority 500; policy accept;
		ct mark & 0x10000000 != 0 ct label 125 ct mark set ct mark & 0xefffffff
	}

	# as the map says, else unchanged; no NAT rule of yours is asked
	chain to_announcer {
		dnat ip to ip saddr . ip daddr . tcp dport map @dnat4
		dnat ip6 to ip6 saddr . ip6 daddr . tcp dport map @dnat6
		dnat ip to ip daddr
		dnat ip6 to ip6 daddr
	}

	# as the map says, else unchanged
	chain from_connector {
		meta l4proto tcp snat ip to ct original ip saddr . ct original ip daddr . ct original proto-dst map @snat4
		meta l4proto tcp snat ip6 to ct original ip6 saddr . ct original ip6 daddr . ct original proto-dst map @snat6
		snat ip to ip saddr
		snat ip6 to ip6 saddr
	}

	chain nat_prerouting {
		type nat hook prerouting priority -110; policy accept;
		ct label 125 goto to_announcer
	}

	chain nat_output {
		type nat hook output priority -110; policy accept;
		ct label 125 goto to_announcer
	}

	chain nat_input {
		type nat hook input priority 90; policy accept;
		ct label 125 goto from_connector
	}

	chain nat_postrouting {
		type nat hook postrouting priority 90; policy accept;
		ct label 125 goto from_connector
	}
}
END

for chain in FTP_ALG FTP_ALG_QUEUE FTP_ALG_ALWAYS FTP_ALG_PICKUP FTP_ALG_FORWARDED; do
	for ipt in iptables ip6tables; do
		$ipt -w -t mangle -N $chain 2>/dev/null || $ipt -w -t mangle -F $chain
	done
done

rule() {
	iptables -w -t mangle -A "$@"
	ip6tables -w -t mangle -A "$@"
}

# The packets of a control connection that the daemon must see: all packets of a flow
# with a sequence offset; begin, end and payload of any other; of an encrypted one only
# payload that begins as text; none of a connection of the kernel's own helper.
rule FTP_ALG -m connlabel --label 126 -m connlabel --label 127 -j RETURN
rule FTP_ALG -m connlabel --label 126 -g FTP_ALG_ALWAYS
# A flood of handshakes passes unseen: the greeting makes such a connection known.
rule FTP_ALG -p tcp --tcp-flags SYN,ACK SYN,ACK -m limit --limit 2000/second --limit-burst 2000 -g FTP_ALG_QUEUE
rule FTP_ALG -p tcp --tcp-flags SYN,ACK SYN,ACK -j RETURN
rule FTP_ALG -p tcp --tcp-flags FIN FIN -g FTP_ALG_QUEUE
rule FTP_ALG -p tcp --tcp-flags RST RST -g FTP_ALG_QUEUE
OPAQUE='-m connlabel --label 127'
iptables -w -t mangle -A FTP_ALG $OPAQUE -m bpf --bytecode '11,177 0 0 0,80 0 0 12,84 0 0 240,116 0 0 2,12 0 0 0,7 0 0 0,80 0 0 0,53 0 2 48,37 1 0 122,6 0 0 65535,6 0 0 0' -g FTP_ALG_QUEUE
ip6tables -w -t mangle -A FTP_ALG $OPAQUE -m bpf --bytecode '13,48 0 0 6,21 1 0 6,6 0 0 65535,48 0 0 52,84 0 0 240,116 0 0 2,4 0 0 40,7 0 0 0,80 0 0 0,53 0 2 48,37 1 0 122,6 0 0 65535,6 0 0 0' -g FTP_ALG_QUEUE
rule FTP_ALG $OPAQUE -j RETURN
iptables -w -t mangle -A FTP_ALG -m bpf --bytecode '10,177 0 0 0,80 0 0 12,84 0 0 240,116 0 0 2,12 0 0 0,7 0 0 0,128 0 0 0,45 0 1 0,6 0 0 65535,6 0 0 0' -g FTP_ALG_QUEUE
ip6tables -w -t mangle -A FTP_ALG -m bpf --bytecode '12,48 0 0 6,21 1 0 6,6 0 0 65535,48 0 0 52,84 0 0 240,116 0 0 2,4 0 0 40,7 0 0 0,128 0 0 0,45 0 1 0,6 0 0 65535,6 0 0 0' -g FTP_ALG_QUEUE

# To the workers.
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 0:4095 -j NFQUEUE --queue-num 0 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 4096:8191 -j NFQUEUE --queue-num 1 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 8192:12287 -j NFQUEUE --queue-num 0 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 12288:16383 -j NFQUEUE --queue-num 1 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 16384:20479 -j NFQUEUE --queue-num 0 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 20480:24575 -j NFQUEUE --queue-num 1 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 24576:28671 -j NFQUEUE --queue-num 0 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 28672:32767 -j NFQUEUE --queue-num 1 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 32768:36863 -j NFQUEUE --queue-num 0 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 36864:40959 -j NFQUEUE --queue-num 1 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 40960:45055 -j NFQUEUE --queue-num 0 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 45056:49151 -j NFQUEUE --queue-num 1 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 49152:53247 -j NFQUEUE --queue-num 0 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 53248:57343 -j NFQUEUE --queue-num 1 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 57344:61439 -j NFQUEUE --queue-num 0 --queue-bypass
rule FTP_ALG_QUEUE -m conntrack --ctorigsrcport 61440:65535 -j NFQUEUE --queue-num 1 --queue-bypass
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 0:4095 -j NFQUEUE --queue-num 0
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 4096:8191 -j NFQUEUE --queue-num 1
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 8192:12287 -j NFQUEUE --queue-num 0
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 12288:16383 -j NFQUEUE --queue-num 1
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 16384:20479 -j NFQUEUE --queue-num 0
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 20480:24575 -j NFQUEUE --queue-num 1
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 24576:28671 -j NFQUEUE --queue-num 0
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 28672:32767 -j NFQUEUE --queue-num 1
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 32768:36863 -j NFQUEUE --queue-num 0
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 36864:40959 -j NFQUEUE --queue-num 1
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 40960:45055 -j NFQUEUE --queue-num 0
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 45056:49151 -j NFQUEUE --queue-num 1
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 49152:53247 -j NFQUEUE --queue-num 0
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 53248:57343 -j NFQUEUE --queue-num 1
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 57344:61439 -j NFQUEUE --queue-num 0
rule FTP_ALG_ALWAYS -m conntrack --ctorigsrcport 61440:65535 -j NFQUEUE --queue-num 1

# A packet in the middle of a connection that conntrack does not know: the daemon
# puts its entry back, or sees to it that nothing passes unread.
rule FTP_ALG_PICKUP -m limit --limit 2000/second --limit-burst 2000 -j NFQUEUE --queue-num 65534
rule FTP_ALG_PICKUP -j DROP
# The same behind a port-forward from another port.
iptables -w -t mangle -A FTP_ALG_FORWARDED -m bpf --bytecode '10,177 0 0 0,80 0 0 12,84 0 0 240,116 0 0 2,12 0 0 0,7 0 0 0,128 0 0 0,45 0 1 0,6 0 0 65535,6 0 0 0' -g FTP_ALG_PICKUP
ip6tables -w -t mangle -A FTP_ALG_FORWARDED -m bpf --bytecode '12,48 0 0 6,21 1 0 6,6 0 0 65535,48 0 0 52,84 0 0 240,116 0 0 2,4 0 0 40,7 0 0 0,128 0 0 0,45 0 1 0,6 0 0 65535,6 0 0 0' -g FTP_ALG_PICKUP

# Before other rules of the table, because those may end a packet's way.
for ipt in iptables ip6tables; do
	$ipt -w -t mangle -C PREROUTING ! -i lo -p tcp -m conntrack --ctstate ESTABLISHED --ctorigdstport 21 -j FTP_ALG 2>/dev/null || $ipt -w -t mangle -I PREROUTING ! -i lo -p tcp -m conntrack --ctstate ESTABLISHED --ctorigdstport 21 -j FTP_ALG
	$ipt -w -t mangle -C PREROUTING ! -i lo -p tcp -m conntrack --ctstate ESTABLISHED --ctreplsrcport 21 -j FTP_ALG 2>/dev/null || $ipt -w -t mangle -I PREROUTING ! -i lo -p tcp -m conntrack --ctstate ESTABLISHED --ctreplsrcport 21 -j FTP_ALG
	$ipt -w -t mangle -C PREROUTING ! -i lo -p tcp --dport 21 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP 2>/dev/null || $ipt -w -t mangle -I PREROUTING ! -i lo -p tcp --dport 21 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP
	$ipt -w -t mangle -C PREROUTING ! -i lo -p tcp --sport 21 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP 2>/dev/null || $ipt -w -t mangle -I PREROUTING ! -i lo -p tcp --sport 21 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP
	$ipt -w -t mangle -C OUTPUT -p tcp -m conntrack --ctstate ESTABLISHED --ctorigdstport 21 -j FTP_ALG 2>/dev/null || $ipt -w -t mangle -I OUTPUT -p tcp -m conntrack --ctstate ESTABLISHED --ctorigdstport 21 -j FTP_ALG
	$ipt -w -t mangle -C OUTPUT -p tcp -m conntrack --ctstate ESTABLISHED --ctreplsrcport 21 -j FTP_ALG 2>/dev/null || $ipt -w -t mangle -I OUTPUT -p tcp -m conntrack --ctstate ESTABLISHED --ctreplsrcport 21 -j FTP_ALG
	$ipt -w -t mangle -C OUTPUT -p tcp --dport 21 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP 2>/dev/null || $ipt -w -t mangle -I OUTPUT -p tcp --dport 21 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP
	$ipt -w -t mangle -C OUTPUT -p tcp --sport 21 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP 2>/dev/null || $ipt -w -t mangle -I OUTPUT -p tcp --sport 21 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP
	$ipt -w -t mangle -C FORWARD -p tcp --dport 21 --tcp-flags SYN NONE -m conntrack --ctstate NEW -j FTP_ALG_FORWARDED 2>/dev/null || $ipt -w -t mangle -I FORWARD -p tcp --dport 21 --tcp-flags SYN NONE -m conntrack --ctstate NEW -j FTP_ALG_FORWARDED
	$ipt -w -t mangle -C INPUT ! -i lo -p tcp --dport 21 --tcp-flags SYN NONE -m conntrack --ctstate NEW -j FTP_ALG_FORWARDED 2>/dev/null || $ipt -w -t mangle -I INPUT ! -i lo -p tcp --dport 21 --tcp-flags SYN NONE -m conntrack --ctstate NEW -j FTP_ALG_FORWARDED
	$ipt -w -t mangle -C PREROUTING ! -i lo -p tcp -m conntrack --ctstate ESTABLISHED --ctorigdstport 2121 -j FTP_ALG 2>/dev/null || $ipt -w -t mangle -I PREROUTING ! -i lo -p tcp -m conntrack --ctstate ESTABLISHED --ctorigdstport 2121 -j FTP_ALG
	$ipt -w -t mangle -C PREROUTING ! -i lo -p tcp -m conntrack --ctstate ESTABLISHED --ctreplsrcport 2121 -j FTP_ALG 2>/dev/null || $ipt -w -t mangle -I PREROUTING ! -i lo -p tcp -m conntrack --ctstate ESTABLISHED --ctreplsrcport 2121 -j FTP_ALG
	$ipt -w -t mangle -C PREROUTING ! -i lo -p tcp --dport 2121 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP 2>/dev/null || $ipt -w -t mangle -I PREROUTING ! -i lo -p tcp --dport 2121 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP
	$ipt -w -t mangle -C PREROUTING ! -i lo -p tcp --sport 2121 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP 2>/dev/null || $ipt -w -t mangle -I PREROUTING ! -i lo -p tcp --sport 2121 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP
	$ipt -w -t mangle -C OUTPUT -p tcp -m conntrack --ctstate ESTABLISHED --ctorigdstport 2121 -j FTP_ALG 2>/dev/null || $ipt -w -t mangle -I OUTPUT -p tcp -m conntrack --ctstate ESTABLISHED --ctorigdstport 2121 -j FTP_ALG
	$ipt -w -t mangle -C OUTPUT -p tcp -m conntrack --ctstate ESTABLISHED --ctreplsrcport 2121 -j FTP_ALG 2>/dev/null || $ipt -w -t mangle -I OUTPUT -p tcp -m conntrack --ctstate ESTABLISHED --ctreplsrcport 2121 -j FTP_ALG
	$ipt -w -t mangle -C OUTPUT -p tcp --dport 2121 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP 2>/dev/null || $ipt -w -t mangle -I OUTPUT -p tcp --dport 2121 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP
	$ipt -w -t mangle -C OUTPUT -p tcp --sport 2121 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP 2>/dev/null || $ipt -w -t mangle -I OUTPUT -p tcp --sport 2121 --tcp-flags SYN NONE -m conntrack --ctstate NEW,INVALID -j FTP_ALG_PICKUP
	$ipt -w -t mangle -C FORWARD -p tcp --dport 2121 --tcp-flags SYN NONE -m conntrack --ctstate NEW -j FTP_ALG_FORWARDED 2>/dev/null || $ipt -w -t mangle -I FORWARD -p tcp --dport 2121 --tcp-flags SYN NONE -m conntrack --ctstate NEW -j FTP_ALG_FORWARDED
	$ipt -w -t mangle -C INPUT ! -i lo -p tcp --dport 2121 --tcp-flags SYN NONE -m conntrack --ctstate NEW -j FTP_ALG_FORWARDED 2>/dev/null || $ipt -w -t mangle -I INPUT ! -i lo -p tcp --dport 2121 --tcp-flags SYN NONE -m conntrack --ctstate NEW -j FTP_ALG_FORWARDED
done
