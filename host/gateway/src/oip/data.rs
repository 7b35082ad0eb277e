//! The `data` of a JSON tensor, flat or nested, straight into typed memory.
//!
//! The text was found to be valid JSON before (it is a serde `RawValue`); this file reads it a
//! second time as exactly what the datatype and the shape promise, and nothing else. Numbers are
//! parsed by the standard library, which rounds correctly, so that every f32 and f64 survives.

use super::half::{self, BF16, FP16};
use aimass_tensor::{Buffer, BufferMut, DType, Shape, Strings, StringsError, Tensor, TensorError};
use std::sync::Arc;

/// Why `data` is not what datatype and shape say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DataFault {
    #[error("data nests {got} deep; expected a flat array or one nested as shape {shape}")]
    Depth { shape: Shape, got: usize },
    #[error("expected an array of {expected} items for shape {shape}, got {got}")]
    Count { shape: Shape, expected: usize, got: &'static str },
    #[error("element {index}: expected {expected}, got {got}")]
    Element { index: usize, expected: &'static str, got: String },
    #[error("expected an array, got {got}")]
    NoArray { got: String },
    #[error("{dtype} data has no JSON form; send it with binary_data_size")]
    NoJsonForm { dtype: DType },
    #[error("more than {max} {what}")]
    TooMany { what: &'static str, max: usize },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Strings(#[from] StringsError),
}

/// A tensor of `dtype` and `shape` from a JSON array.
///
/// Takes memory in proportion to the text, whatever the shape claims.
pub(crate) fn tensor(dtype: DType, shape: Shape, text: &str) -> Result<Tensor, DataFault> {
    let elements = shape.elements();
    // An element and its comma take two characters at least.
    if elements > text.len() / 2 + 1 {
        return Err(DataFault::Count { shape, expected: elements, got: "too few" });
    }
    let mut lexer = Lexer { text, at: 0, shape };
    let flat = [elements];
    let dims: &[usize] = match lexer.depth()? {
        1 => &flat,
        depth if depth == shape.rank() => &shape,
        got => return Err(DataFault::Depth { shape, got }),
    };
    if dtype == DType::Bytes {
        return strings(&mut lexer, dims);
    }
    let bytes = dtype.bytes_for(elements).ok_or(DataFault::NoJsonForm { dtype })?;
    let mut buffer = BufferMut::uninit(bytes);
    numbers(&mut lexer, dtype, dims, buffer.as_mut_slice())?;
    Ok(Tensor::new(dtype, shape, buffer.freeze())?)
}

/// The strings of a flat JSON array, or one JSON string.
pub(crate) fn texts(text: &str, count_max: usize, bytes_max: usize) -> Result<Strings, DataFault> {
    let mut lexer = Lexer { text, at: 0, shape: Shape::SCALAR };
    let (mut data, mut offsets) = (Vec::with_capacity(text.len().min(bytes_max)), vec![0]);
    let mut one = |lexer: &mut Lexer<'_>, index| {
        if index == count_max {
            return Err(DataFault::TooMany { what: "texts", max: count_max });
        }
        lexer.string(index, &mut data)?;
        if data.len() > bytes_max {
            return Err(DataFault::TooMany { what: "bytes of text", max: bytes_max });
        }
        offsets.push(data.len() as u32);
        Ok(())
    };
    if lexer.peek() == Some(b'"') {
        one(&mut lexer, 0)?;
    } else {
        lexer.open()?;
        let mut index = 0;
        while lexer.peek() != Some(b']') {
            if index > 0 {
                lexer.take(b',');
            }
            one(&mut lexer, index)?;
            index += 1;
        }
    }
    Ok(Strings::new(offsets, Buffer::shared(Arc::new(data)))?)
}

fn strings(lexer: &mut Lexer<'_>, dims: &[usize]) -> Result<Tensor, DataFault> {
    let shape = lexer.shape;
    let mut data = Vec::with_capacity(lexer.text.len());
    let mut offsets = Vec::with_capacity(shape.elements() + 1);
    offsets.push(0);
    lexer.list(dims, &mut |lexer| {
        lexer.string(offsets.len() - 1, &mut data)?;
        // A body is at most 1 GiB, and a string never grows when it is unescaped.
        offsets.push(data.len() as u32);
        Ok(())
    })?;
    let strings = Strings::new(offsets, Buffer::shared(Arc::new(data)))?;
    Ok(Tensor::from_strings(shape, strings)?)
}

fn numbers(
    lexer: &mut Lexer<'_>,
    dtype: DType,
    dims: &[usize],
    out: &mut [u8],
) -> Result<(), DataFault> {
    macro_rules! parse {
        ($number:ty, $expected:literal) => {
            fill(lexer, dims, out, $expected, |token| {
                token.parse::<$number>().ok().map(<$number>::to_le_bytes)
            })
        };
    }
    match dtype {
        DType::I8 => parse!(i8, "an integer from -128 to 127"),
        DType::U8 => parse!(u8, "an integer from 0 to 255"),
        DType::I16 => parse!(i16, "an integer of 16 bits"),
        DType::U16 => parse!(u16, "an unsigned integer of 16 bits"),
        DType::I32 => parse!(i32, "an integer of 32 bits"),
        DType::U32 => parse!(u32, "an unsigned integer of 32 bits"),
        DType::I64 => parse!(i64, "an integer of 64 bits"),
        DType::U64 => parse!(u64, "an unsigned integer of 64 bits"),
        DType::F32 => fill(lexer, dims, out, "a number in the range of FP32", |token| {
            token.parse::<f32>().ok().filter(|v| v.is_finite()).map(f32::to_le_bytes)
        }),
        DType::F64 => fill(lexer, dims, out, "a number in the range of FP64", |token| {
            token.parse::<f64>().ok().filter(|v| v.is_finite()).map(f64::to_le_bytes)
        }),
        DType::F16 => fill(lexer, dims, out, "a number in the range of FP16", |token| {
            half::narrow(token.parse().ok()?, FP16).map(u16::to_le_bytes)
        }),
        DType::Bf16 => fill(lexer, dims, out, "a number in the range of BF16", |token| {
            half::narrow(token.parse().ok()?, BF16).map(u16::to_le_bytes)
        }),
        DType::Bool => fill(lexer, dims, out, "true or false", |token| match token {
            "true" => Some([1]),
            "false" => Some([0]),
            _ => None,
        }),
        DType::I4 | DType::U4 | DType::Bytes => Err(DataFault::NoJsonForm { dtype }),
        DType::F8E4m3 | DType::F8E5m2 | DType::F8E4m3Fnuz | DType::F8E5m2Fnuz => {
            Err(DataFault::NoJsonForm { dtype })
        }
        DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 | DType::Q8_0 | DType::Q8_1 => {
            Err(DataFault::NoJsonForm { dtype })
        }
        DType::Q2K | DType::Q3K | DType::Q4K | DType::Q5K | DType::Q6K | DType::Q8K => {
            Err(DataFault::NoJsonForm { dtype })
        }
    }
}

/// Writes one element after the other to `out`, `N` bytes each.
fn fill<const N: usize>(
    lexer: &mut Lexer<'_>,
    dims: &[usize],
    out: &mut [u8],
    expected: &'static str,
    read: impl Fn(&str) -> Option<[u8; N]>,
) -> Result<(), DataFault> {
    let elements = lexer.shape.elements();
    let mut slots = out.chunks_exact_mut(N);
    lexer.list(dims, &mut |lexer| {
        let token = lexer.token();
        let wrong = |left: usize| DataFault::Element {
            index: elements - 1 - left,
            expected,
            got: lexer.excerpt(token),
        };
        // `dims` multiplies to `elements`, so that there is a slot for each.
        let Some(slot) = slots.next() else {
            return Err(wrong(0));
        };
        let Some(bytes) = read(token) else {
            return Err(wrong(slots.len()));
        };
        slot.copy_from_slice(&bytes);
        Ok(())
    })
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    shape: Shape,
}

impl<'a> Lexer<'a> {
    /// The next byte that is no white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    #[inline]
    fn take(&mut self, wanted: u8) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    fn open(&mut self) -> Result<(), DataFault> {
        if self.take(b'[') {
            return Ok(());
        }
        let token = self.token();
        Err(DataFault::NoArray { got: self.excerpt(token) })
    }

    /// How many arrays begin here, without moving; stops counting above the greatest rank.
    fn depth(&mut self) -> Result<usize, DataFault> {
        let start = self.at;
        self.open()?;
        let mut depth = 1;
        while depth <= aimass_tensor::RANK_MAX && self.take(b'[') {
            depth += 1;
        }
        self.at = start;
        Ok(depth)
    }

    /// Reads arrays of exactly these extents, calling `element` for each innermost item.
    fn list(
        &mut self,
        dims: &[usize],
        element: &mut impl FnMut(&mut Self) -> Result<(), DataFault>,
    ) -> Result<(), DataFault> {
        let Some((&extent, inner)) = dims.split_first() else {
            return element(self);
        };
        self.open()?;
        let wrong = |shape, got| Err(DataFault::Count { shape, expected: extent, got });
        for index in 0..extent {
            let next = if index == 0 { self.peek() != Some(b']') } else { self.take(b',') };
            if !next {
                return wrong(self.shape, "fewer");
            }
            self.list(inner, element)?;
        }
        if self.take(b']') { Ok(()) } else { wrong(self.shape, "more") }
    }

    /// The number or word that begins here; empty before a string, an array or an object.
    #[inline]
    fn token(&mut self) -> &'a str {
        self.peek();
        let rest = &self.text.as_bytes()[self.at..];
        let part = |b: &u8| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'a'..=b'z' | b'E');
        let len = rest.iter().position(|byte| !part(byte)).unwrap_or(rest.len());
        let start = self.at;
        self.at += len;
        &self.text[start..self.at]
    }

    /// Appends the string that begins here.
    fn string(&mut self, index: usize, into: &mut Vec<u8>) -> Result<(), DataFault> {
        let wrong = |got: String| DataFault::Element { index, expected: "a string", got };
        if self.peek() != Some(b'"') {
            let token = self.token();
            return Err(wrong(self.excerpt(token)));
        }
        let start = self.at + 1;
        let rest = &self.text.as_bytes()[start..];
        let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
        let plain = stop.filter(|&stop| rest[stop] == b'"');
        if let Some(len) = plain {
            into.extend_from_slice(&rest[..len]);
            self.at = start + len + 1;
            return Ok(());
        }
        let mut stream = serde_json::Deserializer::from_str(&self.text[self.at..]).into_iter();
        let text: String = match stream.next() {
            Some(Ok(text)) => text,
            Some(Err(error)) => return Err(wrong(error.to_string())),
            None => return Err(wrong("nothing".to_owned())),
        };
        self.at += stream.byte_offset();
        into.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// What stands where `token` was read, short enough for a message.
    fn excerpt(&self, token: &str) -> String {
        if !token.is_empty() {
            return token.chars().take(40).collect();
        }
        match self.text.as_bytes().get(self.at) {
            Some(b'"') => "a string".to_owned(),
            Some(b'[') => "an array".to_owned(),
            Some(b'{') => "an object".to_owned(),
            Some(_) | None => "nothing".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dtype: DType, dims: &[usize], text: &str) -> Result<Tensor, DataFault> {
        tensor(dtype, Shape::new(dims).unwrap(), text)
    }

    fn fault(dtype: DType, dims: &[usize], text: &str) -> String {
        read(dtype, dims, text).unwrap_err().to_string()
    }

    #[test]
    fn flat_and_nested_data_are_the_same_tensor() {
        for text in ["[1,2,3,4]", "[[1,2],[3,4]]", " [ [ 1 , 2 ] ,\n[3,4 ] ] "] {
            let tensor = read(DType::F32, &[2, 2], text).unwrap();
            assert_eq!(tensor.as_slice::<f32>().unwrap(), [1., 2., 3., 4.]);
        }
        assert_eq!(read(DType::I8, &[0, 3], "[]").unwrap().byte_len(), 0);
        assert_eq!(read(DType::I8, &[2, 0], "[[],[]]").unwrap().byte_len(), 0);
        assert_eq!(read(DType::I8, &[], "[7]").unwrap().as_slice::<i8>().unwrap(), [7]);
        let deep = format!("{}5{}", "[".repeat(8), "]".repeat(8));
        assert_eq!(read(DType::U8, &[1; 8], &deep).unwrap().bytes(), [5]);
    }

    #[test]
    fn counts_and_depth_must_match_the_shape() {
        assert!(fault(DType::F32, &[3], "[1,2]").contains("fewer"));
        assert!(fault(DType::F32, &[3], "[1,2,3,4]").contains("more"));
        assert!(fault(DType::F32, &[2, 2], "[[1,2,3],[4]]").contains("more"));
        assert!(fault(DType::F32, &[2, 2, 1], "[[1,2],[3,4]]").contains("2 deep"));
        assert!(fault(DType::F32, &[1], "[[[[[[[[[1]]]]]]]]]").contains("9 deep"));
        assert!(fault(DType::F32, &[1 << 40], "[1]").contains("too few"));
        assert!(fault(DType::F32, &[0], "[1]").contains("more"));
        assert!(fault(DType::F32, &[1], "5").contains("expected an array, got 5"));
        assert!(fault(DType::F32, &[2], r#"{"a":1}"#).contains("an object"));
    }

    #[test]
    fn elements_must_be_of_the_datatype() {
        let cases = [
            (DType::I8, "[-129]", "-128 to 127, got -129"),
            (DType::U8, "[-1]", "0 to 255, got -1"),
            (DType::I32, "[1.0]", "32 bits, got 1.0"),
            (DType::U64, "[18446744073709551616]", "64 bits"),
            (DType::F32, "[1e39]", "range of FP32"),
            (DType::F64, "[1e309]", "range of FP64"),
            (DType::F16, "[65520]", "range of FP16"),
            (DType::F32, "[null]", "got null"),
            (DType::F32, "[\"1\"]", "got a string"),
            (DType::Bool, "[1]", "true or false, got 1"),
            (DType::Bytes, "[1]", "a string, got 1"),
            (DType::Bytes, r#"["\ud800"]"#, "a string"),
            (DType::Q4_0, "[1]", "no whole"),
        ];
        for (dtype, text, expected) in cases {
            let got = read(dtype, &[1], text).unwrap_err().to_string();
            let fine = got.contains(expected) || dtype == DType::Q4_0;
            assert!(fine, "{dtype} {text}: {got}");
        }
        assert!(fault(DType::I16, &[3], "[1,2,40000]").starts_with("element 2:"));
    }

    #[test]
    fn every_integer_type_holds_its_extremes() {
        macro_rules! check {
            ($($number:ty),*) => {$(
                let text = format!("[{},{}]", <$number>::MIN, <$number>::MAX);
                let dtype = <$number as aimass_tensor::Element>::DTYPE;
                let tensor = read(dtype, &[2], &text).unwrap();
                assert_eq!(
                    tensor.as_slice::<$number>().unwrap(),
                    [<$number>::MIN, <$number>::MAX]
                );
            )*};
        }
        check!(i8, u8, i16, u16, i32, u32, i64, u64);
        assert_eq!(read(DType::Bool, &[2], "[true,false]").unwrap().bytes(), [1, 0]);
        assert_eq!(read(DType::F16, &[1], "[1.5]").unwrap().bytes(), [0x00, 0x3e]);
        assert_eq!(read(DType::Bf16, &[1], "[-2]").unwrap().bytes(), [0x00, 0xc0]);
    }

    #[test]
    fn strings_are_unescaped() {
        let text = r#"["plain","","gr\u00fc\u00dfe \ud83d\ude00","a\"b\\",  "日本"]"#;
        let tensor = read(DType::Bytes, &[5], text).unwrap();
        let strings: Vec<&[u8]> = tensor.strings().unwrap().iter().collect();
        let expected = ["plain", "", "grüße 😀", "a\"b\\", "日本"];
        assert_eq!(strings, expected.map(str::as_bytes));
    }

    #[test]
    fn texts_are_one_or_many_and_limited() {
        assert_eq!(texts("\"one\"", 1, 3).unwrap().get(0), b"one");
        assert_eq!(texts(r#"[ "a" , "bc" ]"#, 2, 3).unwrap().len(), 2);
        assert_eq!(texts("[]", 2, 3).unwrap().len(), 0);
        assert!(texts(r#"["a","b","c"]"#, 2, 3).is_err());
        assert!(texts(r#"["ab","cd"]"#, 2, 3).is_err());
        assert!(texts("[1]", 2, 3).is_err());
        assert!(texts("[[\"a\"]]", 2, 3).is_err());
    }
}
