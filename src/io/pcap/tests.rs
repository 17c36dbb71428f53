//! Captures built byte by byte, whole, odd and broken.

use super::*;

/// What a byte order does to the numbers of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn u32(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn u64(self, value: u64) -> [u8; 8] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }
}

const ORDERS: [Order; 2] = [Order::Little, Order::Big];
const MICROS: u32 = 0xa1b2_c3d4;
const NANOS: u32 = 0xa1b2_3c4d;

/// An IPv4 packet of `length` bytes, most of them zero.
fn ipv4(length: u16) -> Vec<u8> {
    let mut packet = vec![0; usize::from(length)];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet
}

/// An IPv6 packet with `payload` zero bytes.
fn ipv6(payload: u16) -> Vec<u8> {
    let mut packet = vec![0; 40 + usize::from(payload)];
    packet[0] = 0x60;
    packet[4..6].copy_from_slice(&payload.to_be_bytes());
    packet
}

fn ethernet(ether_type: u16, rest: &[u8]) -> Vec<u8> {
    [&[0; 12], &ether_type.to_be_bytes()[..], rest].concat()
}

fn classic_header(order: Order, magic: u32, link_type: u32) -> Vec<u8> {
    let mut file = order.u32(magic).to_vec();
    file.extend([order.u16(2), order.u16(4)].concat());
    for word in [0, 0, 65535, link_type] {
        file.extend(order.u32(word));
    }
    file
}

fn record(order: Order, (seconds, fraction): (u32, u32), frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap();
    let words = [seconds, fraction, length, length].map(|word| order.u32(word));
    [&words.concat(), frame].concat()
}

/// A little-endian Ethernet capture in microseconds.
fn classic(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = classic_header(Order::Little, MICROS, 1);
    for frame in frames {
        file.extend(record(Order::Little, (1, 0), frame));
    }
    file
}

fn block(order: Order, block_type: u32, body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
    let length = order.u32(u32::try_from(12 + body.len() + padding.len()).unwrap());
    [&order.u32(block_type), &length, body, &padding, &length].concat()
}

fn section(order: Order) -> Vec<u8> {
    let body = [
        &order.u32(0x1a2b_3c4d)[..],
        &order.u16(1),
        &order.u16(0),
        &order.u64(u64::MAX),
    ];
    block(order, 0x0a0d_0d0a, &body.concat())
}

fn interface(order: Order, link_type: u16, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = [&order.u16(link_type)[..], &[0; 2], &order.u32(0)].concat();
    for (code, value) in options {
        let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
        body.extend(
            [
                order.u16(*code),
                order.u16(u16::try_from(value.len()).unwrap()),
            ]
            .concat(),
        );
        body.extend([value, &padding[..]].concat());
    }
    block(order, 1, &body)
}

fn enhanced(order: Order, interface: u32, ticks: u64, frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap();
    let words = [
        interface,
        (ticks >> 32) as u32,
        ticks as u32,
        length,
        length,
    ];
    let header = words.map(|word| order.u32(word)).concat();
    block(order, 6, &[&header, frame].concat())
}

/// A frame as tests compare it.
type Read = (u64, Duration, Result<Vec<u8>, FrameSkip>);

/// Everything that can be read, and how it ended.
fn read(file: &[u8]) -> (Vec<Read>, Result<(), CaptureError>) {
    let mut frames = Vec::new();
    let mut capture = match Capture::new(file) {
        Ok(capture) => capture,
        Err(error) => return (frames, Err(error)),
    };
    loop {
        match capture.next_frame() {
            Ok(Some(frame)) => {
                frames.push((
                    frame.number,
                    frame.timestamp,
                    frame.data.map(<[u8]>::to_vec),
                ));
            }
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error)),
        }
    }
}

fn read_whole(file: &[u8]) -> Vec<Read> {
    let (frames, end) = read(file);
    end.unwrap();
    frames
}

/// The packet in the only frame of a capture of this link type.
fn packet_in(link_type: u32, frame: &[u8]) -> Result<Vec<u8>, FrameSkip> {
    let mut file = classic_header(Order::Little, MICROS, link_type);
    file.extend(record(Order::Little, (1, 0), frame));
    let (frames, _) = read(&file);
    let [(1, _, data)] = &frames[..] else {
        panic!("{frames:?}");
    };
    data.clone()
}

#[test]
fn a_classic_capture_is_read_in_both_byte_orders_and_both_clocks() {
    for order in ORDERS {
        for (magic, nanoseconds) in [(MICROS, 7000), (NANOS, 7)] {
            let mut file = classic_header(order, magic, 1);
            file.extend(record(order, (100, 7), &ethernet(0x0800, &ipv4(40))));
            file.extend(record(order, (101, 0), &ethernet(0x86dd, &ipv6(20))));
            let expected = [
                (1, Duration::new(100, nanoseconds), Ok(ipv4(40))),
                (2, Duration::new(101, 0), Ok(ipv6(20))),
            ];
            assert_eq!(read_whole(&file), expected, "{order:?} {magic:#x}");
        }
    }
}

