//! Requests to sockets on the network, with bounded answers and messages that tell no secrets.
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, Url};

use crate::DriverError;

/// A socket that takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read; sockets answer with a few hundred bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// A client for one socket. The error is a text for the operator.
pub(super) fn client() -> Result<Client, String> {
    Client::builder().timeout(TIMEOUT).build().map_err(|err| format!("set up HTTP: {err}"))
}

/// Sends `request` and reads the answer as text; `what` names it in messages.
pub(super) async fn fetch(what: &str, request: RequestBuilder) -> Result<(StatusCode, String), DriverError> {
    let failed = |err: reqwest::Error| http_error(what, err);
    let mut answer = request.send().await.map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_ANSWER {
            return Err(DriverError::Other(format!("{what}: the answer has more than {MAX_ANSWER} bytes")));
        }
    }
    Ok((answer.status(), String::from_utf8_lossy(&bytes).into_owned()))
}

/// The start of an answer, as it may stand in a message.
pub(super) fn start(text: &str) -> String {
    text.trim().chars().take(200).flat_map(char::escape_debug).collect()
}

/// The URL without what may be secret.
pub(super) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

fn http_error(what: &str, err: reqwest::Error) -> DriverError {
    if err.is_timeout() {
        return DriverError::Timeout(format!("{what}: no answer within {} s", TIMEOUT.as_secs()));
    }
    let connect = err.is_connect();
    // The chain's last link says what happened; the URL, which may hold secrets, is left out.
    let err = err.without_url();
    let mut root: &dyn std::error::Error = &err;
    while let Some(source) = root.source() {
        root = source;
    }
    let message = format!("{what}: {root}");
    if connect {
        return DriverError::Connection { source: std::io::Error::other(root.to_string()), message };
    }
    DriverError::Other(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_urls_hold_no_secrets() {
        let url = Url::parse("http://me:secret@socket:81/relay?key=abc").unwrap();
        assert_eq!(shown(&url), "http://socket:81/relay");
    }
}
