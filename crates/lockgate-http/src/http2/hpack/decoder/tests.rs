//! Tests of the decoder: limits, and any blocks against a model. corpus/http2/hpack has a file for each rule.

use super::super::{encode_empty_table, encode_field, encode_status};
use super::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

impl Decoder {
    /// The dynamic table, newest first.
    pub(crate) fn table_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..).map_while(|index| self.table.field(index))
    }

    pub(crate) fn table_size(&self) -> usize {
        self.table_fields()
            .map(|(name, value)| name.len() + value.len() + OVERHEAD)
            .sum()
    }
}

/// The result, and the fields as lines.
fn decode(decoder: &mut Decoder, block: &[u8], limit: usize) -> (Result<(), DecodeError>, String) {
    let mut fields = String::new();
    let result = decoder.decode(block, limit, &mut Vec::new(), |name, value| {
        fields += &format!("{}: {}\n", name.escape_ascii(), value.escape_ascii());
    });
    (result, fields)
}

const UNLIMITED: usize = usize::MAX;

#[test]
fn a_field_may_be_named_after_one_that_it_evicts() {
    let mut decoder = Decoder::new(64);
    let name = [b'n'; 20];
    let first = [&[0x40, 20][..], &name, &[0x01, b'v']].concat();
    // The name is that of the only entry; both together are too large.
    let second = [&[0x7e, 0x02, b'w', b'w'][..], &[0xbe]].concat();
    let (result, fields) = decode(&mut decoder, &[first, second].concat(), UNLIMITED);
    let name = "n".repeat(20);
    assert_eq!(result, Ok(()));
    assert_eq!(fields, format!("{name}: v\n{name}: ww\n{name}: ww\n"));
    // And now the new one is too large for the table, which is empty afterwards.
    let (result, fields) = decode(
        &mut decoder,
        &[0x7e, 13]
            .iter()
            .copied()
            .chain([b'x'; 13])
            .collect::<Vec<_>>(),
        UNLIMITED,
    );
    assert_eq!(
        (result, fields),
        (Ok(()), format!("{name}: {}\n", "x".repeat(13)))
    );
    assert_eq!(
        decode(&mut decoder, &[0xbe], UNLIMITED).0,
        Err(DecodeError::InvalidIndex)
    );
}

#[test]
fn a_table_size_update_evicts_and_lasts() {
    let mut decoder = Decoder::new(4096);
    let insert = [0x40, 0x01, b'n', 0x01, b'v'];
    let steps: [(&[u8], Result<(), DecodeError>, usize); 7] = [
        (&[&insert[..], &insert].concat(), Ok(()), 68),
        // 67: one byte too small for both.
        (&[0x3f, 36], Ok(()), 34),
        (&insert, Ok(()), 34),
        // To 0 and back.
        (&[0x20, 0x3f, 0xe1, 0x1f], Ok(()), 0),
        (&[&insert[..], &insert].concat(), Ok(()), 68),
        (&[0x20], Ok(()), 0),
        (&insert, Ok(()), 0),
    ];
    for (block, expected, size) in steps {
        assert_eq!(decode(&mut decoder, block, UNLIMITED).0, expected);
        assert_eq!(decoder.table_size(), size, "{block:x?}");
    }
}

