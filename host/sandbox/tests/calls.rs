//! Calls of well-behaved plugins.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use aimass_tensor::Tensor;
use support::{Bench, identity, module, process, processor};

#[tokio::test]
async fn identity_shares_the_bytes_of_its_inputs_and_copies_nothing() {
    let bench = Bench::new();
    let plugin = bench.load(&identity()).await.unwrap();
    let tensor = Tensor::from_slice(&[3], &[1i64, 2, 3]).unwrap();
    let inputs = vec![("a".into(), tensor.clone()), ("b".into(), tensor.rows(1..3))];
    let answer = process(&plugin, inputs).await.unwrap();
    assert_eq!(&*answer.outputs[0].0, "a");
    assert_eq!(answer.outputs[0].1.bytes().as_ptr(), tensor.bytes().as_ptr());
    assert_eq!(answer.outputs[1].1.bytes().as_ptr(), tensor.bytes()[8..].as_ptr());
    assert_eq!(answer.stats.host_calls, 0);
    let mut counted = Vec::new();
    bench.sandbox.metrics().each(|name, value| counted.push((name, value)));
    for copied in ["bytes_read", "bytes_created"] {
        assert!(counted.contains(&(copied, 0)), "{counted:?}");
    }
}