#[test]
fn a_pcapng_capture_is_read_in_both_byte_orders() {
    for order in ORDERS {
        let file = [
            section(order),
            interface(order, 1, &[(2, b"eth0")]),
            interface(order, 101, &[(9, &[9]), (14, &order.u64(1000))]),
            block(order, 5, &[0; 12]),
            enhanced(order, 0, 3_000_005, &ethernet(0x0800, &ipv4(41))),
            enhanced(order, 1, 3_000_000_005, &ipv6(0)),
        ];
        let expected = [
            (1, Duration::new(3, 5000), Ok(ipv4(41))),
            (2, Duration::new(1003, 5), Ok(ipv6(0))),
        ];
        assert_eq!(read_whole(&file.concat()), expected, "{order:?}");
    }
}

#[test]
fn a_new_section_has_its_own_byte_order_and_interfaces() {
    let file = [
        section(Order::Little),
        interface(Order::Little, 1, &[]),
        enhanced(Order::Little, 0, 0, &ethernet(0x0800, &ipv4(20))),
        section(Order::Big),
        interface(Order::Big, 228, &[]),
        enhanced(Order::Big, 0, 0, &ipv4(21)),
    ];
    let packets: Vec<_> = read_whole(&file.concat())
        .into_iter()
        .map(|(_, _, data)| data)
        .collect();
    assert_eq!(packets, [Ok(ipv4(20)), Ok(ipv4(21))]);
}

#[test]
fn an_interface_may_count_time_in_powers_of_two() {
    let file = [
        section(Order::Little),
        interface(Order::Little, 101, &[(9, &[0x80 | 20])]),
        enhanced(Order::Little, 0, (5 << 20) | (1 << 19), &ipv4(20)),
    ];
    assert_eq!(read_whole(&file.concat())[0].1, Duration::from_millis(5500));
}

#[test]
fn a_clock_set_back_before_1970_does_not_wrap() {
    let file = [
        section(Order::Little),
        interface(Order::Little, 101, &[(14, &(-10_i64).to_le_bytes())]),
        enhanced(Order::Little, 0, 3_000_000, &ipv4(20)),
    ];
    assert_eq!(read_whole(&file.concat())[0].1, Duration::ZERO);
}

#[test]
fn a_simple_packet_has_the_time_of_the_frame_before_it() {
    let simple = [&Order::Little.u32(21)[..], &ipv4(21)].concat();
    let file = [
        section(Order::Little),
        interface(Order::Little, 101, &[]),
        enhanced(Order::Little, 0, 9_000_000, &ipv4(20)),
        block(Order::Little, 3, &simple),
    ];
    let expected = (2, Duration::from_secs(9), Ok(ipv4(21)));
    assert_eq!(read_whole(&file.concat())[1], expected);
}

#[test]
fn an_obsolete_packet_block_counts_and_is_read() {
    for order in ORDERS {
        let mut body = [order.u16(0), order.u16(9)].concat();
        body.extend([0, 2_000_000, 20, 20].map(|word| order.u32(word)).concat());
        body.extend(ipv4(20));
        let file = [
            section(order),
            interface(order, 101, &[]),
            block(order, 2, &body),
        ];
        let expected = [(1, Duration::from_secs(2), Ok(ipv4(20)))];
        assert_eq!(read_whole(&file.concat()), expected);
    }
}

#[test]
fn every_link_layer_gives_the_same_packet() {
    let packet = ipv4(40);
    let after = |header: &[u8]| [header, &packet].concat();
    let tagged = [&[0, 1, 0x08, 0x00], &packet[..]].concat();
    let pppoe = [&[0x11, 0, 0, 1, 0, 42, 0x00, 0x21], &packet[..]].concat();
    let sll2 = [&[0x08, 0x00], &[0; 18][..], &packet].concat();
    let cases = [
        ("Ethernet", 1, ethernet(0x0800, &packet)),
        ("VLAN", 1, ethernet(0x8100, &tagged)),
        (
            "QinQ",
            1,
            ethernet(0x88a8, &[&[0, 2, 0x81, 0x00], &tagged[..]].concat()),
        ),
        ("PPPoE in Ethernet", 1, ethernet(0x8864, &pppoe)),
        ("PPPoE", 51, pppoe.clone()),
        ("PPP", 9, after(&[0xff, 0x03, 0x00, 0x21])),
        ("PPP, short", 50, after(&[0x00, 0x21])),
        ("raw", 101, packet.clone()),
        ("raw of BSD", 12, packet.clone()),
        ("raw IPv4", 228, packet.clone()),
        (
            "cooked",
            113,
            after(&[&[0; 14][..], &[0x08, 0x00]].concat()),
        ),
        ("cooked 2", 276, sll2),
        ("null", 0, after(&[2, 0, 0, 0])),
        ("null, other order", 0, after(&[0, 0, 0, 2])),
        ("loop", 108, after(&[0, 0, 0, 2])),
        (
            "Ethernet with a check sequence",
            0x1400_0001,
            ethernet(0x0800, &packet),
        ),
    ];
    for (name, link_type, frame) in cases {
        assert_eq!(packet_in(link_type, &frame), Ok(packet.clone()), "{name}");
    }
    assert_eq!(packet_in(229, &ipv6(8)), Ok(ipv6(8)));
}

