//! Signed tokens: JSON web tokens with HMAC and SHA-256 (RFC 7519, RFC 7515), as in `Grip-Sig` and for publishing.

use std::error::Error;
use std::fmt;

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::json::{self, Map};

/// The only algorithm. A token that names another one is refused: the key is not for it.
const ALGORITHM: &str = "HS256";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who has issued it.
    pub iss: Option<String>,
    /// When it expires, in seconds since 1970.
    pub exp: u64,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureError {
    /// It has not the form of a token.
    NotAToken,
    /// It has another algorithm, or an extension that must be understood.
    Algorithm,
    /// It is not signed with the key.
    Signature,
    /// It has no time of expiry.
    NoExpiry,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotAToken => "no JSON web token",
            Self::Algorithm => "the token must have the algorithm HS256 and no critical extension",
            Self::Signature => "the token is not signed with the key",
            Self::NoExpiry => "the token has no time of expiry (exp)",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet (nbf)",
        })
    }
}

impl Error for SignatureError {}

/// A token of this issuer that expires at `exp`, in seconds since 1970.
pub fn sign(iss: &str, exp: u64, key: &[u8]) -> String {
    let header = json!({"alg": ALGORITHM, "typ": "JWT"}).to_string();
    let claims = json!({"exp": exp, "iss": iss}).to_string();
    let mut token = BASE64URL_NOPAD.encode(header.as_bytes());
    token.push('.');
    token.push_str(&BASE64URL_NOPAD.encode(claims.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let signature = hmac::sign(&key, token.as_bytes());
    token.push('.');
    token.push_str(&BASE64URL_NOPAD.encode(signature.as_ref()));
    token
}

/// What a token says that is signed with the key and valid at `now`, in seconds since 1970. With an empty key none is.
///
/// # Errors
/// When the token is not valid. The signature is compared in constant time, and nothing of the claims is read before.
pub fn verify(token: &str, key: &[u8], now: u64) -> Result<Claims, SignatureError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(SignatureError::NotAToken)?;
    let (header, claims) = signed.split_once('.').ok_or(SignatureError::NotAToken)?;
    let header = part(header)?;
    let algorithm = header.get("alg").and_then(Value::as_str);
    if algorithm != Some(ALGORITHM) || header.contains_key("crit") {
        return Err(SignatureError::Algorithm);
    }
    let signature = decoded(signature)?;
    let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let is_signed = hmac::verify(&hmac_key, signed.as_bytes(), &signature).is_ok();
    if !is_signed || key.is_empty() {
        return Err(SignatureError::Signature);
    }
    let claims = part(claims)?;
    let exp = time(&claims, "exp").ok_or(SignatureError::NoExpiry)?;
    if now >= exp {
        return Err(SignatureError::Expired);
    }
    if time(&claims, "nbf").is_some_and(|nbf| now < nbf) {
        return Err(SignatureError::NotYetValid);
    }
    let iss = claims.get("iss").and_then(Value::as_str);
    Ok(Claims {
        iss: iss.map(str::to_owned),
        exp,
    })
}

fn part(text: &str) -> Result<Map, SignatureError> {
    json::parse(&decoded(text)?).map_err(|_| SignatureError::NotAToken)
}

fn decoded(text: &str) -> Result<Vec<u8>, SignatureError> {
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| SignatureError::NotAToken)
}

