//! Packets of all shapes, parsed, rebuilt and injected.

use etherparse::{
    IpAuthHeader, IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, PacketBuilder,
    TcpHeader, TcpOptionElement as Opt,
};
use proptest::prelude::*;

use super::*;
use crate::proto::net::{SeqNumber, Tuple};

const CLIENT4: [u8; 4] = [10, 0, 0, 2];
const SERVER4: [u8; 4] = [203, 0, 113, 10];
const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const SERVER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// A packet that etherparse builds, which is not the code under test.
#[derive(Clone, Debug)]
struct Template {
    ip: IpHeaders,
    tcp: TcpHeader,
    payload: Vec<u8>,
}

impl Template {
    fn ipv4() -> Self {
        let header = Ipv4Header {
            identification: 0x1234,
            dont_fragment: true,
            time_to_live: 61,
            protocol: IpNumber::TCP,
            source: CLIENT4,
            destination: SERVER4,
            ..Ipv4Header::default()
        };
        Self {
            ip: IpHeaders::Ipv4(header, Ipv4Extensions::default()),
            tcp: tcp_header(),
            payload: b"PORT 10,0,0,2,19,137\r\n".to_vec(),
        }
    }

    fn ipv6() -> Self {
        let header = Ipv6Header {
            hop_limit: 61,
            source: CLIENT6,
            destination: SERVER6,
            ..Ipv6Header::default()
        };
        Self {
            ip: IpHeaders::Ipv6(header, Ipv6Extensions::default()),
            ..Self::ipv4()
        }
    }

    fn with_extensions(mut self, change: impl FnOnce(&mut Ipv6Extensions)) -> Self {
        if let IpHeaders::Ipv6(_, extensions) = &mut self.ip {
            change(extensions);
        }
        self
    }

    fn with_header(mut self, change: impl FnOnce(&mut Ipv4Header)) -> Self {
        if let IpHeaders::Ipv4(header, _) = &mut self.ip {
            change(header);
        }
        self
    }

    fn with_options(mut self, options: &[Opt]) -> Self {
        self.tcp.set_options(options).unwrap();
        self
    }

    fn with_raw_options(mut self, options: &[u8]) -> Self {
        self.tcp.set_options_raw(options).unwrap();
        self
    }

    fn build(&self) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ip(self.ip.clone())
            .tcp_header(self.tcp.clone())
            .write(&mut packet, &self.payload)
            .unwrap();
        packet
    }
}

fn tcp_header() -> TcpHeader {
    let mut header = TcpHeader::new(40001, 21, 1000, 502);
    header.ack = true;
    header.psh = true;
    header.acknowledgment_number = 2000;
    header
}

fn raw_extension() -> Ipv6RawExtHeader {
    Ipv6RawExtHeader::new_raw(IpNumber::TCP, &[0, 1, 2, 3, 4, 5]).unwrap()
}

fn routing(segments_left: u8) -> Ipv6RoutingExtensions {
    let payload = [4, segments_left, 0, 0, 0, 0];
    Ipv6RoutingExtensions {
        routing: Ipv6RawExtHeader::new_raw(IpNumber::TCP, &payload).unwrap(),
        final_destination_options: None,
    }
}

fn fragment(offset: u16, more_fragments: bool) -> Ipv6FragmentHeader {
    Ipv6FragmentHeader {
        next_header: IpNumber::TCP,
        fragment_offset: IpFragOffset::try_new(offset).unwrap(),
        more_fragments,
        identification: 7,
    }
}

fn authentication() -> IpAuthHeader {
    IpAuthHeader::new(IpNumber::TCP, 1, 2, &[0; 12]).unwrap()
}

