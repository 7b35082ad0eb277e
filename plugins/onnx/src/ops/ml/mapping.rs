//! Finite maps from elements to elements.

use crate::content::{floats_of, ints_of, number_tensor, scalar};
use crate::node::Cx;
use crate::value::{R, T, TensorValue, invalid};
use aimass_sdk::DType;
use std::collections::HashMap;

/// Width of a table that is indexed by the key itself.
const TABLE_MAX: i64 = 1 << 16;
/// Keys that every element is compared with, where a table does not do.
const COMPARED_KEYS_MAX: usize = 1024;

/// Keys, the values of each, and the value of everything else. A key that comes again counts for its
/// last value.
pub(super) struct Mapping {
    /// A vector.
    pub(super) keys: T,
    /// A vector of the same length.
    pub(super) values: T,
    /// One element of the dtype of `values`.
    pub(super) default: T,
}

/// A key to look up in the plugin.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Whole(i64),
    /// The bits of a float; any NaN is one, and so are both zeros.
    Float(u64),
    Text(Vec<u8>),
}

impl Mapping {
    /// Maps every element.
    ///
    /// # Errors
    /// If keys and values do not pair up, or `x` is not of the keys' dtype.
    pub(super) fn apply(&self, cx: &mut Cx<'_>, x: &T) -> R<T> {
        if self.keys.elements()? != self.values.elements()? {
            let (keys, values) = (self.keys.elements()?, self.values.elements()?);
            return Err(invalid(format!("expected a value for each key, got {values} for {keys}")));
        }
        if x.dtype != self.keys.dtype || self.values.dtype != self.default.dtype {
            let (expected, got) = (self.keys.dtype.name(), x.dtype.name());
            return Err(invalid(format!("expected elements of type {expected}, got {got}")));
        }
        let numbers = ![x.dtype, self.values.dtype].contains(&DType::Bytes);
        if numbers && !x.is_known() {
            let mapped = match x.dtype {
                DType::F16 | DType::Bf16 | DType::F32 | DType::F64 => self.compare(cx, x)?,
                _ => self.table(cx, x)?,
            };
            if let Some(mapped) = mapped {
                return Ok(mapped);
            }
        }
        self.look_up(cx, x)
    }

    /// Element by element in the plugin; `x` is observed.
    fn look_up(&self, cx: &mut Cx<'_>, x: &T) -> R<T> {
        let mut index_of: HashMap<Key, usize> = HashMap::new();
        for (index, key) in elements(cx, &self.keys)?.into_iter().enumerate() {
            index_of.insert(key, index);
        }
        if !x.is_known() {
            // What is looked up is data: a stage that depends on it is not kept.
            cx.reusable = false;
        }
        let found = elements(cx, x)?;
        let places = found.iter().map(|key| index_of.get(key).copied());
        let shape = x.shape()?;
        if self.values.dtype == DType::Bytes {
            let (values, default) = (cx.strings(&self.values)?, cx.strings(&self.default)?);
            let default = default.first().cloned().unwrap_or_default();
            let text = |place: Option<usize>| match place {
                Some(place) => values[place].clone(),
                None => default.clone(),
            };
            return Ok(TensorValue::of_strings(&shape, places.map(text).collect()));
        }
        let (values, default) = (cx.content(&self.values)?, cx.content(&self.default)?);
        let size = self.values.dtype.element_bytes().unwrap_or(1) as usize;
        let bytes = places.flat_map(|place| match place {
            Some(place) => &values[place * size..(place + 1) * size],
            None => &default[..size],
        });
        Ok(TensorValue::of_bytes(self.values.dtype, &shape, bytes.copied().collect()))
    }

    /// Values, then the default.
    fn values_and_default(&self, cx: &mut Cx<'_>) -> R<Vec<u8>> {
        let mut bytes = cx.content(&self.values)?.to_vec();
        bytes.extend_from_slice(&cx.content(&self.default)?);
        Ok(bytes)
    }

