//! How often modules have passed on what the running call is about. A stanza that a module routes while it is called
//! about another one counts one hop more than that one; so the router recognises modules that send each other the same
//! thing for ever.
//!
//! The number belongs to the thread for as long as module code runs on it. What a module routes from a thread of its own
//! begins anew: no counter can tell where its idea came from.

use std::cell::Cell;

thread_local! {
    static HOPS: Cell<u8> = const { Cell::new(0) };
}

/// Hops of what the running call is about; 0 outside of module code.
#[inline]
pub fn hops() -> u8 {
    HOPS.get()
}

/// Puts the number before back.
pub(super) struct Acting(u8);

/// The thread runs module code on behalf of something with so many hops, until the value given back is dropped. Nests: a
/// module may route to another one inline.
#[inline]
pub(super) fn acting_for(hops: u8) -> Acting {
    Acting(HOPS.replace(hops))
}

impl Drop for Acting {
    fn drop(&mut self) {
        HOPS.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_back_when_the_inner_call_ends() {
        let outer = acting_for(3);
        let inner = acting_for(4);
        assert_eq!(hops(), 4);
        drop(inner);
        assert_eq!(hops(), 3);
        drop(outer);
        assert_eq!(hops(), 0);
    }
}
