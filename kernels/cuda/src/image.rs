//! Machine code of the kernels, one image a generation of GPUs.

use crate::error::DeviceError;
use flate2::read::GzDecoder;
use std::io::Read;

/// A compiled image and the compute capability that it was made for.
pub(crate) struct Image {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// ELF, compressed.
    pub(crate) packed: &'static [u8],
}

macro_rules! image {
    ($major:literal, $minor:literal, $file:literal) => {
        Image {
            major: $major,
            minor: $minor,
            packed: include_bytes!(concat!("../prebuilt/", $file, ".cubin.gz")),
        }
    };
}

/// Every image, by compute capability.
static IMAGES: &[Image] = &[
    image!(7, 5, "sm_75"),
    image!(8, 0, "sm_80"),
    image!(8, 6, "sm_86"),
    image!(8, 9, "sm_89"),
    image!(9, 0, "sm_90"),
    image!(10, 0, "sm_100"),
    image!(12, 0, "sm_120"),
];

/// PTX that the driver compiles for GPUs that are newer than every image.
static PORTABLE: &[u8] = include_bytes!("../prebuilt/compute_75.ptx.gz");

/// What to load on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Machine code for this compute capability.
    Machine { major: u32, minor: u32, packed: &'static [u8] },
    /// Text that the driver compiles.
    Portable,
}

impl Code {
    /// The image as the driver takes it: ELF, or text that ends with a zero byte.
    pub(crate) fn unpacked(self) -> Result<Vec<u8>, DeviceError> {
        let (packed, end) = match self {
            Code::Machine { packed, .. } => (packed, None),
            Code::Portable => (PORTABLE, Some(0)),
        };
        let mut bytes = Vec::new();
        let read = GzDecoder::new(packed).read_to_end(&mut bytes);
        bytes.extend(end);
        read.map(|_| bytes).map_err(|_| DeviceError::Defect("an image that cannot be unpacked"))
    }
}

/// The image for a compute capability: machine code runs on the same major version and on equal or
/// higher minor ones; what is newer than all images gets text. None for what is older than all.
///
/// Source: CUDA C++ Programming Guide, "Binary Compatibility".
pub(crate) fn code(major: u32, minor: u32) -> Option<Code> {
    let fits = |image: &&Image| image.major == major && image.minor <= minor;
    let Some(best) = IMAGES.iter().rfind(fits) else {
        let newer = IMAGES.iter().all(|image| (image.major, image.minor) < (major, minor));
        let between = major > IMAGES[0].major;
        return (newer || between).then_some(Code::Portable);
    };
    Some(Code::Machine { major: best.major, minor: best.minor, packed: best.packed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_gets_its_own_code_or_text() {
        let chosen = |major, minor| match code(major, minor) {
            None => None,
            Some(Code::Machine { major, minor, .. }) => Some((major, minor)),
            Some(Code::Portable) => Some((0, 0)),
        };
        let cases = [
            ((5, 2), None),
            ((7, 0), None),
            ((7, 5), Some((7, 5))),
            ((8, 0), Some((8, 0))),
            ((8, 6), Some((8, 6))),
            ((8, 7), Some((8, 6))),
            ((8, 9), Some((8, 9))),
            ((9, 0), Some((9, 0))),
            ((10, 3), Some((10, 0))),
            ((11, 0), Some((0, 0))),
            ((12, 1), Some((12, 0))),
            ((13, 0), Some((0, 0))),
        ];
        for ((major, minor), expected) in cases {
            assert_eq!(chosen(major, minor), expected, "{major}.{minor}");
        }
    }

    #[test]
    fn images_are_elf_of_the_machine_that_their_name_says() {
        for image in IMAGES {
            let bytes = code(image.major, image.minor).unwrap().unpacked().unwrap();
            assert_eq!(&bytes[..4], b"\x7fELF");
            assert_eq!(u16::from_le_bytes([bytes[18], bytes[19]]), 190, "EM_CUDA");
            let flags = u32::from_le_bytes(bytes[48..52].try_into().unwrap());
            let found = [flags & 0xff, flags >> 8 & 0xff];
            assert!(found.contains(&(image.major * 10 + image.minor)), "{flags:x}");
        }
    }
}
