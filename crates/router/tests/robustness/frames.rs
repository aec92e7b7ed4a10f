//! Connections that send anything at all: the bodies of the fuzz targets, with a toolchain that cannot fuzz.

use proptest::prelude::*;

use crate::fuzzing::{connection, frames, scanner};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[test]
fn bytes_that_are_no_connection() {
    let preface = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let long_frame = [&preface[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], &[0; 1000]].concat();
    for bytes in [
        &b""[..],
        b"\0",
        b"PRI * HTTP/2.0\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /jumpstarter.v1.RouterService/Stream HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\nabc",
        &[0xff; 4096],
        PREFACE,
        &preface,
        &long_frame,
        // A header block that never ends.
        &[&preface[..], &[&[0, 0, 1, 1, 0, 0, 0, 0, 1, 0][..], &[0, 0, 1, 9, 0, 0, 0, 0, 1, 0].repeat(2_000)].concat()]
            .concat(),
        // Opens and resets, again and again.
        &[&preface[..], &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8].repeat(500)].concat(),
        // Nothing but pings and settings.
        &[&preface[..], &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].repeat(2_000)].concat(),
        &[&preface[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0].repeat(2_000)].concat(),
    ] {
        connection(bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_in_any_order(choices in prop::collection::vec(any::<u8>(), 0..1_500)) {
        frames(&choices);
    }

    #[test]
    fn a_preface_and_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        connection(&[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &bytes].concat());
    }

    #[test]
    fn borders_of_any_bytes(
        seed in any::<u8>(),
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        junk in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let mut data = vec![seed];
        for message in messages {
            data.push(0);
            data.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
            data.extend_from_slice(&message);
        }
        data.extend_from_slice(&junk);
        scanner(&data);
    }
}
