//! From a file to a library in this process, and out again. The only place of this room, beside the bridge, with
//! `unsafe` in it.
//!
//! * `hash`: a file's identity;
//! * `elf`: what a file says of itself, without running any of it;
//! * `copy`: the private copy that is probed and loaded;
//! * `decl`: the exported declaration, compared and copied out;
//! * `library`: a loaded copy, its threads and its end.

pub mod copy;
pub mod decl;
pub mod elf;
pub mod hash;
pub mod library;

pub use copy::{Generations, PrivateCopy};
pub use hash::ContentHash;
pub use library::{Closed, Library, LibraryId};
