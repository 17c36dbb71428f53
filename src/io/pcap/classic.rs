//! The classic pcap file: one header, one link type, one clock, then the records.

use std::time::Duration;

use pcap_parser::{
    LegacyPcapBlock, PcapHeader, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified,
    parse_pcap_header,
};

use super::{CaptureError, Fill, Input, Record};

const FILE_HEADER: u32 = 24;
const RECORD_HEADER: u32 = 16;

/// The records of the "modified" format have an interface index, a protocol and a packet type.
const MODIFIED_RECORD_HEADER: u32 = 24;

/// Where a record's header has the number of bytes that were captured.
const CAPTURED_LENGTH_AT: usize = 8;

/// The link type's field has the length of a frame check sequence in its upper bits
/// (draft-ietf-opsawg-pcap).
const LINK_TYPE_BITS: u32 = 0x0000_ffff;

pub(super) struct Classic {
    header: PcapHeader,
}

impl Classic {
    /// Reads the file's header.
    pub(super) fn begin(input: &mut Input<'_>) -> Result<Self, CaptureError> {
        if input.begin_block(FILE_HEADER)? != Fill::Whole {
            return Err(CaptureError::CutHeader);
        }
        match parse_pcap_header(input.buffer()) {
            Ok((_, header)) => Ok(Self { header }),
            Err(_) => Err(CaptureError::NotACapture),
        }
    }

    pub(super) fn next_record(
        &self,
        input: &mut Input<'_>,
        frame: u64,
    ) -> Result<Option<Record>, CaptureError> {
        let header_length = self.record_header();
        match input.begin_block(header_length)? {
            Fill::Nothing => return Ok(None),
            Fill::Cut => return Err(input.cut(frame)),
            Fill::Whole => {}
        }
        input.extend_block(self.captured_length(input.buffer()), frame)?;
        let Some(record) = self.parse(input.buffer()) else {
            return Err(input.malformed(frame, "is not a record"));
        };
        Ok(Some(Record {
            link_type: self.header.network.0.cast_unsigned() & LINK_TYPE_BITS,
            timestamp: self.timestamp(&record),
            data: header_length as usize..input.buffer().len(),
        }))
    }

    fn record_header(&self) -> u32 {
        if self.header.is_modified_format() {
            MODIFIED_RECORD_HEADER
        } else {
            RECORD_HEADER
        }
    }

    /// Read before the record is whole, to know how long it will be.
    fn captured_length(&self, header: &[u8]) -> u32 {
        let bytes = std::array::from_fn(|index| header[CAPTURED_LENGTH_AT + index]);
        if self.header.is_bigendian() {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    fn parse<'a>(&self, record: &'a [u8]) -> Option<LegacyPcapBlock<'a>> {
        let parse = if self.header.is_modified_format() {
            parse_pcap_frame_modified
        } else if self.header.is_bigendian() {
            parse_pcap_frame_be
        } else {
            parse_pcap_frame
        };
        parse(record).ok().map(|(_, record)| record)
    }

    fn timestamp(&self, record: &LegacyPcapBlock<'_>) -> Duration {
        let fraction = u64::from(record.ts_usec);
        let fraction = if self.header.is_nanosecond_precision() {
            Duration::from_nanos(fraction)
        } else {
            Duration::from_micros(fraction)
        };
        Duration::from_secs(u64::from(record.ts_sec)) + fraction
    }
}
