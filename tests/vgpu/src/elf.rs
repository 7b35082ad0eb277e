//! What the driver reads from a cubin: entries, registers, shared memory, parameters, limits.
//!
//! A cubin is an ELF file of machine 190. Entries are functions with a section `.nv.info.NAME`,
//! whose attributes have the layout that `cuobjdump -elf` shows; register counts are in `.nv.info`.

use std::collections::BTreeMap;

/// Machine number of CUDA in ELF.
const MACHINE: u16 = 190;

/// Attributes of `.nv.info` sections.
const ATTRIBUTE_MAX_THREADS: u8 = 0x05;
const ATTRIBUTE_REQUIRED_THREADS: u8 = 0x10;
const ATTRIBUTE_FRAME_SIZE: u8 = 0x11;
const ATTRIBUTE_PARAMETER: u8 = 0x17;
const ATTRIBUTE_REGISTERS: u8 = 0x2f;
/// Format of an attribute whose size and bytes follow.
const SIZED: u8 = 4;

/// One entry of a cubin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Registers a thread.
    pub(crate) registers: u32,
    /// Bytes of static shared memory.
    pub(crate) shared_bytes: u32,
    /// Bytes of local memory a thread.
    pub(crate) local_bytes: u32,
    /// Offset and size of each parameter, by its number.
    pub(crate) params: BTreeMap<u16, (u16, u16)>,
    /// Most threads of a block, where the source bounds them.
    pub(crate) max_threads: Option<u32>,
}

/// A cubin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cubin {
    /// Compute capability times ten.
    pub(crate) sm: u32,
    /// Entries by name.
    pub(crate) entries: BTreeMap<String, Entry>,
}

struct Section<'a> {
    name: &'a str,
    size: u64,
    bytes: &'a [u8],
}

/// Bytes of the ELF file at `image`, from its headers; none if it is no ELF file.
pub(crate) fn length(header: &[u8]) -> Option<usize> {
    if header.get(..4)? != b"\x7fELF" {
        return None;
    }
    let sections = field::<8>(header, 0x28)?;
    let programs = field::<8>(header, 0x20)?;
    let section_end = sections + field::<2>(header, 0x3a)? * field::<2>(header, 0x3c)?;
    let program_end = programs + field::<2>(header, 0x36)? * field::<2>(header, 0x38)?;
    Some(section_end.max(program_end) as usize)
}

/// Reads a cubin; none if it is not one.
pub(crate) fn parse(image: &[u8]) -> Option<Cubin> {
    if image.get(..4)? != b"\x7fELF" || field::<2>(image, 0x12)? as u16 != MACHINE {
        return None;
    }
    let flags = field::<4>(image, 0x30)? as u32;
    // The architecture moved to the second byte with version 8 of the ABI.
    let sm = if image[8] >= 8 { flags >> 8 & 0xff } else { flags & 0xff };
    let sections = sections(image)?;
    let symbols = symbol_names(&sections)?;
    let mut entries = BTreeMap::new();
    for section in &sections {
        if let Some(name) = section.name.strip_prefix(".nv.info.") {
            entries.insert(name.to_owned(), entry(section.bytes, &sections, name)?);
        }
    }
    let info = sections.iter().find(|section| section.name == ".nv.info");
    for (attribute, value) in attributes(info?.bytes)? {
        let symbol = symbols.get(field::<4>(value, 0).unwrap_or(0) as usize);
        let Some(entry) = symbol.and_then(|name| entries.get_mut(*name)) else { continue };
        match attribute {
            ATTRIBUTE_REGISTERS => entry.registers = field::<4>(value, 4)? as u32,
            ATTRIBUTE_FRAME_SIZE => entry.local_bytes = field::<4>(value, 4)? as u32,
            _ => {}
        }
    }
    Some(Cubin { sm, entries })
}

