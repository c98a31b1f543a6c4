//! Properties of the encoders, judged by decoders; `tests/reference.rs` has the reference tools.

use std::io::Write;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A decoder that shows what it has decoded so far.
enum Decoder {
    Zstd(::zstd::stream::write::Decoder<'static, Vec<u8>>),
    Brotli(Box<::brotli::DecompressorWriter<Vec<u8>>>),
    Gzip(Box<flate2::write::GzDecoder<Vec<u8>>>),
}

impl Decoder {
    fn new(coding: Coding) -> Self {
        match coding {
            Coding::Zstd => Self::Zstd(::zstd::stream::write::Decoder::new(Vec::new()).unwrap()),
            Coding::Brotli => Self::Brotli(Box::new(::brotli::DecompressorWriter::new(
                Vec::new(),
                4096,
            ))),
            Coding::Gzip => Self::Gzip(Box::new(flate2::write::GzDecoder::new(Vec::new()))),
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> &[u8] {
        match self {
            Self::Zstd(decoder) => {
                decoder.write_all(bytes).unwrap();
                decoder.flush().unwrap();
                decoder.get_ref()
            }
            Self::Brotli(decoder) => {
                decoder.write_all(bytes).unwrap();
                // It keeps a byte back when its buffer is full.
                let mut shown = None;
                while shown.replace(decoder.get_ref().len()) != Some(decoder.get_ref().len()) {
                    let _none = decoder.write(b"").unwrap();
                }
                decoder.flush().unwrap();
                decoder.get_ref()
            }
            Self::Gzip(decoder) => {
                decoder.write_all(bytes).unwrap();
                decoder.flush().unwrap();
                decoder.get_ref()
            }
        }
    }
}

fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(coding);
    decoder.decode(bytes);
    match decoder {
        Decoder::Zstd(decoder) => decoder.into_inner(),
        // Both fail if the stream is not complete.
        Decoder::Brotli(decoder) => decoder.into_inner().unwrap(),
        Decoder::Gzip(decoder) => decoder.finish().unwrap(),
    }
}

fn text(length: usize) -> Vec<u8> {
    let words = ["request", "worker", " the ", "\n", "socket", "1", "2", "é"];
    let mut state = 7_u32;
    let mut text = Vec::new();
    while text.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(words[(state >> 29) as usize].as_bytes());
    }
    text.truncate(length);
    text
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<u8>),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => vec(any::<u8>(), 0..200).prop_map(Step::Write),
        2 => (0..40_000_usize).prop_map(|length| Step::Write(text(length))),
        1 => (0..40_000_usize, any::<u8>()).prop_map(|(length, byte)| Step::Write(vec![byte; length])),
        2 => Just(Step::Flush),
    ]
}

fn padding() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), 1..10_u16, 0..300_u16]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_flushed_can_be_decoded(
        steps in vec(step(), 0..12),
        rest in vec(any::<u8>(), 0..100),
        padding in padding(),
        knows_length in any::<bool>(),
    ) {
        let pieces = steps.iter().filter_map(|step| match step {
            Step::Write(bytes) => Some(bytes.as_slice()),
            Step::Flush => None,
        });
        let content = pieces.chain([rest.as_slice()]).collect::<Vec<_>>().concat();
        for coding in Coding::ALL {
            let length = knows_length.then_some(content.len() as u64);
            let options = EncoderOptions { length, padding, is_best: false };
            let mut encoder = Encoder::new(coding, options);
            let mut decoder = Decoder::new(coding);
            let (mut out, mut shown, mut written) = (Vec::new(), 0, 0);
            for step in &steps {
                match step {
                    Step::Write(bytes) => {
                        encoder.write(bytes, &mut out).unwrap();
                        written += bytes.len();
                    }
                    Step::Flush => {
                        encoder.flush(&mut out).unwrap();
                        prop_assert!(decoder.decode(&out[shown..]) == &content[..written], "{coding:?}");
                        shown = out.len();
                    }
                }
            }
            encoder.finish(&rest, &mut out).unwrap();
            prop_assert!(decoded(coding, &out) == content);
        }
    }

    #[test]
    fn a_whole_body_is_decoded(content in vec(any::<u8>(), 0..3000), repeated in 1..40_usize) {
        let content = content.repeat(repeated);
        for coding in Coding::ALL {
            prop_assert!(decoded(coding, &encode(coding, &content).unwrap()) == content);
        }
    }
}

#[test]
fn padding_makes_the_output_longer_and_nothing_else() {
    for coding in Coding::ALL {
        for content in [
            text(0),
            text(100),
            text(300),
            text(5000),
            text(100_000),
            text(3 << 20),
        ] {
            for length in [None, Some(content.len() as u64)] {
                let length_with = |padding| {
                    let options = EncoderOptions {
                        length,
                        padding,
                        is_best: false,
                    };
                    let mut out = Vec::new();
                    Encoder::new(coding, options)
                        .finish(&content, &mut out)
                        .unwrap();
                    assert!(decoded(coding, &out) == content, "{coding:?} {padding}");
                    out.len()
                };
                let lengths: Vec<_> = [0, 1, 2, 3, 4, 5, 127, 128, 129, 300]
                    .map(|padding| (usize::from(padding), length_with(padding)))
                    .into();
                let (_, least) = lengths[0];
                for (padding, length) in lengths {
                    let longer = length - least;
                    let most = if coding == Coding::Brotli {
                        padding + 5
                    } else {
                        padding
                    };
                    assert!(
                        (padding..=most).contains(&longer) || padding == 0,
                        "{coding:?} {padding} {longer}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_best_compression_is_smaller() {
    let content = text(300_000);
    for coding in Coding::ALL {
        let best = encode_best(coding, &content).unwrap();
        assert!(decoded(coding, &best) == content);
        assert!(
            best.len() <= encode(coding, &content).unwrap().len(),
            "{coding:?}"
        );
    }
}

#[test]
fn contexts_are_used_again_after_every_kind_of_end() {
    let content = text(50_000);
    for coding in Coding::ALL {
        for round in 0..20 {
            let options = EncoderOptions::default();
            let mut encoder = Encoder::new(coding, options);
            let mut out = Vec::new();
            encoder.write(&content, &mut out).unwrap();
            match round % 3 {
                0 => drop(encoder),
                1 => {
                    encoder.flush(&mut out).unwrap();
                    drop(encoder);
                }
                _ => encoder.finish(b"", &mut out).unwrap(),
            }
            let whole = encode(coding, &content).unwrap();
            assert!(decoded(coding, &whole) == content, "{coding:?} {round}");
        }
    }
}

#[test]
fn a_length_that_is_not_kept_is_an_error() {
    let options = EncoderOptions {
        length: Some(10),
        ..EncoderOptions::default()
    };
    let mut out = Vec::new();
    let mut encoder = Encoder::new(Coding::Zstd, options);
    encoder.write(b"12345", &mut out).unwrap();
    assert!(encoder.finish(b"", &mut out).is_err());
    // The next stream is not affected.
    assert!(decoded(Coding::Zstd, &encode(Coding::Zstd, b"abc").unwrap()) == b"abc");
}