/// All shapes that have to be read.
fn readable() -> Vec<(&'static str, Template)> {
    let ipv4_auth = {
        let mut template = Template::ipv4();
        if let IpHeaders::Ipv4(_, extensions) = &mut template.ip {
            extensions.auth = Some(authentication());
        }
        template
    };
    let timestamps = [Opt::Noop, Opt::Noop, Opt::Timestamp(7, 9)];
    vec![
        ("ipv4", Template::ipv4()),
        ("ipv4 with router alert", {
            Template::ipv4().with_header(|h| h.options = [148, 4, 0, 0].into())
        }),
        ("ipv4 with authentication header", ipv4_auth),
        (
            "ipv4 with timestamps",
            Template::ipv4().with_options(&timestamps),
        ),
        (
            "ipv4 without payload",
            Template {
                payload: vec![],
                ..Template::ipv4()
            },
        ),
        ("ipv6", Template::ipv6()),
        (
            "ipv6 with timestamps",
            Template::ipv6().with_options(&timestamps),
        ),
        ("ipv6 with hop-by-hop options", {
            Template::ipv6().with_extensions(|e| e.hop_by_hop_options = Some(raw_extension()))
        }),
        ("ipv6 with destination options", {
            Template::ipv6().with_extensions(|e| e.destination_options = Some(raw_extension()))
        }),
        ("ipv6 with a routing header at its end", {
            Template::ipv6().with_extensions(|e| e.routing = Some(routing(0)))
        }),
        ("ipv6 with an atomic fragment header", {
            Template::ipv6().with_extensions(|e| e.fragment = Some(fragment(0, false)))
        }),
        ("ipv6 with authentication header", {
            Template::ipv6().with_extensions(|e| e.auth = Some(authentication()))
        }),
        ("ipv6 with all of them", {
            Template::ipv6().with_extensions(|e| {
                e.hop_by_hop_options = Some(raw_extension());
                e.destination_options = Some(raw_extension());
                e.routing = Some(routing(0));
                e.auth = Some(authentication());
            })
        }),
    ]
}

#[test]
fn each_shape_of_packet_is_read_down_to_its_payload() {
    for (name, template) in readable() {
        let packet = template.build();
        let segment = Segment::parse(&packet).expect(name);
        assert_eq!(segment.tuple.source.port(), 40001, "{name}");
        assert_eq!(segment.tuple.destination.port(), 21, "{name}");
        assert_eq!(segment.seq, SeqNumber(1000), "{name}");
        assert_eq!(segment.ack, Some(SeqNumber(2000)), "{name}");
        assert_eq!(segment.flags, Flags::ACK | Flags::PSH, "{name}");
        assert_eq!(segment.window, 502, "{name}");
        assert_eq!(segment.payload, template.payload, "{name}");
        assert_eq!(segment.packet(), packet, "{name}");
        assert_eq!(
            segment.headers_len() + segment.payload.len(),
            packet.len(),
            "{name}"
        );
        assert!(segment.has_valid_checksums(), "{name}");
    }
}

#[test]
fn addresses_of_both_families_are_the_packet_s() {
    for (template, tuple) in [
        (Template::ipv4(), ("10.0.0.2:40001", "203.0.113.10:21")),
        (
            Template::ipv6(),
            ("[2001:db8::2]:40001", "[2001:db8:1::9]:21"),
        ),
    ] {
        let (source, destination) = (tuple.0.parse().unwrap(), tuple.1.parse().unwrap());
        let packet = template.build();
        let expected = Tuple::new(source, destination);
        assert_eq!(Segment::parse(&packet).unwrap().tuple, expected);
    }
}

#[test]
fn ethernet_padding_behind_the_packet_is_left_out() {
    for (name, template) in readable() {
        let packet = template.build();
        let padded = [packet.as_slice(), &[0xaa; 9]].concat();
        let segment = Segment::parse(&padded).expect(name);
        assert_eq!(segment.packet(), packet, "{name}");
        assert_eq!(segment.payload, template.payload, "{name}");
    }
}

#[test]
fn a_packet_cut_off_anywhere_is_refused() {
    for (name, template) in readable() {
        let packet = template.build();
        for length in 0..packet.len() {
            let error = Segment::parse(&packet[..length]).expect_err(name);
            assert_eq!(error, PacketError::Truncated, "{name} cut at {length}");
        }
    }
}

