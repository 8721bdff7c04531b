//! The bytes of the log's files. All numbers little-endian.
//!
//! # `log-NNNNNNNN`
//!
//! A file header of 24 bytes, then segments, one per checkpoint, one right after another:
//!
//! | bytes | file header |
//! | --- | --- |
//! | 8 | `sqllog` and the format version |
//! | 8 | the first checkpoint that may stand here: segments of earlier files from it on are void |
//! | 4 | CRC32 of the 16 bytes before |
//! | 4 | zero |
//!
//! A file header that does not verify is done without: each segment says by a stamp which one it continues. Segments
//! are found again behind bytes that do not verify; only those that continue what is before them count.
//!
//! Nothing is ever overwritten or cut off: going back to checkpoint *n* starts a file that begins with *n* + 1,
//! and so does every opening, leaving behind what a crash tore.
//!
//! A segment is a head, a table with one row per block, and the blocks. A block is a run of whole records (see
//! [`delta`](crate::state::delta)), 256 KiB long unless one record is longer.
//!
//! | bytes | head | bytes | row |
//! | --- | --- | --- | --- |
//! | 4 | `SEGM`, in a base `BASE` | 4 | length of the block |
//! | 4 | number of blocks | 4 | CRC32 of the block |
//! | 8 | checkpoint | 2 | lowest key group in it |
//! | 8 | stamp of the segment before; in a base that of the checkpoint itself | 2 | highest key group in it |
//! | 8 | length of all blocks | 4 | number of records |
//! | 4 | highest key group | | |
//! | 4 | CRC32 of the 36 bytes before and of the table | | |
//!
//! The stamp of a segment is the XXH3 of its head and table, which hold the stamp before and the checksum of every
//! block: it stands for everything up to here.
//!
//! # `base-CHECKPOINT`
//!
//! All entries as of that checkpoint: blocks, then the table, then the head at the very end, since it is written in one
//! go without knowing how many blocks there will be. It gets its name when it is durable.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::state::delta::{Changes, Delta};
use crate::state::store::{CheckpointId, Stamp};
use crate::sys::disk::{DiskFile, SharedFile};

const FILE_MAGIC: [u8; 8] = *b"sqllog\0\x01";
pub const FILE_HEADER_BYTES: u64 = 24;
const SEGMENT_MAGIC: [u8; 4] = *b"SEGM";
const BASE_MAGIC: [u8; 4] = *b"BASE";
pub const HEAD_BYTES: usize = 40;
const ROW_BYTES: usize = 16;
/// Blocks end with the first record that makes them this long.
pub const BLOCK_BYTES: usize = 256 << 10;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

/// The header of a file that begins with this checkpoint.
pub fn file_header(first: CheckpointId) -> [u8; FILE_HEADER_BYTES as usize] {
    let mut header = [0; FILE_HEADER_BYTES as usize];
    header[..8].copy_from_slice(&FILE_MAGIC);
    header[8..16].copy_from_slice(&first.0.to_le_bytes());
    let crc = crc32fast::hash(&header[..16]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The first checkpoint of a file, if its header verifies.
pub fn first_of_file(file: &DiskFile) -> Result<Option<CheckpointId>> {
    let mut header = [0; FILE_HEADER_BYTES as usize];
    if file.len_bytes()? < FILE_HEADER_BYTES {
        return Ok(None);
    }
    file.read_at(0, &mut header)?;
    let whole = header[..8] == FILE_MAGIC && crc32fast::hash(&header[..16]) == u32_at(&header, 16);
    Ok(whole.then(|| CheckpointId(u64_at(&header, 8))))
}

/// A row of a segment's table.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub length: u32,
    crc: u32,
    group_first: u16,
    group_last: u16,
    records: u32,
}

impl Block {
    /// True if a record of these groups may be in it.
    pub fn may_hold(&self, groups: &Range<u32>) -> bool {
        u32::from(self.group_first) < groups.end && u32::from(self.group_last) >= groups.start
    }

    fn row(&self) -> [u8; ROW_BYTES] {
        let mut row = [0; ROW_BYTES];
        row[..4].copy_from_slice(&self.length.to_le_bytes());
        row[4..8].copy_from_slice(&self.crc.to_le_bytes());
        row[8..10].copy_from_slice(&self.group_first.to_le_bytes());
        row[10..12].copy_from_slice(&self.group_last.to_le_bytes());
        row[12..].copy_from_slice(&self.records.to_le_bytes());
        row
    }

    fn of_row(row: &[u8]) -> Self {
        Block {
            length: u32_at(row, 0),
            crc: u32_at(row, 4),
            group_first: u16_at(row, 8),
            group_last: u16_at(row, 10),
            records: u32_at(row, 12),
        }
    }
}

/// Cuts records into blocks.
///
/// # Errors
/// The bytes are no records, or a block would be 4 GiB or longer.
pub fn blocks_of(records: &[u8]) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let (mut start, mut end) = (0, 0);
    let mut row = Block { length: 0, crc: 0, group_first: u16::MAX, group_last: 0, records: 0 };
    for change in Changes::of(records) {
        let change = change?;
        end += change.encoded_bytes();
        row.group_first = row.group_first.min(change.group);
        row.group_last = row.group_last.max(change.group);
        row.records += 1;
        if end - start >= BLOCK_BYTES || end == records.len() {
            let too_long = |_| Error::bad_state("a record of 4 GiB or more cannot be kept: make the value smaller");
            row.length = u32::try_from(end - start).map_err(too_long)?;
            row.crc = crc32fast::hash(&records[start..end]);
            blocks.push(row);
            start = end;
            row = Block { length: 0, crc: 0, group_first: u16::MAX, group_last: 0, records: 0 };
        }
    }
    Ok(blocks)
}

