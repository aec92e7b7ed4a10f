use jumpstarter_cluster_config::{Effect, changes};

use super::good;

#[test]
fn changes_say_what_and_when() {
    let old = good("leasePolicy: {maxTags: 3}\n");
    let new = good(
        "grpc: {keepalive: {minTime: 5s}}\nhiddenLabels: {keys: [a]}\nauthentication: {internal: {prefix: 'x:'}}\n",
    );
    let found: Vec<_> = changes(&old, &new).into_iter().map(|change| (change.key, change.effect)).collect();
    assert_eq!(
        found,
        [
            ("authentication.internal.prefix", Effect::Restart),
            ("grpc.keepalive.minTime", Effect::Restart),
            ("leasePolicy.maxTags", Effect::Live),
            ("hiddenLabels.keys", Effect::Live),
        ]
    );
    let tags = &changes(&old, &new)[2];
    assert_eq!(tags.to_string(), "leasePolicy.maxTags: 3 → 10");
    assert_eq!(changes(&old, &good("leasePolicy: {maxTags: 3} # a remark")), []);
}
