//! The subscribers of each channel.
//!
//! A channel's subscribers are in one vector, from which a message is delivered. Channels with more than a few have an
//! index, too, so that the time of a change does not grow with them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::mem::size_of;
use std::ops::Deref;
use std::sync::Arc;

/// Subscribers that a channel has without an index; a search among these few is as fast as one in the index.
const FEW: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Channels<T> {
    channels: HashMap<Box<str>, Channel<T>>,
    /// Subscriptions in all of them.
    subscriptions: usize,
}

/// The subscribers that a channel had at one moment. Later changes are not seen in it.
#[derive(Debug, Clone)]
pub struct Subscribers<T>(Arc<Vec<T>>);

impl<T> Deref for Subscribers<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

#[derive(Debug)]
struct Channel<T> {
    /// Shared while a message is being delivered; the first change of that time copies it.
    subscribers: Arc<Vec<T>>,
    /// The position of each; empty while there are few.
    index: HashMap<T, u32>,
}

impl<T: Copy + Eq + Hash> Channels<T> {
    /// No subscriptions.
    pub fn new() -> Self {
        Self {
            channels: HashMap::new(),
            subscriptions: 0,
        }
    }

    /// Adds a subscription; `false` if there is one already.
    pub fn subscribe(&mut self, channel: &str, subscriber: T) -> bool {
        let is_new = match self.channels.get_mut(channel) {
            Some(channel) => channel.add(subscriber),
            None => {
                let channel = self.channels.entry(channel.into());
                channel.or_insert_with(Channel::new).add(subscriber)
            }
        };
        self.subscriptions += usize::from(is_new);
        is_new
    }

    /// Removes a subscription; `false` if there is none.
    pub fn unsubscribe(&mut self, channel: &str, subscriber: T) -> bool {
        let Some(found) = self.channels.get_mut(channel) else {
            return false;
        };
        let was_there = found.remove(subscriber);
        if found.subscribers.is_empty() {
            self.channels.remove(channel);
            shrink(&mut self.channels);
        }
        self.subscriptions -= usize::from(was_there);
        was_there
    }

    /// The subscribers of a channel as they are now; `None` if there are none.
    ///
    /// Where a delivery pauses, [`Self::is_subscribed`] says whether a subscriber has gone meanwhile.
    pub fn subscribers(&self, channel: &str) -> Option<Subscribers<T>> {
        let channel = self.channels.get(channel)?;
        Some(Subscribers(Arc::clone(&channel.subscribers)))
    }

    /// Whether there is this subscription.
    pub fn is_subscribed(&self, channel: &str, subscriber: T) -> bool {
        let channel = self.channels.get(channel);
        channel.is_some_and(|channel| channel.position(subscriber).is_some())
    }

    /// Channels that have a subscriber.
    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// Subscriptions in all channels.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions
    }

    /// Bytes that all of this occupies, computed from sizes and capacities.
    pub fn memory(&self) -> usize {
        let channels = self.channels.iter().map(|(name, channel)| {
            // The counts of an `Arc` stand before its value.
            let vector = 2 * size_of::<usize>() + size_of::<Vec<T>>();
            let subscribers = channel.subscribers.capacity() * size_of::<T>();
            name.len() + vector + subscribers + table_bytes(&channel.index)
        });
        size_of::<Self>() + table_bytes(&self.channels) + channels.sum::<usize>()
    }
}

impl<T: Copy + Eq + Hash> Default for Channels<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy + Eq + Hash> Channel<T> {
    fn new() -> Self {
        Self {
            subscribers: Arc::default(),
            index: HashMap::new(),
        }
    }

    fn position(&self, subscriber: T) -> Option<usize> {
        if self.index.is_empty() {
            return self.subscribers.iter().position(|one| *one == subscriber);
        }
        self.index.get(&subscriber).map(|place| *place as usize)
    }

    fn add(&mut self, subscriber: T) -> bool {
        let place = self.subscribers.len() as u32;
        if self.index.is_empty() {
            if self.subscribers.contains(&subscriber) {
                return false;
            }
        } else {
            match self.index.entry(subscriber) {
                Entry::Occupied(_) => return false,
                Entry::Vacant(free) => {
                    free.insert(place);
                }
            }
        }
        let subscribers = Arc::make_mut(&mut self.subscribers);
        subscribers.push(subscriber);
        if self.index.is_empty() && subscribers.len() > FEW {
            self.index = subscribers.iter().copied().zip(0..).collect();
        }
        true
    }