#[test]
fn padding_after_the_packet_is_left_out() {
    let frame = ethernet(0x0800, &[ipv4(40), vec![0xaa; 6]].concat());
    assert_eq!(packet_in(1, &frame), Ok(ipv4(40)));
    let frame = ethernet(0x86dd, &[ipv6(1), vec![0xaa; 5]].concat());
    assert_eq!(packet_in(1, &frame), Ok(ipv6(1)));
}

#[test]
fn a_super_segment_without_a_length_is_as_long_as_its_frame() {
    let mut packet = ipv4(60);
    packet[2..4].fill(0);
    assert_eq!(packet_in(1, &ethernet(0x0800, &packet)), Ok(packet));
}

#[test]
fn a_frame_without_an_ip_packet_says_why() {
    let cases = [
        ("ARP", 1, ethernet(0x0806, &[0; 28]), FrameSkip::NotIp),
        ("IPv5", 1, ethernet(0x0800, &[0x55; 40]), FrameSkip::NotIp),
        ("LCP", 9, vec![0xc0, 0x21, 1], FrameSkip::NotIp),
        ("AppleTalk", 0, vec![16, 0, 0, 0, 1], FrameSkip::NotIp),
        ("no bytes", 1, vec![], FrameSkip::Truncated),
        (
            "half a tag",
            1,
            ethernet(0x8100, &[0, 1, 8]),
            FrameSkip::Truncated,
        ),
        (
            "half a header",
            1,
            ethernet(0x0800, &ipv4(40)[..19]),
            FrameSkip::Truncated,
        ),
        (
            "cut by snaplen",
            1,
            ethernet(0x0800, &ipv4(40)[..39]),
            FrameSkip::Truncated,
        ),
        (
            "cut IPv6",
            229,
            ipv6(9)[..48].to_vec(),
            FrameSkip::Truncated,
        ),
        ("802.11", 105, ipv4(40), FrameSkip::UnknownLinkType(105)),
    ];
    for (name, link_type, frame, skip) in cases {
        assert_eq!(packet_in(link_type, &frame), Err(skip), "{name}");
    }
}

#[test]
fn skipped_frames_keep_their_number() {
    let file = classic(&[ethernet(0x0806, &[0; 28]), ethernet(0x0800, &ipv4(20))]);
    let frames = read_whole(&file);
    assert_eq!(frames[0].2, Err(FrameSkip::NotIp));
    assert_eq!((frames[1].0, &frames[1].2), (2, &Ok(ipv4(20))));
}

#[test]
fn an_unknown_link_type_is_an_error_after_everything_else_was_read() {
    let file = [
        section(Order::Little),
        interface(Order::Little, 189, &[]),
        interface(Order::Little, 1, &[]),
        enhanced(Order::Little, 0, 0, &[0; 64]),
        enhanced(Order::Little, 1, 0, &ethernet(0x0800, &ipv4(20))),
        enhanced(Order::Little, 0, 0, &[0; 64]),
    ];
    let (frames, end) = read(&file.concat());
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[1].2, Ok(ipv4(20)));
    assert!(matches!(
        end,
        Err(CaptureError::UnknownLinkType {
            link_type: 189,
            frames: 2
        })
    ));
}

#[test]
fn a_capture_without_packets_is_whole() {
    assert_eq!(read_whole(&classic(&[])), []);
    assert_eq!(read_whole(&section(Order::Big)), []);
}

#[test]
fn frames_beyond_the_first_read_and_longer_than_the_buffer_are_read() {
    let frame = |length: usize| ethernet(0x0800, &[ipv4(40), vec![0; length]].concat());
    let frames = [
        frame(BUFFER / 2),
        frame(BUFFER),
        frame(3 * BUFFER),
        frame(0),
    ];
    let packets = frames
        .each_ref()
        .map(|frame| enhanced(Order::Big, 0, 0, frame));
    let ng = [
        section(Order::Big),
        interface(Order::Big, 1, &[]),
        packets.concat(),
    ];
    for file in [classic(&frames), ng.concat()] {
        let packets: Vec<_> = read_whole(&file).into_iter().map(|read| read.2).collect();
        assert_eq!(packets, vec![Ok(ipv4(40)); 4]);
    }
}

