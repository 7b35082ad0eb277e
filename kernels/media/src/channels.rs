//! Pixels of one number of channels as another.

use crate::MediaError;

/// How many bytes a pixel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// One: brightness.
    Gray,
    /// Three: red, green, blue.
    Rgb,
    /// Four: red, green, blue, alpha; alpha is not multiplied in.
    Rgba,
}

impl Channels {
    /// The layout of `count` channels.
    ///
    /// # Errors
    /// [`MediaError::Channels`] for anything but 1, 3 and 4.
    pub fn of_count(count: u32) -> Result<Channels, MediaError> {
        match count {
            1 => Ok(Channels::Gray),
            3 => Ok(Channels::Rgb),
            4 => Ok(Channels::Rgba),
            got => Err(MediaError::Channels { got }),
        }
    }

    /// Bytes of a pixel.
    pub fn count(self) -> usize {
        match self {
            Channels::Gray => 1,
            Channels::Rgb => 3,
            Channels::Rgba => 4,
        }
    }
}

/// What a decoder makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Gray,
    GrayAlpha,
    Rgb,
    Rgba,
    /// Cyan, magenta, yellow, black: 255 is no ink.
    InvertedCmyk,
}

impl Layout {
    /// Bytes of a pixel.
    pub(crate) fn count(self) -> usize {
        match self {
            Layout::Gray => 1,
            Layout::GrayAlpha => 2,
            Layout::Rgb => 3,
            Layout::Rgba | Layout::InvertedCmyk => 4,
        }
    }

    /// Whether these pixels are what was asked for.
    pub(crate) fn is(self, channels: Channels) -> bool {
        matches!(
            (self, channels),
            (Layout::Gray, Channels::Gray)
                | (Layout::Rgb, Channels::Rgb)
                | (Layout::Rgba, Channels::Rgba)
        )
    }
}

/// Writes the pixels of `from` to `to`. Both hold the same number of pixels.
pub(crate) fn convert(layout: Layout, from: &[u8], channels: Channels, to: &mut [u8]) {
    match layout {
        Layout::Gray => each::<1>(from, channels, to, |[y]| [y, y, y, 255], |[y]| y),
        Layout::GrayAlpha => each::<2>(from, channels, to, |[y, a]| [y, y, y, a], |[y, _]| y),
        Layout::Rgb => each::<3>(from, channels, to, |[r, g, b]| [r, g, b, 255], luma),
        Layout::Rgba => each::<4>(from, channels, to, |rgba| rgba, |[r, g, b, _]| luma([r, g, b])),
        Layout::InvertedCmyk => {
            let color = |inks| opaque(without_ink(inks));
            each::<4>(from, channels, to, color, |inks| luma(without_ink(inks)));
        }
    }
}

fn each<const N: usize>(
    from: &[u8],
    channels: Channels,
    to: &mut [u8],
    color: impl Fn([u8; N]) -> [u8; 4],
    gray: impl Fn([u8; N]) -> u8,
) {
    let (from, _) = from.as_chunks::<N>();
    match channels {
        Channels::Gray => from.iter().zip(to).for_each(|(from, to)| *to = gray(*from)),
        Channels::Rgb => {
            let (to, _) = to.as_chunks_mut::<3>();
            from.iter().zip(to).for_each(|(from, to)| {
                let [r, g, b, _] = color(*from);
                *to = [r, g, b];
            });
        }
        Channels::Rgba => {
            let (to, _) = to.as_chunks_mut::<4>();
            from.iter().zip(to).for_each(|(from, to)| *to = color(*from));
        }
    }
}

fn opaque([r, g, b]: [u8; 3]) -> [u8; 4] {
    [r, g, b, 255]
}

/// ITU-R BT.601 in 16 bits of fraction, rounded.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    let sum = u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471;
    ((sum + 0x8000) >> 16) as u8
}

/// RGB of the parts of each ink that are missing.
fn without_ink([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    [c, m, y].map(|part| {
        let product = u32::from(part) * u32::from(k) + 128;
        ((product + (product >> 8)) >> 8) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(layout: Layout, from: &[u8], channels: Channels) -> Vec<u8> {
        let mut to = vec![0; from.len() / layout.count() * channels.count()];
        convert(layout, from, channels, &mut to);
        to
    }

    #[test]
    fn each_layout_becomes_each_number_of_channels() {
        use Channels::{Gray, Rgb, Rgba};
        let check = |layout, from: &[u8], channels, to: &[u8]| {
            assert_eq!(converted(layout, from, channels), to, "{layout:?} to {channels:?}");
        };
        check(Layout::Gray, &[7, 9], Rgb, &[7, 7, 7, 9, 9, 9]);
        check(Layout::Gray, &[7], Rgba, &[7, 7, 7, 255]);
        check(Layout::GrayAlpha, &[7, 3], Gray, &[7]);
        check(Layout::GrayAlpha, &[7, 3], Rgba, &[7, 7, 7, 3]);
        check(Layout::Rgb, &[255, 0, 0, 255, 255, 255], Gray, &[76, 255]);
        check(Layout::Rgb, &[1, 2, 3], Rgba, &[1, 2, 3, 255]);
        check(Layout::Rgba, &[1, 2, 3, 4], Rgb, &[1, 2, 3]);
        check(Layout::InvertedCmyk, &[255, 255, 255, 0], Rgba, &[0, 0, 0, 255]);
        check(Layout::InvertedCmyk, &[255, 0, 255, 255], Rgb, &[255, 0, 255]);
        check(Layout::InvertedCmyk, &[100, 100, 100, 128], Gray, &[50]);
    }
}
