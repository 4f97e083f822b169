//! What a library file says of itself, read without running any of it.
//!
//! [`inspect`] tells a file that is not finished (cut off, or no ELF file at all) from one that is whole and yet unfit;
//! the first kind may still be on its way into the folder. [`ElfFacts::refusal`] judges what can never be loaded, or never be
//! unloaded again. Both only look at bytes in memory, so that a file changing on disk cannot disturb them.

use moult_plugin_api::abi::v1;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, SectionHeader as _, Sym as _};
use object::{Endianness, ReadRef as _};

type Header = FileHeader64<Endianness>;
type Segments<'a> = &'a [ProgramHeader64<Endianness>];

/// What glibc itself consists of, and the unwinder: always there, never in the way of unloading.
const SYSTEM_LIBRARIES: [&str; 7] = ["libc", "libm", "libgcc_s", "libdl", "libpthread", "librt", "ld-linux"];
/// Entries of a dynamic section are two words.
const DYN_SIZE: usize = 16;

/// Why a file cannot be taken for a library.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ElfProblem {
    /// Whether more bytes might mend it.
    pub unfinished: bool,
    /// One sentence.
    pub reason: String,
}

/// What a whole file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ElfFacts {
    /// Libraries that would be loaded with it (`DT_NEEDED`, `DT_AUXILIARY`, `DT_FILTER`).
    pub needed: Vec<String>,
    /// Flag `DF_1_NODELETE`: the loader would never unmap it.
    pub nodelete: bool,
    /// Whether it is a position-independent program instead of a library.
    pub program: bool,
    /// Symbols bound `STB_GNU_UNIQUE`: the loader would never unmap it.
    pub unique_symbols: Vec<String>,
    /// Whether loading it would make every stack of the process executable.
    pub executable_stack: bool,
    /// Whether it carries the Go runtime.
    pub go: bool,
    /// Size of the exported declaration; `None` if there is none.
    pub declaration_size: Option<u64>,
    /// The manifest in its note.
    pub manifest: Option<Vec<u8>>,
}

impl ElfFacts {
    /// Why this library must not be loaded, if so.
    pub fn refusal(&self) -> Option<String> {
        if self.program {
            return Some("it is a program, not a library; build it with crate-type = [\"cdylib\"]".into());
        }
        if let Some(library) = self.needed.iter().find(|name| !is_system_library(name)) {
            return Some(format!(
                "it needs the library {library}; only libc, libm, libgcc_s and their parts are allowed, because others \
                 stay in the process after an unload"
            ));
        }
        if let Some(symbol) = self.unique_symbols.first() {
            return Some(format!(
                "it has {} unique symbols (STB_GNU_UNIQUE; the first is {symbol}), as C++ code does: it could never be \
                 unmapped",
                self.unique_symbols.len()
            ));
        }
        if self.go {
            return Some("it contains the Go runtime, which can never be unmapped".into());
        }
        if self.executable_stack {
            return Some("it asks for executable stacks, which would weaken the whole server".into());
        }
        match self.declaration_size {
            None => Some(format!(
                "it does not export {}: it is not a Moult module, or one for another major version of the API",
                v1::DECLARATION_SYMBOL
            )),
            Some(size) if size != 0 && size < size_of::<v1::ModuleDecl>() as u64 => Some(format!(
                "its {} has {size} bytes; {} are expected",
                v1::DECLARATION_SYMBOL,
                size_of::<v1::ModuleDecl>()
            )),
            Some(_) => None,
        }
    }
}

fn is_system_library(name: &str) -> bool {
    SYSTEM_LIBRARIES.iter().any(|stem| {
        name.strip_prefix(stem)
            .is_some_and(|rest| rest.starts_with(".so") || (*stem == "ld-linux" && rest.starts_with('-')))
    })
}

/// Reads a whole file.
pub fn inspect(bytes: &[u8]) -> Result<ElfFacts, ElfProblem> {
    let image = Image::parse(bytes)?;
    let mut facts = ElfFacts { executable_stack: image.executable_stack(), ..ElfFacts::default() };
    image.read_dynamic(&mut facts)?;
    image.read_sections(&mut facts)?;
    Ok(facts)
}

