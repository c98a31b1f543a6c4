//! A CA in memory that keeps the rules of RFC 8555, with faults on request, and a clock that sleeping moves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use rcgen::{CertificateSigningRequestParams, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::certificate::server_name;
use crate::protocol::failure::Failure;
use crate::protocol::{Method, NoAnswer, Request, Response};
use crate::settings::Settings;
use crate::world::World;

pub(super) const DIRECTORY: &str = "https://ca.example/dir";
pub(super) const START: u64 = 1_800_000_000;

type Fault = Box<dyn FnMut(&Request, u32) -> Option<Result<Response, NoAnswer>>>;

/// See the module.
pub(super) struct FakeCa {
    pub(super) now: u64,
    pub(super) lifetime: u64,
    pub(super) is_authorized: bool,
    pub(super) rejected: Vec<&'static str>,
    pub(super) fault: Fault,
    pub(super) requests: u32,
    pub(super) accounts: u32,
    pub(super) bound_accounts: u32,
    pub(super) changed_contacts: u32,
    pub(super) issued: u32,
    orders: Vec<String>,
    name: String,
    authorization: &'static str,
    challenge: &'static str,
    csr: Vec<u8>,
    start: Instant,
    acme_dir: PathBuf,
}

impl FakeCa {
    pub(super) fn new(acme_dir: &Path) -> Self {
        Self {
            now: START,
            lifetime: 90 * 86_400,
            is_authorized: false,
            rejected: Vec::new(),
            fault: Box::new(|_, _| None),
            requests: 0,
            accounts: 0,
            bound_accounts: 0,
            changed_contacts: 0,
            issued: 0,
            orders: Vec::new(),
            name: String::new(),
            authorization: "pending",
            challenge: "",
            csr: Vec::new(),
            start: Instant::now(),
            acme_dir: acme_dir.to_owned(),
        }
    }

    /// Orders at CAs whose URL begins so.
    pub(super) fn orders_at(&self, base: &str) -> usize {
        self.orders
            .iter()
            .filter(|url| url.starts_with(base))
            .count()
    }

