//! Files that lie, are cut off, or were changed: errors, never panics, and no memory beyond what was said.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use aimass_media::{Channels, Image, Limits, MediaError, Wav};
use aimass_testkit::Peak;
use proptest::prelude::*;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use support::{cases, read};

#[global_allocator]
static PEAK: Peak = Peak::new();

/// Tests that count memory run one after the other.
static ALONE: Mutex<()> = Mutex::new(());

/// What an error may take.
const ERROR_BYTES: usize = 4 << 10;

fn files() -> Vec<String> {
    let mut files: Vec<String> = cases().into_iter().map(|case| case.file).collect();
    files.dedup();
    files
}

/// Decodes whatever it is into every layout; an error if any is.
fn decode(data: &[u8], limits: &Limits) -> Result<(), MediaError> {
    if data.starts_with(b"RIFF") && data.get(8..12) == Some(b"WAVE") {
        let wav = Wav::open(data, limits)?;
        return wav.decode(&mut vec![0; wav.output_bytes()]);
    }
    let image = Image::open(data, limits)?;
    for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
        image.decode(channels, &mut vec![0; image.output_bytes(channels)])?;
    }
    Ok(())
}

/// Refused while opened, without memory.
fn check_refused(name: &str, data: &[u8], code: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = Limits::default();
    let (answer, peak) = PEAK.during(|| match data.get(8..12) {
        Some(b"WAVE") => Wav::open(data, &limits).map(|_| ()),
        _ => Image::open(data, &limits).map(|_| ()),
    });
    let error = answer.unwrap_err();
    assert_eq!(error.code(), code, "{name}: {error}");
    assert!(peak <= ERROR_BYTES, "{name}: {peak} bytes for `{error}`");
}

fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
    let mut data = read("color-420.jpg");
    let at = data.windows(2).position(|bytes| bytes == [0xff, 0xc0]).unwrap();
    data[at + 5..at + 7].copy_from_slice(&height.to_be_bytes());
    data[at + 7..at + 9].copy_from_slice(&width.to_be_bytes());
    data
}

fn png_of(width: u32, height: u32) -> Vec<u8> {
    let mut data = read("color.png");
    data[16..20].copy_from_slice(&width.to_be_bytes());
    data[20..24].copy_from_slice(&height.to_be_bytes());
    data
}

/// A header that claims `len` bytes of 16-bit mono, and 100 bytes of them.
fn wav_of(len: u32) -> Vec<u8> {
    let mut data = read("pcm-16.wav");
    let at = data.windows(4).position(|bytes| bytes == b"data").unwrap();
    data[at + 4..at + 8].copy_from_slice(&len.to_le_bytes());
    data.truncate(at + 108);
    data
}

#[test]
fn headers_that_claim_too_much_are_refused_before_any_memory_is_taken() {
    check_refused("JPEG", &jpeg_of(65_535, 65_535), "pixels");
    check_refused("JPEG without data", &jpeg_of(8_000, 8_000), "media");
    check_refused("JPEG of no rows", &jpeg_of(45, 0), "media");
    check_refused("PNG", &png_of(65_535, 65_535), "pixels");
    check_refused("PNG of 31 bits", &png_of(u32::MAX, u32::MAX), "pixels");
    check_refused("PNG without data", &png_of(8_000, 8_000), "media");
    let mut webp = read("lossless.webp");
    webp[21..25].copy_from_slice(&[0xff; 4]);
    check_refused("WebP", &webp, "pixels");
    // An extended header of a small canvas around a large picture.
    let mut webp = read("lossy-alpha.webp");
    let at = webp.windows(3).position(|bytes| bytes == [0x9d, 0x01, 0x2a]).unwrap();
    webp[at + 3..at + 7].copy_from_slice(&[0xff, 0x1f, 0xff, 0x1f]);
    check_refused("WebP of two sizes", &webp, "media");
    check_refused("WAV of 4 GB", &wav_of(u32::MAX), "samples");
    check_refused("WAV that is cut off", &wav_of(10_000), "media");
    check_refused("another format", b"GIF89a\x01\0\x01\0\0\0\0", "media");
    check_refused("nothing", b"", "media");
}