#[test]
fn a_packet_that_is_no_whole_segment_is_refused_for_its_reason() {
    let udp = {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(CLIENT4, SERVER4, 64).udp(1, 21);
        builder.write(&mut packet, b"PORT").unwrap();
        packet
    };
    let ipv4 = |change: fn(&mut Ipv4Header)| Template::ipv4().with_header(change).build();
    let ipv6 = |change: fn(&mut Ipv6Extensions)| Template::ipv6().with_extensions(change).build();
    for (packet, error) in [
        (udp, PacketError::NotTcp),
        (vec![0x50; 60], PacketError::NotIp),
        (b"GET / HTTP/1.1\r\n".to_vec(), PacketError::Truncated),
        (ipv4(|h| h.more_fragments = true), PacketError::Fragment),
        (
            ipv4(|h| h.fragment_offset = IpFragOffset::try_new(185).unwrap()),
            PacketError::Fragment,
        ),
        (
            ipv6(|e| e.fragment = Some(fragment(0, true))),
            PacketError::Fragment,
        ),
        (
            ipv6(|e| e.fragment = Some(fragment(185, false))),
            PacketError::Fragment,
        ),
        (
            ipv6(|e| e.routing = Some(routing(1))),
            PacketError::SourceRouted,
        ),
    ] {
        assert_eq!(Segment::parse(&packet).unwrap_err(), error, "{packet:02x?}");
    }
}

#[test]
fn impossible_lengths_are_refused() {
    let changed = |template: Template, at: usize, value: u8| {
        let mut packet = template.build();
        packet[at] = value;
        Segment::parse(&packet).unwrap_err()
    };
    // IHL 4; IHL 15 beyond the stated total length; total length 19 and 39; data offset 4 and 15.
    assert_eq!(changed(Template::ipv4(), 0, 0x44), PacketError::WrongLength);
    assert_eq!(changed(Template::ipv4(), 3, 19), PacketError::WrongLength);
    assert_eq!(changed(Template::ipv4(), 3, 39), PacketError::WrongLength);
    assert_eq!(
        changed(Template::ipv4(), 32, 0x40),
        PacketError::WrongLength
    );
    let empty = Template {
        payload: vec![],
        ..Template::ipv4()
    };
    assert_eq!(changed(empty, 32, 0xf0), PacketError::WrongLength);
    // IPv6 payload length 0 (jumbogram) and 19.
    assert_eq!(changed(Template::ipv6(), 5, 0), PacketError::WrongLength);
    assert_eq!(changed(Template::ipv6(), 5, 19), PacketError::WrongLength);
}

#[test]
fn options_of_a_syn_are_read() {
    let packet = Template::ipv4()
        .with_options(&[
            Opt::MaximumSegmentSize(1460),
            Opt::SelectiveAcknowledgementPermitted,
            Opt::Timestamp(5, 0),
            Opt::Noop,
            Opt::WindowScale(7),
        ])
        .build();
    let segment = Segment::parse(&packet).unwrap();
    assert_eq!(segment.mss(), Some(1460));
    assert_eq!(segment.window_scale(), Some(7));
    assert!(segment.has_sack_permitted());
    assert_eq!(segment.timestamps(), Some(Timestamps { value: 5, echo: 0 }));
    assert_eq!(segment.sack_blocks().count(), 0);
}

#[test]
fn options_behind_an_unknown_one_are_read() {
    let packet = Template::ipv4()
        .with_raw_options(&[30, 4, 9, 9, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2])
        .build();
    let segment = Segment::parse(&packet).unwrap();
    assert_eq!(segment.timestamps(), Some(Timestamps { value: 1, echo: 2 }));
}

#[test]
fn options_with_impossible_lengths_end_the_walk() {
    for options in [
        &[8, 0, 0, 0][..],
        &[8, 1, 0, 0],
        &[8, 10, 0, 0],
        &[1, 1, 1, 8],
        &[0, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0],
        &[8, 6, 0, 0, 0, 1, 1, 1],
    ] {
        let packet = Template::ipv4().with_raw_options(options).build();
        assert_eq!(
            Segment::parse(&packet).unwrap().timestamps(),
            None,
            "{options:?}"
        );
    }
}

