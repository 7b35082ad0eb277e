//! The best path of each row, as text.

use aimass_sdk::prelude::*;

use crate::labels::Labels;

/// Bytes of all texts of a call at most.
pub(crate) const TEXT_BYTES_MAX: usize = 16 << 20;

/// What was read of the rows so far.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) texts: Vec<String>,
    pub(crate) scores: Vec<f32>,
    pub(crate) steps: Vec<u32>,
    pub(crate) offsets: Vec<u32>,
    bytes: usize,
}

impl Default for Reading {
    fn default() -> Self {
        Reading {
            texts: Vec::new(),
            scores: Vec::new(),
            steps: Vec::new(),
            offsets: vec![0],
            bytes: 0,
        }
    }
}

impl Reading {
    /// Reads one row: the best class of each step and its probability.
    ///
    /// # Errors
    /// `input/text-bytes` if the texts grow too long.
    pub(crate) fn read(&mut self, labels: &Labels, classes: &[i64], best: &[f32]) -> Result<()> {
        let mut text = String::new();
        let mut sum = 0.0;
        let mut before = None;
        let first = self.steps.len();
        for (step, (class, probability)) in classes.iter().zip(best).enumerate() {
            let repeated = before.replace(*class) == Some(*class);
            let Some(label) = labels.of(*class).filter(|_| !repeated) else { continue };
            self.bytes += label.len();
            if self.bytes > TEXT_BYTES_MAX {
                let message = format!("expected texts of at most {TEXT_BYTES_MAX} bytes together");
                return Err(Error::input("text-bytes", message));
            }
            text.push_str(label);
            sum += f64::from(*probability);
            self.steps.push(step as u32);
        }
        let count = self.steps.len() - first;
        self.texts.push(text);
        self.scores.push(if count == 0 { 0.0 } else { (sum / count as f64) as f32 });
        self.offsets.push(self.steps.len() as u32);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(labels: &Labels, classes: &[i64]) -> Reading {
        let best: Vec<f32> = (0..classes.len()).map(|step| 1.0 / (step + 1) as f32).collect();
        let mut reading = Reading::default();
        reading.read(labels, classes, &best).unwrap();
        reading
    }

    #[test]
    fn repeats_and_blanks_are_left_out() {
        let labels = Labels::of_names(&["h", "e", "l", "o"]);
        let reading = read(&labels, &[0, 1, 1, 2, 3, 0, 3, 3, 4, 0]);
        assert_eq!(reading.texts, ["hello"]);
        assert_eq!(reading.steps, [1, 3, 4, 6, 8]);
        let mean = (1.0 / 2.0 + 1.0 / 4.0 + 1.0 / 5.0 + 1.0 / 7.0 + 1.0 / 9.0) / 5.0;
        assert!((f64::from(reading.scores[0]) - mean).abs() < 1e-6);
        let nothing = read(&labels, &[0, 0]);
        assert_eq!((&*nothing.texts[0], nothing.scores[0]), ("", 0.0));
    }

    #[test]
    fn texts_grow_to_16_mib() {
        let half = "x".repeat(TEXT_BYTES_MAX / 2);
        let labels = Labels::of_names(&[&half, "y"]);
        let mut reading = Reading::default();
        assert_eq!(reading.read(&labels, &[1, 0, 1], &[1.0; 3]), Ok(()));
        assert_eq!(reading.read(&labels, &[2], &[1.0]).unwrap_err().code, "text-bytes");
    }

    proptest! {
        #[test]
        fn every_label_is_read_where_its_class_starts(classes in prop::collection::vec(0i64..4, 0..60)) {
            let reading = read(&Labels::of_names(&["a", "b", "c"]), &classes);
            prop_assert_eq!(reading.texts[0].len(), reading.steps.len());
            for (letter, step) in reading.texts[0].bytes().zip(&reading.steps) {
                let step = *step as usize;
                prop_assert_eq!(i64::from(letter - b'a') + 1, classes[step]);
                prop_assert!(step == 0 || classes[step - 1] != classes[step]);
            }
        }
    }
}
