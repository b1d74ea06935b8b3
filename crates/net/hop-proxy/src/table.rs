//! Values under keys that never come to mean another value.

/// Most values in a [`Table`]: generations take the other bits of a token.
const INDEX_BITS: u32 = 32;
const GENERATION_BITS: u32 = 30;

/// Names a value of a [`Table`] for as long as it is there. The place of a value that has gone is used again, under
/// another generation; that wraps after 2^30 uses of one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The key in the lower 62 bits.
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.generation) << INDEX_BITS | u64::from(self.index)
    }

    /// The key in the lower 62 bits.
    pub(crate) fn unpack(word: u64) -> Self {
        let generation = (word >> INDEX_BITS) & ((1 << GENERATION_BITS) - 1);
        Self {
            index: u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX),
            generation: u32::try_from(generation).unwrap_or(u32::MAX),
        }
    }
}

/// Values, each under its key.
#[derive(Debug)]
pub(crate) struct Table<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Takes a value in.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let Ok(key) = self.try_insert_with(|_| Ok::<T, std::convert::Infallible>(value));
        key
    }

    /// Takes in a value that knows its key, if it can be made.
    pub(crate) fn try_insert_with<E>(&mut self, make: impl FnOnce(Key) -> Result<T, E>) -> Result<Key, E> {
        let key = self.next_key();
        let value = make(key)?;
        if let Some(place) = self.places.get_mut(key.index as usize) {
            place.value = Some(value);
            self.free.pop();
        }
        Ok(key)
    }

    /// The key of the last free place, which is made if there is none.
    fn next_key(&mut self) -> Key {
        if self.free.is_empty() {
            self.free.push(u32::try_from(self.places.len()).expect("fewer values than descriptors"));
            self.places.push(Place { generation: 0, value: None });
        }
        let index = *self.free.last().expect("a place was made if there was none");
        Key { index, generation: self.places.get(index as usize).map_or(0, |place| place.generation) }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.place(key)?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation == key.generation { place.value.as_mut() } else { None }
    }

    /// Gives a value back; its key means nothing from here on.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index as usize).filter(|place| place.generation == key.generation)?;
        let value = place.value.take()?;
        place.generation = (place.generation + 1) & ((1 << GENERATION_BITS) - 1);
        self.free.push(key.index);
        Some(value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let key = Key { index: u32::try_from(index).ok()?, generation: place.generation };
            Some((key, place.value.as_ref()?))
        })
    }

    fn place(&self, key: Key) -> Option<&Place<T>> {
        self.places.get(key.index as usize).filter(|place| place.generation == key.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_means_the_next_value_in_its_place() {
        let mut table = Table::new();
        let (one, two) = (table.insert('a'), table.insert('b'));
        assert_eq!(table.remove(one), Some('a'));
        let three = table.insert('c');
        assert_eq!((table.get(one), table.get(two), table.get(three)), (None, Some(&'b'), Some(&'c')));
        assert!(table.get_mut(one).is_none() && table.remove(one).is_none());
        assert_eq!(table.len(), 2);
        assert_eq!(Key::unpack(three.pack()), three);
        assert_eq!(table.iter().map(|(key, _)| key).collect::<Vec<_>>(), [three, two]);
        assert_eq!(table.try_insert_with(|_| Err("no")), Err("no"));
        assert_eq!(table.len(), 2);
    }
}