fn block(left: u32, right: u32) -> SackBlock {
    SackBlock {
        left: SeqNumber(left),
        right: SeqNumber(right),
    }
}

fn with_three_blocks() -> Vec<u8> {
    let sack = Opt::SelectiveAcknowledgement((10, 20), [Some((30, 40)), Some((50, 60)), None]);
    Template::ipv4()
        .with_options(&[Opt::Noop, Opt::Noop, sack, Opt::Noop, Opt::Noop])
        .build()
}

#[test]
fn a_changed_packet_has_exactly_the_changes() {
    for (name, template) in readable() {
        let packet = template.build();
        let segment = Segment::parse(&packet).expect(name);
        let change = Change {
            seq: SeqNumber(77),
            ack: Some(SeqNumber(88)),
            payload: b"PORT 203,0,113,1,200,137\r\n",
            flags: Flags::ACK | Flags::URG,
            urgent_pointer: 5,
            ..Change::none(&segment)
        };
        let rebuilt = rebuild(&segment, &change).expect(name);
        let mut expected = template.clone();
        expected.payload = change.payload.to_vec();
        expected.tcp.sequence_number = 77;
        expected.tcp.acknowledgment_number = 88;
        expected.tcp.psh = false;
        expected.tcp.urg = true;
        expected.tcp.urgent_pointer = 5;
        assert_eq!(rebuilt, expected.build(), "{name}");
    }
}

#[test]
fn a_copy_without_a_change_equals_its_packet() {
    for (name, template) in readable() {
        let packet = template.build();
        let segment = Segment::parse(&packet).expect(name);
        assert_eq!(
            rebuild(&segment, &Change::none(&segment)).unwrap(),
            packet,
            "{name}"
        );
    }
}

#[test]
fn a_copy_without_an_acknowledgement_has_no_ack_flag() {
    let packet = Template::ipv4().build();
    let segment = Segment::parse(&packet).unwrap();
    let change = Change {
        ack: None,
        ..Change::none(&segment)
    };
    let rebuilt = rebuild(&segment, &change).unwrap();
    let rebuilt = Segment::parse(&rebuilt).unwrap();
    assert_eq!((rebuilt.ack, rebuilt.flags), (None, Flags::PSH));
    assert!(rebuilt.has_valid_checksums());
}

#[test]
fn sack_blocks_are_mapped_and_dropped_in_their_place() {
    let packet = with_three_blocks();
    let segment = Segment::parse(&packet).unwrap();
    let all = [block(10, 20), block(30, 40), block(50, 60)];
    assert_eq!(segment.sack_blocks().collect::<Vec<_>>(), all);

    let mapped = |sack: &dyn Fn(SackBlock) -> Option<SackBlock>| {
        let change = Change {
            sack,
            ..Change::none(&segment)
        };
        let rebuilt = rebuild(&segment, &change).unwrap();
        let rebuilt_segment = Segment::parse(&rebuilt).unwrap();
        assert!(rebuilt_segment.has_valid_checksums());
        assert_eq!(rebuilt.len(), packet.len());
        assert_eq!(rebuilt_segment.payload, segment.payload);
        rebuilt_segment.sack_blocks().collect::<Vec<_>>()
    };
    let shift = |b: SackBlock| block(b.left.0 + 3, b.right.0 + 3);
    assert_eq!(mapped(&|b| Some(shift(b))), all.map(shift));
    let first_edge = SeqNumber(10);
    assert_eq!(mapped(&|b| (b.left != first_edge).then_some(b)), all[1..]);
    assert_eq!(mapped(&|b| (b.left == first_edge).then_some(b)), all[..1]);
    assert_eq!(mapped(&|_| None), []);
}

