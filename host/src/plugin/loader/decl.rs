//! The exported declaration of a module: compared with what this server speaks, and copied out.
//!
//! Run in the probe child first, where a declaration that points nowhere costs nothing but that child; in the server only
//! for bytes that passed there.

use moult_plugin_api::abi::fingerprint::FINGERPRINT;
use moult_plugin_api::abi::v1::{self, FinalReport, ModuleDecl, ModuleVt, flags};
use moult_plugin_api::manifest::{MANIFEST_LIMIT, Manifest};
use std::ptr::addr_of;

const RUSTC_LIMIT: usize = 256;

/// What the server keeps of a declaration. The functions are valid as long as the library is mapped.
#[derive(Clone)]
pub struct Declaration {
    /// The manifest, parsed.
    pub manifest: Manifest,
    /// The manifest as it stands there.
    pub manifest_json: String,
    /// Compiler.
    pub rustc: String,
    /// API minor.
    pub api_minor: u16,
    /// Flags.
    pub flags: u64,
    pub(super) vt: &'static ModuleVt,
    pub(super) thread_detach: unsafe extern "C" fn() -> u32,
    pub(super) final_report: unsafe extern "C" fn(&mut FinalReport),
}

/// Compares the declaration at `decl` and copies it out. The error is one sentence.
///
/// # Safety
/// `decl` is the address of the symbol [`v1::DECLARATION_SYMBOL`] in a library that is mapped and was not entered by
/// `final_report` yet. That it holds what it claims cannot be known: whoever calls this in the server has seen the same
/// bytes pass in a probe child.
pub unsafe fn read(decl: *const ModuleDecl) -> Result<Declaration, String> {
    if decl.is_null() || !decl.is_aligned() {
        return Err(format!("its {} lies at an impossible address", v1::DECLARATION_SYMBOL));
    }
    // SAFETY: the first words are read one by one, before anything is believed to be a declaration.
    let (magic, size, major, minor, fingerprint) = unsafe {
        (
            addr_of!((*decl).magic).read(),
            addr_of!((*decl).size).read(),
            addr_of!((*decl).api_major).read(),
            addr_of!((*decl).api_minor).read(),
            addr_of!((*decl).fingerprint).read(),
        )
    };
    check_head(magic, size, major, fingerprint)?;
    // SAFETY: as above; references and function pointers are looked at as plain words, since null is no lawful value
    // of theirs.
    let pointers = unsafe {
        [
            addr_of!((*decl).vt).cast::<usize>().read(),
            addr_of!((*decl).thread_detach).cast::<usize>().read(),
            addr_of!((*decl).final_report).cast::<usize>().read(),
        ]
    };
    if pointers.contains(&0) {
        return Err("its declaration has a null function".into());
    }
    // SAFETY: magic, size and fingerprint say that a `ModuleDecl` of this layout stands here, and no pointer is null.
    let decl: &'static ModuleDecl = unsafe { &*decl };
    if (decl.vt.size as usize) < size_of::<ModuleVt>() {
        return Err(format!(
            "its function table has {} bytes; {} are expected",
            decl.vt.size,
            size_of::<ModuleVt>()
        ));
    }
    let manifest_json = text("manifest", decl.manifest.as_bytes(), MANIFEST_LIMIT)?;
    let manifest = Manifest::parse(manifest_json.as_bytes())?;
    check_flags(decl.flags)?;
    check_minor(minor, manifest.needs_minor)?;
    Ok(Declaration {
        manifest,
        manifest_json,
        rustc: text("compiler", decl.rustc.as_bytes(), RUSTC_LIMIT)?,
        api_minor: minor,
        flags: decl.flags,
        vt: decl.vt,
        thread_detach: decl.thread_detach,
        final_report: decl.final_report,
    })
}

fn check_head(magic: u64, size: u32, major: u16, fingerprint: u64) -> Result<(), String> {
    if magic != v1::MAGIC {
        return Err(format!("its {} is not a declaration of Moult", v1::DECLARATION_SYMBOL));
    }
    if major != v1::API_MAJOR {
        return Err(format!(
            "it was built for version {major} of the API, this server speaks version {}; build it against this server's \
             plugin-api",
            v1::API_MAJOR
        ));
    }
    if (size as usize) < size_of::<ModuleDecl>() {
        return Err(format!("its declaration has {size} bytes; {} are expected", size_of::<ModuleDecl>()));
    }
    if fingerprint != FINGERPRINT {
        return Err(format!(
            "its API fingerprint is {fingerprint:016x}, this server's is {FINGERPRINT:016x}: it was built against a \
             changed plugin-api; build it against the server's own"
        ));
    }
    Ok(())
}

fn check_flags(flags: u64) -> Result<(), String> {
    if flags & flags::UNWIND == 0 {
        return Err("it was built with panic = \"abort\": one panic would end the server".into());
    }
    if flags & flags::INTERPOSED == 0 {
        return Err(
            "it lacks the interposers of export_module!, without which it could not be unloaded safely"
                .into(),
        );
    }
    Ok(())
}

fn check_minor(minor: u16, needs_minor: u16) -> Result<(), String> {
    if needs_minor > v1::API_MINOR {
        return Err(format!(
            "it needs API {}.{needs_minor} (built with {}.{minor}), this server has {}.{}; update the server first",
            v1::API_MAJOR,
            v1::API_MAJOR,
            v1::API_MAJOR,
            v1::API_MINOR
        ));
    }
    Ok(())
}

fn text(what: &str, bytes: &[u8], limit: usize) -> Result<String, String> {
    if bytes.len() > limit {
        return Err(format!(
            "the {what} in its declaration has {} bytes; {limit} are the limit",
            bytes.len()
        ));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(format!("the {what} in its declaration is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_head_is_refused_with_the_reason() {
        let size = size_of::<ModuleDecl>() as u32;
        let cases = [
            (check_head(1, size, v1::API_MAJOR, FINGERPRINT), "not a declaration"),
            (check_head(v1::MAGIC, size, v1::API_MAJOR + 1, FINGERPRINT), "version 2 of the API"),
            (check_head(v1::MAGIC, size - 8, v1::API_MAJOR, FINGERPRINT), "bytes"),
            (check_head(v1::MAGIC, size, v1::API_MAJOR, FINGERPRINT ^ 1), "fingerprint"),
            (check_flags(flags::INTERPOSED), "abort"),
            (check_flags(flags::UNWIND), "interposers"),
            (check_minor(9, v1::API_MINOR + 1), "update the server"),
        ];
        for (result, part) in cases {
            assert!(result.clone().unwrap_err().contains(part), "{result:?}");
        }
    }

    #[test]
    fn a_longer_declaration_and_a_newer_minor_without_needs_are_accepted() {
        let longer = size_of::<ModuleDecl>() as u32 + 64;
        assert_eq!(check_head(v1::MAGIC, longer, v1::API_MAJOR, FINGERPRINT), Ok(()));
        assert_eq!(check_minor(v1::API_MINOR + 5, 0), Ok(()));
    }
}
