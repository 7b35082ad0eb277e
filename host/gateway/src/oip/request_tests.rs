//! Infer requests as stock clients send them, and as nobody should.

use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Result<ParsedRequest, Failure> {
    parse(&Bytes::copy_from_slice(text.as_bytes()), None)
}

fn fault(text: &str) -> String {
    let failure = read(text).unwrap_err();
    assert_eq!(failure.status.as_u16(), 400, "{text}");
    failure.message
}

#[test]
fn a_json_request_may_have_its_fields_in_any_order() {
    let text = r#"{"outputs":[{"name":"O","parameters":{"binary_data":true}},{"name":"P"}],
        "inputs":[{"data":[1,2],"shape":[2],"name":"A","datatype":"FP32","extra":[[{}]]}],
        "parameters":{"timeout":1500,"top_k":3,"t":0.5,"s":"x","b":false},"id":"é\n"}"#;
    let request = read(text).unwrap();
    assert_eq!(request.id.as_deref(), Some("é\n"));
    assert_eq!(request.timeout, Some(Duration::from_micros(1500)));
    assert_eq!(request.inputs[0].1.as_slice::<f32>().unwrap(), [1.0, 2.0]);
    assert!(request.wanted.is_binary("O") && !request.wanted.is_binary("P"));
    let expected = [
        ("b", Parameter::Bool(false)),
        ("s", Parameter::Text("x".into())),
        ("t", Parameter::Float(0.5)),
        ("top_k", Parameter::Int(3)),
    ];
    let got: Vec<_> = request.parameters.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    assert_eq!(got, expected);
}

