//! Numbers as people read them.

/// A count with a decimal prefix and three digits: `1.23 G`.
pub(crate) fn si(value: f64) -> String {
    const PREFIXES: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut value, mut prefix) = (value, 0);
    while value.abs() >= 999.5 && prefix + 1 < PREFIXES.len() {
        value /= 1000.0;
        prefix += 1;
    }
    let digits = match value.abs() {
        _ if prefix == 0 => 0,
        small if small < 9.995 => 2,
        small if small < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", PREFIXES[prefix])
}

/// Bytes with a decimal prefix: `1.23 MB`.
pub(crate) fn bytes(value: u64) -> String {
    format!("{}B", si(value as f64))
}

/// The middle of some numbers, the mean of the two middle ones if they are even; 0 of none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[half],
        _ => (values[half - 1] + values[half]) / 2.0,
    }
}

/// A table: the first column to the left, the others to the right, two spaces between.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let mut text = String::new();
        for (column, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            match column {
                0 => text.push_str(&format!("{cell:<width$}")),
                _ => text.push_str(&format!("  {cell:>width$}")),
            }
        }
        format!("{}\n", text.trim_end())
    };
    let mut text = line(head);
    for row in rows {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        text.push_str(&line(&cells));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_three_digits_and_a_prefix() {
        let cases = [
            (0.0, "0 "),
            (999.0, "999 "),
            (1000.0, "1.00 k"),
            (12_345.0, "12.3 k"),
            (999_900.0, "1.00 M"),
            (123_456_789.0, "123 M"),
            (5e15, "5000 T"),
        ];
        for (value, text) in cases {
            assert_eq!(si(value), text);
        }
        assert_eq!(bytes(1_500_000), "1.50 MB");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut []), 0.0);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn columns_of_a_table_line_up() {
        let rows =
            [vec!["a".to_owned(), "1".to_owned()], vec!["long é".to_owned(), "23".to_owned()]];
        assert_eq!(table(&["op", "µs"], &rows), "op      µs\na        1\nlong é  23\n");
    }
}
