//! Guests that answer in parts: what reaches the client, when it ends, and what a stream may hold.

use std::time::{Duration, Instant};

use aimass_engine::{Parameter, STREAM_ITEMS_MAX};
use aimass_guest_tests::{Ask, Site};
use aimass_tensor::{Shape, Strings, Tensor};

async fn site(programs: &[&str]) -> Site {
    let site = Site::start(|_| ()).await;
    for program in programs {
        let added = site.add(program, program, &[]).await;
        added.unwrap_or_else(|error| panic!("{program}: {error}"));
    }
    site
}

fn text(text: &str) -> Ask {
    let strings = Strings::from_slices(&[text]).expect("a short string");
    let tensor = Tensor::from_strings(Shape::new(&[1]).expect("a shape"), strings);
    Ask::new("text", tensor.expect("one string"))
}

#[tokio::test(flavor = "multi_thread")]
async fn words_come_one_by_one_and_their_tokens_are_counted() {
    let site = site(&["words"]).await;
    let (mut items, end) = site.stream("words", text("to be or not"));
    let mut words = Vec::new();
    while let Some(item) = items.next().await {
        let [(name, word)] = &item.response.outputs[..] else { panic!("one output") };
        assert_eq!((&**name, &*item.response.model), ("word", "words"));
        words.push(String::from_utf8_lossy(word.strings().expect("strings").get(0)).into_owned());
    }
    assert_eq!(words, ["to", "be", "or", "not"]);
    let last = end.await.expect("no panic").expect("an answer");
    assert!(last.outputs.is_empty());
    assert_eq!(last.usage.tokens, Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_part_may_have_outputs_and_a_request_for_one_answer_is_told_to_stream() {
    let site = site(&["both", "wrong-name", "late-trap"]).await;
    assert_eq!(site.parts("both", Ask::x(&[1.0])).await, Ok(vec![vec![1.0], vec![1.0]]));
    let error = site.ask("both", Ask::x(&[1.0])).await.expect_err("one answer");
    assert_eq!((error.code(), error.family().name()), ("streaming-only", "invalid-input"));
    assert!(error.to_string().contains("generate_stream"), "{error}");
    let wrong = site.parts("wrong-name", Ask::x(&[1.0])).await;
    assert_eq!(wrong, Err((vec![], "bad-output".to_owned())));
    let late = site.parts("late-trap", Ask::x(&[1.0])).await;
    assert_eq!(late, Err((vec![vec![1.0]], "trap".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_renews_the_time_that_the_call_had() {
    let site = site(&["slow"]).await;
    let wall = Duration::from_millis(400);
    let ask = |items| Ask::x(&[1.0]).with("items", Parameter::Int(items)).within(wall);
    let start = Instant::now();
    let parts = site.parts("slow", ask(6)).await.expect("all items");
    assert_eq!(parts.len(), 6);
    assert!(start.elapsed() > 3 * wall, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_the_guest_back_until_its_deadline() {
    let site = site(&["torrent"]).await;
    let wall = Duration::from_millis(600);
    let (mut items, end) = site.stream("torrent", Ask::x(&[1.0]).within(wall));
    let start = Instant::now();
    // Nobody reads: as many items as wait are all that there ever is.
    let error = end.await.expect("no panic").expect_err("a deadline");
    assert_eq!(error.code(), "deadline");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let mut waiting = 0;
    while items.next().await.is_some() {
        waiting += 1;
    }
    assert_eq!(waiting, STREAM_ITEMS_MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_whose_client_went_away_is_told_and_one_that_does_not_listen_can_be_dropped() {
    let site = site(&["torrent", "endless"]).await;
    let (mut items, end) = site.stream("torrent", Ask::x(&[1.0]));
    assert!(items.next().await.is_some());
    drop(items);
    let error = end.await.expect("no panic").expect_err("it stops");
    assert_eq!(error.code(), "cancelled");
    let (mut items, end) = site.stream("endless", Ask::x(&[1.0]));
    assert!(items.next().await.is_some());
    drop(items);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!end.is_finished(), "it does not listen");
    end.abort();
    let is_live = |count: u64| {
        let line = format!("aimass_sandbox_instances_live {count}");
        site.engine.metrics_text().lines().any(|own| own == line)
    };
    let gone = async {
        while !is_live(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the instance is gone");
}
