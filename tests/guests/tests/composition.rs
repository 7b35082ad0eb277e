//! Models that call models: branches, ensembles and loops, and every way in which that can go wrong.

use std::time::{Duration, Instant};

use aimass_engine::{CompositionConfig, Parameter};
use aimass_guest_tests::{Ask, Site, composer};
use aimass_telemetry::call::Call;
use aimass_tensor::Tensor;

async fn site() -> Site {
    Site::start(|_| ()).await
}

async fn add(site: &Site, name: &str, program: &str, models: &[&str]) {
    let added = site.add(name, program, models).await;
    added.unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Code and text of the refusal of a model that calls these.
async fn refused(site: &Site, name: &str, models: &[&str]) -> (String, String) {
    let error = site.add(name, "relay", models).await.expect_err("a refusal");
    (error.code().to_owned(), error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn glue_picks_averages_and_repeats_other_models() {
    let site = site().await;
    add(&site, "twice", "double", &[]).await;
    add(&site, "until", "refine", &["twice"]).await;
    add(&site, "router", "router", &["twice", "until"]).await;
    add(&site, "both", "ensemble", &["twice", "router"]).await;
    let until = |value| Ask::x(&[3.0]).with("until", Parameter::Float(value));
    assert_eq!(site.y("until", until(40.0)).await, Ok(vec![48.0]));
    assert_eq!(site.y("router", Ask::x(&[4.0, 5.0])).await, Ok(vec![8.0, 10.0]));
    // The refining model has passed its mark already, and answers what came.
    assert_eq!(site.y("router", Ask::x(&[50.0])).await, Ok(vec![50.0]));
    assert_eq!(site.y("both", Ask::x(&[50.0])).await, Ok(vec![75.0]));
    let metrics = site.engine.metrics_text();
    let line = "aimass_model_calls_total{model=\"until\",outcome=\"ok\"} 2";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_traced_model_is_a_plan_of_its_glue_and_a_model_of_others() {
    let site = site().await;
    let package = |step: &str| {
        format!(
            "[model]\nname = \"acme/guest\"\nversion = \"1.0.0\"\n\
             [format]\nplugin = \"acme/tracer\"\nconfig = {{ program = \"countdown\" }}\n\
             [[input]]\nname = \"n\"\ndtype = \"INT64\"\n\
             [[input]]\nname = \"x\"\ndtype = \"FP32\"\n\
             [[step]]\nname = \"run\"\n{step}\n\
             [[output]]\nname = \"y\"\nfrom = \"run.y\"\ndtype = \"FP32\"\n"
        )
    };
    // The glue runs the traced model twice: 3 + 3 * 3 = 12, and 12 + 3 * 12 = 48.
    let glue = "plugin = \"acme/composer\"\nconfig = { program = \"twice-planned\" }";
    let added = site.add_package("glued", &package(glue)).await;
    added.unwrap_or_else(|error| panic!("{error}"));
    add(&site, "outer", "counting", &["glued"]).await;
    // The cost of the inner model is the outer call's, and so is the version that answered.
    let call = Call::new("r", None);
    let answer = call.clone().scope(site.y("outer", Ask::x(&[3.0]))).await;
    assert_eq!(answer, Ok(vec![48.0]));
    let used = call.used();
    assert!(used.kernel > Duration::ZERO && used.plugin > Duration::ZERO, "{used:?}");
    assert_eq!(&*used.served.plugins, ["acme/composer@0.1.0".into()], "{used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_inner_models_are_the_callers() {
    let site = site().await;
    let counted = |name: &str, program: &str, models: &str| {
        let toml = format!(
            "[model]\nname = \"acme/guest\"\nversion = \"1.0.0\"\n\
             [[input]]\nname = \"x\"\ndtype = \"ANY\"\n\
             [[input]]\nname = \"tokens\"\ndtype = \"UINT32\"\n\
             [[step]]\nname = \"guest\"\nplugin = \"acme/composer\"\nmodels = [{models}]\n\
             config = {{ program = \"{program}\", models = [{models}] }}\n\
             [[output]]\nname = \"y\"\nfrom = \"guest.y\"\ndtype = \"FP32\"\n\
             [usage]\ntokens = \"tokens\"\n"
        );
        (name.to_owned(), toml)
    };
    for (name, toml) in [counted("leaf", "double", ""), counted("outer", "relay-all", "\"leaf\"")] {
        let added = site.add_package(&name, &toml).await;
        added.unwrap_or_else(|error| panic!("{error}"));
    }
    let tokens = Tensor::from_slice(&[2], &[3u32, 4]).expect("two elements");
    let ask = Ask::x(&[1.0]).and("tokens", tokens);
    let answer = site.ask("outer", ask).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(answer.usage.tokens, Some(14));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_pinned_and_one_that_does_not_exist_is_refused() {
    let site = site().await;
    add(&site, "leaf", "double", &[]).await;
    add(&site, "old", "relay", &["leaf@1"]).await;
    add(&site, "new", "relay", &["leaf@newest"]).await;
    // Version 2 of the leaf is broken; who pinned version 1 does not notice.
    add(&site, "leaf", "late-trap", &[]).await;
    assert_eq!(site.y("old", Ask::x(&[1.0])).await, Ok(vec![2.0]));
    assert_eq!(site.y("new", Ask::x(&[1.0])).await, Err("streaming-only".to_owned()));
    let (code, text) = refused(&site, "missing", &["leaf@7"]).await;
    assert!(code == "model-not-found" && text.contains("leaf@7"), "{text}");
    let (code, text) = refused(&site, "missing", &["nobody"]).await;
    assert!(code == "model-not-found" && text.contains("publish it first"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_permission_for_models_that_package_or_manifest_do_not_name() {
    let site = site().await;
    add(&site, "leaf", "double", &[]).await;
    add(&site, "other", "double", &[]).await;
    // The configuration names a model, the step's grants do not.
    let toml = |plugin: &str, granted: &str| {
        format!(
            "[model]\nname = \"acme/guest\"\nversion = \"1.0.0\"\n\
             [[input]]\nname = \"x\"\ndtype = \"FP32\"\n\
             [[step]]\nname = \"guest\"\nplugin = \"acme/{plugin}\"\n{granted}\
             config = {{ program = \"relay\", models = [\"leaf\"] }}\n\
             [[output]]\nname = \"y\"\nfrom = \"guest.y\"\ndtype = \"FP32\"\n"
        )
    };
    for granted in ["", "models = [\"other\"]\n", "models = [\"leaf@1\"]\n"] {
        let added = site.add_package("sneaky", &toml("composer", granted)).await;
        added.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(site.y("sneaky", Ask::x(&[1.0])).await, Err("model".to_owned()), "{granted}");
    }
    // The manifest lets it call one model, the package wants another.
    let narrow =
        r#""clock": {}, "config": {}, "emit": {}, "models": ["other"], "plans": {}, "tensor": {}"#;
    let published = site.publish_plugin("narrow", (composer(), "model", narrow)).await;
    published.unwrap_or_else(|error| panic!("{error}"));
    let refused = site.add_package("narrow", &toml("narrow", "models = [\"leaf\"]\n")).await;
    let text = refused.expect_err("a refusal").to_string();
    assert!(text.contains("acme/narrow does not let it call leaf"), "{text}");
    // Without the capability the component does not even get in.
    let none = r#""clock": {}, "config": {}, "emit": {}, "plans": {}, "tensor": {}"#;
    let refused = site.publish_plugin("none", (composer(), "model", none)).await;
    let text = refused.expect_err("a refusal").to_string();
    assert!(text.contains("aimass:plugin/models"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_is_refused_when_it_is_published_and_when_it_is_called() {
    let site = site().await;
    add(&site, "c", "double", &[]).await;
    add(&site, "b", "relay", &["c"]).await;
    add(&site, "a", "relay", &["b"]).await;
    assert_eq!(site.y("a", Ask::x(&[1.0])).await, Ok(vec![2.0]));
    let (code, text) = refused(&site, "c", &["a"]).await;
    assert!(code == "model-cycle" && text.contains("c -> a -> b -> c"), "{text}");
    let (code, text) = refused(&site, "self", &["self"]).await;
    assert!(code == "model-cycle" && text.contains("self -> self"), "{text}");
    assert_eq!(site.y("a", Ask::x(&[1.0])).await, Ok(vec![2.0]), "nothing changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_call_each_other_eight_deep_and_no_deeper() {
    let site = site().await;
    add(&site, "m0", "double", &[]).await;
    for depth in 1..=9 {
        let below = format!("m{}", depth - 1);
        add(&site, &format!("m{depth}"), "relay", &[&below]).await;
    }
    assert_eq!(site.y("m8", Ask::x(&[1.0])).await, Ok(vec![2.0]));
    let error = site.ask("m9", Ask::x(&[1.0])).await.expect_err("too deep");
    assert_eq!(error.code(), "depth");
    assert!(error.to_string().contains("at most 8 deep: m9 -> m8 -> m7"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_calls_ends_at_its_limit_and_the_next_request_starts_anew() {
    let calls_max = 25;
    let site = Site::start(|config| {
        config.composition = CompositionConfig { calls_max, ..CompositionConfig::default() };
    })
    .await;
    add(&site, "leaf", "double", &[]).await;
    add(&site, "flood", "flood", &["leaf"]).await;
    for _ in 0..2 {
        assert_eq!(site.y("flood", Ask::x(&[1.0])).await, Ok(vec![25.0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_inside_an_inner_call_ends_both() {
    let site = site().await;
    add(&site, "spin", "spin", &[]).await;
    add(&site, "outer", "relay", &["spin"]).await;
    let (start, wall) = (Instant::now(), Duration::from_millis(300));
    let error = site.ask("outer", Ask::x(&[1.0]).within(wall)).await.expect_err("a deadline");
    assert_eq!(error.code(), "deadline");
    let took = start.elapsed();
    assert!(took >= wall && took < wall + Duration::from_secs(2), "{took:?}");
    assert_live(&site, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_takes_the_inner_model_with_it() {
    let site = site().await;
    add(&site, "spin", "spin", &[]).await;
    add(&site, "outer", "relay", &["spin"]).await;
    let asked = tokio::time::timeout(Duration::from_millis(300), site.y("outer", Ask::x(&[1.0])));
    assert!(asked.await.is_err(), "it spins");
    assert_live(&site, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_unloaded_in_the_middle_ends_its_calls_well_and_takes_no_new_ones() {
    let site = site().await;
    add(&site, "leaf", "double", &[]).await;
    add(&site, "flood", "flood", &["leaf"]).await;
    add(&site, "outer", "relay", &["leaf"]).await;
    let unload = async {
        while !site.engine.metrics_text().contains("aimass_model_calls_total{model=\"leaf\"") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        site.engine.unload("leaf").unwrap_or_else(|error| panic!("{error}"));
    };
    let (flood, ()) = tokio::join!(site.y("flood", Ask::x(&[1.0])), unload);
    let answered = flood.expect("an answer")[0];
    assert!((1.0..1000.0).contains(&answered), "{answered}");
    assert_eq!(site.y("outer", Ask::x(&[1.0])).await, Err("unloaded".to_owned()));
    let deadline = Instant::now() + Duration::from_secs(20);
    site.engine.load("leaf", deadline).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(site.y("outer", Ask::x(&[1.0])).await, Ok(vec![2.0]));
}

/// Waits until so many instances are live.
async fn assert_live(site: &Site, expected: u64) {
    let line = format!("aimass_sandbox_instances_live {expected}");
    for _ in 0..500 {
        if site.engine.metrics_text().lines().any(|own| own == line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("expected {line} in\n{}", site.engine.metrics_text());
}
