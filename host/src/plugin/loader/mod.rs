//! From a file to a library in this process, and out again. The only place of this room, beside the bridge, with
//! `unsafe` in it.
//!
//! * `bytes`, `hash`: a file's content and its identity;
//! * `elf`: what a file says of itself, without running any of it;
//! * `copy`: the private copy that is probed and loaded;
//! * `decl`: the exported declaration, compared and copied out;
//! * `library`: a loaded copy and its end; `residence`: what threads share about it; `mapped`: what of it is in memory;
//! * `process`, `confine`: a child with a deadline, and its limits from within;
//! * `crash`: the last words of a server that a module takes down;
//! * `allocator`: settings of the allocator that the server and its modules share;
//! * `sys`: small questions to the operating system.

pub mod allocator;
mod bytes;
pub mod confine;
pub mod copy;
pub mod crash;
pub mod decl;
pub mod elf;
pub mod hash;
pub mod library;
pub mod mapped;
pub mod process;
pub mod residence;
pub mod sys;

pub use bytes::{FileBytes, MappedFile};
pub use copy::{Generations, PrivateCopy};
pub use hash::ContentHash;
pub use library::{Closed, Leftover, Library, LibraryId};
pub use mapped::MappedBytes;
