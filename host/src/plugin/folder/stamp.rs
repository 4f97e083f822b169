//! What a file looks like from outside, and when that is proof of its content.

use crate::plugin::loader::sys;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Device, inode, length, and the times of the last change of content and of anything.
pub(super) type Stamp = ((u64, u64), u64, (i64, i64), (i64, i64));

/// For how long the file's own times say that it was left alone. Only used to wait less where the kernel cannot tell
/// whether somebody writes: a clock that was set back makes it zero.
pub(super) fn untouched_for(facts: &Metadata) -> Duration {
    let last = facts.ctime().max(facts.mtime());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    // Whole seconds, rounded against us.
    Duration::from_secs(u64::try_from(now - last - 1).unwrap_or(0))
}

pub(super) fn stamp(facts: &Metadata) -> Stamp {
    let (content, anything) = ((facts.mtime(), facts.mtime_nsec()), (facts.ctime(), facts.ctime_nsec()));
    ((facts.dev(), facts.ino()), facts.len(), content, anything)
}

/// The stamp of a file, if the same stamp later proves that its content is the same.
///
/// It does when nobody has the file open for writing now, and its last change lies so far back that any later one gets
/// another time: writing sets the change time to the present, and no program can set that one to anything else. Otherwise,
/// and where the kernel cannot tell, the file is read again each time.
pub(super) fn proof(file: &File, facts: &Metadata) -> Option<Stamp> {
    let long_ago = untouched_for(facts) >= Duration::from_secs(2);
    (long_ago && sys::being_written(file) == Some(false)).then(|| stamp(facts))
}
