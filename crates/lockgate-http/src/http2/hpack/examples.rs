//! Tests: the examples of RFC 7541 appendix C.

use super::Decoder;

/// One example: the blocks of one connection.
struct Example {
    section: &'static str,
    table_size: u16,
    blocks: &'static [Block],
}

struct Block {
    hexadecimal: &'static str,
    /// The fields, one a line.
    fields: &'static str,
    /// The dynamic table after the block, newest first.
    table: &'static str,
    table_size: usize,
}

const EXAMPLES: &[Example] = &[
    Example {
        section: "C.2.1",
        table_size: 4096,
        blocks: &[Block {
            hexadecimal: "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
            fields: "\
                    custom-key: custom-header\n\
                    ",
            table: "\
                    custom-key: custom-header\n\
                    ",
            table_size: 55,
        }],
    },
    Example {
        section: "C.2.2",
        table_size: 4096,
        blocks: &[Block {
            hexadecimal: "040c2f73616d706c652f70617468",
            fields: "\
                    :path: /sample/path\n\
                    ",
            table: "",
            table_size: 0,
        }],
    },
    Example {
        section: "C.2.3",
        table_size: 4096,
        blocks: &[Block {
            hexadecimal: "100870617373776f726406736563726574",
            fields: "\
                    password: secret\n\
                    ",
            table: "",
            table_size: 0,
        }],
    },
    Example {
        section: "C.2.4",
        table_size: 4096,
        blocks: &[Block {
            hexadecimal: "82",
            fields: "\
                    :method: GET\n\
                    ",
            table: "",
            table_size: 0,
        }],
    },
    Example {
        section: "C.3",
        table_size: 4096,
        blocks: &[
            Block {
                hexadecimal: "828684410f7777772e6578616d706c652e636f6d",
                fields: "\
                    :method: GET\n\
                    :scheme: http\n\
                    :path: /\n\
                    :authority: www.example.com\n\
                    ",
                table: "\
                    :authority: www.example.com\n\
                    ",
                table_size: 57,
            },
            Block {
                hexadecimal: "828684be58086e6f2d6361636865",
                fields: "\
                    :method: GET\n\
                    :scheme: http\n\
                    :path: /\n\
                    :authority: www.example.com\n\
                    cache-control: no-cache\n\
                    ",
                table: "\
                    cache-control: no-cache\n\
                    :authority: www.example.com\n\
                    ",
                table_size: 110,
            },
            Block {
                hexadecimal: "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
                fields: "\
                    :method: GET\n\
                    :scheme: https\n\
                    :path: /index.html\n\
                    :authority: www.example.com\n\
                    custom-key: custom-value\n\
                    ",
                table: "\
                    custom-key: custom-value\n\
                    cache-control: no-cache\n\
                    :authority: www.example.com\n\
                    ",
                table_size: 164,
            },
        ],
    },
    Example {
        section: "C.4",
        table_size: 4096,
        blocks: &[
            Block {
                hexadecimal: "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                fields: "\
                    :method: GET\n\
                    :scheme: http\n\
                    :path: /\n\
                    :authority: www.example.com\n\
                    ",
                table: "\
                    :authority: www.example.com\n\
                    ",
                table_size: 57,
            },
            Block {
                hexadecimal: "828684be5886a8eb10649cbf",
                fields: "\
                    :method: GET\n\
                    :scheme: http\n\
                    :path: /\n\
                    :authority: www.example.com\n\
                    cache-control: no-cache\n\
                    ",
                table: "\
                    cache-control: no-cache\n\
                    :authority: www.example.com\n\
                    ",
                table_size: 110,
            },
            Block {
                hexadecimal: "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
                fields: "\
                    :method: GET\n\
                    :scheme: https\n\
                    :path: /index.html\n\
                    :authority: www.example.com\n\
                    custom-key: custom-value\n\
                    ",
                table: "\
                    custom-key: custom-value\n\
                    cache-control: no-cache\n\
                    :authority: www.example.com\n\
                    ",
                table_size: 164,
            },
        ],
    },
    Example {
        section: "C.5",
        table_size: 256,
        blocks: &[
            Block {
                hexadecimal: "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120\
                    474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
                fields: "\
                    :status: 302\n\
                    cache-control: private\n\
                    date: Mon, 21 Oct 2013 20:13:21 GMT\n\
                    location: https://www.example.com\n\
                    ",
                table: "\
                    location: https://www.example.com\n\
                    date: Mon, 21 Oct 2013 20:13:21 GMT\n\
                    cache-control: private\n\
                    :status: 302\n\
                    ",
                table_size: 222,
            },
            Block {
                hexadecimal: "4803333037c1c0bf",
                fields: "\
                    :status: 307\n\
                    cache-control: private\n\
                    date: Mon, 21 Oct 2013 20:13:21 GMT\n\
                    location: https://www.example.com\n\
                    ",
                table: "\
                    :status: 307\n\
                    location: https://www.example.com\n\
                    date: Mon, 21 Oct 2013 20:13:21 GMT\n\
                    cache-control: private\n\
                    ",
                table_size: 222,
            },
            Block {
                hexadecimal: "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738\
                    666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d33\
                    3630303b2076657273696f6e3d31",
                fields: "\
                    :status: 200\n\
                    cache-control: private\n\
                    date: Mon, 21 Oct 2013 20:13:22 GMT\n\
                    location: https://www.example.com\n\
                    content-encoding: gzip\n\
                    set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n\
                    ",
                table: "\
                    set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n\
                    content-encoding: gzip\n\
                    date: Mon, 21 Oct 2013 20:13:22 GMT\n\
                    ",
                table_size: 215,
            },
        ],
    },
    Example {
        section: "C.6",
        table_size: 256,
        blocks: &[
            Block {
                hexadecimal: "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad1718\
                    63c78f0b97c8e9ae82ae43d3",
                fields: "\
                    :status: 302\n\
                    cache-control: private\n\
                    date: Mon, 21 Oct 2013 20:13:21 GMT\n\
                    location: https://www.example.com\n\
                    ",
                table: "\
                    location: https://www.example.com\n\
                    date: Mon, 21 Oct 2013 20:13:21 GMT\n\
                    cache-control: private\n\
                    :status: 302\n\
                    ",
                table_size: 222,
            },
            Block {
                hexadecimal: "4883640effc1c0bf",
                fields: "\
                    :status: 307\n\
                    cache-control: private\n\
                    date: Mon, 21 Oct 2013 20:13:21 GMT\n\
                    location: https://www.example.com\n\
                    ",
                table: "\
                    :status: 307\n\
                    location: https://www.example.com\n\
                    date: Mon, 21 Oct 2013 20:13:21 GMT\n\
                    cache-control: private\n\
                    ",
                table_size: 222,
            },
            Block {
                hexadecimal: "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7\
                    b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                fields: "\
                    :status: 200\n\
                    cache-control: private\n\
                    date: Mon, 21 Oct 2013 20:13:22 GMT\n\
                    location: https://www.example.com\n\
                    content-encoding: gzip\n\
                    set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n\
                    ",
                table: "\
                    set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n\
                    content-encoding: gzip\n\
                    date: Mon, 21 Oct 2013 20:13:22 GMT\n\
                    ",
                table_size: 215,
            },
        ],
    },
];

#[test]
fn examples_of_the_rfc() {
    for example in EXAMPLES {
        let mut decoder = Decoder::new(example.table_size);
        for (block, number) in example.blocks.iter().zip(1..) {
            let what = format!("{}.{number}", example.section);
            let mut fields = Vec::new();
            let bytes = from_hexadecimal(block.hexadecimal);
            let result = decoder.decode(&bytes, usize::MAX, &mut Vec::new(), |name, value| {
                fields.push(line(name, value));
            });
            assert_eq!(result, Ok(()), "{what}");
            assert_eq!(fields.concat(), block.fields, "{what}");
            let table: String = decoder
                .table_fields()
                .map(|(name, value)| line(name, value))
                .collect();
            assert_eq!(table, block.table, "{what}");
            assert_eq!(decoder.table_size(), block.table_size, "{what}");
        }
    }
}

fn line(name: &[u8], value: &[u8]) -> String {
    format!("{}: {}\n", name.escape_ascii(), value.escape_ascii())
}

fn from_hexadecimal(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}
