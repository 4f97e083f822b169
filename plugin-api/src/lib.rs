//! The contract between Moult and its modules.
//!
//! * [`abi`]: the frozen `repr(C)` types that cross the boundary; no logic.

pub mod abi;

pub use abi_stable;
