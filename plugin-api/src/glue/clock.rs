//! Clocks that the standard library does not offer.

use std::time::Duration;

/// The processor time that the whole process has used, user and system (the sources' `statistics(runtime)`).
pub fn process_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` may be written to. The call fails only for a clock that the system lacks; then the time stays zero.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_with_work() {
        let before = process_time();
        while process_time() == before {
            std::hint::spin_loop();
        }
        assert!(process_time() > before);
    }
}