/// Head and table of a segment, as bytes.
pub fn encode(is_base: bool, checkpoint: CheckpointId, stamp: Stamp, blocks: &[Block]) -> (Vec<u8>, Vec<u8>) {
    let payload_bytes: u64 = blocks.iter().map(|block| u64::from(block.length)).sum();
    let group_last = blocks.iter().map(|block| u32::from(block.group_last)).max().unwrap_or(0);
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(if is_base { &BASE_MAGIC } else { &SEGMENT_MAGIC });
    head.extend_from_slice(&u32::try_from(blocks.len()).expect("fewer than 2^32 blocks").to_le_bytes());
    head.extend_from_slice(&checkpoint.0.to_le_bytes());
    head.extend_from_slice(&stamp.0.to_le_bytes());
    head.extend_from_slice(&payload_bytes.to_le_bytes());
    head.extend_from_slice(&group_last.to_le_bytes());
    let table: Vec<u8> = blocks.iter().flat_map(Block::row).collect();
    let crc = crc_of(&head, &table);
    head.extend_from_slice(&crc.to_le_bytes());
    (head, table)
}

fn crc_of(head: &[u8], table: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..HEAD_BYTES - 4]);
    crc.update(table);
    crc.finalize()
}

/// The stamp of a segment with this head and table.
pub fn stamp_of(head: &[u8], table: &[u8]) -> Stamp {
    Stamp(xxh3_64(&[head, table].concat()))
}

/// A checkpoint's changes, or a base, within a file.
#[derive(Clone, Debug)]
pub struct Segment {
    pub file: SharedFile,
    pub checkpoint: CheckpointId,
    /// Stands for everything up to here.
    pub stamp: Stamp,
    /// The stamp that it continues.
    pub previous: Stamp,
    pub group_last: u16,
    pub payload_offset: u64,
    pub payload_bytes: u64,
    pub blocks: Vec<Block>,
}

impl Segment {
    /// The offset of its head.
    #[cfg(test)]
    pub fn begin(&self) -> u64 {
        self.payload_offset - (HEAD_BYTES + self.blocks.len() * ROW_BYTES) as u64
    }

    /// The offset behind it.
    pub fn end(&self) -> u64 {
        self.payload_offset + self.payload_bytes
    }

    /// The segment that begins here, if its head and table verify and its blocks lie within the file. The blocks
    /// themselves are verified when they are read.
    pub fn at(file: &SharedFile, offset: u64) -> Result<Option<Segment>> {
        let length = file.len_bytes()?;
        let Some(head) = read_head(file, offset, length, SEGMENT_MAGIC)? else { return Ok(None) };
        let table_bytes = u64::from(u32_at(&head, 4)) * ROW_BYTES as u64;
        let table_offset = offset + HEAD_BYTES as u64;
        if length - table_offset < table_bytes {
            return Ok(None);
        }
        let segment = Segment::decode(file, &head, table_offset, table_offset + table_bytes)?;
        Ok(segment.filter(|segment| segment.payload_bytes <= length - segment.payload_offset))
    }

    /// The next segment from here on whose head and table verify, wherever it begins: right here, unless something is
    /// damaged.
    pub fn next(file: &SharedFile, offset: u64) -> Result<Option<Segment>> {
        let mut from = offset;
        loop {
            if let Some(segment) = Segment::at(file, from)? {
                return Ok(Some(segment));
            }
            match find_magic(file, from + 1)? {
                Some(at) => from = at,
                None => return Ok(None),
            }
        }
    }

    /// The base that fills this file, if its head and table verify.
    pub fn base(file: &SharedFile) -> Result<Option<Segment>> {
        let length = file.len_bytes()?;
        let Some(head_offset) = length.checked_sub(HEAD_BYTES as u64) else { return Ok(None) };
        let Some(head) = read_head(file, head_offset, length, BASE_MAGIC)? else { return Ok(None) };
        let table_bytes = u64::from(u32_at(&head, 4)) * ROW_BYTES as u64;
        let Some(table_offset) = head_offset.checked_sub(table_bytes) else { return Ok(None) };
        let base = Segment::decode(file, &head, table_offset, 0)?;
        Ok(base.filter(|base| base.payload_bytes == table_offset).map(|base| Segment { stamp: base.previous, ..base }))
    }

