//! Files of pictures and sound, opened and decoded under small limits.

use crate::{digest, magnitude, mix};
use aimass_media::{Channels, Image, Limits, MediaError, Wav};

/// Small enough that a campaign is quick, large enough for every path.
const LIMITS: Limits = Limits { pixels_max: 1 << 16, samples_max: 1 << 16 };

/// Decodes what the bytes are; answers what happened, as numbers that tell executions apart.
///
/// # Panics
/// If a decoder does.
pub fn media(bytes: &[u8]) -> Vec<u64> {
    let outcome = match bytes.get(8..12) {
        Some(b"WAVE") => sound(bytes),
        _ => picture(bytes),
    };
    vec![outcome.unwrap_or_else(|error| event(&error))]
}

fn picture(bytes: &[u8]) -> Result<u64, MediaError> {
    let image = Image::open(bytes, &LIMITS)?;
    let mut sum = 0;
    for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
        let mut out = vec![0; image.output_bytes(channels)];
        image.decode(channels, &mut out)?;
        sum = mix(sum, magnitude(image.working_bytes(channels)));
    }
    Ok(mix(sum, mix(magnitude(image.width() as usize), magnitude(image.height() as usize))))
}

fn sound(bytes: &[u8]) -> Result<u64, MediaError> {
    let wav = Wav::open(bytes, &LIMITS)?;
    wav.decode(&mut vec![0; wav.output_bytes()])?;
    Ok(mix(magnitude(wav.frames()), mix(magnitude(wav.channels()), u64::from(wav.rate()))))
}

/// An error by its words, without the numbers in them.
fn event(error: &MediaError) -> u64 {
    let words: String = error.to_string().chars().filter(|c| !c.is_ascii_digit()).collect();
    digest(words.as_bytes())
}
