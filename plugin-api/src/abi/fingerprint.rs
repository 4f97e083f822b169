//! One number for the layout of the whole boundary: size, alignment and field offsets of every type in
//! [`super::v1`], hashed at compile time.
//!
//! The host compares it at every load, which costs nothing; the full check of `abi_stable` runs in the probe child.

use super::v1;
use core::mem::{align_of, offset_of, size_of};

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a over the little-endian bytes of the numbers.
const fn hash(mut state: u64, numbers: &[usize]) -> u64 {
    let mut i = 0;
    while i < numbers.len() {
        let bytes = (numbers[i] as u64).to_le_bytes();
        let mut b = 0;
        while b < 8 {
            state = (state ^ bytes[b] as u64).wrapping_mul(PRIME);
            b += 1;
        }
        i += 1;
    }
    state
}

macro_rules! layout {
    ($state:ident, $type:ty, $($field:ident),+) => {
        let $state = hash($state, &[size_of::<$type>(), align_of::<$type>(), $(offset_of!($type, $field)),+]);
    };
}

/// The fingerprint of API version 1. It is pinned by a golden test: a changed value is a new major.
pub const FINGERPRINT: u64 = {
    let h = OFFSET_BASIS;
    layout!(h, v1::InstancePtr, ptr);
    layout!(h, v1::TaskPtr, ptr);
    layout!(h, v1::InstanceInfo<'static>, module, vhost, options, generation);
    layout!(h, v1::Call<'static>, kind, target, handler, number, task_id, from, to, id, name, args, body);
    layout!(h, v1::ReplyRef<'static>, ctx, vt);
    // Tables that grow at their end count with the fields that v1.0 has, not with their size.
    let h = hash(
        h,
        &[offset_of!(v1::ReplyVt, size), offset_of!(v1::ReplyVt, write), offset_of!(v1::ReplyVt, finish)],
    );
    layout!(h, v1::PollRef, ctx);
    layout!(
        h,
        v1::Registration<'static>,
        kind,
        target,
        discipline,
        workers,
        sequence,
        reserved,
        handler,
        interval_ms,
        name,
        args
    );
    layout!(h, v1::HostRef, ctx, vt);
    let h = hash(
        h,
        &[
            offset_of!(v1::HostVt, size),
            offset_of!(v1::HostVt, log),
            offset_of!(v1::HostVt, log_enabled),
            offset_of!(v1::HostVt, register),
            offset_of!(v1::HostVt, unregister),
            offset_of!(v1::HostVt, route),
            offset_of!(v1::HostVt, op_start),
            offset_of!(v1::HostVt, op_poll),
            offset_of!(v1::HostVt, op_wait),
            offset_of!(v1::HostVt, op_cancel),
            offset_of!(v1::HostVt, task_wake),
            offset_of!(v1::HostVt, spawn),
            offset_of!(v1::HostVt, fatal),
            offset_of!(v1::HostVt, counter_add),
            offset_of!(v1::HostVt, gauge_set),
        ],
    );
    layout!(h, v1::ModuleVt, size, create, call, task_poll, task_drop, drop_instance);
    layout!(h, v1::FinalReport, own_threads, leftover_destructors, keys_deleted, a_thread);
    layout!(
        h,
        v1::ModuleDecl,
        magic,
        size,
        api_major,
        api_minor,
        fingerprint,
        flags,
        rustc,
        manifest,
        vt,
        thread_detach,
        final_report
    );
    h
};

#[cfg(test)]
mod tests {
    use super::FINGERPRINT;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_boundary_of_version_1_has_not_changed() {
        assert_eq!(FINGERPRINT, 0xd80e_cb77_ecb1_9f5b, "got {FINGERPRINT:#x}");
    }
}