/// Takes the flag `DF_1_NODELETE` out of the image, so that the loader will unmap it. Says whether it was there.
pub fn clear_nodelete(bytes: &mut [u8]) -> Result<bool, ElfProblem> {
    let image = Image::parse(bytes)?;
    let endian = image.endian;
    let Some((position, flags)) = image.flags_1()? else { return Ok(false) };
    if flags & elf::DF_1_NODELETE.0 == 0 {
        return Ok(false);
    }
    let cleared = flags & !elf::DF_1_NODELETE.0;
    let word = if endian == Endianness::Little { cleared.to_le_bytes() } else { cleared.to_be_bytes() };
    let value = bytes.get_mut(position + DYN_SIZE / 2..position + DYN_SIZE);
    value.ok_or_else(|| unfit("its dynamic section lies outside the file"))?.copy_from_slice(&word);
    Ok(true)
}

struct Image<'a> {
    bytes: &'a [u8],
    header: &'a Header,
    endian: Endianness,
    segments: Segments<'a>,
}

impl<'a> Image<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Image<'a>, ElfProblem> {
        check_ident(bytes)?;
        let header =
            Header::parse(bytes).map_err(|e| unfinished(format!("its ELF header is cut off: {e}")))?;
        let endian = header.endian().map_err(|e| unfit(format!("its byte order is unknown: {e}")))?;
        check_kind(header, endian)?;
        let segments = header
            .program_headers(endian, bytes)
            .map_err(|e| unfinished(format!("its program headers lie outside the file: {e}")))?;
        let image = Image { bytes, header, endian, segments };
        image.check_segments()?;
        image.check_section_table()?;
        Ok(image)
    }

    fn check_segments(&self) -> Result<(), ElfProblem> {
        if !self.segments.iter().any(|s| s.p_type(self.endian) == elf::PT_LOAD) {
            return Err(unfit("it has nothing to load"));
        }
        for segment in self.segments {
            let (offset, size) = segment.file_range(self.endian);
            let end = offset.checked_add(size);
            if size != 0 && end.is_none_or(|end| end > self.bytes.len() as u64) {
                return Err(self.cut("a segment", end));
            }
            if segment.p_type(self.endian) == elf::PT_LOAD && segment.p_memsz(self.endian) < size {
                return Err(unfit("a segment is larger in the file than in memory"));
            }
        }
        Ok(())
    }

    /// Linkers write the section table last, so a file that was cut anywhere lacks its end. The loader itself would not
    /// notice.
    fn check_section_table(&self) -> Result<(), ElfProblem> {
        let offset = self.header.e_shoff(self.endian);
        if offset == 0 {
            return Err(unfit("it has no section table; do not strip it away"));
        }
        let count = self
            .header
            .shnum(self.endian, self.bytes)
            .map_err(|_| self.cut("the section table", Some(offset)))?;
        let entry = u64::from(self.header.e_shentsize(self.endian));
        let end = u64::from(count).checked_mul(entry).and_then(|size| size.checked_add(offset));
        if end.is_none_or(|end| end > self.bytes.len() as u64) {
            return Err(self.cut("the section table", end));
        }
        let sections = self
            .header
            .section_headers(self.endian, self.bytes)
            .map_err(|e| unfit(format!("its section table cannot be read: {e}")))?;
        for section in sections {
            let Some((offset, size)) = section.file_range(self.endian) else { continue };
            let end = offset.checked_add(size);
            if end.is_none_or(|end| end > self.bytes.len() as u64) {
                return Err(self.cut("a section", end));
            }
        }
        Ok(())
    }

    fn cut(&self, what: &str, end: Option<u64>) -> ElfProblem {
        let have = self.bytes.len();
        unfinished(match end {
            Some(end) => format!("it is cut off: {what} ends at byte {end}, the file at byte {have}"),
            None => format!("it is damaged: {what} ends nowhere"),
        })
    }

    fn dynamic(&self) -> Result<(usize, &'a [elf::Dyn64<Endianness>]), ElfProblem> {
        for segment in self.segments {
            let entries = segment
                .dynamic(self.endian, self.bytes)
                .map_err(|e| unfit(format!("its dynamic section cannot be read: {e}")))?;
            if let Some(entries) = entries {
                return Ok((segment.p_offset(self.endian) as usize, entries));
            }
        }
        Err(unfit("it has no dynamic section"))
    }

    fn flags_1(&self) -> Result<Option<(usize, u64)>, ElfProblem> {
        let (start, entries) = self.dynamic()?;
        let found = entries
            .iter()
            .take_while(|entry| entry.tag(self.endian) != elf::DT_NULL)
            .position(|entry| entry.tag(self.endian) == elf::DT_FLAGS_1);
        Ok(found.map(|i| (start + i * DYN_SIZE, entries[i].val(self.endian))))
    }

    fn read_dynamic(&self, facts: &mut ElfFacts) -> Result<(), ElfProblem> {
        let (_, entries) = self.dynamic()?;
        let mut strings = None;
        let mut needed = Vec::new();
        for entry in entries.iter().take_while(|entry| entry.tag(self.endian) != elf::DT_NULL) {
            match entry.tag(self.endian) {
                elf::DT_STRTAB => strings = Some(entry.val(self.endian)),
                elf::DT_NEEDED | elf::DT_AUXILIARY | elf::DT_FILTER => needed.push(entry.val(self.endian)),
                _ => {}
            }
        }
        let flags = self.flags_1()?.map_or(0, |(_, flags)| flags);
        facts.nodelete = flags & elf::DF_1_NODELETE.0 != 0;
        facts.program = flags & elf::DF_1_PIE.0 != 0;
        for offset in needed {
            let name = strings
                .and_then(|table: u64| self.string_at(table.checked_add(offset)?))
                .ok_or_else(|| unfit("a name of a needed library lies outside the file"))?;
            facts.needed.push(name);
        }
        Ok(())
    }

    /// The string at an address, as the loader would see it.
    fn string_at(&self, address: u64) -> Option<String> {
        let segment = self.segments.iter().find(|s| {
            let start = s.p_vaddr(self.endian);
            s.p_type(self.endian) == elf::PT_LOAD
                && (start..start.saturating_add(s.p_filesz(self.endian))).contains(&address)
        })?;
        let start = segment.p_offset(self.endian).checked_add(address - segment.p_vaddr(self.endian))?;
        let bytes = self.bytes.get(usize::try_from(start).ok()?..)?;
        let end = memchr::memchr(0, bytes)?;
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    fn executable_stack(&self) -> bool {
        let stack = self.segments.iter().find(|s| s.p_type(self.endian) == elf::PT_GNU_STACK);
        // Without the entry the loader assumes the worst on this architecture.
        stack.map_or(cfg!(target_arch = "x86_64"), |s| s.p_flags(self.endian).0 & elf::PF_X.0 != 0)
    }

    fn read_sections(&self, facts: &mut ElfFacts) -> Result<(), ElfProblem> {
        let sections = self
            .header
            .sections(self.endian, self.bytes)
            .map_err(|e| unfit(format!("its section names cannot be read: {e}")))?;
        for section in sections.iter() {
            let name = sections.section_name(self.endian, section).unwrap_or_default();
            if name == v1::NOTE_SECTION.as_bytes() {
                let data = section
                    .data(self.endian, self.bytes)
                    .map_err(|e| unfit(format!("its note cannot be read: {e}")))?;
                facts.manifest = manifest_in_note(data, self.endian).or(facts.manifest.take());
            }
            facts.go |= name == b".go.buildinfo" || name == b".note.go.buildid";
        }
        self.read_symbols(&sections, facts)
    }

    fn read_symbols(
        &self,
        sections: &object::read::elf::SectionTable<'a, Header>,
        facts: &mut ElfFacts,
    ) -> Result<(), ElfProblem> {
        let symbols = sections
            .symbols(self.endian, self.bytes, elf::SHT_DYNSYM)
            .map_err(|e| unfit(format!("its symbols cannot be read: {e}")))?;
        for symbol in symbols.iter().filter(|s| !s.is_undefined(self.endian)) {
            let name = symbols.symbol_name(self.endian, symbol).unwrap_or_default();
            if symbol.st_bind() == elf::STB_GNU_UNIQUE {
                facts.unique_symbols.push(String::from_utf8_lossy(name).into_owned());
            }
            if name == v1::DECLARATION_SYMBOL.as_bytes() {
                facts.declaration_size = Some(symbol.st_size(self.endian));
            }
        }
        Ok(())
    }
}

