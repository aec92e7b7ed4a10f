//! Any text survives the way out and in again, and no text breaks the way in.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{import::parse, write};
use crate::Object;

fn config_map(data: &[(String, String)]) -> Object {
    let data: serde_json::Map<String, Value> =
        data.iter().map(|(key, text)| (key.clone(), Value::from(text.as_str()))).collect();
    let value = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "m", "namespace": "lab" }, "data": data,
    });
    Object::from_value(value).unwrap()
}

#[track_caller]
fn survives(data: &[(String, String)]) {
    let object = config_map(data);
    let mut text = Vec::new();
    write([object.clone(), config_map(&[])].into_iter().take(1), &mut text).unwrap();
    let parsed = parse(text.as_slice(), "other").unwrap_or_else(|error| {
        panic!("{error}\n{}", String::from_utf8_lossy(&text));
    });
    assert_eq!(parsed.len(), 1, "{}", String::from_utf8_lossy(&text));
    assert_eq!(parsed[0].object.value()["data"], object.value()["data"], "{}", String::from_utf8_lossy(&text));
}

#[test]
fn a_bare_y_or_on_is_text() {
    let text = "apiVersion: jumpstarter.dev/v1alpha1\nkind: Client\nmetadata: {name: a, labels: {rack: y, power: on}}\nspec: {}\n";
    let imports = parse(text.as_bytes(), "lab").unwrap();
    let labels = imports[0].object.labels();
    assert_eq!((labels["rack"].as_str(), labels["power"].as_str()), ("y", "on"));
}

#[test]
fn texts_that_look_like_something_else_survive() {
    let texts = [
        "",
        " ",
        "~",
        "null",
        "true",
        "no",
        "off",
        "y",
        "0x1F",
        "0o7",
        "017",
        "1_000",
        "1e3",
        ".inf",
        "12:30",
        "2026-01-02",
        "---",
        "--- x",
        "a\n---\nb",
        "...",
        "- a",
        "? a",
        "a: b",
        "# a",
        " a",
        "a ",
        "a\n",
        "\na",
        "a\n\n",
        "\n",
        "\n\n",
        "\ta",
        "a\tb\n",
        " a\nb",
        "  a\n b\n",
        "a\r\nb",
        "\u{feff}a",
        "\u{85}a",
        "'",
        "\"",
        "\\",
        "%a",
        "@a",
        "`a",
        "{}",
        "[]",
        "a\u{7}b",
        "*a",
        "&a",
        "!a",
        "|",
        ">",
        "|\n a",
        "é🦀",
        "=",
        "<<",
        "a #b",
        "a:",
    ];
    for text in texts {
        survives(&[("k".to_owned(), text.to_owned())]);
        survives(&[(text.to_owned(), "v".to_owned()), ("other".to_owned(), text.to_owned())]);
    }
    survives(&[("k".to_owned(), "x".repeat(10_000))]);
    survives(&[("k".to_owned(), "word ".repeat(2_000))]);
    survives(&[("k".to_owned(), "line\n".repeat(2_000))]);
}

proptest! {
    #[test]
    fn any_text_survives(data in proptest::collection::vec((".{0,12}", "(?s).{0,200}"), 0..4)) {
        survives(&data);
    }

    #[test]
    fn lines_survive(lines in proptest::collection::vec("[ \t#:'a-]{0,6}", 0..6)) {
        survives(&[("k".to_owned(), lines.join("\n"))]);
    }

    #[test]
    fn no_bytes_break_the_import(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(bytes.as_slice(), "lab");
    }

    #[test]
    fn no_yaml_breaks_the_import(text in "(apiVersion: v1\n|kind: (Secret|List)\n|items: |metadata: |- |  |[a-z]+: |[\\[\\]{}&*!|>'\"%@,?\n]|---\n){0,40}") {
        let _ = parse(text.as_bytes(), "lab");
    }
}