    fn answer(&mut self, request: &Request) -> Response {
        let (base, path) = request.url.rsplit_once('/').unwrap();
        let link = |path: &str| format!("{base}/{path}");
        let message: Value = serde_json::from_str(&request.body).unwrap_or_default();
        let part = |member: &str| {
            let encoded = message[member].as_str().unwrap_or_default();
            let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).unwrap();
            serde_json::from_slice::<Value>(&bytes).unwrap_or_default()
        };
        let (header, payload) = (part("protected"), part("payload"));
        if request.method == Method::Post {
            assert_eq!(header["url"], request.url.as_str());
            assert!(header["nonce"].is_string());
            if path != "account" && self.accounts == 0 {
                return refusal("accountDoesNotExist");
            }
        }
        match path {
            "dir" | "directory" => without_nonce(object(&json!({
                "newNonce": link("nonce"), "newAccount": link("account"), "newOrder": link("order"),
            }))),
            "nonce" => object(&json!({})),
            "account" => {
                self.accounts += 1;
                assert_eq!(payload["termsOfServiceAgreed"], true);
                let binding = &payload["externalAccountBinding"];
                self.bound_accounts += u32::from(binding["signature"].is_string());
                at(link("account-1"), object(&json!({"status": "valid"})))
            }
            "account-1" => {
                self.changed_contacts += 1;
                object(&json!({"status": "valid"}))
            }
            "order" => {
                self.orders.push(request.url.clone());
                let name = payload["identifiers"][0]["value"].as_str().unwrap();
                name.clone_into(&mut self.name);
                self.authorization = if self.is_authorized {
                    "valid"
                } else {
                    "pending"
                };
                self.challenge = "";
                self.csr.clear();
                at(link("place"), self.order(&link))
            }
            "place" => self.order(&link),
            "authz" => self.authorization(&link),
            "http-01" | "tls-alpn-01" => {
                self.validate(path);
                object(&json!({"type": path, "status": "processing"}))
            }
            "finalize" => {
                let csr = payload["csr"].as_str().unwrap();
                self.csr = BASE64URL_NOPAD.decode(csr.as_bytes()).unwrap();
                self.order(&link)
            }
            "cert" => Response {
                body: self.certificate().into_bytes(),
                ..object(&json!({}))
            },
            other => panic!("{other}"),
        }
    }

    fn order(&self, link: &dyn Fn(&str) -> String) -> Response {
        let status = match (self.authorization, self.csr.is_empty()) {
            ("valid", false) => "valid",
            ("valid", true) => "ready",
            (other, _) => other,
        };
        object(&json!({
            "status": status, "authorizations": [link("authz")], "finalize": link("finalize"),
            "certificate": link("cert"),
        }))
    }

    fn authorization(&self, link: &dyn Fn(&str) -> String) -> Response {
        let challenge = |kind: &str| {
            json!({
                "type": kind, "url": link(kind), "token": "a-token_1", "status": "pending",
                "error": {"type": "urn:ietf:params:acme:error:connection", "detail": "no route"},
            })
        };
        object(&json!({
            "status": self.authorization,
            "challenges": [challenge("dns-01"), challenge("http-01"), challenge("tls-alpn-01")],
        }))
    }

    /// Looks for the proof where workers find it.
    fn validate(&mut self, kind: &str) {
        let folder = self.acme_dir.join("challenges").join(kind);
        let is_published = match kind {
            "http-01" => std::fs::read_to_string(folder.join("a-token_1"))
                .is_ok_and(|answer| answer.starts_with("a-token_1.")),
            _ => folder
                .join(format!("{}.pem", server_name(&self.name)))
                .exists(),
        };
        let is_valid = is_published && !self.rejected.contains(&kind);
        self.authorization = if is_valid { "valid" } else { "invalid" };
    }

    fn certificate(&mut self) -> String {
        self.issued += 1;
        let der = self.csr.as_slice().into();
        let mut request = CertificateSigningRequestParams::from_der(&der).unwrap();
        let time = |seconds: u64| {
            let seconds = i64::try_from(seconds).unwrap();
            x509_parser::time::ASN1Time::from_timestamp(seconds)
                .unwrap()
                .to_datetime()
        };
        request.params.not_before = time(self.now);
        request.params.not_after = time(self.now + self.lifetime);
        let key = KeyPair::generate().unwrap();
        let ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let issuer = Issuer::new(ca, key);
        request.signed_by(&issuer).unwrap().pem()
    }
}

fn object(value: &Value) -> Response {
    Response {
        status: 200,
        content_type: "application/json".to_owned(),
        nonce: Some("nonce-1".to_owned()),
        body: value.to_string().into_bytes(),
        ..Response::default()
    }
}

fn without_nonce(response: Response) -> Response {
    Response {
        nonce: None,
        ..response
    }
}

fn at(location: String, response: Response) -> Response {
    Response {
        status: 201,
        location: Some(location),
        ..response
    }
}

fn refusal(kind: &str) -> Response {
    Response {
        status: 400,
        ..object(
            &json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "because"}),
        )
    }
}

impl World for FakeCa {
    fn connect(&mut self, _settings: &Settings) -> Result<(), Failure> {
        Ok(())
    }

    fn send(&mut self, request: &Request) -> Result<Response, NoAnswer> {
        self.requests += 1;
        match (self.fault)(request, self.requests) {
            Some(fault) => fault,
            None => Ok(self.answer(request)),
        }
    }

    fn unix_now(&self) -> u64 {
        self.now
    }

    fn monotonic_now(&self) -> Instant {
        self.start + Duration::from_secs(self.now - START)
    }

    fn sleep(&mut self, duration: Duration) {
        self.now += duration.as_secs();
    }

    fn random(&mut self) -> u64 {
        u64::from(self.requests) * 7919
    }
}