/// A moment in seconds; RFC 7519 allows fractions of them.
fn time(claims: &Map, key: &str) -> Option<u64> {
    let value = claims.get(key)?;
    let seconds = || value.as_f64().filter(|seconds| *seconds >= 0.0);
    value.as_u64().or_else(|| seconds().map(|part| part as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &[u8] = b"secret";

    /// A signed token of these parts.
    fn token(header: &str, claims: &str) -> String {
        let signed = [header, claims]
            .map(|part| BASE64URL_NOPAD.encode(part.as_bytes()))
            .join(".");
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
        let signature = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }

    #[test]
    fn a_token_of_another_implementation_is_verified() {
        // RFC 7515, appendix A.1.
        let key = BASE64URL_NOPAD
            .decode(
                b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
            )
            .unwrap();
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9\
            .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
            .dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let claims = Claims {
            iss: Some("joe".to_owned()),
            exp: 1_300_819_380,
        };
        assert_eq!(verify(token, &key, 1_300_819_379), Ok(claims));
        let late = verify(token, &key, 1_300_819_380);
        assert_eq!(late, Err(SignatureError::Expired));
    }

    #[test]
    fn a_token_is_valid_until_it_expires() {
        let signed = sign("lockgate", 100, KEY);
        let claims = Claims {
            iss: Some("lockgate".to_owned()),
            exp: 100,
        };
        for (key, now, expected) in [
            (KEY, 0, Ok(claims.clone())),
            (KEY, 99, Ok(claims)),
            (KEY, 100, Err(SignatureError::Expired)),
            (b"other", 0, Err(SignatureError::Signature)),
        ] {
            assert_eq!(verify(&signed, key, now), expected, "{now}");
        }
        let with_empty_key = sign("lockgate", 100, b"");
        assert_eq!(
            verify(&with_empty_key, b"", 0),
            Err(SignatureError::Signature)
        );
    }

    #[test]
    fn header_and_claims_are_checked() {
        use SignatureError::{Algorithm, NoExpiry, NotAToken, NotYetValid};
        let hs256 = r#"{"alg":"HS256"}"#;
        let valid = r#"{"exp":100}"#;
        for (header, claims, expected) in [
            (hs256, valid, Ok(100)),
            (hs256, r#"{"exp":100.9,"iss":1}"#, Ok(100)),
            (hs256, r#"{"exp":100,"nbf":50}"#, Ok(100)),
            (hs256, r#"{"exp":100,"nbf":51}"#, Err(NotYetValid)),
            (hs256, "{}", Err(NoExpiry)),
            (hs256, r#"{"exp":"100"}"#, Err(NoExpiry)),
            (hs256, r#"{"exp":-1}"#, Err(NoExpiry)),
            (hs256, "[]", Err(NotAToken)),
            (r#"{"alg":"none"}"#, valid, Err(Algorithm)),
            (r#"{"alg":"hs256"}"#, valid, Err(Algorithm)),
            (r#"{"alg":"HS512"}"#, valid, Err(Algorithm)),
            (r#"{"alg":"HS256","crit":["x"]}"#, valid, Err(Algorithm)),
            ("{}", valid, Err(Algorithm)),
            ("1", valid, Err(NotAToken)),
        ] {
            let got = verify(&token(header, claims), KEY, 50).map(|claims| claims.exp);
            assert_eq!(got, expected, "{header} {claims}");
        }
    }

    #[test]
    fn a_text_of_another_form_is_no_token() {
        for text in [
            "",
            ".",
            "..",
            "a.b",
            "a.b.c",
            "e30.e30.e30.e30",
            "e30=.e30.e30",
        ] {
            assert!(verify(text, KEY, 0).is_err(), "{text}");
        }
        let unsigned = format!(
            "{}.",
            token("{\"alg\":\"HS256\"}", "{\"exp\":9}")
                .rsplit_once('.')
                .unwrap()
                .0
        );
        assert_eq!(verify(&unsigned, KEY, 0), Err(SignatureError::Signature));
    }

    proptest! {
        #[test]
        fn a_changed_token_is_refused(iss: String, at: prop::sample::Index, byte in 0x21..0x7f_u8) {
            let signed = sign(&iss, 100, KEY);
            prop_assert_eq!(verify(&signed, KEY, 0).map(|claims| claims.iss), Ok(Some(iss)));
            let mut changed = signed.clone().into_bytes();
            let at = at.index(changed.len());
            changed[at] = byte;
            let changed = String::from_utf8(changed).unwrap();
            prop_assert_eq!(verify(&changed, KEY, 0).is_ok(), changed == signed);
        }

        #[test]
        fn any_text_is_read_without_panic(text: String, parts in "[A-Za-z0-9_-]{0,20}(\\.[A-Za-z0-9_-]{0,20}){0,3}") {
            prop_assert!(verify(&text, KEY, 0).is_err());
            prop_assert!(verify(&parts, KEY, 0).is_err());
        }
    }
}
