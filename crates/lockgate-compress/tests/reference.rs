//! The reference tools decode what the encoders make: zstd, brotli and gzip, where they are installed.
#![allow(clippy::disallowed_methods, reason = "the tools read files")]

use std::process::Command;

use lockgate_compress::{Coding, Encoder, EncoderOptions, encode_best};

fn content(length: usize, kind: usize) -> Vec<u8> {
    let mut state = length as u32 | 1;
    (0..length)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match kind {
                0 => b"<li class=\"item\">Lockgate</li>\n"[at % 31] ^ u8::from(state >> 27 == 0),
                1 => (state >> 24) as u8,
                _ => 0,
            }
        })
        .collect()
}

#[test]
fn reference_tools_decode_the_same_bytes() {
    let dir = std::env::temp_dir().join(format!("lockgate-reference-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for (coding, tool) in [
        (Coding::Zstd, "zstd"),
        (Coding::Brotli, "brotli"),
        (Coding::Gzip, "gzip"),
    ] {
        if Command::new(tool).arg("--version").output().is_err() {
            println!("skipped: {tool} is not installed");
            continue;
        }
        let mut names = Vec::new();
        let mut expected = Vec::new();
        for length in [0, 1, 255, 256, 5000, 70_000, 300_000] {
            for kind in 0..3 {
                for (variant, (padding, pieces)) in
                    [(0, 1), (1, 1), (2, 3), (3, 7), (127, 1), (128, 20)]
                        .into_iter()
                        .enumerate()
                {
                    let content = content(length, kind);
                    let options = EncoderOptions {
                        length: (pieces == 1).then_some(length as u64),
                        padding,
                        is_best: false,
                    };
                    let mut encoder = Encoder::new(coding, options);
                    let mut out = Vec::new();
                    for (index, piece) in content.chunks(length / pieces + 1).enumerate() {
                        encoder.write(piece, &mut out).unwrap();
                        if index % 2 == 0 && pieces > 1 {
                            encoder.flush(&mut out).unwrap();
                        }
                    }
                    encoder.finish(b"", &mut out).unwrap();
                    let name = format!("{length}-{kind}-{variant}{}", coding.suffix());
                    std::fs::write(dir.join(&name), &out).unwrap();
                    names.push(name);
                    expected.push(content);
                }
            }
        }
        let best = format!("best{}", coding.suffix());
        std::fs::write(
            dir.join(&best),
            encode_best(coding, &content(300_000, 0)).unwrap(),
        )
        .unwrap();
        names.push(best);
        expected.push(content(300_000, 0));
        for (name, expected) in names.iter().zip(expected) {
            let output = Command::new(tool)
                .arg("-dc")
                .arg(dir.join(name))
                .output()
                .unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{name}: {error}");
            assert!(output.stdout == expected, "{name}");
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
