//! What classes stand for: from the configuration, a file of lines, or the metadata of an ONNX file.

use aimass_sdk::files::File;
use aimass_sdk::prelude::*;
use serde::Deserialize;

/// Bytes of all labels at most.
const LABEL_BYTES_MAX: u64 = 16 << 20;

/// Entries and fields of an ONNX file that are looked at before it is given up.
const FIELDS_MAX: usize = 10_000;

/// The field of `ModelProto` that holds metadata entries.
const METADATA_FIELD: u64 = 14;

/// Which class is the blank.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Blank {
    #[default]
    First,
    Last,
}

/// Where labels come from.
#[derive(Debug, Default)]
pub(crate) struct LabelsConfig {
    pub(crate) inline: Option<Vec<String>>,
    pub(crate) file: Option<String>,
    pub(crate) onnx_file: Option<String>,
    pub(crate) onnx_key: String,
    pub(crate) space: bool,
    pub(crate) blank: Blank,
}

/// Labels by class.
#[derive(Debug)]
pub(crate) struct Labels {
    names: Vec<String>,
    blank: Blank,
}

impl Labels {
    /// Reads them.
    ///
    /// # Errors
    /// `input/config` unless exactly one source is named; `input/labels` if it holds none;
    /// `limit/file-bytes`, `not-found/file`.
    pub(crate) fn load(config: LabelsConfig) -> Result<Self> {
        let mut names = match (config.inline, config.file, config.onnx_file) {
            (Some(names), None, None) => names,
            (None, Some(file), None) => lines(&File::open(&file)?.read_all(LABEL_BYTES_MAX)?)?,
            (None, None, Some(file)) => {
                let file = File::open(&file)?;
                let size = file.size();
                lines(&metadata(&|offset, len| file.read(offset, len), size, &config.onnx_key)?)?
            }
            (None, None, None) | (_, Some(_), _) | (Some(_), _, _) => {
                let message = "expected one of labels, labels_file and onnx_file";
                return Err(Error::input("config", message));
            }
        };
        if config.space {
            names.push(" ".to_owned());
        }
        if names.is_empty() {
            return Err(Error::input("labels", "expected at least one label, got none"));
        }
        Ok(Labels { names, blank: config.blank })
    }

    /// How many classes a model of these labels has.
    pub(crate) fn classes(&self) -> usize {
        self.names.len() + 1
    }

    /// The label of a class; none of the blank.
    pub(crate) fn of(&self, class: i64) -> Option<&str> {
        let class = usize::try_from(class).ok()?;
        let index = match self.blank {
            Blank::First => class.checked_sub(1)?,
            Blank::Last => class,
        };
        self.names.get(index).map(String::as_str)
    }

    #[cfg(test)]
    pub(crate) fn of_names(names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Labels { names, blank: Blank::First }
    }
}

/// The lines of a text; one newline at its end does not start another.
pub(crate) fn lines(text: &[u8]) -> Result<Vec<String>> {
    let text = core::str::from_utf8(text)
        .map_err(|error| Error::input("labels", format!("labels: expected UTF-8: {error}")))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned()).collect())
}

/// Reads bytes `offset..offset + len` of a file.
pub(crate) type Read<'a> = &'a dyn Fn(u64, u64) -> Result<Vec<u8>>;

/// The value of a metadata entry of an ONNX file, of which no more is read than leads there.
pub(crate) fn metadata(read: Read<'_>, size: u64, key: &str) -> Result<Vec<u8>> {
    let absent = || {
        let message = format!("onnx_file: expected a metadata entry {key:?}, found none");
        Error::input("labels", message)
    };
    let mut at = 0;
    for _ in 0..FIELDS_MAX {
        if at >= size {
            return Err(absent());
        }
        let head = read(at, (size - at).min(20))?;
        let (field, start, len) = field(&head).ok_or_else(broken)?;
        let end = (at + start).checked_add(len).filter(|end| *end <= size).ok_or_else(broken)?;
        if field == METADATA_FIELD {
            if len > LABEL_BYTES_MAX {
                let message =
                    format!("expected labels of at most {LABEL_BYTES_MAX} bytes, got {len}");
                return Err(Error::limit("file-bytes", message));
            }
            let entry = read(at + start, len)?;
            if let Some(value) = value_of(&entry, key) {
                return Ok(value.to_vec());
            }
        }
        at = end;
    }
    Err(absent())
}