fn entry(info: &[u8], sections: &[Section<'_>], name: &str) -> Option<Entry> {
    let shared = sections.iter().find(|one| one.name.strip_prefix(".nv.shared.") == Some(name));
    let mut entry =
        Entry { shared_bytes: shared.map_or(0, |one| one.size as u32), ..Entry::default() };
    for (attribute, value) in attributes(info)? {
        match attribute {
            ATTRIBUTE_PARAMETER => {
                let number = field::<2>(value, 4)? as u16;
                let offset = field::<2>(value, 6)? as u16;
                let size = (field::<4>(value, 8)? >> 18) as u16;
                entry.params.insert(number, (offset, size));
            }
            ATTRIBUTE_MAX_THREADS | ATTRIBUTE_REQUIRED_THREADS => {
                let threads = field::<4>(value, 0)? * field::<4>(value, 4)? * field::<4>(value, 8)?;
                entry.max_threads = Some(threads as u32);
            }
            _ => {}
        }
    }
    Some(entry)
}

/// Attributes that carry bytes; the others say nothing that is needed.
fn attributes(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let (format, attribute) = (bytes[0], bytes[1]);
        let size = if format == SIZED { field::<2>(bytes, 2)? as usize } else { 0 };
        let value = bytes.get(4..4 + size)?;
        if format == SIZED {
            found.push((attribute, value));
        }
        bytes = &bytes[4 + size..];
    }
    Some(found)
}

fn sections(image: &[u8]) -> Option<Vec<Section<'_>>> {
    let start = field::<8>(image, 0x28)? as usize;
    let count = field::<2>(image, 0x3c)? as usize;
    let names = field::<2>(image, 0x3e)? as usize;
    let header = |index: usize| image.get(start + 64 * index..start + 64 * index + 64);
    let content = |header: &[u8]| {
        // A section of type 8 (NOBITS) has no bytes in the file.
        if field::<4>(header, 4) == Some(8) {
            return Some(&image[..0]);
        }
        let (from, size) = (field::<8>(header, 24)? as usize, field::<8>(header, 32)? as usize);
        image.get(from..from.checked_add(size)?)
    };
    let names = content(header(names)?)?;
    (0..count)
        .map(|index| {
            let header = header(index)?;
            let name = text(names, field::<4>(header, 0)? as usize)?;
            Some(Section { name, size: field::<8>(header, 32)?, bytes: content(header)? })
        })
        .collect()
}

fn symbol_names<'a>(sections: &[Section<'a>]) -> Option<Vec<&'a str>> {
    let bytes = |name: &str| sections.iter().find(|one| one.name == name).map(|one| one.bytes);
    let (symbols, names) = (bytes(".symtab")?, bytes(".strtab")?);
    symbols.chunks_exact(24).map(|symbol| text(names, field::<4>(symbol, 0)? as usize)).collect()
}

fn text(bytes: &[u8], start: usize) -> Option<&str> {
    let rest = bytes.get(start..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// `N` bytes at `offset`, lowest first.
fn field<const N: usize>(bytes: &[u8], offset: usize) -> Option<u64> {
    let mut value = [0; 8];
    value[..N].copy_from_slice(bytes.get(offset..offset + N)?);
    Some(u64::from_le_bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &[u8] = include_bytes!("../tests/kernels/basic.sm_80.cubin");

    #[test]
    fn a_compiled_image_is_read() {
        let cubin = parse(IMAGE).unwrap();
        assert_eq!(cubin.sm, 80);
        let softmax = &cubin.entries["softmax_rows_f32"];
        assert_eq!((softmax.shared_bytes, softmax.params[&2]), (128, (16, 4)));
        assert!(softmax.registers > 8, "{softmax:?}");
        assert_eq!(cubin.entries["fill_f32"].max_threads, Some(128));
        assert_eq!(cubin.entries["matmul_f32"].params.len(), 6);
        assert_eq!(length(IMAGE), Some(IMAGE.len()));
    }

    #[test]
    fn what_is_cut_or_foreign_is_refused() {
        assert_eq!(parse(b"\x7fELF"), None);
        for end in (0..IMAGE.len()).step_by(997) {
            assert_eq!(parse(&IMAGE[..end]), None, "cut at {end}");
        }
        let mut foreign = IMAGE.to_vec();
        foreign[0x12] = 62;
        assert_eq!(parse(&foreign), None);
    }
}