    /// Whole numbers that lie close: one gather from a table. None if they lie far apart.
    fn table(&self, cx: &mut Cx<'_>, x: &T) -> R<Option<T>> {
        let keys = cx.ints(&self.keys)?;
        let (Some(&least), Some(&most)) = (keys.iter().min(), keys.iter().max()) else {
            return Ok(None);
        };
        let Some(span) = most.checked_sub(least).filter(|span| *span < TABLE_MAX) else {
            return self.compare(cx, x);
        };
        let size = self.values.dtype.element_bytes().unwrap_or(1) as usize;
        let (values, default) = (cx.content(&self.values)?, cx.content(&self.default)?);
        let mut table = default.repeat(span as usize + 2);
        for (index, key) in keys.iter().enumerate() {
            let at = (key - least) as usize * size;
            table[at..at + size].copy_from_slice(&values[index * size..(index + 1) * size]);
        }
        let table = TensorValue::of_bytes(self.values.dtype, &[span as u64 + 2], table);
        let x = cx.cast(x, DType::I64)?;
        let whole = |value: i64| TensorValue::of_bytes(DType::I64, &[], value.to_le_bytes().into());
        let (above, below) =
            (cx.greater_equal(&x, &whole(least))?, cx.less_equal(&x, &whole(most))?);
        let inside = cx.logical_and(&above, &below)?;
        let place = cx.sub(&x, &whole(least))?;
        let place = cx.select(&inside, &place, &whole(span + 1))?;
        Ok(Some(cx.gather(&table, &place, 0)?))
    }

    /// Each element beside every key. None if there are too many keys.
    fn compare(&self, cx: &mut Cx<'_>, x: &T) -> R<Option<T>> {
        let count = self.keys.elements()?;
        if count as usize > COMPARED_KEYS_MAX || count == 0 {
            return Ok(None);
        }
        let bytes = self.values_and_default(cx)?;
        let table = TensorValue::of_bytes(self.values.dtype, &[count + 1], bytes);
        let column = cx.unsqueeze(x, x.rank())?;
        let mut same = cx.equal(&column, &self.keys)?;
        if floats_of(x.dtype, &cx.content(&self.keys)?)?.iter().any(|key| key.is_nan()) {
            let (nan, nan_keys) = (cx.is_nan(&column)?, cx.is_nan(&self.keys)?);
            let both = cx.logical_and(&nan, &nan_keys)?;
            same = cx.logical_or(&same, &both)?;
        }
        // The last of equal keys counts: its place is the largest. No key is the place after all.
        let places: Vec<f64> = (1..=count).map(|place| place as f64).collect();
        let places = number_tensor(DType::I64, &[count], &places)?;
        let zero = scalar(DType::I64, 0.0)?;
        let hits = cx.select(&same, &places, &zero)?;
        let hit = cx.reduce_max(&hits, &[x.rank()], false)?;
        let none = cx.equal(&hit, &zero)?;
        let after = scalar(DType::I64, count as f64 + 1.0)?;
        let hit = cx.select(&none, &after, &hit)?;
        let place = cx.add_number(&hit, -1.0)?;
        Ok(Some(cx.gather(&table, &place, 0)?))
    }
}

/// The elements of a tensor as keys.
fn elements(cx: &mut Cx<'_>, x: &T) -> R<Vec<Key>> {
    if x.dtype == DType::Bytes {
        return Ok(cx.strings(x)?.iter().cloned().map(Key::Text).collect());
    }
    let bytes = cx.content(x)?;
    Ok(match x.dtype {
        DType::F16 | DType::Bf16 | DType::F32 | DType::F64 => {
            floats_of(x.dtype, &bytes)?.into_iter().map(float_key).collect()
        }
        other => ints_of(other, &bytes)?.into_iter().map(Key::Whole).collect(),
    })
}

fn float_key(value: f64) -> Key {
    let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
    Key::Float(value.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_one_key_and_so_are_all_nans() {
        assert!(float_key(0.0) == float_key(-0.0));
        assert!(float_key(f64::NAN) == float_key(f64::from_bits(0x7ff8_0000_0000_0001)));
        assert!(float_key(1.0) != float_key(-1.0));
    }
}
