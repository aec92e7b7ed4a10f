//! Keeps a driver's faults from its exporter: panics become errors, results stay within what peers take.
use std::{any::Any, collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};

use crate::{ByteStream, Driver, DriverError, HostedResource, Value, ValueStream};

/// Largest encoded result: gRPC peers refuse messages over 4 MiB, and the envelope takes a little.
const MAX_RESULT: usize = 4 * 1024 * 1024 - 16 * 1024;

/// A driver whose panics stay inside.
pub(crate) struct Guard {
    driver: Arc<dyn Driver>,
    /// Dotted path of the node, for messages.
    path: String,
}

impl Guard {
    pub(crate) fn new(driver: Arc<dyn Driver>, path: impl Into<String>) -> Self {
        Self { driver, path: path.into() }
    }

    fn panicked(&self, method: &str, panic: &(dyn Any + Send)) -> DriverError {
        panicked(&self.path, method, panic)
    }
}

fn panicked(path: &str, method: &str, panic: &(dyn Any + Send)) -> DriverError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no message");
    tracing::error!(driver = path, method, panic = text, "a driver panicked");
    DriverError::Internal(format!("driver '{path}': {method} failed with a fault of the driver itself: {text}"))
}

fn bounded(path: &str, method: &str, value: Value) -> Result<Value, DriverError> {
    let size = size(&value);
    if size <= MAX_RESULT {
        return Ok(value);
    }
    Err(DriverError::TooLarge(format!(
        "driver '{path}': the result of {method} has about {size} bytes, more than the {MAX_RESULT} that fit into one message"
    )))
}

/// About what the value takes on the wire.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 11,
        Value::String(text) => text.len() + 8,
        Value::Array(items) => items.iter().map(|item| size(item) + 8).sum::<usize>() + 8,
        Value::Object(fields) => fields.iter().map(|(key, item)| key.len() + size(item) + 16).sum::<usize>() + 8,
    }
}

impl Driver for Guard {
    fn client(&self) -> &str {
        self.driver.client()
    }

    fn extra_labels(&self) -> BTreeMap<String, String> {
        self.driver.extra_labels()
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            // The call is made inside the future, so that a panic before its first await is caught, too.
            let call = async { self.driver.call(method, args).await };
            let result = AssertUnwindSafe(call).catch_unwind().await;
            result.map_err(|panic| self.panicked(method, &*panic))?.and_then(|value| bounded(&self.path, method, value))
        }
        .boxed()
    }

    fn stream_call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<ValueStream, DriverError>> {
        async move {
            let call = async { self.driver.stream_call(method, args).await };
            let values = AssertUnwindSafe(call).catch_unwind().await;
            let values = values.map_err(|panic| self.panicked(method, &*panic))??;
            let (path, method) = (self.path.clone(), method.to_owned());
            // The first error ends the stream: a panicked one must not be polled again.
            let guarded = stream::unfold(Some((values, path, method)), |state| async move {
                let (mut values, path, method) = state?;
                match AssertUnwindSafe(values.next()).catch_unwind().await {
                    Ok(None) => None,
                    Ok(Some(Ok(value))) => match bounded(&path, &method, value) {
                        Ok(value) => Some((Ok(value), Some((values, path, method)))),
                        Err(err) => Some((Err(err), None)),
                    },
                    Ok(Some(Err(err))) => Some((Err(err), None)),
                    Err(panic) => Some((Err(panicked(&path, &method, &*panic)), None)),
                }
            });
            Ok(guarded.boxed())
        }
        .boxed()
    }

    fn open<'a>(&'a self, method: &'a str) -> BoxFuture<'a, Result<ByteStream, DriverError>> {
        async move {
            let open = async { self.driver.open(method).await };
            AssertUnwindSafe(open).catch_unwind().await.map_err(|panic| self.panicked(method, &*panic))?
        }
        .boxed()
    }

    fn open_resource<'a>(
        &'a self,
        encoding: Option<&'a str>,
    ) -> BoxFuture<'a, Option<Result<HostedResource, DriverError>>> {
        self.driver.open_resource(encoding)
    }

    fn reset(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        let reset = async { self.driver.reset().await };
        AssertUnwindSafe(reset)
            .catch_unwind()
            .map(|result| result.unwrap_or_else(|panic| Err(self.panicked("reset", &*panic))))
            .boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        let close = async { self.driver.close().await };
        AssertUnwindSafe(close)
            .catch_unwind()
            .map(|result| result.unwrap_or_else(|panic| Err(self.panicked("close", &*panic))))
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Wild;

    impl Driver for Wild {
        fn client(&self) -> &'static str {
            "test.Wild"
        }

        fn call<'a>(&'a self, method: &'a str, _args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
            assert_ne!(method, "at once", "no future at all");
            async move {
                match method {
                    "huge" => Ok(json!("x".repeat(MAX_RESULT + 1))),
                    "large" => Ok(json!("x".repeat(MAX_RESULT - 100))),
                    _ => panic!("later"),
                }
            }
            .boxed()
        }

        fn stream_call<'a>(
            &'a self,
            _method: &'a str,
            _args: Vec<Value>,
        ) -> BoxFuture<'a, Result<ValueStream, DriverError>> {
            async { Ok(stream::iter(0..3).map(|n| if n < 1 { Ok(json!(n)) } else { panic!("in between") }).boxed()) }
                .boxed()
        }

        fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
            panic!("closing")
        }
    }

    #[tokio::test]
    async fn panics_and_huge_results_become_errors() {
        let guard = Guard::new(Arc::new(Wild), "a.b");
        for method in ["at once", "later"] {
            let err = guard.call(method, vec![]).await.unwrap_err();
            assert!(matches!(&err, DriverError::Internal(text) if text.contains("'a.b'")), "{err}");
        }
        assert!(matches!(guard.call("huge", vec![]).await, Err(DriverError::TooLarge(_))));
        assert!(guard.call("large", vec![]).await.is_ok());
        let values: Vec<_> = guard.stream_call("s", vec![]).await.unwrap().collect().await;
        assert_eq!(values.len(), 2);
        assert!(matches!(&values[1], Err(DriverError::Internal(text)) if text.contains("in between")));
        assert!(matches!(guard.close().await, Err(DriverError::Internal(_))));
    }
}
