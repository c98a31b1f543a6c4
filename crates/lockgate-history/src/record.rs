//! Records of the log of the history.

use crate::bytes::{Reader, Writer};
use crate::event::Event;
use crate::paths::PathTally;
use crate::point::{Moment, Point};
use crate::slow::SlowRequest;

/// Bytes of the labels of top paths.
pub(crate) const MOST_PATH_BYTES: usize = 3000;
/// Bytes of a slow request.
pub(crate) const MOST_SLOW_BYTES: usize = 6 * 1024;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// The counters, each second.
    Point(Box<Point>),
    /// The top paths since the last such record, up to a moment.
    Paths(Moment, PathTally),
    /// A slow request. A later record of the same request replaces it.
    Slow(SlowRequest),
    /// An event that the admin process has seen.
    Event(Event),
}

const POINT: u64 = 1;
const PATHS: u64 = 2;
const SLOW: u64 = 3;
const EVENT: u64 = 4;

impl Record {
    /// The record as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Point(point) => {
                writer.number(POINT);
                point.write(&mut writer);
            }
            Self::Paths(at, tally) => {
                writer.numbers(&[PATHS, at.monotonic, at.unix]);
                tally.write(&mut writer, MOST_PATH_BYTES);
            }
            Self::Slow(request) => {
                writer.number(SLOW);
                request.write(&mut writer);
            }
            Self::Event(event) => {
                writer.number(EVENT);
                event.write(&mut writer);
            }
        }
        writer.finish()
    }

    /// `None` if it is not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let record = match reader.number()? {
            POINT => Self::Point(Box::new(Point::read(&mut reader)?)),
            PATHS => {
                let [monotonic, unix] = reader.numbers()?;
                Self::Paths(Moment { monotonic, unix }, PathTally::read(&mut reader)?)
            }
            SLOW => Self::Slow(SlowRequest::read(&mut reader)?),
            EVENT => Self::Event(Event::read(&mut reader)?),
            _ => return None,
        };
        reader.is_empty().then_some(record)
    }
}