    fn decode(file: &SharedFile, head: &[u8], table_offset: u64, payload_offset: u64) -> Result<Option<Segment>> {
        let mut table = vec![0; u32_at(head, 4) as usize * ROW_BYTES];
        file.read_at(table_offset, &mut table)?;
        let blocks: Vec<Block> = table.chunks_exact(ROW_BYTES).map(Block::of_row).collect();
        let payload_bytes = u64_at(head, 24);
        let sum: u64 = blocks.iter().map(|block| u64::from(block.length)).sum();
        let group_last = u16::try_from(u32_at(head, 32)).ok();
        let whole = crc_of(head, &table) == u32_at(head, HEAD_BYTES - 4) && sum == payload_bytes;
        Ok(group_last.filter(|_| whole).map(|group_last| Segment {
            file: file.clone(),
            checkpoint: CheckpointId(u64_at(head, 8)),
            stamp: stamp_of(head, &table),
            previous: Stamp(u64_at(head, 16)),
            group_last,
            payload_offset,
            payload_bytes,
            blocks,
        }))
    }

    /// Reads the blocks that may hold records of these groups, verifying each.
    ///
    /// # Errors
    /// Those of the disk and of `each`; or a block does not verify.
    pub fn read(&self, groups: &Range<u32>, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = Vec::new();
        let mut offset = self.payload_offset;
        for block in &self.blocks {
            if block.may_hold(groups) {
                buffer.resize(block.length as usize, 0);
                self.file.read_at(offset, &mut buffer)?;
                if crc32fast::hash(&buffer) != block.crc {
                    let (path, checkpoint) = (self.file.path().display(), self.checkpoint);
                    return Err(Error::bad_state(format!(
                        "{path}: the block at byte {offset}, of checkpoint {checkpoint}, does not match its checksum"
                    )));
                }
                each(&buffer)?;
            }
            offset += u64::from(block.length);
        }
        Ok(())
    }
}

fn read_head(file: &DiskFile, offset: u64, length: u64, magic: [u8; 4]) -> Result<Option<[u8; HEAD_BYTES]>> {
    if length.saturating_sub(offset) < HEAD_BYTES as u64 {
        return Ok(None);
    }
    let mut head = [0; HEAD_BYTES];
    file.read_at(offset, &mut head)?;
    Ok((head[..4] == magic).then_some(head))
}

/// Where the next four bytes are that a segment may begin with.
fn find_magic(file: &DiskFile, from: u64) -> Result<Option<u64>> {
    let length = file.len_bytes()?;
    let (mut offset, mut buffer) = (from, Vec::new());
    while offset + HEAD_BYTES as u64 <= length {
        buffer.resize((length - offset).min(BLOCK_BYTES as u64) as usize, 0);
        file.read_at(offset, &mut buffer)?;
        if let Some(at) = memchr::memmem::find(&buffer, &SEGMENT_MAGIC) {
            return Ok(Some(offset + at as u64));
        }
        // It may stand across the end of what was read.
        offset += (buffer.len() - (SEGMENT_MAGIC.len() - 1)) as u64;
    }
    Ok(None)
}

/// Writes the segment of a checkpoint at this offset; not yet durable.
///
/// # Errors
/// Those of the disk; a delta is damaged.
pub fn write_segment(
    file: &SharedFile,
    offset: u64,
    checkpoint: CheckpointId,
    previous: Stamp,
    deltas: &[Delta],
) -> Result<Segment> {
    let cut = deltas.iter().map(|delta| blocks_of(delta.bytes())).collect::<Result<Vec<_>>>()?;
    let blocks: Vec<Block> = cut.iter().flatten().copied().collect();
    let (head, table) = encode(false, checkpoint, previous, &blocks);
    let payload_offset = offset + (head.len() + table.len()) as u64;
    let mut at = offset;
    // Small checkpoints go out in one call.
    let mut buffer = [&head[..], &table[..]].concat();
    for delta in deltas {
        if buffer.len() + delta.bytes().len() > 4 * BLOCK_BYTES {
            file.write_at(at, &buffer)?;
            at += buffer.len() as u64;
            buffer.clear();
        }
        if delta.bytes().len() > 4 * BLOCK_BYTES {
            file.write_at(at, delta.bytes())?;
            at += delta.bytes().len() as u64;
        } else {
            buffer.extend_from_slice(delta.bytes());
        }
    }
    file.write_at(at, &buffer)?;
    Ok(Segment {
        file: file.clone(),
        checkpoint,
        stamp: stamp_of(&head, &table),
        previous,
        group_last: blocks.iter().map(|block| block.group_last).max().unwrap_or(0),
        payload_offset,
        payload_bytes: blocks.iter().map(|block| u64::from(block.length)).sum(),
        blocks,
    })
}