    fn remove(&mut self, subscriber: T) -> bool {
        let Some(place) = self.position(subscriber) else {
            return false;
        };
        let subscribers = Arc::make_mut(&mut self.subscribers);
        subscribers.swap_remove(place);
        if !self.index.is_empty() {
            self.index.remove(&subscriber);
            if let Some(moved) = subscribers.get(place) {
                self.index.insert(*moved, place as u32);
            }
        }
        // Half of the bound, so that changes around it do not make the index again and again.
        if subscribers.len() <= FEW / 2 {
            self.index = HashMap::new();
        }
        if subscribers.len() < subscribers.capacity() / 4 {
            subscribers.shrink_to(subscribers.len() * 2);
        }
        shrink(&mut self.index);
        true
    }
}

/// Gives memory back when most of the table is empty. It halves then, so the time is amortized over the removals.
fn shrink<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.len() < table.capacity() / 4 {
        table.shrink_to(table.len() * 2);
    }
}

/// Bytes of a table: its buckets, a power of two of which seven eighths are filled, each with a byte of control.
fn table_bytes<K, V>(table: &HashMap<K, V>) -> usize {
    if table.capacity() == 0 {
        return 0;
    }
    let buckets = (table.capacity() * 8 / 7).next_power_of_two();
    buckets * (size_of::<(K, V)>() + 1) + 16
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ten_thousand_subscriptions_of_one_channel_take_less_than_a_hundred_bytes_each() {
        let mut channels: Channels<u64> = Channels::new();
        let mut most = 0;
        for subscriber in 0..10_000 {
            channels.subscribe("news", subscriber);
            let per_subscription = channels.memory() / (subscriber as usize + 1);
            if subscriber >= 100 {
                most = most.max(per_subscription);
            }
        }
        assert!(most <= 60, "{most} bytes");
        let per_subscription = channels.memory() / 10_000;
        assert!(per_subscription <= 45, "{per_subscription} bytes");
    }

    #[test]
    fn channels_of_one_subscriber_have_no_index() {
        let mut channels: Channels<u64> = Channels::new();
        for subscriber in 0..10_000_u64 {
            channels.subscribe(&format!("user-{subscriber}"), subscriber);
        }
        let per_channel = channels.memory() / 10_000;
        assert!(per_channel <= 300, "{per_channel} bytes");
    }

    #[test]
    fn memory_is_given_back() {
        let mut channels: Channels<u64> = Channels::new();
        let empty = channels.memory();
        for subscriber in 0..10_000 {
            channels.subscribe("news", subscriber);
        }
        for subscriber in 10..10_000 {
            channels.unsubscribe("news", subscriber);
        }
        let few = channels.memory();
        assert!(few < 2000, "{few} bytes");
        for subscriber in 0..10 {
            channels.unsubscribe("news", subscriber);
        }
        assert_eq!(channels.channel_count(), 0);
        assert!(channels.memory() < empty + 1000);
    }

    #[test]
    fn a_delivery_sees_the_subscribers_of_its_beginning() {
        let mut channels = Channels::new();
        for subscriber in 0..100 {
            channels.subscribe("news", subscriber);
        }
        let subscribers = channels.subscribers("news").unwrap();
        let mut delivered = Vec::new();
        for (index, subscriber) in subscribers.iter().enumerate() {
            channels.subscribe("news", 1000 + index);
            channels.unsubscribe("news", 99 - index);
            if channels.is_subscribed("news", *subscriber) {
                delivered.push(*subscriber);
            }
        }
        assert_eq!(delivered, (0..50).collect::<Vec<_>>());
        let later = channels.subscribers("news").unwrap();
        let later: BTreeSet<usize> = later.iter().copied().collect();
        assert_eq!(later, (1000..1100).collect());
    }

    proptest! {
        #[test]
        fn subscriptions_are_a_set(
            changes in vec((any::<bool>(), 0..3_usize, 0..40_u32), 0..400),
        ) {
            let mut channels = Channels::new();
            let mut model: [BTreeSet<u32>; 3] = Default::default();
            for (is_subscription, channel, subscriber) in changes {
                let name = ["a", "b", "c"][channel];
                let (got, expected) = if is_subscription {
                    (channels.subscribe(name, subscriber), model[channel].insert(subscriber))
                } else {
                    (channels.unsubscribe(name, subscriber), model[channel].remove(&subscriber))
                };
                prop_assert_eq!(got, expected);
                prop_assert_eq!(channels.is_subscribed(name, subscriber), is_subscription);
                let got: Vec<u32> = channels
                    .subscribers(name)
                    .map(|subscribers| subscribers.to_vec())
                    .unwrap_or_default();
                prop_assert_eq!(got.len(), model[channel].len());
                prop_assert_eq!(&got.into_iter().collect::<BTreeSet<_>>(), &model[channel]);
            }
            let all = model.iter().map(BTreeSet::len).sum::<usize>();
            prop_assert_eq!(channels.subscription_count(), all);
            let used = model.iter().filter(|set| !set.is_empty()).count();
            prop_assert_eq!(channels.channel_count(), used);
        }
    }
}
