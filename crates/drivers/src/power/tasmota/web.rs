//! A plug's own web server: `cm?cmnd=…`.
use reqwest::{Client, Url};
use serde_json::json;

use crate::{DriverError, Value, keys::ConfigKeys, power::web};

/// Plugs have up to 32 relays; 0 stands for the command without a number, which means the first.
const MAX_RELAY: u8 = 32;
/// The name that the firmware has for whoever may log in, unless told otherwise.
const USER: &str = "admin";

/// Sends commands by HTTP.
pub(super) struct Plug {
    base: Url,
    power: String,
    login: Option<(String, String)>,
    client: Client,
}

impl Plug {
    pub(super) fn new(mut keys: ConfigKeys, url: &str) -> Result<Self, String> {
        let relay = keys.or("relay", 0_u8);
        let user = keys.or("username", USER.to_owned());
        let login = keys.secret("password").map(|password| (user, password));
        if relay > MAX_RELAY {
            keys.fault("relay", &format!("must be 1 to {MAX_RELAY}"));
        }
        let base = Url::parse(url).map_err(|err| err.to_string()).and_then(|url| match url.scheme() {
            "http" | "https" => url.join("cm").map_err(|err| err.to_string()),
            other => Err(format!("scheme '{other}' is neither http nor https")),
        });
        if let Err(fault) = &base {
            keys.fault("url", fault);
        }
        keys.end()?;
        let power = if relay == 0 { "Power".to_owned() } else { format!("Power{relay}") };
        Ok(Self { base: base?, power, login, client: web::client()? })
    }

    pub(super) async fn switch(&self, on: bool) -> Result<(), DriverError> {
        let wanted = if on { "ON" } else { "OFF" };
        let command = format!("{} {wanted}", self.power);
        let answer = self.ask(&command).await?;
        match relay_state(&answer) {
            Some(state) if state.eq_ignore_ascii_case(wanted) => Ok(()),
            _ => Err(self.odd(&command, &answer)),
        }
    }

    /// What the plug measures, if it can.
    pub(super) async fn read(&self) -> Result<Value, DriverError> {
        let answer = self.ask("Status 8").await?;
        let status = answer.get("StatusSNS").ok_or_else(|| self.odd("Status 8", &answer))?;
        let energy = status.get("ENERGY").ok_or_else(|| {
            DriverError::Unimplemented(format!("read: the plug at {} measures nothing", web::shown(&self.base)))
        })?;
        let number = |key: &str| first_number(energy.get(key)).ok_or_else(|| self.odd("Status 8", &answer));
        Ok(json!({ "voltage": number("Voltage")?, "current": number("Current")? }))
    }

    async fn ask(&self, command: &str) -> Result<Value, DriverError> {
        let mut url = self.base.clone();
        if let Some((user, password)) = &self.login {
            url.query_pairs_mut().append_pair("user", user).append_pair("password", password);
        }
        url.query_pairs_mut().append_pair("cmnd", command);
        let what = format!("'{command}' at {}", web::shown(&self.base));
        let (status, text) = web::fetch(&what, self.client.get(url)).await?;
        let answer = serde_json::from_str::<Value>(&text).unwrap_or_default();
        // Some versions answer with 200 and a warning, others with 401.
        if answer.get("WARNING").is_some() || status == http::StatusCode::UNAUTHORIZED {
            return Err(DriverError::Other(format!(
                "{what}: the plug takes no commands with this login; check 'username' and 'password'"
            )));
        }
        if !status.is_success() || !answer.is_object() {
            return Err(DriverError::Other(format!("{what} was answered with {status}: {}", web::start(&text))));
        }
        Ok(answer)
    }

    fn odd(&self, command: &str, answer: &Value) -> DriverError {
        DriverError::Other(format!(
            "'{command}' at {} was answered with {}; is it a Tasmota plug with this relay?",
            web::shown(&self.base),
            web::start(&answer.to_string())
        ))
    }
}

/// What `POWER` or `POWER1` … says.
fn relay_state(answer: &Value) -> Option<&str> {
    answer.as_object()?.iter().find(|(key, _)| key.starts_with("POWER"))?.1.as_str()
}

/// Plugs for three phases tell a list.
fn first_number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Array(items) => items.first()?.as_f64(),
        other => other.as_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_plugs() {
        assert_eq!(relay_state(&json!({"POWER": "ON"})), Some("ON"));
        assert_eq!(relay_state(&json!({"POWER3": "OFF"})), Some("OFF"));
        assert_eq!(relay_state(&json!({"Command": "Unknown"})), None);
        assert_eq!(first_number(Some(&json!([230, 229]))), Some(230.0));
        assert_eq!(first_number(Some(&json!("x"))), None);
    }
}