#[test]
fn a_second_sack_option_is_mapped_too() {
    let sack = |left| Opt::SelectiveAcknowledgement((left, left + 1), [None; 3]);
    let packet = Template::ipv4().with_options(&[sack(10), sack(20)]).build();
    let segment = Segment::parse(&packet).unwrap();
    let sack: &dyn Fn(SackBlock) -> Option<SackBlock> =
        &|b| Some(block(b.left.0 + 5, b.right.0 + 5));
    let change = Change {
        sack,
        ..Change::none(&segment)
    };
    let rebuilt = rebuild(&segment, &change).unwrap();
    let blocks: Vec<_> = Segment::parse(&rebuilt).unwrap().sack_blocks().collect();
    assert_eq!(blocks, [block(15, 16), block(25, 26)]);
}

#[test]
fn a_packet_longer_than_ip_allows_is_refused() {
    for (template, most) in [
        (Template::ipv4(), 65535 - 40),
        (Template::ipv6(), 65535 - 20),
    ] {
        let packet = template.build();
        let segment = Segment::parse(&packet).unwrap();
        let payload = vec![b'x'; most + 1];
        let rebuilt = |payload| {
            rebuild(
                &segment,
                &Change {
                    payload,
                    ..Change::none(&segment)
                },
            )
        };
        let longest = rebuilt(&payload[..most]).unwrap();
        let longest = Segment::parse(&longest).unwrap();
        assert_eq!(longest.payload.len(), most);
        assert!(longest.has_valid_checksums());
        assert_eq!(rebuilt(&payload), Err(PacketError::TooLong));
    }
}

#[test]
fn a_wrong_checksum_is_seen() {
    for template in [Template::ipv4(), Template::ipv6()] {
        let mut packet = template.build();
        *packet.last_mut().unwrap() ^= 1;
        assert!(!Segment::parse(&packet).unwrap().has_valid_checksums());
    }
    let mut packet = Template::ipv4().build();
    packet[8] ^= 1;
    assert!(!Segment::parse(&packet).unwrap().has_valid_checksums());
}

#[test]
fn an_injected_packet_has_the_given_fields() {
    let ends = [
        ("10.0.0.2:40001", "203.0.113.10:21"),
        ("[fd00::2]:40001", "[2001:db8::1]:21"),
    ];
    let clock = Timestamps {
        value: 222,
        echo: 111,
    };
    for ((source, destination), timestamps) in ends
        .into_iter()
        .flat_map(|ends| [(ends, None), (ends, Some(clock))])
    {
        let asked = Injected {
            tuple: Tuple::new(source.parse().unwrap(), destination.parse().unwrap()),
            seq: SeqNumber(5),
            ack: Some(SeqNumber(6)),
            flags: Flags::PSH,
            window: 7,
            timestamps,
            payload: b"PASV\r\n",
        };
        let packet = asked.encode().unwrap();
        let made = Segment::parse(&packet).unwrap();
        assert_eq!(made.tuple, asked.tuple);
        assert_eq!((made.seq, made.ack), (asked.seq, asked.ack));
        assert_eq!((made.flags, made.window), (Flags::PSH | Flags::ACK, 7));
        assert_eq!(made.timestamps(), timestamps);
        assert_eq!(made.payload, asked.payload);
        assert!(made.has_valid_checksums());
    }
}

#[test]
fn an_injected_reset_is_a_reset() {
    let tuple = Tuple::new(
        "10.0.0.2:40001".parse().unwrap(),
        "203.0.113.10:21".parse().unwrap(),
    );
    let reset = Injected {
        tuple,
        seq: SeqNumber(9),
        ack: None,
        flags: Flags::RST,
        window: 0,
        timestamps: None,
        payload: b"",
    };
    let packet = reset.encode().unwrap();
    let segment = Segment::parse(&packet).unwrap();
    assert_eq!((segment.tuple, segment.flags), (tuple, Flags::RST));
    assert!(segment.has_valid_checksums());

    let mixed = Tuple {
        source: "[::1]:1".parse().unwrap(),
        ..tuple
    };
    assert_eq!(
        Injected {
            tuple: mixed,
            ..reset
        }
        .encode(),
        Err(PacketError::MixedFamilies)
    );
    let payload = &vec![0; 65536 - 40];
    assert_eq!(
        Injected { payload, ..reset }.encode(),
        Err(PacketError::TooLong)
    );
}

