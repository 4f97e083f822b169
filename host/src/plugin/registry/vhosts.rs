//! Something for each vhost. A few names are compared one by one, which costs less than to hash the one looked for; of
//! many an index is kept.

use super::Table;
use std::sync::Arc;

/// So many are compared one by one.
const FEW: usize = 4;

/// Values by vhost, in the order in which they came.
#[derive(Debug)]
pub struct ByVhost<T> {
    all: Vec<(Arc<str>, T)>,
    /// Of all, where they are not few.
    index: Table<usize>,
}

impl<T> Default for ByVhost<T> {
    fn default() -> Self {
        Self { all: Vec::new(), index: Table::default() }
    }
}

impl<T> ByVhost<T> {
    /// Puts a value in the place of what the vhost had.
    pub fn insert(&mut self, vhost: Arc<str>, value: T) {
        if let Some((_, known)) = self.all.iter_mut().find(|(known, _)| *known == vhost) {
            *known = value;
            return;
        }
        self.all.push((vhost, value));
        if self.all.len() > FEW {
            let numbered =
                self.all.iter().enumerate().map(|(number, (vhost, _))| (Arc::clone(vhost), number));
            self.index = numbered.collect();
        }
    }

    /// That of `vhost`.
    #[inline]
    pub fn get(&self, vhost: &str) -> Option<&T> {
        if self.all.len() <= FEW {
            return self.all.iter().find(|(known, _)| **known == *vhost).map(|(_, value)| value);
        }
        self.index.get(vhost).map(|&number| &self.all[number].1)
    }

    /// The vhosts.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.all.iter().map(|(vhost, _)| vhost)
    }

    /// What they have.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.all.iter().map(|(_, value)| value)
    }

    /// Both, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut T)> {
        self.all.iter_mut().map(|(vhost, value)| (&*vhost, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_are_found_and_others_are_not() {
        let mut by_vhost = ByVhost::default();
        for number in 0..3 * FEW {
            by_vhost.insert(format!("{number}.example").into(), number);
            for known in 0..3 * FEW {
                let found = by_vhost.get(&format!("{known}.example")).copied();
                assert_eq!(found, (known <= number).then_some(known));
            }
        }
        by_vhost.insert("1.example".into(), 77);
        assert_eq!((by_vhost.get("1.example"), by_vhost.values().count()), (Some(&77), 3 * FEW));
        assert_eq!(by_vhost.get(""), None);
    }
}
