//! What all hosts have counted, in Redis: a script that adds to it, and the names of the keys.
//!
//! Needs Redis 5, whose scripts may ask for the time and write after that.

use lockgate_config::RedisAddress;

use crate::connection::{Commands, Connection, TimeLimits};
use crate::failure::Failure;
use crate::limits::exchange::{Answer, Increment, Ledger, Seed};
use crate::resp::Reply;

/// One hash tag, and so all keys have one place in a cluster.
const SEED_KEY: &[u8] = b"lockgate:{rate}:seed";

/// Keys of one script, which no other command interrupts: one or two milliseconds.
const KEYS_OF_SCRIPT: usize = 256;

/// A key has the moment of Redis' clock at which it is paid off, in microseconds, and expires then. The first key is the
/// seed; it is written each time, so that a Redis server that takes no writes is noticed also when there is nothing to
/// add.
///
/// Lua's numbers, which are doubles, have all microseconds until the year 2255.
const SCRIPT: &str = "\
local seed = redis.call('GET', KEYS[1])
if seed and seed ~= ARGV[1] then return seed end
redis.call('SET', KEYS[1], ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer = {}
for i = 2, #KEYS do
  local paid = tonumber(redis.call('GET', KEYS[i]) or now) or now
  local owed = math.max(paid - now, 0) + tonumber(ARGV[i])
  if owed > 0 then
    redis.call('SET', KEYS[i], string.format('%.0f', now + owed), 'PX', math.ceil(owed / 1000))
  end
  answer[i - 1] = owed
end
return answer
";

/// See the module.
pub(super) struct Redis {
    connection: Connection,
}

impl Redis {
    pub(super) fn connect(address: &RedisAddress, limits: TimeLimits) -> Result<Self, Failure> {
        let connection = Connection::open(address, limits)?;
        Ok(Self { connection })
    }
}

impl Ledger for Redis {
    fn add(&mut self, seed: Seed, increments: &[Increment]) -> Result<Answer, Failure> {
        let seed_text = seed.to_text();
        let mut commands = Commands::default();
        // Without increments as well.
        let mut rest = increments;
        loop {
            let (part, others) = rest.split_at(rest.len().min(KEYS_OF_SCRIPT));
            add_command(&mut commands, &seed_text, part);
            rest = others;
            if rest.is_empty() {
                break;
            }
        }
        let mut owed = Vec::with_capacity(increments.len());
        for reply in self.connection.ask(&commands)? {
            match answer(reply).ok_or_else(|| Failure::unusable("EVAL"))? {
                Answer::Owed(part) => owed.extend(part),
                other => return Ok(other),
            }
        }
        match owed.len() == increments.len() {
            true => Ok(Answer::Owed(owed)),
            false => Err(Failure::unusable("EVAL")),
        }
    }
}

fn add_command(commands: &mut Commands, seed: &str, increments: &[Increment]) {
    let keys: Vec<String> = (increments.iter())
        .map(|increment| {
            format!(
                "lockgate:{{rate}}:{:032x}",
                u128::from_be_bytes(increment.key.to_bytes())
            )
        })
        .collect();
    let numbers: Vec<String> = (increments.iter())
        .map(|increment| increment.microseconds.to_string())
        .collect();
    let count = (increments.len() + 1).to_string();
    let mut arguments: Vec<&[u8]> = vec![b"EVAL", SCRIPT.as_bytes(), count.as_bytes(), SEED_KEY];
    arguments.extend(keys.iter().map(|key| key.as_bytes()));
    arguments.push(seed.as_bytes());
    arguments.extend(numbers.iter().map(|number| number.as_bytes()));
    commands.add(&arguments);
}

/// A list of numbers, or the seed as a string.
fn answer(reply: Reply) -> Option<Answer> {
    match reply {
        Reply::Bytes(seed) => {
            let text = String::from_utf8(seed).ok()?;
            Seed::parse(&text).map(Answer::OtherSeed)
        }
        Reply::List(owed) => {
            let owed = owed.into_iter().map(|number| match number {
                Reply::Number(number) => u64::try_from(number).ok(),
                _ => None,
            });
            owed.collect::<Option<_>>().map(Answer::Owed)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lockgate_shm::rates::KeyHash;

    use super::*;

    #[test]
    fn an_answer_is_a_list_of_numbers_or_a_seed() {
        let bytes = |text: &str| Reply::Bytes(text.as_bytes().to_vec());
        let seed = "0000000000000001000000000000000a";
        for (reply, expected) in [
            (Reply::List(Vec::new()), Some(Answer::Owed(Vec::new()))),
            (
                Reply::List(vec![Reply::Number(0), Reply::Number(7)]),
                Some(Answer::Owed(vec![0, 7])),
            ),
            (bytes(seed), Some(Answer::OtherSeed(Seed(1, 10)))),
            (bytes("other"), None),
            (Reply::List(vec![Reply::Number(-1)]), None),
            (Reply::List(vec![Reply::Nil]), None),
            (Reply::Nil, None),
        ] {
            assert_eq!(answer(reply.clone()), expected, "{reply:?}");
        }
    }

    #[test]
    fn a_command_has_the_seed_and_an_increment_for_each_key() {
        let increments = [1, 0xff].map(|key| Increment {
            key: KeyHash::from_bytes([key; 16]),
            microseconds: u64::from(key) * 1000,
        });
        let mut commands = Commands::default();
        add_command(&mut commands, "5eed", &increments);
        let text = commands.to_text();
        let words: Vec<&str> = text.split("\r\n").collect();
        let words: Vec<&str> = words.into_iter().skip(2).step_by(2).collect();
        assert_eq!(words[..2], ["EVAL", SCRIPT]);
        assert_eq!(
            words[2..],
            [
                "3",
                "lockgate:{rate}:seed",
                "lockgate:{rate}:01010101010101010101010101010101",
                "lockgate:{rate}:ffffffffffffffffffffffffffffffff",
                "5eed",
                "1000",
                "255000",
            ]
        );
    }
}