#[test]
fn fields_beyond_the_limit_are_not_passed_and_reach_the_table() {
    // 38 for the first field, 34 for each other.
    let block = [
        &[0x40, 0x05][..],
        b"first",
        &[0x01, b'1'],
        &[0x40, 0x01, b'n', 0x01, b'v'],
        &[0xbe],
    ]
    .concat();
    for (limit, passed) in [
        (106, 3),
        (105, 2),
        (72, 2),
        (71, 1),
        (38, 1),
        (37, 0),
        (0, 0),
    ] {
        let mut decoder = Decoder::new(4096);
        let (result, fields) = decode(&mut decoder, &block, limit);
        let expected = if passed == 3 {
            Ok(())
        } else {
            Err(DecodeError::ListTooLarge)
        };
        assert_eq!(
            (result, fields.lines().count()),
            (expected, passed),
            "{limit}"
        );
        // The next block finds the table complete.
        let (result, fields) = decode(&mut decoder, &[0xbe, 0xbf], UNLIMITED);
        assert_eq!((result, &fields[..]), (Ok(()), "n: v\nfirst: 1\n"));
    }
    // A fault behind the limit is still one of the connection.
    let faulty = [&block[..], &[0x80]].concat();
    let (result, _) = decode(&mut Decoder::new(4096), &faulty, 40);
    assert_eq!(result, Err(DecodeError::InvalidIndex));
}

#[test]
fn a_bomb_passes_no_more_than_the_limit() {
    let mut decoder = Decoder::new(4096);
    let mut block = [
        &[0x40, 0x01, b'n', 0x7f, 0xe0, 0x1e][..],
        &[b'v'; 4063 - 32],
    ]
    .concat();
    block.resize(16_384, 0xbe);
    let mut passed = 0;
    let result = decoder.decode(&block, 65_536, &mut Vec::new(), |name, value| {
        passed += name.len() + value.len() + OVERHEAD;
    });
    assert_eq!(result, Err(DecodeError::ListTooLarge));
    assert!((60_000..=65_536).contains(&passed), "{passed}");
}

#[test]
fn what_needs_no_copy_is_not_copied() {
    let block = [
        &[0x82][..],
        &[0x04, 0x02],
        b"/a",
        &[0x00, 0x01, b'n', 0x01, b'v'],
    ]
    .concat();
    let within = block.as_ptr_range();
    let mut scratch = Vec::new();
    let mut values = Vec::new();
    let result = Decoder::new(4096).decode(&block, UNLIMITED, &mut scratch, |_, value| {
        values.push(within.contains(&value.as_ptr()));
    });
    assert_eq!((result, values), (Ok(()), vec![false, true, true]));
    assert_eq!(scratch.capacity(), 0);
}

/// How the model's encoder writes a field.
#[derive(Debug, Clone, Copy)]
struct Style {
    /// Indexed, if a table has the field; otherwise a literal: 0x40 with, 0x00 without indexing, 0x10 never indexed.
    pattern: u8,
    uses_tables: bool,
    is_huffman: bool,
    /// A table size update before the block.
    new_size: Option<u16>,
}

/// An encoder that uses everything in the RFC, with the table in its plainest form.
#[derive(Default)]
struct ModelEncoder {
    table: Vec<(Vec<u8>, Vec<u8>)>,
    max_size: usize,
}

impl ModelEncoder {
    fn evict(&mut self) {
        let mut size = 0;
        let max_size = self.max_size;
        let fitting = self.table.iter().take_while(|(name, value)| {
            size += name.len() + value.len() + OVERHEAD;
            size <= max_size
        });
        self.table.truncate(fitting.count());
    }

    fn find(&self, matches: impl Fn(&[u8], &[u8]) -> bool) -> Option<usize> {
        let statics = (1..=static_table::LENGTH)
            .filter_map(|index| Some((index, static_table::field(index)?)));
        let dynamics = self
            .table
            .iter()
            .map(|(name, value)| (&name[..], &value[..]));
        statics
            .chain((static_table::LENGTH + 1..).zip(dynamics))
            .find_map(|(index, (name, value))| matches(name, value).then_some(index))
    }

