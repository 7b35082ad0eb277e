//! The EXIF orientation (CIPA DC-008, tag 0x0112) and turning pixels by it.

/// How the stored picture has to be turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Orientation {
    /// Rows and columns change places, before the flips.
    transposed: bool,
    /// Columns run from right to left in what comes out.
    flipped_x: bool,
    /// Rows run from bottom to top in what comes out.
    flipped_y: bool,
}

const TAG: u16 = 0x0112;
const SHORT: u16 = 3;

impl Orientation {
    /// Of the tag's number; numbers that mean nothing turn nothing.
    fn of_tag(value: u16) -> Orientation {
        let turned =
            |transposed, flipped_x, flipped_y| Orientation { transposed, flipped_x, flipped_y };
        match value {
            2 => turned(false, true, false),
            3 => turned(false, true, true),
            4 => turned(false, false, true),
            5 => turned(true, false, false),
            6 => turned(true, true, false),
            7 => turned(true, true, true),
            8 => turned(true, false, true),
            _ => Orientation::default(),
        }
    }

    /// Of EXIF data that starts with its TIFF header. What cannot be read turns nothing: metadata does not
    /// break a picture.
    pub(crate) fn of_exif(exif: &[u8]) -> Orientation {
        find(exif).map(Orientation::of_tag).unwrap_or_default()
    }

    /// Whether nothing is to be turned.
    pub(crate) fn is_upright(self) -> bool {
        self == Orientation::default()
    }

    /// Width and height of what comes out of a stored picture of this width and height.
    pub(crate) fn turned(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.transposed { (height, width) } else { (width, height) }
    }

    /// Writes the stored pixels, `width` a row and `count` bytes each, upright.
    pub(crate) fn apply(self, stored: &[u8], width: usize, count: usize, upright: &mut [u8]) {
        let height = stored.len() / (width * count);
        let (columns, rows) = if self.transposed { (height, width) } else { (width, height) };
        for (row, line) in upright.chunks_exact_mut(columns * count).enumerate() {
            let row = if self.flipped_y { rows - 1 - row } else { row };
            for (column, pixel) in line.chunks_exact_mut(count).enumerate() {
                let column = if self.flipped_x { columns - 1 - column } else { column };
                let (x, y) = if self.transposed { (row, column) } else { (column, row) };
                pixel.copy_from_slice(&stored[(y * width + x) * count..][..count]);
            }
        }
    }
}

fn find(exif: &[u8]) -> Option<u16> {
    let big = match exif.get(..4)? {
        b"II*\0" => false,
        b"MM\0*" => true,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes: [u8; 2] = exif.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes: [u8; 4] = exif.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let directory = usize::try_from(long(4)?).ok()?;
    let entries = usize::from(short(directory)?);
    let entry = |index: usize| directory.checked_add(2)?.checked_add(12 * index);
    let at = (0..entries).map_while(entry).find(|&at| short(at) == Some(TAG))?;
    (short(at + 2)? == SHORT).then(|| short(at + 8))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif(big: bool, value: u16) -> Vec<u8> {
        let short = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let long = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut bytes = if big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        bytes.extend(long(8));
        bytes.extend(short(1));
        bytes.extend([short(TAG), short(SHORT)].concat());
        bytes.extend(long(1));
        bytes.extend([short(value), short(0)].concat());
        bytes
    }

    #[test]
    fn each_number_turns_the_corners_where_they_belong() {
        // A picture of 3 x 2.
        let turned = |value| {
            let orientation = Orientation::of_exif(&exif(value % 2 == 0, value));
            let mut out = [0; 6];
            orientation.apply(&[1, 2, 3, 4, 5, 6], 3, 1, &mut out);
            (orientation.turned((3, 2)), out)
        };
        assert_eq!(turned(1), ((3, 2), [1, 2, 3, 4, 5, 6]));
        assert_eq!(turned(2), ((3, 2), [3, 2, 1, 6, 5, 4]));
        assert_eq!(turned(3), ((3, 2), [6, 5, 4, 3, 2, 1]));
        assert_eq!(turned(4), ((3, 2), [4, 5, 6, 1, 2, 3]));
        assert_eq!(turned(5), ((2, 3), [1, 4, 2, 5, 3, 6]));
        assert_eq!(turned(6), ((2, 3), [4, 1, 5, 2, 6, 3]));
        assert_eq!(turned(7), ((2, 3), [6, 3, 5, 2, 4, 1]));
        assert_eq!(turned(8), ((2, 3), [3, 6, 2, 5, 1, 4]));
        assert_eq!(turned(9), ((3, 2), [1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn exif_that_is_cut_off_turns_nothing() {
        let whole = exif(true, 6);
        for end in 0..whole.len() - 2 {
            assert!(Orientation::of_exif(&whole[..end]).is_upright(), "{end}");
        }
        assert!(!Orientation::of_exif(&whole).is_upright());
    }
}
