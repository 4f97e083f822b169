//! Which files may become code of the server: regular ones that lie in the folder and that nobody else can change.

use super::{Verdict, unreadable};
use crate::plugin::error::Fault;
use crate::plugin::loader::sys;
use std::fs::{self, File, Metadata, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Opens the regular file at `path` if it really lies inside the folder, whatever symbolic links say.
pub(super) fn open_inside(path: &Path, real_dir: &Path) -> Result<File, Verdict> {
    let refused = |why: String| Verdict::Refused(Fault::Operator, why);
    let link = fs::symlink_metadata(path).map_err(unreadable)?.is_symlink();
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(e) if link => return Err(refused(format!("is a symbolic link that leads nowhere: {e}"))),
        Err(e) => return Err(unreadable(e)),
    };
    if !real.starts_with(real_dir) {
        return Err(refused(format!(
            "is a symbolic link that leads out of the folder, to {}",
            real.display()
        )));
    }
    check_folders_between(&real, real_dir)?;
    if !fs::metadata(&real).map_err(unreadable)?.is_file() {
        return Err(refused("is not a regular file".into()));
    }
    // Between the look above and this call the name may have got another meaning: no link is followed, nothing blocks,
    // and what was opened is looked at once more.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&real).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(refused("is not a regular file".into()));
    }
    match fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
        Ok(opened) if !opened.starts_with(real_dir) => Err(refused("was moved out of the folder".into())),
        _ => Ok(file),
    }
}

fn check_folders_between(real: &Path, real_dir: &Path) -> Result<(), Verdict> {
    for folder in real.ancestors().skip(1).take_while(|folder| *folder != real_dir) {
        let facts = fs::metadata(folder).map_err(unreadable)?;
        check_rights(&facts).map_err(|why| {
            Verdict::Refused(Fault::Operator, format!("lies in {}, which {why}", folder.display()))
        })?;
    }
    Ok(())
}

/// Code that the server will run must not be changeable by anybody but its own user and root. Being writable by the
/// server's own group, or root's, is no harm: on many systems each user has a group of their own and files are made so.
pub(super) fn check_rights(facts: &Metadata) -> Result<(), String> {
    let (user, group) = sys::effective_ids();
    if facts.uid() != user && facts.uid() != 0 {
        return Err(format!(
            "belongs to user {}; it must belong to user {user}, whom the server runs as, or to root",
            facts.uid()
        ));
    }
    if facts.mode() & 0o002 != 0 {
        return Err("is writable by everybody; take that away with chmod o-w".into());
    }
    if facts.mode() & 0o020 != 0 && facts.gid() != group && facts.gid() != 0 {
        return Err(format!("is writable by group {}; take that away with chmod g-w", facts.gid()));
    }
    Ok(())
}
