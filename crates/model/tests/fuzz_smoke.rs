//! The fuzz bodies on a corpus and on random bytes, for toolchains without a fuzzer.

use jumpstarter_model::fuzzing;
use proptest::prelude::*;

const BODIES: [fn(&[u8]); 5] =
    [fuzzing::selector, fuzzing::duration, fuzzing::resource_name, fuzzing::identity, fuzzing::lease_times];

#[test]
fn the_corpus() {
    let texts = [
        "",
        "a=b,c!=d,e in (f,,g),h notin (,),!i,j",
        "a in (",
        "((((((((((((((((",
        "1h2m3.4s5ms6us7ns",
        "-9223372036854775808ns",
        "9223372036854775808ns",
        "99999999999999999999999999.9999999999999999999999h",
        "namespaces/lab/exporters/board-1",
        "namespaces/lab/leases/0198-a",
        "namespaces/lab/clients/alice",
        "namespaces/lab",
        "client:lab:alice:1",
        "exporter:lab:board:1:2",
        "k8s:system:serviceaccount:ns:sa\nbot",
        "dex:Foo.Bar@example.com\nfoo-bar-example-com",
        "\u{1f600}\u{0}\u{7f}\u{301}",
    ];
    for text in texts {
        for body in BODIES {
            body(text.as_bytes());
        }
    }
    let many = "a".repeat(1 << 20);
    let commas = ",".repeat(1 << 16);
    for body in BODIES {
        body(many.as_bytes());
        body(commas.as_bytes());
        body(&[0xff; 64]);
        body(&[1; 64]);
    }
}

proptest! {
    #[test]
    fn random_bytes(data in prop::collection::vec(any::<u8>(), 0..80)) {
        for body in BODIES {
            body(&data);
        }
    }

    #[test]
    fn random_words(text in "([a-c/:.=!,()\n -]|in|notin|[0-9]|h|ms|s|namespaces|exporters|leases|client){0,24}") {
        for body in BODIES {
            body(text.as_bytes());
        }
    }
}
