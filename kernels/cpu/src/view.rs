//! Views: rows of f32 with a stride, and bytes seen as numbers.
#![expect(unsafe_code, reason = "rows of a strided view do not overlap; bytes as plain numbers")]

use aimass_tensor::Element;
use std::marker::PhantomData;
use std::ops::Range;

/// A `[rows, columns]` view of f32 whose rows begin `stride` elements apart.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> Rows<'a> {
    /// A view of `data`, which may go on after the last row.
    ///
    /// # Panics
    /// If `stride < columns` (with more than one row) or `data` ends before the last row does.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Rows<'a> {
        check(data.len(), rows, columns, stride);
        Rows { data, rows, columns, stride }
    }

    /// A view of all of `data`, `[data.len() / columns, columns]`.
    ///
    /// # Panics
    /// If `data` is no whole number of rows.
    pub fn dense(data: &'a [f32], columns: usize) -> Rows<'a> {
        Rows::new(data, dense_rows(data.len(), columns), columns, columns)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of one row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Elements from the start of one row to the start of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Row `index`.
    pub fn row(&self, index: usize) -> &'a [f32] {
        assert!(index < self.rows, "row {index} of {}", self.rows);
        &self.data[index * self.stride..][..self.columns]
    }

    /// These rows only.
    pub fn row_range(&self, range: Range<usize>) -> Rows<'a> {
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?}");
        let start = (range.start * self.stride).min(self.data.len());
        Rows { data: &self.data[start..], rows: range.len(), ..*self }
    }

    /// These columns only.
    pub fn column_range(&self, range: Range<usize>) -> Rows<'a> {
        assert!(range.start <= range.end && range.end <= self.columns, "columns {range:?}");
        let start = range.start.min(self.data.len());
        Rows { data: &self.data[start..], columns: range.len(), ..*self }
    }

    /// Rows that touch as one long row; others as they are.
    pub(crate) fn joined(self) -> Rows<'a> {
        if self.stride != self.columns || self.rows == 0 {
            return self;
        }
        let columns = self.rows * self.columns;
        Rows { data: self.data, rows: 1, columns, stride: columns }
    }

    /// Everything from the first element of the view on.
    pub(crate) fn data(&self) -> &'a [f32] {
        self.data
    }

    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.data.as_ptr()
    }
}

/// A `[rows, columns]` view of f32 to write, whose rows begin `stride` elements apart.
pub struct RowsMut<'a> {
    ptr: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    data: PhantomData<&'a mut [f32]>,
}

// SAFETY: stands for the exclusive borrow of the rows' elements, which are Send.
unsafe impl Send for RowsMut<'_> {}

impl<'a> RowsMut<'a> {
    /// A view of `data`, which may go on after the last row.
    ///
    /// # Panics
    /// If `stride < columns` (with more than one row) or `data` ends before the last row does.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> RowsMut<'a> {
        check(data.len(), rows, columns, stride);
        RowsMut { ptr: data.as_mut_ptr(), rows, columns, stride, data: PhantomData }
    }

    /// A view of all of `data`, `[data.len() / columns, columns]`.
    ///
    /// # Panics
    /// If `data` is no whole number of rows.
    pub fn dense(data: &'a mut [f32], columns: usize) -> RowsMut<'a> {
        let rows = dense_rows(data.len(), columns);
        RowsMut::new(data, rows, columns, columns)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of one row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Elements from the start of one row to the start of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Row `index`, to read.
    pub fn row(&self, index: usize) -> &[f32] {
        assert!(index < self.rows, "row {index} of {}", self.rows);
        // SAFETY: the constructor found the row inside the data, which stays borrowed.
        unsafe { std::slice::from_raw_parts(self.ptr.add(index * self.stride), self.columns) }
    }

    /// Row `index`, to write.
    pub fn row_mut(&mut self, index: usize) -> &mut [f32] {
        assert!(index < self.rows, "row {index} of {}", self.rows);
        // SAFETY: as in `row`; `&mut self` makes it the only view.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(index * self.stride), self.columns) }
    }

    /// The same view for a shorter time.
    pub fn reborrow(&mut self) -> RowsMut<'_> {
        RowsMut { data: PhantomData, ..*self }
    }

    /// These rows only.
    pub fn row_range(self, range: Range<usize>) -> RowsMut<'a> {
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?}");
        let ptr = match range.is_empty() {
            true => self.ptr,
            // SAFETY: a row that exists begins inside the data.
            false => unsafe { self.ptr.add(range.start * self.stride) },
        };
        RowsMut { ptr, rows: range.len(), ..self }
    }

    /// These columns only.
    pub fn column_range(self, range: Range<usize>) -> RowsMut<'a> {
        assert!(range.start <= range.end && range.end <= self.columns, "columns {range:?}");
        let ptr = match range.is_empty() || self.rows == 0 {
            true => self.ptr,
            // SAFETY: a column that exists of a row that exists is inside the data.
            false => unsafe { self.ptr.add(range.start) },
        };
        RowsMut { ptr, columns: range.len(), ..self }
    }

    /// Rows that touch as one long row; others as they are.
    pub(crate) fn joined(self) -> RowsMut<'a> {
        if self.stride != self.columns || self.rows == 0 {
            return self;
        }
        let columns = self.rows * self.columns;
        RowsMut { rows: 1, columns, stride: columns, ..self }
    }

    pub(crate) fn raw(&mut self) -> RawRows {
        RawRows { ptr: self.ptr, rows: self.rows, columns: self.columns, stride: self.stride }
    }
}