/// The first sixteen bytes: is it an ELF file of this class and byte order at all?
fn check_ident(bytes: &[u8]) -> Result<(), ElfProblem> {
    if bytes.is_empty() {
        return Err(unfinished("it is empty"));
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(unfinished("it is not an ELF file"));
    }
    let class = bytes.get(4).copied().ok_or_else(|| unfinished("its ELF header is cut off"))?;
    if class != elf::ELFCLASS64.0 {
        return Err(unfit("it is not a 64-bit library, and this server is"));
    }
    let own = if cfg!(target_endian = "little") { elf::ELFDATA2LSB } else { elf::ELFDATA2MSB };
    match bytes.get(5) {
        None => Err(unfinished("its ELF header is cut off")),
        Some(order) if *order != own.0 => Err(unfit("it is built for the other byte order")),
        Some(_) => Ok(()),
    }
}

fn check_kind(header: &Header, endian: Endianness) -> Result<(), ElfProblem> {
    let machine = header.e_machine(endian);
    if machine.0 != OWN_MACHINE.0 {
        return Err(unfit(format!(
            "it is built for {}, this server for {}",
            machine_name(machine.0),
            machine_name(OWN_MACHINE.0)
        )));
    }
    match header.e_type(endian) {
        elf::ET_DYN => Ok(()),
        elf::ET_REL => Err(unfit("it is an object file, not a shared library")),
        elf::ET_EXEC => Err(unfit("it is a program, not a shared library")),
        elf::ET_CORE => Err(unfit("it is a core dump, not a shared library")),
        other => Err(unfit(format!("its ELF type is {}, not that of a shared library", other.0))),
    }
}

