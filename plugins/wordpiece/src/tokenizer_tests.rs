use super::*;

const FILE: &str = r###"{
    "truncation": null,
    "added_tokens": [
        {"id": 2, "content": "[SEP]"}, {"id": 12, "content": "New Day", "normalized": true}
    ],
    "normalizer": {"type": "BertNormalizer"},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
    "model": {"unk_token": "[UNK]", "vocab": {
        "[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "un": 3, "##aff": 4, "##able": 5, ",": 6, "a": 7, "##a": 8,
        "中": 9, "é": 10, "e": 11, "new day": 12, "new": 13
    }}
}"###;

fn tokenizer(json: &str, max_tokens: Option<u32>) -> Tokenizer {
    let file = TokenizerFile::parse(json.as_bytes()).unwrap();
    Tokenizer::new(file, Overrides { max_tokens, lowercase: None }).unwrap()
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<i32> {
    let mut ids = Vec::new();
    tokenizer.encode(text, &mut Scratch::default(), &mut ids);
    ids
}

#[test]
fn words_become_their_longest_pieces() {
    let without_marked = FILE.replace("\"normalized\": true", "\"normalized\": false");
    for json in [FILE, &without_marked] {
        let tokenizer = tokenizer(json, None);
        #[track_caller]
        fn check(tokenizer: &Tokenizer, text: &str, expected: &[i32]) {
            let ids = encode(tokenizer, text);
            assert_eq!(ids[1..ids.len() - 1], *expected, "{text:?}");
            assert_eq!((ids[0], ids[ids.len() - 1]), (1, 2));
        }
        check(&tokenizer, "", &[]);
        check(&tokenizer, "Unaffable", &[3, 4, 5]);
        check(&tokenizer, "a,  unaffable,a", &[7, 6, 3, 4, 5, 6, 7]);
        check(&tokenizer, "unknown a", &[0, 7]);
        check(&tokenizer, "é\u{200b} É a中a", &[11, 11, 7, 9, 7]);
        check(&tokenizer, "a\u{301}a\u{2003}a", &[7, 8, 7]);
        check(&tokenizer, "a[SEP]a", &[7, 2, 7]);
        check(&tokenizer, "\u{2003}\u{2003}", &[]);
        check(&tokenizer, &"a".repeat(100), &[[7].as_slice(), &[8; 99]].concat());
        check(&tokenizer, &"a".repeat(101), &[0]);
        check(&tokenizer, &"é".repeat(101), &[0]);
    }
}

#[test]
fn a_token_is_found_in_the_normalized_text() {
    assert_eq!(encode(&tokenizer(FILE, None), "a NEW DAY new"), [1, 7, 12, 13, 2]);
}

#[test]
fn a_long_text_keeps_its_special_tokens() {
    let right = tokenizer(FILE, Some(4));
    assert_eq!(encode(&right, "un a , a"), [1, 3, 7, 2]);
    let cut = r#""truncation": {"max_length": 4, "direction": "Left"}"#;
    let left = tokenizer(&FILE.replace("\"truncation\": null", cut), None);
    assert_eq!(encode(&left, "un a , a"), [1, 6, 7, 2]);
    assert_eq!(encode(&left, "a"), [1, 7, 2]);
}

#[test]
fn a_limit_below_the_special_tokens_is_refused() {
    let file = TokenizerFile::parse(FILE.as_bytes()).unwrap();
    let overrides = Overrides { max_tokens: Some(2), lowercase: None };
    let error = Tokenizer::new(file, overrides).unwrap_err();
    assert_eq!(error.message, "max_tokens: expected more than the 2 special tokens, got 2");
}

/// Compares with the ids of Hugging Face `tokenizers` in `tests/golden` (or `$AIMASS_GOLDEN`).
#[test]
#[ignore = "needs AIMASS_MODEL_DIR, which `cargo xtask test` sets"]
fn golden_texts_have_golden_ids() {
    let read = |path: std::path::PathBuf| {
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let model =
        std::env::var("AIMASS_MODEL_DIR").expect("AIMASS_MODEL_DIR names the model's folder");
    let file = read(std::path::Path::new(&model).join("tokenizer.json"));
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden");
    let golden = std::env::var("AIMASS_GOLDEN").unwrap_or_else(|_| golden.to_owned());
    let golden = std::path::Path::new(&golden);
    let texts: Vec<String> = serde_json::from_slice(&read(golden.join("texts.json"))).unwrap();
    let ids: Vec<Vec<i32>> = serde_json::from_slice(&read(golden.join("token_ids.json"))).unwrap();
    assert_eq!(texts.len(), ids.len());
    let tokenizer = tokenizer(std::str::from_utf8(&file).unwrap(), Some(512));
    for (text, ids) in texts.iter().zip(&ids) {
        assert_eq!(encode(&tokenizer, text), *ids, "{text:?}");
    }
}

/// The plugin's fixtures, made with Hugging Face `tokenizers`, without a sandbox around the tokenizer.
#[test]
fn fixture_texts_have_fixture_ids() {
    let json = include_str!("../fixtures/files/tokenizer.json");
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/cases.json")).unwrap();
    let mut texts = 0;
    for case in cases.as_array().unwrap() {
        if case["error"].is_string() {
            continue;
        }
        let max_tokens = case["config"]["max_tokens"].as_u64().map(|max| max as u32);
        let tokenizer = tokenizer(json, max_tokens);
        let mut ids = Vec::new();
        for text in case["inputs"][0]["data"].as_array().unwrap() {
            ids.extend(encode(&tokenizer, text.as_str().unwrap()));
            texts += 1;
        }
        let expected = &case["outputs"][0]["data"];
        assert_eq!(serde_json::json!(ids), *expected, "{}", case["name"]);
    }
    assert!(texts > 10, "only {texts} texts");
}
