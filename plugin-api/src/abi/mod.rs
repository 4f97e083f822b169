//! The boundary: `repr(C)` types and nothing else.
//!
//! Every API version is a frozen module ([`v1`]). A type in it never changes, because the full layout check of
//! `abi_stable` refuses an older module as soon as one field was appended. What a later minor adds is a new number
//! ([`v1::call`], [`v1::registration`], [`v1::op`]), or a new struct in a module of its own that begins with the frozen
//! table: [`v1::HostVt`] and [`v1::ReplyVt`] carry their size, so a newer module sees whether the longer table is there.
//! So a newer host loads every older module of the same major. Any other change is a new major beside `v1`.
//!
//! Four rules hold for every item, each of them paid for with a crash:
//!
//! * **Borrow in.** A pointer, [`RStr`](abi_stable::std_types::RStr) or [`RSlice`](abi_stable::std_types::RSlice) given
//!   to a function is valid until that function returns, and no longer, unless the item says otherwise.
//! * **Copy out.** Replies, errors and state leave only through the host's callbacks, which copy.
//! * **Nothing of a module is kept.** The host stores no pointer, no waker and no `'static` of a module beyond the life
//!   of the instance; what it must remember of the declaration it copies at load.
//! * **No panic crosses.** The glue of the export macro catches on the module's side; the host's callbacks catch on the
//!   host's side.

pub mod fingerprint;
#[allow(unsafe_code, reason = "Send and Sync of the boundary's tokens are promised here")]
#[allow(non_camel_case_types, reason = "abi_stable derives the name ModuleRoot_Ref")]
pub mod v1;
