//! Other forms of responses that the server sends again and again, such as static files: encoded, or with `Vary`.
//!
//! A response is recognised by its head, which its owner keeps for all requests. While a weak reference to it is here, no
//! other head can have its address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lockgate_compress::Coding;
use lockgate_http::ResponseHead;

/// A larger part of the memory is not taken by one copy.
const LARGEST_PART: usize = 4;

const MOST_RESPONSES: usize = 1000;

/// See the module.
pub(super) struct Copies {
    state: Mutex<State>,
    /// Bytes of bodies.
    limit: usize,
}

#[derive(Default)]
struct State {
    responses: HashMap<usize, Forms>,
    bytes: usize,
    /// Counts uses.
    time: u64,
}

/// The forms of one response.
struct Forms {
    of: Weak<ResponseHead>,
    /// Not encoded, and then in each coding.
    forms: [Option<Form>; 1 + Coding::ALL.len()],
    used_at: u64,
}

/// One form.
#[derive(Clone)]
pub(super) struct Form {
    pub(super) head: Arc<ResponseHead>,
    /// `None`: that of the response itself.
    pub(super) body: Option<Arc<[u8]>>,
}

impl Copies {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            limit,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The form of the response with this head in a coding, or not encoded.
    pub(super) fn find(&self, of: &Arc<ResponseHead>, coding: Option<Coding>) -> Option<Form> {
        let mut state = self.lock();
        state.time += 1;
        let time = state.time;
        let forms = state.responses.get_mut(&address(of))?;
        forms.used_at = time;
        forms.forms[index(coding)].clone()
    }

    /// Keeps a form, if the owner of the response keeps its head.
    pub(super) fn keep(&self, of: &Arc<ResponseHead>, coding: Option<Coding>, form: Form) {
        let size = form.size();
        if Arc::strong_count(of) == 1 || size > self.limit / LARGEST_PART {
            return;
        }
        let mut state = self.lock();
        let used_at = state.time;
        let forms = (state.responses.entry(address(of))).or_insert_with(|| Forms {
            of: Arc::downgrade(of),
            forms: [const { None }; 1 + Coding::ALL.len()],
            used_at,
        });
        let replaced = forms.forms[index(coding)].replace(form);
        state.bytes += size;
        state.bytes -= replaced.map_or(0, |form| form.size());
        if state.bytes > self.limit || state.responses.len() > MOST_RESPONSES {
            state.remove_abandoned();
        }
        while state.bytes > self.limit || state.responses.len() > MOST_RESPONSES {
            state.remove_oldest();
        }
    }
}

impl State {
    /// Removes the forms of responses that are no longer sent.
    fn remove_abandoned(&mut self) {
        let bytes = &mut self.bytes;
        self.responses.retain(|_, forms| {
            let is_kept = forms.of.strong_count() > 0;
            if !is_kept {
                *bytes -= forms.size();
            }
            is_kept
        });
    }

    fn remove_oldest(&mut self) {
        let oldest = self.responses.iter().min_by_key(|(_, forms)| forms.used_at);
        let Some(address) = oldest.map(|(address, _)| *address) else {
            return;
        };
        if let Some(forms) = self.responses.remove(&address) {
            self.bytes -= forms.size();
        }
    }
}

impl Forms {
    fn size(&self) -> usize {
        self.forms.iter().flatten().map(Form::size).sum()
    }
}

impl Form {
    fn size(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.len())
    }
}

fn address(head: &Arc<ResponseHead>) -> usize {
    Arc::as_ptr(head).addr()
}

fn index(coding: Option<Coding>) -> usize {
    coding.map_or(0, |coding| 1 + coding as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(size: usize) -> Form {
        Form {
            head: Arc::default(),
            body: Some(vec![0; size].into()),
        }
    }

    #[test]
    fn a_copy_is_found_while_its_response_exists() {
        let copies = Copies::new(1000);
        let (own, other) = (
            Arc::<ResponseHead>::default(),
            Arc::<ResponseHead>::default(),
        );
        copies.keep(&own, None, form(1));
        assert!(
            copies.find(&own, None).is_none(),
            "nothing else refers to the head"
        );
        let kept = [Arc::clone(&own), Arc::clone(&other)];
        for (coding, size) in [(None, 0), (Some(Coding::Zstd), 3), (Some(Coding::Gzip), 5)] {
            copies.keep(&own, coding, form(size));
        }
        let size = |head, coding| copies.find(head, coding).map(|form| form.size());
        assert_eq!(size(&own, None), Some(0));
        assert_eq!(size(&own, Some(Coding::Zstd)), Some(3));
        assert_eq!(size(&own, Some(Coding::Brotli)), None);
        assert_eq!(size(&own, Some(Coding::Gzip)), Some(5));
        assert_eq!(size(&other, Some(Coding::Gzip)), None);
        drop((own, kept));
        let mut state = copies.lock();
        state.remove_abandoned();
        assert_eq!((state.bytes, state.responses.len()), (0, 0));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let copies = Copies::new(1000);
        let heads: Vec<_> = (0..20).map(|_| Arc::<ResponseHead>::default()).collect();
        let kept = heads.clone();
        copies.keep(&heads[0], Some(Coding::Zstd), form(251));
        assert!(
            copies.find(&heads[0], Some(Coding::Zstd)).is_none(),
            "too large"
        );
        for head in &heads {
            copies.keep(head, Some(Coding::Zstd), form(250));
            assert!(copies.find(&heads[0], Some(Coding::Zstd)).is_some());
            assert!(copies.lock().bytes <= 1000);
        }
        let found = |index: usize| copies.find(&heads[index], Some(Coding::Zstd)).is_some();
        assert_eq!(
            [0, 1, 16, 17, 18, 19].map(found),
            [true, false, false, true, true, true]
        );
        copies.keep(&heads[19], Some(Coding::Zstd), form(10));
        assert_eq!(copies.lock().bytes, 760);
        drop(kept);
    }
}
