use super::*;
use proptest::prelude::*;

const BERT: &str = r###"{
    "truncation": {"max_length": 6, "strategy": "LongestFirst", "stride": 0},
    "added_tokens": [{"id": 3, "content": "[SEP]", "special": true},
        {"id": 7, "content": "NEW", "normalized": true}],
    "normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": false},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {
        "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "##b": 5, "c": 6}}}"###;

fn encode(json: &str, overrides: Overrides, text: &str) -> Vec<i32> {
    let mut ids = Vec::new();
    let encoder = Encoder::new(json.as_bytes(), overrides).unwrap();
    encoder.encode(text, &mut Scratch::default(), &mut ids).unwrap();
    ids
}

#[test]
fn a_text_goes_through_all_steps() {
    let plain = Overrides::default();
    assert_eq!(encode(BERT, plain, "Ab c"), [2, 4, 5, 6, 3]);
    assert_eq!(encode(BERT, plain, "a [SEP]new c x"), [2, 4, 3, 7, 6, 3]);
    assert_eq!(encode(BERT, plain, ""), [2, 3]);
}

#[test]
fn long_texts_are_cut_at_the_end_that_is_asked_for() {
    let text = "a c a c a";
    assert_eq!(encode(BERT, Overrides::default(), text), [2, 4, 6, 4, 6, 3]);
    let left = Overrides { direction: Some(Direction::Left), ..Overrides::default() };
    assert_eq!(encode(BERT, left, text), [2, 6, 4, 6, 4, 3]);
    let four = Overrides { max_tokens: Some(3), ..Overrides::default() };
    assert_eq!(encode(BERT, four, text), [2, 4, 3]);
    let bare = Overrides { no_special_tokens: true, max_tokens: Some(2), ..Overrides::default() };
    assert_eq!(encode(BERT, bare, text), [4, 6]);
    let none = Overrides { max_tokens: Some(2), ..Overrides::default() };
    assert_eq!(Encoder::new(BERT.as_bytes(), none).unwrap_err().code, "config");
}

#[test]
fn ids_come_back_as_text() {
    let ids = [2, 4, 5, 6, 7, 3];
    let quiet = TextDecoder::new(BERT.as_bytes(), false).unwrap();
    assert_eq!(quiet.decode(&ids).unwrap(), "[CLS] ab c new");
    let whole = TextDecoder::new(BERT.as_bytes(), true).unwrap();
    assert_eq!(whole.decode(&ids).unwrap(), "[CLS] ab c new [SEP]");
    for id in [0, 8, -1, i32::MAX] {
        assert_eq!(quiet.decode(&[id]).unwrap_err().code, "token-id");
    }
}

#[test]
fn a_text_of_ids_grows_to_8_mib() {
    let name = "x".repeat(1 << 12);
    let json = format!(r#"{{"model": {{"type": "WordLevel", "vocab": {{"{name}": 0}}}}}}"#);
    let decoder = TextDecoder::new(json.as_bytes(), false).unwrap();
    let most = NAME_BYTES_MAX >> 12;
    assert_eq!(decoder.decode(&vec![0; most]).unwrap().len(), NAME_BYTES_MAX + most - 1);
    assert_eq!(decoder.decode(&vec![0; most + 1]).unwrap_err().code, "text-bytes");
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let refused = |from: &str, to: &str| {
        let json = BERT.replace(from, to);
        Encoder::new(json.as_bytes(), Overrides::default()).unwrap_err().message
    };
    let message = refused("\"BertPreTokenizer\"", "\"UnicodeScripts\"");
    assert!(message.contains("unknown variant `UnicodeScripts`, expected one of"), "{message}");
    assert!(refused("\"BertNormalizer\"", "\"Nmt\"").contains("unknown variant `Nmt`"));
    assert!(refused("{", "[").starts_with("tokenizer file: "));
}

#[test]
fn the_first_piece_is_told_from_later_ones() {
    let json = r#"{"added_tokens": [{"id": 0, "content": "<s>"}],
        "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"},
        "model": {"type": "WordLevel", "unk_token": "<s>", "vocab": {"<s>": 0, "_a": 1, "a": 2}}}"#;
    assert_eq!(encode(json, Overrides::default(), "a<s>a a"), [1, 0, 2, 1]);
}

const BYTES: &str = r#"{"normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "merges": ["a b"], "vocab": {VOCAB}}}"#;

fn of_all_bytes() -> String {
    let names = (0..=255).map(|byte| {
        serde_json::to_string(&crate::byte_level::character(byte).to_string()).unwrap()
    });
    let vocab: Vec<_> = names.zip(0..).map(|(name, id)| format!("{name}: {id}")).collect();
    BYTES.replace("VOCAB", &format!("{}, \"ab\": 256", vocab.join(", ")))
}

proptest! {
    #[test]
    fn bytes_survive_both_directions(text in "\\PC{0,40}") {
        let json = of_all_bytes();
        let ids = encode(&json, Overrides::default(), &text);
        let decoder = TextDecoder::new(json.as_bytes(), false).unwrap();
        let normalized = Normalizer::new(Some(NormalizerConfig::Nfc), None).unwrap();
        let kinds = Kinds::new();
        prop_assert_eq!(decoder.decode(&ids).unwrap(), normalized.apply(&kinds, &text).unwrap());
    }

    #[test]
    fn a_cut_text_is_the_start_of_the_whole_one(text in "[ab c\\[SEP\\]]{0,40}", max in 3usize..20) {
        let all = Overrides { max_tokens: Some(10_000), ..Overrides::default() };
        let cut = Overrides { max_tokens: Some(max), ..Overrides::default() };
        let (whole, part) = (encode(BERT, all, &text), encode(BERT, cut, &text));
        let inner = &part[1..part.len() - 1];
        prop_assert_eq!(inner, &whole[1..whole.len() - 1][..inner.len()]);
        prop_assert_eq!(part.len(), whole.len().min(max));
    }
}