fn any_option() -> impl Strategy<Value = Opt> {
    prop_oneof![
        Just(Opt::Noop),
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| Opt::Timestamp(a, b)),
        (any::<[u32; 4]>()).prop_map(|[a, b, c, d]| {
            Opt::SelectiveAcknowledgement((a, b), [Some((c, d)), None, None])
        }),
    ]
}

prop_compose! {
    fn any_template()(
        shape in 0..readable().len(),
        ports in any::<(u16, u16)>(),
        seq in any::<u32>(),
        ack in any::<u32>(),
        bits in any::<[bool; 6]>(),
        window in any::<u16>(),
        options in proptest::collection::vec(any_option(), 0..=2),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) -> Template {
        let (_, mut template) = readable().swap_remove(shape);
        let tcp = &mut template.tcp;
        (tcp.source_port, tcp.destination_port) = ports;
        (tcp.sequence_number, tcp.window_size) = (seq, window);
        [tcp.fin, tcp.syn, tcp.rst, tcp.psh, tcp.ack, tcp.urg] = bits;
        tcp.acknowledgment_number = if tcp.ack { ack } else { 0 };
        tcp.set_options(&options).unwrap();
        template.payload = payload;
        template
    }
}

proptest! {
    #[test]
    fn a_rebuilt_packet_has_the_changed_fields(
        template in any_template(),
        (seq, ack) in any::<(u32, Option<u32>)>(),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        urgent_pointer in any::<u16>(),
    ) {
        let packet = template.build();
        let segment = Segment::parse(&packet).unwrap();
        let (seq, ack) = (SeqNumber(seq), ack.map(SeqNumber));
        let change = Change {
            seq,
            ack,
            payload: &payload,
            urgent_pointer,
            ..Change::none(&segment)
        };
        let rebuilt = rebuild(&segment, &change).unwrap();
        let rebuilt = Segment::parse(&rebuilt).unwrap();
        prop_assert_eq!((rebuilt.seq, rebuilt.ack), (seq, ack));
        prop_assert_eq!(rebuilt.payload, &payload);
        prop_assert_eq!(rebuilt.urgent_pointer, urgent_pointer);
        prop_assert_eq!(rebuilt.flags.difference(Flags::ACK), segment.flags.difference(Flags::ACK));
        prop_assert_eq!(rebuilt.tuple, segment.tuple);
        prop_assert_eq!(rebuilt.timestamps(), segment.timestamps());
        prop_assert_eq!(rebuilt.window, segment.window);
        prop_assert!(rebuilt.has_valid_checksums());
    }

    #[test]
    fn flipped_bits_never_panic(
        template in any_template(),
        flips in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..8),
        length in any::<prop::sample::Index>(),
    ) {
        let mut packet = template.build();
        for (index, mask) in flips {
            let length = packet.len().min(100);
            packet[index.index(length)] ^= mask;
        }
        exercise(&packet);
        exercise(&packet[..length.index(packet.len())]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(packet in proptest::collection::vec(any::<u8>(), 0..120)) {
        exercise(&packet);
    }
}

/// Does all that can be done with a packet.
fn exercise(packet: &[u8]) {
    let Ok(segment) = Segment::parse(packet) else {
        return;
    };
    let _ = segment.has_valid_checksums();
    assert_eq!(
        segment.headers_len() + segment.payload.len(),
        segment.packet().len()
    );
    let change = Change {
        payload: b"x",
        sack: &|_| None,
        ..Change::none(&segment)
    };
    let rebuilt = rebuild(&segment, &change).unwrap();
    let rebuilt = Segment::parse(&rebuilt).unwrap();
    assert!(rebuilt.has_valid_checksums());
    assert_eq!(rebuilt.payload, b"x");
    assert_eq!(rebuilt.sack_blocks().count(), 0);
}
