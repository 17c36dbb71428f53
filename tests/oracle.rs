//! The stream editor and naive models of the whole stream agree.
//!
//! The model of a map of edits is a list: for each byte of the output, its byte of the input.
//! The model of a stream is its bytes, and one bit for each byte that came.

use ftp_alg::proto::{
    net::SeqNumber,
    stream::{Arrival, EDITS_MAX, Edit, Emission, HISTORY_MAX, SequenceMap, Stream},
};
use proptest::{collection::vec, prelude::*};

/// An edit in a test: the bytes before it, the replaced bytes, and the new bytes.
type EditPlan = (u32, u32, u32);

/// The whole edited stream: for each output byte its input byte, or its edit.
#[derive(Debug)]
struct Model {
    origin: u32,
    input_len: u32,
    /// The start and the end of each edit, in the input and in the output.
    edits: Vec<(u32, u32, u32, u32)>,
}

impl Model {
    fn new(origin: u32, plans: &[EditPlan], tail: u32) -> (Self, SequenceMap) {
        let mut map = SequenceMap::default();
        let mut edits = Vec::new();
        let (mut input, mut output) = (0, 0);
        for &(gap, old, new) in plans {
            (input, output) = (input + gap, output + gap);
            let start = SeqNumber(origin.wrapping_add(input));
            map.record(Edit::new(start, old, vec![b'n'; new as usize]));
            edits.push((input, input + old, output, output + new));
            (input, output) = (input + old, output + new);
        }
        let model = Self {
            origin,
            input_len: input + tail,
            edits,
        };
        (model, map)
    }

    /// Whether an edit changes the length.
    fn is_shifting(&(start, end, new_start, new_end): &(u32, u32, u32, u32)) -> bool {
        end - start != new_end - new_start
    }

    /// Byte by byte from the beginning.
    fn to_output(&self, input: u32) -> u32 {
        let mut output = 0;
        let mut at = 0;
        while at < input {
            let inside = self
                .edits
                .iter()
                .filter(|edit| Self::is_shifting(edit))
                .find(|edit| (edit.0..edit.1).contains(&at));
            match inside {
                Some(edit) if input < edit.1 => return output,
                Some(edit) => {
                    output += edit.3 - edit.2;
                    at = edit.1;
                }
                None => {
                    output += 1;
                    at += 1;
                }
            }
        }
        output
    }

    /// The last input position before which all bytes are within the output before `output`.
    fn to_input(&self, output: u32) -> u32 {
        (0..=self.input_len)
            .rev()
            .find(|&input| self.to_output(input) <= output && !self.is_within(input))
            .unwrap_or(0)
    }

    fn is_within(&self, input: u32) -> bool {
        let mut shifting = self.edits.iter().filter(|edit| Self::is_shifting(edit));
        shifting.any(|edit| edit.0 < input && input < edit.1)
    }

    fn output_len(&self) -> u32 {
        self.to_output(self.input_len)
    }
}

