//! What of a file is mapped into this process, as the loader and the kernel see it.

use serde::Serialize;
use std::ffi::{CStr, c_int, c_void};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a library costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MappedBytes {
    /// In memory at this moment.
    pub resident: u64,
    /// Of these, those that cannot be given back while it is mapped.
    pub anonymous: u64,
}

/// Whether the loader has a library of this path.
pub fn is_loaded(path: &Path) -> bool {
    struct Search<'a> {
        path: &'a [u8],
        found: bool,
    }
    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
        // SAFETY: the loader gives a valid entry, and `search` is the value that the call below lent.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search<'_>>()) };
        if !info.dlpi_name.is_null() {
            // SAFETY: a name in the loader's list is a string that lives as long as its entry.
            let name = unsafe { CStr::from_ptr(info.dlpi_name) };
            search.found |= name.to_bytes() == search.path;
        }
        c_int::from(search.found)
    }
    let mut search = Search { path: path.as_os_str().as_bytes(), found: false };
    // SAFETY: the callback matches, does not unwind, and `search` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}

/// Whether anything of this file is mapped, by the loader or by anybody else: a library that prints a backtrace maps its
/// own file to read its symbols, and never gives that back.
pub fn is_mapped(path: &Path) -> bool {
    let path = path.to_string_lossy();
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().any(|line| line.contains(&*path))
}

/// What the mappings of this file cost, its uninitialised data included.
pub fn bytes_of(path: &Path) -> MappedBytes {
    match fs::read_to_string("/proc/self/smaps") {
        Ok(maps) => sum(&maps, &path.to_string_lossy()),
        Err(_) => MappedBytes::default(),
    }
}

fn sum(maps: &str, path: &str) -> MappedBytes {
    let mut bytes = MappedBytes::default();
    let mut counted = false;
    let mut end_of_last = 0;
    for line in maps.lines() {
        if let Some((start, end, name)) = mapping(line) {
            // Data that is zero at first has no name, and follows the mapping of the file at once.
            let zero_data = counted && name.is_empty() && start == end_of_last;
            counted = name == path || name.strip_suffix(" (deleted)") == Some(path) || zero_data;
            end_of_last = end;
        } else if counted {
            bytes.resident += kilobytes(line, "Rss:");
            bytes.anonymous += kilobytes(line, "Anonymous:");
        }
    }
    bytes
}

/// `start-end rights offset device inode   name`
fn mapping(line: &str) -> Option<(u64, u64, &str)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let mut name = rest;
    for _ in 0..4 {
        name = name.split_once(' ')?.1.trim_start();
    }
    Some((start, end, name))
}

fn kilobytes(line: &str, key: &str) -> u64 {
    let number = line.strip_prefix(key).and_then(|rest| rest.trim().strip_suffix("kB"));
    number.and_then(|n| n.trim().parse::<u64>().ok()).map_or(0, |n| n * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_of_a_file_are_summed_with_its_zero_data() {
        let maps = "1000-2000 r-xp 00000000 fe:01 77                         /g/a b.so\n\
                    Rss:                   4 kB\nAnonymous:             0 kB\n\
                    2000-3000 rw-p 00001000 fe:01 77                         /g/a b.so\n\
                    Rss:                   8 kB\nAnonymous:             8 kB\n\
                    3000-4000 rw-p 00000000 00:00 0 \n\
                    Rss:                   2 kB\nAnonymous:             2 kB\n\
                    5000-6000 rw-p 00000000 00:00 0 \n\
                    Rss:                  64 kB\nAnonymous:            64 kB\n\
                    6000-7000 rw-p 00000000 fe:01 78                         /g/a b.so2\n\
                    Rss:                  64 kB\nAnonymous:            64 kB\n";
        let bytes = sum(maps, "/g/a b.so");
        assert_eq!(bytes, MappedBytes { resident: 14 * 1024, anonymous: 10 * 1024 });
    }

    #[test]
    fn this_process_has_libc_and_no_library_of_another_name() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps.lines().filter_map(mapping).find(|m| m.2.contains("/libc.so")).unwrap().2;
        // The loader goes by the name it was given, the kernel by the real one; for our copies they are the same.
        let names = [libc, libc.trim_start_matches("/usr")];
        assert!(names.iter().any(|name| is_loaded(Path::new(name))), "{libc}");
        assert!(bytes_of(Path::new(libc)).resident > 0);
        assert!(!is_loaded(Path::new("/nowhere/libc.so")));
    }
}