#[cfg(target_arch = "x86_64")]
const OWN_MACHINE: elf::Machine = elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const OWN_MACHINE: elf::Machine = elf::EM_AARCH64;
#[cfg(target_arch = "riscv64")]
const OWN_MACHINE: elf::Machine = elf::EM_RISCV;

fn machine_name(machine: u16) -> String {
    let known = [
        (elf::EM_X86_64, "x86-64"),
        (elf::EM_AARCH64, "AArch64"),
        (elf::EM_RISCV, "RISC-V"),
        (elf::EM_386, "32-bit x86"),
        (elf::EM_ARM, "32-bit ARM"),
        (elf::EM_PPC64, "PowerPC"),
        (elf::EM_S390, "S/390"),
    ];
    match known.iter().find(|(number, _)| number.0 == machine) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("machine number {machine}"),
    }
}

/// Notes are triples of words (length of owner, length of content, type), each part padded to four bytes.
fn manifest_in_note(mut data: &[u8], endian: Endianness) -> Option<Vec<u8>> {
    loop {
        let header: &[u8] = data.read_bytes_at(0, 12).ok()?;
        let word = |i: usize| {
            let bytes = [header[i], header[i + 1], header[i + 2], header[i + 3]];
            if endian == Endianness::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
        };
        let (owner_len, content_len, kind) = (word(0) as usize, word(4) as usize, word(8));
        let content_start = 12 + owner_len.checked_next_multiple_of(4)?;
        let content_end = content_start.checked_add(content_len)?;
        let owner = data.get(12..12 + owner_len)?;
        let content = data.get(content_start..content_end)?;
        if owner == v1::NOTE_OWNER && kind == v1::NOTE_TYPE_MANIFEST {
            return Some(content.to_vec());
        }
        data = data.get(content_end.checked_next_multiple_of(4)?..)?;
    }
}

fn unfinished(reason: impl Into<String>) -> ElfProblem {
    ElfProblem { unfinished: true, reason: reason.into() }
}

fn unfit(reason: impl Into<String>) -> ElfProblem {
    ElfProblem { unfinished: false, reason: reason.into() }
}
