//! One stream by itself: partial lines, local acknowledgements, lost sync, retransmissions.

use super::*;

const START: SeqNumber = SeqNumber(u32::MAX - 9);

/// A stream that begins near the end of the ring, has taken `text`, and has released its lines.
fn stream_of(text: &[u8]) -> Stream {
    let mut stream = Stream::default();
    stream.start_at(START);
    assert_eq!(stream.ingest(START, text, false), Arrival::New);
    while stream.poll_line().is_some() {}
    stream.release_lines();
    stream
}

/// The segments that leave for a segment.
fn emitted(stream: &mut Stream, seq: SeqNumber, payload: &[u8]) -> Vec<(SeqNumber, Vec<u8>)> {
    match stream.emit(seq, payload, 1000) {
        Emission::Same => vec![(seq, payload.to_vec())],
        Emission::Changed(segments) => segments
            .into_iter()
            .map(|out| (out.seq, out.payload))
            .collect(),
    }
}

#[test]
fn whole_lines_leave_and_a_partial_line_is_held() {
    let mut stream = stream_of(b"NOOP\r\nPO");
    assert_eq!(
        emitted(&mut stream, START, b"NOOP\r\nPO"),
        [(START, b"NOOP\r\n".to_vec())]
    );
    assert!(stream.is_holding());
    assert_eq!(stream.partial_line(), b"PO");
}

#[test]
fn a_partial_line_leaves_with_the_segment_that_completes_it() {
    let mut stream = stream_of(b"PO");
    assert_eq!(emitted(&mut stream, START, b"PO"), [(START, Vec::new())]);
    let rest = START.plus(2);
    stream.ingest(rest, b"RT x\r\n", false);
    assert!(stream.poll_line().is_some());
    stream.release_lines();
    assert_eq!(
        emitted(&mut stream, rest, b"RT x\r\n"),
        [(START, b"PORT x\r\n".to_vec())]
    );
}

#[test]
fn a_probe_of_a_sender_whose_bytes_are_held_still_asks_for_an_answer() {
    let mut stream = stream_of(b"NOOP\r\nPO");
    emitted(&mut stream, START, b"NOOP\r\nPO");
    let (sent, next) = (START.plus(6), START.plus(8));
    // A sender that has gone back acknowledges, and needs no answer.
    assert_eq!(
        emitted(&mut stream, next.shifted(-1), b""),
        [(sent, Vec::new())]
    );
    // A sender that believes all bytes acknowledged asks for one.
    stream.ack_locally();
    assert_eq!(
        emitted(&mut stream, next.shifted(-1), b""),
        [(sent.shifted(-1), Vec::new())]
    );
    assert_eq!(emitted(&mut stream, next, b""), [(sent, Vec::new())]);
}

#[test]
fn locally_acknowledged_bytes_are_sent_until_the_receiver_has_them() {
    let mut stream = stream_of(b"PO");
    emitted(&mut stream, START, b"PO");
    assert_eq!(stream.ack_locally(), Some(START.plus(2)));
    assert!(stream.emit_retransmit(1000).is_empty(), "still held");
    assert_eq!(stream.translate_ack(START), START.plus(2));
    stream.abandon_line();
    for _ in 0..2 {
        let segments = stream.emit_retransmit(1000);
        assert_eq!(
            (segments[0].seq, &segments[0].payload[..]),
            (START, &b"PO"[..])
        );
    }
    stream.handle_ack(START.plus(2));
    assert!(!stream.needs_retransmit());
    assert!(stream.emit_retransmit(1000).is_empty());
}

#[test]
fn bytes_that_are_not_kept_any_more_are_not_acknowledged_locally() {
    let mut stream = stream_of(b"NOOP\r\n");
    let mut at = START.plus(6);
    for _ in 0..2 * HISTORY_MAX / 6 {
        emitted(&mut stream, at, b"");
        stream.ingest(at, b"NOOP\r\n", false);
        while stream.poll_line().is_some() {}
        stream.release_lines();
        emitted(&mut stream, at, b"NOOP\r\n");
        at = at.plus(6);
    }
    assert_eq!(stream.ack_locally(), None);
    stream.handle_ack(at);
    assert_eq!(stream.ack_locally(), Some(at));
}

