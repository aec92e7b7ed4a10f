//! `google.protobuf.Value` to and from JSON, by the rules that driver calls use.
//!
//! Numbers are doubles on the wire: `1` comes back as `1.0`. What JSON cannot say (NaN, ±Inf) is null.
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::Value as Json;

/// The wire form of a JSON value.
#[must_use]
pub fn from_json(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(number) => number.as_f64().filter(|n| n.is_finite()).map_or(Kind::NullValue(0), Kind::NumberValue),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(from_json).collect() }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields.iter().map(|(key, value)| (key.clone(), from_json(value))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}

/// The JSON form of a wire value; a value without a kind is null.
#[must_use]
pub fn to_json(value: &Value) -> Json {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::Bool(*value),
        Some(Kind::NumberValue(number)) => serde_json::Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Some(Kind::StringValue(text)) => Json::String(text.clone()),
        Some(Kind::ListValue(list)) => Json::Array(list.values.iter().map(to_json).collect()),
        Some(Kind::StructValue(object)) => {
            Json::Object(object.fields.iter().map(|(key, value)| (key.clone(), to_json(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_survives_the_wire_with_numbers_as_doubles() {
        for (sent, back) in [
            (json!(null), json!(null)),
            (json!(true), json!(true)),
            (json!(1), json!(1.0)),
            (json!(-2.5), json!(-2.5)),
            (json!("text"), json!("text")),
            (json!([1, "a", null]), json!([1.0, "a", null])),
            (json!({"a": {"b": [false]}}), json!({"a": {"b": [false]}})),
        ] {
            assert_eq!(to_json(&from_json(&sent)), back);
        }
        assert_eq!(to_json(&Value { kind: Some(Kind::NumberValue(f64::NAN)) }), json!(null));
        assert_eq!(to_json(&Value { kind: None }), json!(null));
    }
}
