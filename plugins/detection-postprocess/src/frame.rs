//! From pixels of the model's input to those of the picture.

use aimass_sdk::{Error, Result};

use crate::settings::{Fit, Size};
use crate::suppress::Detection;

/// Width and height of a picture at most.
const SIDE_MAX: i64 = 1 << 20;

/// What was done to the picture before the model saw it. A coordinate of the picture is that of the input,
/// less `shift`, times `factor`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    shift: [f64; 2],
    factor: [f64; 2],
    /// Width and height that boxes are cut to.
    sides: [f64; 2],
}

impl Frame {
    /// For a picture of this width and height; without them boxes stay in pixels of the input.
    ///
    /// # Errors
    /// `input/parameter` for one without the other, and beyond 1 to 1,048,576.
    pub(crate) fn new(input: Size, fit: Fit, picture: (Option<i64>, Option<i64>)) -> Result<Frame> {
        let input = [f64::from(input.width), f64::from(input.height)];
        let (width, height) = match picture {
            (None, None) => return Ok(Frame { shift: [0.0; 2], factor: [1.0; 2], sides: input }),
            (Some(width), Some(height)) => (width, height),
            (Some(_), None) | (None, Some(_)) => {
                let message = "parameters width and height: expected both or none, got one";
                return Err(Error::input("parameter", message));
            }
        };
        let sides = [side("width", width)?, side("height", height)?];
        let gains = [input[0] / sides[0], input[1] / sides[1]];
        let (gains, shift) = match fit {
            Fit::Stretch => (gains, [0.0; 2]),
            Fit::Letterbox => {
                let gain = gains[0].min(gains[1]);
                let bar = |axis: usize| (input[axis] - sides[axis] * gain) / 2.0;
                ([gain; 2], [bar(0), bar(1)])
            }
        };
        Ok(Frame { shift, factor: gains.map(|gain| 1.0 / gain), sides })
    }

    /// The detection in the picture, cut to it.
    pub(crate) fn scaled(&self, detection: Detection) -> Detection {
        let corner = |at: usize| {
            let axis = at % 2;
            let place = (f64::from(detection.corners[at]) - self.shift[axis]) * self.factor[axis];
            place.clamp(0.0, self.sides[axis]) as f32
        };
        Detection { corners: core::array::from_fn(corner), ..detection }
    }
}

fn side(name: &str, value: i64) -> Result<f64> {
    if (1..=SIDE_MAX).contains(&value) {
        return Ok(value as f64);
    }
    let message = format!("parameter {name}: expected 1 to {SIDE_MAX}, got {value}");
    Err(Error::input("parameter", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: Size = Size { width: 640, height: 640 };

    fn scaled(frame: Frame, corners: [f32; 4]) -> [f32; 4] {
        frame.scaled(Detection { corners, score: 0.5, class: 0, candidate: 0 }).corners
    }

    #[test]
    fn a_letterbox_has_bars_on_its_shorter_side() {
        let frame = Frame::new(INPUT, Fit::Letterbox, (Some(1280), Some(640))).unwrap();
        assert_eq!(scaled(frame, [0.0, 160.0, 640.0, 480.0]), [0.0, 0.0, 1280.0, 640.0]);
        assert_eq!(scaled(frame, [-8.0, 100.0, 700.0, 170.0]), [0.0, 0.0, 1280.0, 20.0], "cut");
        let frame = Frame::new(INPUT, Fit::Stretch, (Some(1280), Some(320))).unwrap();
        assert_eq!(scaled(frame, [10.0, 10.0, 20.0, 20.0]), [20.0, 5.0, 40.0, 10.0]);
        let frame = Frame::new(INPUT, Fit::Letterbox, (None, None)).unwrap();
        assert_eq!(scaled(frame, [10.0, -1.0, 20.0, 641.0]), [10.0, 0.0, 20.0, 640.0]);
    }

    #[test]
    fn pictures_have_sides_of_1_to_1_048_576() {
        let frame = |width, height| Frame::new(INPUT, Fit::Letterbox, (width, height));
        assert!(frame(Some(SIDE_MAX), Some(1)).is_ok());
        for (width, height) in [
            (Some(SIDE_MAX + 1), Some(1)),
            (Some(0), Some(1)),
            (Some(1), Some(-1)),
            (Some(1), None),
            (None, Some(1)),
        ] {
            assert_eq!(frame(width, height).unwrap_err().code, "parameter", "{width:?} {height:?}");
        }
    }
}
