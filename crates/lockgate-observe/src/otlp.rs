//! The JSON encoding of OTLP 1: what a request to a collector contains. 64-bit numbers are texts, ids are hexadecimal.

mod logs;
mod metrics;
mod traces;

pub use logs::write_logs;
pub use metrics::{OtlpTimes, ProcessView, write_otlp_metrics};
pub use traces::write_traces;

use crate::object::Json;

/// Who sends.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    /// `service.name`
    pub service: &'a str,
    /// The version of this server.
    pub version: &'a str,
    /// `host.name`; empty: it is not known.
    pub host: &'a str,
    /// `service.instance.id`: no other server of the service has it at the same time.
    pub instance: &'a str,
}

/// Writes a request with one resource and one scope, whose items `write` adds. The keys are those of the list of
/// resources, of the list of scopes, and of the items.
fn export(
    out: &mut Vec<u8>,
    resource: Resource<'_>,
    [resources, scopes, items]: [&str; 3],
    write: impl FnOnce(&mut Json),
) {
    let mut json = Json::default();
    json.open('{');
    json.key(resources);
    json.open('[');
    json.open('{');
    json.key("resource");
    json.open('{');
    json.key("attributes");
    json.open('[');
    json.attribute("service.name", resource.service.as_bytes());
    json.attribute("service.instance.id", resource.instance.as_bytes());
    json.attribute("host.name", resource.host.as_bytes());
    json.attribute("telemetry.sdk.name", b"lockgate");
    json.attribute("telemetry.sdk.language", b"rust");
    json.attribute("telemetry.sdk.version", resource.version.as_bytes());
    json.close(']');
    json.close('}');
    json.key(scopes);
    json.open('[');
    json.open('{');
    json.key("scope");
    json.open('{');
    json.text("name", b"lockgate");
    json.text("version", resource.version.as_bytes());
    json.close('}');
    json.key(items);
    json.open('[');
    write(&mut json);
    for bracket in [']', '}', ']', '}', ']', '}'] {
        json.close(bracket);
    }
    json.finish(out);
}

impl Json {
    /// A text attribute; an empty one is left out.
    fn attribute(&mut self, key: &str, value: &[u8]) {
        if !value.is_empty() {
            self.value(key, |json| json.text("stringValue", value));
        }
    }

    fn number_attribute(&mut self, key: &str, value: u64) {
        self.value(key, |json| json.long("intValue", value));
    }

    fn seconds_attribute(&mut self, key: &str, nanoseconds: u64) {
        self.value(key, |json| json.seconds("doubleValue", nanoseconds));
    }

    /// A list of one text; an empty one is left out.
    fn list_attribute(&mut self, key: &str, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        self.value(key, |json| {
            json.key("arrayValue");
            json.open('{');
            json.key("values");
            json.open('[');
            json.open('{');
            json.text("stringValue", value);
            json.close('}');
            json.close(']');
            json.close('}');
        });
    }

    fn value(&mut self, key: &str, write: impl FnOnce(&mut Self)) {
        self.separate();
        self.open('{');
        self.text("key", key.as_bytes());
        self.key("value");
        self.open('{');
        write(self);
        self.close('}');
        self.close('}');
    }

    /// A number of 64 bits, which the JSON of protobuf writes as a text.
    fn long(&mut self, name: &str, value: u64) {
        self.text(name, value.to_string().as_bytes());
    }
}
