//! Clocks that the standard library does not offer.

use std::time::Duration;

/// The processor time that the whole process has used, user and system (the sources' `statistics(runtime)`).
pub fn process_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` may be written to. The call fails only for a clock that the system lacks; then the time stays zero.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// How far the server's local time is ahead of UTC now, in seconds; negative west of Greenwich.
pub fn utc_offset() -> i64 {
    // SAFETY: `tm` is plain numbers and a pointer, for which all zeros are lawful; both calls write to what they are given.
    unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        let now = libc::time(std::ptr::null_mut());
        if libc::localtime_r(&raw const now, &raw mut local).is_null() { 0 } else { local.tm_gmtoff }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_is_further_than_a_day_from_greenwich() {
        assert!(utc_offset().abs() < 86_400 && utc_offset() % 60 == 0);
    }

    #[test]
    fn processor_time_grows_with_work() {
        let before = process_time();
        while process_time() == before {
            std::hint::spin_loop();
        }
        assert!(process_time() > before);
    }
}