#[test]
fn binary_inputs_follow_in_order_and_share_the_body() {
    let json = r#"{"parameters":{"binary_data_output":true},"inputs":[
        {"name":"A","datatype":"UINT8","shape":[3],"parameters":{"binary_data_size":3}},
        {"name":"J","datatype":"INT32","shape":[1],"data":[7]},
        {"name":"B","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}]}"#;
    let body = Bytes::from([json.as_bytes(), &[1, 2, 3], b"\x02\0\0\0hi"].concat());
    let request = parse(&body, Some(json.len())).unwrap();
    assert_eq!(request.inputs[0].1.bytes(), [1, 2, 3]);
    assert_eq!(request.inputs[0].1.bytes().as_ptr(), body[json.len()..].as_ptr());
    assert_eq!(request.inputs[1].1.as_slice::<i32>().unwrap(), [7]);
    assert_eq!(request.inputs[2].1.strings().unwrap().get(0), b"hi");
    assert!(request.wanted.binary && request.wanted.is_binary("anything"));

    let short = parse(&body.slice(..body.len() - 1), Some(json.len())).unwrap_err();
    assert!(short.message.contains("beyond the end"), "{}", short.message);
    let long = Bytes::from([&body[..], b"x"].concat());
    let long = parse(&long, Some(json.len())).unwrap_err();
    assert!(long.message.contains("10 bytes follow"), "{}", long.message);
    let beyond = parse(&body, Some(body.len() + 1)).unwrap_err();
    assert!(beyond.message.contains("Inference-Header-Content-Length"));
}

#[test]
fn faults_name_the_input_and_the_remedy() {
    let input = |fields: &str| format!(r#"{{"inputs":[{{"name":"A",{fields}}}]}}"#);
    let cases = [
        (input(r#""shape":[1],"datatype":"FP33","data":[1]"#), "unknown dtype"),
        (input(r#""shape":[-1],"datatype":"FP32","data":[1]"#), "-1"),
        (input(r#""shape":[1],"datatype":"FP32""#), "neither data nor"),
        (
            input(
                r#""shape":[1],"datatype":"FP32","data":[1],"parameters":{"binary_data_size":4}"#,
            ),
            "both data and",
        ),
        (
            input(r#""shape":[1],"datatype":"FP32","parameters":{"shared_memory_region":"r"}"#),
            "shared memory",
        ),
        (input(r#""shape":[2],"datatype":"INT8","data":[1,300]"#), "element 1"),
        (input(r#""shape":[2,2],"datatype":"INT8","data":[[1,2],[3]]"#), "fewer"),
        (input(r#""datatype":"FP32","data":[1]"#), "missing field `shape`"),
        (r#"{"inputs":[],"parameters":{"x":[1]}}"#.into(), "value of a parameter"),
        (r#"{"inputs":[],"parameters":{"timeout":-1}}"#.into(), "microseconds"),
        (r#"{"inputs":[],"parameters":{"binary_data_output":1}}"#.into(), "true or false"),
        (r#"{"inputs":[],"outputs":[{"name":"a"},{"name":"a"}]}"#.into(), "twice"),
        ("{\"inputs\":[{\"name\":\"A\"".into(), "request JSON"),
        ("".into(), "EOF"),
        ("[]".into(), "request JSON"),
    ];
    for (text, expected) in cases {
        let message = fault(&text);
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn lists_stop_at_64_items_and_shapes_at_8_dimensions() {
    let many = |count: usize| {
        let one = |i| format!(r#"{{"name":"{i}","datatype":"INT8","shape":[0],"data":[]}}"#);
        let inputs: Vec<String> = (0..count).map(one).collect();
        format!(r#"{{"inputs":[{}]}}"#, inputs.join(","))
    };
    assert_eq!(read(&many(64)).unwrap().inputs.len(), 64);
    assert!(fault(&many(65)).contains("at most 64"));
    let outputs = |count: usize| {
        let outputs: Vec<String> = (0..count).map(|i| format!(r#"{{"name":"{i}"}}"#)).collect();
        format!(r#"{{"inputs":[],"outputs":[{}]}}"#, outputs.join(","))
    };
    assert_eq!(read(&outputs(64)).unwrap().wanted.outputs.len(), 64);
    assert!(fault(&outputs(65)).contains("at most 64"));
    let parameters = |count: usize| {
        let items: Vec<String> = (0..count).map(|i| format!(r#""p{i}":1"#)).collect();
        format!(r#"{{"inputs":[],"parameters":{{{}}}}}"#, items.join(","))
    };
    assert_eq!(read(&parameters(64)).unwrap().parameters.len(), 64);
    assert!(fault(&parameters(65)).contains("at most 64"));
    let shape = |rank: usize| {
        let dims = vec!["1"; rank].join(",");
        format!(r#"{{"inputs":[{{"name":"A","datatype":"INT8","shape":[{dims}],"data":[1]}}]}}"#)
    };
    assert_eq!(read(&shape(8)).unwrap().inputs[0].1.shape().rank(), 8);
    assert!(fault(&shape(9)).contains("at most 8"));
    let id = |len: usize| format!(r#"{{"id":"{}","inputs":[]}}"#, "x".repeat(len));
    assert!(read(&id(REQUEST_ID_BYTES_MAX)).is_ok());
    assert!(fault(&id(REQUEST_ID_BYTES_MAX + 1)).contains("at most 256 bytes"));
}

#[test]
fn deep_nesting_costs_no_stack() {
    let deep = "[".repeat(1 << 20);
    fault(&format!(r#"{{"unknown":{deep}"#));
    fault(&format!(r#"{{"inputs":{deep}"#));
    let closed = format!("{}{}", "[".repeat(1 << 18), "]".repeat(1 << 18));
    let input = r#""name":"A","datatype":"INT8","shape":[1]"#;
    let text = format!(r#"{{"inputs":[{{{input},"data":{closed}}}]}}"#);
    assert!(fault(&text).contains("9 deep"));
}

fn round_trip(tensor: &Tensor) -> Tensor {
    let mut out = b"{\"inputs\":[{\"name\":\"A\",\"datatype\":\"".to_vec();
    out.extend_from_slice(tensor.dtype().oip_name().unwrap().as_bytes());
    out.extend_from_slice(format!("\",\"shape\":{},\"data\":", tensor.shape()).as_bytes());
    crate::oip::response::write_data(tensor, &mut out).unwrap();
    out.extend_from_slice(b"}]}");
    parse(&Bytes::from(out), None).unwrap().inputs.remove(0).1
}

fn survives(tensor: &Tensor) -> bool {
    round_trip(tensor).bytes() == tensor.bytes()
}

proptest! {
    #[test]
    fn finite_floats_survive_json(values: Vec<f32>, wide: Vec<f64>) {
        let values: Vec<f32> = values.into_iter().filter(|v| v.is_finite()).collect();
        let wide: Vec<f64> = wide.into_iter().filter(|v| v.is_finite()).collect();
        let tensor = Tensor::from_slice(&[values.len()], &values).unwrap();
        prop_assert!(survives(&tensor));
        let tensor = Tensor::from_slice(&[1, wide.len()], &wide).unwrap();
        prop_assert!(survives(&tensor));
    }

    #[test]
    fn integers_survive_json(signed: Vec<i64>, unsigned: Vec<u64>, small: Vec<i8>) {
        let tensor = Tensor::from_slice(&[signed.len()], &signed).unwrap();
        prop_assert!(survives(&tensor));
        let tensor = Tensor::from_slice(&[unsigned.len()], &unsigned).unwrap();
        prop_assert!(survives(&tensor));
        let tensor = Tensor::from_slice(&[small.len()], &small).unwrap();
        prop_assert!(survives(&tensor));
    }

    #[test]
    fn strings_survive_json(items: Vec<String>) {
        let strings = aimass_tensor::Strings::from_slices(&items).unwrap();
        let shape = Shape::new(&[items.len()]).unwrap();
        let back = round_trip(&Tensor::from_strings(shape, strings).unwrap());
        let back: Vec<&[u8]> = back.strings().unwrap().iter().collect();
        prop_assert_eq!(back, items.iter().map(String::as_bytes).collect::<Vec<_>>());
    }

    #[test]
    fn arbitrary_bytes_never_panic(body: Vec<u8>, json_len: Option<u8>) {
        let _ = parse(&Bytes::from(body), json_len.map(usize::from));
    }

    #[test]
    fn a_damaged_request_never_panics(at: usize, byte: u8, cut: usize) {
        let json = br#"{"id":"1","inputs":[{"name":"A","datatype":"BYTES","shape":[2],"data":["a\u00e9","b"]},{"name":"B","shape":[2,2],"datatype":"FP32","data":[[1,2.5],[3e1,-4]]},{"name":"C","shape":[1],"datatype":"INT64","parameters":{"binary_data_size":8}}]}"#;
        let mut body = [&json[..], &[0; 8]].concat();
        let at = at % body.len();
        body[at] = byte;
        body.truncate(body.len() - cut % 12);
        if let Err(failure) = parse(&Bytes::from(body), Some(json.len())) {
            prop_assert_eq!(failure.status.as_u16(), 400);
        }
    }
}