#[test]
fn a_sack_block_of_locally_acknowledged_bytes_is_left_out_but_a_duplicate_is_not() {
    let mut stream = stream_of(b"NOOP\r\nPO");
    stream.ack_locally();
    let block = |left, right, ack| {
        stream.translate_sack(START.plus(left), START.plus(right), Some(START.plus(ack)))
    };
    assert_eq!(block(2, 6, 0), None, "acknowledged already");
    assert_eq!(
        block(6, 12, 0),
        Some((START.plus(8), START.plus(12))),
        "the new part"
    );
    assert_eq!(
        block(0, 2, 4),
        Some((START, START.plus(2))),
        "a duplicate (RFC 2883)"
    );
}

#[test]
fn bytes_that_never_came_have_passed_if_they_were_acknowledged_and_the_sender_goes_on() {
    let acked = |ack| {
        let mut stream = stream_of(b"NOOP\r\n");
        stream.handle_ack(START.plus(ack));
        stream
    };
    let goes_on = |stream: &mut Stream, at| stream.ingest(START.plus(at), b"PASV\r\n", false);
    assert_eq!(goes_on(&mut acked(6), 20), Arrival::OutOfOrder);
    assert_eq!(goes_on(&mut acked(20), 20), Arrival::GapAcked);
    assert_eq!(goes_on(&mut acked(20), 19), Arrival::OutOfOrder);
    assert_eq!(
        acked(20).ingest(START.plus(20), b"", true),
        Arrival::GapAcked
    );
    // A receiver that acknowledges what was never sent does not move the stream.
    let mut lied_to = acked(20);
    assert_eq!(goes_on(&mut lied_to, 6), Arrival::New);
    assert_eq!(goes_on(&mut lied_to, 20), Arrival::OutOfOrder);
}

#[test]
fn bytes_behind_a_fin_are_out_of_order() {
    let mut stream = stream_of(b"QUIT\r\n");
    stream.finish();
    assert_eq!(
        stream.ingest(START.plus(6), b"PORT", false),
        Arrival::OutOfOrder
    );
}

#[test]
fn a_fin_beyond_a_gap_is_out_of_order() {
    let mut stream = stream_of(b"NOOP\r\n");
    assert_eq!(stream.ingest(START.plus(7), b"", true), Arrival::OutOfOrder);
    assert_eq!(stream.ingest(START.plus(6), b"", true), Arrival::Old);
}

#[test]
fn a_segment_that_keeps_coming_beyond_a_gap_shows_that_the_gap_has_passed() {
    let mut stream = stream_of(b"NOOP\r\n");
    let beyond = START.plus(20);
    for _ in 1..GAP_REPEATS_MAX {
        assert_eq!(
            stream.ingest(beyond, b"NOOP\r\n", false),
            Arrival::OutOfOrder
        );
    }
    assert_eq!(stream.ingest(beyond, b"NOOP\r\n", false), Arrival::GapAcked);
}

#[test]
fn an_edit_of_the_same_length_may_be_repeated_in_part() {
    let mut stream = Stream::default();
    stream.start_at(START);
    stream.ingest(START, b"PORT a\r\n", false);
    let line = stream.poll_line().unwrap();
    stream.record_edit(&line, b"PORT b".to_vec());
    stream.release_lines();
    assert_eq!(
        emitted(&mut stream, START, b"PORT a\r\n"),
        [(START, b"PORT b\r\n".to_vec())]
    );
    assert_eq!(
        emitted(&mut stream, START.plus(5), b"a\r"),
        [(START.plus(5), b"b\r".to_vec())]
    );
    assert_eq!(stream.translate_ack(START.plus(5)), START.plus(5));
}

