//! Lines of the error log (`ExportLogsServiceRequest`).

use super::{Resource, export};
use crate::event::Level;
use crate::log_line::LogLine;
use crate::object::Json;

/// The logger of the server's own lines.
const SERVER: &str = "lockgate";

/// Appends the text that tells a collector of these lines.
pub fn write_logs<'r>(
    out: &mut Vec<u8>,
    resource: Resource<'_>,
    lines: impl IntoIterator<Item = LogLine<'r>>,
) {
    let keys = ["resourceLogs", "scopeLogs", "logRecords"];
    export(out, resource, keys, |json| {
        lines.into_iter().for_each(|line| json.log_record(&line));
    });
}

impl Json {
    fn log_record(&mut self, line: &LogLine<'_>) {
        self.separate();
        self.open('{');
        self.long("timeUnixNano", line.time);
        self.long("observedTimeUnixNano", line.time);
        self.number("severityNumber", severity(line.level));
        self.text("severityText", line.level.name().as_bytes());
        self.key("body");
        self.open('{');
        self.text("stringValue", line.message);
        self.close('}');
        self.key("attributes");
        self.open('[');
        self.number_attribute("process.pid", line.pid.into());
        if let Some(slot) = line.worker {
            self.number_attribute("lockgate.worker", slot.into());
        }
        if line.logger != SERVER {
            self.attribute("lockgate.logger", line.logger.as_bytes());
        }
        self.close(']');
        if line.trace_id != 0 {
            self.text("traceId", format!("{:032x}", line.trace_id).as_bytes());
            self.text("spanId", format!("{:016x}", line.span_id).as_bytes());
        }
        self.close('}');
    }
}

/// SeverityNumber: DEBUG, INFO, WARN, ERROR and FATAL, the first of each four.
fn severity(level: Level) -> u64 {
    match level {
        Level::Debug => 5,
        Level::Info => 9,
        Level::Warning => 13,
        Level::Error => 17,
        Level::Critical => 21,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_line_has_its_severity_its_process_and_its_trace() {
        let line = LogLine {
            time: 1_700_000_000_000_000_001,
            level: Level::Error,
            pid: 4711,
            worker: Some(3),
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span_id: 0xb7ad_6b71_6920_3331,
            lost_before: 0,
            logger: SERVER,
            message: b"GET / failed\n\"x\"",
        };
        let other = LogLine {
            level: Level::Info,
            worker: None,
            trace_id: 0,
            logger: "shop.orders",
            message: b"caf\xe9",
            ..line
        };
        let mut out = Vec::new();
        let resource = Resource {
            service: "shop",
            version: "1.2.3",
            host: "web1",
            instance: "web1:7",
        };
        write_logs(&mut out, resource, [line, other]);
        assert!(out.is_ascii());
        let text: Value = serde_json::from_slice(&out).unwrap();
        let records = &text["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
        assert_eq!(
            records[0],
            json!({
                "timeUnixNano": "1700000000000000001",
                "observedTimeUnixNano": "1700000000000000001",
                "severityNumber": 17,
                "severityText": "ERROR",
                "body": {"stringValue": "GET / failed\n\"x\""},
                "attributes": [
                    {"key": "process.pid", "value": {"intValue": "4711"}},
                    {"key": "lockgate.worker", "value": {"intValue": "3"}},
                ],
                "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                "spanId": "b7ad6b7169203331",
            })
        );
        assert_eq!(records[1]["body"], json!({"stringValue": "caf\u{e9}"}));
        assert_eq!(
            records[1]["attributes"][1],
            json!({"key": "lockgate.logger", "value": {"stringValue": "shop.orders"}})
        );
        assert_eq!(records[1].get("traceId"), None);
    }

    #[test]
    fn severities_rise() {
        let levels = [
            Level::Debug,
            Level::Info,
            Level::Warning,
            Level::Error,
            Level::Critical,
        ];
        assert_eq!(levels.map(severity), [5, 9, 13, 17, 21]);
    }
}