#[test]
fn limits_hold_at_their_edge() {
    let at = |pixels_max, samples_max| Limits { pixels_max, samples_max };
    let (picture, sound) = (read("gray.png"), read("pcm-16.wav"));
    assert!(Image::open(&picture, &at(45 * 37, 0)).is_ok());
    let error = Image::open(&picture, &at(45 * 37 - 1, 0)).unwrap_err();
    assert!(error.is_limit() && error.to_string().contains("45 x 37"), "{error}");
    assert!(Wav::open(&sound, &at(0, 800)).is_ok());
    let error = Wav::open(&sound, &at(0, 799)).unwrap_err();
    assert!(error.is_limit() && error.to_string().contains("400 frames of 2"), "{error}");
}

#[test]
fn decoding_takes_no_more_memory_than_was_said() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let large = ["coffee.jpg", "coffee-progressive.jpg", "coffee.webp"].map(str::to_owned);
    for file in files().iter().filter(|file| !file.ends_with(".wav")).chain(&large) {
        let data = read(file);
        let image = Image::open(&data, &Limits::default()).unwrap();
        for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
            let mut out = vec![0; image.output_bytes(channels)];
            let (answer, peak) = PEAK.during(|| image.decode(channels, &mut out));
            answer.unwrap();
            let said = image.working_bytes(channels);
            assert!(peak <= said, "{file} to {channels:?}: {peak} bytes, said {said}");
        }
    }
}

/// A PNG of black pixels whose deflated rows, and whose color profile, hold `bytes` zeros.
fn png_bomb(width: u32, height: u32, bytes: usize) -> Vec<u8> {
    let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    deflated.write_all(&vec![0; bytes]).unwrap();
    let deflated = deflated.finish().unwrap();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], body: &[u8]| {
        file.extend((body.len() as u32).to_be_bytes());
        let named = [name, body].concat();
        file.extend(&named);
        file.extend(crc32fast::hash(&named).to_be_bytes());
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&size[..], &[8, 2, 0, 0, 0]].concat());
    chunk(b"iCCP", &[b"bomb\0\0", &deflated[..]].concat());
    chunk(b"zTXt", &[b"bomb\0\0", &deflated[..]].concat());
    chunk(b"IDAT", &deflated);
    chunk(b"IEND", b"");
    file
}

#[test]
fn what_inflates_beyond_the_picture_takes_no_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = 64 << 20;
    for (width, height) in [(8, 8), (2_000, 2_000)] {
        let data = png_bomb(width, height, bytes);
        let image = Image::open(&data, &Limits::default()).unwrap();
        let mut out = vec![1; image.output_bytes(Channels::Rgb)];
        let (answer, peak) = PEAK.during(|| image.decode(Channels::Rgb, &mut out));
        let said = image.working_bytes(Channels::Rgb);
        assert!(said < bytes / 64, "{said}");
        assert!(peak <= said, "{width} x {height}: {peak} bytes, said {said}, {answer:?}");
    }
}

#[test]
fn memory_of_another_size_is_refused() {
    let data = read("gray.png");
    let image = Image::open(&data, &Limits::default()).unwrap();
    let error = image.decode(Channels::Gray, &mut [0; 7]).unwrap_err();
    assert_eq!(error, MediaError::OutputSize { expected: 45 * 37, got: 7 });
}

#[test]
fn a_file_that_is_cut_off_is_an_error_wherever_it_is_cut() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for file in files() {
        let data = read(&file);
        assert!(decode(&data, &Limits::default()).is_ok(), "{file}");
        // What follows the last pixel (a checksum, an end marker, other chunks) may be missing.
        for end in (0..data.len() * 3 / 4).step_by(7) {
            let cut = decode(&data[..end], &Limits::default());
            assert!(cut.is_err(), "{file}: {end} bytes of {} were decoded", data.len());
        }
    }
}

#[test]
fn a_sound_that_is_compressed_says_what_would_do() {
    let mut data = read("pcm-16.wav");
    data[20] = 7;
    let error = Wav::open(&data, &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("format 0x0007 of 16 bits is not supported"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_are_errors_or_pixels(
        file in 0usize..40,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
        cut in proptest::bool::weighted(0.2),
    ) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let files = files();
        let mut data = read(&files[file % files.len()]);
        for (at, byte) in &changes {
            let at = at.index(data.len());
            data[at] ^= byte;
        }
        if cut {
            data.truncate(end.index(data.len()));
        }
        let limits = Limits { pixels_max: 1 << 20, samples_max: 1 << 20 };
        let _ = decode(&data, &limits);
    }
}
