//! The account key (ECDSA P-256) and the signed messages of ACME (JWS, RFC 7515, in the form of RFC 8555 §6.2).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

/// A key of the CA's customer, for external account binding (RFC 8555 §7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ExternalAccount {
    /// The key identifier that the CA has given.
    pub(crate) key_id: String,
    /// The HMAC key, decoded.
    pub(crate) hmac_key: Vec<u8>,
}

impl std::fmt::Debug for ExternalAccount {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExternalAccount({})", self.key_id)
    }
}

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnusableKey;

/// See the module.
pub(crate) struct AccountKey {
    key: EcdsaKeyPair,
    pem: String,
}

impl AccountKey {
    /// A new key.
    pub(crate) fn generate() -> Result<Self, UnusableKey> {
        let key = rcgen::KeyPair::generate().map_err(|_| UnusableKey)?;
        Self::from_pem(key.serialize_pem())
    }

    /// A key that was stored.
    pub(crate) fn from_pem(pem: String) -> Result<Self, UnusableKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| UnusableKey)?;
        let der = der.secret_pkcs8_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        Ok(Self {
            key: key.map_err(|_| UnusableKey)?,
            pem,
        })
    }

    /// The key to store.
    pub(crate) fn as_pem(&self) -> &str {
        &self.pem
    }

    /// A message that is signed by this key. `kid` is the URL of the account; without it the message has the public
    /// key. The payload of POST-as-GET is empty.
    pub(crate) fn sign(
        &self,
        kid: Option<&str>,
        nonce: &str,
        url: &str,
        payload: Option<&Value>,
    ) -> Result<String, UnusableKey> {
        let mut protected = json!({"alg": "ES256", "nonce": nonce, "url": url});
        match kid {
            Some(kid) => protected["kid"] = kid.into(),
            None => protected["jwk"] = self.public(),
        }
        let protected = encode(protected.to_string());
        let payload = payload.map(|payload| encode(payload.to_string()));
        let payload = payload.unwrap_or_default();
        let signed = format!("{protected}.{payload}");
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = encode(signature.map_err(|_| UnusableKey)?);
        let message = json!({"protected": protected, "payload": payload, "signature": signature});
        Ok(message.to_string())
    }

    /// The binding to an account outside ACME, for the registration at `url`.
    pub(crate) fn bind(&self, external: &ExternalAccount, url: &str) -> Value {
        let header = json!({"alg": "HS256", "kid": external.key_id, "url": url});
        let protected = encode(header.to_string());
        let payload = encode(self.public().to_string());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &external.hmac_key);
        let signature = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
        json!({"protected": protected, "payload": payload, "signature": encode(signature)})
    }

    /// The answer to a challenge (RFC 8555 §8.1).
    pub(crate) fn key_authorization(&self, token: &str) -> String {
        let (x, y) = self.point();
        // RFC 7638: the required members in lexical order, without white space.
        let public = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let thumbprint = digest(&SHA256, public.as_bytes());
        format!("{token}.{}", encode(thumbprint))
    }

    /// The public key (JWK).
    fn public(&self) -> Value {
        let (x, y) = self.point();
        json!({"crv": "P-256", "kty": "EC", "x": x, "y": y})
    }

    fn point(&self) -> (String, String) {
        // An uncompressed point: 4, x, y.
        let point = self.key.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
        (encode(x), encode(y))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    fn decode(text: &Value) -> Vec<u8> {
        BASE64URL_NOPAD
            .decode(text.as_str().unwrap().as_bytes())
            .unwrap()
    }

    fn object(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn a_message_is_signed_over_header_and_payload() {
        let key = AccountKey::generate().unwrap();
        let payload = json!({"a": 1});
        let url = "https://ca.example/new-order";
        for (kid, payload) in [(None, Some(&payload)), (Some("https://ca.example/1"), None)] {
            let message = object(key.sign(kid, "n1", url, payload).unwrap().as_bytes());
            let header = object(&decode(&message["protected"]));
            assert_eq!(header["alg"], "ES256");
            assert_eq!(header["nonce"], "n1");
            assert_eq!(header["url"], url);
            assert_eq!(header["kid"].as_str(), kid);
            assert_eq!(header["jwk"].is_object(), kid.is_none());
            let text = payload.map(Value::to_string).unwrap_or_default();
            assert_eq!(decode(&message["payload"]), text.as_bytes());
            let signed = format!(
                "{}.{}",
                message["protected"].as_str().unwrap(),
                message["payload"].as_str().unwrap()
            );
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.key.public_key().as_ref())
                .verify(signed.as_bytes(), &decode(&message["signature"]))
                .unwrap();
        }
    }

    #[test]
    fn a_stored_key_is_the_same_key() {
        let key = AccountKey::generate().unwrap();
        let again = AccountKey::from_pem(key.as_pem().to_owned()).unwrap();
        assert_eq!(key.public(), again.public());
        assert_eq!(key.public()["x"].as_str().unwrap().len(), 43);
        assert_eq!(key.public()["y"].as_str().unwrap().len(), 43);
        assert_eq!(key.key_authorization("t"), again.key_authorization("t"));
        assert!(AccountKey::from_pem("no key".to_owned()).is_err());
    }

    #[test]
    fn a_binding_is_an_hmac_over_the_public_key() {
        let key = AccountKey::generate().unwrap();
        let external = ExternalAccount {
            key_id: "kid-1".to_owned(),
            hmac_key: b"secret".to_vec(),
        };
        let binding = key.bind(&external, "https://ca.example/new-account");
        let header = object(&decode(&binding["protected"]));
        assert_eq!(
            header,
            json!({"alg": "HS256", "kid": "kid-1", "url": "https://ca.example/new-account"})
        );
        assert_eq!(object(&decode(&binding["payload"])), key.public());
        let signed = format!(
            "{}.{}",
            binding["protected"].as_str().unwrap(),
            binding["payload"].as_str().unwrap()
        );
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        hmac::verify(&hmac_key, signed.as_bytes(), &decode(&binding["signature"])).unwrap();
        assert_eq!(format!("{external:?}"), "ExternalAccount(kid-1)");
    }
}