fn broken() -> Error {
    Error::input("labels", "onnx_file: expected an ONNX model, got something else")
}

/// Number, start and length of the content of the field that `bytes` start with.
fn field(bytes: &[u8]) -> Option<(u64, u64, u64)> {
    let (tag, tag_len) = varint(bytes)?;
    let rest = &bytes[tag_len..];
    let (before, len) = match tag & 7 {
        0 => (0, varint(rest)?.1 as u64),
        1 => (0, 8),
        2 => varint(rest).map(|(len, bytes)| (bytes as u64, len))?,
        5 => (0, 4),
        _ => return None,
    };
    Some((tag >> 3, tag_len as u64 + before, len))
}

fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// The value of a `StringStringEntryProto` if it has this key.
fn value_of<'a>(entry: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let (mut found, mut value) = (false, None);
    let mut rest = entry;
    while !rest.is_empty() {
        let (number, start, len) = field(rest)?;
        let end = usize::try_from(start.checked_add(len)?).ok()?;
        let content = rest.get(start as usize..end)?;
        match number {
            1 => found = content == key.as_bytes(),
            2 => value = Some(content),
            _ => {}
        }
        rest = &rest[end..];
    }
    value.filter(|_| found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inline(names: &[&str]) -> LabelsConfig {
        let inline = Some(names.iter().map(|name| (*name).to_owned()).collect());
        LabelsConfig { inline, ..LabelsConfig::default() }
    }

    fn find(model: &[u8], key: &str) -> Result<Vec<u8>> {
        let read = |offset: u64, len: u64| Ok(model[offset as usize..][..len as usize].to_vec());
        metadata(&read, model.len() as u64, key)
    }

    /// Version 8, a graph of five bytes, and two metadata entries.
    const MODEL: &[u8] =
        b"\x08\x08\x3a\x05graph\x72\x07\x0a\x01k\x12\x02no\x72\x0c\x0a\x05chars\x12\x03a\nb";

    #[test]
    fn the_blank_is_the_first_or_the_last_class() {
        let first = Labels::load(inline(&["a", "b"])).unwrap();
        assert_eq!(
            (first.of(0), first.of(1), first.of(2), first.of(3)),
            (None, Some("a"), Some("b"), None)
        );
        let last = LabelsConfig { blank: Blank::Last, space: true, ..inline(&["a"]) };
        let last = Labels::load(last).unwrap();
        assert_eq!(
            (last.of(0), last.of(1), last.of(2), last.of(-1)),
            (Some("a"), Some(" "), None, None)
        );
        assert_eq!((first.classes(), last.classes()), (3, 3));
    }

    #[test]
    fn exactly_one_source_is_expected() {
        assert_eq!(Labels::load(LabelsConfig::default()).unwrap_err().code, "config");
        let two = LabelsConfig { file: Some("x".to_owned()), ..inline(&["a"]) };
        assert_eq!(Labels::load(two).unwrap_err().code, "config");
        assert_eq!(Labels::load(inline(&[])).unwrap_err().code, "labels");
    }

    #[test]
    fn a_line_may_be_a_blank() {
        assert_eq!(
            lines("a\r\n\u{3000}\n \n".as_bytes()),
            Ok(vec!["a".into(), "\u{3000}".into(), " ".into()])
        );
        assert_eq!(lines(b"\xff").unwrap_err().code, "labels");
    }

    #[test]
    fn metadata_of_an_onnx_file_is_found_behind_its_graph() {
        assert_eq!(find(MODEL, "chars"), Ok(b"a\nb".to_vec()));
        assert_eq!(find(MODEL, "k"), Ok(b"no".to_vec()));
        assert!(find(MODEL, "x").unwrap_err().message.ends_with("found none"));
        assert!(find(&MODEL[..MODEL.len() - 1], "x").unwrap_err().message.contains("ONNX model"));
        assert!(find(b"\x07", "x").is_err());
        assert!(find(&b"\x08\x01".repeat(FIELDS_MAX + 1), "x").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = find(&bytes, "chars");
            let _ = value_of(&bytes, "chars");
        }
    }
}