#[test]
fn what_is_not_a_capture_is_refused() {
    let refusal = |file: &[u8]| read(file).1.unwrap_err().to_string();
    assert!(refusal(b"").contains("is empty"));
    assert!(refusal(b"220 ready\r\n").contains("neither a pcap nor a pcapng"));
    assert!(refusal(b"\xd4\xc3").contains("neither"));
    assert!(refusal(b"\x1f\x8b\x08\x00\x00").contains("compressed"));
    assert!(refusal(&classic(&[])[..23]).contains("not even the file's header"));
}

#[test]
fn a_capture_cut_anywhere_gives_the_frames_before_the_cut() {
    let frames = [ethernet(0x0800, &ipv4(30)), ethernet(0x0800, &ipv4(31))];
    let ng = [
        section(Order::Little),
        interface(Order::Little, 1, &[]),
        enhanced(Order::Little, 0, 0, &frames[0]),
        enhanced(Order::Little, 0, 0, &frames[1]),
    ];
    let whole_blocks = [28, 28 + 20, 28 + 20 + ng[2].len()];
    let classic = classic(&frames);
    let whole_records = [24, 24 + 16 + frames[0].len()];
    for (file, boundaries) in [(classic, &whole_records[..]), (ng.concat(), &whole_blocks)] {
        for cut in 24..file.len() {
            let (read, end) = read(&file[..cut]);
            assert_eq!(
                end.is_ok(),
                boundaries.contains(&cut),
                "cut at {cut}: {end:?}"
            );
            assert_eq!(
                read.len(),
                usize::from(cut >= *boundaries.last().unwrap()),
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn a_length_that_no_program_writes_is_refused_without_allocating_it() {
    let mut file = classic(&[]);
    file.extend([0, 0, u32::MAX, 60].map(u32::to_le_bytes).concat());
    assert!(matches!(
        read(&file).1,
        Err(CaptureError::TooLong {
            frame: 1,
            length: u32::MAX,
            ..
        })
    ));
    let mut file = section(Order::Little);
    file.extend([6, 0xffff_fff0].map(u32::to_le_bytes).concat());
    assert!(matches!(
        read(&file).1,
        Err(CaptureError::TooLong { offset: 28, .. })
    ));
}

#[test]
fn a_block_that_contradicts_itself_is_refused() {
    let begin = [section(Order::Little), interface(Order::Little, 1, &[])].concat();
    let refusal = |block: &[u8]| read(&[&begin, block].concat()).1.unwrap_err().to_string();
    assert!(
        refusal(&[6, 4].map(u32::to_le_bytes).concat()).contains("shorter than its own header")
    );
    assert!(
        refusal(&enhanced(Order::Little, 7, 0, &[0; 60]))
            .contains("interface that was not described")
    );
    assert!(refusal(&block(Order::Little, 6, &[0; 8])).contains("is not a block"));
    assert!(refusal(&block(Order::Little, 2, &[0; 8])).contains("too short"));
    let mut packet = enhanced(Order::Little, 0, 0, &[0; 60]);
    packet[20..24].copy_from_slice(&600_u32.to_le_bytes());
    assert!(refusal(&packet).contains("is not a block"));
    assert!(refusal(&interface(Order::Little, 1, &[(9, &[99])])).contains("impossible clock"));
    assert!(refusal(&block(Order::Little, 3, &[60, 0, 0, 0])).contains("shorter than its frame"));
    assert!(refusal(&block(Order::Little, 0x0a0d_0d0a, &[7; 16])).contains("is not a block"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        mut file in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        kind in 0_u8..4,
    ) {
        let begin = match kind {
            0 => classic(&[]),
            1 => classic_header(Order::Big, NANOS, 113),
            2 => [section(Order::Little), interface(Order::Little, 1, &[])].concat(),
            _ => section(Order::Big),
        };
        file.splice(0..0, begin);
        let _ = read(&file);
    }

    #[test]
    fn a_damaged_byte_never_makes_the_reader_panic(at in 0_usize..200, byte: u8) {
        let mut file = [
            section(Order::Big),
            interface(Order::Big, 1, &[(9, &[9]), (14, &[0; 8])]),
            enhanced(Order::Big, 0, 77, &ethernet(0x0800, &ipv4(40))),
            block(Order::Big, 3, &[[0, 0, 0, 20].to_vec(), ipv4(20)].concat()),
        ].concat();
        let length = file.len();
        file[at % length] = byte;
        let _ = read(&file);
    }
}
