//! What a library exports: [`export_module!`](crate::export_module) and the compile-time machinery behind it.
//!
//! The manifest is collected as a [`Source`], rendered to JSON by the compiler, and placed twice: in the declaration and
//! in an ELF note. Nothing here runs when a module is loaded.

mod check;
mod macros;
mod note;
mod options;
mod source;
mod text;

pub use check::{is_json, is_module_id};
pub use note::{Note, padded};
pub use options::{OptionReader, OptionType};
pub use source::{Depend, OptionSpec, PolicySpec, RUSTC, Scope, Source, StateSpec, StoreSpec};
pub use text::Text;
