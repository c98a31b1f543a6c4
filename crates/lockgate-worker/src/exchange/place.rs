//! A place of a request in bulkheads.

use std::sync::Arc;

/// Takes places back.
pub trait Places: Send + Sync {
    /// A place in each bulkhead of a combination is free again.
    fn give_back(self: Arc<Self>, chain: u16);
}

/// See the module documentation. It is given back when this is dropped.
pub struct Place {
    places: Arc<dyn Places>,
    chain: u16,
}

impl Place {
    /// A place in each bulkhead of a combination.
    pub fn new(places: Arc<dyn Places>, chain: u16) -> Self {
        Self { places, chain }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        Arc::clone(&self.places).give_back(self.chain);
    }
}