fn any_plans() -> impl Strategy<Value = (u32, Vec<EditPlan>, u32)> {
    let origin = prop_oneof![any::<u32>(), (u32::MAX - 100)..=u32::MAX];
    let plans = vec((1..20_u32, 1..12_u32, 1..12_u32), 0..6);
    (origin, plans, 1..20_u32)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_map_places_each_byte_like_the_edited_stream(
        (origin, plans, tail) in any_plans()
    ) {
        let (model, map) = Model::new(origin, &plans, tail);
        for input in 0..=model.input_len {
            let placed = map.to_output(SeqNumber(origin.wrapping_add(input)));
            prop_assert_eq!(placed.0.wrapping_sub(origin), model.to_output(input), "{}", input);
        }
    }

    #[test]
    fn an_acknowledgement_covers_exactly_the_bytes_that_wholly_arrived(
        (origin, plans, tail) in any_plans()
    ) {
        let (model, map) = Model::new(origin, &plans, tail);
        for output in 0..=model.output_len() {
            let placed = map.to_input(SeqNumber(origin.wrapping_add(output)));
            prop_assert_eq!(placed.0.wrapping_sub(origin), model.to_input(output), "{}", output);
        }
    }

    #[test]
    fn a_sack_block_covers_only_bytes_that_wholly_arrived(
        (origin, plans, tail) in any_plans(),
        left in 0..100_u32,
        length in 1..50_u32,
    ) {
        let (model, map) = Model::new(origin, &plans, tail);
        let left = left.min(model.output_len());
        let right = (left + length).min(model.output_len());
        let block = map.sack_to_input(
            SeqNumber(origin.wrapping_add(left)),
            SeqNumber(origin.wrapping_add(right)),
        );
        let promised = block.map_or(0..0, |(left, right)| {
            left.0.wrapping_sub(origin)..right.0.wrapping_sub(origin)
        });
        for input in 0..model.input_len {
            let from = model.to_output(input);
            let inside = model.is_within(input) || model.is_within(input + 1);
            let whole = model
                .edits
                .iter()
                .filter(|edit| Model::is_shifting(edit))
                .find(|edit| (edit.0..edit.1).contains(&input));
            let arrived = match whole {
                Some(edit) => left <= edit.2 && edit.3 <= right,
                None => left <= from && from < right,
            };
            prop_assert_eq!(
                promised.contains(&input),
                arrived,
                "byte {} inside {}: {:?}", input, inside, block
            );
        }
    }

    #[test]
    fn forgetting_acknowledged_edits_moves_nothing_behind_them(
        (origin, plans, tail) in any_plans(),
        acked in 0..150_u32,
    ) {
        let (model, whole) = Model::new(origin, &plans, tail);
        let acked = acked.min(model.input_len);
        let mut pruned = whole.clone();
        pruned.forget_before(SeqNumber(origin.wrapping_add(acked)));
        for input in acked..=model.input_len {
            let at = SeqNumber(origin.wrapping_add(input));
            prop_assert_eq!(pruned.to_output(at), whole.to_output(at));
        }
        for output in model.to_output(acked)..=model.output_len() {
            let at = SeqNumber(origin.wrapping_add(output));
            let (kept, all) = (pruned.to_input(at), whole.to_input(at));
            prop_assert!(kept == all || all.is_before(SeqNumber(origin.wrapping_add(acked))));
        }
    }

    #[test]
    fn a_stream_gives_each_byte_at_its_place_with_any_cuts_and_repetitions(
        (origin, plans, tail) in any_plans(),
        segments in vec((0..200_u32, 1..60_u32, any::<bool>()), 0..60),
        room in 1..80_usize,
    ) {
        let plans: Vec<_> = plans.into_iter().take(EDITS_MAX).collect();
        let (model, _) = Model::new(origin, &plans, tail);
        Run::new(&model, room).play(&segments)?;
    }
}

/// A stream with its model. The receiver has a byte or nothing at each output position.
struct Run<'a> {
    model: &'a Model,
    stream: Stream,
    room: usize,
    input: Vec<u8>,
    /// The byte of the receiver at each output position.
    received: Vec<Option<u8>>,
    wanted: Vec<u8>,
    /// The number of input bytes that were taken.
    next: u32,
}

impl<'a> Run<'a> {
    /// Each edited span is a line of its own, so that the stream can record the edit.
    fn new(model: &'a Model, room: usize) -> Self {
        let mut input = Vec::new();
        let mut wanted = Vec::new();
        let mut at = 0;
        for &(start, end, new_start, new_end) in &model.edits {
            let mut gap = vec![b'g'; (start - at) as usize];
            // It ends the edited line before it, and the line before the next one.
            if let [first, ..] = &mut gap[..] {
                *first = b'\n';
            }
            if let [.., last] = &mut gap[..] {
                *last = b'\n';
            }
            input.extend(&gap);
            wanted.extend(&gap);
            input.extend(vec![b'o'; (end - start) as usize]);
            wanted.extend(vec![b'n'; (new_end - new_start) as usize]);
            at = end;
        }
        let rest = vec![b'\n'; (model.input_len - at) as usize];
        input.extend(&rest);
        wanted.extend(&rest);
        let mut stream = Stream::default();
        stream.start_at(SeqNumber(model.origin));
        Self {
            model,
            stream,
            room,
            received: vec![None; wanted.len()],
            input,
            wanted,
            next: 0,
        }
    }

    fn play(mut self, segments: &[(u32, u32, bool)]) -> Result<(), TestCaseError> {
        for &(at, length, acknowledges) in segments {
            self.send(at.min(self.model.input_len), length)?;
            if acknowledges {
                self.acknowledge()?;
            }
        }
        for _ in 0..self.input.len() {
            self.send(self.next, 7)?;
        }
        let received: Vec<u8> = self.received.iter().flatten().copied().collect();
        prop_assert_eq!(received, self.wanted);
        Ok(())
    }