/// A [`RowsMut`] without its borrow, for tasks that write disjoint parts of it.
#[derive(Clone, Copy)]
pub(crate) struct RawRows {
    pub(crate) ptr: *mut f32,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) stride: usize,
}

// SAFETY: a plain address; whoever dereferences it promises disjoint parts.
unsafe impl Send for RawRows {}
// SAFETY: as above.
unsafe impl Sync for RawRows {}

impl RawRows {
    /// Rows `rows` and columns `columns` as a view again.
    ///
    /// # Safety
    /// The borrow behind this view is still alive, and no other view of that part is used.
    pub(crate) unsafe fn part<'a>(self, rows: Range<usize>, columns: Range<usize>) -> RowsMut<'a> {
        let RawRows { ptr, rows: all_rows, columns: all_columns, stride } = self;
        let all = RowsMut { ptr, rows: all_rows, columns: all_columns, stride, data: PhantomData };
        all.row_range(rows).column_range(columns)
    }
}

/// Bytes as numbers, without a copy.
///
/// # Panics
/// If the bytes are misaligned for `T` (pooled buffers never are) or no whole number of elements.
pub fn numbers<T: Element>(bytes: &[u8]) -> &[T] {
    check_numbers::<T>(bytes);
    // SAFETY: aligned, whole, and every bit pattern is a T.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
}

/// Bytes as numbers to write, without a copy.
///
/// # Panics
/// As [`numbers`].
pub fn numbers_mut<T: Element>(bytes: &mut [u8]) -> &mut [T] {
    check_numbers::<T>(bytes);
    let len = bytes.len() / size_of::<T>();
    // SAFETY: as in `numbers`; the exclusive borrow goes over to the result.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), len) }
}

/// Numbers as bytes, in the machine's order.
pub fn bytes_of<T: Element>(values: &[T]) -> &[u8] {
    // SAFETY: an Element has no padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// Numbers as bytes to write, in the machine's order.
pub fn bytes_of_mut<T: Element>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: an Element has no padding and accepts every bit pattern.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

fn check_numbers<T: Element>(bytes: &[u8]) {
    assert!((bytes.as_ptr() as usize).is_multiple_of(align_of::<T>()), "misaligned bytes");
    assert!(bytes.len().is_multiple_of(size_of::<T>()), "{} bytes as {}", bytes.len(), T::DTYPE);
}

fn check(len: usize, rows: usize, columns: usize, stride: usize) {
    assert!(rows <= 1 || stride >= columns, "stride {stride} is below {columns} columns");
    let end = match rows {
        0 => Some(0),
        _ => (rows - 1).checked_mul(stride).and_then(|start| start.checked_add(columns)),
    };
    assert!(
        end.is_some_and(|end| end <= len),
        "{rows} rows of {columns}, stride {stride}, in {len} elements"
    );
}

fn dense_rows(len: usize, columns: usize) -> usize {
    let rows = len.checked_div(columns).unwrap_or(0);
    assert_eq!(rows * columns, len, "{len} elements are no whole number of rows of {columns}");
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_view_are_where_they_should_be() {
        let data: Vec<f32> = (0..23).map(|i| i as f32).collect();
        let rows = Rows::new(&data, 4, 5, 6);
        assert_eq!(rows.row(3), [18., 19., 20., 21., 22.]);
        assert_eq!(rows.row_range(1..3).column_range(2..4).row(1), [14., 15.]);
        assert_eq!(rows.row_range(4..4).rows(), 0);
        let mut copy = data.clone();
        let mut part = RowsMut::new(&mut copy, 4, 5, 6).column_range(4..5).row_range(3..4);
        part.row_mut(0)[0] = -1.0;
        assert_eq!(copy[22], -1.0);
    }

    #[test]
    fn views_beyond_the_data_panic() {
        let data = [0f32; 22];
        assert!(std::panic::catch_unwind(|| Rows::new(&data, 4, 5, 6)).is_err());
        assert!(std::panic::catch_unwind(|| Rows::new(&data, 2, 5, 4)).is_err());
        assert!(std::panic::catch_unwind(|| Rows::new(&data, usize::MAX, 5, 6)).is_err());
        assert!(std::panic::catch_unwind(|| Rows::dense(&data, 4)).is_err());
        assert!(std::panic::catch_unwind(|| numbers::<f32>(&[0u8; 7])).is_err());
    }
}
