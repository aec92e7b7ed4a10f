//! `jumpstarter_driver_http_power.driver.HttpPower`: a socket that is switched by HTTP requests.
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use reqwest::{Client, Method, Url};
use serde_json::{Map, json};

use crate::{
    Build, Driver, DriverError, DriverLog, Value, ValueStream,
    args::{Args, kind},
    keys::ConfigKeys,
};

use super::{
    CLIENT,
    web::{self, shown},
};

/// Sends the configured requests.
pub(super) struct HttpPower {
    name: String,
    on: Endpoint,
    off: Endpoint,
    read: Option<Endpoint>,
    login: Option<(String, String)>,
    client: Client,
    log: DriverLog,
}

struct Endpoint {
    url: Url,
    method: Method,
    body: Option<String>,
    voltage: Option<String>,
    current: Option<String>,
}

impl HttpPower {
    pub(super) fn new(mut build: Build) -> Result<Self, String> {
        let mut keys = build.keys();
        let name = keys.or("name", "device".to_owned());
        let on = keys.option::<Map<String, Value>>("power_on").map(Endpoint::new);
        let off = keys.option::<Map<String, Value>>("power_off").map(Endpoint::new);
        let read = keys.option::<Map<String, Value>>("power_read").map(Endpoint::new);
        let login = keys.option::<Map<String, Value>>("auth").map(login);
        for (key, endpoint) in [("power_on", &on), ("power_off", &off), ("power_read", &read)] {
            match endpoint {
                Some(Err(fault)) => keys.fault(key, fault),
                None if key != "power_read" => keys.fault(key, "is missing"),
                Some(Ok(_)) | None => {}
            }
        }
        if let Some(Err(fault)) = &login {
            keys.fault("auth", fault);
        }
        keys.end()?;
        let client = web::client()?;
        let (Some(on), Some(off)) = (on, off) else { return Err("endpoints are missing".to_owned()) };
        let login = login.transpose()?.flatten();
        Ok(Self { name, on: on?, off: off?, read: read.transpose()?, login, client, log: build.log })
    }

    async fn send(&self, endpoint: &Endpoint) -> Result<String, DriverError> {
        let Endpoint { url, method, body, .. } = endpoint;
        let shown = shown(url);
        let mut request = self.client.request(method.clone(), url.clone());
        if let Some((user, password)) = &self.login {
            request = request.basic_auth(user, Some(password));
        }
        if let Some(body) = body.as_ref().filter(|_| [Method::POST, Method::PUT, Method::PATCH].contains(method)) {
            request = request.body(body.clone());
        }
        self.log.debug(&format!("{method} {shown}"));
        let (status, text) = web::fetch(&format!("{method} {shown}"), request).await?;
        if !status.is_success() {
            let start = web::start(&text);
            return Err(DriverError::Other(format!("{method} {shown} was answered with {status}: {start}")));
        }
        Ok(text)
    }

    async fn reading(&self) -> Result<Value, DriverError> {
        let invalid = |text: String| DriverError::InvalidArgument(text);
        let endpoint = self.read.as_ref().ok_or_else(|| invalid("power_read endpoint is not configured".to_owned()))?;
        let text = self.send(endpoint).await?;
        let data: Value = serde_json::from_str(&text)
            .map_err(|err| invalid(format!("{} did not answer with JSON: {err}", shown(&endpoint.url))))?;
        let voltage = number(&data, endpoint.voltage.as_deref(), "voltage").map_err(invalid)?;
        let current = number(&data, endpoint.current.as_deref(), "current").map_err(invalid)?;
        Ok(json!({ "voltage": voltage, "current": current }))
    }
}

impl Endpoint {
    fn new(map: Map<String, Value>) -> Result<Self, String> {
        let mut keys = ConfigKeys::new(map);
        let url: String = keys.required("url");
        let method = keys.or("method", "GET".to_owned()).to_uppercase();
        let body = keys.option("data");
        let (voltage, current) = (keys.option("voltage_path"), keys.option("current_path"));
        let parsed = Url::parse(&url);
        match &parsed {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {}
            Ok(url) => keys.fault("url", &format!("scheme '{}' is neither http nor https", url.scheme())),
            Err(err) => keys.fault("url", &err.to_string()),
        }
        let method = Method::from_bytes(method.as_bytes());
        if method.is_err() {
            keys.fault("method", "is no HTTP method");
        }
        keys.end()?;
        match (parsed, method) {
            (Ok(url), Ok(method)) => Ok(Self { url, method, body, voltage, current }),
            _ => Err("is no endpoint".to_owned()),
        }
    }
}

fn login(map: Map<String, Value>) -> Result<Option<(String, String)>, String> {
    let mut keys = ConfigKeys::new(map);
    let basic: Option<Map<String, Value>> = keys.option("basic");
    keys.end()?;
    let Some(basic) = basic else { return Ok(None) };
    let mut keys = ConfigKeys::new(basic);
    let login = (keys.or("user", String::new()), keys.secret("password").unwrap_or_default());
    keys.end()?;
    Ok(Some(login))
}

/// The number at `path`; without a configured path a missing `default` means that the device does not measure it.
fn number(data: &Value, path: Option<&str>, default: &str) -> Result<f64, String> {
    let key = path.unwrap_or(default);
    let found = key.split('.').try_fold(data, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        Value::Object(fields) => fields.get(step),
        _ => None,
    });
    match (found, path) {
        (None, Some(path)) => Err(format!("configured path '{path}' not found in the answer")),
        (None, None) => Ok(0.0),
        (Some(Value::Number(n)), _) => n.as_f64().ok_or_else(|| format!("value at '{key}' is no finite number")),
        (Some(Value::Bool(value)), _) => Ok(f64::from(u8::from(*value))),
        (Some(Value::String(text)), _) => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(format!("value at '{key}' is not numeric")),
        },
        (Some(other), _) => Err(format!("value at '{key}' is not numeric but {}", kind(other))),
    }
}

impl Driver for HttpPower {
    fn client(&self) -> &'static str {
        CLIENT
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let endpoint = match method {
                "on" => &self.on,
                "off" => &self.off,
                _ => return Err(DriverError::not_found(method)),
            };
            Args::new(method, args).end()?;
            self.log.info(&format!("Powering {method} {} via HTTP", self.name));
            self.send(endpoint).await?;
            Ok(Value::Null)
        }
        .boxed()
    }

    fn stream_call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<ValueStream, DriverError>> {
        async move {
            if method != "read" {
                return Err(DriverError::not_found(method));
            }
            Args::new(method, args).end()?;
            let reading = self.reading().await?;
            Ok(stream::iter([Ok(reading)]).boxed())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_answers() {
        let data = json!({"voltage": "230.5", "meters": [{"power": 3}], "on": true, "text": "x", "list": []});
        for (path, default, wanted) in [
            (None, "voltage", Some(230.5)),
            (None, "current", Some(0.0)),
            (Some("meters.0.power"), "current", Some(3.0)),
            (Some("on"), "current", Some(1.0)),
            (Some("meters.1.power"), "current", None),
            (Some("text"), "current", None),
            (Some("list"), "current", None),
        ] {
            assert_eq!(number(&data, path, default).ok(), wanted, "{path:?} {default}");
        }
    }
}