    fn encode(&mut self, name: &[u8], value: &[u8], style: Style, out: &mut Vec<u8>) {
        if style.uses_tables
            && let Some(index) = self.find(|n, v| (n, v) == (name, value))
        {
            return integer::encode(index, 7, 0x80, out);
        }
        let known = self.find(|n, _| n == name).filter(|_| style.uses_tables);
        let prefix_bits = if style.pattern == 0x40 { 6 } else { 4 };
        integer::encode(known.unwrap_or(0), prefix_bits, style.pattern, out);
        let texts = [Some(name).filter(|_| known.is_none()), Some(value)];
        for text in texts.into_iter().flatten() {
            if style.is_huffman {
                let coded = huffman::encode(text);
                integer::encode(coded.len(), 7, 0x80, out);
                out.extend_from_slice(&coded);
            } else {
                integer::encode(text.len(), 7, 0, out);
                out.extend_from_slice(text);
            }
        }
        if style.pattern == 0x40 {
            self.table.insert(0, (name.to_vec(), value.to_vec()));
            self.evict();
        }
    }
}

proptest! {
    #[test]
    fn what_an_encoder_writes_is_read(
        blocks in vec((vec((text_of_field(), text_of_field(), style()), 0..12), style()), 1..12)
    ) {
        let mut encoder = ModelEncoder { max_size: 300, ..ModelEncoder::default() };
        let mut decoder = Decoder::new(300);
        for (fields, of_block) in blocks {
            let mut block = Vec::new();
            if let Some(size) = of_block.new_size {
                encoder.max_size = size.into();
                encoder.evict();
                integer::encode(size.into(), 5, 0x20, &mut block);
            }
            let mut expected = Vec::new();
            for (name, value, style) in fields {
                encoder.encode(&name, &value, style, &mut block);
                expected.push((name, value));
            }
            let mut read = Vec::new();
            let result = decoder.decode(&block, UNLIMITED, &mut Vec::new(), |name, value| {
                read.push((name.to_vec(), value.to_vec()));
            });
            prop_assert_eq!((result, read), (Ok(()), expected));
            let table: Vec<_> = decoder.table_fields().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(&table, &encoder.table);
        }
    }

    #[test]
    fn what_the_stateless_encoder_writes_is_read(
        status in 100..1000_u16,
        fields in vec((text_of_field(), text_of_field()), 0..12),
    ) {
        let mut block = Vec::new();
        encode_empty_table(&mut block);
        encode_status(status, &mut block);
        let mut expected = format!(":status: {status}\n");
        for (name, value) in &fields {
            encode_field(name, value, &mut block);
            let name = name.to_ascii_lowercase();
            expected += &format!("{}: {}\n", name.escape_ascii(), value.escape_ascii());
        }
        let mut decoder = Decoder::new(4096);
        prop_assert_eq!(decode(&mut decoder, &block, UNLIMITED), (Ok(()), expected));
        prop_assert_eq!(decoder.table_size(), 0);
    }

    #[test]
    fn any_bytes_are_read_or_refused(blocks in vec(vec(any::<u8>(), 0..60), 1..8)) {
        let mut decoder = Decoder::new(200);
        for block in blocks {
            let (result, _) = decode(&mut decoder, &block, 1_000);
            prop_assert!(decoder.table_size() <= 200);
            if !matches!(result, Ok(()) | Err(DecodeError::ListTooLarge)) {
                break;
            }
        }
    }
}

/// Few different texts, so that many repeat, and some of each length and byte.
fn text_of_field() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        select(vec![
            &b""[..],
            b"a",
            b"Server",
            b":method",
            b"GET",
            b"accept-encoding",
            b"gzip, deflate",
            b"x-long-name"
        ])
        .prop_map(<[u8]>::to_vec),
        vec(any::<u8>(), 0..5),
        vec(any::<u8>(), 100..300),
    ]
}

fn style() -> impl Strategy<Value = Style> {
    (
        select(vec![0x00, 0x10, 0x40, 0x40]),
        any::<bool>(),
        any::<bool>(),
        option::weighted(0.2, 0..=300_u16),
    )
        .prop_map(|(pattern, uses_tables, is_huffman, new_size)| Style {
            pattern,
            uses_tables,
            is_huffman,
            new_size,
        })
}
