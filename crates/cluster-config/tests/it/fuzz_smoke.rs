use jumpstarter_cluster_config::fuzzing;
use proptest::prelude::*;

/// Pieces of configurations, so that made-up texts get past the first line.
const PIECES: &[&str] = &[
    "authentication:",
    "internal:",
    "prefix:",
    "tokenLifetime:",
    "jwt:",
    "issuer:",
    "url:",
    "audiences:",
    "claimMappings:",
    "username:",
    "claim:",
    "expression:",
    "extra:",
    "grpc:",
    "keepalive:",
    "minTime:",
    "hiddenLabels:",
    "keys:",
    "deprecatedLabels:",
    "telemetry:",
    "endpoint:",
    "labels:",
    "apiVersion:",
    "kind:",
    " ",
    "  ",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    ": ",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "|\n",
    "\"",
    "'",
    "1h",
    "-5s",
    "0x1F",
    "1e999",
    ".nan",
    "~",
    "true",
    "on",
    "a:1",
    "https://a",
    "\u{0}",
    "\u{fffd}",
    "#",
    "---",
    "...",
    "%YAML 1.1",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzzing::config_map(&data);
    }

    #[test]
    fn made_up_configurations_are_read_or_refused(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40)) {
        fuzzing::config_map(pieces.concat().as_bytes());
    }
}
