//! Requests as prost writes them, from the field numbers of the published protos.

use super::*;
use axum::http::StatusCode;
use prost::Message;
use std::collections::HashMap;

#[derive(Clone, PartialEq, prost::Message)]
struct Infer {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "2")]
    model_version: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(map = "string, message", tag = "4")]
    parameters: HashMap<String, InferParameter>,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<InferInput>,
    #[prost(message, repeated, tag = "6")]
    outputs: Vec<InferOutput>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    raw: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InferInput {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
    #[prost(map = "string, message", tag = "4")]
    parameters: HashMap<String, InferParameter>,
    #[prost(message, optional, tag = "5")]
    contents: Option<Contents>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InferOutput {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(map = "string, message", tag = "2")]
    parameters: HashMap<String, InferParameter>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InferParameter {
    #[prost(oneof = "Choice", tags = "1, 2, 3, 4, 5")]
    choice: Option<Choice>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Choice {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(int64, tag = "2")]
    Int64(i64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(uint64, tag = "5")]
    Uint64(u64),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Contents {
    #[prost(bool, repeated, tag = "1")]
    bools: Vec<bool>,
    #[prost(int32, repeated, tag = "2")]
    ints: Vec<i32>,
    #[prost(int64, repeated, tag = "3")]
    int64s: Vec<i64>,
    #[prost(uint32, repeated, tag = "4")]
    uints: Vec<u32>,
    #[prost(uint64, repeated, tag = "5")]
    uint64s: Vec<u64>,
    #[prost(float, repeated, tag = "6")]
    fp32s: Vec<f32>,
    #[prost(double, repeated, tag = "7")]
    fp64s: Vec<f64>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    bytes: Vec<Vec<u8>>,
}

fn input(datatype: &str, shape: &[i64], contents: Option<Contents>) -> InferInput {
    InferInput {
        name: "x".into(),
        datatype: datatype.into(),
        shape: shape.into(),
        contents,
        ..InferInput::default()
    }
}

fn parameter(choice: Choice) -> InferParameter {
    InferParameter { choice: Some(choice) }
}

fn read(message: &Infer) -> Result<GrpcInfer, String> {
    parse(&Bytes::from(message.encode_to_vec())).map_err(|failure| {
        assert_eq!(failure.status, StatusCode::BAD_REQUEST);
        failure.message
    })
}

fn typed(datatype: &str, shape: &[i64], contents: Contents) -> Result<Tensor, String> {
    let inputs = vec![input(datatype, shape, Some(contents))];
    let read = read(&Infer { inputs, ..Infer::default() })?;
    Ok(read.request.inputs.into_iter().next().unwrap().1)
}

#[test]
fn everything_that_a_request_says_is_read() {
    let message = Infer {
        model_name: "m".into(),
        model_version: "7".into(),
        id: "abc".into(),
        parameters: HashMap::from([
            ("timeout".into(), parameter(Choice::Int64(1500))),
            ("flag".into(), parameter(Choice::Bool(true))),
            ("big".into(), parameter(Choice::Uint64(5))),
            ("ratio".into(), parameter(Choice::Double(0.5))),
            ("text".into(), parameter(Choice::Text("t".into()))),
        ]),
        inputs: vec![input("FP32", &[2], None)],
        outputs: vec![InferOutput { name: "y".into(), ..InferOutput::default() }],
        raw: vec![[1f32, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect()],
    };
    let block = message.encode_to_vec();
    assert_eq!((model_name(&block), request_id(&block)), (Some("m"), Some("abc")));
    let GrpcInfer { model, selector, request } = read(&message).unwrap();
    assert_eq!((model.as_str(), selector), ("m", Selector::Version(7)));
    assert_eq!(request.id.as_deref(), Some("abc"));
    assert_eq!(request.timeout, Some(Duration::from_micros(1500)));
    assert_eq!(request.inputs[0].1.as_slice::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!(request.wanted.outputs, [("y".to_owned(), None)]);
    let expected = BTreeMap::from([
        ("flag".to_owned(), Parameter::Bool(true)),
        ("big".to_owned(), Parameter::Int(5)),
        ("ratio".to_owned(), Parameter::Float(0.5)),
        ("text".to_owned(), Parameter::Text("t".into())),
    ]);
    assert_eq!(request.parameters, expected);
}

#[test]
fn typed_contents_of_every_datatype_become_tensors() {
    let empty = Contents::default;
    let bools = Contents { bools: vec![true, false], ..empty() };
    assert_eq!(typed("BOOL", &[2], bools).unwrap().bytes(), [1, 0]);
    let ints = Contents { ints: vec![-1, 127], ..empty() };
    assert_eq!(typed("INT8", &[2], ints.clone()).unwrap().as_slice::<i8>().unwrap(), [-1, 127]);
    assert_eq!(typed("INT16", &[2], ints.clone()).unwrap().as_slice::<i16>().unwrap(), [-1, 127]);
    assert_eq!(typed("INT32", &[2, 1], ints).unwrap().as_slice::<i32>().unwrap(), [-1, 127]);
    let int64s = Contents { int64s: vec![i64::MIN, 1], ..empty() };
    assert_eq!(typed("INT64", &[2], int64s).unwrap().as_slice::<i64>().unwrap(), [i64::MIN, 1]);
    let uints = Contents { uints: vec![0, 255], ..empty() };
    assert_eq!(typed("UINT8", &[2], uints.clone()).unwrap().as_slice::<u8>().unwrap(), [0, 255]);
    assert_eq!(typed("UINT32", &[2], uints).unwrap().as_slice::<u32>().unwrap(), [0, 255]);
    let uint64s = Contents { uint64s: vec![u64::MAX], ..empty() };
    assert_eq!(typed("UINT64", &[1], uint64s).unwrap().as_slice::<u64>().unwrap(), [u64::MAX]);
    let fp32s = Contents { fp32s: vec![0.5, -1.0], ..empty() };
    assert_eq!(typed("FP32", &[1, 2], fp32s).unwrap().as_slice::<f32>().unwrap(), [0.5, -1.0]);
    let fp64s = Contents { fp64s: vec![0.1], ..empty() };
    assert_eq!(typed("FP64", &[1], fp64s).unwrap().as_slice::<f64>().unwrap(), [0.1]);
    let bytes = Contents { bytes: vec![b"a".to_vec(), b"".to_vec()], ..empty() };
    let strings = typed("BYTES", &[2], bytes).unwrap();
    assert_eq!(strings.strings().unwrap().iter().collect::<Vec<_>>(), [&b"a"[..], b""]);
    assert_eq!(typed("FP32", &[0], empty()).unwrap().byte_len(), 0);
}

#[test]
fn numbers_may_stand_alone_instead_of_packed() {
    // fp32_contents 1.0 and 2.0 one by one, int_contents 3 and then packed 4 and 5.
    let floats = [0x35, 0, 0, 0x80, 0x3f, 0x35, 0, 0, 0, 0x40];
    let ints = [0x10, 3, 0x12, 2, 4, 5];
    let wrap = |datatype: &str, shape: u8, contents: &[u8]| {
        let mut input = vec![0x0a, 1, b'x', 0x12, datatype.len() as u8];
        input.extend_from_slice(datatype.as_bytes());
        input.extend_from_slice(&[0x1a, 1, shape, 0x2a, contents.len() as u8]);
        input.extend_from_slice(contents);
        let mut block = vec![0x2a, input.len() as u8];
        block.extend_from_slice(&input);
        parse(&Bytes::from(block)).unwrap().request.inputs.remove(0).1
    };
    assert_eq!(wrap("FP32", 2, &floats).as_slice::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!(wrap("INT32", 3, &ints).as_slice::<i32>().unwrap(), [3, 4, 5]);
}

#[test]
fn what_does_not_fit_is_named() {
    let one = |contents| typed("INT8", &[1], contents).unwrap_err();
    let ints = |ints: &[i32]| Contents { ints: ints.into(), ..Contents::default() };
    assert!(one(ints(&[128])).contains("element 0: 128 does not fit"), "{}", one(ints(&[128])));
    assert!(one(ints(&[1, 2])).contains("expected 1 elements"));
    assert!(one(ints(&[])).contains("got 0"));
    let floats = Contents { fp32s: vec![1.0], ..Contents::default() };
    assert!(one(floats).contains("expected int_contents for i8, got fp32_contents"));
    assert!(typed("FP16", &[1], Contents::default()).unwrap_err().contains("raw_input_contents"));
    assert!(typed("FP33", &[1], Contents::default()).is_err());
    assert!(typed("FP32", &[-1], Contents::default()).unwrap_err().contains("got -1"));
    assert!(typed("FP32", &[1 << 40], Contents::default()).is_err());
    assert!(typed("BYTES", &[1 << 40], Contents::default()).is_err());
    assert!(typed("INT64", &[1 << 40], Contents::default()).is_err());
}

#[test]
fn limits_hold_before_anything_grows() {
    let many = |count: usize| Infer {
        inputs: (0..count)
            .map(|n| InferInput { name: n.to_string(), ..input("FP32", &[0], None) })
            .collect(),
        ..Infer::default()
    };
    assert_eq!(read(&many(64)).unwrap().request.inputs.len(), 64);
    assert!(read(&many(65)).unwrap_err().contains("at most 64"));
    let long = |len| Infer { id: "i".repeat(len), ..Infer::default() };
    assert!(read(&long(REQUEST_ID_BYTES_MAX)).is_ok());
    assert!(read(&long(REQUEST_ID_BYTES_MAX + 1)).is_err());
    let rank =
        |rank| Infer { inputs: vec![input("FP32", &vec![0; rank], None)], ..Infer::default() };
    assert!(read(&rank(RANK_MAX)).is_ok());
    assert!(read(&rank(RANK_MAX + 1)).unwrap_err().contains("dimensions"));
}

#[test]
fn inputs_and_raw_contents_go_together() {
    let two = vec![vec![0; 4], vec![0; 4]];
    let message = Infer { inputs: vec![input("FP32", &[1], None)], raw: two, ..Infer::default() };
    assert!(read(&message).unwrap_err().contains("one for each of the 1 inputs"));
    let both = Infer {
        inputs: vec![input(
            "FP32",
            &[1],
            Some(Contents { fp32s: vec![1.0], ..Default::default() }),
        )],
        raw: vec![vec![0; 4]],
        ..Infer::default()
    };
    assert!(read(&both).unwrap_err().contains("both contents and raw"));
    let twice = Infer {
        inputs: vec![input("FP32", &[0], None), input("FP32", &[0], None)],
        ..Infer::default()
    };
    assert!(read(&twice).unwrap_err().contains("given twice"));
    let key = "shared_memory_region".to_owned();
    let region = HashMap::from([(key, parameter(Choice::Text("r".into())))]);
    let shared = InferInput { parameters: region.clone(), ..input("FP32", &[0], None) };
    let message = Infer { inputs: vec![shared], ..Infer::default() };
    assert!(read(&message).unwrap_err().contains("shared memory"));
    let output = InferOutput { name: "y".into(), parameters: region };
    let message = Infer { outputs: vec![output], ..Infer::default() };
    assert!(read(&message).unwrap_err().contains("shared memory"));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = parse(&Bytes::from(bytes));
    }

    #[test]
    fn a_request_with_flipped_bytes_is_read_or_refused(at in 0usize..200, to: u8) {
        let message = Infer {
            model_name: "model".into(),
            id: "id".into(),
            parameters: HashMap::from([("p".into(), parameter(Choice::Double(1.0)))]),
            inputs: vec![
                input("BYTES", &[2], Some(Contents { bytes: vec![b"a".to_vec(); 2], ..Default::default() })),
                InferInput { name: "i".into(), ..input("INT64", &[3], Some(Contents { int64s: vec![1, 2, 3], ..Default::default() })) },
            ],
            ..Infer::default()
        };
        let mut block = message.encode_to_vec();
        let at = at % block.len();
        block[at] = to;
        let _ = parse(&Bytes::from(block));
    }
}
