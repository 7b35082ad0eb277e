//! Pictures and sounds as Pillow and soundfile read them (`tests/golden/media/make_media.py`).
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use aimass_media::{Channels, Image, Limits, Wav};
use support::{Case, cases, read};

#[test]
fn pictures_are_what_pillow_reads() {
    let mut faults = Vec::new();
    let pictures: Vec<Case> = cases().into_iter().filter(|case| case.rate.is_none()).collect();
    assert!(pictures.len() > 50, "{} pictures", pictures.len());
    for case in &pictures {
        if let Err(fault) = check_picture(case) {
            faults.push(format!("{} to {} channels: {fault}", case.file, case.shape[2]));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn check_picture(case: &Case) -> Result<(), String> {
    let (data, expected) = (read(&case.file), read(&case.expected));
    let image = Image::open(&data, &Limits::default()).map_err(|error| error.to_string())?;
    let channels = Channels::of_count(case.shape[2] as u32).unwrap();
    let shape = [image.height() as usize, image.width() as usize, channels.count()];
    if shape[..] != case.shape[..] {
        return Err(format!("expected shape {:?}, got {shape:?}", case.shape));
    }
    let mut out = vec![0; image.output_bytes(channels)];
    image.decode(channels, &mut out).map_err(|error| error.to_string())?;
    let off = |(a, b): (&u8, &u8)| a.abs_diff(*b);
    let most = out.iter().zip(&expected).map(off).max().unwrap();
    let sum: u64 = out.iter().zip(&expected).map(off).map(u64::from).sum();
    let mean = sum as f64 / out.len() as f64;
    if most > case.most || mean > case.mean {
        let (mean_max, most_max) = (case.mean, case.most);
        return Err(format!("off by {mean:.3} ({mean_max}) and at most {most} ({most_max})"));
    }
    Ok(())
}

#[test]
fn sounds_are_bit_for_bit_what_soundfile_reads() {
    let sounds: Vec<Case> = cases().into_iter().filter(|case| case.rate.is_some()).collect();
    assert_eq!(sounds.len(), 7);
    for case in sounds {
        let (data, expected) = (read(&case.file), read(&case.expected));
        let wav = Wav::open(&data, &Limits::default()).unwrap();
        assert_eq!(Some(wav.rate()), case.rate, "{}", case.file);
        assert_eq!([wav.frames(), wav.channels()][..], case.shape[..], "{}", case.file);
        let mut out = vec![0; wav.output_bytes()];
        wav.decode(&mut out).unwrap();
        assert!(out == expected, "{}", case.file);
    }
}
