//! Settings of the C library's allocator, which the server and the libraries of its modules share.
//!
//! As it comes, it adapts to the largest block that was ever freed: after the first module file was read, blocks of that
//! size stay in the heap, and the heap keeps what it has grown by. It also opens a heap for nearly every thread. Both are
//! settled here, before there are threads.
//!
//! Measured with `cargo bench -p moult-host --bench modules -- --only echo --updates 1500` on two cores, the settings made
//! through the environment, resident after 100 and after 1,500 updates: as it comes 8.8 and 9.2 MB; with the threshold
//! 7.8 and 8.1 MB; with two heaps as well 7.8 and 8.2 MB, and 72 mappings instead of 86. What still grows is the
//! allocator's cache per thread, which fills up to seven blocks of each size up to 1 KiB (some 200 kB per thread at most):
//! with `GLIBC_TUNABLES=glibc.malloc.tcache_count=0` alone it was 8.38 and 8.40 MB. That cache is what makes allocating
//! cheap, and it can be set by the environment alone, so it is left as it is.

/// Blocks of this size and more are mapped one by one, and go back to the system when they are freed.
const MAPPED_FROM: i32 = 128 * 1024;

/// Heaps beside one for each processor: threads outside the runtimes' workers share them.
const SPARE_HEAPS: usize = 2;

/// Settles the allocator. To be called before the first thread is started.
pub fn settle() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let heaps = i32::try_from(processors + SPARE_HEAPS).unwrap_or(i32::MAX);
    // SAFETY: each call changes one setting of the allocator and touches nothing else.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_ARENA_MAX, heaps);
    }
}
