//! Tokens around those of the text: the file's `post_processor`.

use std::collections::BTreeMap;

use aimass_sdk::prelude::*;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum PostProcessorConfig {
    Sequence {
        processors: Vec<PostProcessorConfig>,
    },
    TemplateProcessing {
        single: Vec<Part>,
        special_tokens: BTreeMap<String, SpecialToken>,
    },
    BertProcessing {
        sep: (String, u32),
        cls: (String, u32),
    },
    RobertaProcessing {
        sep: (String, u32),
        cls: (String, u32),
    },
    /// Changes places in the text only, which are not answered.
    ByteLevel,
}

#[derive(Debug, Deserialize)]
pub(crate) enum Part {
    SpecialToken { id: String },
    Sequence {},
}

#[derive(Debug, Deserialize)]
pub(crate) struct SpecialToken {
    ids: Vec<u32>,
}

/// Token ids that stand before and after the text's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Frame {
    pub(crate) before: Vec<i32>,
    pub(crate) after: Vec<i32>,
}

impl Frame {
    /// Of the file, for a single text.
    ///
    /// # Errors
    /// `input/tokenizer` if a template names no token, or not one text.
    pub(crate) fn new(config: Option<&PostProcessorConfig>) -> Result<Self> {
        match config {
            None | Some(PostProcessorConfig::ByteLevel) => Ok(Frame::default()),
            Some(
                PostProcessorConfig::BertProcessing { sep, cls }
                | PostProcessorConfig::RobertaProcessing { sep, cls },
            ) => Ok(Frame { before: vec![cls.1 as i32], after: vec![sep.1 as i32] }),
            Some(PostProcessorConfig::TemplateProcessing { single, special_tokens }) => {
                Frame::of_template(single, special_tokens)
            }
            Some(PostProcessorConfig::Sequence { processors }) => {
                let mut sum = Frame::default();
                for processor in processors {
                    let Frame { mut before, after } = Frame::new(Some(processor))?;
                    before.append(&mut sum.before);
                    sum.before = before;
                    sum.after.extend(after);
                }
                Ok(sum)
            }
        }
    }

    /// How many tokens they are.
    pub(crate) fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    fn of_template(single: &[Part], tokens: &BTreeMap<String, SpecialToken>) -> Result<Self> {
        let mut frame = Frame::default();
        let mut texts = 0;
        for part in single {
            match part {
                Part::Sequence {} => texts += 1,
                Part::SpecialToken { id } => {
                    let token = tokens.get(id).ok_or_else(|| {
                        let message = format!("tokenizer file: template names no token {id:?}");
                        Error::input("tokenizer", message)
                    })?;
                    let side = if texts == 0 { &mut frame.before } else { &mut frame.after };
                    side.extend(token.ids.iter().map(|id| *id as i32));
                }
            }
        }
        match texts {
            1 => Ok(frame),
            _ => {
                let message = format!("tokenizer file: template: expected one text, got {texts}");
                Err(Error::input("tokenizer", message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(json: &str) -> Result<Frame> {
        Frame::new(Some(&serde_json::from_str(json).unwrap()))
    }

    #[test]
    fn every_kind_puts_its_tokens_around() {
        let both = Frame { before: vec![1], after: vec![2] };
        let bert = r#"{"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}"#;
        assert_eq!(frame(bert), Ok(both.clone()));
        assert_eq!(frame(&bert.replace("Bert", "Roberta")), Ok(both));
        assert_eq!(frame(r#"{"type": "ByteLevel"}"#), Ok(Frame::default()));
        let template = r#"{"type": "TemplateProcessing", "pair": [], "single": [
            {"SpecialToken": {"id": "s", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"s": {"id": "s", "ids": [7, 8], "tokens": ["s", "t"]}}}"#;
        assert_eq!(frame(template), Ok(Frame { before: vec![7, 8], after: vec![] }));
        let sequence = format!(r#"{{"type": "Sequence", "processors": [{template}, {bert}]}}"#);
        assert_eq!(frame(&sequence), Ok(Frame { before: vec![1, 7, 8], after: vec![2] }));
        assert_eq!(frame(&sequence).unwrap().len(), 4);
    }

    #[test]
    fn broken_templates_are_refused() {
        let template = |single: &str| {
            let json = format!(
                r#"{{"type": "TemplateProcessing", "single": [{single}], "special_tokens": {{}}}}"#
            );
            frame(&json).unwrap_err().message
        };
        assert!(template("").ends_with("expected one text, got 0"));
        let token = r#"{"SpecialToken": {"id": "x"}}"#;
        assert!(template(token).ends_with("names no token \"x\""));
    }
}
