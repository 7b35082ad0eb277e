//! What a host admits of a marketplace, reloads, follows and remembers.

mod market;

use aimass_trust::{
    Bundle, MarketState, Purpose, RefusalCode, Revocation, Revocations, Revoked, Timestamp, Update,
};
use market::{NOW, Scene, at, keys, log_in, log_policy, root, root_content};

#[test]
fn a_good_bundle_is_admitted_with_everything_that_it_says() {
    let (bytes, host) = Scene::new().stage();
    let (admitted, state) = host.verify(&bytes).expect("admitted");
    assert_eq!(admitted.package().name().as_str(), "acme/resize-norm");
    assert_eq!(admitted.package().sequence(), 17);
    assert_eq!(admitted.package().limits().wall_ms_max, Some(1000));
    assert_eq!((admitted.log_index(), admitted.checkpoint().size), (2, 3));
    assert_eq!(admitted.signers()[0], keys().acme[0].public());
    assert_eq!(admitted.signers().len(), 3);
    assert_eq!(state.floor, Timestamp::from_unix(NOW - 30));
    assert_eq!(state.checkpoints, [admitted.checkpoint().clone()]);
    let kept = MarketState::from_bytes(&state.to_bytes().expect("text")).expect("read");
    assert_eq!(kept, state);
    let bundle = Bundle::parse(&bytes).expect("a bundle");
    assert_eq!(&admitted.package().component()[..], bundle.get("plugin.wasm").expect("there"));
}

#[test]
fn a_chain_of_roots_is_followed_and_kept() {
    let mut scene = Scene::new();
    scene.chain = Some(Box::new(|chain| {
        let mut content = root_content();
        content.root = market::role(&keys().evil, 3);
        let both: Vec<_> = [&keys().root[2..], &keys().evil[..3]].concat();
        chain.roots.push(root(2, &content, &both));
        chain.roots.push(root(3, &content, &keys().evil[2..]));
    }));
    let (_, state) = scene.verify().expect("admitted");
    assert!(String::from_utf8(state.root).expect("text").contains("\"version\":3"));
}