    fn send(&mut self, at: u32, length: u32) -> Result<(), TestCaseError> {
        let end = (at + length).min(self.model.input_len);
        let payload = self.input[at as usize..end as usize].to_vec();
        let seq = SeqNumber(self.model.origin.wrapping_add(at));
        match self.stream.ingest(seq, &payload, false) {
            Arrival::OutOfOrder | Arrival::GapAcked => {
                prop_assert!(at > self.next, "only what lies ahead is not taken");
                return Ok(());
            }
            Arrival::New => self.next = end,
            Arrival::Old => {}
        }
        while let Some(line) = self.stream.poll_line() {
            let start = line.start.0.wrapping_sub(self.model.origin);
            let edit = self.model.edits.iter().find(|edit| edit.0 == start);
            if let Some(&(start, end, new_start, new_end)) = edit {
                prop_assert_eq!(line.len, end - start);
                let new = vec![b'n'; (new_end - new_start) as usize];
                self.stream.record_edit(&line, new);
            }
        }
        // Each partial line may still be edited.
        self.stream.release_lines();
        self.receive(seq, &payload)
    }

    fn receive(&mut self, seq: SeqNumber, payload: &[u8]) -> Result<(), TestCaseError> {
        let pieces = match self.stream.emit(seq, payload, self.room) {
            Emission::Same => vec![(seq, payload.to_vec())],
            Emission::Changed(pieces) => pieces
                .into_iter()
                .map(|piece| (piece.seq, piece.payload))
                .collect(),
        };
        prop_assert!(!pieces.is_empty());
        for (seq, bytes) in pieces {
            let from = seq.0.wrapping_sub(self.model.origin) as usize;
            for (offset, byte) in bytes.into_iter().enumerate() {
                let position = from + offset;
                prop_assert!(
                    position < self.wanted.len(),
                    "beyond the stream: {}",
                    position
                );
                prop_assert_eq!(byte, self.wanted[position], "position {}", position);
                self.received[position] = Some(byte);
            }
        }
        Ok(())
    }

    /// The receiver acknowledges the bytes that it has without a gap.
    fn acknowledge(&mut self) -> Result<(), TestCaseError> {
        let count = self
            .received
            .iter()
            .take_while(|byte| byte.is_some())
            .count();
        let ack = SeqNumber(self.model.origin.wrapping_add(count as u32));
        self.stream.handle_ack(ack);
        let shown = self
            .stream
            .translate_ack(ack)
            .0
            .wrapping_sub(self.model.origin);
        prop_assert_eq!(shown, self.model.to_input(count as u32));
        Ok(())
    }
}

#[test]
fn one_edit_beyond_the_bound_is_refused_and_the_stream_goes_on() {
    let mut stream = Stream::default();
    let mut at = SeqNumber(u32::MAX - 50);
    stream.start_at(at);
    for nth in 0..=EDITS_MAX {
        let is_full = stream.map().is_full();
        assert_eq!(is_full, nth == EDITS_MAX);
        stream.ingest(at, b"PORT x\r\n", false);
        let line = stream.poll_line().unwrap();
        if !is_full {
            stream.record_edit(&line, b"PORT yyy".to_vec());
        }
        stream.release_all();
        let Emission::Changed(pieces) = stream.emit(at, b"PORT x\r\n", 1000) else {
            panic!("it is shifted at least");
        };
        let text: &[u8] = if is_full {
            b"PORT x\r\n"
        } else {
            b"PORT yyy\r\n"
        };
        assert_eq!(pieces[0].payload, text);
        at = at.plus(8);
    }
}

#[test]
fn bytes_without_end_take_bounded_memory_whether_acknowledged_or_not() {
    for acknowledges in [false, true] {
        let mut stream = Stream::default();
        let mut at = SeqNumber(u32::MAX - 5000);
        stream.start_at(at);
        for _ in 0..1000 {
            let line = [b'x'; 99].into_iter().chain([b'\n']).collect::<Vec<u8>>();
            assert_eq!(stream.ingest(at, &line, false), Arrival::New);
            while stream.poll_line().is_some() {}
            stream.release_all();
            assert_eq!(stream.emit(at, &line, 1000), Emission::Same);
            at = at.plus(100);
            if acknowledges {
                stream.handle_ack(at);
            }
            let bound = if acknowledges { 1024 } else { 4 * HISTORY_MAX };
            assert!(stream.heap_bytes() <= bound, "{}", stream.heap_bytes());
        }
    }
}
