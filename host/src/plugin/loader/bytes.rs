//! A whole file in memory that is given back to the system at once; and, for the probe child, a file seen through a
//! mapping.
//!
//! Libraries are read whole, megabytes at a time, on whichever thread is free. From the common allocator each of these
//! threads' arenas would keep a hole of that size; so the bytes have a mapping of their own.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::slice;

/// The content of a file, as far as it was when its length was asked for.
#[derive(Debug)]
pub struct FileBytes {
    start: NonNull<u8>,
    /// Bytes that were read.
    len: usize,
    /// Bytes that are mapped.
    room: usize,
}

// SAFETY: the mapping belongs to this value alone, like a vector's memory.
unsafe impl Send for FileBytes {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for FileBytes {}

impl FileBytes {
    /// Reads the file from where it stands, at most `limit` bytes. A file that grows meanwhile gives one byte more than
    /// it had, so that whoever compares its content notices.
    pub fn read(file: &mut File, limit: u64) -> io::Result<FileBytes> {
        let expected = file.metadata()?.len().min(limit);
        let room = usize::try_from(expected).map_err(io::Error::other)? + 1;
        let mut bytes = FileBytes::with_room(room)?;
        while bytes.len < room {
            // SAFETY: the mapping has `room` bytes, zero at first, of which `len` are in use.
            let free =
                unsafe { slice::from_raw_parts_mut(bytes.start.as_ptr().add(bytes.len), room - bytes.len) };
            match file.read(free) {
                Ok(0) => break,
                Ok(n) => bytes.len += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(bytes)
    }

    fn with_room(room: usize) -> io::Result<FileBytes> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // All of it is about to be written, so its pages are asked for in one go.
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a new mapping of no file, wherever the system likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), room, access, kind, -1, 0) };
        match NonNull::new(start.cast::<u8>()) {
            Some(mapped) if start != libc::MAP_FAILED => Ok(FileBytes { start: mapped, len: 0, room }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes of the mapping were read into.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for FileBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and this value is borrowed alone.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for FileBytes {
    fn drop(&mut self) {
        // SAFETY: mapped with this length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.room) };
    }
}

/// A file seen through a mapping, of which only what is looked at is read. Should the file be cut meanwhile, looking kills
/// the process: for the probe child alone, where that is a refusal like any other.
#[derive(Debug)]
pub struct MappedFile {
    start: NonNull<u8>,
    len: usize,
}

impl MappedFile {
    /// Maps the whole file. An empty one cannot be mapped.
    pub fn open(path: &Path) -> io::Result<MappedFile> {
        let file = File::open(path)?;
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let fd = file.as_raw_fd();
        // SAFETY: a new mapping, wherever the system likes; the kernel keeps it when the descriptor is closed.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0) };
        match NonNull::new(start.cast::<u8>()) {
            Some(mapped) if start != libc::MAP_FAILED => Ok(MappedFile { start: mapped, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped with this length. That nobody changes the file meanwhile is the private copy's promise.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: mapped with this length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    #[test]
    fn a_file_is_read_whole_up_to_its_limit_and_an_empty_one_is_empty() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(FileBytes::read(&mut file, 10).unwrap().is_empty());
        let content: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        file.write_all(&content).unwrap();
        file.rewind().unwrap();
        let mut bytes = FileBytes::read(&mut file, u64::MAX).unwrap();
        assert_eq!(&bytes[..], &content[..]);
        bytes[0] = 7;
        assert_eq!(bytes[0], 7);
        file.rewind().unwrap();
        assert_eq!(FileBytes::read(&mut file, 10).unwrap().len(), 11, "one more tells that there is more");
    }
}
