//! How a command ends when it does not succeed.

use std::error::Error;

use jumpstarter_client::ClientError;
use jumpstarter_config::ConfigError;

/// Why a command failed; decides text and exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line made no sense: usage on stderr, exit code 2.
    Usage(String),
    /// Anything else that can be expected: one line on stderr, exit code 1.
    Failed(String),
    /// The user said no, or there was nobody to ask.
    Aborted,
    /// A signal ended it: this line on stderr, exit code 2.
    Interrupted(String),
}

impl Failure {
    /// A failure with a text for people.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// A failure of `what` ("verb object"), with the whole chain of causes.
    pub(crate) fn from_error(what: &str, error: &dyn Error) -> Self {
        Self::Failed(format!("{what}: {}", chain(error)))
    }
}

/// An error and its causes, each once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Failed(chain(&error))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Failed(chain(&error))
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                Self::Failed(format!("Error from server ({}): {}", status.reason, status.message))
            }
            kube::Error::Service(error) => {
                Self::Failed(format!("The service cannot be reached: {}", chain(error.as_ref())))
            }
            other => Self::from_error("talk to the service", &other),
        }
    }
}
