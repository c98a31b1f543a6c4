//! The published certificates as operators see them.

use lockgate_observe::CertificateView;
use lockgate_tls::{Board, Certificate, CertificateSource};

/// The certificates on the board, parsed again when they have changed.
pub struct CertificateViews {
    board: Board,
    seen: Option<u64>,
    views: Vec<CertificateView>,
}

impl CertificateViews {
    /// For the board in a [`WorkerContext`](crate::WorkerContext).
    pub fn new(board: Board) -> Self {
        Self {
            board,
            seen: None,
            views: Vec::new(),
        }
    }

    /// The certificates, the default one first. `now` is in seconds since 1970.
    pub fn get(&mut self, now: i64) -> Vec<CertificateView> {
        let version = self.board.version();
        // While the supervisor writes, the views stay as they are.
        if self.seen != Some(version)
            && let Some(published) = self.board.read()
        {
            let origins = published
                .origins
                .into_iter()
                .chain(std::iter::repeat_with(String::new));
            self.views = (published.certificates.into_iter().zip(origins))
                .filter_map(|(source, origin)| view(source, origin))
                .collect();
            self.seen = Some(version);
        }
        let aged = self.views.iter().map(|view| CertificateView {
            days_left: CertificateView::days_between(now, view.not_after),
            ..view.clone()
        });
        aged.collect()
    }
}

fn view(source: CertificateSource, origin: String) -> Option<CertificateView> {
    let certificate = Certificate::from_source(source).ok()?;
    Some(CertificateView {
        names: certificate.names().to_vec(),
        issuer: certificate.issuer().to_owned(),
        serial: certificate.serial().to_owned(),
        key: certificate.key_kind().name().to_owned(),
        source: origin,
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        days_left: 0,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use lockgate_tls::{Material, self_signed};

    use super::*;

    #[test]
    fn certificates_are_seen_while_others_are_being_written() {
        let words: &[AtomicU64] = Vec::leak((0..1000).map(|_| AtomicU64::new(0)).collect());
        let board = Board::new(words);
        let mut views = CertificateViews::new(board);
        assert_eq!(views.get(0).len(), 0);
        let (chain, key) = self_signed(&["a.example".to_owned()], 0, 1000).unwrap();
        let made = Certificate::from_pem(chain.as_bytes(), key.as_bytes(), None).unwrap();
        let material = Material {
            certificates: vec![made.source().clone()],
            ..Material::default()
        };
        board.publish(&material).unwrap();
        assert_eq!(views.get(0).len(), 1);
        // The version is odd, as during a publication.
        words[0].fetch_add(1, Ordering::Relaxed);
        assert_eq!(views.get(0).len(), 1);
        board.publish(&Material::default()).unwrap();
        assert_eq!(views.get(0).len(), 0);
    }
}
