//! Positional arguments of a call, taken one by one with errors that name them.
use serde_json::Value;

use crate::DriverError;

/// The largest integer that a double on the wire holds exactly.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The arguments of one call of one method.
pub(crate) struct Args<'a> {
    method: &'a str,
    rest: std::vec::IntoIter<Value>,
    position: usize,
}

impl<'a> Args<'a> {
    pub(crate) fn new(method: &'a str, args: Vec<Value>) -> Self {
        Self { method, rest: args.into_iter(), position: 0 }
    }

    /// The next argument as it is; null and a missing one are the same.
    pub(crate) fn value(&mut self) -> Option<Value> {
        self.position += 1;
        self.rest.next().filter(|value| !value.is_null())
    }

    /// The next argument, a text.
    pub(crate) fn string(&mut self, name: &str) -> Result<String, DriverError> {
        match self.value() {
            Some(Value::String(text)) => Ok(text),
            other => Err(self.wrong(name, "a string", other.as_ref())),
        }
    }

    /// The next argument, a truth value.
    pub(crate) fn boolean(&mut self, name: &str) -> Result<bool, DriverError> {
        match self.value() {
            Some(Value::Bool(value)) => Ok(value),
            other => Err(self.wrong(name, "a boolean", other.as_ref())),
        }
    }

    /// The next argument, a whole number; it comes as a double.
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within the exact range")]
    pub(crate) fn integer(&mut self, name: &str) -> Result<i64, DriverError> {
        match self.value() {
            Some(Value::Number(n)) if n.is_i64() => Ok(n.as_i64().unwrap_or_default()),
            Some(Value::Number(n)) => match n.as_f64() {
                Some(f) if f.fract() == 0.0 && f.abs() <= MAX_EXACT => Ok(f as i64),
                _ => Err(self.wrong(name, "a whole number", Some(&Value::Number(n)))),
            },
            other => Err(self.wrong(name, "a whole number", other.as_ref())),
        }
    }

    /// The arguments that are left.
    pub(crate) fn rest(self) -> impl Iterator<Item = Value> {
        self.rest
    }

    /// No more arguments may follow.
    pub(crate) fn end(self) -> Result<(), DriverError> {
        let more = self.rest.len();
        if more == 0 {
            return Ok(());
        }
        let (method, takes) = (self.method, self.position);
        Err(DriverError::InvalidArgument(format!("{method} takes {takes} arguments, {} given", takes + more)))
    }

    fn wrong(&self, name: &str, wanted: &str, got: Option<&Value>) -> DriverError {
        let (method, n) = (self.method, self.position);
        let got = got.map_or("nothing", kind);
        DriverError::InvalidArgument(format!("{method}: argument {n} ({name}) must be {wanted}, got {got}"))
    }
}

/// What a JSON value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_are_whole_doubles() {
        for (value, wanted) in [
            (json!(2.0), Some(2)),
            (json!(2), Some(2)),
            (json!(-7.0), Some(-7)),
            (json!(2.5), None),
            (json!(1e300), None),
            (json!("2"), None),
            (json!(null), None),
        ] {
            assert_eq!(Args::new("m", vec![value.clone()]).integer("n").ok(), wanted, "{value}");
        }
    }

    #[test]
    fn errors_name_the_argument() {
        let text = Args::new("set", vec![json!([])]).string("path").unwrap_err().to_string();
        assert_eq!(text, "set: argument 1 (path) must be a string, got a list");
        let text = Args::new("on", vec![json!(1)]).end().unwrap_err().to_string();
        assert_eq!(text, "on takes 0 arguments, 1 given");
    }
}