#[test]
fn a_stream_that_lost_sync_keeps_its_offset() {
    let mut stream = Stream::default();
    stream.start_at(START);
    stream.ingest(START, b"PORT a\r\n", false);
    let line = stream.poll_line().unwrap();
    stream.record_edit(&line, b"PORT bcd".to_vec());
    stream.lose_sync();
    assert!(!stream.is_synchronised());
    stream.ingest(START.plus(100), b"NOOP\r\n", false);
    stream.release_all();
    assert_eq!(
        emitted(&mut stream, START.plus(100), b"NOOP\r\n"),
        [(START.plus(102), b"NOOP\r\n".to_vec())]
    );
}

#[test]
fn a_rewritten_line_that_another_process_sent_is_repeated_although_later_bytes_come_first() {
    let mut map = SequenceMap::default();
    let new = b"PORT 203,0,113,1,4,5".to_vec();
    map.record(Edit::new(START, 18, new.clone()));
    let behind = START.plus(20);
    let mut stream = Stream::restored(map, Some(behind), None);
    let moved = (behind.plus(2), b"RETR x\r\n".to_vec());
    assert_eq!(stream.ingest(behind, b"RETR x\r\n", false), Arrival::New);
    stream.release_all();
    assert_eq!(emitted(&mut stream, behind, b"RETR x\r\n"), [moved]);
    stream.ingest(behind.plus(8), b"NOOP\r\n", false);
    stream.release_all();
    assert_eq!(stream.translate_ack(START), START, "nothing has arrived");
    let line = [&new[..], b"\r\n"].concat();
    assert_eq!(
        emitted(&mut stream, START, b"PORT 10,0,0,22,4,5\r\n"),
        [(START, line)]
    );
}

#[test]
fn a_restored_retransmit_queue_is_sent_without_the_acknowledged_line_before_it() {
    let mut map = SequenceMap::default();
    map.record(Edit::new(START, 18, b"PORT 10,9,9,22,4,5".to_vec()));
    let start = START.plus(20);
    let locally_acked = LocallyAcked {
        start,
        bytes: b"PO".to_vec(),
        line_start: Some(start),
    };
    let mut stream = Stream::restored(map, Some(start), Some(locally_acked));
    stream.abandon_line();
    let segments = stream.emit_retransmit(1000);
    assert_eq!(segments.len(), 1);
    assert_eq!(
        (segments[0].seq, &segments[0].payload[..]),
        (start, &b"PO"[..])
    );
}

#[test]
fn a_line_whose_start_arrived_before_a_restart_goes_on_as_it_is() {
    let start = START.plus(1);
    let locally_acked = LocallyAcked {
        start,
        bytes: b"ORT 10,0,0,22,4,5".to_vec(),
        line_start: Some(START),
    };
    let mut stream = Stream::restored(SequenceMap::default(), Some(start), Some(locally_acked));
    let end = start.plus(17);
    stream.ingest(end, b"\r\n", false);
    assert!(stream.poll_line().is_none(), "its start is not known");
    stream.release_lines();
    let rest = b"ORT 10,0,0,22,4,5\r\n".to_vec();
    assert_eq!(emitted(&mut stream, end, b"\r\n"), [(start, rest)]);
}

#[test]
fn lines_that_were_read_before_a_restart_are_not_read_again() {
    let locally_acked = LocallyAcked {
        start: START,
        bytes: b"NOOP\r\nPASV\r\nPO".to_vec(),
        line_start: None,
    };
    let end = START.plus(14);
    let mut stream = Stream::restored(SequenceMap::default(), Some(end), Some(locally_acked));
    assert!(stream.poll_line().is_none());
    stream.ingest(end, b"RT x\r\n", false);
    assert!(stream.poll_line().is_none(), "its start was given up");
}
