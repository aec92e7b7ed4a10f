use jumpstarter_protocol::v1::{StreamRequest, StreamResponse};
use proptest::prelude::*;

use super::*;

const LIMIT: u32 = 1_000;

fn message(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

fn data(payload: &[u8]) -> Vec<u8> {
    message(&StreamRequest { payload: payload.to_vec().into(), frame_type: 0 }.encode_to_vec())
}

#[test]
fn the_goaway_is_what_the_generated_code_writes() {
    let frame_type = FrameType::Goaway as i32;
    let request = StreamRequest { frame_type, ..StreamRequest::default() };
    let response = StreamResponse { frame_type, ..StreamResponse::default() };
    assert_eq!(GOAWAY, message(&request.encode_to_vec()));
    assert_eq!(GOAWAY, message(&response.encode_to_vec()));
}

#[test]
fn tells_borders_goaways_and_counts() {
    #[track_caller]
    fn check(bytes: &[u8], at_border: bool, goaway: bool, messages: u64) {
        let mut scanner = Scanner::new(LIMIT);
        scanner.scan(bytes).unwrap();
        assert_eq!((scanner.at_border(), scanner.saw_goaway(), scanner.messages()), (at_border, goaway, messages));
    }
    check(&[], true, false, 0);
    check(&[0], false, false, 0);
    check(&message(&[]), true, false, 1);
    check(&data(b"hello"), true, false, 1);
    check(&data(b"hello")[..9], false, false, 0);
    check(GOAWAY, true, true, 1);
    check(&[data(b"hello"), GOAWAY.to_vec()].concat(), true, true, 2);
    // What follows a GOAWAY takes its place.
    check(&[GOAWAY.to_vec(), data(b"x")].concat(), true, false, 2);
    // As a payload, the bytes of a GOAWAY are nothing special.
    check(&data(&GOAWAY[5..]), true, false, 1);
    // Written with an explicit empty payload, and with a field of a later version.
    check(&message(&[0x0a, 0, 0x10, 7]), true, true, 1);
    check(&message(&[0x10, 7, 0x18, 1]), true, true, 1);
    // The other frame types, and nonsense.
    check(&message(&[0x10, 3]), true, false, 1);
    check(&message(&[0x10, 6]), true, false, 1);
    check(&message(&[0xff, 7]), true, false, 1);
}

#[test]
fn finds_faults_and_what_is_sound_before_them() {
    #[track_caller]
    fn check(bytes: &[u8], sound: usize, fault: Fault) {
        let mut scanner = Scanner::new(LIMIT);
        assert_eq!(scanner.scan(bytes), Err(Broken { sound, fault }));
        assert!(scanner.at_border());
    }
    let good = data(b"good");
    check(&[1, 0, 0, 0, 0], 0, Fault::Flags(1));
    check(&[good.clone(), vec![0x80]].concat(), good.len(), Fault::Flags(0x80));
    let long = [0, 0, 0, 3, 0xe9];
    check(&[&good[..], &long].concat(), good.len(), Fault::TooLong { length: 1_001, limit: LIMIT });
}

#[test]
fn a_fault_in_a_split_prefix_is_not_at_a_border() {
    let mut scanner = Scanner::new(LIMIT);
    scanner.scan(&[0, 0xff]).unwrap();
    let broken = scanner.scan(&[0xff, 0xff, 0xff, 9, 9]).unwrap_err();
    assert_eq!(broken.sound, 0);
    assert!(!scanner.at_border());
}

/// Whole messages of all sorts, one of them cut off perhaps.
fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let any = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|body| message(&body)),
        proptest::collection::vec(any::<u8>(), 0..700).prop_map(|payload| data(&payload)),
        Just(GOAWAY.to_vec()),
        Just(message(&[])),
    ];
    proptest::collection::vec(any, 0..12)
}

/// `bytes` in pieces of the given lengths, empty ones too, the last piece being what is left.
fn pieces<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths {
        let (piece, rest) = bytes.split_at((*length).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

proptest! {
    #[test]
    fn chunks_do_not_matter(
        messages in messages(),
        lengths in proptest::collection::vec(0usize..60, 0..200),
        cut in 0usize..2_000,
    ) {
        let mut bytes = messages.concat();
        bytes.truncate(bytes.len().saturating_sub(cut));
        let mut whole = Scanner::new(LIMIT);
        whole.scan(&bytes).unwrap();
        let mut split = Scanner::new(LIMIT);
        let mut borders = vec![0];
        borders.extend(messages.iter().scan(0, |end, message| { *end += message.len(); Some(*end) }));
        let mut passed = 0;
        for piece in pieces(&bytes, &lengths) {
            split.scan(piece).unwrap();
            passed += piece.len();
            prop_assert_eq!(split.at_border(), borders.contains(&passed));
        }
        prop_assert_eq!(whole.at_border(), split.at_border());
        prop_assert_eq!(whole.saw_goaway(), split.saw_goaway());
        prop_assert_eq!(whole.messages(), split.messages());
    }

    #[test]
    fn any_bytes_are_sound_or_faulty_in_the_same_way(
        bytes in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..400),
        lengths in proptest::collection::vec(0usize..20, 0..60),
    ) {
        let mut whole = Scanner::new(LIMIT);
        let expected = whole.scan(&bytes);
        let mut split = Scanner::new(LIMIT);
        let mut passed = 0;
        let mut found = Ok(());
        for piece in pieces(&bytes, &lengths) {
            if let Err(broken) = split.scan(piece) {
                let sound = passed + broken.sound;
                // Bytes of a split prefix are passed on before it is known to be faulty.
                let before = expected.unwrap_err().sound;
                let as_expected =
                    if split.at_border() { sound == before } else { sound > before && sound < before + PREFIX };
                prop_assert!(as_expected, "{sound} bytes are sound, {before} as one chunk");
                found = Err(broken.fault);
                break;
            }
            passed += piece.len();
        }
        prop_assert_eq!(found, expected.map_err(|broken| broken.fault));
    }
}
