//! An order (RFC 8555 §7.4): from the name to the certificate.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::protocol::answer::{array, nonsense, printable, problem, text};
use crate::protocol::failure::{Failure, Problem};
use crate::protocol::session::{Session, checked_url, is_token, url};
use crate::protocol::{ChallengeKind, Proof, Response};

/// Authorizations of an order that are accepted; an order of one name has one.
const MOST_AUTHORIZATIONS: usize = 8;

/// Orders a certificate for `name` and returns its chain (PEM, not yet checked). `request` is the certificate signing
/// request (DER). The kinds of challenges are tried in order, each with an order of its own: a challenge that has failed
/// makes its order invalid.
pub(crate) fn obtain(
    session: &mut Session<'_>,
    name: &str,
    kinds: &[ChallengeKind],
    request: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut failures = Vec::new();
    for kind in kinds {
        match obtain_with(session, name, *kind, request) {
            Err(failure) if failure.is_of_the_challenge() => failures.push(failure),
            outcome => return outcome,
        }
    }
    match failures.len() {
        0 => Err(Failure::NoListener),
        1 => Err(failures.remove(0)),
        _ => Err(Failure::Several(failures)),
    }
}

fn obtain_with(
    session: &mut Session<'_>,
    name: &str,
    kind: ChallengeKind,
    request: &[u8],
) -> Result<Vec<u8>, Failure> {
    let new_order = session.new_order.clone();
    let identifier = match name.parse::<std::net::IpAddr>() {
        Ok(address) => json!({"type": "ip", "value": address.to_string()}),
        Err(_) => json!({"type": "dns", "value": name}),
    };
    let payload = json!({"identifiers": [identifier]});
    let (order, response) = session.post_for_object(&new_order, Some(&payload))?;
    let place = response.location.as_deref().unwrap_or_default();
    let place = checked_url(&new_order, place, "Location")?;
    let authorizations = array(&new_order, &order, "authorizations")?;
    if authorizations.len() > MOST_AUTHORIZATIONS {
        let what = format!("asks for {} authorizations", authorizations.len());
        return Err(nonsense(&new_order, what));
    }
    for authorization in authorizations {
        let authorization = authorization.as_str().unwrap_or_default();
        let authorization = checked_url(&new_order, authorization, "authorizations")?;
        authorize(session, &authorization, name, kind)?;
    }
    let finalize = url(&new_order, &order, "finalize")?;
    let ready = order_with(session, &place, (order, response), &["ready", "valid"])?;
    let finished = match text(&place, &ready.0, "status")? {
        "valid" => ready,
        _ => {
            let payload = json!({"csr": BASE64URL_NOPAD.encode(request)});
            let finalized = session.post_for_object(&finalize, Some(&payload))?;
            order_with(session, &place, finalized, &["valid"])?
        }
    };
    let certificate = url(&place, &finished.0, "certificate")?;
    Ok(session.post(&certificate, None)?.body)
}

/// Waits until the order has one of the states.
fn order_with(
    session: &mut Session<'_>,
    place: &str,
    (mut order, mut response): (Value, Response),
    wanted: &[&str],
) -> Result<(Value, Response), Failure> {
    for looks in 0.. {
        let status = text(place, &order, "status")?;
        if wanted.contains(&status) {
            break;
        }
        match status {
            "pending" | "processing" | "ready" => {}
            "invalid" => return Err(refused(place, &order)),
            other => return Err(unknown_status(place, "order", other)),
        }
        if looks > 0 {
            session.wait_for_ca(looks, &response)?;
        }
        session.check_time(place, "to finish the order")?;
        (order, response) = session.post_for_object(place, None)?;
    }
    Ok((order, response))
}

/// Proves the control over one name, unless the CA knows it from an earlier order.
fn authorize(
    session: &mut Session<'_>,
    place: &str,
    name: &str,
    kind: ChallengeKind,
) -> Result<(), Failure> {
    let (authorization, _) = session.post_for_object(place, None)?;
    match text(place, &authorization, "status")? {
        "valid" => return Ok(()),
        "pending" => {}
        other => return Err(unknown_status(place, "authorization", other)),
    }
    let challenges = array(place, &authorization, "challenges")?;
    let kind_of = |challenge: &Value| challenge.get("type").and_then(Value::as_str).map(printable);
    let wanted = (challenges.iter())
        .find(|challenge| challenge.get("type").and_then(Value::as_str) == Some(kind.name()));
    let Some(challenge) = wanted else {
        let offered: Vec<String> = challenges.iter().take(8).filter_map(kind_of).collect();
        return Err(Failure::NoChallenge {
            offered: offered.join(", "),
        });
    };
    let token = text(place, challenge, "token")?;
    if !is_token(token) {
        let what = format!("has a token that is not base64url: {}", printable(token));
        return Err(nonsense(place, what));
    }
    let challenge = url(place, challenge, "url")?;
    let proof = Proof {
        kind,
        name: name.to_owned(),
        token: token.to_owned(),
        key_authorization: session.key.key_authorization(token),
    };
    let published = session.host.publish(&proof);
    let outcome = published.and_then(|()| prove(session, place, &challenge, kind));
    session.host.withdraw(&proof);
    outcome
}

/// Asks the CA to look at the published proof, and waits for the result.
fn prove(
    session: &mut Session<'_>,
    place: &str,
    challenge: &str,
    kind: ChallengeKind,
) -> Result<(), Failure> {
    session.post(challenge, Some(&json!({})))?;
    for looks in 0.. {
        let (authorization, response) = session.post_for_object(place, None)?;
        match text(place, &authorization, "status")? {
            "valid" => break,
            "pending" => {}
            "invalid" => {
                return Err(Failure::Challenge {
                    kind,
                    problem: challenge_problem(&authorization, kind),
                });
            }
            other => return Err(unknown_status(place, "authorization", other)),
        }
        session.check_time(place, "to verify the challenge")?;
        session.wait_for_ca(looks, &response)?;
    }
    Ok(())
}

fn challenge_problem(authorization: &Value, kind: ChallengeKind) -> Problem {
    let challenges = authorization.get("challenges").and_then(Value::as_array);
    let failed = challenges
        .into_iter()
        .flatten()
        .find(|challenge| challenge.get("type").and_then(Value::as_str) == Some(kind.name()));
    let found = failed
        .and_then(|challenge| challenge.get("error"))
        .and_then(problem);
    found.unwrap_or_else(|| Problem {
        kind: "unauthorized".to_owned(),
        detail: "the CA gives no reason".to_owned(),
        retry_after: None,
    })
}

fn refused(place: &str, order: &Value) -> Failure {
    let found = order.get("error").and_then(problem);
    Failure::Refused {
        url: place.to_owned(),
        problem: found.unwrap_or_else(|| Problem {
            kind: "invalid".to_owned(),
            detail: "the order is invalid, and the CA gives no reason".to_owned(),
            retry_after: None,
        }),
    }
}

fn unknown_status(place: &str, what: &str, status: &str) -> Failure {
    nonsense(
        place,
        format!("answers with an {what} with status {}", printable(status)),
    )
}
